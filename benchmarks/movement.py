"""`python -m benchmarks.movement`: what moving elements costs, beside NumPy and beside a plain copy of as many bytes.

The machine code alone is timed, without the call from Python, on one thread. Rounds go in turns; the least of each counts.
"""

from __future__ import annotations

import ctypes
import functools
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from benchmarks.measure import duration
from tracejit import ops, passes
from tracejit.ir import Graph, make
from tracejit.ir.types import array_type
from tracejit.runtime.compiled_function import CompiledFunction

# Seconds for all the rounds of a contestant, and for one of them.
BUDGET, SAMPLE = 0.3, 3e-4


class Case(NamedTuple):
    """`build` makes a node of parameters like `arrays`, `by_numpy` writes the same into an array."""

    name: str
    arrays: list[np.ndarray]
    build: Callable[..., Any]
    by_numpy: Callable[[np.ndarray], Any]


def cases() -> Iterator[Case]:
    """Transpositions, strided views, gathers and their gradients, concat, pad, argmax."""
    rng = np.random.default_rng(0)
    for shape in ((64, 64), (1000, 1000), (4096, 4096), (100000, 3), (3, 100000)):
        yield transposed(rng.random(shape, np.float32))
    yield transposed(rng.random((4096, 4096)))
    line = rng.random(400000, np.float32)
    for stride in (-1, 2, 3, 20):
        yield strided(line, stride)
    for rows, columns, count in ((1000, 64, 512), (50000, 512, 4096), (1000, 3, 10000), (100000, 1, 100000)):
        table, indices = rng.random((rows, columns), np.float32), rng.integers(0, rows, count)
        name = f"{count} of {rows} x {columns}"
        yield Case(
            f"gather {name}",
            [table, indices],
            lambda x, i: ops.gather(x, i, axis=0),
            lambda out, x=table, i=indices: np.take(x, i, 0, out=out, mode="clip"),  # type: ignore[misc]
        )
        yield added(f"scatter_add {name}", rng.random((count, columns), np.float32), indices, rows)
    parts = [rng.random((1000, 100), np.float32), rng.random((1000, 200), np.float32)]
    yield Case(
        "concat 1000 x (100 + 200)", parts, lambda x, y: ops.concat(x, y, axis=1), lambda out: np.concatenate(parts, 1, out=out)
    )
    square = rng.random((1000, 1000), np.float32)
    yield Case(
        "pad 1000 x 1000 by 1",
        [square],
        lambda x: ops.pad(x, low=(1, 1), high=(1, 1), interior=(0, 0), value=0.0),
        lambda out: np.copyto(out, np.pad(square, 1)),
    )
    for axis in (0, 1):
        yield Case(
            f"argmax 1000 x 1000 along {axis}",
            [square],
            functools.partial(ops.argmax, axis=axis),
            lambda out, axis=axis: np.argmax(square, axis, out=out),  # type: ignore[misc]
        )


def transposed(x: np.ndarray) -> Case:
    name = f"transpose {x.dtype.name} {x.shape[0]} x {x.shape[1]}"
    return Case(name, [x], lambda node: ops.transpose(node, permutation=(1, 0)), lambda out: np.copyto(out, x.T))


def strided(x: np.ndarray, stride: int) -> Case:
    def build(node: Any) -> Any:
        if stride < 0:
            return ops.reverse_axes(node, axes=(0,))
        return ops.slice(node, starts=(0,), sizes=(-(-x.size // stride),), strides=(stride,))

    return Case(f"every {stride} of {x.size}", [x], build, lambda out: np.copyto(out, x[::stride]))


def added(name: str, updates: np.ndarray, indices: np.ndarray, size: int) -> Case:
    def by_numpy(out: np.ndarray) -> None:
        out[...] = 0
        np.add.at(out, indices, updates)

    return Case(name, [updates, indices], lambda x, i: ops.scatter_add(x, i, axis=0, size=size), by_numpy)


def compiled(case: Case) -> tuple[Callable[[], Any], np.ndarray]:
    """The machine code on the case's arrays, and the array into which it writes."""
    parameters = [make(ops.parameter, type=array_type(array), name=f"x{n}") for n, array in enumerate(case.arrays)]
    result = case.build(*parameters)
    step = CompiledFunction(passes.run(Graph("moved", parameters, [result])))
    out = np.zeros(result.shape, result.dtype.numpy)
    arena = np.zeros(step.plan.arena_bytes + 1, np.uint8)
    addresses = [array.ctypes.data for array in (*case.arrays, out, arena, step.executable.constants)]
    frame = (ctypes.c_void_p * len(addresses))(*addresses)
    entry = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(step.executable.address)
    return lambda held=(step, arena): entry(frame), out


def least(*calls: Callable[[], Any]) -> list[float]:
    """Seconds of each, at its best, after one that is not timed: it pays for what others left in the caches."""
    counts = []
    for call in calls:
        call()
        start = time.perf_counter()
        call()
        counts.append(max(int(SAMPLE / max(time.perf_counter() - start, 1e-9)), 1))
    best = [float("inf")] * len(calls)
    end = time.perf_counter() + BUDGET * len(calls)
    while time.perf_counter() < end:
        for place, (call, count) in enumerate(zip(calls, counts, strict=True)):
            call()
            start = time.perf_counter()
            for _ in range(count):
                call()
            best[place] = min(best[place], (time.perf_counter() - start) / count)
    return best


def main() -> None:
    """Print the table."""
    print(f"{'':36}{'tracejit':>10}{'NumPy':>10}{'a copy':>10}{'NumPy/tracejit':>16}{'copy/tracejit':>15}")
    for case in cases():
        run, out = compiled(case)
        run()
        other = np.array(out)
        case.by_numpy(other)
        np.testing.assert_array_equal(out, other)
        own, numpys, copy = least(run, functools.partial(case.by_numpy, out), functools.partial(np.copyto, out, other))
        figures = f"{duration(own):>10}{duration(numpys):>10}{duration(copy):>10}{numpys / own:>16.2f}{copy / own:>15.2f}"
        print(f"{case.name:36}{figures}", flush=True)


if __name__ == "__main__":
    main()
