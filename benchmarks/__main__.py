"""`python -m benchmarks`: the table of eager, compiled and NumPy by hand, and what sets the limit on this machine."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import count, progress, table, write

# The cases' names, here too, since the options are read before NumPy and with it the BLAS are loaded.
NAMES = ("regression", "dense", "mlp", "norm_gelu", "cross_entropy")
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
HEADER = ("case", "eager", "compiled", "NumPy", "NumPy/compiled", "eager/compiled", "limit")
FRESH_PROCESSES = 3


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Eager, compiled and NumPy by hand.")
    parser.add_argument("--cases", nargs="+", choices=NAMES, default=list(NAMES), help="which (default: all)")
    parser.add_argument("--rounds", type=count, default=30, help="samples of each contestant (default: %(default)s)")
    parser.add_argument("--threads", type=count, default=1, help="of NumPy's BLAS (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    help = "leave out the first call in fresh processes and the million calls for the memory"
    parser.add_argument("--no-processes", action="store_true", help=help)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 1 where contestants disagree, and then nothing of that case is timed."""
    options = _options(arguments)
    # Workers of the BLAS spin for a while after a product and would be paid for by whoever is timed next.
    for name in THREADS:
        os.environ[name] = str(options.threads)
    from benchmarks.cases import CASES, disagreement
    from benchmarks.fresh import in_fresh_process
    from benchmarks.measure import duration, limits, machine, timing

    place = machine()
    versions = ", ".join(f"{name} {place[name.lower()]}" for name in ("Python", "NumPy", "llvmlite", "tracejit"))
    print(f"{place['cpu']}, {place['cores']} cores, {place['system']}; {versions} from {place['tracejit_path']}")
    print(f"threads of the BLAS: {options.threads} ({THREADS[0]}); {options.rounds} rounds, contestants in turns")
    bound = limits()
    print(f"limits: {bound.bandwidth / 1e9:.1f} GB/s in a large copy, {bound.flops / 1e9:.0f} GFLOP/s in a large "
          "float32 matmul of NumPy\n", flush=True)  # fmt: skip
    figures: dict[str, Any] = {"machine": place, "threads": options.threads, "limits": bound._asdict(), "cases": {}}
    rows: list[Sequence[str]] = [HEADER]
    wrong = []
    for name in options.cases:
        progress(f"{name} ...")
        case = CASES[name]()
        apart = disagreement(case)
        if apart:
            wrong.append(f"{name}: {apart}")
            continue
        found = timing(case, options.rounds)
        medians = [duration(found.median[contestant]) for contestant in ("eager", "compiled", "numpy")]
        limit = bound.of(case, found.median["compiled"])
        rows.append((case.title, *medians, str(found.against_numpy), str(found.against_eager), limit))
        figures["cases"][name] = {
            "title": case.title,
            "median_s": found.median,
            "numpy_to_compiled": found.against_numpy._asdict(),
            "eager_to_compiled": found.against_eager._asdict(),
            "bytes": case.bytes,
            "flops": case.flops,
            "limit": limit,
        }
        del case
    progress("")
    print(table(rows, options.markdown))
    print("\nTimes are medians of a call; ratios are medians over the rounds (10th to 90th percentile), above 1 where")
    print("compiled is faster. limit: inputs and outputs moved once, or arithmetic, at the machine's limits above, and")
    print("its share of the compiled time (data that stays in the caches can be faster than the copy).")
    if not options.no_processes:
        progress("first calls in fresh processes ...")
        compiling = {**os.environ, "TRACEJIT_CACHE": "0"}
        runs = [in_fresh_process("first_call", env=compiling) for _ in range(FRESH_PROCESSES)]
        first = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        progress("a million calls ...")
        memory = in_fresh_process("memory")
        progress("")
        told = {key.removesuffix("_s"): duration(seconds) for key, seconds in first.items()}
        print(f"\nMLP in a fresh process, no cache: first call {told['first_call']}, second {told['second_call']}; import of")
        print(f"NumPy {told['numpy_import']}, then of tracejit {told['tracejit_import']} (medians of {FRESH_PROCESSES})")
        print(f"memory: {memory['growth_bytes']:,} bytes more after {memory['calls']:,} calls of the linear regression")
        figures |= {"first_call": first, "memory": memory}
    write(figures, options.json)
    for each in wrong:
        print(f"DISAGREEMENT, not timed: {each}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
