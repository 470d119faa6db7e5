"""What it costs to share a kernel among threads, and from where on it pays: `python -m benchmarks.threads [THREADS]`.

It looks at more than tracejit's public names: at the pool itself, and at kernels that are too small to be shared otherwise.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tracejit as tj
from benchmarks.measure import duration
from tracejit.llvm.machine import pool, threads
from tracejit.llvm.machine.host import host_target
from tracejit.llvm.machine.loader import load
from tracejit.llvm.machine.units import Unit, compile_units
from tracejit.runtime import concrete_function

ROUNDS = 101
# How long nothing is done before a call that is to find the threads asleep.
REST_SECONDS = 1e-3
SIZES = tuple(1 << bits for bits in range(12, 23))

# `empty` does nothing. `meet` lets the share of unit 0 end when the one of the last unit has begun.
TEXT = f"""
declare i32 @{pool.PARALLEL}(ptr, ptr, i64)

define i32 @empty(ptr %arguments, i64 %first, i64 %last) {{
  ret i32 0
}}

define i32 @meet(ptr %flag, i64 %first, i64 %last) {{
  %is_first = icmp eq i64 %first, 0
  br i1 %is_first, label %look, label %tell
look:
  %seen = load atomic volatile i32, ptr %flag acquire, align 4
  %alone = icmp eq i32 %seen, 0
  br i1 %alone, label %look, label %over
tell:
  store atomic volatile i32 1, ptr %flag release, align 4
  br label %over
over:
  ret i32 0
}}

define void @often(ptr %function, i64 %units, i64 %times) {{
  %flag = alloca i32
  br label %next
next:
  %count = phi i64 [ 0, %0 ], [ %following, %next ]
  store i32 0, ptr %flag
  %status = call i32 @{pool.PARALLEL}(ptr %function, ptr %flag, i64 %units)
  %following = add i64 %count, 1
  %more = icmp slt i64 %following, %times
  br i1 %more, label %next, label %over
over:
  ret void
}}
"""


def regions(most: int) -> None:
    """Print what a region costs in which nothing is done."""
    names = ("empty", "meet", "often")
    functions, _library = load(compile_units([Unit(tuple(names), TEXT)]), pool.symbols())
    often = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(functions["often"])

    def seconds(kernel: str, count: int, rest: float) -> float:
        found = []
        for _ in range(ROUNDS):
            time.sleep(rest)
            start = time.perf_counter()
            often(functions[kernel], most, count)
            found.append((time.perf_counter() - start) / count)
        return min(found)

    threads.request(1)
    print(f"a kernel that does nothing, by 1 thread: {duration(seconds('empty', 1000, 0))}")
    threads.request(most)
    often(functions["empty"], most, 1)
    print(f"by {most} threads that are awake: {duration(seconds('empty', 1000, 0))}")
    print(f"by {most} threads that sleep, whose shares the caller takes: {duration(seconds('empty', 1, REST_SECONDS))}")
    print(f"until a thread that is awake has begun: {duration(seconds('meet', 1000, 0))}")
    print(f"until a thread that slept has begun: {duration(seconds('meet', 1, REST_SECONDS))}")


class Times(NamedTuple):
    """Seconds of a call: by one thread and by all, one call after the other, and then each after a rest."""

    alone: float
    shared: float
    alone_rested: float
    shared_rested: float


def times(call: Callable[[], Any], most: int, count: int) -> Times:
    """The best of the rounds, each of `count` calls, in turns: with anything else on one of the cores, all wait for that."""
    found: dict[tuple[int, float], list[float]] = {(size, rest): [] for rest in (0.0, REST_SECONDS) for size in (1, most)}
    for _ in range(ROUNDS):
        for (size, rest), seconds in found.items():
            turns = 1 if rest else count
            threads.request(size)
            call()
            time.sleep(rest)
            start = time.perf_counter()
            for _ in range(turns):
                call()
            seconds.append((time.perf_counter() - start) / turns)
    return Times(*map(min, found.values()))


def kernels(most: int) -> None:
    """Print how long loops take by one thread and by all."""
    target = host_target()
    small = target._replace(machine=target.machine._replace(parallel_seconds=0.0))
    concrete_function.host_target = lambda: small
    functions = {"x * y + 1": lambda x, y: x * y + 1.0, "tanh(x) * y": lambda x, y: tj.tanh(x) * y}
    for name, function in functions.items():
        print(
            f"\n{name}\nelements  estimated  by 1  by {most}, awake  times as fast  by 1, after a rest  by {most}, after a rest"
        )
        for size in SIZES:
            x, y = (tj.constant(np.linspace(low, 1, size, dtype=np.float32)) for low in (-1, 0))
            traced = tj.function(function)
            for _ in range(5):
                traced(x, y)
            found = times(functools.partial(traced, x, y), most, max(1, 500_000 // size))
            durations = [traced.compiled(x, y).executable.seconds, *found]
            estimated, alone, shared, alone_rested, shared_rested = map(duration, durations)
            ratio = f"{found.alone / found.shared:.2f}"
            print(f"{size}  {estimated}  {alone}  {shared}  {ratio}  {alone_rested}  {shared_rested}", flush=True)


def main(most: int) -> None:
    """Print both for up to `most` threads."""
    threads.prepare()
    if most < 2:
        print("one thread: nothing is shared")
        return
    regions(most)
    kernels(most)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else threads.size())
