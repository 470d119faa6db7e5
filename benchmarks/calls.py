"""`python -m benchmarks.calls`: what a call costs, in tracejit and in other libraries, each in a process of its own.

    python -m benchmarks.calls --peer jax=/path/to/python --peer torch=/path/to/python

A sample is a tight loop; of one round, each contestant has one, in turns. What the loop itself costs is told beside.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.peers import OURS, Comparison, absent, environment, parser, timing, workers
from benchmarks.report import count, progress, table, write

# The cases' names and titles; the first of a group are the calls, the second the models' steps.
TITLES = {
    "calls": {
        "wxb_arrays": "w*x+b, 4 each, ndarrays in",
        "wxb_tensors": "w*x+b, 4 each, own tensors in",
        "regression": "linear regression, 4 points, step",
        "positional": "6 inputs",
        "dictionary": "a dict of 6",
        "keywords": "6 by keyword",
        "list": "a list of 6",
        "method": "a method that reads 3 attributes",
        "captured": "a function that reads 3 globals",
        "rotation": "4 traces in rotation, a call",
        "kept": "w*x+b, results kept",
        "large_dropped": "x+x, 4 MiB, results dropped",
        "large_kept": "x+x, 4 MiB, results kept",
    },
    "models": {
        "mlp": "MLP 784-128-10, batch 32, SGD step",
        "mlp_adam": "MLP 784-512-512-10, batch 256, Adam step",
        "pinn": "PINN of Burgers' equation, batch 1024, SGD step",
        "conv": "conv net on 28x28, batch 32, SGD step",
        "lstm": "LSTM of 100 steps in a loop, batch 8, SGD step",
        "transformer": "transformer, 2 layers, Adam step",
    },
}
GROUPS = {case: group for group, cases in TITLES.items() for case in cases}
DEFAULT = list(TITLES["calls"])
HEADER = ("case", "contestant", "a call", "of tracejit's")
MEMORY = ("regression", "arrays", "dictionary")
CALLS = 1_000_000


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for."""
    made = parser("python -m benchmarks.calls", "What a call costs, beside other libraries.", rounds=30)
    made.add_argument("--cases", nargs="+", choices=list(GROUPS), default=DEFAULT, help="which (default: all but the models)")
    made.add_argument("--threads", type=count, default=1, help="of every library (default: %(default)s)")
    made.add_argument("--no-processes", action="store_true", help="leave out the memory of a million calls and the threads")
    return made.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 1 where a contestant's numbers are wrong, and then it is not timed."""
    asked = options(arguments)
    from benchmarks.fresh import in_fresh_process
    from benchmarks.measure import duration, machine, ratio

    place = machine()
    print(f"{place['cpu']}, {place['cores']} cores, {place['system']}; Python {place['python']}")
    figures: dict[str, Any] = {"machine": place, "threads": asked.threads, "cases": {}}
    rows: list[Sequence[str]] = [HEADER]
    with ExitStack() as stack:
        running, told = workers(stack, asked.peer, environment(asked.threads), asked.timeout)
        progress("")
        print("\n".join([*told, *filter(None, [absent(asked.peer)])]), flush=True)
        figures["libraries"] = told
        comparison = Comparison(running, asked.without)
        for case in asked.cases:
            contestants = comparison.contestants(GROUPS[case], case)
            progress(f"{case} ...")
            seconds = timing(contestants, asked.rounds) if contestants else {}
            title = TITLES[GROUPS[case]][case]
            found: dict[str, Any] = {"title": title, "median_s": {}, "of_tracejit": {}}
            figures["cases"][case] = found
            for label, times in seconds.items():
                found["median_s"][label] = median = statistics.median(times)
                against = ""
                if label != OURS and OURS in seconds:
                    of_ours = ratio(times, seconds[OURS])
                    found["of_tracejit"][label] = of_ours._asdict()
                    against = str(of_ours)
                rows.append((title, label, duration(median), against))
            comparison.close()
        progress("the loop ...")
        # NumPy's and ours are always there.
        overhead: dict[str, float] = running[0].ask("overhead")
    figures["overhead_s"] = overhead
    progress("")
    print(f"\n{table(rows, asked.markdown, left=2)}\n")
    print(f"Times are medians of a call, of {asked.rounds} rounds; ratios are medians over the rounds (10th to 90th")
    print("percentile), above 1 where tracejit is faster. Part of every time is what runs it:", end=" ")
    print(f"{overhead['loop'] * 1e9:.1f} ns the empty\nloop; a Python function of three that does nothing takes "
          f"{overhead['python_call'] * 1e9:.0f} ns, its loop included.")  # fmt: skip
    if not asked.no_processes:
        figures |= _processes(in_fresh_process, duration)
    write(figures, asked.json)
    for each in comparison.left_out:
        print(f"left out: {each}")
    for each in comparison.wrong:
        print(f"DISAGREEMENT, not timed: {each}", file=sys.stderr)
    return 1 if comparison.wrong else 0


def _processes(run: Any, duration: Any) -> dict[str, Any]:
    """Print what a million calls leave in a process, and how calls of several threads run."""
    memory = []
    print()
    for case in MEMORY:
        progress(f"a million calls: {case} ...")
        found = run("memory", str(CALLS), case)
        memory.append(found)
        progress("")
        print(f"memory: after {found['calls']:,} calls of {case}: {found['growth_bytes']:,} bytes, "
              f"{found['growth_blocks']:,} blocks of Python's, {found['growth_references']} references to an argument and "
              f"{found['growth_none']} to None more")  # fmt: skip
    progress("threads ...")
    threads = run("threads")
    progress("")
    for name, times in threads["contestants"].items():
        in_turn, at_once = times["in_turn_s"], times["at_once_s"]
        print(f"{threads['threads']} threads, {threads['cores']} cores, {name}: {duration(at_once)} at once, "
              f"{duration(in_turn)} in turn: {in_turn / at_once:.2f} times as fast")  # fmt: skip
    return {"memory": memory, "threads_at_once": threads}


if __name__ == "__main__":
    sys.exit(main())
