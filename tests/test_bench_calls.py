"""The comparisons with other libraries: the workers' protocol, with NumPy as the peer in a process of its own, and the
commands, without peers. No time is asserted."""

from __future__ import annotations

import importlib
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.usefixtures("benchmarks")


@pytest.fixture(scope="module")
def peers(benchmarks: ModuleType) -> ModuleType:
    return importlib.import_module("benchmarks.peers")


@pytest.fixture(scope="module")
def worker(peers: ModuleType) -> Iterator[Any]:
    """NumPy in another process."""
    with peers.started(peers.Peer("numpy", sys.executable), peers.environment(1), timeout=60) as started:
        started.ask("load")
        yield started


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=120)


# -- workers


def test_a_worker_loads_checks_and_samples(worker: Any) -> None:
    loaded = worker.ask("load")
    assert loaded["version"] == np.__version__ and {"numpy_s", "library_s"} <= set(loaded)
    assert worker.ask("cases", group="calls")["regression"] == ["numpy"]
    assert worker.ask("open", group="calls", case="regression", label="numpy") == {"apart": "", "results": None}
    assert worker.ask("sample", label="numpy", count=3) > 0
    worker.ask("close")
    assert set(worker.ask("overhead", count=10)) == {"loop", "python_call"}


def test_another_checkout_is_a_contestant_of_its_own(peers: ModuleType, tmp_path: Path) -> None:
    before = peers.Peer.parse(f"before={tmp_path}")
    assert before == ("before", str(tmp_path / ".venv/bin/python"), tmp_path)
    with peers.started(before._replace(python=sys.executable, folder=ROOT), peers.environment(1), timeout=60) as started:
        started.ask("load")
        assert started.ask("cases", group="calls")["regression"] == ["before"]
        assert started.ask("open", group="calls", case="regression", label="before")["apart"] == ""
        assert started.ask("sample", label="before", count=3) > 0


def test_a_first_result(worker: Any) -> None:
    first = worker.ask("first", group="models", case="mlp", label="numpy")
    assert first["seconds"] > 0 and first["result"] == pytest.approx(2.669, abs=0.01)


def test_contestants_in_turns(peers: ModuleType, worker: Any) -> None:
    worker.ask("open", group="calls", case="wxb_arrays", label="numpy")
    found = peers.timing([peers.Contestant(worker, "numpy")], rounds=3)
    assert set(found) == {"numpy"} and len(found["numpy"]) == 3
    worker.ask("close")


def test_what_fails_in_a_worker_is_told_and_it_goes_on(peers: ModuleType, worker: Any) -> None:
    with pytest.raises(peers.PeerError, match="KeyError: 'nothing'"):
        worker.ask("open", group="calls", case="nothing", label="numpy")
    assert worker.ask("cases", group="models") == {"mlp": ["numpy"]}


def test_a_library_that_is_not_there(peers: ModuleType) -> None:
    with (
        peers.started(peers.Peer("no_such_library", sys.executable), timeout=60) as started,
        pytest.raises(peers.PeerError, match="ModuleNotFoundError"),
    ):
        started.ask("load")


def test_an_interpreter_that_is_not_there_or_ends(peers: ModuleType) -> None:
    with pytest.raises(peers.PeerError, match="No such file"):
        peers.Worker(peers.Peer("jax", str(ROOT / "no-such-python")))
    with (
        peers.started(peers.Peer("numpy", shutil.which("false")), timeout=60) as started,
        pytest.raises(peers.PeerError, match="ended with status 1"),
    ):
        started.ask("load")


def test_an_answer_that_takes_too_long(peers: ModuleType) -> None:
    with (
        peers.started(peers.Peer("numpy", sys.executable), timeout=0.01) as started,
        pytest.raises(peers.PeerError, match=r"no answer to load in 0\.01 s"),
    ):
        started.ask("load")


# -- numbers


def test_arrays_that_are_apart_are_told(benchmarks: ModuleType) -> None:
    libraries = importlib.import_module("benchmarks.libraries")
    one = np.ones(3, np.float32)
    assert libraries.apart([one], [one]) == ""
    assert "differs by" not in libraries.apart([one], [one + np.float32(1e-6)])
    assert "array 0 differs" in libraries.apart([one], [one + np.float32(1e-2)])
    assert "float64" in libraries.apart([one.astype(np.float64)], [one])
    assert libraries.apart([one], [one, one]) == "1 arrays in place of 2"
    assert "array 0 differs" in libraries.apart([one * np.float32(np.nan)], [one])


def test_results_of_libraries_are_compared(peers: ModuleType) -> None:
    assert peers.disagreement({"a": [1.0, 2.0], "b": [1.0001, 2.0], "c": None}) == {}
    assert peers.disagreement({"a": [1.0, 2.0], "b": [1.0, 2.1]}) == {"b": "call 1: 2.1 in place of a's 2.0"}
    assert set(peers.disagreement({"a": [1.0], "b": [float("nan")]})) == {"b"}


def test_peers_are_parsed(peers: ModuleType) -> None:
    assert peers.Peer.parse("jax=/bin/python")[:2] == ("jax", "/bin/python")
    assert peers.absent([peers.Peer("jax", "")]) == "left out, no --peer given: numba, tensorflow, torch"
    assert peers.absent([peers.Peer(name, "") for name in peers.PEERS]) == ""


def test_every_case_has_a_title_and_numbers_of_numpys(benchmarks: ModuleType) -> None:
    calls = importlib.import_module("benchmarks.calls")
    by_numpy = importlib.import_module("benchmarks.libraries.calls_numpy").CASES
    compiled = importlib.import_module("benchmarks.libraries.calls_tracejit").CASES
    assert set(by_numpy) == set(compiled) == set(calls.TITLES["calls"])
    assert set(importlib.import_module("benchmarks.libraries.models_tracejit").CASES) == set(calls.TITLES["models"])


def test_the_calls_agree_with_numpy(benchmarks: ModuleType) -> None:
    worker = importlib.import_module("benchmarks.worker").Worker("tracejit")
    for case in worker.cases("calls"):
        assert worker.open("calls", case, "tracejit") == {"apart": "", "results": None}, case


def test_a_small_transformer_learns(benchmarks: ModuleType) -> None:
    import tracejit as tj

    data = importlib.import_module("benchmarks.libraries.data")
    tape = importlib.import_module("benchmarks.libraries.tape")
    sizes = data.Sizes(vocabulary=7, width=8, tokens=5, batch=2, heads=2, hidden=12, layers=1)
    names = tape.transformer(tj, sizes).names
    eager = tape.transformer(tj, sizes).names
    losses = [float(names["step"](names["x"], names["y"])) for _ in range(3)]
    assert losses == pytest.approx([float(eager["step"].python_function(eager["x"], eager["y"])) for _ in range(3)], rel=1e-4)
    assert losses[2] < losses[0]


class Pretended:
    """A worker whose label `wrong` is apart from NumPy, and whose `broken` fails."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def ask(self, do: str, **given: Any) -> Any:
        if do == "cases":
            return {"wxb_arrays": ["right", "wrong", "broken", "unwanted"]}
        if given["label"] == "broken":
            raise self.error("no compiler")
        return {"apart": "array 0 differs" if given["label"] == "wrong" else "", "results": None}


def test_who_is_wrong_is_not_timed(peers: ModuleType) -> None:
    comparison = peers.Comparison([Pretended(peers.PeerError)], ["unwanted"])
    assert [each.label for each in comparison.contestants("calls", "wxb_arrays")] == ["right"]
    assert comparison.wrong == ["wxb_arrays: wrong: array 0 differs"]
    assert comparison.left_out == ["wxb_arrays: broken: no compiler"]


# -- the commands


@pytest.mark.slow
def test_the_command_of_calls(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    result = run("benchmarks.calls", "--cases", "wxb_arrays", "rotation", "--rounds", "2", "--no-processes",
                 "--peer", f"jax={sys.executable}", "--json", str(file))  # fmt: skip
    assert result.returncode == 0, result.stderr
    for word in ("left out, no --peer given: numba, tensorflow, torch", "jax left out: ModuleNotFoundError", "the empty\nloop"):
        assert word in result.stdout
    figures = json.loads(file.read_text("utf-8"))
    assert set(figures["cases"]) == {"wxb_arrays", "rotation"}
    assert set(figures["cases"]["rotation"]["median_s"]) == {"tracejit", "numpy"}
    assert set(figures["cases"]["rotation"]["of_tracejit"]) == {"numpy"}


@pytest.mark.slow
def test_the_command_of_starts(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    result = run("benchmarks.start", "--parts", "mlp", "--rounds", "1", "--markdown", "--json", str(file))
    assert result.returncode == 0, result.stderr
    figures = json.loads(file.read_text("utf-8"))
    assert set(figures["mlp"]) == {"tracejit"} and set(figures["mlp"]["tracejit"]) == {"cold_s", "warm_s"}
    assert "| first call: MLP " in result.stdout


@pytest.mark.slow
def test_the_imports(benchmarks: ModuleType) -> None:
    start = importlib.import_module("benchmarks.start")
    starts = start.Starts(start.options(["--rounds", "1", "--peer", f"jax={sys.executable}"]))
    found = starts.imports()
    assert set(found) == {"tracejit", "numpy"} and set(found["tracejit"]) == {"numpy_s", "library_s"}
    assert len(starts.left_out) == 1 and starts.left_out[0].startswith("jax: ModuleNotFoundError")


def test_the_stages_of_compiling(benchmarks: ModuleType) -> None:
    compiling = importlib.import_module("benchmarks.compiling")
    found = compiling.stages(25)
    assert found["traced_nodes"] >= 25 > found["optimized_nodes"] > 1
    assert set(compiling.first(3)) == {"first_call_s", "second_call_s"}


def test_the_arena_of_every_case(benchmarks: ModuleType) -> None:
    compiling = importlib.import_module("benchmarks.compiling")
    cases = importlib.import_module("benchmarks.cases")
    found = compiling._arena(*cases.mlp().traced)
    assert min(found.values()) > 0


@pytest.mark.thin(4)
@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("benchmarks.calls", ("--cases", "nothing")),
        ("benchmarks.calls", ("--peer", "jax")),
        ("benchmarks.start", ("--peer", "other=python")),
        ("benchmarks.start", ("--ops", "0")),
    ],
)
def test_wrong_options_are_told(module: str, arguments: tuple[str, ...]) -> None:
    result = run(module, *arguments)
    assert result.returncode == 2 and "error: argument" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("case", ["arrays", "dictionary"])
def test_the_memory_of_calls(case: str) -> None:
    result = run("benchmarks.fresh", "memory", "1000", case)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["case"] == case and found["growth_references"] == 0


@pytest.mark.slow
def test_threads() -> None:
    result = run("benchmarks.fresh", "threads", "2", "1", "1")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["threads"] == 2 and set(found["contestants"]) == {"numpy", "one function", "a function a thread"}
