"""Zero cotangents and infinite derivatives: nothing arrives in what was left out, and elsewhere nothing is hidden.

Each function is differentiated eagerly, inside of a traced function, and around a call of one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj

INF, NAN = np.inf, np.nan


def _eager(f: Callable[..., Any], x: Any, seed: Any = None) -> Any:
    with tj.GradientTape() as tape:
        tape.watch(x)
        y = f(x)
    return tape.gradient(y, x, output_gradients=seed)


def _inside(f: Callable[..., Any], x: Any, seed: Any = None) -> Any:
    return tj.function(lambda x: _eager(f, x, seed))(x)


def _around(f: Callable[..., Any], x: Any, seed: Any = None) -> Any:
    return _eager(tj.function(f), x, seed)


each_way = pytest.mark.parametrize("gradient", [_eager, _inside, _around])


@tj.custom_gradient
def _left_out_by_the_user(x: Any) -> Any:
    return x * 1.0, lambda dy: dy * 0.0


@each_way
@pytest.mark.parametrize(
    ("f", "x", "expected"),
    [
        (lambda x: tj.math.log(1.0 + tj.exp(x)), [800.0, 0.0], [NAN, 0.5]),
        (lambda x: tj.sqrt(tj.reduce_sum(x * x)), [INF, 1.0], [NAN, 0.0]),
        (lambda x: tj.math.log(x) * 0.0, [0.0, 1.0], [NAN, 0.0]),
        (lambda x: (1.0 / x) * 0.0, [0.0, 1.0], [NAN, 0.0]),
        # These say that where nothing arrives their derivative does not count, as in TensorFlow.
        (lambda x: tj.sqrt(x) * 0.0, [0.0, 1.0], [0.0, 0.0]),
        (lambda x: tj.math.rsqrt(x) * 0.0, [0.0, 1.0], [0.0, 0.0]),
        (lambda x: tj.math.reciprocal(x) * 0.0, [0.0, 1.0], [0.0, 0.0]),
        (lambda x: tj.where(x > 0, tj.math.log(x), 0.0), [0.0, 1.0], [0.0, 1.0]),
        (lambda x: tj.where(x > 0, tj.math.log(tj.exp(tj.sqrt(x))), 0.0), [-1.0, 4.0], [0.0, 0.25]),
        (lambda x: tj.where(x > 1, tj.where(x > 0, 1 / x, 0.0), 0.0) + tj.where(x > 0, x, 1 / x), [0.0, 2.0], [-INF, 0.75]),
        (lambda x: tj.maximum(tj.math.log(x), -5.0), [0.0, 1.0], [0.0, 1.0]),
        (lambda x: tj.nn.relu(tj.math.log(x)), [0.0, 2.0], [0.0, 0.5]),
        (lambda x: tj.reduce_max(1 / x), [-0.0, 2.0], [0.0, -0.25]),
        (lambda x: tj.math.log(x)[1:], [0.0, 2.0], [0.0, 0.5]),
        (lambda x: tj.gather(tj.math.log(x), [1]), [0.0, 2.0], [0.0, 0.5]),
        (lambda x: _left_out_by_the_user(tj.math.log(x)), [0.0, 2.0], [0.0, 0.0]),
    ],
)
def test_first_order(gradient: Any, f: Any, x: Any, expected: Any) -> None:
    np.testing.assert_allclose(gradient(f, tj.constant(x)), expected, rtol=1e-6)


@each_way
def test_what_the_user_seeds_with_zero_has_no_gradient(gradient: Any) -> None:
    x, seed = tj.constant([0.0, 0.0, 2.0]), tj.constant([0.0, 1.0, 1.0])
    np.testing.assert_array_equal(gradient(tj.math.log, x, seed), [0.0, INF, 0.5])


@each_way
def test_a_part_that_nobody_reads_has_no_gradient(gradient: Any) -> None:
    pair = tj.custom_gradient(lambda x: ((x, x * 2.0), lambda dx, dy: dx + dy))
    x = tj.constant([0.0, 2.0])
    np.testing.assert_array_equal(gradient(lambda x: pair(tj.math.log(x))[1][1:], x), [0.0, 0.5])


@each_way
@pytest.mark.parametrize(
    ("f", "second", "third"),
    [
        (lambda x: tj.where(x > 0, tj.math.log(x), 0.0), [0.0, 0.0, -0.25], [0.0, 0.0, 0.25]),
        (lambda x: tj.where(x > 0, tj.sqrt(tj.sqrt(x * x)), 0.0), [0.0, 0.0, -0.25 * 2**-1.5], [0.0, 0.0, 0.375 * 2**-2.5]),
        (lambda x: tj.where(x > 0, 1.0 / x, 0.0), [0.0, 0.0, 0.25], [0.0, 0.0, -0.375]),
        (lambda x: tj.where(x > 0, x**1.5, 0.0), [0.0, 0.0, 0.75 * 2**-0.5], [0.0, 0.0, -0.375 * 2**-1.5]),
    ],
)
def test_higher_orders_of_where(gradient: Any, f: Any, second: Any, third: Any) -> None:
    x = tj.constant([0.0, -1.0, 2.0], tj.float64)
    if gradient is _around:
        f = tj.function(f)
    inner = _inside if gradient is _inside else _eager

    def once(x: Any) -> Any:
        return _eager(f, x)

    def twice(x: Any) -> Any:
        return _eager(once, x)

    np.testing.assert_allclose(inner(once, x), second, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(inner(twice, x), third, rtol=1e-12, atol=1e-15)


@each_way
def test_two_calls_in_a_chain_agree_with_one(gradient: Any) -> None:
    """What a call leaves out is known to what comes before it, and what it does not leave out as well."""
    takes, leaves = tj.function(tj.exp), tj.function(lambda y: tj.math.log(1.0 + y))
    np.testing.assert_array_equal(gradient(lambda x: leaves(takes(x)), tj.constant([800.0])), [NAN])
    chosen = tj.function(lambda y: tj.where(y > 1e30, 0.0, tj.math.log(1.0 + y)))
    np.testing.assert_array_equal(gradient(lambda x: chosen(takes(x)), tj.constant([800.0])), [0.0])


def test_the_derivative_by_a_cotangent_that_is_zero() -> None:
    """As forward mode by two gradients takes it: sqrt'(x) * seed, differentiated by the seed where that is 0."""
    x, seed = tj.constant([4.0]), tj.constant([0.0])
    with tj.GradientTape(persistent=True) as outer:
        outer.watch([x, seed])
        with tj.GradientTape() as inner:
            inner.watch(x)
            y = tj.sqrt(x)
        first = inner.gradient(y, x, output_gradients=seed)
        mixed = outer.gradient(first, x)
    np.testing.assert_array_equal(outer.gradient(first, seed), [0.25])
    np.testing.assert_array_equal(mixed, [0.0])
    np.testing.assert_array_equal(outer.gradient(mixed, seed), [-1 / 32])


@each_way
def test_the_second_order_of_a_square_root_at_infinity(gradient: Any) -> None:
    """0, where TensorFlow has NaN: the root's derivative is 0 there, and a square root's zero stays zero."""
    norm = tj.function(tj.norm) if gradient is _around else tj.norm
    inner = _inside if gradient is _inside else _eager
    x = tj.constant([INF, 1.0])
    np.testing.assert_array_equal(inner(norm, x), [NAN, 0.0])
    np.testing.assert_array_equal(inner(lambda x: _eager(norm, x), x), [0.0, 0.0])


@each_way
@pytest.mark.parametrize(("f", "last"), [(lambda x: x * 2.0, 1), (lambda x: tj.reduce_max(x), 1), (lambda x: x * x, 2)])
def test_what_no_derivative_depends_on_is_none(gradient: Any, f: Any, last: int) -> None:
    """The same ways, also around a call, where TensorFlow's is 0 from there on."""
    if gradient is _around:
        f = tj.function(f)
    inner = _inside if gradient is _inside else _eager
    orders = [f]
    for _ in range(last):
        orders.append(lambda x, f=orders[-1]: _eager(f, x))
    x = tj.constant([1.0, 3.0])
    assert inner(orders[last - 1], x) is not None and inner(orders[last], x) is None


@each_way
@pytest.mark.parametrize(
    "f", [tj.nn.relu, tj.nn.relu6, tj.nn.leaky_relu, lambda x: tj.nn.max_pool2d(tj.reshape(x, [1, 2, 2, 1]), 2, 1, "SAME")]
)
def test_what_is_piecewise_linear_has_derivatives_of_zero(gradient: Any, f: Any) -> None:
    """And not None, at its kinks too."""
    if gradient is _around:
        f = tj.function(f)
    inner = _inside if gradient is _inside else _eager
    x = tj.constant([-1.0, 0.0, 6.0, 7.0])

    def twice(x: Any) -> Any:
        return _eager(lambda x: _eager(f, x), x)

    np.testing.assert_array_equal(inner(lambda x: _eager(f, x), x), [0.0] * 4)
    np.testing.assert_array_equal(inner(twice, x), [0.0] * 4)
