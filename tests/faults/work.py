"""What a process does when something happens to it: compile, load, call, compute eagerly; and whether all is still right."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

import tracejit as tj
from tracejit import variable
from tracejit.context import context, interpreted
from tracejit.runtime.native import loader as native

_SMALL = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
_LARGE = np.linspace(-1, 1, 200_000, dtype=np.float32)
# Seconds that a step takes at the most, on a machine that has much else to do.
PATIENCE = 30.0


class Wrong(AssertionError):
    """Something is not as it must be."""


def require(condition: Any, what: str) -> None:
    if not condition:
        raise Wrong(what)


def close(found: Any, expected: Any, what: str) -> None:
    """Wrong unless the numbers are those expected, to 1e-5. Without np.allclose, which sets a context variable: Python 3.11
    crashes where a garbage collection comes in the middle of that, and a finalizer sets it too."""
    values = np.asarray(found)
    if not (np.abs(values - expected) <= 1e-5 + 1e-5 * np.abs(expected)).all():
        raise Wrong(f"{what}: {values!r} is not {expected!r}")


class Case:
    """A traced function that has not been called, its arguments and its result. Each number is code of its own; there are
    as many forms as FORMS."""

    def __init__(self, number: int):
        scale = number % 100_003 / 1000
        form = self.form = FORMS[number % len(FORMS)]
        self.name = f"{form} with {scale}"
        x = _LARGE if form == "large" else _SMALL
        self.arguments: tuple[Any, ...] = (tj.constant(x),)
        self.state: tuple[Any, ...] = ()
        if form == "elementwise":
            self.function = tj.function(lambda x: tj.exp(x) + scale)
            self.expected = np.exp(x) + scale
        elif form == "product":
            self.function = tj.function(lambda x: tj.matmul(x, x, transpose_b=True) - scale)
            self.expected = x @ x.T - scale
        elif form == "gradient":

            def gradient(x: Any) -> Any:
                with tj.GradientTape() as tape:
                    tape.watch(x)
                    y = tj.reduce_sum(x * x) * scale
                return tape.gradient(y, x)

            self.function, self.expected = tj.function(gradient), 2 * x * scale
        elif form == "update":
            first, second = tj.Variable(0.0), tj.Variable(0.0)
            self.state = (first, second)

            def update(x: Any) -> Any:
                first.assign_add(tj.reduce_sum(x * 0.0) + 1.0)
                second.assign_sub(1.0)
                return first + second + scale

            self.function, self.expected = tj.function(update), scale
        else:
            self.function = tj.function(lambda x: tj.tanh(x) * 2.0 + scale)
            self.expected = np.tanh(x) * 2 + scale

    def call(self, times: int = 1) -> None:
        """Call it, and see whether the result is right."""
        for _ in range(times):
            close(self.function(*self.arguments), self.expected, self.name)

    def check_state(self) -> None:
        """Wrong where a step was done by half."""
        if self.state:
            first, second = (float(each) for each in self.state)
            require(first == -second and first == int(first), f"{self.name}: half a step, {first} and {second}")

    def cause(self) -> str:
        """Where its code came from, in the words of explain()."""
        text: str = self.function.explain()
        return text

    def check_native(self) -> None:
        """Wrong unless calls run no Python any more."""
        if native.unusable() is not None:
            return
        self.call(4)
        seen: list[str] = []
        function, arguments = self.function, self.arguments

        def note(frame: Any, event: str, argument: Any) -> None:
            if event == "call":
                seen.append(f"{frame.f_code.co_filename}:{frame.f_code.co_name}")

        sys.setprofile(note)
        try:
            function(*arguments)
        finally:
            sys.setprofile(None)
        require(not seen, f"{self.name}: calls are not native any more, they run {seen[:3]}")


FORMS = ("elementwise", "product", "gradient", "update", "large")


def fresh(rng: random.Random) -> Case:
    """A function that no cache knows."""
    return Case(rng.randrange(1 << 40))


def known(rng: random.Random) -> Case:
    """One of a few functions, which soon are in the cache."""
    return Case(rng.randrange(2 * len(FORMS)))


def eager() -> None:
    """Ops, a tape and a variable, without compiling."""
    x, v = tj.constant(_SMALL), tj.Variable(_SMALL)
    with tj.GradientTape() as tape:
        tape.watch(x)
        with tj.GradientTape() as inner:
            inner.watch(x)
            y = tj.reduce_sum(tj.exp(x) * v)
        first = inner.gradient(y, x)
    close(first, np.exp(_SMALL) * _SMALL, "an eager gradient")
    close(tape.gradient(first, x), np.exp(_SMALL) * _SMALL, "an eager gradient of a gradient")
    v.assign_add(tj.ones([3, 4]))
    close(v, _SMALL + 1, "an eager update")


def in_thread(body: Callable[[], None], what: str) -> None:
    """Run in another thread: it hangs where a lock was left behind."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            body()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if thread.is_alive():
        import faulthandler

        faulthandler.dump_traceback(all_threads=True)
        raise Wrong(f"{what} hangs in another thread")
    if failed:
        raise failed[0]


def check_quiet() -> None:
    """Wrong where what is current in this thread, or counted in all, is not taken back by the next op and the next call."""
    tj.exp(tj.constant(1.0))
    Case(0).call()
    require(context.tapes == (), f"{len(context.tapes)} tapes are still active")
    require(context.trace is None, "a trace is still being made")
    require(interpreted.value == 0, f"native calls are off: {interpreted.value} tapes or traces are counted")
    require(not variable.held, f"{len(variable.held)} variables are held by nobody")
    require(not variable.waiting, f"{len(variable.waiting)} threads wait for a variable, which are not there")


def forever(body: Callable[[], Any]) -> None:
    """Do it in a thread until the process ends; a failure ends the process."""

    def run() -> None:
        import os
        import traceback

        try:
            while True:
                body()
        except BaseException:
            traceback.print_exc()
            os._exit(3)

    threading.Thread(target=run, daemon=True).start()
