"""One trace of a function: its guards, its machine code, and a call of it by way of Python."""

from __future__ import annotations

import time
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tracejit.compilation import Compilation
from tracejit.context import context
from tracejit.ir import Graph
from tracejit.ir.types import TensorType
from tracejit.llvm.machine.host import host_target
from tracejit.locks import Lock
from tracejit.runtime.compiled_function import CompiledFunction, array_of
from tracejit.runtime.taped_calls import Callee, operand_of, record_call
from tracejit.tracing.guards import Guard, changed
from tracejit.tracing.trace import Traced
from tracejit.variable import Variable, holding


class MemoryUse(NamedTuple):
    """Bytes of a compiled function: `arena` holds what lives during a call, `peak` is what is alive in it at one time at the
    most, `temporaries` what it would be without planning, each value with memory of its own; `results` are what it returns."""

    arena: int
    results: int
    peak: int
    temporaries: int


class _Place(NamedTuple):
    """Where a parameter's array comes from: a leaf of the call, or what was captured, and whether it is written to."""

    leaf: int | None
    source: Any
    type: TensorType
    updated: bool


class ConcreteFunction:
    """One trace, compiled when it is first called."""

    def __init__(self, key: Any, traced: Traced, guards: tuple[Guard, ...], cause: str, traced_seconds: float):
        self.key, self.traced, self.guards, self.cause = key, traced, guards, cause
        self.traced_seconds = traced_seconds
        self.compiled_seconds = 0.0
        self.forgotten = False
        self.number = 0  # among the traces of its function
        # What the native call path needs of this trace; why only the general path can call it, where that is so.
        self.program: Any = None
        self.only_general: str | None = None
        self._compiled: CompiledFunction | None = None
        self._compilation: Compilation | None = None
        self._callee: Callee | None = None  # what a tape records of a call
        self._lock = Lock()
        updated = {parameter for parameter, _ in traced.graph.updates}
        self.places: list[_Place] = []
        for parameter, binding in zip(traced.graph.parameters, traced.bindings, strict=True):
            assert isinstance(parameter.type, TensorType)
            leaf = binding.source if binding.kind in ("argument", "argument variable") else None
            self.places.append(_Place(leaf, binding.source, parameter.type, parameter in updated))
        self._updates = [place for place in self.places if place.updated]
        self.captured = [binding.source for binding in traced.bindings if binding.kind == "variable"]
        # Arguments that may have been captured as well: what the trace made of one holds for that variable only.
        self.only: dict[int, weakref.ref[Variable]] = {}

    @property
    def optimized(self) -> Graph:
        """The graph after all passes."""
        with self._lock:
            return self.compilation.optimized

    @property
    def compilation(self) -> Compilation:
        """The way from the trace to the machine code."""
        with self._lock:
            if self._compilation is None:
                self._compilation = Compilation(self.traced.graph, host_target())
            return self._compilation

    @property
    def compiled(self) -> CompiledFunction:
        """The machine code."""
        if self._compiled is None:
            # Two threads that call for the first time share one.
            with self._lock:
                if self._compiled is None:
                    start = time.perf_counter()
                    self._compiled = CompiledFunction.of_traced(self.compilation)
                    self.compiled_seconds = time.perf_counter() - start
        return self._compiled

    def forget(self) -> None:
        """Let go of the machine code of a trace that is not looked at any more."""
        self._compiled = self._compilation = self.program = self._callee = None
        self.forgotten = True

    def fits(self, leaves: Sequence[Any]) -> str | None:
        """None where the trace can be used for a call with its signature; else what has changed."""
        for leaf in leaves:
            if type(leaf) is Variable and any(leaf is captured for captured in self.captured):
                return f"the variable {leaf.name} is an argument and captured as well"
        for index, variable in self.only.items():
            if leaves[index] is not variable():
                return f"the argument {leaves[index].name} in place of a variable that was captured as well"
        return changed(self.guards)

    def call(self, leaves: Sequence[Any]) -> Any:
        """Run it; the structure that the function returned comes back."""
        compiled = self.compiled
        operands = self._operands(leaves) if context.tapes else []
        if self._updates:
            with holding([self._value(place, leaves) for place in self._updates]):
                results = compiled.run(self._arrays(leaves))
        else:
            results = compiled.run(self._arrays(leaves))
        if context.tapes:
            if self._callee is None:
                self._callee = Callee(self.traced.graph, lambda: compiled, self.traced.rules, self.traced.trace)
            record_call(self._callee, operands, results)
        return self.traced.pack(results)

    @staticmethod
    def _value(place: _Place, leaves: Sequence[Any]) -> Any:
        return place.source if place.leaf is None else leaves[place.leaf]

    def _arrays(self, leaves: Sequence[Any]) -> list[np.ndarray]:
        """What the parameters are in this call. A tensor whose value is no array that machine code can read gets one."""
        arrays = []
        for leaf, source, kind, updated in self.places:
            value = source if leaf is None else leaves[leaf]
            if isinstance(value, Variable):
                arrays.append(value.take_buffer() if updated else value.array())
            else:
                arrays.append(array_of(value, kind))
        return arrays

    def _operands(self, leaves: Sequence[Any]) -> list[Any]:
        """The values of the parameters as tensors, those of variables noted by the active tapes."""
        return [operand_of(self._value(place, leaves), place.type) for place in self.places]

    def copies(self, leaves: Sequence[Any]) -> list[np.ndarray]:
        """Copies of what the parameters are in this call."""
        values = [(self._value(place, leaves), place.type) for place in self.places]
        return [np.array(value.array() if isinstance(value, Variable) else array_of(value, kind)) for value, kind in values]

    def memory(self) -> MemoryUse:
        """The bytes that calls of this trace take."""
        facts = self.compiled.executable
        results = sum(result.type.nbytes for result in self.traced.graph.results if isinstance(result.type, TensorType))
        return MemoryUse(facts.arena_bytes, results, facts.peak_bytes, facts.temporaries_bytes)

    def describe(self) -> str:
        """Why it was made, where it came from, how large it is, how long it took, where the code of its kernels came from."""
        compiled = self._compiled
        cause = self.cause if compiled is None else f"{self.cause}; {compiled.executable.cause}"
        if self.forgotten:
            optimized = "dropped since"
        else:
            optimized = f"{len(self.optimized.nodes) if compiled is None else compiled.executable.optimized_nodes} optimized"
        spent = f"{self.traced_seconds * 1e3:.1f} ms to trace"
        if self.compiled_seconds:
            spent += f", {self.compiled_seconds * 1e3:.1f} ms to compile"
        through = f"; called by the general path: {self.only_general}" if self.only_general else ""
        code = f"; {compiled.executable.describe()}" if compiled is not None else ""
        return f"{cause}; {len(self.traced.graph.nodes)} nodes traced, {optimized}; {spent}{code}{through}"
