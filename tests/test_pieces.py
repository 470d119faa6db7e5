"""Pieces of concatenations are written where they belong, where their kernels and all who read them allow it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tracejit.llvm.plan.plan import Plan, plan
from tracejit.llvm.target import AVX2, Target

X = tj.constant(np.random.default_rng(1).standard_normal((8, 32)).astype(np.float32))
W = tj.constant(np.random.default_rng(2).standard_normal((32, 32)).astype(np.float32))


def rows(x: Any) -> Any:
    return tj.concat([tj.exp(x), tj.tanh(x @ W), x @ W], axis=0)


def columns(x: Any) -> Any:
    return tj.concat([tj.exp(x), tj.tanh(x @ W), x @ W], axis=1) * 2.0


def nested(x: Any) -> Any:
    steps = []
    for number in range(12):
        x = tj.sin(x + float(number))
        steps.append(tj.concat([x, tj.cos(x) @ W], axis=1))
    return tj.concat(steps, axis=0) * 2.0


def read_again(x: Any) -> Any:
    y = tj.exp(x)
    both = tj.concat([y, x @ W], axis=1)
    return both @ tj.ones([64, 3]), y @ W, tj.reduce_sum(y, axis=1), tj.transpose(y) * 2.0, y[2:5, ::3] + 1.0, y[::-1] * 3.0


def reshaped(x: Any) -> Any:
    steps = [tj.exp(x + float(number)) for number in range(10)]
    return tj.stack(steps, axis=1) * 2.0, tj.reshape(steps[3], [4, 2, 4, 8]) * 2.0


def flattened(x: Any) -> Any:
    """A piece that is also read as longer rows, for which its own would have to be next to each other."""
    y = tj.exp(x)
    return tj.concat([y, x @ W], axis=1) * 2.0, tj.reduce_sum(tj.reshape(y, [4, 64]), axis=1)


def twice(x: Any) -> Any:
    y = tj.exp(x)
    return tj.concat([y, x, y], axis=0) * 2.0, tj.concat([x, y], axis=1) * 2.0


def returned(x: Any) -> Any:
    y = tj.exp(x)
    return y, tj.concat([y, tj.sin(x)], axis=0)


def narrow(x: Any) -> Any:
    return tj.concat([tj.reduce_sum(x * float(number), axis=1, keepdims=True) for number in range(9)], axis=1) * 2.0


def empty(x: Any) -> Any:
    return tj.concat([tj.exp(x)[:, :0], tj.exp(x), tj.sin(x)[:, 3:3]], axis=1) * 2.0


def across(x: Any) -> Any:
    """Pieces that are computed by tiles, from operands that lie across their rows."""
    large = tj.tile(x, [32, 8])
    y = tj.transpose(large) + 1.0
    return tj.concat([y, tj.exp(large)], axis=1) * 2.0, tj.concat([y, y], axis=0) * 2.0


def moved(x: Any) -> Any:
    """What other kernels write and read: these take no rows with gaps, but another place."""
    g = tj.gather(tj.exp(x), [3, 1, 1, 0])
    return (
        tj.concat([g, tj.sin(g)], axis=0) * 2.0,
        tj.concat([g * 2.0, tj.pad(g[:, 1:], [[0, 0], [0, 1]])], axis=1),
        tj.gather(g, [0, 2]),
    )


CASES = [rows, columns, nested, read_again, reshaped, flattened, twice, returned, narrow, empty, across, moved]


@pytest.mark.parametrize("case", CASES)
def test_values(case: Callable[[Any], Any]) -> None:
    eager, compiled = case(X), tj.function(case)(X)
    for one, other in zip(tj.nest.flatten(eager), tj.nest.flatten(compiled), strict=True):
        np.testing.assert_allclose(other, one, rtol=2e-5, atol=1e-4)


def planned(case: Callable[[Any], Any]) -> Plan:
    return plan(tj.function(case).graph(X), Target(AVX2))


@pytest.mark.parametrize(
    ("case", "copies"),
    [
        (rows, 0),
        (columns, 0),
        (nested, 0),
        (read_again, 0),
        (reshaped, 0),
        (flattened, 1),
        (twice, 1),
        (returned, 1),
        (narrow, 9),
    ],
)
def test_what_is_left_to_copy(case: Callable[[Any], Any], copies: int) -> None:
    found = planned(case)
    assert sum(call.node is None and call.purpose == "piece" for call in found.calls) == copies


def test_steps_have_a_few_kernels() -> None:
    """However many: where the pieces lie is no part of them."""
    assert len({call.key for call in planned(nested).calls}) <= 6


def test_a_variable_of_pieces() -> None:
    """It is written when nothing reads it any more, and not by a piece's kernel that reads elsewhere."""
    v = tj.Variable(np.arange(12, dtype=np.float32).reshape(4, 3))

    @tj.function
    def turn() -> Any:
        v.assign(tj.concat([v[2:] * 2.0, v[:2] + 1.0], axis=0))

    turn()
    np.testing.assert_array_equal(v, [[12, 14, 16], [18, 20, 22], [1, 2, 3], [4, 5, 6]])


LINE = np.arange(600, dtype=np.float32)
GRID = np.arange(240, dtype=np.float32).reshape(12, 20)


@pytest.mark.parametrize(
    ("case", "value", "expected", "copies"),
    [
        (lambda x: tj.stack(tj.unstack(x)[::-1]), LINE, LINE[::-1], 1),
        (lambda x: tj.stack([x[2 * i] for i in range(300)]), LINE, LINE[::2], 1),
        (lambda x: tj.concat([x[3:5]] * 20, axis=0), LINE, np.tile(LINE[3:5], 20), 1),
        (lambda x: tj.stack([x[i * i] for i in range(20)]), LINE, LINE[np.arange(20) ** 2], 20),
        (lambda x: tj.concat([x[:, i : i + 2] for i in range(18, -1, -3)] * 2, axis=1), GRID,
         np.concatenate([GRID[:, i : i + 2] for i in range(18, -1, -3)] * 2, 1), 2),
        (lambda x: tj.concat([x[i] for i in range(11, -1, -1)], axis=0), GRID, GRID[::-1].ravel(), 1),
    ],
)  # fmt: skip
def test_pieces_at_equal_distances_are_one_copy(case: Any, value: np.ndarray, expected: np.ndarray, copies: int) -> None:
    f = tj.function(case)
    x = tj.constant(value)
    np.testing.assert_array_equal(f(x), expected)
    found = plan(f.graph(x), Target(AVX2))
    assert sum(call.node is None and call.purpose == "piece" for call in found.calls) == copies
