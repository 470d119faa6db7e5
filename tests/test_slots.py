"""The cotangent of a value of which slices were taken: what each slice got, in its place, and zeros elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tracejit import ops
from tracejit.ir import Graph, parse

X = np.random.default_rng(3).standard_normal((6, 5)).astype(np.float32)


def rows(x: Any) -> list[Any]:
    return [x[t] for t in range(6)]


def columns(x: Any) -> list[Any]:
    return [x[:, t] for t in reversed(range(5))]


def unstacked(x: Any) -> list[Any]:
    return list(tj.unstack(x, axis=1))


def split(x: Any) -> list[Any]:
    return list(tj.split(x, [1, 2, 2], axis=1))


def elements(x: Any) -> list[Any]:
    return [x[i, j] for j in range(5) for i in range(6)]


def tiles(x: Any) -> list[Any]:
    return [x[i : i + 3, j : j + 2] for i in (0, 3) for j in (0, 2)]


def twice(x: Any) -> list[Any]:
    return [*rows(x), x[2], x[:, 1]]


def windows(x: Any) -> list[Any]:
    return [x[t : t + 3] for t in range(4)]


def strided(x: Any) -> list[Any]:
    return [x[::2], x[1::2], x[1:4:2, ::3], x[::-1]]


def some(x: Any) -> list[Any]:
    return [x[4], x[2]]


def nothing(x: Any) -> list[Any]:
    return [x[3:3], x[1:1, 2:], x[0]]


CASES = [rows, columns, unstacked, split, elements, tiles, twice, windows, strided, some, nothing]


def loss(x: Any, take: Callable[[Any], list[Any]]) -> Any:
    return sum((tj.reduce_sum(tj.exp(part) * (number + 1)) for number, part in enumerate(take(tj.sin(x)))), tj.constant(0.0))


def expected(take: Callable[[Any], list[Any]]) -> np.ndarray:
    """By hand: exp(sin x) cos x, as often as each slice counts."""
    weight = np.zeros((6, 5))
    numbers = np.arange(30).reshape(6, 5)
    # Positions are exact in float32, so that they tell which elements a slice has taken.
    for number, part in enumerate(take(tj.constant(numbers, tj.float32))):
        np.add.at(weight, np.unravel_index(part.numpy().astype(int), (6, 5)), number + 1)
    wide = X.astype(float)
    return weight * np.exp(np.sin(wide)) * np.cos(wide)


@pytest.mark.parametrize("take", CASES)
def test_slices_get_their_cotangents_in_their_places(take: Callable[[Any], list[Any]]) -> None:
    def gradient(x: Any) -> Any:
        with tj.GradientTape() as tape:
            tape.watch(x)
            y = loss(x, take)
        return tape.gradient(y, x)

    x = tj.constant(X)
    for function in (gradient, tj.function(gradient)):
        np.testing.assert_allclose(function(x).numpy(), expected(take), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("take", CASES)
def test_second_derivatives(take: Callable[[Any], list[Any]]) -> None:
    def second(x: Any) -> Any:
        with tj.GradientTape() as outer:
            outer.watch(x)
            with tj.GradientTape() as inner:
                inner.watch(x)
                y = loss(x, take)
            first = tj.reduce_sum(inner.gradient(y, x))
        return outer.gradient(first, x)

    x, wide = tj.constant(X), X.astype(float)
    wanted = expected(take) * (np.cos(wide) - np.tan(wide))
    for function in (second, tj.function(second)):
        np.testing.assert_allclose(function(x).numpy(), wanted, rtol=2e-4, atol=1e-5)


def backward(take: Callable[[Any], list[Any]]) -> Graph:
    """The graph of a gradient, as the pass `backward` leaves it."""

    @tj.function
    def gradient(x: Any) -> Any:
        with tj.GradientTape() as tape:
            tape.watch(x)
            y = sum(tj.reduce_sum(tj.exp(part)) for part in take(x))
        return tape.gradient(y, x)

    return parse(gradient.ir(tj.constant(X), stage="backward"))


@pytest.mark.parametrize(("take", "concats"), [(rows, 1), (columns, 1), (split, 1), (elements, 7), (tiles, 3), (windows, 1)])
def test_what_does_not_overlap_is_written_once(take: Callable[[Any], list[Any]], concats: int) -> None:
    after = backward(take)
    assert sum(node.op is ops.concat for node in after.nodes) == concats
    assert not any(node.op is ops.pad and node.operands[0].shape == () for node in after.nodes)
    large = [node for node in after.nodes if node.op is ops.add and node.shape == (6, 5)]
    assert len(large) == (2 if take is windows else 0)


def test_a_value_that_is_all_slices_has_no_gaps() -> None:
    """Zero times an infinite derivative hides nothing, as if it had not been split; beside a gap the zero is one."""
    x = tj.constant([0.0, 1.0])
    with tj.GradientTape(persistent=True) as tape:
        tape.watch(x)
        a, b = tj.split(tj.math.log(x), 2)
        whole = tj.reduce_sum(a * 0.0) + tj.reduce_sum(b)
        part = tj.reduce_sum(tj.math.log(x)[1:])
    np.testing.assert_array_equal(tape.gradient(whole, x), [np.nan, 1.0])
    np.testing.assert_array_equal(tape.gradient(part, x), [0.0, 1.0])


def test_a_source_that_is_sliced_on_its_way() -> None:
    x = tj.constant([1.0, 2.0, 3.0])
    with tj.GradientTape() as tape:
        tape.watch(x)
        y = x * x
        z = y[0] * y[1] + tj.reduce_sum(y)
    dx, dy = tape.gradient(z, [x, y])
    np.testing.assert_array_equal(dy, [5.0, 2.0, 1.0])
    np.testing.assert_array_equal(dx, [10.0, 8.0, 6.0])
