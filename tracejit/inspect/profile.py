"""Where the time of a compiled function goes: each kernel timed in place, while the step runs as it always does."""

from __future__ import annotations

import ctypes
import time
from typing import Any, NamedTuple

import numpy as np

from tracejit.function import Function
from tracejit.inspect.report import describe_step, distinct_bytes
from tracejit.llvm.linking import link_timed
from tracejit.memory import copied, empty
from tracejit.runtime.slots import Slots


class KernelTime(NamedTuple):
    """A kernel of a profile: `seconds` a call, its `share` of all kernels' time, the bytes that it reads and writes."""

    what: str
    where: str
    seconds: float
    share: float
    bytes: int


class Profile(NamedTuple):
    """The kernels in the order in which they run; printed, those that take the most come first."""

    name: str
    seconds: float
    kernels: list[KernelTime]

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.seconds * 1e6:,.1f} µs in {len(self.kernels)} kernels"]
        for kernel in sorted(self.kernels, key=lambda kernel: -kernel.seconds):
            rate = kernel.bytes / max(kernel.seconds, 1e-12) / 1e9
            lines.append(
                f"  {kernel.share:6.1%} {kernel.seconds * 1e6:>10,.1f} µs  {kernel.what:32s} "
                f"{kernel.bytes:>12,d} B {rate:>7,.1f} GB/s  {kernel.where}"
            )
        return "\n".join(lines)


def profile(function: Function, *args: Any, runs: int = 20, **kwargs: Any) -> Profile:
    """The median time of each kernel over `runs` runs of `function` for a call with these arguments.

    It runs on copies: variables keep their values. Seconds are those of the processor's cycle counter, scaled so that all
    kernels together take as long as the run does by the clock. InvalidArgumentError and IndexOutOfRangeError as the function's.
    """
    step, arrays = function.compiled(*args, **kwargs), function.arrays(*args, **kwargs)
    executable, plan = step.executable, step.plan
    address, code = link_timed(executable.table, executable.linked.kernels, step.pointers)
    entry = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(address)
    results = [empty((result.type.nbytes,), np.uint8) for result in plan.graph.results]  # type: ignore[union-attr]
    ticks = np.zeros(len(plan.calls), np.uint64)
    buffers = [copied(array, array.dtype) for array in arrays]
    kept = [*buffers, *results, empty((plan.arena_bytes,), np.uint8), executable.constants, ticks]
    frame = Slots([buffer.ctypes.data for buffer in kept], (kept, code))
    found, clock = [], []
    for _ in range(runs + 1):  # the first, which pays for the pages, is thrown away
        for buffer, array in zip(buffers, arrays, strict=True):
            buffer[...] = array
        start = time.perf_counter()
        status = entry(frame.address)
        clock.append(time.perf_counter() - start)
        if status:
            step.fail(status)
        found.append(ticks.astype(np.float64))
    seconds, cycles = float(np.median(clock[1:])), np.median(found[1:], axis=0)
    shares = cycles / max(cycles.sum(), 1.0)
    kernels = [
        KernelTime(*describe_step(each), float(share) * seconds, float(share), distinct_bytes([*each.operands, *each.outputs]))
        for each, share in zip(plan.calls, shares, strict=True)
    ]
    return Profile(function.name, seconds, kernels)
