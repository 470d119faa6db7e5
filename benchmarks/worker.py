"""`python -m benchmarks.worker LIBRARY`: runs one library's cases in a process of their own, as it is told over a pipe.

A request is a line of JSON on the standard input, its answer one on the standard output; between the two the process waits
and takes no time from others. What a library prints goes to the standard error.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import sys
import time
import traceback
from collections.abc import Generator
from typing import Any

# How often a case runs before it is timed, to be compared with NumPy's or with another library's numbers.
CHECKED_CALLS = 3
# The part of a sample that runs before it and is not timed: it pays for what others left in the caches.
WARMING = 1 / 16

_TEMPLATE = """
def sampler({names}):
    r = None
    count = yield
    while True:
        {prepare}
        start = clock()
        for _ in repeat(None, count):
            {statement}
        {finish}
        seconds = clock() - start
        count = yield seconds, r
"""

Sampler = Generator[tuple[float, Any], int, None]


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def sampler(timed: Any, clock: str = "wall") -> Sampler:
    """What runs a statement as often as it is sent and yields the seconds and the last result; the statement's names are
    its locals, which live on from sample to sample."""
    scope: dict[str, Any] = {"clock": CLOCKS[clock], "repeat": itertools.repeat}
    source = _TEMPLATE.format(
        names=", ".join(timed.names), prepare=timed.prepare, statement=timed.statement, finish=timed.finish
    )
    exec(source, scope)
    made: Sampler = scope["sampler"](**timed.names)
    next(made)
    return made


class Worker:
    """The requests, each a method."""

    def __init__(self, library: str):
        self.library = library
        self._clock = "wall"
        self._open: dict[str, tuple[Sampler, int]] = {}

    def settle(self, cores: list[int], clock: str) -> None:
        """Run on these cores only, on any where none is given, and time by this clock; to be asked before anything is loaded,
        since libraries count the cores then."""
        if cores:
            os.sched_setaffinity(0, cores)
        self._clock = clock

    def load(self) -> dict[str, Any]:
        """Import NumPy, then the library: the seconds of each, and the library's version."""
        start = time.perf_counter()
        importlib.import_module("numpy")
        numpy_imported = time.perf_counter()
        library = importlib.import_module(self.library)
        imported = time.perf_counter()
        return {"numpy_s": numpy_imported - start, "library_s": imported - numpy_imported, "version": library.__version__}

    def _cases(self, group: str) -> Any:
        return importlib.import_module(f"benchmarks.libraries.{group}_{self.library}").CASES

    def cases(self, group: str) -> dict[str, list[str]]:
        """The labels of the contestants for each case."""
        from benchmarks.libraries import REFERENCE

        return {name: [label for label in made if label != REFERENCE] for name, made in self._cases(group).items()}

    def first(self, group: str, case: str, label: str) -> dict[str, Any]:
        """The seconds until the first result of a case, from the import of the library on; and that result."""
        from benchmarks.libraries import data, leaves

        if case == "transformer":
            data.transformer_data()  # kept, so that drawing it is not timed
        start = time.perf_counter()
        made = sampler(self._cases(group)[case][label]())
        _, result = made.send(1)
        first = leaves(result)[0]
        return {"seconds": time.perf_counter() - start, "result": float(first)}

    def open(self, group: str, case: str, label: str) -> dict[str, Any]:
        """Make a contestant and call it some times: how far it is apart from NumPy's, and its results where it has none."""
        from benchmarks.libraries import apart, leaves

        timed = self._cases(group)[case][label]()
        made = sampler(timed, self._clock)
        self._open[label] = made, timed.calls
        by_numpy = importlib.import_module(f"benchmarks.libraries.{group}_numpy").CASES.get(case)
        if by_numpy is None:
            return {"apart": "", "results": [float(leaves(made.send(1)[1])[0]) for _ in range(CHECKED_CALLS)]}
        (make_expected,) = by_numpy.values()
        right = make_expected()
        expected = sampler(right)
        for number in range(CHECKED_CALLS):
            told = apart(leaves(made.send(1)[1]), leaves(expected.send(1)[1]), right.dtype)
            if told:
                return {"apart": f"{told} (call {number})", "results": None}
        return {"apart": "", "results": None}

    def sample(self, label: str, count: int) -> float:
        """Seconds a call, over `count` runs of the statement."""
        made, calls = self._open[label]
        made.send(1 + int(count * WARMING))
        return made.send(count)[0] / count / calls

    def close(self) -> None:
        """Forget the contestants."""
        self._open.clear()

    def peak(self) -> dict[str, float]:
        """Floating-point operations a second at the most, by dtype, on the cores that this process has."""
        from benchmarks import limits

        return {dtype: limits.peak(dtype) for dtype in limits.ELEMENTS}

    def bandwidth(self, bytes: int) -> float:
        """Bytes a second of a copy that reads and writes `bytes` in all, on the cores that this process has."""
        from benchmarks import limits

        return limits.bandwidth(bytes)

    def overhead(self, count: int = 1_000_000) -> dict[str, float]:
        """Seconds of a turn of the empty loop, and of one with a call of a Python function of three that does nothing."""
        from benchmarks.libraries import Timed

        def nothing(a: Any, b: Any, c: Any) -> None:
            pass

        called = Timed("r = f(a, a, a)", {"f": nothing, "a": None})
        loops = {"loop": sampler(Timed("pass", {})), "python_call": sampler(called)}
        return {name: min(loop.send(count)[0] / count for _ in range(5)) for name, loop in loops.items()}


def serve(worker: Worker) -> None:
    """Answer requests until there are no more."""
    # Libraries print to the standard output as well.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        try:
            answer = {"answer": getattr(worker, request.pop("do"))(**request)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(Worker(sys.argv[1]))
