"""The benchmarks: the contestants of each case compute the same, and the command runs. No time is asserted."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import tracejit as tj
from tracejit.llvm.machine import pool
from tracejit.runtime import concrete_function

ROOT = Path(__file__).resolve().parent.parent


NAMES = ("regression", "dense", "mlp", "norm_gelu", "cross_entropy")
# The large cases in small, with lengths that no vector width divides.
SMALL = {"norm_gelu": (37, 131), "cross_entropy": (29, 259)}


@pytest.mark.parametrize("name", NAMES)
def test_the_contestants_agree(benchmarks: ModuleType, name: str) -> None:
    cases = importlib.import_module("benchmarks.cases")
    case = cases.CASES[name](*SMALL.get(name, ()))
    assert tuple(case.contestants) == cases.CONTESTANTS
    assert case.bytes > 0 and case.flops > 0
    assert cases.disagreement(case, calls=3) == ""


def test_a_contestant_that_is_wrong_is_told(benchmarks: ModuleType) -> None:
    cases = importlib.import_module("benchmarks.cases")
    case = cases.dense()
    wrong = cases.Contestant(lambda: (np.float32(0), [np.zeros((3, 1), np.float32), np.zeros(1, np.float32)]), list)
    assert "compiled: array 0" in cases.disagreement(case._replace(contestants=case.contestants | {"compiled": wrong}))
    double = cases.Contestant(lambda: np.float64(0), list)
    contestants = dict.fromkeys(cases.CONTESTANTS, double)
    assert "float64" in cases.disagreement(case._replace(contestants=contestants))


def test_the_options_name_the_cases(benchmarks: ModuleType) -> None:
    assert tuple(importlib.import_module("benchmarks.cases").CASES) == NAMES
    assert importlib.import_module("benchmarks.__main__").NAMES == NAMES


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=120)


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    result = run("benchmarks", "--cases", "dense", "mlp", "--rounds", "2", "--no-processes", "--json", str(file))
    assert result.returncode == 0, result.stderr
    for word in ("OPENBLAS_NUM_THREADS", "llvmlite", "GB/s", "NumPy/compiled", "dense 10x3", "MLP 784-128-10"):
        assert word in result.stdout
    figures = json.loads(file.read_text("utf-8"))
    assert set(figures["cases"]) == {"dense", "mlp"}
    assert set(figures["cases"]["mlp"]["median_s"]) == {"eager", "compiled", "numpy"}
    assert figures["threads"] == 1


def test_the_table_as_markdown() -> None:
    result = run("benchmarks", "--cases", "dense", "--rounds", "1", "--no-processes", "--markdown")
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if line.startswith("|")]
    assert len(lines) == 3 and len({line.count("|") for line in lines}) == 1


@pytest.mark.parametrize("arguments", [("--cases", "nothing"), ("--rounds", "0"), ("--threads", "two")])
def test_wrong_options_are_told(arguments: tuple[str, ...]) -> None:
    result = run("benchmarks", *arguments)
    assert result.returncode == 2 and "error: argument" in result.stderr


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the most ever held is no measure of this")
def test_growth_is_seen(benchmarks: ModuleType) -> None:
    fresh = importlib.import_module("benchmarks.fresh")
    before = fresh.resident_bytes()
    held = np.ones(2**23)
    assert abs(fresh.resident_bytes() - before - held.nbytes) < held.nbytes / 4


@pytest.mark.slow
def test_what_runs_in_a_fresh_process() -> None:
    first = run("benchmarks.fresh", "first_call")
    assert first.returncode == 0, first.stderr
    assert set(json.loads(first.stdout)) == {"numpy_import_s", "tracejit_import_s", "first_call_s", "second_call_s"}
    memory = run("benchmarks.fresh", "memory", "2000")
    assert memory.returncode == 0, memory.stderr
    assert json.loads(memory.stdout)["calls"] == 2000


@pytest.mark.skipif(not pool.divides(), reason="one thread does all on this system")
def test_sharing_is_timed(benchmarks: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("benchmarks.threads")
    monkeypatch.setattr(concrete_function, "host_target", concrete_function.host_target)
    monkeypatch.setattr(module, "ROUNDS", 2)
    monkeypatch.setattr(module, "SIZES", (8192, 16384))
    module.main(2)
    assert concrete_function.host_target().machine.parallel_seconds == 0.0
    tj.config.threading.set_intra_op_parallelism_threads(0)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 + 2 * (3 + 2)
    assert [line.split()[0] for line in lines[-2:]] == ["8192", "16384"]
    module.main(1)
    assert capsys.readouterr().out == "one thread: nothing is shared\n"
