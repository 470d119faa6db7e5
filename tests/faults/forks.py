"""Children that are forked while other threads compile, load, call, compute and import."""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

import tracejit as tj
from tests.faults.work import PATIENCE, Case, Wrong, close, eager, forever, fresh, known, require

warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of a fork beside threads


def run(rng: random.Random, folder: Path) -> Counter[str]:
    """Fork some times, beside some threads."""
    counts: Counter[str] = Counter()
    # Half of the processes have compiled nothing when they begin: what compiles is imported meanwhile.
    cold = rng.random() < 0.5
    steady = Case(4), Case(3)
    if not cold:
        for each in steady:
            each.call(3)
    shared = tj.Variable(np.zeros(100_000, np.float32))

    @tj.function
    def long_step() -> None:
        shared.assign(tj.sin(shared) * 0.0 + shared + 1.0)

    busy = {
        "compile": lambda: fresh(rng).call(2),
        "load": lambda: known(rng).call(1),
        "call": lambda: steady[0].call(1),
        "step": long_step,
        "compute": eager,
    }
    working = rng.choices(list(busy), k=rng.randint(1, 3))
    for what in working:
        forever(busy[what])
    for _ in range(8 if cold else 30):
        time.sleep(rng.expovariate(100))
        seed = rng.randrange(1 << 30)
        child = os.fork()
        if child == 0:
            _child(random.Random(seed), steady, shared)
        status = wait_for(child)
        require(status == 0, f"a child ended with {status}, forked while other threads did: {', '.join(working)}")
        counts[f"forks from a process that {'begins' if cold else 'goes on'}"] += 1
    sys.stdout.flush()
    return counts


def wait_for(child: int) -> int:
    end = time.monotonic() + 2 * PATIENCE
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise Wrong("a child hangs, and cannot say where")


def tell_where_it_hangs() -> None:
    """In a child, which has no thread that could watch: the alarm's handler writes where it is, and ends it."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    faulthandler.register(signal.SIGALRM, chain=True)
    signal.alarm(int(PATIENCE))


def _child(rng: random.Random, steady: tuple[Case, ...], shared: tj.Variable) -> None:
    tell_where_it_hangs()
    try:
        values = shared.numpy()
        require((values == values[0]).all(), "a variable is half written in the child")
        shared.assign_add(tj.ones([100_000]))
        close(shared, values + 1, "a variable of the parent's")
        doing = [lambda: fresh(rng).call(3), lambda: known(rng).call(3), eager, lambda: [each.call(2) for each in steady]]
        rng.shuffle(doing)
        for each in doing:
            each()
        fresh(rng).check_native()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
