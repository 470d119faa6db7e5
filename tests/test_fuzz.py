"""The machine that runs random programs (`python -m tests.fuzz`): a few of them, and that it finds, shrinks and reports."""

from __future__ import annotations

import subprocess
import sys
import weakref
from typing import Any

import pytest
from fuzz import ROOT
from fuzz.arguments import public_functions
from fuzz.check import check
from fuzz.generate import Generator, generate
from fuzz.gradients import check_gradients
from fuzz.lines import _elementwise, _sampled
from fuzz.program import Program
from fuzz.rounding import Bounds
from fuzz.worker import run_case
from fuzz.wrong import wrong_call

import tracejit as tj
from tracejit.ir import OPS
from tracejit.ir.op import Scalar
from tracejit.llvm import linking


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that a planted error makes is found again by another test, and nothing of other tests by it."""
    monkeypatch.setenv("TRACEJIT_CACHE", "0")
    monkeypatch.setattr(linking, "_in_use", weakref.WeakValueDictionary())


@pytest.mark.thin(4)
@pytest.mark.parametrize("first", range(0, 40, 10))
def test_programs(first: int) -> None:
    for seed in range(first, first + 10):
        difference = check(generate(seed))
        assert difference is None, (seed, difference)


def test_gradients() -> None:
    for seed in range(60):
        difference = check_gradients(Generator(seed, smooth=True).program())
        assert difference is None, (seed, difference)


def test_a_seed_is_a_program() -> None:
    assert generate(5) == generate(5)
    assert generate(5).body() != generate(6).body()


def test_every_op_and_public_function_is_drawn_from() -> None:
    drawn = {op.name for op in _elementwise()} | set(_sampled())
    assert set(OPS) - drawn == {"parameter", "constant", "element", "gradient", "custom_gradient", "fusion", "call"}
    functions = {id(value) for value in public_functions().values()}
    assert {id(tj.matmul), id(tj.nn.softmax), id(tj.linalg.matrix_transpose), id(tj.random.normal)} <= functions


def test_wrong_calls_are_calls() -> None:
    for seed in range(30):
        name, wrong, call, right, setup = wrong_call(seed)
        assert call.startswith(f"{name}(") and f"{wrong}=" in call
        compile(f"{setup}\n{right}\n{call}", "<call>", "exec")


def _first_finding(kind: str, most: int) -> dict[str, str]:
    for seed in range(most):
        found = run_case(kind, seed, shrinking=10.0)
        if found is not None:
            return found
    raise AssertionError(f"{most} programs show nothing")


def _run(source: str) -> str:
    """A report's program in a process of its own; what it prints of eager mode and of the compiled function."""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, cwd=ROOT.parent, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_wrong_lowering_is_found(monkeypatch: pytest.MonkeyPatch, no_cache: None, capsys: Any) -> None:
    """As a program of some lines that runs by itself."""
    monkeypatch.setattr(OPS["maximum"], "lower", Scalar(lambda b, x, y: x))
    found = _first_finding("programs", 200)
    assert found["mode"] == "compiled" and int(found["lines"]) <= 8
    assert "maximum" in found["source"] or "relu" in found["source"] or "clip" in found["source"] or "max" in found["source"]
    assert _run(found["source"])


def test_a_wrong_gradient_is_found(monkeypatch: pytest.MonkeyPatch, no_cache: None, capsys: Any) -> None:
    monkeypatch.setattr(OPS["cos"], "vjp", (lambda ct, out, x: tj.multiply(ct, tj.sin(x)),))
    found = _first_finding("gradients", 2000)
    # sin, of which it is the slope, shows it at the second order.
    assert ("cos" in found["source"] or "sin" in found["source"]) and int(found["lines"]) <= 6
    assert found["text"].startswith("order")


def test_what_rounds_nothing_has_the_same_bits() -> None:
    import numpy as np

    exact = Bounds([np.float32([1.0, 2.0])], [[np.float32([1.0, 2.0])]])
    assert exact.difference([np.float32([1.0, 2.0])]) is None
    assert exact.difference([np.float32([1.0, np.nextafter(np.float32(2), np.float32(3))])]) is not None
    moved = Bounds([np.float32([1.0, np.inf])], [[np.float32([1.001, 5.0])]])
    assert moved.difference([np.float32([1.002, 7.0])]) is None
    assert moved.difference([np.float32([1.1, 7.0])]) is not None


def test_a_program_prints_as_it_runs() -> None:
    for seed in range(20):
        program = generate(seed)
        assert isinstance(program, Program)
        compile(program.source(), "<source>", "exec")
