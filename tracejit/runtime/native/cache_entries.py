"""Traces and the ways to call them, written into the memory that the native call path reads."""

from __future__ import annotations

import struct
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit import nest
from tracejit.ir.types import TensorType
from tracejit.objects import MISSING, is_a, items, namespace, type_name
from tracejit.runtime.compiled_function import CompiledFunction, buffer_of, new_pool
from tracejit.runtime.native import loader as native
from tracejit.runtime.native import structures
from tracejit.runtime.native.structures import MOST_RESULTS, MOST_VALUES, Kind, addresses, peek, poke, row, table
from tracejit.runtime.slots import Slots
from tracejit.tensor import Tensor
from tracejit.tracing.callshape import CallShape, Default, Pattern, Undescribable
from tracejit.tracing.guard_checks import GuardCheck, is_plain
from tracejit.tracing.guards import is_watched
from tracejit.tracing.trace import Binding, Traced
from tracejit.variable import Variable

# No object lies at this address.
_NO_OBJECT = 3


class Program:
    """A compiled trace for the native call path: its machine code, frames, results, and what it captured."""

    def __init__(self, compiled: CompiledFunction, traced: Traced, checks: Sequence[GuardCheck], fail: Callable[[int], Any]):
        graph = traced.graph
        if len(graph.results) > MOST_RESULTS:
            raise Undescribable(f"the function returns more than {MOST_RESULTS} tensors")
        self.compiled, self._fail = compiled, fail
        parameters = len(graph.parameters)
        results = [
            _result(result.type, parameters + index)  # type: ignore[arg-type]
            for index, result in enumerate(graph.results)
        ]
        self._results = table([each for each, _ in results], [kept for _, kept in results])
        self._structure = _structure(traced)
        slots = row(
            structures.Program,
            code=compiled.executable.address,
            slots=compiled.pointers,
            long=int(compiled.long),
            results=self._results.address,
            results_end=self._results.end,
            structure=0 if self._structure is None else self._structure.address,
            fail=id(fail),
        )
        self.memory = Slots(slots)
        self.set_checks(checks)
        self.frames: list[Any] = []
        self.add_frame()

    def set_checks(self, checks: Sequence[GuardCheck]) -> None:
        """Replace what is compared at every call."""
        packed = [_check(check) for check in checks]
        made = table([row(structures.GuardChecks), *[slots for slots, _ in packed]], [kept for _, kept in packed])
        poke(made, structures.GuardChecks, "end", made.end)
        poke(self.memory, structures.Program, "stale", 0)
        poke(self.memory, structures.Program, "checks", made.address)
        self._checks = made  # the ones before go now that nothing leads there any more

    def add_frame(self) -> None:
        """One more frame, for one more call at the same time."""
        frame = self.compiled.new_frame()
        self.frames.append(frame)
        native.add_frame(self.memory.address, frame.address)

    @property
    def has_frame(self) -> bool:
        """Whether a frame is free."""
        return peek(self.memory, structures.Program, "frames") != 0

    @property
    def stale(self) -> bool:
        """Whether what is checked was found changed."""
        return peek(self.memory, structures.Program, "stale") != 0


class CacheEntry:
    """One way to call a program."""

    def __init__(self, program: Program, shape: CallShape, traced: Traced):
        if len(shape.patterns) > MOST_VALUES or len(traced.bindings) > MOST_VALUES:
            raise Undescribable(f"a call has more than {MOST_VALUES} arguments, items and captured tensors")
        self.program, self.shape = program, shape
        self._names = addresses(shape.keywords)
        patterns = [_pattern(pattern) for pattern in shape.patterns]
        self._patterns = table([slots for slots, _ in patterns], [kept for _, kept in patterns])
        variables, arrays = _binds(shape, traced)
        self._variables = table([slots for slots, _ in variables], [kept for _, kept in variables])
        self._arrays = table([slots for slots, _ in arrays], [kept for _, kept in arrays])
        self.memory = Slots(
            row(
                structures.CacheEntry,
                npositional=shape.positional,
                nkeywords=len(shape.keywords),
                keywords=self._names.address,
                patterns=self._patterns.address,
                patterns_end=self._patterns.end,
                variables=self._variables.address,
                variables_end=self._variables.end,
                arrays=self._arrays.address,
                arrays_end=self._arrays.end,
                program=program.memory.address,
                owner=id(self),
            )
        )


def link(entries: Sequence[CacheEntry]) -> int:
    """Let each entry lead to the next; the address of the first, 0 where there is none."""
    following = 0
    for entry in reversed(entries):
        poke(entry.memory, structures.CacheEntry, "next", following)
        following = entry.memory.address
    return following


# -- the slots of each structure, and what has to live as long as they do


def _dims(kind: TensorType) -> Slots:
    return Slots(kind.shape)


def _pattern(pattern: Pattern) -> tuple[list[int], Any]:
    kind = Kind[pattern.kind.upper()]
    if pattern.kind in ("tensor", "array"):
        dims = _dims(pattern.expected)
        descr = pattern.expected.dtype.numpy
        slots = row(
            structures.Pattern,
            kind=kind,
            expected=id(pattern.expected),
            other=id(descr),
            count=len(pattern.expected.shape),
            dims=dims.address,
        )
        return slots, (pattern, dims)
    if pattern.kind == "scalar":
        return row(structures.Pattern, kind=kind, expected=id(pattern.type)), pattern
    if pattern.kind == "variable":
        return row(
            structures.Pattern, kind=kind, expected=id(pattern.expected), other=id(pattern.trainable), first=pattern.first
        ), pattern
    if pattern.kind == "float":
        (bits,) = struct.unpack("<q", struct.pack("<d", pattern.expected))
        return row(structures.Pattern, kind=kind, bits=bits), None
    if pattern.kind == "equal":
        return row(structures.Pattern, kind=kind, expected=id(pattern.expected), other=id(pattern.type)), pattern
    if pattern.kind == "same":
        return row(structures.Pattern, kind=kind, expected=id(pattern.expected)), pattern
    keys = addresses(pattern.keys)
    slots = row(
        structures.Pattern, kind=kind, expected=id(pattern.type), count=pattern.size, keys=keys.address, first=pattern.first
    )
    return slots, (pattern, keys)


def _binds(shape: CallShape, traced: Traced) -> Any:
    """(variables, arrays): where each parameter of the graph gets its address from."""
    updated = {parameter for parameter, _ in traced.graph.updates}
    variables: list[Any] = []
    arrays: list[Any] = []
    for slot, (parameter, binding) in enumerate(zip(traced.graph.parameters, traced.bindings, strict=True)):
        source: Any = binding.source
        if binding.kind in ("argument", "argument variable"):
            source = shape.leaves[source]
            if isinstance(source, Default):
                source = source.value
            elif binding.kind == "argument variable":
                variables.append((row(structures.VariableBinding, slot=slot, value=source, updated=parameter in updated), None))
                continue
            else:
                kind = Kind.SCALAR if shape.patterns[source].kind == "scalar" else Kind.ARRAY
                arrays.append((row(structures.ArrayBinding, kind=kind, slot=slot, value=source), None))
                continue
        if isinstance(source, Variable):
            slots = row(structures.VariableBinding, slot=slot, variable=id(source), updated=parameter in updated)
            variables.append((slots, source))
        else:
            assert isinstance(parameter.type, TensorType)
            arrays.append(_captured(source, parameter.type, slot, binding))
    return variables, arrays


def _captured(source: Any, kind: TensorType, slot: int, binding: Binding) -> tuple[list[int], Any]:
    if type(source) is np.ndarray:
        if source.dtype is not kind.dtype.numpy or not (source.flags.c_contiguous and source.flags.aligned):
            raise Undescribable("a captured array is converted at every call: it has another dtype or is not contiguous")
        dims = _dims(kind)
        slots = row(
            structures.ArrayBinding, kind=Kind.CAPTURED, slot=slot, array=id(source), descr=id(kind.dtype.numpy),
            count=source.ndim, dims=dims.address,
        )  # fmt: skip
        return slots, (source, dims)
    array = buffer_of(source.value if isinstance(source, Tensor) else source, kind)
    return row(structures.ArrayBinding, kind=Kind.CONSTANT, slot=slot, data=array.ctypes.data), (source, array)


def _result(kind: TensorType, slot: int) -> tuple[list[int], Any]:
    pool = new_pool(kind)
    dims, made = _dims(kind), Slots([0] * len(pool))
    slots = row(
        structures.Result, expected=id(kind), descr=id(kind.dtype.numpy), nd=len(kind.shape), dims=dims.address,
        bytes=kind.nbytes, slot=slot, pool=id(pool), count=len(pool), made_arrays=made.address,
    )  # fmt: skip
    return slots, (pool, kind, dims, made)


def _structure(traced: Traced) -> Slots | None:
    """How to build what the function returns; None for a single tensor."""
    if traced.is_single:
        return None
    slots: list[int] = []
    kept: list[Any] = []

    def add(structure: Any) -> None:
        if is_a(structure, (tuple, list)):
            kind = type(structure)
            is_own = kind is not tuple and kind is not list
            if is_own and (issubclass(kind, list) or namespace(structure) is not None):
                raise Undescribable(f"the function returns a {type_name(structure)}")
            kept.append(kind)
            content = items(structure)
            slots.extend((Kind.TUPLE if issubclass(kind, tuple) else Kind.LIST, len(content), id(kind) if is_own else 0))
            for item in content:
                add(item)
        elif is_a(structure, dict):
            if type(structure) is not dict:
                raise Undescribable(f"the function returns a {type_name(structure)}")
            slots.extend((Kind.DICT, len(structure), 0))
            for key in structure:
                kept.append(key)
                slots.append(id(key))
                add(structure[key])
        else:
            slots.extend((Kind.NOTHING,) if structure is None else (Kind.LEAF, structure))

    add(nest.pack(traced.structure, iter(traced.constants)))
    return Slots(slots, kept)


def _check(check: GuardCheck) -> tuple[list[int], Any]:
    names = addresses(check.names)
    values = Slots([0 if value is MISSING else id(value) for value in check.values])
    kept: list[Any] = [names, values]
    for index, value in enumerate(check.values):
        if value is not MISSING:
            kept.append(_protected(value, values, index))
    kind = check.kind if check.kind != "items" else "tuple" if is_a(check.subject, tuple) else "list"
    if (check.kind == "names" and not check.whole) or check.kind == "bases":
        kept.append(check.subject)
    elif check.kind == "object":
        kept.append(type(check.subject))
    slots = row(
        structures.GuardCheck, kind=Kind[kind.upper()], subject=id(check.subject), type=id(type(check.subject)),
        count=len(check.values), names=names.address, values=values.address, version=-1, whole=int(check.whole),
    )  # fmt: skip
    return slots, kept


def _protected(value: Any, values: Slots, index: int) -> Any:
    """What sees to it that another object at the address of `value` is not taken for it: it is kept, or, since it may lead
    back to the object that the trace belongs to, its address is forgotten when it goes. A container needs neither, since
    its items are checked."""
    if is_watched(value):
        return None
    if is_plain(value):
        return value
    memory = weakref.ref(values)

    def forget(_: Any) -> None:
        slots = memory()
        if slots is not None:
            slots.values[index] = _NO_OBJECT

    try:
        return weakref.ref(value, forget)
    except TypeError:
        return value
