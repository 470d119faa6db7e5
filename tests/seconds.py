"""How long the tests take: `seconds.txt` has a line a file with the seconds of processor time that its tests took, from which a run
says in advance what it will take. `python -m pytest --record-seconds` writes anew what it runs of it.
"""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_name("seconds.txt")
SLOW = "slow"  # the marker


class Row(NamedTuple):
    """The tests of a file and their seconds: those that always run, then those marked slow."""

    tests: int = 0
    seconds: float = 0.0
    slow_tests: int = 0
    slow_seconds: float = 0.0

    def plus(self, seconds: float, tests: int, slow: bool) -> Row:
        if slow:
            return self._replace(slow_tests=self.slow_tests + tests, slow_seconds=self.slow_seconds + seconds)
        return self._replace(tests=self.tests + tests, seconds=self.seconds + seconds)

    def times(self, factor: float) -> Row:
        return self._replace(seconds=self.seconds * factor, slow_seconds=self.slow_seconds * factor)

    def with_rest_of(self, other: Row) -> Row:
        """Where no test, or none that is slow, was run, what `other` says of those."""
        return Row(*(self if self.tests else other)[:2], *(self if self.slow_tests else other)[2:])

    def of_each(self, expression: str) -> float:
        """The mean of the tests that `-m expression` leaves."""
        quick, slow = expression != SLOW, expression != f"not {SLOW}"
        tests = quick * self.tests + slow * self.slow_tests
        return (quick * self.seconds + slow * self.slow_seconds) / tests if tests else 0.0


class Recorded(NamedTuple):
    """`start` is what a process takes until it has collected all tests, `piece` what `a_piece_of_work` took on that machine."""

    piece: float
    start: float
    files: Mapping[str, Row]

    def total(self) -> Row:
        return Row(*map(sum, zip(Row(), *self.files.values(), strict=True)))


def updated(old: Recorded, new: Recorded, files: Iterable[str]) -> Recorded:
    """`old` with what a later run of some tests took, had it run on the machine of `old`; of the `files` that there are."""
    if not old.files:
        return new
    factor = old.piece / new.piece
    rows = {name: row.times(factor).with_rest_of(old.files.get(name, Row())) for name, row in new.files.items()}
    rows = {name: row for name, row in {**old.files, **rows}.items() if name in set(files)}
    return Recorded(old.piece, new.start * factor if 2 * len(new.files) > len(rows) else old.start, rows)


def used() -> float:
    """Seconds of processor time of this process, its threads and the processes that it has waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def a_piece_of_work() -> float:
    """Seconds of processor time of something that is the same everywhere: the best of some tries."""

    def once() -> float:
        start = time.thread_time()
        kept: dict[int, str] = {}
        for number in range(40_000):
            kept[number % 1000] = f"%{number} = add i64 %{number - 1}, 1"
        return time.thread_time() - start

    return min(once() for _ in range(5))


def read(table: Path = TABLE) -> Recorded:
    first, *lines = (line.split() for line in table.read_text("utf-8").splitlines() if not line.startswith("#"))
    rows = {
        name: Row(int(tests), float(seconds), int(slow), float(slow_seconds))
        for name, tests, seconds, slow, slow_seconds in lines
    }
    return Recorded(float(first[1]), float(first[3]), rows)


def write(recorded: Recorded, table: Path = TABLE) -> None:
    lines = [
        "# Seconds of processor time of the tests, written by: python -m pytest -m '' --record-seconds",
        f"piece {recorded.piece:.5f} start {recorded.start:.1f}",
        "# file, its tests, their seconds, those that are slow, their seconds",
        *(
            f"{name:32} {row.tests:5} {row.seconds:7.2f} {row.slow_tests:5} {row.slow_seconds:7.2f}"
            for name, row in sorted(recorded.files.items())
        ),
    ]
    table.write_text("\n".join(lines) + "\n", "utf-8")


def by_file(names: Iterable[str]) -> Counter[str]:
    """How many tests of each file there are among the names of tests."""
    return Counter(name.partition("::")[0].rpartition("/")[2] for name in names)


def estimate(recorded: Recorded, tests: Mapping[str, int], expression: str, workers: int, piece: float) -> float:
    """Seconds that `tests` (of each file) take with `-m expression` on a machine where the piece of work takes `piece`.

    A file is on one worker as a whole, and every worker collects all tests before.
    """
    others = recorded.total()
    parts = [number * recorded.files.get(name, others).of_each(expression) for name, number in tests.items()]
    return piece / recorded.piece * (recorded.start + max(sum(parts) / workers, max(parts, default=0.0)))


def in_words(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(10, round(seconds, -1)):.0f} seconds"
    minutes = seconds / 60
    return f"about {minutes:.0f} minutes" if minutes >= 9.75 else f"about {round(2 * minutes) / 2:g} minutes"


def announcement(recorded: Recorded, tests: Mapping[str, int], expression: str, workers: int, piece: float) -> str:
    """The line that a run begins with."""
    where = f"on {workers} workers" if workers > 1 else "in one process"
    line = f"tracejit: {sum(tests.values()):,} tests {where}, {in_words(estimate(recorded, tests, expression, workers, piece))}"
    if expression != f"not {SLOW}":
        return line
    slow = {name: row.slow_tests for name, row in recorded.files.items() if name in tests}
    if not sum(slow.values()):
        return line
    more = in_words(estimate(recorded, slow, SLOW, workers, piece))
    return f"{line}; not the {sum(slow.values()):,} that are slow: python -m pytest -m slow, {more} more"
