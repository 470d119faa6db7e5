"""The call path as generated Python: what the native one does, where that one cannot be used.

An entry is a function of its own, its checks written out one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.context import context
from tracejit.runtime.compiled_function import array_of
from tracejit.runtime.concrete_function import ConcreteFunction
from tracejit.tensor import Tensor
from tracejit.tracing.callshape import MOST_SHAPES, CallShape, Default, Pattern, Undescribable, call_shape
from tracejit.tracing.guards import changed
from tracejit.tracing.signature import Parameters
from tracejit.variable import Variable, holding

MISS = object()


class PythonInlineCache:
    """The entries of one function, each a generated function."""

    def __init__(self) -> None:
        self._entries: list[tuple[ConcreteFunction, Any, Callable[..., Any]]] = []

    def find(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the function returns for these arguments, MISS where no entry fits."""
        for _, _, probe in self._entries:
            found = probe(args, kwargs)
            if found is not MISS:
                return found
        return MISS

    def populate(
        self, function: Any, concrete: ConcreteFunction, parameters: Parameters, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> None:
        """Note how `concrete` was called, after a call that no entry fitted."""
        if context.tapes or concrete.only_general or concrete.forgotten:
            return
        try:
            if concrete.only:
                raise Undescribable("a variable is an argument, and captured as well where it is not called")
            shape = call_shape(parameters, args, kwargs)
        except Undescribable as reason:
            concrete.only_general = str(reason)
            return
        known = [(each, form) for each, form, _ in self._entries]
        if (concrete, shape.form) not in known and len(known) < MOST_SHAPES:
            self._entries = [(concrete, shape.form, probe_of(concrete, shape)), *self._entries]

    def forget(self, function: Any, concrete: ConcreteFunction) -> None:
        """Let go of the entries of a trace that is not looked at any more."""
        self._entries = [entry for entry in self._entries if entry[0] is not concrete]

    def remember(self, function: Any, instance: Any, method: Any) -> None:
        """Nothing: Python finds the method of an instance anew."""


class _Writer:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.known: dict[str, Any] = {
            "MISS": MISS, "Tensor": Tensor, "Variable": Variable, "ndarray": np.ndarray, "array_of": array_of,
            "holding": holding, "changed": changed,
        }  # fmt: skip

    def line(self, text: str) -> None:
        self.lines.append("    " + text)

    def miss_if(self, condition: str) -> None:
        self.line(f"if {condition}: return MISS")

    def constant(self, value: Any) -> str:
        name = f"c{len(self.known)}"
        self.known[name] = value
        return name

    def function(self) -> Callable[..., Any]:
        exec("\n".join(["def probe(args, kwargs):", *self.lines]), self.known)
        return self.known.pop("probe")  # whose globals they are: no cycle


def probe_of(concrete: ConcreteFunction, shape: CallShape) -> Callable[..., Any]:
    """A function of (args, kwargs): what the trace returns for a call of this shape, MISS for another one."""
    w = _Writer()
    w.miss_if(f"len(args) != {shape.positional} or len(kwargs) != {len(shape.keywords)}")
    if shape.positional:
        w.line(f"{', '.join(f'n{i}' for i in range(shape.positional))}, = args")
    for place, name in enumerate(shape.keywords, shape.positional):
        w.line(f"n{place} = kwargs.get({name!r}, MISS)")
        w.miss_if(f"n{place} is MISS")
    captured = [w.constant(variable) for variable in concrete.captured]
    variables: list[str] = []
    for place, pattern in enumerate(shape.patterns):
        _check(w, f"n{place}", pattern, [*variables, *captured])
        if pattern.kind == "variable":
            variables.append(f"n{place}")
    if concrete.guards:
        w.miss_if(f"changed({w.constant(concrete.guards)}) is not None")
    updated, arrays = [], []
    for leaf, source, kind, is_updated in concrete.places:
        found = source if leaf is None else shape.leaves[leaf]
        if isinstance(found, int) and leaf is not None:
            name, is_variable = f"n{found}", shape.patterns[found].kind == "variable"
        else:
            value = found.value if isinstance(found, Default) else found
            name, is_variable = w.constant(value), isinstance(value, Variable)
        if is_updated:
            updated.append(name)
        if is_variable:
            arrays.append(f"{name}.{'take_buffer' if is_updated else 'array'}()")
        else:
            arrays.append(f"array_of({name}, {w.constant(kind)})")
    run = f"{w.constant(concrete.compiled.run)}([{', '.join(arrays)}])"
    if updated:
        w.line(f"with holding(({', '.join(updated)},)): results = {run}")
    else:
        w.line(f"results = {run}")
    w.line("return results[0]" if concrete.traced.is_single else f"return {w.constant(concrete.traced.pack)}(results)")
    return w.function()


def _check(w: _Writer, name: str, pattern: Pattern, others: Sequence[str]) -> None:
    expected, kind = w.constant(pattern.expected), w.constant(pattern.type)
    if pattern.kind == "tensor":
        w.miss_if(f"type({name}) is not Tensor or {name}.type is not {expected}")
    elif pattern.kind == "array":
        dtype = w.constant(pattern.expected.dtype.numpy)
        w.miss_if(f"type({name}) is not ndarray or {name}.dtype != {dtype} or {name}.shape != {pattern.expected.shape!r}")
    elif pattern.kind == "scalar":
        w.miss_if(f"type({name}) is not {kind}")
    elif pattern.kind == "variable":
        w.miss_if(f"type({name}) is not Variable or {name}.type is not {expected}")
        w.miss_if(f"{name}._trainable is not {pattern.trainable}")
        if pattern.first >= 0:
            w.miss_if(f"{name} is not n{pattern.first}")
        else:
            for other in others:
                w.miss_if(f"{name} is {other}")
    elif pattern.kind == "same":
        w.miss_if(f"{name} is not {expected}")
    elif pattern.kind == "float":
        w.miss_if(f"type({name}) is not {kind} or {name}.hex() != {pattern.expected.hex()!r}")
    elif pattern.kind == "equal":
        w.miss_if(f"type({name}) is not {kind} or {name} != {expected}")
    else:
        w.miss_if(f"type({name}) is not {kind} or len({name}) != {pattern.size}")
        items = [f"n{pattern.first + index}" for index in range(pattern.size)]
        if pattern.kind != "dict" and items:
            w.line(f"{', '.join(items)}, = {name}")
        for item, key in zip(items, pattern.keys, strict=False):
            w.line(f"{item} = {name}.get({w.constant(key)}, MISS)")
            w.miss_if(f"{item} is MISS")
