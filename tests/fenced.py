"""Machine code on arrays whose neighbours are watched (the fixture `fence`). Found by its name through pytest's `pythonpath`."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from tracejit import passes
from tracejit.ir import Graph
from tracejit.runtime.compiled_function import CompiledFunction


def run_at(step: CompiledFunction, arrays: list[np.ndarray], arena: int) -> int:
    """Run the machine code on parameters and results, in place, with the arena at an address; gives its status."""
    addresses = [*(array.ctypes.data for array in arrays), arena, step.executable.constants.ctypes.data]
    entry = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(step.executable.address)
    return entry((ctypes.c_void_p * len(addresses))(*addresses))


def run_fenced(graph: Graph, arguments: list[np.ndarray], fence: Any, at_start: bool = False) -> list[np.ndarray]:
    """Run with every operand, every result and the arena at the end of a page, or at its start."""
    step = CompiledFunction(passes.run(graph))
    held = [fence(argument.shape, argument.dtype, at_start) for argument in arguments]
    for argument, array in zip(arguments, held, strict=True):
        array[...] = argument
    results = [fence(result.shape, result.dtype.numpy, at_start) for result in graph.results]
    arena = fence((step.plan.arena_bytes,), np.dtype(np.uint8), at_start)
    assert run_at(step, [*held, *results], arena.ctypes.data) == 0
    for argument, array in zip(arguments, held, strict=True):
        np.testing.assert_array_equal(array, argument)
    return [np.array(result) for result in results]
