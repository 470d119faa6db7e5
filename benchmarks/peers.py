"""Contestants in processes of their own: how they are started and asked, and how they are timed in turns."""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import ROOT
from benchmarks.report import count, progress

OURS = "tracejit"
# Always there, in the interpreter that runs this.
HERE = (OURS, "numpy")
PEERS = ("numba", "jax", "tensorflow", "torch")
# Another checkout of tracejit, such as an older one.
BEFORE = "before"
SAMPLE_SECONDS = 10e-3
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class PeerError(Exception):
    """A worker that could not be started, that failed, or that gave no answer."""


class Peer(NamedTuple):
    """A library and the interpreter that has it; the folder whose benchmarks it runs."""

    library: str
    python: str
    folder: Path = ROOT

    @staticmethod
    def parse(text: str) -> Peer:
        """From `jax=/path/to/python`, or `before=/path/to/checkout`, which has an environment of its own in `.venv`."""
        library, _, python = text.partition("=")
        if library == BEFORE and python:
            return Peer(BEFORE, str(Path(python) / ".venv/bin/python"), Path(python))
        if library not in PEERS or not python:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not LIBRARY=PYTHON, the library one of {', '.join(PEERS)}, or {BEFORE}=CHECKOUT"
            )
        return Peer(library, python)


class Contestant(NamedTuple):
    """One label of a worker."""

    worker: Worker
    label: str


def environment(threads: int | None = None, **more: str) -> dict[str, str]:
    """This process's environment, where `threads` is given with that many threads for every library."""
    changed = dict(os.environ) | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""} | more
    if threads is not None:
        changed |= dict.fromkeys((*THREADS, "NPROC", "NUMBA_NUM_THREADS", "TRACEJIT_NUM_THREADS"), str(threads))
    return changed


class Worker:
    """A process that runs cases of one library."""

    def __init__(self, peer: Peer, env: Mapping[str, str] | None = None, timeout: float = 600):
        self.peer, self.timeout = peer, timeout
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        command = [peer.python, "-m", "benchmarks.worker", OURS if peer.library == BEFORE else peer.library]
        try:
            self._process = subprocess.Popen(
                command, bufsize=0, cwd=peer.folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
            )
        except OSError as error:
            self._errors.close()
            raise PeerError(f"{peer.python}: {error.strerror}") from None

    def ask(self, do: str, **arguments: Any) -> Any:
        """The answer to a request; PeerError where the worker fails, ends, or takes longer than the timeout."""
        assert self._process.stdin is not None and self._process.stdout is not None
        if arguments.get("label") == BEFORE:
            arguments["label"] = OURS
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        except BrokenPipeError:
            raise PeerError(self._ended()) from None
        if not select.select([self._process.stdout], [], [], self.timeout)[0]:
            self._process.kill()
            raise PeerError(f"no answer to {do} in {self.timeout:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise PeerError(self._ended())
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        if self.peer.library == BEFORE and do == "cases":
            return {case: [BEFORE] for case, labels in answer["answer"].items() if OURS in labels}
        return answer["answer"]

    def _ended(self) -> str:
        status = self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
        return f"the worker ended with status {status}: {''.join(last)}"

    def stop(self) -> None:
        """End the process: it ends when there are no more requests."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


@contextmanager
def started(peer: Peer, env: Mapping[str, str] | None = None, timeout: float = 600) -> Iterator[Worker]:
    """A worker that is stopped at the end."""
    worker = Worker(peer, env, timeout)
    try:
        yield worker
    finally:
        worker.stop()


def here() -> list[Peer]:
    """The libraries that are always there."""
    return [Peer(library, sys.executable) for library in HERE]


def absent(peers: Sequence[Peer]) -> str:
    """The line that says which libraries are left out; "" where none is."""
    missing = [library for library in PEERS if library not in {peer.library for peer in peers}]
    return f"left out, no --peer given: {', '.join(missing)}" if missing else ""


def _count(contestant: Contestant) -> int:
    """How many runs of the statement make a sample."""
    count = 1
    while True:
        seconds = min(contestant.worker.ask("sample", label=contestant.label, count=count) for _ in range(2))
        if seconds * count >= SAMPLE_SECONDS / 2:
            return max(1, round(SAMPLE_SECONDS / seconds))
        count *= 4


def timing(contestants: Sequence[Contestant], rounds: int, pause: float = 0) -> dict[str, list[float]]:
    """Seconds a call by label, a sample a round: one process runs at a time, and each is first, second and last in turn.
    `pause` seconds between them let the threads of one, which go on looking for work for a while, go to sleep."""
    counts = {each.label: _count(each) for each in contestants}
    seconds: dict[str, list[float]] = {each.label: [] for each in contestants}
    for number in range(rounds):
        turn = number % len(contestants)
        for each in [*contestants[turn:], *contestants[:turn]]:
            time.sleep(pause)
            seconds[each.label].append(each.worker.ask("sample", label=each.label, count=counts[each.label]))
    return seconds


def disagreement(results: Mapping[str, Sequence[float] | None], tolerance: float = 1e-3) -> dict[str, str]:
    """By label, where results that NumPy has nothing to compare with differ from those of the first."""
    told: dict[str, str] = {}
    given = {label: each for label, each in results.items() if each is not None}
    first = next(iter(given), "")
    for label, each in given.items():
        for number, (a, b) in enumerate(zip(each, given[first], strict=True)):
            if not abs(a - b) <= tolerance * abs(b):
                told.setdefault(label, f"call {number}: {a} in place of {first}'s {b}")
    return told


def workers(
    stack: ExitStack,
    peers: Sequence[Peer],
    env: Mapping[str, str],
    timeout: float,
    cores: Sequence[int] = (),
    clock: str = "wall",
) -> tuple[list[Worker], list[str]]:
    """The workers whose library is there, each on the cores that are given, and a line for each that is not."""
    found, told = [], []
    for peer in [*here(), *peers]:
        progress(f"{peer.library} ...")
        try:
            worker = stack.enter_context(started(peer, env, timeout))
            worker.ask("settle", cores=list(cores), clock=clock)
            told.append(f"{peer.library} {worker.ask('load')['version']}")
            found.append(worker)
        except PeerError as error:
            told.append(f"{peer.library} left out: {error}")
    return found, told


class Comparison:
    """The workers that could be started, and what was found with them."""

    def __init__(self, workers: Sequence[Worker], without: Sequence[str]):
        self.workers, self.without = list(workers), set(without)
        self.wrong: list[str] = []
        self.left_out: list[str] = []
        self.unchecked: list[str] = []  # neither NumPy nor another contestant has their numbers

    def contestants(self, group: str, case: str) -> list[Contestant]:
        """Those for a case whose numbers are right."""
        found: list[Contestant] = []
        results: dict[str, Any] = {}
        for worker in list(self.workers):
            for label in self._asked(worker, "cases", group=group).get(case, ()):
                if label in self.without:
                    continue
                progress(f"{case}: {label} ...")
                try:
                    answer = worker.ask("open", group=group, case=case, label=label)
                except PeerError as error:
                    self.left_out.append(f"{case}: {label}: {error}")
                    continue
                if answer["apart"]:
                    self.wrong.append(f"{case}: {label}: {answer['apart']}")
                    continue
                found.append(Contestant(worker, label))
                results[label] = answer["results"]
        if len([each for each in results.values() if each is not None]) == 1:
            self.unchecked.append(case)
        apart = disagreement(results)
        self.wrong += [f"{case}: {label}: {told}" for label, told in apart.items()]
        return [each for each in found if each.label not in apart]

    def _asked(self, worker: Worker, do: str, **arguments: Any) -> Any:
        """What every worker can answer; one that cannot has ended, and is left out from now on."""
        try:
            return worker.ask(do, **arguments)
        except PeerError as error:
            self.left_out.append(f"{worker.peer.library} from here on: {error}")
            self.workers.remove(worker)
            return {}

    def close(self) -> None:
        """Let the workers forget the contestants."""
        for worker in list(self.workers):
            self._asked(worker, "close")


def parser(prog: str, description: str, rounds: int) -> argparse.ArgumentParser:
    """The options that comparisons with peers have in common."""
    made = argparse.ArgumentParser(prog=prog, description=description)
    help = f"a library to compare with and an interpreter that has it, or {BEFORE}=CHECKOUT, another tracejit; repeated"
    made.add_argument("--peer", type=Peer.parse, action="append", default=[], metavar="LIBRARY=PYTHON", help=help)
    made.add_argument("--without", nargs="+", default=[], metavar="LABEL", help="contestants to leave out: torch.compile")
    made.add_argument("--rounds", type=count, default=rounds, help="samples of each contestant (default: %(default)s)")
    made.add_argument("--timeout", type=count, default=600, help="seconds a peer may take (default: %(default)s)")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    made.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    return made
