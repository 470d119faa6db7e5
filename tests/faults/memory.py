"""Too little memory: a MemoryError, no crash; and when there is enough again, all is right."""

from __future__ import annotations

import functools
import random
import resource
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import tracejit as tj
from tests.faults.work import Case, Wrong, check_quiet, eager, fresh, in_thread, known

_SECONDS = 6.0


def run(rng: random.Random, folder: Path) -> Counter[str]:
    """Limit the address space of this process to little more than it has, again and again, and work."""
    counts: Counter[str] = Counter()
    # A process that has compiled nothing has to load LLVM under the limit.
    if rng.random() < 0.7:
        Case(0).call(3)
    steady = [Case(number) for number in range(5)]
    large = tj.function(lambda x: tj.exp(x) + 1.0)
    x = tj.zeros([1 << 20])
    kept: list[Any] = []

    def collect() -> None:
        for _ in range(200):
            kept.append(large(x))

    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        room = int(rng.choice((0, 1, 8, 64, 256)) * rng.uniform(0.5, 2.0) * (1 << 20))
        new, cached = fresh(rng), known(rng)
        doing = {
            "compiling": functools.partial(new.call, 3),
            "loading": functools.partial(cached.call, 3),
            "calling": lambda: [each.call(2) for each in steady],
            "computing": eager,
            "collecting results": collect,
        }
        what = rng.choice(list(doing))
        outcome = _limited(doing[what], room)
        counts[f"{what} with little memory: {outcome}"] += 1
        check_quiet()
        if any(each.numpy()[0] != 2.0 or not np.all(each.numpy() == 2.0) for each in kept[-3:]):
            raise Wrong("a result is wrong that was made when memory ran out")
        kept.clear()
        for each in (new, cached, *steady):
            each.call(2)
            each.check_state()
    in_thread(lambda: [each.call() for each in steady], "a call after memory ran out")
    for each in steady:
        each.check_native()
    return counts


def _limited(body: Any, room: int) -> str:
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + room, hard))
    try:
        body()
    except MemoryError:
        return "MemoryError"
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    return "done"
