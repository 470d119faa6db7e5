"""A compiled function: a graph as machine code, called with arrays."""

from __future__ import annotations

import ctypes
import itertools
import sys
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from tracejit.compilation import Compilation
from tracejit.ir import Graph, TensorType
from tracejit.ir.errors import fail
from tracejit.ir.location import at
from tracejit.ir.types import float64
from tracejit.llvm.executable import Executable, Failure
from tracejit.llvm.machine import threads
from tracejit.llvm.machine.host import host_target
from tracejit.locks import Lock
from tracejit.memory import empty
from tracejit.runtime.slots import Slots
from tracejit.tensor import Tensor

if TYPE_CHECKING:
    from tracejit.llvm.emit import Module
    from tracejit.llvm.plan.plan import Plan

# A run that is estimated to take longer lets go of the interpreter's lock: to get it back may take as long as another thread
# is allowed to keep it, and never less than a few microseconds.
_LONG_SECONDS = 100e-6
# How many results of each kind are kept, to use those again that nobody else refers to any more; large ones hold memory.
_KEPT, _KEPT_LARGE, _LARGE = 4, 2, 1 << 17


class CompiledFunction:
    """One native function with what its calls need: frames, which are the addresses of a call and its arena, and results.

    Any number of threads may run it at once.
    """

    def __init__(self, graph: Graph, executable: Executable | None = None):
        """The function of an optimized graph; of a traced one where its code is given."""
        self.executable = executable or Executable(Compilation(graph, host_target(), graph), use_cache=False)
        self.parameters = graph.parameters
        if self.executable.parallel:
            threads.prepare()
        self.long = self.executable.seconds > _LONG_SECONDS
        signature = ctypes.CFUNCTYPE if self.long else ctypes.PYFUNCTYPE
        self._entry = signature(ctypes.c_int, ctypes.c_void_p)(self.executable.address)
        self._results = [result.type for result in graph.results if isinstance(result.type, TensorType)]
        self._pools = [new_pool(kind) for kind in self._results]
        self._oldest = [itertools.cycle(range(len(pool))) for pool in self._pools]
        self._choosing = Lock()
        self._idle: list[Slots] = []

    @classmethod
    def of_traced(cls, compilation: Compilation) -> CompiledFunction:
        """The function of a traced graph, from the cache where that has it."""
        return cls(compilation.traced, Executable(compilation))

    @property
    def graph(self) -> Graph:
        """The optimized graph."""
        return self.executable.compilation.optimized

    @property
    def plan(self) -> Plan:
        """Its kernels, and where every value lies."""
        return self.executable.compilation.plan

    @property
    def module(self) -> Module:
        """Its text for LLVM."""
        return self.executable.compilation.module

    @property
    def pointers(self) -> int:
        """How many addresses the machine code takes: parameters, results, arena, constants."""
        return len(self.parameters) + len(self._results) + 2

    def new_frame(self) -> Slots:
        """Memory for one call at a time: a slot for the owner's use, the addresses that the machine code takes, and as many
        slots for who keeps alive what lies there."""
        free = len(self.parameters) + len(self._results) + 1
        arena = empty((self.executable.arena_bytes,), np.uint8)
        return Slots([0] * free + [arena.ctypes.data, self.executable.constants.ctypes.data] + [0] * self.pointers, arena)

    def run(self, arrays: Sequence[np.ndarray]) -> list[Tensor]:
        """Run on `arrays`, one a parameter, each as `buffer_of` gives it: the results; the variables' new values are over
        their old ones.

        IndexOutOfRangeError or InvalidArgumentError, with the user's line, leave every variable as it was.
        """
        with self._choosing:
            results = [self._result(index, kind) for index, kind in enumerate(self._results)]
        try:
            frame = self._idle.pop()
        except IndexError:
            frame = self.new_frame()
        slots = frame.values
        place = 1
        for array in arrays:
            slots[place] = array.ctypes.data
            place += 1
        for result in results:
            slots[place] = result.value.ctypes.data
            place += 1
        status = self._entry(frame.address + 8)
        self._idle.append(frame)
        if status:
            self.fail(status)
        return results

    def fail(self, status: int) -> NoReturn:
        """Raise what a run means that ended with `status`."""
        _raise(self.executable.failing[status])

    def _result(self, index: int, kind: TensorType) -> Tensor:
        """A tensor that nobody else refers to, nor to its memory; one of the pool where there is one."""
        pool = self._pools[index]
        for place in range(len(pool)):
            if _references(pool, place) in _UNUSED:
                return pool[place]  # type: ignore[return-value]
        tensor = pool[next(self._oldest[index])] = Tensor(empty(kind.shape, kind.dtype.numpy), kind)
        return tensor


def new_pool(kind: TensorType) -> list[Tensor | None]:
    """Places for results to be used again."""
    return [None] * (_KEPT if kind.nbytes < _LARGE else _KEPT_LARGE)


def _references(pool: Sequence[Tensor | None], place: int) -> tuple[int, ...]:
    """How often a result, its array and that one's memory are referred to, this frame included; () where it is referred to
    weakly."""
    tensor = pool[place]
    if tensor is None or weakref.getweakrefcount(tensor):
        return ()
    array = tensor.value
    base = array.base
    counts = sys.getrefcount(tensor), sys.getrefcount(array)
    return counts if base is None else (*counts, sys.getrefcount(base))


# What a result shows that nobody else refers to. Measured, since what a frame adds differs between Pythons.
_UNUSED = [
    _references([Tensor(empty(kind.shape, kind.dtype.numpy), kind)], 0)
    for kind in (TensorType((1,), float64), TensorType((1024,), float64))
]


def buffer_of(value: Any, kind: TensorType) -> np.ndarray:
    """`value` as an array that machine code can read: of the dtype, contiguous, in this machine's byte order."""
    array = np.asarray(value)
    if array.dtype is not kind.dtype.numpy or not array.flags.c_contiguous or not array.flags.aligned:
        array = np.require(array, kind.dtype.numpy, ("C", "A"))
    return array


def array_of(value: Any, kind: TensorType) -> np.ndarray:
    """`buffer_of` a tensor or an array. A tensor whose value is not such an array has it from now on."""
    if isinstance(value, Tensor):
        value.value = array = buffer_of(value.value, kind)
        return array
    return buffer_of(value, kind)


def run_graph(compiled: CompiledFunction, arguments: Sequence[Any]) -> list[Tensor]:
    """Run a function without variables on tensors or arrays, one a parameter."""
    arrays = []
    for argument, parameter in zip(arguments, compiled.parameters, strict=True):
        assert isinstance(parameter.type, TensorType)
        arrays.append(array_of(argument, parameter.type))
    return compiled.run(arrays)


def _raise(failure: Failure) -> NoReturn:
    """What the op raises in eager mode, here without the value that did not fit."""
    with at(failure.location):
        fail(failure.error, failure.op, failure.types, failure.message)
