"""The call path as generated Python: what the native one does, where that one cannot be used.

A record is a function of its own, its checks written out one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.context import context
from tracejit.runtime.concrete_function import ConcreteFunction
from tracejit.runtime.step import array_of
from tracejit.tensor import Tensor
from tracejit.tracing.callshape import MOST_SHAPES, CallShape, Given, Node, Undescribable, call_shape
from tracejit.tracing.guards import changed
from tracejit.tracing.signature import Parameters
from tracejit.variable import Variable, holding

MISS = object()


class PythonCalls:
    """The records of one function, each a generated function."""

    def __init__(self) -> None:
        self._records: list[tuple[ConcreteFunction, Any, Callable[..., Any]]] = []

    def find(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the function returns for these arguments, MISS where no record fits."""
        for _, _, probe in self._records:
            found = probe(args, kwargs)
            if found is not MISS:
                return found
        return MISS

    def populate(
        self, function: Any, concrete: ConcreteFunction, parameters: Parameters, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> None:
        """Note how `concrete` was called, after a call that no record fitted."""
        if context.tapes or concrete.only_general or concrete.forgotten:
            return
        try:
            if concrete.only:
                raise Undescribable("a variable is an argument, and captured as well where it is not called")
            shape = call_shape(parameters, args, kwargs)
        except Undescribable as reason:
            concrete.only_general = str(reason)
            return
        known = [(each, form) for each, form, _ in self._records]
        if (concrete, shape.form) not in known and len(known) < MOST_SHAPES:
            self._records = [(concrete, shape.form, probe_of(concrete, shape)), *self._records]

    def forget(self, function: Any, concrete: ConcreteFunction) -> None:
        """Let go of the records of a trace that is not looked at any more."""
        self._records = [record for record in self._records if record[0] is not concrete]

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
    for place, node in enumerate(shape.nodes):
        _check(w, f"n{place}", node, [*variables, *captured])
        if node.kind == "variable":
            variables.append(f"n{place}")
    if concrete.guards:
        w.miss_if(f"changed({w.constant(concrete.guards)}) is not None")
    updated, arrays = [], []
    for leaf, source, kind, is_updated in concrete.places:
        found = source if leaf is None else shape.leaves[leaf]
        if isinstance(found, int) and leaf is not None:
            name, is_variable = f"n{found}", shape.nodes[found].kind == "variable"
        else:
            value = found.value if isinstance(found, Given) else found
            name, is_variable = w.constant(value), isinstance(value, Variable)
        if is_updated:
            updated.append(name)
        if is_variable:
            arrays.append(f"{name}.{'take_buffer' if is_updated else 'array'}()")
        else:
            arrays.append(f"array_of({name}, {w.constant(kind)})")
    run = f"{w.constant(concrete.step.run)}([{', '.join(arrays)}])"
    if updated:
        w.line(f"with holding(({', '.join(updated)},)): results = {run}")
    else:
        w.line(f"results = {run}")
    w.line("return results[0]" if concrete.traced.is_single else f"return {w.constant(concrete.traced.pack)}(results)")
    return w.function()


def _check(w: _Writer, name: str, node: Node, others: Sequence[str]) -> None:
    expected, kind = w.constant(node.expected), w.constant(node.type)
    if node.kind == "tensor":
        w.miss_if(f"type({name}) is not Tensor or {name}.type is not {expected}")
    elif node.kind == "array":
        dtype = w.constant(node.expected.dtype.numpy)
        w.miss_if(f"type({name}) is not ndarray or {name}.dtype != {dtype} or {name}.shape != {node.expected.shape!r}")
    elif node.kind == "scalar":
        w.miss_if(f"type({name}) is not {kind}")
    elif node.kind == "variable":
        w.miss_if(f"type({name}) is not Variable or {name}.type is not {expected}")
        w.miss_if(f"{name}._trainable is not {node.trainable}")
        if node.first >= 0:
            w.miss_if(f"{name} is not n{node.first}")
        else:
            for other in others:
                w.miss_if(f"{name} is {other}")
    elif node.kind == "same":
        w.miss_if(f"{name} is not {expected}")
    elif node.kind == "float":
        w.miss_if(f"type({name}) is not {kind} or {name}.hex() != {node.expected.hex()!r}")
    elif node.kind == "equal":
        w.miss_if(f"type({name}) is not {kind} or {name} != {expected}")
    else:
        w.miss_if(f"type({name}) is not {kind} or len({name}) != {node.size}")
        items = [f"n{node.first + index}" for index in range(node.size)]
        if node.kind != "dict" and items:
            w.line(f"{', '.join(items)}, = {name}")
        for item, key in zip(items, node.keys, strict=False):
            w.line(f"{item} = {name}.get({w.constant(key)}, MISS)")
            w.miss_if(f"{item} is MISS")
