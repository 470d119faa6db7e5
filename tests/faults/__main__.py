"""The driver: tries of all kinds in turns, as many at once as there are processors, until the time is over."""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence

from tests.faults import ROOT
from tests.faults.child import HANGS_AFTER, KINDS

_PROGRESS_SECONDS = 10.0
# A child ends itself before, and says where it hangs.
_TIME_LIMIT = HANGS_AFTER + 30.0


class Tries:
    """What has been tried, and what was found."""

    def __init__(self, kinds: Sequence[str], seed: int, end: float):
        self._kinds, self._rng, self._end = kinds, random.Random(seed), end
        self._lock = threading.Lock()
        self._number = 0
        self.tries: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.findings: list[str] = []

    def work(self) -> None:
        """Try one after the other until the time is over."""
        while time.monotonic() < self._end:
            with self._lock:
                kind = self._kinds[self._number % len(self._kinds)]
                self._number += 1
                seed = self._rng.randrange(1 << 32)
            finding, counts = attempt(kind, seed)
            with self._lock:
                self.tries[kind] += 1
                self.counts.update(counts)
                if finding:
                    self.findings.append(finding)
                    print(finding, flush=True)

    def progress(self) -> str:
        with self._lock:
            done = ", ".join(f"{self.tries[kind]} {kind}" for kind in self._kinds)
            return f"tries: {done}; findings: {len(self.findings)}"


def attempt(kind: str, seed: int) -> tuple[str, dict[str, int]]:
    """(what was found, "" where all is right; how often what was done)."""
    command = [sys.executable, "-m", "tests.faults.child", kind, str(seed)]
    with tempfile.TemporaryDirectory(prefix="tracejit-faults-") as folder:
        env = os.environ | {"TRACEJIT_CACHE_DIR": os.path.join(folder, "cache"), "TMPDIR": folder}
        for name in ("TRACEJIT_CACHE", "TRACEJIT_CACHE_SIZE"):
            env.pop(name, None)
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=env, capture_output=True, text=True, errors="replace", timeout=_TIME_LIMIT
            )
            status, out, err = f"ended with {done.returncode}", done.stdout, done.stderr
            if done.returncode == 0:
                return "", json.loads(out.splitlines()[-1])
        except subprocess.TimeoutExpired as expired:
            status = f"did not end within {_TIME_LIMIT:.0f} s"
            out, err = (str(text or b"", "utf-8", "replace") for text in (expired.stdout, expired.stderr))
    shown = "\n".join(f"    {line}" for text in (out, err) for line in text.splitlines()[-60:])
    again = f"{os.path.relpath(sys.executable, ROOT)} -m tests.faults.child {kind} {seed}"
    return f"FINDING: a try of {kind} {status}; again (moments differ, so more than once): {again}\n{shown}", {}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 1 where anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="how long to go on (2)")
    parser.add_argument("--seed", type=int, help="of the random numbers; another one each time where it is not given")
    parser.add_argument("--what", nargs="+", choices=KINDS, default=list(KINDS), help="the kinds of tries (all)")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="how many tries at once")
    asked = parser.parse_args(arguments)
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}, {asked.minutes:g} minutes, {asked.jobs} at once: {', '.join(asked.what)}", flush=True)
    start = time.monotonic()
    tries = Tries(asked.what, seed, start + 60.0 * asked.minutes)
    with concurrent.futures.ThreadPoolExecutor(asked.jobs) as pool:
        working = {pool.submit(tries.work) for _ in range(asked.jobs)}
        while working:
            done, working = concurrent.futures.wait(working, _PROGRESS_SECONDS)
            for each in done:
                each.result()
            print(f"{time.monotonic() - start:4.0f} s  {tries.progress()}", flush=True)
    print(*[f"{count:8,d}  {what}" for what, count in sorted(tries.counts.items())], sep="\n")
    print(f"{sum(tries.tries.values())} tries, {len(tries.findings)} findings, seed {seed}")
    return 1 if tries.findings else 0


if __name__ == "__main__":
    sys.exit(main())
