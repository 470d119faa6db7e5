"""KeyboardInterrupt at random moments: afterwards no tape is active, no lock held, no step done by half, and calls are native."""

from __future__ import annotations

import functools
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.faults.moments import Moment, interrupted, moments
from tests.faults.work import Case, check_quiet, eager, fresh, in_thread, known

_SECONDS = 8.0


def run(rng: random.Random, folder: Path) -> Counter[str]:
    """Interrupt this thread for some seconds, again and again."""
    counts: Counter[str] = Counter()
    for number in range(10):
        Case(number).call(2)  # the cache knows them, and all is imported
    steady = [Case(number) for number in range(5)]

    def repeated(body: Callable[[], None]) -> Callable[[], Any]:
        def repeat() -> None:
            for _ in range(30):
                body()

        return repeat

    known_moments: dict[str, Counter[Moment]] = {}
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        new, cached = fresh(rng), known(rng)
        cases = (new, cached, *steady)
        doing: dict[str, tuple[Callable[[], Any], float]] = {
            "compiling": (functools.partial(new.call, 4), 0.05),
            "loading": (functools.partial(cached.call, 4), 0.01),
            "calling": (lambda: _call(steady), 0.005),
            "computing": (eager, 0.01),
        }
        what = rng.choice(list(doing))
        body, longest = doing[what]
        place = ""
        if what not in known_moments:
            known_moments[what] = moments(body)
        elif rng.random() < 0.5:
            if _interrupted_after(repeated(body) if what in ("calling", "computing") else body, rng.uniform(1e-6, longest)):
                counts[f"interrupts while {what}"] += 1
        elif place := interrupted(body, known_moments[what], rng):
            counts[f"interrupts at chosen places while {what}"] += 1
        try:
            _check(cases, what, rng.random() < (0.5 if what in ("compiling", "loading") else 0.1))
        except Exception:
            if place:
                print(f"interrupted in {place}", flush=True)
            raise
    in_thread(functools.partial(_call, steady), "a call after interrupts")
    return counts


def _check(cases: Sequence[Case], what: str, thoroughly: bool) -> None:
    check_quiet()
    for each in cases:
        each.check_state()
    if thoroughly:
        in_thread(functools.partial(_call, cases), f"a call after an interrupt while {what}")
        for each in cases:
            each.check_native()


def _call(cases: Iterable[Case]) -> None:
    for each in cases:
        each.call()


def _interrupted_after(body: Callable[[], Any], seconds: float) -> bool:
    """Whether `body` was interrupted, where it had not ended after some time."""

    def handle(*_: Any) -> None:
        raise KeyboardInterrupt

    try:
        try:
            signal.signal(signal.SIGALRM, handle)
            signal.setitimer(signal.ITIMER_REAL, seconds)
            body()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
    except KeyboardInterrupt:
        return True
    return False
