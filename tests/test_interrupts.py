"""Signals and finalizers at any moment: what they run is right, and what they end leaves nothing behind."""

import gc
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import tracejit as tj
from tests.faults.moments import interrupted_at, moments
from tracejit.context import context, interpreted, interpreting
from tracejit.ir.location import here

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers")


@contextmanager
def alarms(handler: Callable[[], None], seconds: float) -> Iterator[Callable[[], None]]:
    """Inside, `handler` runs soon after each call of what is given, at a random moment."""
    draw = random.Random(5)

    def later() -> None:
        signal.setitimer(signal.ITIMER_REAL, draw.uniform(1e-6, seconds))

    before = signal.signal(signal.SIGALRM, lambda *_: handler())
    try:
        yield later
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def interrupt() -> None:
    raise KeyboardInterrupt


def taped(x: Any) -> Any:
    with tj.GradientTape() as tape:
        tape.watch(x)
        with tj.GradientTape():
            y = x * x
    return tape.gradient(y, x)


def entered_again(x: Any) -> Any:
    tape = tj.GradientTape(persistent=True)
    for _ in range(3):
        with tape:
            tape.watch(x)
            y = x * x
    return tape.gradient(y, x)


def empty(x: Any) -> Any:
    with tj.GradientTape():
        pass
    return x * 2.0


def traced(x: Any) -> Any:
    return tj.function(lambda z: taped(z)).ir(x, stage="traced")


@pytest.mark.thin(4)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("work", "seconds"), [(taped, 6e-5), (entered_again, 6e-5), (empty, 1e-5), (traced, 1e-3)])
def test_an_interrupt_leaves_no_tape_behind(work: Callable[[Any], Any], seconds: float) -> None:
    x, compiled = tj.constant(3.0), tj.function(lambda z: z * z)
    for _ in range(3):
        compiled(x)
    interrupts, end = 0, time.monotonic() + 2
    with alarms(interrupt, seconds) as later:
        while time.monotonic() < end or (interrupts <= 100 and time.monotonic() < end + 60):  # a machine may be busy
            try:
                later()
                for _ in range(100):  # an interrupt in a finalizer is not heard of
                    work(x)
            except KeyboardInterrupt:
                interrupts += 1
            try:
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupts += 1
            assert context.trace is None
            assert float(compiled(x)) == 9
            assert (context.tapes, interpreted.value, interpreting) == ((), 0, {})
    assert str(here()) == f"tests/test_interrupts.py:{sys._getframe().f_lineno}"
    assert interrupts > 100
    assert float(taped(x)) == 6


def test_a_handler_that_runs_ops_in_the_middle_of_one() -> None:
    x, v, ran = tj.constant([1.0, 2.0]), tj.Variable(1.0), []

    def handler() -> None:
        ran.append(float(tj.reduce_sum(tj.constant([3.0, 4.0]) * [1.0, 2.0] + v)))

    end = time.monotonic() + 2
    with alarms(handler, 2e-5) as later:
        while time.monotonic() < end:
            later()
            with tj.GradientTape() as tape:
                tape.watch(x)
                y = tj.reduce_sum(tj.tanh(x * x) + tj.constant([1, 2], tj.float32))
            assert tape.gradient(y, x).shape == (2,)
            assert float(tj.reduce_sum(x / 0.0)) == float("inf")
    assert len(ran) > 100
    assert set(ran) == {13.0}


def test_a_finalizer_that_runs_ops_in_the_middle_of_one() -> None:
    ran = []

    class Cycle:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            ran.append(float(tj.constant([3.0])[0] * 2.0))

    x, before = tj.constant([1.0, 2.0]), gc.get_threshold()
    gc.set_threshold(3)
    try:
        for _ in range(2000):
            Cycle()
            assert tj.nn.softmax(x * [1.0, 2.0]).shape == (2,)
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert ran == [6.0] * 2000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_any_place_as_a_trace_is_kept_loaded_and_dropped_leaves_locks_free() -> None:
    x, made = tj.constant(1.0), []

    def work() -> None:
        f = tj.function(lambda x, n: x * n)
        made.append(f)
        for number in (3.0, 4.0):
            f(x, number)
        made[:] = [f]  # what was made before is dropped

    for _ in range(3):
        work()
    places = (
        "/runtime/traces.py",
        "/llvm/machine/engine.py",
        "/llvm/machine/loader.py",
        "/llvm/machine/mapping.py",
        "/weakref.py",
    )
    found = [moment for moment in moments(work) if moment[0].endswith(places)]
    assert len(found) > 20
    ended = 0
    for moment in found:
        ended += interrupted_at(work, moment)
        results: list[float] = []
        thread = threading.Thread(
            target=lambda r=results: r.append(float(made[-1](x, 5.0) + tj.function(lambda x: x + 1.0)(x)))
        )
        thread.start()
        thread.join(20)
        assert results == [7.0], f"after an interrupt in {moment}"
        assert len(made[-1].explain().splitlines()) > 1
    assert ended > 20


def test_llvmlite_is_never_interrupted() -> None:
    """An exception between two of its lines may free twice: no thread in which Python raises what comes from outside runs it."""
    x = tj.constant(1.0)

    def work() -> None:
        f = tj.function(lambda x: tj.tanh(x) * random.random())  # in no cache
        f(x)
        f(x)
        f.ir(x, stage="asm")
        del f
        gc.collect()

    work()  # llvmlite is imported
    files = {moment[0] for moment in moments(work)}
    assert any(file.endswith("/llvm/machine/engine.py") for file in files)
    assert not [file for file in files if "llvmlite" in file]


def test_an_interrupt_ends_the_waiting_for_llvm_and_the_next_call_goes_on() -> None:
    def deep(x: Any) -> Any:
        for number in range(400):
            x = tj.reduce_sum(tj.tanh(x) * (number + random.random()), axis=0, keepdims=True)
        return x

    x, interrupts, end = tj.ones([2, 2]), 0, time.monotonic() + 60
    with alarms(interrupt, 0.3) as later:
        while interrupts < 5 and time.monotonic() < end:
            try:
                later()
                tj.function(deep)(x)
            except KeyboardInterrupt:
                interrupts += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
    assert interrupts == 5
    assert tj.function(deep)(x).shape == (1, 2)
