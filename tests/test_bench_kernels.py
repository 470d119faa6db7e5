"""What has to be reached: the kernels agree with NumPy's numbers, the command runs without peers, and nobody is timed where
numbers differ. No time is asserted."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.usefixtures("benchmarks")


@pytest.fixture(scope="module")
def kernels(benchmarks: ModuleType) -> ModuleType:
    return importlib.import_module("benchmarks.kernels")


@pytest.fixture(scope="module")
def rows(benchmarks: ModuleType) -> ModuleType:
    return importlib.import_module("benchmarks.rows")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.kernels", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=120)


# -- the rows


def test_every_row_has_a_kernel_of_ours_and_a_limit(rows: ModuleType) -> None:
    ours = {group: importlib.import_module(f"benchmarks.libraries.{group}_tracejit").CASES for group in ("kernels", "models")}
    swept = [row for sweeps in rows.SWEEPS.values() for sweep in sweeps for row in sweep.rows.values()]
    for row in [*rows.ROWS, *swept]:
        assert row.case in ours[row.group], row.case
        assert row.flops > 0 and row.bytes > 0
    assert len({row.case for row in rows.ROWS}) == len(rows.ROWS) == 44


def test_what_is_asked_for_depends_on_the_threads(rows: ModuleType) -> None:
    mlp = next(row for row in rows.ROWS if row.case == "mlp")
    assert [mlp.reach_on(threads) for threads in (1, 2, 4)] == [1.7, 3.0, 3.0]
    square = rows.product_row(rows.Product(512, 512, 512))
    assert square.flops == 2 * 512**3 and square.reach_on(2) == 1.0 and square.share == 0.9


SMALL = (
    "matmul_784x128x32_transposed",
    "matmul_16x16x16",
    "hessian",
    "transpose_add",
    "matmul_512x512x512_double",
    *(f"{name}_1e5" for name in ("exp", "log", "tanh", "erf", "sin", "gelu")),
)


CONVOLUTIONS = tuple(f"{kind}{also}" for kind in ("residual", "pointwise") for also in ("", "_gradients"))


@pytest.mark.parametrize("case", [*SMALL, "norm_gelu", "cross_entropy", "black_scholes", *CONVOLUTIONS])
def test_the_kernels_agree_with_numpy(case: str) -> None:
    worker = importlib.import_module("benchmarks.worker").Worker("tracejit")
    assert worker.open("kernels", case, "tracejit") == {"apart": "", "results": None}


def test_numbers_for_comparison_are_not_timed() -> None:
    cases = importlib.import_module("benchmarks.worker").Worker("numpy").cases("kernels")
    assert cases["exp_1e3"] == ["numpy"] and cases["erf_1e3"] == [] and cases["hessian"] == []


def test_double_precision_is_compared_as_such(benchmarks: ModuleType) -> None:
    apart = importlib.import_module("benchmarks.libraries").apart
    one = np.ones(3)
    assert apart([one], [one + 1e-12], "float64") == ""
    assert "array 0 differs" in apart([one], [one + 1e-6], "float64")
    assert "float32" in apart([one.astype(np.float32)], [one], "float64")


@pytest.mark.parametrize("name", ["mlp_adam", "pinn", "lstm"])
def test_the_models_learn_as_they_do_eagerly(name: str) -> None:
    import tracejit as tj

    make = importlib.import_module("benchmarks.libraries.tape").MODELS[name]
    names, eager = make(tj).names, make(tj).names
    losses = [float(names["step"](names["x"], names["y"])) for _ in range(3)]
    # A step follows from the rounding of the one before.
    expected = [float(eager["step"].python_function(eager["x"], eager["y"])) for _ in range(3)]
    assert losses == pytest.approx(expected, rel=1e-4) and losses[2] != losses[0]


# -- limits


@pytest.mark.slow
def test_the_limits(benchmarks: ModuleType) -> None:
    limits = importlib.import_module("benchmarks.limits")
    assert limits.peak("float32") > limits.peak("float64") > 1e8
    assert limits.bandwidth(2**16) > 1e8
    assert 1 < limits.in_flight(16) < 64


def test_a_copy_is_a_copy(benchmarks: ModuleType, rng: np.random.Generator) -> None:
    limits = importlib.import_module("benchmarks.limits")
    for past_caches in (False, True):
        _, copy = limits._code(limits._copy_text(16, past_caches))
        ((source, target),) = limits._split(2 * 1024)[:1]
        source[:] = rng.integers(0, 256, source.size)
        target[:] = 0
        copy(source.ctypes.data, target.ctypes.data, source.size, 2)
        assert np.array_equal(target, np.concatenate([source, source]))


# -- who is timed


class Pretended:
    """A worker whose answers are given; `sampled` says whether it was timed."""

    def __init__(self, label: str, seconds: float, apart: str = "") -> None:
        self.label, self.seconds, self.apart, self.sampled = label, seconds, apart, False

    def ask(self, do: str, **given: Any) -> Any:
        if do == "sample":
            self.sampled = True
        return {
            "cases": {"exp_1e3": [self.label]},
            "open": {"apart": self.apart, "results": None},
            "sample": self.seconds,
            "peak": {"float32": 1e11},
            "bandwidth": 1e10,
        }.get(do)


def measured(kernels: ModuleType, rows: ModuleType, *workers: Pretended) -> Any:
    bench = kernels.Bench(workers, argparse.Namespace(without=[]), threads=1)
    return bench.measured(rows.elementwise_row("exp", 1000), 3), bench.comparison.wrong


def test_a_disagreement_stops_the_timing(kernels: ModuleType, rows: ModuleType) -> None:
    workers = Pretended("tracejit", 1e-6), Pretended("jax", 1e-6, apart="array 0 differs")
    result, wrong = measured(kernels, rows, *workers)
    assert result is None and wrong == ["exp_1e3: jax: array 0 differs"]
    assert not any(worker.sampled for worker in workers)


class Ended(Pretended):
    """A worker that has come to an end."""

    def __init__(self, error: type[Exception]) -> None:
        super().__init__("jax", 1e-6)
        self.error, self.peer = error, argparse.Namespace(library="jax")

    def ask(self, do: str, **given: Any) -> Any:
        raise self.error("the worker ended with status 1")


def test_who_has_ended_is_left_out_from_there_on(kernels: ModuleType, rows: ModuleType) -> None:
    workers = Pretended("tracejit", 2e-6), Ended(kernels.PeerError), Pretended("torch", 3e-6)
    bench = kernels.Bench(workers, argparse.Namespace(without=[]), threads=1)
    for _ in range(2):
        result = bench.measured(rows.elementwise_row("exp", 1000), 3)
        assert result is not None and set(result.median) == {"tracejit", "torch"}
    assert bench.comparison.left_out == ["jax from here on: the worker ended with status 1"]


def test_the_best_of_those_to_beat(kernels: ModuleType, rows: ModuleType) -> None:
    workers = Pretended("tracejit", 2e-6), Pretended("jax", 6e-6), Pretended("torch", 3e-6)
    result, wrong = measured(kernels, rows, *workers)
    assert wrong == [] and result.rival == result.fastest == "torch"
    assert result.against["torch"].median == pytest.approx(1.5) and result.reached(1) is True
    # 8000 bytes at 1e10 a second
    assert result.limit == (pytest.approx(8e-7), "bytes") and result.share == pytest.approx(0.4)
    against_jax = result._replace(row=result.row._replace(against=("jax",), reach=4.0))
    assert against_jax.rival == "jax" and against_jax.fastest == "torch" and against_jax.reached(1) is False
    assert len(against_jax.cells(1)) == len(kernels.HEADER)
    nobody = result._replace(row=result.row._replace(against=("tf.function",)))
    assert nobody.reached(1) is None and "not here" in nobody.cells(1)


# -- the command


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    result = run(
        "--rows", "matmul_16x16x16", "exp_1e3", "hessian", "conv", "pinn", "--rounds", "1", "--markdown", "--json", str(file)
    )
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    figures = json.loads(file.read_text("utf-8"))["threads"]["1"]
    assert {"matmul_16x16x16", "exp_1e3", "hessian"} <= set(figures["rows"]) and len(lines) == 2 + len(figures["rows"])
    found = figures["rows"]["exp_1e3"]
    assert set(found["median_s"]) == {"tracejit", "numpy"} and found["to_beat"] == "numpy" and found["share"] > 0
    assert figures["rows"]["hessian"]["reached"] is None
    assert "compared with nobody's numbers: pinn" in result.stdout
    assert "left out, no --peer given: numba, jax, tensorflow, torch" in result.stdout
    assert (
        "conv" in figures["rows"] or "left out: conv: tracejit: NotImplementedError: tracejit.nn has no conv2d" in result.stdout
    )


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="no matplotlib")
def test_the_plots(benchmarks: ModuleType, tmp_path: Path) -> None:
    plots = importlib.import_module("benchmarks.plots")
    curves = plots.Curves(
        "exp", "elements", {"tracejit": {100: 1e-6, 1000: 2e-6}, "jax": {1000: 3e-6}}, {100: 1e-7, 1000: 1e-6}
    )
    plots.draw([curves] * 4, "elementwise", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.thin(3)
@pytest.mark.parametrize("arguments", [("--rows", "nothing"), ("--threads", "4096"), ("--clock", "cpu", "--threads", "2", "1")])
def test_wrong_options_are_told(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.returncode == 2 and "error: argument" in result.stderr
