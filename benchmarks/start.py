"""`python -m benchmarks.start`: how long it takes to begin, in tracejit and in other libraries: imports, first calls with and
without what an earlier process has left on disk, compile times and planned memory. Each run is a process of its own.

    python -m benchmarks.start --peer jax=/path/to/python --peer torch=/path/to/python --without torch.compile
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers import (
    Peer,
    PeerError,
    absent,
    disagreement,
    environment,
    here,
    parser,
    started,
)
from benchmarks.report import count, progress, table, write
from benchmarks.rows import ROWS

TITLES = {row.case: row.title for row in ROWS if row.group == "models"}
PARTS = ("imports", *TITLES, "compiling", "arenas")
OPS = (10, 100, 1000, 10000)
# Those that can find on disk what another process has compiled.
KEEPING = ("tracejit", "before", "jax", "torch.compile")


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for."""
    made = parser("python -m benchmarks.start", "How long it takes to begin, beside other libraries.", rounds=5)
    made.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="which (default: all)")
    made.add_argument("--ops", nargs="+", type=count, default=list(OPS), help="lengths of the chain (default: 10 to 10000)")
    made.add_argument("--threads", type=count, help="of every library (default: what each takes)")
    return made.parse_args(arguments)


def caches(folder: Path, kept: bool) -> dict[str, str]:
    """The variables by which the libraries keep their code under `folder`; JAX does so only where it is told to."""
    told = {"TRACEJIT_CACHE_DIR": "tracejit", "TORCHINDUCTOR_CACHE_DIR": "torch", "TRITON_CACHE_DIR": "triton"}
    if kept:
        told["JAX_COMPILATION_CACHE_DIR"] = "jax"
    found = {variable: str(folder / name) for variable, name in told.items()}
    for place in found.values():
        Path(place).mkdir(parents=True, exist_ok=True)
    always = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    return found | (always if kept else {})


class Start(NamedTuple):
    """One contestant of a case."""

    peer: Peer
    case: str
    label: str


class Starts:
    """Runs in processes of their own, and what went wrong in them."""

    def __init__(self, asked: argparse.Namespace):
        self.peers = [*here(), *asked.peer]
        self.rounds, self.threads, self.timeout = asked.rounds, asked.threads, asked.timeout
        self.without = set(asked.without)
        self.left_out: list[str] = []
        self.wrong: list[str] = []

    def imports(self) -> dict[str, dict[str, float]]:
        """Medians of the seconds for NumPy and then for the library, by library; NumPy's own for "numpy"."""
        found: dict[str, list[dict[str, Any]]] = {}
        for peer in self.peers:
            try:
                found[peer.library] = [self._load(peer)]  # not counted: it fills the system's cache of files
            except PeerError as error:
                self.left_out.append(f"{peer.library}: {error}")
        self.peers = [peer for peer in self.peers if peer.library in found]
        for number in range(self.rounds):
            for peer in self.peers:
                progress(f"import {peer.library}, {number + 1} of {self.rounds} ...")
                found[peer.library].append(self._load(peer))
        return {library: _medians(runs[1:]) for library, runs in found.items()}

    def _load(self, peer: Peer) -> dict[str, Any]:
        with started(peer, environment(self.threads), self.timeout) as worker:
            answer: dict[str, Any] = worker.ask("load")
            return {key: value for key, value in answer.items() if key.endswith("_s")}

    def first_calls(self, case: str, folder: Path) -> dict[str, dict[str, float]]:
        """By label the median seconds of a first call, cold, and warm for those that keep their code on disk."""
        kept = environment(self.threads, **caches(folder / case, kept=True))
        checked = self._checked(case, kept)
        found: dict[str, dict[str, list[float]]] = {start.label: {} for start in checked}
        for number in range(self.rounds):
            for start in [start for start in checked if start.label in found]:
                progress(f"{case}: {start.label}, {number + 1} of {self.rounds} ...")
                try:
                    with tempfile.TemporaryDirectory() as empty:
                        env = environment(self.threads, **caches(Path(empty), kept=False))
                        found[start.label].setdefault("cold_s", []).append(self._first(start, env))
                    if start.label in KEEPING:
                        found[start.label].setdefault("warm_s", []).append(self._first(start, kept))
                except PeerError as error:
                    self.left_out.append(f"{case}: {start.label}: {error}")
                    del found[start.label]
        return {label: {key: statistics.median(times) for key, times in each.items()} for label, each in found.items()}

    def _first(self, start: Start, env: dict[str, str]) -> float:
        with started(start.peer, env, self.timeout) as worker:
            worker.ask("load")
            seconds: float = worker.ask("first", group="models", case=start.case, label=start.label)["seconds"]
            return seconds

    def _checked(self, case: str, env: dict[str, str]) -> list[Start]:
        """The contestants whose numbers are right; what they compile is on disk after that."""
        found: dict[str, Start] = {}
        results: dict[str, Any] = {}
        for peer in self.peers:
            if peer.library == "numpy":
                continue
            try:
                with started(peer, env, self.timeout) as worker:
                    worker.ask("load")
                    labels = worker.ask("cases", group="models").get(case, ())
            except PeerError as error:
                self.left_out.append(f"{case}: {peer.library}: {error}")
                continue
            for label in labels:
                if label in self.without:
                    continue
                progress(f"{case}: {label}, its numbers ...")
                try:
                    with started(peer, env, self.timeout) as worker:
                        worker.ask("load")
                        answer = worker.ask("open", group="models", case=case, label=label)
                except PeerError as error:
                    self.left_out.append(f"{case}: {label}: {error}")
                    continue
                if answer["apart"]:
                    self.wrong.append(f"{case}: {label}: {answer['apart']}")
                    continue
                found[label], results[label] = Start(peer, case, label), answer["results"]
        apart = disagreement(results)
        self.wrong += [f"{case}: {label}: {told}" for label, told in apart.items()]
        return [start for label, start in found.items() if label not in apart]


def _medians(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 1 where a contestant's numbers are wrong, and then it is not timed."""
    asked = options(arguments)
    from benchmarks.measure import duration, machine

    place = machine()
    print(f"{place['cpu']}, {place['cores']} cores, {place['system']}; Python {place['python']}")
    if told := absent(asked.peer):
        print(told, flush=True)
    starts = Starts(asked)
    figures: dict[str, Any] = {"machine": place, "threads": asked.threads, "rounds": asked.rounds}

    def show(*rows: Sequence[str]) -> None:
        progress("")
        print(f"\n{table(rows, asked.markdown, numbers_last=True)}", flush=True)

    if "imports" in asked.parts:
        figures["imports"] = imports = starts.imports()
        seconds = [(name, duration(found["numpy_s"]), duration(found["library_s"])) for name, found in imports.items()]
        show(("import of", "NumPy, before it", "the library"), *[each for each in seconds if each[0] != "numpy"])
    with tempfile.TemporaryDirectory() as folder:
        for case in [case for case in TITLES if case in asked.parts]:
            figures[case] = found = starts.first_calls(case, Path(folder))
            rows = [(label, *(duration(each[key]) if key in each else "" for key in ("cold_s", "warm_s")))
                    for label, each in found.items()]  # fmt: skip
            show((f"first call: {TITLES[case]}", "cold", "warm"), *rows)
    if "compiling" in asked.parts:
        figures["compiling"] = [_compile_times(ops) for ops in asked.ops]
        names = ("ops", "traced_nodes", "optimized_nodes", "first_call_s", "trace_s", "passes_s", "plan_and_emit_s", "llvm_s")
        heads = ("ops", "nodes traced", "optimized", "first call", "trace", "passes", "plan and emit", "LLVM")
        show(heads, *[[duration(run[name]) if name.endswith("_s") else f"{run[name]:,}" for name in names]
                      for run in figures["compiling"]])  # fmt: skip
    if "arenas" in asked.parts:
        progress("arenas ...")
        figures["arenas"] = arenas = _run("arenas")
        show(("case", "arena, bytes", "all temporaries", "of them"), *[
            (name, f"{each['arena_bytes']:,}", f"{each['temporaries_bytes']:,}",
             f"{each['arena_bytes'] / each['temporaries_bytes']:.0%}" if each["temporaries_bytes"] else "")
            for name, each in arenas.items()])  # fmt: skip
    print(f"\nTimes of processes of their own, medians of {asked.rounds}. first call: from the library's import to the first")
    print("result, variables made and decorated; cold: nothing on disk; warm: an earlier process has compiled the same.")
    write(figures, asked.json)
    for each in starts.left_out:
        print(f"left out: {each}")
    for each in starts.wrong:
        print(f"DISAGREEMENT, not timed: {each}", file=sys.stderr)
    return 1 if starts.wrong else 0


def _run(*arguments: str) -> Any:
    """What benchmarks.compiling finds, in a process of its own that finds nothing on disk."""
    from benchmarks.fresh import in_fresh_process

    with tempfile.TemporaryDirectory() as empty:
        return in_fresh_process(
            *arguments, module="benchmarks.compiling", env=environment(None, **caches(Path(empty), kept=False))
        )


def _compile_times(ops: int) -> dict[str, float]:
    progress(f"compiling {ops} ops ...")
    return {"ops": ops, **_run("first", str(ops)), **_run("stages", str(ops))}


if __name__ == "__main__":
    sys.exit(main())
