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

from tracejit.operators import Operators
from tracejit.variable import Variable

MISSING = object()
LIMIT = 1000  # leaves of a container that are compared
_REACH = 100_000  # objects that are looked at for variables behind them
_OWN_MODULES = ("tracejit", "numpy", "builtins")


# Where a value is read from: each gives it when it is called.


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
        return getattr(self.owner(), self.name, MISSING)


class Property(NamedTuple):
    """The code of a property, as a method of its owner."""

    owner: Read
    name: str

    def __call__(self) -> Any:
        owner = self.owner()
        found = getattr(type(owner), self.name, None)
        return types.MethodType(found.fget, owner) if isinstance(found, property) and found.fget is not None else MISSING


Read = Global | Cell | Given | Attribute | Property


class Guard(NamedTuple):
    """`get` reads the value now; `kept` is what it was, as `snapshot` keeps it."""

    name: str
    get: Read
    kept: Any


def snapshot(value: Any) -> Any:
    """What to compare later: plain values by type and value, containers leaf by leaf, anything else by identity."""
    kind = type(value)
    if kind in (int, bool, str, bytes, type(None)):
        return (kind, value)
    if kind is float:
        return (kind, value.hex())
    if isinstance(value, (list, tuple)) and len(value) <= LIMIT:
        return (kind, [snapshot(item) for item in value])
    if isinstance(value, dict) and len(value) <= LIMIT:
        return (kind, [(snapshot(key), snapshot(item)) for key, item in value.items()])
    if isinstance(value, np.generic) or (kind is np.ndarray and value.ndim == 0):
        return (kind, value.tobytes())
    if kind is types.MethodType:
        return (kind, _Same(value.__func__), _Same(value.__self__))
    return (kind, _Same(value))


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
    pending: list[tuple[Any, dict[str, Any]]] = [(function, {name: Given(_getter(value)) for name, value in arguments.items()})]
    while pending:
        each, given = pending.pop()
        if isinstance(each, types.MethodType):
            self_name = each.__func__.__code__.co_varnames[:1] if hasattr(each.__func__, "__code__") else ()
            given, each = dict(zip(self_name, (Given(_getter(each.__self__)),), strict=False)), each.__func__
        each = getattr(each, "python_function", each)
        if not isinstance(each, types.FunctionType) or _is_own(each.__module__):
            continue
        mark = (each.__code__, tuple([id(get()) for get in given.values()]))
        if mark in seen:
            continue
        seen.add(mark)
        for name, get in _reads(each, given):
            value = get()
            if value is MISSING or isinstance(value, types.ModuleType):
                continue
            found.setdefault(name, Guard(name, get, snapshot(value)))
            pending.extend(_code_behind(value))
    return tuple(found.values())


def settled(before: tuple[Guard, ...]) -> tuple[Guard, ...]:
    """The guards to keep once the trace is made. What the traced function itself counts up or appends to is its own affair;
    an object that it put in place is kept as it is now."""
    kept = []
    for guard in before:
        now = snapshot(guard.get())
        if now == guard.kept:
            kept.append(guard)
        elif isinstance(now[1], _Same):
            kept.append(guard._replace(kept=now))
    return tuple(kept)


def variables_behind(guards: tuple[Guard, ...]) -> set[int]:
    """The ids of the variables that can be reached from what is guarded, through containers and attributes."""
    found: set[int] = set()
    seen: set[int] = set()
    pending = [guard.get() for guard in guards]
    while pending and len(seen) < _REACH:
        value = pending.pop()
        if id(value) in seen or isinstance(value, (type, types.ModuleType, types.FunctionType, str, bytes)):
            continue
        seen.add(id(value))
        if isinstance(value, Variable):
            found.add(id(value))
        elif isinstance(value, (list, tuple, set, frozenset)):
            pending.extend(value)
        elif isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, types.MethodType):
            pending.append(value.__self__)
        else:
            pending.extend(getattr(value, "__dict__", {}).values())
    return found


def _is_own(module: str | None) -> bool:
    root = (module or "").partition(".")[0]
    return root in _OWN_MODULES and module != "tracejit.demo"


def _code_behind(value: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The Python functions that calling `value` runs, with the arguments known beforehand."""
    if isinstance(value, (types.FunctionType, types.MethodType)) or hasattr(value, "python_function"):
        yield value, {}
    elif isinstance(value, (list, tuple)):
        for item in value[:LIMIT]:
            yield from _code_behind(item)
    elif not isinstance(value, (type, Operators, np.ndarray, types.ModuleType)):
        call = getattr(type(value), "__call__", None)  # noqa: B004  (the function itself is wanted)
        if isinstance(call, types.FunctionType) and not _is_own(type(value).__module__):
            yield types.MethodType(call, value), {}


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


def _attribute(chain: tuple[str, Read], name: str) -> tuple[str, Read] | None:
    """The chain that goes on to the attribute `name`; None where its owner is no plain object of the user's."""
    owner = chain[1]()
    if owner is MISSING or isinstance(owner, (Operators, np.ndarray, np.generic, str, int, float, list, tuple, dict)):
        return None
    if isinstance(owner, types.ModuleType) and _is_own(owner.__name__):
        return None
    if isinstance(getattr(type(owner), name, None), property):
        return (f"{chain[0]}.{name}", Property(chain[1], name))
    return (f"{chain[0]}.{name}", Attribute(chain[1], name))
