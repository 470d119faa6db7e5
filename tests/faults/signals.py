"""Handlers of signals, and finalizers, that compute, call and compile in the midst of whatever the thread does."""

from __future__ import annotations

import gc
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import tracejit as tj
from tests.faults.work import Case, check_quiet, close, eager, forever, fresh, known
from tracejit.context import context

_SECONDS = 5.0


def run(rng: random.Random, folder: Path) -> Counter[str]:
    """Work for some seconds while signals and collections come."""
    counts: Counter[str] = Counter()
    steady = [Case(number) for number in range(5)]
    shared = tj.Variable(np.zeros(1000, np.float32))
    for each in steady:
        each.call(3)
    failed: list[BaseException] = []

    def compute(what: str) -> None:
        if context.trace is not None:
            return  # what a handler does while a function is traced becomes a part of the trace
        try:
            doing = rng.choice(
                ["computing", "calling", "loading", "compiling"] if rng.random() < 0.1 else ["computing", "calling"]
            )
            if doing == "computing":
                close(tj.exp(tj.constant([0.0, 1.0])) * 2.0, [2.0, 2.0 * np.e], "an op")
                shared.assign_add(tj.ones([1000]))
            elif doing == "calling":
                rng.choice(steady).call()
            else:
                (known if doing == "loading" else fresh)(rng).call(2)
            counts[f"{what}s {doing}"] += 1
        except BaseException as error:
            failed.append(error)

    def handle(*_: Any) -> None:
        compute("signal handler")
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 4e-3))

    class Finalized:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            compute("finalizer")

    alone = rng.random() < 0.5
    if not alone:
        forever(lambda: (eager(), time.sleep(0.001)))
    thresholds = gc.get_threshold()
    gc.set_threshold(rng.randint(20, 300), 2, 2)
    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end and not failed:
        Finalized()
        rng.choice([eager, lambda: fresh(rng).call(3), lambda: known(rng).call(3), lambda: [each.call() for each in steady]])()
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    gc.set_threshold(*thresholds)
    if failed:
        raise failed[0]
    for each in steady:
        each.check_state()
    values = shared.numpy()
    close(values, values[0], "a variable that handlers update")
    if alone:
        check_quiet()
        for each in steady:
            each.check_native()
    return counts
