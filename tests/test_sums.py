"""Compiled sums of many numbers: products, convolutions and reductions of every layout against float64.

Each of the n numbers of a sum goes through at most BOUND + sqrt(n) additions that round (tracejit.llvm.summation), so what is
asked of any numbers is |error| <= (BOUND + sqrt(n)) u sum|x|. Rounding errors of positive random numbers mostly cancel: of
these TYPICAL u sum|x| is asked, which sums that are added one after the other miss from 10,000 numbers on."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tracejit.llvm.summation import BOUND

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
