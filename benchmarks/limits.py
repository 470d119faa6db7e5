"""What the cores that this process may run on can do at the most: arithmetic in registers, and a copy of so many bytes.
`python -m benchmarks.limits` prints it.

Both are loops in machine code that nothing of tracejit has written; of several runs and of several ways to write them, the
best counts.
"""

from __future__ import annotations

import ctypes
import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.report import cores

# LLVM's name and the bytes of an element.
ELEMENTS = {"float32": ("float", 4), "float64": ("double", 8)}
# A vector register's bytes: the widest that the processor has is the fastest.
WIDTHS = (64, 32, 16)
# Enough to hide the latency of two fused multiply-adds a cycle, and few enough for 16 registers.
ACCUMULATORS = 12
RUNS = 12
RUN_SECONDS = 3e-3
# A turn of the copying loop.
LINES, LINE = 4, 64


def _peak_text(dtype: str, width: int, accumulators: int = ACCUMULATORS) -> str:
    name, size = ELEMENTS[dtype]
    lanes = width // size
    vector, fma = f"<{lanes} x {name}>", f"@llvm.fmuladd.v{lanes}f{8 * size}"
    each = range(accumulators)
    phis = [f"%a{i} = phi {vector} [ %x, %entry ], [ %b{i}, %loop ]" for i in each]
    steps = [f"%b{i} = call {vector} {fma}({vector} %a{i}, {vector} %x, {vector} %x)" for i in each]
    stores = [f"store volatile {vector} %b{i}, ptr %p" for i in each]
    return "\n".join([
        f"declare {vector} {fma}({vector}, {vector}, {vector})",
        "define void @run(ptr %p, ptr %q, i64 %n, i64 %turns) {", "entry:", f"%x = load {vector}, ptr %p", "br label %loop",
        "loop:", "%i = phi i64 [ 0, %entry ], [ %j, %loop ]", *phis, *steps, "%j = add i64 %i, 1",
        "%more = icmp ult i64 %j, %turns", "br i1 %more, label %loop, label %end", "end:", *stores, "ret void", "}",
    ])  # fmt: skip


def _copy_text(width: int, past_caches: bool) -> str:
    """The copy goes to one half of its target and to the other in turns, as a new result does while the last one lives."""
    vector = f"<{width // 4} x float>"
    hint = ", !nontemporal !0" if past_caches else ""
    body = []
    for i in range(LINES * LINE // width):
        body += [
            f"%k{i} = add i64 %i, {i * width}",
            f"%s{i} = getelementptr i8, ptr %p, i64 %k{i}",
            f"%t{i} = getelementptr i8, ptr %to, i64 %k{i}",
            f"%v{i} = load {vector}, ptr %s{i}, align {LINE}",
            f"store {vector} %v{i}, ptr %t{i}, align {LINE}{hint}",
        ]
    return "\n".join([
        "define void @run(ptr %p, ptr %q, i64 %n, i64 %turns) {", "entry:", "br label %turn",
        "turn:", "%u = phi i64 [ 0, %entry ], [ %w, %next ]", "%odd = and i64 %u, 1", "%skip = mul i64 %odd, %n",
        "%to = getelementptr i8, ptr %q, i64 %skip", "br label %loop",
        "loop:", "%i = phi i64 [ 0, %turn ], [ %j, %loop ]", *body, f"%j = add i64 %i, {LINES * LINE}",
        "%more = icmp ult i64 %j, %n", "br i1 %more, label %loop, label %next",
        "next:", "%w = add i64 %u, 1", "%again = icmp ult i64 %w, %turns", "br i1 %again, label %turn, label %end",
        "end:", "ret void", "}", "!0 = !{i32 1}",
    ])  # fmt: skip


@functools.cache
def _code(text: str) -> tuple[Any, Callable[..., None]]:
    """What keeps the code, and the code: (from, to, bytes, turns)."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    # Processors of Intel's would be given half the width without the word.
    text = text.replace("i64 %turns) {", 'i64 %turns) "prefer-vector-width"="512" {')
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=2, jit=True
    )
    module = llvm.parse_assembly(text)
    engine = llvm.create_mcjit_compiler(module, target)
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    return engine, kind(engine.get_function_address("run"))


def _aligned(size: int) -> np.ndarray:
    """Bytes that begin at a line of the cache, all written."""
    held = np.ones(size + LINE, np.uint8)
    start = -held.ctypes.data % LINE
    return held[start : start + size]


def _seconds(run: Callable[..., None], buffers: list[tuple[np.ndarray, np.ndarray]], turns: int) -> float:
    """Until each of the buffers has been run over, a thread each. One thread's seconds are the processor's: what it waits
    for others on the same core is no limit of the machine's."""
    clock = time.thread_time if len(buffers) == 1 else time.perf_counter
    gate = threading.Barrier(len(buffers))
    times: list[tuple[float, float]] = []

    def one(source: np.ndarray, target: np.ndarray) -> None:
        gate.wait()
        start = clock()
        run(source.ctypes.data, target.ctypes.data, source.size, turns)
        times.append((start, clock()))

    threads = [threading.Thread(target=one, args=pair) for pair in buffers[1:]]
    for thread in threads:
        thread.start()
    one(*buffers[0])
    for thread in threads:
        thread.join()
    return max(end for _, end in times) - min(start for start, _ in times)


def _best(text: str, buffers: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Seconds of a turn, the best of some runs."""
    _, run = _code(text)
    turns = 2
    # By one thread: what several wait for each other is no work.
    while _seconds(run, buffers[:1], turns) < RUN_SECONDS * len(buffers):
        turns *= 2
    return min(_seconds(run, buffers, turns) for _ in range(RUNS)) / turns


def _split(size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each core a source and two targets in one, where a source and a target are `size` bytes in all."""
    count = cores() or 1
    block = LINES * LINE
    each = max(1, round(size / 2 / count / block)) * block
    return [(_aligned(each), _aligned(2 * each)) for _ in range(count)]


@functools.cache
def peak(dtype: str) -> float:
    """Floating-point operations a second in registers."""
    buffers = _split(2 * LINES * LINE)
    size = ELEMENTS[dtype][1]
    return max(2 * ACCUMULATORS * (width // size) * len(buffers) / _best(_peak_text(dtype, width), buffers) for width in WIDTHS)


@functools.cache
def bandwidth(size: int) -> float:
    """Bytes a second of reading half of `size` bytes and writing as many, which stay in the caches from turn to turn where
    they fit."""
    buffers = _split(size)
    moved = 2 * sum(source.size for source, _ in buffers)
    texts = [_copy_text(width, past_caches) for width in WIDTHS for past_caches in (False, True)]
    return moved / min(_best(text, buffers) for text in texts)


@functools.cache
def in_flight(width: int) -> float:
    """How many fused multiply-adds on registers of so many bytes a core has begun and not ended: so many start in a cycle,
    times the cycles that one takes."""
    buffers = _split(2 * LINES * LINE)[:1]
    chain, many = (_best(_peak_text("float32", width, accumulators), buffers) for accumulators in (1, ACCUMULATORS))
    return ACCUMULATORS * chain / many


def main() -> None:
    """Print all of it for this machine."""
    print(f"peak: {peak('float32') / 1e9:.1f} GFLOP/s, {peak('float64') / 1e9:.1f} in float64")
    for width in WIDTHS:
        print(f"in flight, registers of {width} bytes: {in_flight(width):.1f}")
    for bits in (15, 18, 21, 24, 27):
        print(f"copy of {1 << bits:,d} bytes: {bandwidth(1 << bits) / 1e9:.1f} GB/s")


if __name__ == "__main__":
    main()
