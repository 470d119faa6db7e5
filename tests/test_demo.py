"""python -m tracejit demo: what it prints, what it writes, and how it refuses wrong options."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tracejit as tj
from tracejit import demo
from tracejit.__main__ import main

# What the demo says of a step in each of the three ways.
WAYS = ("eager", "compiled", "NumPy by hand")


def start(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run tracejit's command line in `folder`, away from the checkout."""
    command = [sys.executable, "-W", "error", "-m", "tracejit", *arguments]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=120)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder in which the demo ran with its defaults, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    result = start(folder, "demo")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    return folder, result.stdout


def test_the_network_learns(done: tuple[Path, str]) -> None:
    _, printed = done
    accuracy = re.search(r"^held-out accuracy: ([\d.]+)%", printed, re.MULTILINE)
    assert accuracy is not None, printed
    assert float(accuracy[1]) >= 96


def test_each_epoch_is_a_line(done: tuple[Path, str]) -> None:
    _, printed = done
    losses = [float(loss) for loss in re.findall(r"^epoch +\d+ of 20: loss ([\d.]+), held-out acc", printed, re.MULTILINE)]
    assert len(losses) == 20
    assert losses[-1] < 0.2 * losses[0]
    assert "\r" not in printed


def test_the_table_names_the_three_ways_and_they_agree(done: tuple[Path, str]) -> None:
    _, printed = done
    for way in WAYS:
        assert re.search(rf"^{way} +\d+ µs +[\d.]+ x$", printed, re.MULTILINE), printed
    assert re.search(r"^first call, which traces and compiles: \d+ ms$", printed, re.MULTILINE)
    assert re.search(r"^losses of 5 steps agree: at most [\d.e+-]+ apart$", printed, re.MULTILINE)


def test_the_dump_is_the_optimized_graph_with_the_demos_lines(done: tuple[Path, str]) -> None:
    folder, printed = done
    dump = folder / "train_step.ir.txt"
    assert str(dump) in printed
    text = dump.read_text("utf-8")
    graph = tj.ir.parse(text)
    assert graph.text() == text.removesuffix("\n")
    names = ("w1", "b1", "w2", "b2")
    assert {parameter.attrs["name"] for parameter, _ in graph.updates} == {*names, *(f"v_{name}" for name in names)}
    files = {node.location.file for node in graph.nodes if node.location is not None}
    assert files == {demo.__file__}


def test_the_graph_goes_to_the_folder_that_is_asked_for(tmp_path: Path) -> None:
    result = start(tmp_path, "demo", "--epochs", "1", "--seed", "3", "--output", "new/folder")
    assert result.returncode == 0, result.stderr
    assert "seed 3" in result.stdout
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["train_step.ir.txt"]
    assert not (tmp_path / "train_step.ir.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "COMMAND"),
        (("dmeo",), "'dmeo'"),
        (("demo", "--epochs", "0"), "0 is less than 1"),
        (("demo", "--epochs", "ten"), "'ten' is not a whole number"),
        (("demo", "--seed", "-1"), "-1 is less than 0"),
        (("demo", "--output", "file"), "'file' is not a folder"),
        (("demo", "--epoch-count", "3"), "--epoch-count"),
    ],
)
def test_wrong_options_are_told(
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""


def test_a_wrong_command_ends_with_a_status(tmp_path: Path) -> None:
    result = start(tmp_path, "dmeo")
    assert result.returncode == 2
    assert "'dmeo'" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_data() -> None:
    images, labels = demo.load_digits()
    assert images.shape == (1797, 64) and images.dtype == np.float32 and images.min() == 0 and images.max() == 1
    assert labels.shape == (1797,) and set(labels.tolist()) == set(range(10))


def test_the_step_by_hand_is_the_traced_step(rng: np.random.Generator) -> None:
    pixels, digits = rng.random((demo.BATCH, demo.PIXELS), dtype=np.float32), rng.integers(0, 10, demo.BATCH)
    network, by_hand = demo.Network(1), demo.NumpyNetwork(1)
    for _ in range(4):
        loss = network.train_step(tj.constant(pixels), tj.constant(digits))
        np.testing.assert_allclose(loss.numpy(), by_hand.train_step(pixels, digits), atol=1e-5)
    for variable, array in zip([*network.weights, *network.velocities], [*by_hand.weights, *by_hand.velocities], strict=True):
        np.testing.assert_allclose(variable.numpy(), array, atol=1e-5)


def test_it_runs_in_the_root_of_a_checkout(tmp_path: Path) -> None:
    """There `python -m` finds the package of the checkout first, whose passes lie beside it."""
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, "-m", "tracejit", "demo", "--epochs", "1", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "train_step.ir.txt").is_file()
