"""`python -m benchmarks.kernels`: what has to be reached: kernels and train steps beside other libraries', and beside what the
machine can do at the most.

    python -m benchmarks.kernels --peer jax=/path/to/python --peer tensorflow=PYTHON --peer torch=PYTHON --threads 1 2

Every library has a process of its own; all of them run on the same cores, in turns, each with as many threads as there are
cores. Their numbers are compared before anything of a row is timed, and a row where one is wrong is not timed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure import Ratio, duration, machine, ratio
from benchmarks.peers import OURS, Comparison, PeerError, Worker, absent, environment, parser, timing, workers
from benchmarks.plots import Curves, draw
from benchmarks.report import count, progress, table, write
from benchmarks.rows import ROWS, SWEEPS, Row

HEADER = ("what", "tracejit", "to beat", "its time", "ratio", "asked", "limit", "of it", "asked", "reached", "fastest other")
NAMES = list(dict.fromkeys([row.kind for row in ROWS] + [row.case for row in ROWS]))
# OpenBLAS's threads and those of others spin after a call.
PAUSE_SECONDS = 0.05
PLOT_ROUNDS = 5
CAPTION = """Times are medians of a call; ratios are medians over the rounds (10th to 90th percentile), above 1 where tracejit
is faster. limit: the arithmetic in registers (an exp or its like as 10 operations), or each byte that goes in and comes
out once, at the speed of a copy of as many; the larger of the two. of it: its share of tracejit's time."""


class Limit(NamedTuple):
    """The seconds that the machine needs at the least, and for which of the two."""

    seconds: float
    by: str


class Result(NamedTuple):
    """What was found for a row: seconds a call by label, and how many times as fast ours is, in turns with each."""

    row: Row
    median: dict[str, float]
    against: dict[str, Ratio]
    limit: Limit

    @property
    def fastest(self) -> str:
        """The fastest other; "" where there is none."""
        return min(self.against, key=lambda label: self.median[label], default="")

    @property
    def rival(self) -> str:
        """The fastest of those that are to be beaten; "" where none of them is here."""
        asked = [label for label in self.against if not self.row.against or label in self.row.against]
        return min(asked, key=lambda label: self.median[label], default="")

    @property
    def share(self) -> float:
        """The limit's part of our time."""
        return self.limit.seconds / self.median[OURS]

    def reached(self, threads: int) -> bool | None:
        """Whether all is reached that the row asks for; None where there is nobody to beat."""
        if not self.rival:
            return None
        return self.against[self.rival].median >= self.row.reach_on(threads) and self.share >= self.row.share

    def cells(self, threads: int) -> tuple[str, ...]:
        """The line of the table."""
        rival, fastest, reached = self.rival, self.fastest, self.reached(threads)
        other = f"{fastest} {self.against[fastest].median:.2f}" if fastest not in ("", rival) else ""
        return (
            self.row.title,
            duration(self.median[OURS]),
            rival or " or ".join(self.row.against) or "the best",
            duration(self.median[rival]) if rival else "not here",
            str(self.against[rival]) if rival else "",
            f"{self.row.reach_on(threads):g}",
            f"{self.limit.by} {duration(self.limit.seconds)}",
            f"{self.share:.0%}",
            f"{self.row.share:.0%}" if self.row.share else "",
            {True: "yes", False: "no", None: ""}[reached],
            other,
        )

    def figures(self, threads: int) -> dict[str, Any]:
        """The same for a file."""
        return {
            "title": self.row.title,
            "median_s": self.median,
            "ratio": {label: each._asdict() for label, each in self.against.items()},
            "to_beat": self.rival,
            "reach": self.row.reach_on(threads),
            "reach_share": self.row.share,
            "limit": self.limit._asdict(),
            "share": self.share,
            "reached": self.reached(threads),
        }


class Bench:
    """The workers on some cores, and what was found with them."""

    def __init__(self, running: Sequence[Worker], asked: argparse.Namespace, threads: int):
        self.comparison = Comparison(running, asked.without)
        self.ours = running[0]
        self.pause = PAUSE_SECONDS if threads > 1 else 0
        progress("the machine's limits ...")
        self.peak: Mapping[str, float] = self.ours.ask("peak")

    def limit(self, row: Row) -> Limit:
        """Arithmetic in registers or a copy of as many bytes, whichever takes longer."""
        progress(f"{row.case}: the machine's limit ...")
        by_arithmetic = row.flops / self.peak[row.dtype]
        by_memory = row.bytes / self.ours.ask("bandwidth", bytes=row.bytes)
        return Limit(by_memory, "bytes") if by_memory > by_arithmetic else Limit(by_arithmetic, "flops")

    def measured(self, row: Row, rounds: int) -> Result | None:
        """None where ours is left out, a contestant's numbers are wrong, or one fails while it is timed."""
        before = len(self.comparison.wrong)
        try:
            contestants = self.comparison.contestants(row.group, row.case)
            if len(self.comparison.wrong) > before or OURS not in [each.label for each in contestants]:
                return None
            progress(f"{row.case} ...")
            seconds = timing(contestants, rounds, self.pause)
        except PeerError as error:
            self.comparison.left_out.append(f"{row.case}: {error}")
            return None
        finally:
            self.comparison.close()
        median = {label: statistics.median(times) for label, times in seconds.items()}
        against = {label: ratio(times, seconds[OURS]) for label, times in seconds.items() if label != OURS}
        result = Result(row, median, against, self.limit(row))
        progress("")
        # The table comes at the end, which is far away.
        print(f"{row.title}: {duration(median[OURS])}", *(f"{label} {each.median:.2f}" for label, each in against.items()),
              sep=", ", file=sys.stderr, flush=True)  # fmt: skip
        return result


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for."""
    made = parser("python -m benchmarks.kernels", "What has to be reached, beside other libraries.", rounds=15)
    help = f"kinds or cases, or none (default: all): {', '.join(NAMES)}"
    made.add_argument("--rows", nargs="*", choices=NAMES, default=NAMES, metavar="NAME", help=help)
    made.add_argument("--threads", nargs="+", type=count, default=[1], help="of every library, and cores (default: 1)")
    help = "cpu: the processor's seconds, for one core of a machine where others are at work (default: wall)"
    made.add_argument("--clock", choices=("wall", "cpu"), default="wall", help=help)
    help = "draw time against size into FOLDER; needs matplotlib (pip install 'tracejit[bench]')"
    made.add_argument("--plot", type=Path, metavar="FOLDER", help=help)
    made.add_argument("--plots", nargs="+", choices=list(SWEEPS), default=list(SWEEPS), help="which (default: all)")
    asked = made.parse_args(arguments)
    if asked.plot and importlib.util.find_spec("matplotlib") is None:
        made.error("argument --plot: there is no matplotlib; pip install 'tracejit[bench]'")
    if asked.clock == "cpu" and max(asked.threads) > 1:
        made.error("argument --clock: cpu adds up what several threads take, which is no time to wait")
    available = len(_cores())
    if available and max(asked.threads) > available:
        made.error(f"argument --threads: {max(asked.threads)} of {available} cores")
    return asked


def _cores() -> list[int]:
    """Those that this process may run on; none where the system does not let a process choose."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []


def _curves(bench: Bench, name: str, asked: argparse.Namespace) -> list[Curves]:
    found = []
    for sweep in SWEEPS[name]:
        seconds: dict[str, dict[int, float]] = {}
        limit: dict[int, float] = {}
        for size, row in sweep.rows.items():
            result = bench.measured(row, min(asked.rounds, PLOT_ROUNDS))
            if result is not None:
                limit[size] = result.limit.seconds
                for label, median in result.median.items():
                    seconds.setdefault(label, {})[size] = median
        if limit:
            found.append(Curves(sweep.title, sweep.counts, seconds, limit))
    return found


def _on(threads: int, asked: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Measure and print with so many threads: the figures, and whose numbers are wrong."""
    cores = _cores()[-threads:]
    with ExitStack() as stack:
        running, told = workers(stack, asked.peer, environment(threads), asked.timeout, cores, asked.clock)
        bench = Bench(running, asked, threads)
        where = f"on {'core' if threads == 1 else 'cores'} {', '.join(map(str, cores))}" if cores else "on any core"
        progress("")
        print(f"\n{threads} {'thread' if threads == 1 else 'threads'} {where}: {'; '.join(told)}")
        print(f"at the most {bench.peak['float32'] / 1e9:.0f} GFLOP/s in float32, {bench.peak['float64'] / 1e9:.0f} in float64",
              flush=True)  # fmt: skip
        rows = [row for row in ROWS if row.kind in asked.rows or row.case in asked.rows]
        results = [result for row in rows if (result := bench.measured(row, asked.rounds))]
        progress("")
        if results:
            print(f"\n{table([HEADER, *(each.cells(threads) for each in results)], asked.markdown)}\n", flush=True)
        curves = {name: _curves(bench, name, asked) for name in asked.plots} if asked.plot else {}
        progress("")
        for name, each in curves.items():
            if each:
                file = asked.plot / f"{name}_{threads}.png"
                draw(each, f"a call on {threads} {'core' if threads == 1 else 'cores'}", file)
                print(f"drawn: {file}")
    comparison = bench.comparison
    for line in comparison.left_out:
        print(f"left out: {line}")
    if comparison.unchecked:
        print(f"compared with nobody's numbers: {', '.join(comparison.unchecked)}")
    figures = {
        "libraries": told,
        "cores": cores,
        "peak_flops": bench.peak,
        "rows": {each.row.case: each.figures(threads) for each in results},
        "curves": {name: [one._asdict() for one in each] for name, each in curves.items()},
    }
    return figures, comparison.wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 1 where a contestant's numbers are wrong, and then its row is not timed."""
    asked = options(arguments)
    if asked.plot:
        asked.plot.mkdir(parents=True, exist_ok=True)
    place = machine()
    print(f"{place['cpu']}, {place['cores']} cores, {place['system']}; Python {place['python']}; "
          f"{asked.rounds} rounds, seconds by the {asked.clock} clock")  # fmt: skip
    if told := absent(asked.peer):
        print(told)
    figures: dict[str, Any] = {"machine": place, "rounds": asked.rounds, "clock": asked.clock, "threads": {}}
    wrong: list[str] = []
    for threads in asked.threads:
        figures["threads"][threads], apart = _on(threads, asked)
        wrong += apart
    print(CAPTION)
    write(figures, asked.json)
    for line in wrong:
        print(f"DISAGREEMENT, the row is not timed: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
