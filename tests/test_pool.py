"""The threads that share a large kernel: how it is divided, that numbers do not depend on them, that they harm nobody."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import random_graph
from machines import change_machine, compiled_text

import tracejit as tj
from tracejit import ops, passes
from tracejit.errors import InvalidArgumentError
from tracejit.ir import OPS, Graph, Op, TensorType, make
from tracejit.ir.op import Kernel
from tracejit.ir.types import float32
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.table import KERNELS
from tracejit.llvm.machine import pool, threads
from tracejit.llvm.target import SSE, Target
from tracejit.llvm.text.types import Lanes
from tracejit.runtime.compiled_function import CompiledFunction, run_graph

only_divided = pytest.mark.skipif(not pool.divides(), reason="one thread does all on this system")


@pytest.fixture(autouse=True)
def system_picks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("TRACEJIT_NUM_THREADS", raising=False)
    yield
    monkeypatch.undo()
    tj.config.threading.set_intra_op_parallelism_threads(0)


# The threads that stay: one that has ended, as LLVM's own, is listed until the system gets to it.
STAYING = """
import os, time

def staying():
    found, same = set(os.listdir("/proc/self/task")), 0
    while same < 10:
        time.sleep(0.01)
        left = found & set(os.listdir("/proc/self/task"))
        found, same = left, same + 1 if left == found else 0
    return found
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run `program` in an interpreter of its own, where `large(x)` is a function whose kernel is shared by 4 threads."""
    source = """
import signal, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of a fork beside threads: it is what is tested
import numpy as np, tracejit as tj
tj.config.threading.set_intra_op_parallelism_threads(4)
large = tj.function(lambda x: tj.exp(x) * 2.0 + x)
x = tj.constant(np.linspace(-2, 2, 200_000, dtype=np.float32))
tasks = lambda: len(staying())
""" + textwrap.dedent(program)
    command = [sys.executable, "-c", STAYING + source]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


# -- what a kernel is divided with


def kernel_of(units: int, *, parallel: bool) -> KernelBuilder:
    """out[i] = i for each unit i that the call does; out[units] is their sum."""
    b = KernelBuilder('"k"', ["out"], Target(SSE), parallel)

    def body(index: Lanes, carried: list[Lanes]) -> list[Lanes]:
        value = b.cast(index, float32)
        b.store_at(value, b.address("%out", float32, index=index))
        return [b.add(carried[0], value)]

    (total,) = b.loop_between(*b.parallel_range(units), body, [b.const(0, float32)])
    b.store_at(total, b.address("%out", float32, units))
    return b


@pytest.mark.parametrize(("first", "last"), [(0, 10), (3, 7), (9, 10), (4, 4), (5, 2)])
def test_a_divided_kernel_does_the_units_that_it_is_told(first: int, last: int) -> None:
    b = kernel_of(10, parallel=True)
    assert b.chunks == 10
    text = b.text() + "\nattributes #0 = { nounwind }"
    functions, _library = compiled_text(text, ["k"])
    out = np.full(11, -1, np.float32)
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(functions["k"])
    assert call((ctypes.c_void_p * 1)(out.ctypes.data), first, last) == 0
    done = range(first, last)
    assert out.tolist() == [i if i in done else -1 for i in range(10)] + [sum(done)]


@pytest.mark.parametrize(("units", "parallel"), [(10, False), (1, True), (0, True)])
def test_a_kernel_that_is_not_divided_is_as_it_was_without(units: int, parallel: bool) -> None:
    b = kernel_of(units, parallel=parallel)
    assert b.chunks is None
    assert "%first" not in b.text()
    plain = KernelBuilder('"k"', ["out"], Target(SSE))

    def body(index: Lanes, carried: list[Lanes]) -> list[Lanes]:
        value = plain.cast(index, float32)
        plain.store_at(value, plain.address("%out", float32, index=index))
        return [plain.add(carried[0], value)]

    (total,) = plain.loop(units, body, [plain.const(0, float32)])
    plain.store_at(total, plain.address("%out", float32, units))
    assert b.text() == plain.text()


def test_a_kernel_is_divided_once() -> None:
    b = kernel_of(10, parallel=True)
    with pytest.raises(AssertionError, match="divided already"):
        b.parallel_range(10)


# -- the pool itself

# Each unit adds one to its place; the unit `fails` gives the status 1, what comes after it in its share is left.
COUNTING = """
define i32 @count(ptr %arguments, i64 %first, i64 %last) nounwind {
start:
  %slot = getelementptr ptr, ptr %arguments, i64 1
  %out = load ptr, ptr %arguments
  %fails = load i64, ptr %slot
  br label %next
next:
  %i = phi i64 [ %first, %start ], [ %following, %done ]
  %more = icmp slt i64 %i, %last
  br i1 %more, label %do, label %end
do:
  %wrong = icmp eq i64 %i, %fails
  br i1 %wrong, label %fail, label %done
done:
  %place = getelementptr i32, ptr %out, i64 %i
  %before = load i32, ptr %place
  %after = add i32 %before, 1
  store i32 %after, ptr %place
  %following = add i64 %i, 1
  br label %next
fail:
  ret i32 1
end:
  ret i32 0
}
"""


class Counting:
    """Calls of the pool with the kernel above."""

    def __init__(self) -> None:
        functions, self._library = compiled_text(COUNTING, ["count"])
        self._function = functions["count"]
        parallel = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
        self._parallel = parallel(pool.symbols()[pool.PARALLEL])

    def __call__(self, counts: np.ndarray, fails: int = -1) -> int:
        arguments = (ctypes.c_int64 * 2)(counts.ctypes.data, fails)
        return self._parallel(self._function, ctypes.addressof(arguments), len(counts))


@pytest.fixture(scope="module")
def counting() -> Counting:
    threads.prepare()
    return Counting()


@pytest.mark.parametrize("size", [1, 2, 3, 8, pool.MOST])
def test_every_unit_is_done_once(size: int, counting: Counting) -> None:
    threads.request(size)
    for units in (1, 2, 3, 7, 8, 9, 100, 257, 1000, 100_003):
        counts = np.zeros(units, np.int32)
        for _ in range(20):
            assert counting(counts) == 0
        assert (counts == 20).all()


@pytest.mark.parametrize("pause", [0.0, 0.0001, 0.002])
def test_every_unit_is_done_once_whether_the_threads_are_awake_or_asleep(pause: float, counting: Counting) -> None:
    threads.request(3)
    counts = np.zeros(50, np.int32)
    for _ in range(200):
        counting(counts)
        time.sleep(pause)
    assert (counts == 200).all()


def test_the_status_is_that_of_whichever_share_fails(counting: Counting) -> None:
    for size in (1, 2, 5):
        threads.request(size)
        for fails in range(20):
            counts = np.zeros(20, np.int32)
            assert counting(counts, fails) == 1
            assert counts[fails] == 0
            assert counts.max() <= 1
        assert counting(np.zeros(20, np.int32)) == 0


def test_several_callers_at_once(counting: Counting) -> None:
    threads.request(3)

    def work(seed: int) -> bool:
        counts = np.zeros(1000 + seed, np.int32)
        return all(counting(counts) == 0 for _ in range(2000)) and bool((counts == 2000).all())

    with ThreadPoolExecutor(6) as callers:
        assert all(callers.map(work, range(6)))


def test_one_thread_does_all_elsewhere() -> None:
    written = pool.text("darwin", "arm64", 64)
    assert written == pool.text("linux", "riscv64", 64) == pool.text("linux", "x86_64", 32)
    functions, _library = compiled_text(written + COUNTING, [pool.PARALLEL, "count"])
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(functions[pool.PARALLEL])
    counts = np.zeros(10, np.int32)
    assert call(functions["count"], ctypes.addressof((ctypes.c_int64 * 2)(counts.ctypes.data, -1)), 10) == 0
    assert (counts == 1).all()


def test_one_thread_does_all_where_there_are_no_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(module: Any) -> Any:
        raise OSError("could not get source code")

    monkeypatch.setattr(pool, "source_of", absent)
    assert pool.text("linux", "x86_64", 64) == pool.text("darwin", "arm64", 64)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_code_generator_understands_the_code_for_each_processor(machine: str) -> None:
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = llvm.parse_assembly(pool.text("linux", machine, 64))
    module.triple = f"{machine}-unknown-linux-gnu"
    assembly = llvm.Target.from_triple(module.triple).create_target_machine().emit_assembly(module)
    assert f"{pool.PARALLEL}:" in assembly


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_what_threads_share_is_read_and_written_in_order(machine: str) -> None:
    """What one thread wrote is seen by the other that sees the word of its slot, or the pool free."""
    functions = re.split(r"^define ", pool.text("linux", machine, 64), flags=re.MULTILINE)

    def atomics(name: str) -> list[str]:
        (text,) = [each for each in functions if re.match(rf"[^(]*@{name}\(", each)]
        found = re.findall(
            r"(load atomic|store atomic|atomicrmw xchg|cmpxchg).*? (seq_cst seq_cst|(?:\d )?seq_cst|\w+, align \d)$",
            text,
            re.MULTILINE,
        )
        return [f"{operation} {order}" for operation, order in found]

    assert atomics("wait") == ["load atomic acquire, align 4", "cmpxchg seq_cst seq_cst", "load atomic acquire, align 4"]
    assert atomics("worker") == ["cmpxchg seq_cst seq_cst", "atomicrmw xchg 0 seq_cst"]
    assert atomics("tracejit_parallel") == [
        "load atomic monotonic, align 8", "cmpxchg seq_cst seq_cst", "atomicrmw xchg 2 seq_cst", "cmpxchg seq_cst seq_cst",
        "store atomic release, align 8",
    ]  # fmt: skip
    for name in ("share", "part", "start", "wake", "now", "futex"):
        assert atomics(name) == []


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the mode is set by an instruction of x86-64")
def test_all_threads_compute_in_the_callers_mode() -> None:
    text = """
    declare void @llvm.x86.sse.ldmxcsr(ptr)
    declare void @llvm.x86.sse.stmxcsr(ptr)
    define i32 @mode(ptr %out, i64 %first, i64 %last) {
      %place = getelementptr i32, ptr %out, i64 %first
      call void @llvm.x86.sse.stmxcsr(ptr %place)
      ret i32 0
    }
    define i32 @call(ptr %out, ptr %parallel) {
      %mode = alloca i32
      %before = alloca i32
      call void @llvm.x86.sse.stmxcsr(ptr %before)
      store i32 40896, ptr %mode  ; denormal numbers are zero
      call void @llvm.x86.sse.ldmxcsr(ptr %mode)
      %status = call i32 %parallel(ptr @mode, ptr %out, i64 4)
      call void @llvm.x86.sse.ldmxcsr(ptr %before)
      ret i32 %status
    }
    """
    functions, _library = compiled_text(text, ["call"])
    threads.prepare()
    threads.request(4)
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(functions["call"])
    for _ in range(100):
        out = np.zeros(4, np.int32)
        call(out.ctypes.data, pool.symbols()[pool.PARALLEL])
        # Rounding and denormal numbers; the six lowest bits are what happened so far.
        assert (out & ~63 == 40896 & ~63).all()


# -- steps


def large_function() -> Any:
    return tj.function(lambda x, y: tj.tanh(x) * y + tj.exp(-y))


@pytest.mark.parametrize("shape", [(100_003,), (8192,), (300, 1000), (3, 7, 11_111), (2, 100_000), (100_000, 2)])
def test_results_do_not_depend_on_the_number_of_threads(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    x, y = (tj.constant(rng.standard_normal(shape).astype(np.float32)) for _ in range(2))
    f = large_function()
    seen = []
    for size in (1, 2, 3, 8):
        tj.config.threading.set_intra_op_parallelism_threads(size)
        seen += [f(x, y).numpy().tobytes() for _ in range(5)]
    assert len(set(seen)) == 1
    # A few ULP of a sum of two terms: the vector functions are within 2 ULP.
    np.testing.assert_allclose(f(x, y).numpy(), np.tanh(x) * y + np.exp(-y.numpy()), rtol=2e-6, atol=2e-6)


def test_rows_are_shared_too(rng: np.random.Generator) -> None:
    x = tj.constant(rng.standard_normal((203, 1001)).astype(np.float32))
    f = tj.function(lambda x: x / tj.reduce_sum(tj.abs(x), axis=1, keepdims=True) + 1.0)
    assert f.compiled(x).executable.parallel
    seen = set()
    for size in (1, 2, 3, 8):
        tj.config.threading.set_intra_op_parallelism_threads(size)
        seen.add(f(x).numpy().tobytes())
    assert len(seen) == 1
    # A sum of 1001 numbers in another order than NumPy's.
    np.testing.assert_allclose(f(x).numpy(), x / np.abs(x.numpy()).sum(1, keepdims=True) + 1, rtol=1e-5)


@pytest.mark.thin(3)
@pytest.mark.parametrize("seed", range(24))
def test_results_are_the_same_when_small_kernels_are_divided_too(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    change_machine(monkeypatch, parallel_seconds=0.0)
    graph, arguments = random_graph(np.random.default_rng(seed), gradients=seed % 2 == 0)
    step = CompiledFunction(passes.run(graph))
    seen = []
    for size in (1, 2, 3):
        tj.config.threading.set_intra_op_parallelism_threads(size)
        held = [np.array(each) for each in arguments]
        try:
            results = [result.numpy().tobytes() for result in run_graph(step, held)]
        except InvalidArgumentError as error:
            results = [str(error).encode()]
        seen.append(results + [each.tobytes() for each in held])
    assert seen[0] == seen[1] == seen[2]


def test_small_steps_do_not_use_the_pool(rng: np.random.Generator) -> None:
    executable = large_function().compiled(tj.ones([100]), tj.ones([100])).executable
    assert not executable.parallel
    assert pool.PARALLEL not in executable.compilation.module.text


def test_a_variable_is_updated_in_place_by_all_threads() -> None:
    v = tj.Variable(tj.ones([150_001]))
    update = tj.function(lambda x: v.assign_sub(x * v))
    x = tj.fill([150_001], 0.5)
    assert update.compiled(x).executable.parallel
    for size in (1, 2, 3):
        tj.config.threading.set_intra_op_parallelism_threads(size)
        v.assign(tj.ones([150_001]))
        for _ in range(4):
            update(x)
        assert (v.numpy() == 1 / 16).all()


def test_several_python_threads_call_at_once(rng: np.random.Generator) -> None:
    tj.config.threading.set_intra_op_parallelism_threads(3)
    f = large_function()
    arguments = [tuple(tj.constant(rng.standard_normal(n).astype(np.float32)) for _ in "xy") for n in (60_000, 60_000, 200_000)]
    tj.config.threading.set_intra_op_parallelism_threads(3)
    expected = [f(*each).numpy().tobytes() for each in arguments]

    def work(number: int) -> bool:
        return all(f(*arguments[number % 3]).numpy().tobytes() == expected[number % 3] for _ in range(100))

    with ThreadPoolExecutor(6) as callers:
        assert all(callers.map(work, range(6)))


@pytest.fixture
def checked_copy() -> Iterator[Op]:
    """An op that copies a vector and fails where it is negative, shared by threads."""

    def write(b: Any, node: Any, out: Any, x: Any) -> None:
        def one(index: Lanes, carried: list[Lanes]) -> list[Lanes]:
            value = b.load(x, [index])
            b.fail_if(b.compare("lt", value, b.const(0, float32)))
            b.store(out, [index], value)
            return []

        b.loop_between(*b.parallel_range(x.shape[0]), one)

    op = Op(
        "checked_copy",
        infer=lambda x: x,
        evaluate=lambda x: x,
        lower=Kernel(),
        runtime_error=lambda types: (tj.errors.InvalidArgumentError, "checked_copy", "a number is negative"),
    )
    KERNELS[op] = write
    yield op
    del OPS["checked_copy"], KERNELS[op]


@pytest.mark.parametrize("place", [0, 1, 99_999, 199_999])
def test_what_fails_in_one_share_raises_and_leaves_variables(place: int, checked_copy: Op) -> None:
    kind = TensorType((200_000,), float32)
    v, x = (make(ops.parameter, type=kind, name=name) for name in "vx")
    new = ops.add(v, checked_copy(x))
    step = CompiledFunction(passes.run(Graph("g", [v, x], [], [(v, new)])))
    assert step.executable.parallel
    value, argument = np.ones(kind.shape, np.float32), np.ones(kind.shape, np.float32)
    for size in (1, 2, 3):
        tj.config.threading.set_intra_op_parallelism_threads(size)
        argument[place] = -1
        with pytest.raises(tj.errors.InvalidArgumentError, match="a number is negative"):
            step.run([value, argument])
        assert (value == 1).all()
        argument[place] = 1
        step.run([value, argument])
        assert (value == 2).all()
        value[:] = 1


def test_equal_steps_share_a_kernel(checked_copy: Op) -> None:
    x, y = (make(ops.parameter, type=TensorType((200_000,), float32), name=name) for name in "xy")
    step = CompiledFunction(Graph("g", [x, y], [checked_copy(x), checked_copy(y)], []))
    values = [np.arange(200_000, dtype=np.float32) + number for number in range(2)]
    for found, value in zip(run_graph(step, values), values, strict=True):
        assert (found.numpy() == value).all()
    assert step.module.text.count(f"call i32 @{pool.PARALLEL}") == 2
    assert step.module.text.count("define i32") == 2  # the kernel, and what calls it


# -- processes


@only_divided
def test_no_thread_is_made_before_one_is_needed() -> None:
    done = run(
        """
        before = tasks()
        small = tj.function(lambda x: x + 1.0)
        small(tj.ones([10])); small(tj.ones([10]))
        large.compiled(x)
        assert tasks() == before
        large(x)
        assert tasks() == before + 3, (tasks(), before)
        tj.config.threading.set_intra_op_parallelism_threads(2)
        large(x)
        tj.config.threading.set_intra_op_parallelism_threads(6)
        assert tasks() == before + 3
        large(x)
        assert tasks() == before + 5
        print(threading.active_count())
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


@only_divided
def test_a_forked_child_makes_threads_of_its_own() -> None:
    done = run(
        """
        expected = large(x).numpy()
        assert tasks() >= 4
        for pause in (0, 0.01):
            time.sleep(pause)
            large(x)
            child = os.fork()
            if child == 0:
                alone = tasks() == 1
                right = all((large(x).numpy() == expected).all() for _ in range(50))
                grandchild = os.fork()
                if grandchild == 0:
                    os._exit(0 if (large(x).numpy() == expected).all() else 1)
                right = right and os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]) == 0
                os._exit(0 if alone and right and tasks() == 4 else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert (large(x).numpy() == expected).all()
        print("right")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", "")


@only_divided
def test_a_fork_while_another_thread_is_in_a_kernel() -> None:
    done = run(
        """
        wide = tj.constant(np.ones(4_000_000, np.float32))
        for _ in range(4):  # until calls are native: it is kernels that run while the process forks
            expected = large(x).numpy()
            large(wide)
        stop = False

        def work():
            while not stop:
                large(wide)

        thread = threading.Thread(target=work)
        thread.start()
        for _ in range(20):
            time.sleep(0.003)
            child = os.fork()
            if child == 0:
                os._exit(0 if all((large(x).numpy() == expected).all() for _ in range(5)) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        stop = True
        thread.join()
        print("right")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", "")


@pytest.mark.slow
@only_divided
@pytest.mark.parametrize("pause", ["0", "0.02"], ids=["awake", "asleep"])
def test_the_interpreter_exits(pause: str) -> None:
    program = f"large(x); assert tasks() >= 4; time.sleep({pause}); print('leaving')"
    with ThreadPoolExecutor(2) as starters:
        for done in starters.map(run, [program] * 10):
            assert (done.returncode, done.stdout, done.stderr) == (0, "leaving\n", "")


@only_divided
def test_the_interpreter_exits_while_another_thread_is_in_a_kernel() -> None:
    done = run(
        """
        def work():
            while True:
                large(wide)

        wide = tj.constant(np.ones(4_000_000, np.float32))
        large(wide)
        threading.Thread(target=work, daemon=True).start()
        time.sleep(0.1)
        print("leaving")
        """
    )
    assert (done.returncode, done.stdout) == (0, "leaving\n")


@only_divided
def test_an_interrupt_comes_to_pythons_thread() -> None:
    done = run(
        """
        large(x)
        assert tasks() >= 4
        signal.setitimer(signal.ITIMER_REAL, 0.05)  # to the process: any of its threads could get it
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        begin = time.monotonic()
        try:
            time.sleep(30)
        except KeyboardInterrupt:
            print("interrupted", time.monotonic() - begin < 10)
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted True\n", "")


@only_divided
def test_the_threads_take_no_signals_but_their_own() -> None:
    done = run(
        """
        before = staying()
        large(x); large(x)
        workers = staying() - before
        assert len(workers) == 3

        def blocked(number):
            statuses = [open(f"/proc/self/task/{worker}/status").read().splitlines() for worker in workers]
            masks = [next(line for line in lines if line.startswith("SigBlk")).split()[1] for lines in statuses]
            return [int(mask, 16) >> (number - 1) & 1 for mask in masks]

        own = (signal.SIGSEGV, signal.SIGFPE, signal.SIGBUS)
        deadline = time.monotonic() + 20
        while any(any(blocked(number)) for number in own) and time.monotonic() < deadline:
            time.sleep(0.01)  # until it runs for the first time, a thread is shielded from all signals
        assert not any(any(blocked(number)) for number in own)
        assert all(all(blocked(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD))
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
        print("right")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", "")


@only_divided
def test_the_threads_sleep_when_there_is_nothing_to_do() -> None:
    done = run(
        """
        large(x); large(x)
        time.sleep(0.01)
        used, begin = time.process_time(), time.monotonic()
        time.sleep(0.5)
        print(time.process_time() - used < 0.1 * (time.monotonic() - begin))
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


@only_divided
def test_where_no_thread_can_be_made_the_caller_does_all() -> None:
    done = run(
        """
        import resource
        small = tj.function(lambda x: x + 1.0)
        for _ in range(3):
            small(1.0 * x[0])  # which loads what makes calls native: that needs more room than a stack
        large.compiled(x)
        tasks()
        for _ in range(3):  # which take the stacks that the C library keeps of threads that have ended
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        used = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) << 10
        resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 20), resource.RLIM_INFINITY))  # less than a stack
        before = tasks()
        for _ in range(3):
            y = large(x)
        assert tasks() == before
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert (large(x).numpy() == y.numpy()).all()
        assert tasks() == before + 3
        print("right")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", "")


@only_divided
def test_on_a_single_core() -> None:
    done = run(
        """
        from tracejit.llvm.machine import threads
        tj.config.threading.set_intra_op_parallelism_threads(1)
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        expected = large(x).numpy()
        before = tasks()
        tj.config.threading.set_intra_op_parallelism_threads(0)
        assert threads.size() == 1
        large(x)
        assert tasks() == before
        tj.config.threading.set_intra_op_parallelism_threads(3)  # more than there are
        for _ in range(200):
            assert (large(x).numpy() == expected).all()
        assert tasks() == before + 2
        print("right")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", "")


# -- how many threads


@only_divided
def test_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)))
    for limit, size in ((None, 6), (2, 2), (9, 6), (1, 1)):
        monkeypatch.setattr(threads, "quota", lambda limit=limit: limit)
        assert threads.size() == size
    monkeypatch.setenv("TRACEJIT_NUM_THREADS", "5")
    assert threads.size() == 5
    tj.config.threading.set_intra_op_parallelism_threads(3)
    assert (threads.size(), tj.config.threading.get_intra_op_parallelism_threads()) == (3, 3)
    tj.config.threading.set_intra_op_parallelism_threads(np.int64(0))  # type: ignore[arg-type]
    assert (threads.size(), tj.config.threading.get_intra_op_parallelism_threads()) == (5, 0)
    monkeypatch.setenv("TRACEJIT_NUM_THREADS", "0")
    assert threads.size() == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(1000)))
    monkeypatch.setattr(threads, "quota", lambda: None)
    assert threads.size() == pool.MOST


@only_divided
def test_the_environment_sets_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEJIT_NUM_THREADS", "3")
    done = run(
        """
        tj.config.threading.set_intra_op_parallelism_threads(0)
        before = tasks()
        large(x); large(x)
        print(tasks() - before)
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


@only_divided
@pytest.mark.parametrize("text", ["two", "-1", "1.5", "257"])
def test_a_wrong_number_in_the_environment(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEJIT_NUM_THREADS", text)
    with pytest.raises(ValueError, match=f"TRACEJIT_NUM_THREADS is '{text}', not a number from 0 to 256"):
        threads.size()


@pytest.mark.parametrize("kind", ["intra", "inter"])
@pytest.mark.parametrize(
    ("number", "error"),
    [("2", TypeError), (1.0, TypeError), (True, TypeError), (None, TypeError), (-1, ValueError), (257, ValueError)],
)
def test_a_wrong_number(kind: str, number: Any, error: type[Exception]) -> None:
    settings = tj.config.threading
    before = getattr(settings, f"get_{kind}_op_parallelism_threads")()
    with pytest.raises(error, match="number of threads has to be"):
        getattr(settings, f"set_{kind}_op_parallelism_threads")(number)
    assert getattr(settings, f"get_{kind}_op_parallelism_threads")() == before


def test_the_number_between_ops_is_only_kept() -> None:
    assert tj.config.threading.get_inter_op_parallelism_threads() == 0
    tj.config.threading.set_inter_op_parallelism_threads(7)
    assert tj.config.threading.get_inter_op_parallelism_threads() == 7
    tj.config.threading.set_inter_op_parallelism_threads(0)
    assert tj.config.threading.get_intra_op_parallelism_threads() == 0


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n", "cpu.max": "max 100000\n"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000\n", "a/cpu.max": "300000 100000\n"}, 1),
        ("0::/of/the/host\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/\n", {"cpu.max": "1000 100000\n"}, 1),
        ("3:cpu,cpuacct:/a\n2:memory:/\n", {"cpu,cpuacct/a/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"}, 3),
        ("3:cpu:/a\n0::/\n", {"cpu/a/cpu.cfs_quota_us": "-1\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, None),
        ("3:cpu:/host\n", {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
    ],
)  # fmt: skip
def test_the_quota_of_a_control_group(groups: str, files: dict[str, str], cores: int | None, tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text(groups)
    for name, contents in files.items():
        path = tmp_path / "mount" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(contents)
    assert threads.quota(str(tmp_path / "cgroup"), str(tmp_path / "mount")) == cores


def test_no_control_groups(tmp_path: Path) -> None:
    assert threads.quota(str(tmp_path / "cgroup"), str(tmp_path)) is None


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")
def test_a_thread_that_is_woken_is_kept_off_the_caller_s_processor() -> None:
    """Else it may be woken there, and begin when the caller has done everything."""
    code = """
import numpy as np
import tracejit as tj

tj.config.threading.set_intra_op_parallelism_threads(2)
f = tj.function(lambda x: tj.exp(x) * x)
x = tj.constant(np.ones((512, 512), np.float32))
before = staying()
f(x)
(worker,) = map(int, staying() - before)
time.sleep(0.05)
f(x)
allowed, left = os.sched_getaffinity(0), os.sched_getaffinity(worker)
assert left < allowed and len(left) == len(allowed) - 1, (allowed, left)
"""
    subprocess.run([sys.executable, "-c", STAYING + code], timeout=120, check=True)
