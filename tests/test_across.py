"""Operands that lie across a fusion's rows, transposed by tiles: the same numbers as NumPy's for every dtype, permutation and edge;
where that pays, and where a copy comes before."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from machines import change_machine, fits_host, use_target

import tracejit as tj
from tracejit import ops, passes
from tracejit.ir import Graph, make
from tracejit.ir.types import array_type
from tracejit.llvm.plan import across
from tracejit.llvm.plan.calls import KernelCall
from tracejit.llvm.plan.plan import plan
from tracejit.llvm.target import AVX2, AVX512, SSE, Machine, Target

DTYPES = ("float32", "float64", "float16", "int32", "int64", "bool")


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size, and by tiles so small that there are many."""
    monkeypatch.setattr(across, "_FEW", 1)
    monkeypatch.setattr(across, "_pays", lambda *_: True)
    change_machine(monkeypatch, across_rows=64, across_lanes=512)


def numbers(dtype: str, *shape: int) -> np.ndarray:
    drawn = np.random.default_rng(7).integers(-9, 10, shape)
    return drawn > 0 if dtype == "bool" else drawn.astype(dtype)


def calls(function: Any, *given: np.ndarray) -> tuple[KernelCall, ...]:
    return function.compiled(*map(tj.constant, given)).plan.calls


def tiles(function: Any, *given: np.ndarray) -> list[tuple[int, int]]:
    return [call.layout.tile for call in calls(function, *given) if call.layout is not None and call.layout.tile is not None]


def plan_tiles(x: np.ndarray, target: Target) -> list[tuple[int, int]]:
    """The tiles of the transpose and 1, as planned for a target."""
    node = make(ops.parameter, type=array_type(x), name="x")
    graph = Graph("g", [node], [ops.add(ops.transpose(node, permutation=(1, 0)), 1)])
    calls = plan(passes.run(graph), target).calls
    return [call.layout.tile for call in calls if call.layout is not None and call.layout.tile is not None]


def check(body: Callable[..., Any], expected: np.ndarray, *given: np.ndarray, rtol: float = 0, tiled: bool = True) -> Any:
    function = tj.function(body)
    for _ in range(2):
        np.testing.assert_allclose(function(*map(tj.constant, given)).numpy(), expected, rtol=rtol, strict=True)
    assert bool(tiles(function, *given)) == tiled
    return function


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(8, 8), (16, 300), (300, 17), (129, 257), (61, 515)], ids=str)
def test_every_dtype_and_edge(dtype: str, shape: tuple[int, int]) -> None:
    x, y = numbers(dtype, *shape), numbers(dtype, *shape[::-1])
    if dtype == "bool":
        check(lambda x, y: tj.math.logical_xor(tj.transpose(x), y), x.T ^ y, x, y)
    else:
        check(lambda x, y: tj.transpose(x) * y + y, x.T * y + y, x, y)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("permutation", [each for each in itertools.permutations(range(3)) if each[-1] != 2], ids=str)
@pytest.mark.parametrize("shape", [(9, 17, 33), (40, 8, 70), (1, 130, 20)], ids=str)
def test_every_permutation_whose_last_axis_moves(permutation: tuple[int, ...], shape: tuple[int, ...]) -> None:
    x = numbers("float32", *shape)
    check(
        lambda x: tj.transpose(x, permutation) * 2.0,
        x.transpose(permutation) * 2,
        x,
        tiled=shape[0] > 1 or permutation != (1, 2, 0),
    )


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("machine", [SSE, AVX2, AVX512], ids=lambda machine: machine.name)
def test_every_width_of_registers(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fits_host(Target(machine)):
        pytest.skip("this processor does not have its instructions")
    use_target(monkeypatch, Target(machine._replace(across_rows=64, across_lanes=512)))
    x = numbers("float32", 70, 301)
    check(lambda x: tj.transpose(x) + 1.0, x.T + 1, x)


@pytest.mark.usefixtures("always")
def test_slices_backwards_and_forwards() -> None:
    x = numbers("float32", 90, 200)
    check(lambda x: tj.transpose(x[::-1, ::-1]) + 1.0, x[::-1, ::-1].T + 1, x)
    check(lambda x: tj.transpose(x[3:, 5:-7]) + 1.0, x[3:, 5:-7].T + 1, x)
    check(lambda x: tj.transpose(x[::3]) + 1.0, x[::3].T + 1, x)


@pytest.mark.usefixtures("always")
def test_several_operands_rows_and_positions() -> None:
    x, y, row, column = (
        numbers("float32", 80, 150),
        numbers("float32", 80, 150),
        numbers("float32", 80),
        numbers("float32", 150, 1),
    )
    check(lambda x, y: tj.transpose(x) * tj.transpose(y) - tj.transpose(x), x.T * y.T - x.T, x, y)
    check(lambda x, row, column: tj.transpose(x) * row + column, x.T * row + column, x, row, column)
    lanes, rows = np.arange(80, dtype=np.float32), np.arange(150, dtype=np.float32)[:, None]
    check(lambda x: tj.transpose(x) * tj.range(80.0) + tj.range(150.0)[:, None], x.T * lanes + rows, x)


@pytest.mark.usefixtures("always")
def test_several_passes_over_whole_rows() -> None:
    x = numbers("float32", 83, 150) / np.float32(4)
    powers = np.exp(x.T - x.T.max(1, keepdims=True))
    softmax = check(lambda x: tj.nn.softmax(tj.transpose(x)), powers / powers.sum(1, keepdims=True), x, rtol=1e-5)
    assert [wide for _, wide in tiles(softmax, x)] == [83]
    check(lambda x: tj.reduce_sum(tj.transpose(x) * 2.0, 1), (x.T * 2).sum(1), x)


@pytest.mark.usefixtures("always")
def test_what_is_accumulated_over_the_rows_is_copied_before() -> None:
    x, y = numbers("float32", 83, 150), numbers("float32", 150, 83)
    found = check(lambda x, y: tj.reduce_sum(tj.transpose(x) * y, 0), (x.T * y).sum(0), x, y, tiled=False)
    assert [call.purpose for call in calls(found, x, y)] == ["in order", ""]


def test_little_is_read_one_by_one() -> None:
    small, narrow, close = numbers("float32", 40, 40), numbers("float32", 7, 9000), numbers("float32", 9000, 3)
    check(lambda x: tj.transpose(x) + 1.0, small.T + 1, small, tiled=False)
    check(lambda x: tj.transpose(x) + 1.0, narrow.T + 1, narrow, tiled=False)
    check(lambda x: tj.transpose(x) + 1.0, close.T + 1, close, tiled=False)


@pytest.mark.parametrize(
    ("shape", "dtype", "tiled"),
    [
        ((300, 300), "float32", False),
        ((1000, 1000), "float32", False),
        ((256, 256), "float64", True),
        ((3000, 20), "float32", True),
    ],
    ids=str,
)
def test_what_stays_in_a_near_cache_is_read_one_by_one(shape: tuple[int, int], dtype: str, tiled: bool) -> None:
    x = numbers(dtype, *shape)
    assert bool(plan_tiles(x, Target(AVX512))) == tiled


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_and_results_past_the_caches(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEJIT_NUM_THREADS", str(threads))
    change_machine(monkeypatch, l3=1 << 20, parallel_seconds=0.0)
    for columns in (520, 516, 515):  # whole registers, quarters of them, and neither
        x = numbers("float32", columns, 700)
        check(lambda x: tj.transpose(x) + 1.0, x.T + 1, x)


def test_a_step_in_place_reads_the_old_value_everywhere() -> None:
    start = numbers("float32", 200, 200)
    w = tj.Variable(start)

    @tj.function
    def step() -> None:
        w.assign(w + tj.transpose(w))

    step()
    np.testing.assert_array_equal(w.numpy(), start + start.T)
