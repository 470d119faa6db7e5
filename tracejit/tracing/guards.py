"""What a trace read from outside of its arguments, and whether it is still so.

The names that a function's code loads from globals, closure cells and attributes, its own and those of the user's functions
that it calls, are found in the byte code. Their values are kept when the trace is made and compared at every call: a trace
is used only while all of them are what they were.
"""

from __future__ import annotations

import dis
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from tracejit.objects import (
    HIDDEN,
    MISSING,
    Wrapper,
    attribute,
    in_class,
    is_a,
    is_exactly,
    items,
    module_of,
    namespace,
    pairs,
    slots,
)
from tracejit.operators import Operators
from tracejit.variable import Variable

LIMIT = 1000  # leaves of a container that are compared
DEEPEST = 100  # containers in containers that are compared
_REACH = 100_000  # objects that are looked at for variables behind them
_OWN_MODULES = ("tracejit", "numpy", "llvmlite", "builtins")
_PLAIN = (int, bool, str, bytes, type(None))


# Where a value is read from: each gives it when it is called. A read never runs the user's code: what only that could tell is
# HIDDEN, and is no guard.


class Global(NamedTuple):
    """A name of a module."""

    names: dict[str, Any]
    name: str

    def __call__(self) -> Any:
        return self.names.get(self.name, MISSING)


class Cell(NamedTuple):
    """A cell of a function's closure. A trace may belong to an object to which the closure leads, so the function is
    referred to weakly."""

    function: weakref.ref[types.FunctionType]
    place: int

    @property
    def cell(self) -> types.CellType | None:
        """The cell itself; None where the function is gone."""
        function = self.function()
        return None if function is None or function.__closure__ is None else function.__closure__[self.place]

    def __call__(self) -> Any:
        try:
            return MISSING if self.cell is None else self.cell.cell_contents
        except ValueError:  # not filled yet
            return MISSING


class Given(NamedTuple):
    """An argument, which is part of the call's signature."""

    get: Callable[[], Any]

    def __call__(self) -> Any:
        return self.get()


class Attribute(NamedTuple):
    """An attribute of what is read from elsewhere."""

    owner: Read
    name: str

    def __call__(self) -> Any:
        return attribute(self.owner(), self.name)


class Hook(NamedTuple):
    """The code that its class runs when an attribute is read, as a method of the owner: that of a property, or
    `__getattr__`."""

    owner: Read
    name: str

    def __call__(self) -> Any:
        owner = self.owner()
        code = in_class(type(owner), self.name)
        code = code.fget if type(code) is property else code
        return types.MethodType(code, owner) if type(code) is types.FunctionType else MISSING


Read = Global | Cell | Given | Attribute | Hook


class Guard(NamedTuple):
    """`get` reads the value now; `kept` is what it was, as `snapshot` keeps it."""

    name: str
    get: Read
    kept: Any


def snapshot(value: Any, above: tuple[int, ...] = ()) -> Any:
    """What to compare later: plain values by type and value, containers leaf by leaf, anything else by identity. `above` are
    the ids of the containers around it."""
    kind: Any = type(value)
    if kind is float:
        return (kind, value.hex())
    if is_exactly(value, _PLAIN):
        return (kind, value)
    mark = kind if type(kind) is type else _Same(kind)  # a metaclass may compare as it likes
    if is_watched(value) and len(above) < DEEPEST:
        if id(value) in above:
            return (mark, above.index(id(value)))
        above = (*above, id(value))
        if issubclass(kind, dict):
            return (mark, [(snapshot(key, above), snapshot(item, above)) for key, item in pairs(value)])
        return (mark, [snapshot(item, above) for item in items(value)])
    if issubclass(kind, np.generic):
        return (mark, np.generic.tobytes(value))
    if kind is np.ndarray and value.ndim == 0:
        return (mark, value.tobytes())
    if kind is types.MethodType:
        return (mark, _Same(value.__func__), _Same(value.__self__))
    return (mark, _Same(value))


def is_watched(value: Any) -> bool:
    """Whether a value is a container whose items count, and not which container it is."""
    for kind in (list, tuple, dict):
        if is_a(value, kind):
            return kind.__len__(value) <= LIMIT
    return False


class _Same:
    """Equal to another only if both are of the same object, which still exists and is not kept alive where that can be."""

    __slots__ = ("get",)

    def __init__(self, value: Any):
        self.get = _getter(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and (found := self.get()) is other.get() and found is not None

    __hash__ = None  # type: ignore[assignment]


def _getter(value: Any) -> Callable[[], Any]:
    """What gives `value`, without keeping it alive where it can be weakly referred to: a trace belongs to an instance, which
    would else never be collected."""
    try:
        return weakref.ref(value)
    except TypeError:
        return lambda: value


def changed(guards: tuple[Guard, ...]) -> str | None:
    """The name of the first captured value that is no longer what it was; None where all are."""
    for guard in guards:
        if snapshot(guard.get()) != guard.kept:
            return guard.name
    return None


def collect(function: Callable[..., Any], arguments: dict[str, Any]) -> tuple[Guard, ...]:
    """Guards for what `function` reads from outside when it is called with `arguments` (the non-tensor ones)."""
    found: dict[str, Guard] = {}
    seen: set[Any] = set()
    given: dict[str, Read] = {name: Given(_getter(value)) for name, value in arguments.items()}
    pending = [(code, given | known) for code, known in _code_behind(function)]
    while pending:
        code, known = pending.pop()
        if _is_own(code.__module__):
            continue
        mark = (code.__code__, tuple([id(get()) for get in known.values()]))
        if mark in seen:
            continue
        seen.add(mark)
        for name, get in _reads(code, known):
            value = get()
            if value is MISSING or is_a(value, types.ModuleType):
                continue
            found.setdefault(name, Guard(name, get, snapshot(value)))
            pending.extend(_code_behind(value))
    return tuple(found.values())


def settled(before: tuple[Guard, ...]) -> tuple[Guard, ...]:
    """The guards to keep once the trace is made. What the traced function itself counts up or appends to is its own affair;
    an object that it put in place is kept as it is now, and so is what it computed and put where nobody could see it."""
    kept = []
    for guard in before:
        value = guard.get()
        now = snapshot(value)
        if value is HIDDEN:
            continue
        if now == guard.kept:
            kept.append(guard)
        elif is_a(now[1], _Same) or guard.kept == _UNSEEN:
            kept.append(guard._replace(kept=now))
    return tuple(kept)


_UNSEEN = snapshot(HIDDEN)


def variables_behind(guards: tuple[Guard, ...]) -> set[int]:
    """The ids of the variables that can be reached from what is guarded, through containers and attributes."""
    found: set[int] = set()
    seen: set[int] = set()
    pending = [guard.get() for guard in guards]
    while pending and len(seen) < _REACH:
        value = pending.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if type(value) is Variable:
            found.add(id(value))
        else:
            pending.extend(_held(value))
    return found


# What leads to no variable that the traced code could read without being guarded itself: code, and names of modules.
_CLOSED = (type, types.ModuleType, types.FunctionType, Wrapper, str, bytes)


def _held(value: Any) -> Iterator[Any]:
    """What a value of the user's holds: items, and what stands in its dict and its slots."""
    if type(value) is types.MethodType:
        yield value.__self__
    elif not is_a(value, _CLOSED):
        for kind in (list, tuple, set, frozenset):
            if is_a(value, kind):
                yield from list(kind.__iter__(value))
        if is_a(value, dict):
            yield from [item for _, item in pairs(value)]
        if not _is_own(module_of(type(value))):
            yield from dict.values(namespace(value) or {})
            yield from slots(value)


def _is_own(module: Any) -> bool:
    root = module.partition(".")[0] if type(module) is str else ""
    return root in _OWN_MODULES and module != "tracejit.demo"


def _code_behind(value: Any) -> Iterator[tuple[types.FunctionType, dict[str, Read]]]:
    """The Python functions that calling `value`, or an item of it, runs, with the arguments known beforehand."""
    pending: list[Any] = [(value, None)]  # what may be called, and the object of which it is a method
    seen: set[tuple[int, int]] = set()
    while pending:
        value, owner = pending.pop()
        kind = type(value)
        if (id(value), id(owner)) in seen:
            continue
        seen.add((id(value), id(owner)))
        if kind is types.FunctionType:
            names = value.__code__.co_varnames[:1] if owner is not None else ()
            yield value, {name: Given(_getter(owner)) for name in names}
        elif kind is types.MethodType:
            pending.append((value.__func__, value.__self__))
        elif issubclass(kind, Wrapper):
            pending.append((value.python_function, getattr(value, "__self__", owner)))
        elif issubclass(kind, (list, tuple)):
            pending.extend([(item, None) for item in reversed(items(value)[:LIMIT])])
        elif not issubclass(kind, (type, Operators, np.ndarray, types.ModuleType)) and not _is_own(module_of(kind)):
            call = in_class(kind, "__call__")
            if type(call) is types.FunctionType:
                pending.append((call, value))


def _reads(function: types.FunctionType, given: dict[str, Read]) -> Iterator[tuple[str, Read]]:
    """(name, getter) of every global, closure cell and attribute chain that the code loads."""
    reference = weakref.ref(function)
    cells = {name: Cell(reference, place) for place, name in enumerate(function.__code__.co_freevars)}
    yield from _code_reads(function.__code__, function.__globals__, cells, given)


def _code_reads(code: types.CodeType, names: dict[str, Any], cells: dict[str, Any], given: dict[str, Any]) -> Iterator[Any]:
    chain: tuple[str, Read] | None = None
    for instruction in dis.get_instructions(code):
        operation, name = instruction.opname, instruction.argval
        if operation in ("LOAD_ATTR", "LOAD_METHOD") and chain is not None:
            chain = _attribute(chain, name)
        elif operation in ("LOAD_GLOBAL", "LOAD_NAME"):
            chain = (name, Global(names, name)) if name in names else None
        elif operation in ("LOAD_DEREF", "LOAD_CLASSDEREF") and name in cells:
            chain = (name, cells[name])
        elif operation.startswith("LOAD_FAST"):
            # Newer Pythons load two at once; an attribute is then read from the second.
            last = name[-1] if isinstance(name, tuple) else name
            if last in given:
                chain = (last, given[last])
                continue  # an argument is part of the signature; only what hangs on it is guarded
            chain = None
        elif operation in ("PUSH_NULL", "CACHE", "COPY_FREE_VARS", "RESUME", "PRECALL"):
            continue
        else:
            chain = None
        if chain is not None:
            yield chain
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = {name: get for name, get in given.items() if name in constant.co_freevars}
            yield from _code_reads(constant, names, cells | inner, {})


_NO_NAMESPACE = (Operators, np.ndarray, np.generic)
_BUILT_IN = (str, int, float, bytes, list, tuple, dict)


def _attribute(chain: tuple[str, Read], name: str) -> tuple[str, Read] | None:
    """The chain that goes on to the attribute `name`; None where its owner is no plain object of the user's."""
    owner = chain[1]()
    if owner is MISSING or owner is HIDDEN or is_a(owner, _NO_NAMESPACE) or is_exactly(owner, _BUILT_IN):
        return None
    if is_a(owner, types.ModuleType) and _is_own(attribute(owner, "__name__")):
        return None
    if isinstance(chain[1], Hook):
        return None
    get = Attribute(chain[1], name)
    if get() is HIDDEN and not is_a(owner, type):
        for hook in ("__getattribute__", name, "__getattr__"):
            code = in_class(type(owner), hook)
            if type(code) is (property if hook is name else types.FunctionType):
                return (f"{chain[0]}.{name}", Hook(chain[1], hook))
    return (f"{chain[0]}.{name}", get)
