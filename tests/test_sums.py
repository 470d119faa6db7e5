"""Compiled sums of many numbers: products, convolutions and reductions of every layout against float64.

Each of the n numbers of a sum goes through at most BOUND + sqrt(n) additions that round (tracejit.llvm.plan.summation), so what is
asked of any numbers is |error| <= (BOUND + sqrt(n)) u sum|x|. Rounding errors of positive random numbers mostly cancel: of
these TYPICAL u sum|x| is asked, which sums that are added one after the other miss from 10,000 numbers on."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tracejit.llvm.plan.summation import BOUND

UNIT, TYPICAL = 2.0**-24, 32


def within(found: Any, exact: np.ndarray, size: np.ndarray, count: int, *, typical: bool = True) -> None:
    """`found` is `exact`, a sum of `count` numbers whose absolute values have the sum `size`, but for rounding."""
    units = BOUND + math.sqrt(count)
    if typical:
        units = min(units, TYPICAL)
    np.testing.assert_array_less(np.abs(np.asarray(found, np.float64) - exact), units * UNIT * size + 1e-300)


def positive(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.uniform(0, 1, shape).astype(np.float32)


def swallowed(*shape: int, axis: int) -> np.ndarray:
    """Along `axis` a one and then numbers that are lost when they are added to it one after the other."""
    numbers = np.full(shape, 2.0**-25, np.float32)
    np.moveaxis(numbers, axis, 0)[0] = 1
    return numbers


FLIPS = list(itertools.product((False, True), repeat=2))
SHAPES = [(4, 8), (16, 40), (70, 3), (1, 1), (1, 40), (20, 1), (2, 100)]


@pytest.mark.thin(3)
@pytest.mark.parametrize("depth", [1, 100, 1500, 10**4, 10**6])
@pytest.mark.parametrize("flips", FLIPS, ids=str)
def test_products(flips: tuple[bool, bool], depth: int, rng: np.random.Generator) -> None:
    multiply = tj.function(lambda x, y: tj.matmul(x, y, transpose_a=flips[0], transpose_b=flips[1]))
    for rows, columns in ((4, 8), (20, 1)) if depth == 10**6 else SHAPES:
        for x, y in (
            (positive(rng, rows, depth), positive(rng, depth, columns)),
            (swallowed(rows, depth, axis=1), np.ones((depth, columns), np.float32)),
        ):
            given = [np.ascontiguousarray(each.T) if flip else each for each, flip in zip((x, y), flips, strict=True)]
            exact = x.astype(np.float64) @ y.astype(np.float64)
            within(multiply(*map(tj.constant, given)), exact, exact, depth, typical=x[0, 0] != 1)


def test_products_of_many_rows_and_columns(rng: np.random.Generator) -> None:
    """Panels of the right operand that are summed one after the other, in memory."""
    x, y = positive(rng, 40, 50_000), positive(rng, 50_000, 80)
    exact = x.astype(np.float64) @ y.astype(np.float64)
    within(tj.function(tj.matmul)(tj.constant(x), tj.constant(y)), exact, exact, 50_000)


def test_products_of_batches(rng: np.random.Generator) -> None:
    x, y = positive(rng, 2, 3, 20_000), positive(rng, 2, 20_000, 5)
    exact = x.astype(np.float64) @ y.astype(np.float64)
    within(tj.function(tj.matmul)(tj.constant(x), tj.constant(y)), exact, exact, 20_000)


def test_products_of_float16_are_summed_in_float32(rng: np.random.Generator) -> None:
    x, y = (positive(rng, *shape).astype(np.float16) for shape in ((3, 100_000), (100_000, 20)))
    scale = np.float16(2.0**-8)
    exact = (x * scale).astype(np.float64) @ (y * scale).astype(np.float64)
    found = tj.function(tj.matmul)(tj.constant(x * scale), tj.constant(y * scale))
    np.testing.assert_allclose(np.asarray(found, np.float64), exact, rtol=2.0**-11 + TYPICAL * UNIT)


def test_a_product_that_updates_a_variable(rng: np.random.Generator) -> None:
    x, y = positive(rng, 20_000, 30), positive(rng, 20_000, 17)
    w = tj.Variable(np.zeros((30, 17), np.float32))

    @tj.function
    def step(x: Any, y: Any) -> None:
        w.assign_sub(tj.matmul(x, y, transpose_a=True))

    step(tj.constant(x), tj.constant(y))
    exact = x.T.astype(np.float64) @ y.astype(np.float64)
    within(-w.numpy(), exact, exact, 20_000)


REDUCED = [
    ((10**7,), (0,)),
    ((10**6, 8), (0,)),
    ((10**5, 64), (0,)),
    ((8, 10**6), (1,)),
    ((2, 10**6, 4), (1,)),
    ((2, 10**5, 37), (1,)),
    ((2, 10**5, 3, 5), (1, 3)),
    ((2, 3, 10**5, 5), (1, 3)),
    ((40, 3, 10**4, 5), (0, 2)),
    ((3, 10**4, 100), (1, 2)),
    ((3, 1000, 1000), (0, 2)),
    ((2, 1500, 3, 1100), (1, 3)),
    ((30_000, 1), (0,)),
    ((10_000, 3), (0,)),
    ((3, 4099, 2), (1,)),
]


@pytest.mark.parametrize(("shape", "axes"), REDUCED, ids=str)
def test_reductions(shape: tuple[int, ...], axes: tuple[int, ...], rng: np.random.Generator) -> None:
    """Sums along rows, along columns and of all; shared by threads and not, with a mean beside them."""
    numbers = [positive(rng, *shape), swallowed(*shape, axis=axes[0])]

    @tj.function
    def sums(x: Any) -> Any:
        return tj.reduce_sum(x, axes), tj.reduce_mean(x * 2.0, axes), tj.reduce_max(x, axes)

    for x in numbers:
        exact, count = np.sum(x, axis=axes, dtype=np.float64), math.prod(shape[axis] for axis in axes)
        total, mean, most = sums(tj.constant(x))
        typical = x is numbers[0]
        within(total, exact, exact, count, typical=typical)
        within(mean, exact * 2 / count, exact * 2 / count, count, typical=typical)
        np.testing.assert_array_equal(most, np.max(x, axis=axes))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)], ids=str)
def test_reductions_of_transposes(axes: tuple[int, ...], order: tuple[int, ...], rng: np.random.Generator) -> None:
    """Together with what is broadcast, so that no axes are joined."""
    shape = tuple((5, 1030, 90)[axis] for axis in order)
    x = positive(rng, 5, 1030, 90)
    row, column = positive(rng, shape[2]), positive(rng, shape[1], 1)

    @tj.function
    def total(x: Any, row: Any, column: Any) -> Any:
        return tj.reduce_sum(tj.transpose(x, order) * row * column, axes)

    exact = np.sum(x.transpose(order).astype(np.float64) * row * column, axis=axes)
    count = math.prod(shape[axis] for axis in axes)
    within(total(*map(tj.constant, (x, row, column))), exact, exact, count)


def test_columns_beside_rows(rng: np.random.Generator) -> None:
    """Gradients of a layer norm's weights: a sum over rows behind sums along them."""
    x = positive(rng, 3, 20_000, 6)

    @tj.function
    def sums(x: Any) -> Any:
        spread = x / tj.reduce_sum(x, -1, keepdims=True)
        return tj.reduce_sum(spread, 1), tj.reduce_sum(spread, (0, 1)), spread

    wide = x.astype(np.float64)
    exact = wide / wide.sum(-1, keepdims=True)
    by_batch, of_all, spread = sums(tj.constant(x))
    within(by_batch, exact.sum(1), exact.sum(1), 20_000)
    within(of_all, exact.sum((0, 1)), exact.sum((0, 1)), 60_000)
    np.testing.assert_allclose(spread, exact, rtol=1e-6)


def test_variances(rng: np.random.Generator) -> None:
    x = positive(rng, 2, 50_000, 7)
    variance = tj.function(lambda x: tj.reduce_mean(tj.square(x - tj.reduce_mean(x, 1, keepdims=True)), 1))
    exact = np.var(x, axis=1, dtype=np.float64)
    within(variance(tj.constant(x)), exact, exact * 4, 50_000)


def test_convolutions(rng: np.random.Generator) -> None:
    """Many channels, and the gradient of filters, which is a sum over all positions of all images."""
    x, filters = positive(rng, 4, 60, 60, 3), positive(rng, 3, 3, 3, 5)

    @tj.function
    def gradient(x: Any, filters: Any) -> Any:
        with tj.GradientTape() as tape:
            tape.watch(filters)
            loss = tj.reduce_sum(tj.nn.conv2d(x, filters, 1, "VALID"))
        return tape.gradient(loss, filters)

    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (58, 58), axis=(1, 2))
    exact = np.broadcast_to(windows.sum((0, 4, 5))[..., None], filters.shape)
    within(gradient(tj.constant(x), tj.constant(filters)), exact, exact, 4 * 58 * 58)
    x, filters = positive(rng, 2, 4, 4, 5000), positive(rng, 3, 3, 5000, 6)
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), axis=(1, 2))
    exact = np.einsum("nijcab,abco->nijo", windows, filters)
    within(tj.function(tj.nn.conv2d)(tj.constant(x), tj.constant(filters), 1, "VALID"), exact, exact, 45_000)


def test_the_bits_do_not_depend_on_threads(rng: np.random.Generator) -> None:
    x = positive(rng, 4, 50_000, 9)

    @tj.function
    def sums(x: Any) -> Any:
        return tj.reduce_sum(x, 1), tj.reduce_sum(x, (0, 1)), tj.matmul(x[0], x[1], transpose_a=True)

    found = []
    before = tj.config.threading.get_intra_op_parallelism_threads()
    try:
        for threads in (1, 2, 3):
            tj.config.threading.set_intra_op_parallelism_threads(threads)
            found.append([each.numpy().copy() for each in sums(tj.constant(x))])
    finally:
        tj.config.threading.set_intra_op_parallelism_threads(before)
    for each in found[1:]:
        for mine, first in zip(each, found[0], strict=True):
            np.testing.assert_array_equal(mine, first)
