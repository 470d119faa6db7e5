"""Processes that end at any moment, in any way, while threads compile, load and call."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.faults import ROOT
from tests.faults.work import PATIENCE, Case, Wrong, eager, forever, fresh, known, require

_WAYS = ("returns", "exits", "raises", "forks and exits")


def run(rng: random.Random, folder: Path) -> Counter[str]:
    """Let some processes end."""
    counts: Counter[str] = Counter()
    for _ in range(3):
        way, seed = rng.choice(_WAYS), rng.randrange(1 << 30)
        command = [sys.executable, "-m", "tests.faults.exits", way, str(seed)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            out, err = process.communicate(timeout=2 * PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Wrong(f"a process that {way} does not end: {process.communicate()}") from None
        expected = (1, "leaving\n", "ValueError: on purpose") if way == "raises" else (0, "leaving\n", "")
        said = err.splitlines()[-1] if way == "raises" and err.count("Traceback") == 1 else err
        require((process.returncode, out, said) == expected, f"a process that {way} ({seed}): {process.returncode} {out} {err}")
        counts[f"processes that {way if way != 'returns' else 'return'}"] += 1
    return counts


def _busy(way: str, rng: random.Random) -> None:
    steady = Case(0)
    if rng.random() < 0.7:
        steady.call(3)
    bodies = [lambda: fresh(rng).call(2), lambda: known(rng).call(), lambda: steady.call(), eager]
    for body in rng.choices(bodies, k=3):
        forever(body)
    time.sleep(rng.uniform(0.0, 0.3))
    if way == "forks and exits":
        import warnings

        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
        if child:
            require(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child did not end as it should")
        else:
            fresh(rng).call(2)
            sys.exit()
    print("leaving", flush=True)
    if way == "exits":
        sys.exit()
    if way == "raises":
        raise ValueError("on purpose")


if __name__ == "__main__":
    _busy(sys.argv[1], random.Random(int(sys.argv[2])))
