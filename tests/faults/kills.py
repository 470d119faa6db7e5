"""Processes that are killed at any moment while they compile and keep: the next one finds whole entries or none.

A digest in each entry would hide that one is not whole, so the entries are looked at as well. What a file is written in takes some
10 us of the 10 ms that it takes to compile: so some of the processes kill themselves, at one of the steps that write a file.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults import ROOT
from tests.faults.forks import tell_where_it_hangs, wait_for
from tests.faults.work import PATIENCE, Case, known, require
from tracejit.llvm.machine import cache

_SECONDS = 6.0
_WRITING = ("put", "_write", "_remove", "_tidy")


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
        if rng.random() < 0.5:
            counts["processes killed that keep"] += _kill_while_keeping(rng, place)
            continue
        started = [_start(rng.randrange(1 << 30), cold) for _ in range(2)]
        time.sleep(rng.uniform(0.0, 1.5 if cold else 0.15))
        for each in started:
            os.kill(each, signal.SIGKILL)
        for each in started:
            os.waitpid(each, 0)
        counts[f"processes killed that {'begin' if cold else 'compile'}"] += len(started)
        _check_entries(place)
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


def _check_entries(place: Path) -> None:
    """Wrong where an entry is not whole: 8 bytes, a number of 4, and the SHA-256 of all that follows."""
    for entry in place.glob("*.tjo"):
        contents = entry.read_bytes()
        whole = len(contents) > 44 and hashlib.sha256(contents[44:]).digest() == contents[12:44]
        require(whole, f"{entry.name} is not whole: {len(contents)} bytes")


def _kill_while_keeping(rng: random.Random, place: Path) -> int:
    """Let a process kill itself while it keeps something, and see what it leaves; how many were killed."""
    for entry in place.glob("*.tjo"):
        entry.unlink()
    status = wait_for(_start(rng.randrange(1 << 30), False, times=2, steps=rng.randrange(1, 60)))
    require(status in (0, -signal.SIGKILL), f"a process that kills itself ended with {status}")
    _check_entries(place)
    return int(status != 0)


def _kill_at(steps: int) -> None:
    """Kill this process at so many steps of those that the cache does to write: calls and returns, also of the system's."""
    left = steps

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal left
        code = frame.f_code
        left -= code.co_name in _WRITING and code.co_filename == cache.__file__
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)


def _start(seed: int, cold: bool, times: int = 1000, steps: int = 0) -> int:
    if cold:
        command = [sys.executable, "-m", "tests.faults.cache", str(seed), "60"]
        return subprocess.Popen(command, cwd=ROOT).pid
    child = os.fork()
    if child == 0:
        status = 1
        try:
            tell_where_it_hangs()
            rng = random.Random(seed)
            if steps:
                _kill_at(steps)
            for _ in range(times):
                known(rng).call(2)
            status = 0
        finally:
            os._exit(status)
    return child
