"""What needs a process of its own: `python -m benchmarks.fresh first_call|memory|threads` prints JSON."""

from __future__ import annotations

import functools
import gc
import itertools
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import ROOT

CALLS = 1_000_000


def first_call() -> dict[str, float]:
    """Seconds of the imports and of the first and the second call of the MLP's step."""
    start = time.perf_counter()
    import numpy  # noqa: F401

    numpy_imported = time.perf_counter()
    import tracejit  # noqa: F401

    imported = time.perf_counter()
    from benchmarks.cases import Mlp

    network = Mlp()
    called = time.perf_counter()
    float(network.step(network.images, network.labels))
    first = time.perf_counter()
    float(network.step(network.images, network.labels))
    second = time.perf_counter()
    return {
        "numpy_import_s": numpy_imported - start,
        "tracejit_import_s": imported - numpy_imported,
        "first_call_s": first - called,
        "second_call_s": second - first,
    }


def resident_bytes() -> int:
    """What the process holds in memory now; where the system does not tell, the most it has held."""
    import resource  # POSIX only

    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _call_of(case: str) -> tuple[Callable[[], Any], list[Any]]:
    """A call to make a million times, and the objects that have to be held as often after it as before."""
    if case == "regression":
        from benchmarks.cases import linear_regression

        made = linear_regression()
        return made.contestants["compiled"].call, list(made.traced[1:])
    from benchmarks.libraries.calls_tracejit import CASES

    names = CASES[{"arrays": "wxb_arrays", "dictionary": "dictionary"}[case]]["tracejit"]().names
    function, *given = names.values()
    held = list(given[0].values()) if case == "dictionary" else given
    return lambda: function(*given), [*held, function]


def memory(calls: int = CALLS, case: str = "regression") -> dict[str, Any]:
    """By how many bytes a million calls make the process grow, by how many blocks of Python's, and by how many references
    to an argument or the function, the most of them, and to None."""
    call, given = _call_of(case)
    for _ in range(min(calls, 20_000)):
        call()
    gc.collect()
    references, nones = [sys.getrefcount(each) for each in given], sys.getrefcount(None)
    blocks, before = sys.getallocatedblocks(), resident_bytes()
    for _ in range(calls):
        call()
    growth = resident_bytes() - before
    gc.collect()
    after = [sys.getrefcount(each) for each in given]
    return {
        "case": case,
        "calls": calls,
        "growth_bytes": growth,
        "growth_blocks": sys.getallocatedblocks() - blocks,
        "growth_references": max(more - count for more, count in zip(after, references, strict=True)),
        # Some come and go with whatever else runs.
        "growth_none": sys.getrefcount(None) - nones,
    }


def threads(threads: int = 4, calls: int = 50, rounds: int = 7) -> dict[str, Any]:
    """Seconds of `calls` calls in each of some threads at once and, one after the other, in one; medians of rounds in
    turns. A call is exp of 1 MiB: in NumPy, compiled, and compiled once for each thread."""
    import numpy as np

    import tracejit as tj
    from benchmarks.report import cores

    def wave(x: Any) -> Any:
        return tj.exp(-tj.exp(-tj.exp(x)))

    array = np.random.default_rng(9).standard_normal(2**18, dtype=np.float32)
    x, shared = tj.constant(array), tj.function(wave)
    contestants: dict[str, list[Callable[[], Any]]] = {
        "numpy": [lambda: np.exp(-np.exp(-np.exp(array)))] * threads,
        "one function": [lambda: shared(x)] * threads,
        "a function a thread": [functools.partial(tj.function(lambda x: wave(x)), x) for _ in range(threads)],
    }
    for each in itertools.chain(*contestants.values()):
        each()

    def run(call: Callable[[], Any]) -> None:
        for _ in range(calls):
            call()

    found: dict[str, Any] = {}
    for name, calling in contestants.items():
        times: dict[str, list[float]] = {"in_turn_s": [], "at_once_s": []}
        for _ in range(rounds):
            start = time.perf_counter()
            for call in calling:
                run(call)
            half = time.perf_counter()
            started = [threading.Thread(target=run, args=(call,)) for call in calling]
            for thread in started:
                thread.start()
            for thread in started:
                thread.join()
            times["in_turn_s"].append(half - start)
            times["at_once_s"].append(time.perf_counter() - half)
        found[name] = {key: statistics.median(values) for key, values in times.items()}
    return {"threads": threads, "calls": calls, "cores": cores(), "contestants": found}


def in_fresh_process(
    what: str, *arguments: str, module: str = "benchmarks.fresh", env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The result of one of the functions above, or of another module's, in a process of its own."""
    command = [sys.executable, "-m", module, what, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=env or os.environ, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout)


if __name__ == "__main__":
    given = [int(each) if each.isdigit() else each for each in sys.argv[2:]]
    known: dict[str, Callable[..., Any]] = {"first_call": first_call, "memory": memory, "threads": threads}
    print(json.dumps(known[sys.argv[1]](*given)))
