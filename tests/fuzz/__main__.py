"""`python -m tests.fuzz`: workers that run random programs until the time is up, and what they found."""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from . import ROOT

_QUIET_SECONDS = 90.0  # without a word from a worker: it hangs
_STRIDE = 1_000_003


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Random programs in every way they can run.")
    parser.add_argument("--minutes", type=float, default=2.0, help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="where the programs come from (default: a new one)")
    parser.add_argument("--what", choices=("all", "programs", "gradients", "arguments"), default="all")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument(
        "--case", type=int, default=None, metavar="SEED", help="only this case, of --what programs or gradients"
    )
    parser.add_argument("--output", default=None, metavar="FILE", help="write the findings to FILE as well")
    parser.add_argument("--first", action="store_true", help="end with the first finding")
    parser.add_argument("--worker", nargs=3, type=float, default=None, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 1 where something was found."""
    options = _options(arguments)
    if options.worker is not None:
        from .worker import work

        first, step, seconds = options.worker
        work(int(first), int(step), options.what, seconds)
        return 0
    if options.case is not None:
        from .worker import run_case

        found = run_case("programs" if options.what == "all" else options.what, options.case)
        print(json.dumps(found, indent=1) if found is None else f"{found['mode']}: {found['text']}\n\n{found['source']}")
        return 0 if found is None else 1
    seed = options.seed if options.seed is not None else int(time.time())
    print(f"python -m tests.fuzz --minutes {options.minutes:g} --seed {seed} --what {options.what}", flush=True)
    with tempfile.TemporaryDirectory(prefix="tracejit-fuzz-") as folder:
        fuzz = Fuzz(seed, options.what, options.minutes * 60, options.workers, folder)
        fuzz.run(options.first)
    print(fuzz.summary())
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            file.write("\n".join(fuzz.report(key) for key in fuzz.findings))
    return 1 if fuzz.findings else 0


class Fuzz:
    """The workers and what they have said."""

    def __init__(self, seed: int, what: str, seconds: float, workers: int, folder: str):
        self.what, self.workers, self.folder = what, workers, folder
        self.start, self.end = time.monotonic(), time.monotonic() + seconds
        self.counts: Counter[str] = Counter()
        self.findings: dict[str, list[dict[str, Any]]] = {}
        self._next = seed * _STRIDE
        self._events: queue.Queue[tuple[int, str | None]] = queue.Queue()
        self._said: dict[int, dict[str, Any]] = {}

    def run(self, first: bool = False) -> None:
        """Until the time is up, or there is a `first` finding; a worker that ends before is followed by another."""
        processes: dict[int, subprocess.Popen[str]] = {}
        errors: dict[int, Any] = {}
        told, number = time.monotonic(), 0
        while True:
            left = self.end - time.monotonic()
            while left > 1 and len(processes) < self.workers:
                errors[number] = tempfile.TemporaryFile("w+", dir=self.folder)  # noqa: SIM115
                processes[number] = self._start(number, left, errors[number])
                number += 1
            try:
                which, line = self._events.get(timeout=1.0)
                if line is not None:
                    self._hear(which, json.loads(line))
                else:
                    self._ended(which, processes.pop(which).wait(), errors.pop(which))
            except queue.Empty:
                pass
            for which, process in processes.items():
                if time.monotonic() - self._said[which]["time"] > _QUIET_SECONDS:
                    self._said[which]["hangs"] = True
                    process.kill()
            if time.monotonic() - told > 10:
                told = time.monotonic()
                print(self._progress(), flush=True)
            if first and self.findings:
                for process in processes.values():
                    process.kill()
                return
            if not processes and self._events.empty():
                return

    def _start(self, number: int, seconds: float, errors: Any) -> subprocess.Popen[str]:
        first = self._next + number % self.workers
        if number and number % self.workers == 0:
            self._next += 10_000_019
        environment = {
            **os.environ, "TRACEJIT_CACHE_DIR": os.path.join(self.folder, f"cache{number}"), "TRACEJIT_CACHE_SIZE": "64",
            "PYTHONFAULTHANDLER": "1",
        }  # fmt: skip
        command = [
            sys.executable,
            "-m",
            "tests.fuzz",
            "--what",
            self.what,
            "--worker",
            str(first),
            str(self.workers),
            str(seconds),
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT, env=environment)
        self._said[number] = {"time": time.monotonic()}
        threading.Thread(target=self._listen, args=(number, process), daemon=True).start()
        return process

    def _listen(self, number: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._events.put((number, line))
        self._events.put((number, None))

    def _hear(self, number: int, event: dict[str, Any]) -> None:
        said = self._said[number]
        said["time"] = time.monotonic()
        if event["event"] == "start":
            self._said[number] = {"time": time.monotonic(), **event}
        elif event["event"] == "source":
            said["source"] = event["source"]
        elif event["event"] == "finding":
            self._found(event)
        elif event["event"] == "call":
            self.counts["calls with a wrong argument"] += 1
        elif event["kind"] != "arguments":
            self.counts[event["kind"]] += 1

    def _ended(self, number: int, status: int, errors: Any) -> None:
        if status == 0:
            return
        if "kind" not in self._said[number]:
            errors.seek(0)
            raise RuntimeError(f"the workers cannot begin: {errors.read()[-2000:]}")
        errors.seek(0)
        text = errors.read()[-3000:]
        said = self._said[number]
        how = "hangs" if said.get("hangs") else f"ended with {status}"
        self._found({
            "kind": said.get("kind"), "seed": said.get("seed"), "mode": "the worker", "text": f"{how}\n{text}",
            "source": said.get("source", ""), "key": f"the worker {how} | {text.strip().splitlines()[-1:]}",
        })  # fmt: skip

    def _found(self, event: dict[str, Any]) -> None:
        known = self.findings.setdefault(event["key"], [])
        known.append(event)
        if len(known) == 1:
            print(self.report(event["key"]), flush=True)

    def report(self, key: str) -> str:
        """A finding: what is wrong, and the shortest program that shows it."""
        events = self.findings[key]
        event = min(events, key=lambda event: len(event["source"]))
        again = f", {len(events)} times" if len(events) > 1 else ""
        line = "=" * 100
        return f"{line}\n{event['kind']}, case {event['seed']}{again}: {event['mode']}: {event['text']}\n{'-' * 100}\n{event['source']}"

    def _progress(self) -> str:
        passed = time.monotonic() - self.start
        counts = ", ".join(f"{count:,d} {kind}" for kind, count in sorted(self.counts.items()))
        return f"{passed:5.0f} s: {counts or 'nothing yet'}; {len(self.findings)} findings"

    def summary(self) -> str:
        """The counts, and a line a finding."""
        lines = [self._progress()]
        for key, events in self.findings.items():
            lines.append(f"  {len(events):4d} x {key}")
        return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
