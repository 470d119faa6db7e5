"""What needs a process of its own: `python -m benchmarks.fresh first_call|memory` prints JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
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


def memory(calls: int = CALLS) -> dict[str, float]:
    """By how many bytes a million calls of the compiled linear regression make the process grow."""
    from benchmarks.cases import linear_regression

    call = linear_regression().contestants["compiled"].call
    for _ in range(20_000):
        call()
    before = resident_bytes()
    for _ in range(calls):
        call()
    return {"calls": calls, "growth_bytes": resident_bytes() - before}


def in_fresh_process(what: str, *arguments: str) -> dict[str, Any]:
    """The result of one of the functions above in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.fresh", what, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout)


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[2:]]
    print(json.dumps({"first_call": first_call, "memory": memory}[sys.argv[1]](*given)))
