"""A compiled step: an optimized graph as machine code, called with arrays."""

from __future__ import annotations

import ctypes
import math
import sys
import weakref
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from tracejit.ir import Graph, Node, TensorType
from tracejit.ir.errors import fail
from tracejit.ir.location import at
from tracejit.llvm.emit import Module, emit
from tracejit.llvm.engine import assembly, host_target, load
from tracejit.llvm.plan import ALIGNMENT, Plan, plan
from tracejit.tensor import Tensor

# Results of at least this many bytes lie in blocks that are used again; the C library keeps smaller ones itself.
_POOLED = 1 << 17
_BLOCKS = 2


class Step:
    """One native function. Not to be called by two threads at once: it has one arena and one array of pointers."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.plan: Plan = plan(graph)
        self.module: Module = emit(self.plan, host_target())
        self._entry, self._keep = load(self.module)
        kinds = [result.type for result in graph.results]
        self._results: list[tuple[tuple[int, ...], np.dtype, TensorType]] = [
            (kind.shape, kind.dtype.numpy, kind) for kind in kinds if isinstance(kind, TensorType)
        ]
        self._first_result = len(graph.parameters)
        self._pointers = (ctypes.c_void_p * (self._first_result + len(kinds) + 1))()
        self._address = ctypes.addressof(self._pointers)
        # The arrays of variables whose addresses stand in the pointers.
        self.bound: dict[int, weakref.ref[np.ndarray]] = {}
        self._blocks: dict[int, list[np.ndarray]] = {}
        self._arena = np.empty(self.plan.arena_bytes + ALIGNMENT, np.uint8)
        start = self._arena.ctypes.data
        self._pointers[-1] = start + -start % ALIGNMENT

    def assembly(self) -> str:
        """The machine code as the assembler writes it."""
        return assembly(self.module)

    def _pooled(self, place: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array in a block whose earlier arrays are all gone: fresh memory would be mapped in page by page, which takes
        longer than to write it. A step keeps at most _BLOCKS blocks for a result."""
        blocks = self._blocks.setdefault(place, [])
        for index in range(len(blocks)):
            if _references(blocks, index) == _UNUSED:
                return np.ndarray(shape, dtype, blocks[index])
        block = np.empty(math.prod(shape) * dtype.itemsize, np.uint8)
        if len(blocks) < _BLOCKS:
            blocks.append(block)
        return np.ndarray(shape, dtype, block)

    def set_pointer(self, index: int, pointer: int) -> None:
        """Let parameter number `index` lie at `pointer`, for this and later calls."""
        self._pointers[index] = pointer

    def run(self) -> list[Tensor]:
        """Run on what the pointers point to: the results, and the variables' new values over their old ones.

        IndexOutOfRangeError or InvalidArgumentError, with the user's line, leave every variable as it was.
        """
        pointers, place = self._pointers, self._first_result
        results = []
        for shape, dtype, kind in self._results:
            array = np.empty(shape, dtype) if kind.nbytes < _POOLED else self._pooled(place, shape, dtype)
            pointers[place] = array.ctypes.data
            place += 1
            results.append(Tensor(array, kind))
        status = self._entry(self._address)
        if status:
            _raise(self.module.failing[status])
        return results


def _references(blocks: list[np.ndarray], index: int) -> int:
    """How often a block is referred to, this frame included."""
    return sys.getrefcount(blocks[index])


_UNUSED = _references([np.empty(1)], 0)


def buffer_of(value: Any, kind: TensorType) -> np.ndarray:
    """`value` as an array that a step can read: of the dtype, contiguous, in this machine's byte order."""
    array = np.asarray(value)
    if array.dtype is not kind.dtype.numpy or not array.flags.c_contiguous or not array.flags.aligned:
        array = np.require(array, kind.dtype.numpy, ("C", "A"))
    return array


def run_graph(step: Step, arguments: Sequence[Any]) -> list[Tensor]:
    """Run a step without variables on tensors or arrays, one a parameter."""
    kept = []
    for index, (argument, parameter) in enumerate(zip(arguments, step.graph.parameters, strict=True)):
        assert isinstance(parameter.type, TensorType)
        array = buffer_of(argument.value if isinstance(argument, Tensor) else argument, parameter.type)
        kept.append(array)
        step.set_pointer(index, array.ctypes.data)
    return step.run()


def _raise(node: Node) -> NoReturn:
    """What the op raises in eager mode, here without the value that did not fit."""
    assert node.op.fails is not None
    types = [operand.type for operand in node.operands]
    error, name, message = node.op.fails(types, **node.attrs)
    with at(node.location):
        fail(error, name, types, message)
