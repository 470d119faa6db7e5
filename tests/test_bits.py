"""Logic of bits, integers that are drawn, and integer constants, eager and compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tracejit.errors import DtypeError, InvalidArgumentError

BIG = 2**53 + 1  # no float64


def both(f: Callable[[], Any]) -> tuple[Any, Any]:
    return f(), tj.function(f)()


@pytest.mark.parametrize(
    ("f", "expected", "dtype"),
    [
        (lambda: tj.constant(6) & tj.constant(3), 2, tj.int32), (lambda: tj.constant(6) | 3, 7, tj.int32),
        (lambda: 6 ^ tj.constant(3), 5, tj.int32), (lambda: ~tj.constant([5, -1]), [-6, 0], tj.int32),
        (lambda: tj.constant(6) & True, 0, tj.int32), (lambda: ~tj.constant([True, False]), [False, True], tj.bool),
        (lambda: tj.constant(2**40 + 1, tj.int64) & (2**40 + 2), 2**40, tj.int64),
        (lambda: tj.bitwise.bitwise_xor([[6], [5]], [3, 1]), [[5, 7], [6, 4]], tj.int32),
        (lambda: tj.pow(1, 2**31 - 1), 1, tj.int32), (lambda: tj.constant(-1) ** tj.constant(2**31 - 1), -1, tj.int32),
        (lambda: tj.pow(tj.constant(5, tj.int64), 2**40), 8225398108880633857, tj.int64),
        (lambda: tj.constant([0, 3]) ** 0, [1, 1], tj.int32),
        (lambda: tj.pad(tj.constant([1], tj.int64), [[1, 0]], constant_values=BIG), [BIG, 1], tj.int64),
        (lambda: tj.clip_by_value(tj.constant([5], tj.int64), BIG, 2**60), [BIG], tj.int64),
        (lambda: tj.one_hot([0], 2, BIG, 0, dtype=tj.int64), [[BIG, 0]], tj.int64),
        (lambda: tj.nn.max_pool(tj.constant([[[[BIG]]]], tj.int64), 1, 1, "SAME"), [[[[BIG]]]], tj.int64),
        (lambda: tj.round(tj.constant([1, 2])), [1, 2], tj.int32),
        (lambda: tj.nn.leaky_relu([-5, 7]), [-1.0, 7.0], tj.float32),
        (lambda: tj.nn.relu([-1.0, 2.0]), [0.0, 2.0], tj.float32),
        (lambda: tj.argmax([False, True, True]), 1, tj.int64), (lambda: tj.argmin([True, False]), 1, tj.int64),
    ],
)  # fmt: skip
def test_values(f: Any, expected: Any, dtype: Any) -> None:
    for result in both(f):
        assert result.dtype is dtype
        np.testing.assert_array_equal(result, expected)


def test_floats_have_no_bits() -> None:
    for f in (lambda: tj.constant(1.0) & tj.constant(2.0), lambda: ~tj.constant(1.0), lambda: tj.bitwise.invert(True)):
        with pytest.raises(DtypeError, match="it takes"):
            f()
    with pytest.raises(DtypeError, match="int32 and bool"):
        tj.constant(6) & tj.constant(True)


@pytest.mark.parametrize("dtype", [tj.int32, tj.int64])
def test_integers_are_drawn_evenly(dtype: Any) -> None:
    for drawn in both(lambda: tj.random.uniform([60, 100], -3, 3, dtype)):
        assert drawn.dtype is dtype
        counts = np.unique(drawn.numpy(), return_counts=True)
        assert counts[0].tolist() == [-3, -2, -1, 0, 1, 2]
        assert abs(counts[1] - 1000).max() < 5 * np.sqrt(6000 * 5 / 36)


def test_integers_are_drawn_from_the_whole_range() -> None:
    for drawn in both(lambda: tj.random.uniform([1000], -(2**63), 2**63 - 1, tj.int64)):
        high = drawn.numpy() >> 62
        assert min(np.count_nonzero(high == part) for part in (-2, -1, 0, 1)) > 180


def test_a_seed_gives_the_same_integers_eager_and_compiled() -> None:
    def draw() -> Any:
        return tj.random.uniform([5], 0, 1000, tj.int32, seed=3)

    tj.random.set_seed(7)
    eager = draw().numpy()
    tj.random.set_seed(7)
    np.testing.assert_array_equal(tj.function(draw)(), eager)


def test_bounds_of_integers_are_checked() -> None:
    with pytest.raises(ValueError, match="maxval must be given for integers"):
        tj.random.uniform([3], dtype=tj.int32)
    for low, high in ((5, 5), (6, 5)):
        for f in (tj.random.uniform, tj.function(tj.random.uniform)):
            with pytest.raises(InvalidArgumentError, match=r"random.uniform.*minval is not below maxval"):
                f([3], tj.constant(low), tj.constant(high), tj.int32)
    with pytest.raises(InvalidArgumentError, match="must be scalars"):
        tj.random.uniform([2], [0, 10], [5, 15], tj.int32)
    with pytest.raises(TypeError):
        tj.random.uniform([2], 1.5, 5, tj.int32)
    assert tj.random.uniform([0], 5, 5, tj.int32).shape == (0,)


def test_a_negative_exponent_of_an_integer_is_an_error() -> None:
    for f in (lambda: tj.pow(tj.constant([2, 3]), tj.constant([1, -1])), lambda: tj.constant(2) ** -1):
        for run in (f, tj.function(f)):
            with pytest.raises(InvalidArgumentError, match="exponent"):
                run()
