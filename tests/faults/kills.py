"""Processes that are killed at any moment while they compile and keep: the next one finds whole entries or none."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.faults import ROOT
from tests.faults.forks import tell_where_it_hangs, wait_for
from tests.faults.work import PATIENCE, Case, known, require

_SECONDS = 6.0


def run(rng: random.Random, folder: Path) -> Counter[str]:
    """Kill children that are forked from here, which compile at once, and in between processes that begin from nothing."""
    import warnings

    warnings.simplefilter("ignore", DeprecationWarning)
    counts: Counter[str] = Counter()
    place = Path(os.environ["TRACEJIT_CACHE_DIR"])
    Case(0).call()
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        for entry in place.glob("*.tjo"):
            if rng.random() < 0.5:
                entry.unlink()
        cold = rng.random() < 0.1
        started = [_start(rng.randrange(1 << 30), cold) for _ in range(2)]
        time.sleep(rng.uniform(0.0, 1.5 if cold else 0.15))
        for each in started:
            os.kill(each, signal.SIGKILL)
        for each in started:
            os.waitpid(each, 0)
        counts[f"processes killed that {'begin' if cold else 'compile'}"] += len(started)
        next_one = _start(rng.randrange(1 << 30), False, times=6)
        status = wait_for(next_one)
        require(status == 0, f"the process after one that was killed ended with {status}")
        strange = [
            each.name for each in place.iterdir() if not re.fullmatch(r"[0-9a-f]{64}\.(tjo|\d+\.[0-9a-f]{16}\.tmp)", each.name)
        ]
        require(not strange, f"the cache holds {strange}")
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.cache", str(rng.randrange(1 << 30)), "0.2"],
        cwd=ROOT, capture_output=True, text=True, timeout=2 * PATIENCE,
    )  # fmt: skip
    require(done.returncode == 0, f"the last process ended with {done.returncode}: {done.stdout}{done.stderr}")
    return counts


def _start(seed: int, cold: bool, times: int = 1000) -> int:
    if cold:
        command = [sys.executable, "-m", "tests.faults.cache", str(seed), "60"]
        return subprocess.Popen(command, cwd=ROOT).pid
    child = os.fork()
    if child == 0:
        status = 1
        try:
            tell_where_it_hangs()
            rng = random.Random(seed)
            for _ in range(times):
                known(rng).call(2)
            status = 0
        finally:
            os._exit(status)
    return child
