"""Calls that come between one another: from several threads and signal handlers, and while results of earlier ones live on."""

from __future__ import annotations

import gc
import itertools
import queue
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracejit as tj
from tracejit.runtime.native import loader as native

NATIVE = native.unusable() is None
only_native = pytest.mark.skipif(not NATIVE, reason=f"calls go through Python: {native.unusable()}")
_PATIENCE = 60  # seconds after which something that waits is taken to wait forever


def together(*bodies: Callable[[], Any]) -> None:
    """Run each in a thread of its own, begun at the same time; what one of them raises is raised."""
    failed: list[BaseException] = []
    begin = threading.Barrier(len(bodies))

    def run(body: Callable[[], Any]) -> None:
        begin.wait()
        try:
            body()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(body,), daemon=True) for body in bodies]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _PATIENCE
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    waiting = [thread for thread in threads if thread.is_alive()]
    if failed:
        raise failed[0]
    assert not waiting, f"{len(waiting)} threads have not come to an end"


@pytest.fixture
def often() -> Iterator[None]:
    """Threads take turns all the time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def counter(size: int, dtype: Any = np.float32) -> tuple[tj.Variable, Any]:
    """A variable of zeros, and a step that adds 1 to all of it; where it is large, by way of many an exp."""
    v = tj.Variable(np.zeros(size, dtype))

    @tj.function
    def step() -> Any:
        v.assign(v + 1.0 if size == 1 else tj.exp(tj.sin(v) * 0.0) + v)

    for _ in range(4):
        step()
    v.assign(np.zeros(size, dtype))
    step()
    v.assign(np.zeros(size, dtype))
    return v, step


# -- threads


def test_a_count_by_many_threads_is_exact() -> None:
    v, each = tj.Variable(0), 250_000 if NATIVE else 5_000

    @tj.function
    def step() -> None:
        v.assign_add(1)

    def count() -> None:
        for _ in range(each):
            step()

    together(*[count] * 4)
    assert int(v) == 4 * each


def test_compiled_and_eager_updates_of_one_variable_are_exact(often: None) -> None:
    v, other = tj.Variable(0), tj.Variable(0)

    @tj.function
    def step(variable: Any) -> Any:
        variable.assign_add(1)
        other.assign_sub(1)
        return variable + 0

    def compiled() -> None:
        for _ in range(3_000):
            step(v)

    def eager() -> None:
        for _ in range(1_000):
            v.assign_add(1)
            int(v), int(other)

    together(compiled, eager, compiled, eager)
    assert [int(v), int(other)] == [8_000, -6_000]


def test_long_steps_in_many_threads_have_arenas_of_their_own() -> None:
    f = tj.function(_long)
    inputs = [tj.constant(np.linspace(0.0, number, 1_000_000, dtype=np.float32)) for number in range(1, 5)]
    assert f.compiled(inputs[0]).long
    expected = [np.asarray(f(each)) for each in inputs]

    def body(number: int) -> Callable[[], None]:
        def run() -> None:
            for _ in range(8):
                np.testing.assert_array_equal(f(inputs[number]), expected[number])

        return run

    together(*[body(number) for number in range(4)])


def _long(x: Any) -> Any:
    """Values that need memory during the call, and a result that is all of it."""
    y = tj.exp(tj.sin(x)) * tj.reduce_sum(tj.cos(x))
    return tj.reshape(y, [1000, 1000]) @ tj.ones([1000, 1]) + tj.reduce_max(y)


def test_long_updates_from_many_threads_are_exact_and_never_half_seen() -> None:
    v, step = counter(200_000)
    assert step.compiled().long
    done = threading.Event()

    def count() -> None:
        for _ in range(25):
            step()
            time.sleep(0.001)

    def read() -> None:
        last = 0.0
        while not done.is_set():
            found = v.numpy()
            assert (found == found[0]).all()
            assert found[0] >= last
            last = found[0]
            time.sleep(0.0005)

    reader = threading.Thread(target=lambda: seen.append(_error_of(read)))
    seen: list[BaseException | None] = []
    reader.start()
    try:
        together(*[count] * 4)
    finally:
        done.set()
        reader.join(_PATIENCE)
    assert seen == [None]
    np.testing.assert_array_equal(v, 100.0)


def _error_of(body: Callable[[], Any]) -> BaseException | None:
    try:
        body()
    except BaseException as error:
        return error
    return None


def test_a_reader_is_not_kept_waiting_by_a_thread_that_updates_all_the_time() -> None:
    v, step = counter(500_000)
    done = threading.Event()

    def update() -> None:
        while not done.is_set():
            step()

    def read() -> None:
        begun = time.monotonic()
        try:
            for _ in range(20):
                found = v.numpy()
                assert (found == found[0]).all()
                assert time.monotonic() - begun < 2.0
        finally:
            done.set()

    giving_up = threading.Timer(4.0, done.set)
    giving_up.start()
    together(update, read)
    giving_up.cancel()


def test_python_goes_on_while_a_long_step_runs() -> None:
    f = tj.function(lambda x: tj.reduce_sum(tj.sin(tj.exp(tj.sin(tj.exp(x) * 0.1)))))
    x = tj.constant(np.zeros(24_000_000, np.float32))
    assert f.compiled(x).long
    for _ in range(2):
        f(x)
    ticks = itertools.count()
    now: list[int] = [0]
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            now[0] = next(ticks)
            time.sleep(0)

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        # The call counts none of its own: it is one bytecode, in whose middle only a released lock lets the other on.
        most, longest = 0, 0.0
        for _ in range(5):
            start, before = time.perf_counter(), now[0]
            f(x)
            most, longest = max(most, now[0] - before), max(longest, time.perf_counter() - start)
    finally:
        done.set()
        thread.join()
    assert longest > 0.005
    assert most > 10


def test_many_threads_trace_and_call_one_function(often: None) -> None:
    f = tj.function(lambda x, **named: (x * 2.0, tj.reduce_sum(x)))
    inputs = [tj.ones([size]) for size in range(1, 13)]

    def body(number: int) -> Callable[[], None]:
        def run() -> None:
            for turn in range(200):
                x = inputs[(number * 5 + turn) % len(inputs)]
                doubled, total = f(x) if turn % 3 else f(x, named=None)
                np.testing.assert_array_equal(doubled, np.asarray(x) * 2.0)
                assert float(total) == x.shape[0]

        return run

    together(*[body(number) for number in range(6)])
    assert f.experimental_get_tracing_count() <= 2 * len(inputs)


def test_results_of_many_threads_are_their_own(often: None) -> None:
    f = tj.function(lambda x: [x * 2.0, {"more": x + 1.0}])

    def body(number: int) -> Callable[[], None]:
        x = tj.constant(float(number))

        def run() -> None:
            for _ in range(2_000):
                first, second = f(x), f(x)
                assert float(first[0]) == float(second[0]) == 2.0 * number
                assert float(second[1]["more"]) == number + 1.0

        return run

    together(*[body(number) for number in range(4)])


def test_a_signal_handler_reads_and_calls_in_the_midst_of_calls() -> None:
    v, step = counter(1)
    large, long_step = counter(100_000)
    counts = {"handler": 0, "loop": 0}

    def handle(*_: Any) -> None:
        counts["handler"] += 1
        found = large.numpy()
        assert (found == found[0]).all()
        float(v.numpy()[0])
        long_step()
        signal.setitimer(signal.ITIMER_REAL, 0.005)  # anew, so that no handler comes in the midst of another

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.005)
    try:
        end = time.monotonic() + 0.8
        while time.monotonic() < end:
            step()
            counts["loop"] += 1
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert counts["handler"] > 10
    assert float(v.numpy()[0]) == counts["loop"]
    np.testing.assert_array_equal(large, float(counts["handler"]))


# -- results that are used again


class Kept:
    """Something that came out of a call, and what it has to show for ever."""

    def __init__(self, form: str, tensor: Any, number: int):
        value: Any = np.asarray(tensor) if form in ("array", "slice", "memory") else tensor
        if form == "slice":
            value = value[1:][::2]
        elif form == "memory":
            value = memoryview(value)
        elif form == "numpy":
            value = tensor.numpy()
        elif form == "reshaped":
            value = tj.reshape(tensor, [-1, 2])[1:]
        elif form == "turned":
            value = tj.transpose(tj.reshape(tensor, [2, -1]))
        elif form == "sum":
            value = tensor + 0.0
        elif form == "variable":
            value = tj.Variable(tj.zeros_like(tensor))
            value.assign(tensor)
        elif form == "weakly":
            value = weakref.ref(tensor)
        self.value, self.number = value, float(number)

    def check(self) -> None:
        value = self.value() if isinstance(self.value, weakref.ref) else self.value
        if value is not None:
            assert (np.asarray(value) == self.number).all()


_FORMS = ["tensor", "array", "slice", "memory", "numpy", "reshaped", "turned", "sum", "variable", "weakly"]
_ACTIONS = st.lists(st.tuples(st.sampled_from([*_FORMS, "none", "drop"]), st.integers(0, 9)), max_size=30)
_SIZES = {"small": 8, "aligned": 1_000, "large": 40_000}
_steps: dict[str, Any] = {}


@pytest.mark.parametrize("size", _SIZES)
@given(actions=_ACTIONS)
@settings(max_examples=40, deadline=None)
def test_a_result_that_is_kept_in_any_form_stays(size: str, actions: list[tuple[str, int]]) -> None:
    if size not in _steps:
        _steps[size] = tj.function(lambda x: (tj.zeros([_SIZES[size]]) + x, [tj.zeros([_SIZES[size]]) - x]))
    f, kept = _steps[size], list[Kept]()
    for number, (form, place) in enumerate(actions, 1):
        if form == "drop":
            del kept[place : place + 2]
            continue
        first, (second,) = f(tj.constant(float(number)))
        if form != "none":
            kept.append(Kept(form, first if place % 2 else second, number if place % 2 else -number))
        kept.append(Kept("array", second, -number)) if place == 9 else None
        del first, second
        for each in kept:
            each.check()


def test_a_variable_that_holds_a_result_is_updated_without_changing_it() -> None:
    v = tj.Variable(np.zeros(40_000, np.float32))
    make = tj.function(lambda x: v * 0.0 + x)
    add = tj.function(lambda: v.assign_add(tj.ones([40_000])) * 1.0)
    for number in range(20):
        made = make(tj.constant(float(number)))
        v.assign(made)
        results = [add(), add()]
        assert [float(each[-1]) for each in (made, *results, v.value())] == [number, number + 1, number + 2, number + 2]
        assert all((np.asarray(each) == float(each[0])).all() for each in (made, *results, v))


@only_native
@pytest.mark.parametrize("size", [None, 1_000, 40_000])
def test_a_step_that_is_known_makes_no_new_results(size: int | None) -> None:
    f = tj.function(lambda x: x * 2.0)
    x = tj.constant(1.0) if size is None else tj.ones([size])
    result = None
    for _ in range(10):
        result = f(x)
    seen = set()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(1_000):
        result = f(x)
    assert abs(sys.getallocatedblocks() - before) <= 2
    for _ in range(100):
        result = f(x)
        seen.add(id(result))
    assert len(seen) <= 2
    assert result is not None


@only_native
def test_results_in_a_structure_are_used_again_too() -> None:
    f = tj.function(lambda x: {"b": x * 2.0, "a": [x, (x + 1.0, None)]})
    x, seen = tj.constant(1.0), set()
    for _ in range(50):
        found = f(x)
        seen |= {id(found["b"]), id(found["a"][0]), id(found["a"][1][0])}
    assert len(seen) <= 3 * 4


@pytest.mark.skipif(native.unusable() is not None, reason="frames with who keeps what alive belong to the native path")
def test_a_long_call_that_leaves_a_default_out_refers_to_nothing_of_the_call_before() -> None:
    """The two ways to call share a frame: what the first had in the place of the default may be gone when the second runs."""
    x, other, default = tj.ones([1 << 20]), tj.constant(3.0), tj.constant(2.0)
    f = tj.function(lambda x, b=default: tj.exp(x) * b)
    assert f.compiled(x).long
    for _ in range(3):
        assert float(f(x, other)[0]) == pytest.approx(np.e * 3.0)
        assert float(f(x)[0]) == pytest.approx(np.e * 2.0)
    (frame,) = f._traces.kept[0].program.frames
    assert id(other.value) not in list(frame.values)
    f(x, other)
    assert id(other.value) in list(frame.values)


# -- a body that waits for other threads


def in_time(work: Callable[[], Any]) -> Any:
    """What `work` returns in a thread of its own, which does not wait forever."""
    found: list[Any] = []
    together(lambda: found.append(work()))
    return found[0]


def test_a_body_may_wait_for_a_thread_that_calls_the_function() -> None:
    depth = threading.local()
    others: queue.SimpleQueue[float] = queue.SimpleQueue()

    @tj.function
    def f(x: Any) -> Any:
        if not getattr(depth, "inside", False):

            def other() -> None:
                depth.inside = True
                others.put(float(f(tj.constant(3.0))))
                others.put(float(f(tj.constant([3.0]))[0]))

            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
        return x * 2.0

    assert in_time(lambda: float(f(tj.constant(1.0)))) == 2.0
    assert [others.get(timeout=1), others.get(timeout=1)] == [6.0, 6.0]
    assert f.experimental_get_tracing_count() == 2
    assert float(f(tj.constant(4.0))) == 8.0


def test_two_functions_may_wait_for_each_other_s_threads() -> None:
    meeting = threading.Barrier(2, timeout=10)
    inside = threading.local()

    def meet(other: Callable[[], Any]) -> None:
        if not getattr(inside, "now", False):
            inside.now = True
            meeting.wait()

            def call() -> None:
                inside.now = True
                other()

            thread = threading.Thread(target=call)
            thread.start()
            thread.join()

    x = tj.constant(1.0)
    f = tj.function(lambda x: [meet(lambda: g(x0)), x * 2.0][1])
    g = tj.function(lambda x: [meet(lambda: f(x0)), x * 3.0][1])
    x0 = tj.constant(5.0)
    found: list[float] = []
    together(lambda: found.append(float(f(x))), lambda: found.append(float(g(x))))
    assert sorted(found) == [2.0, 3.0]


def test_threads_that_call_at_once_share_one_trace() -> None:
    traced: list[int] = []

    @tj.function
    def f(x: Any) -> Any:
        traced.append(1)
        time.sleep(0.05)
        return x * 2.0

    together(*[lambda: f(tj.constant(1.0))] * 4)
    assert [len(traced), f.experimental_get_tracing_count()] == [1, 1]


def test_a_trace_that_fails_lets_the_next_thread_trace() -> None:
    attempts: list[int] = []

    @tj.function
    def f(x: Any) -> Any:
        attempts.append(1)
        time.sleep(0.05)
        if len(attempts) == 1:
            raise RuntimeError("the first fails")
        return x * 2.0

    errors: list[str] = []

    def first() -> None:
        try:
            f(tj.constant(1.0))
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=first)
    thread.start()
    while not attempts:
        time.sleep(0.001)
    assert in_time(lambda: float(f(tj.constant(1.0)))) == 2.0
    thread.join()
    assert errors == ["the first fails"]
