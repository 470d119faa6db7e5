"""Activation functions that are ops.

Their derivatives at a kink or far from 0 are not those of what they could be composed of.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tracejit.ir.op import Op, Scalar, require
from tracejit.ir.op import registered as ops
from tracejit.ir.types import DType, TensorType
from tracejit.ops.cotangents import Gapped, Scale
from tracejit.ops.elementary import sigmoid, sigmoid_numpy
from tracejit.ops.elementwise import (
    ALL_FLOATS,
    ALL_NUMBERS,
    FLOATS,
    SAMPLE_SHAPES,
    Elementwise,
    Unary,
    mul,
    require_dtype,
    sample_array,
)  # fmt: skip
from tracejit.ops.operands import zeros_like

Samples = Iterator[tuple[tuple[np.ndarray, ...], dict[str, Any]]]


def _away_from_zero(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
    return np.where(rng.integers(0, 2, shape) > 0, 1, -1).astype(dtype.numpy) * sample_array(rng, shape, dtype, (0.3, 2))


def _choice_samples(rng: np.random.Generator) -> Samples:
    for dtype in ALL_NUMBERS:
        for shape in SAMPLE_SHAPES:
            yield (_away_from_zero(rng, shape, dtype), *(sample_array(rng, shape, dtype) for _ in range(2))), {}


# a where x is positive, else b. Unlike a select it depends on x, with a derivative that is 0 everywhere: the second
# derivative of what is piecewise linear is 0 and not None, as in TensorFlow.
if_positive: Elementwise = Elementwise(
    "if_positive", arity=3, dtypes=ALL_NUMBERS, evaluate=lambda x, a, b: np.where(x > 0, a, b),
    lower=lambda b, x, yes, no: b.select(b.compare("gt", x, b.const(0, x.dtype)), yes, no), samples=_choice_samples,
    vjp=(
        lambda ct, out, x, a, b: depending(zeros_like(ct), x),
        lambda ct, out, x, a, b: Gapped(if_positive(x, ct, zeros_like(ct))),
        lambda ct, out, x, a, b: Gapped(if_positive(x, zeros_like(ct), ct)),
    ),
)  # fmt: skip


# y, which counts as a function of x too: with a derivative that is 0 to every order, where one that is not there would be None.
depending: Elementwise = Elementwise(
    "depending", arity=2, dtypes=ALL_NUMBERS, evaluate=lambda y, x: y, lower=lambda b, y, x: y,
    vjp=(lambda ct, out, y, x: ct, lambda ct, out, y, x: depending(zeros_like(ct), x)),
)  # fmt: skip


def _relu_samples(rng: np.random.Generator) -> Samples:
    for dtype in ALL_NUMBERS:
        for shape in SAMPLE_SHAPES:
            yield (_away_from_zero(rng, shape, dtype),), {}


relu: Unary = Unary(
    "relu", dtypes=ALL_NUMBERS, evaluate=lambda x: np.maximum(x.dtype.type(0), x),
    lower=lambda b, x: b.max(b.const(0, x.dtype), x), samples=_relu_samples,
    # Of the result, which is positive where x is, and which what comes after keeps anyway.
    vjp=(lambda ct, out, x: Gapped(if_positive(out, ct, zeros_like(ct))),),
)  # fmt: skip


def _leaky_infer(x: TensorType, alpha: float) -> TensorType:
    require_dtype("leaky_relu", (x,), x.dtype, ALL_FLOATS)
    require(type(alpha) is float, "leaky_relu", (x,), f"alpha must be a float, not {alpha!r}")
    return x


def _leaky_samples(rng: np.random.Generator) -> Samples:
    for dtype in ALL_FLOATS:
        for shape in SAMPLE_SHAPES:
            yield (_away_from_zero(rng, shape, dtype),), {"alpha": 0.25}


# x where it is positive, else alpha * x.
leaky_relu: Op = Op(
    "leaky_relu",
    infer=_leaky_infer,
    evaluate=lambda x, alpha: np.where(x > 0, x, x * x.dtype.type(alpha)),
    lower=Scalar(lambda b, x, alpha: b.select(b.compare("gt", x, b.const(0, x.dtype)), x, b.mul(x, b.const(alpha, x.dtype)))),
    vjp=(lambda ct, out, x, alpha: if_positive(x, ct, mul(ct, alpha)),),
    samples=_leaky_samples,
)


def _silu_x(out: Any, x: Any, beta: Any) -> Any:
    """sigmoid(z) * (1 + z * (1 - sigmoid(z))), z = beta * x, of which no factor overflows before it meets one that is 0."""
    z = mul(x, beta)
    share = sigmoid(z)
    return mul(share, ops.add(mul(z, ops.sub(1.0, share)), 1.0))


# x * sigmoid(beta * x).
silu: Elementwise = Elementwise(
    "silu", arity=2, costly=True, dtypes=FLOATS, evaluate=lambda x, beta: x * sigmoid_numpy(x * beta),
    lower=lambda b, x, beta: b.mul(x, b.elementary("sigmoid", b.mul(x, beta))),
    vjp=(Scale(_silu_x), Scale(lambda out, x, beta: mul(out, mul(x, ops.sub(1.0, sigmoid(mul(x, beta))))))),
)  # fmt: skip


def _softplus(x: Any) -> Any:
    return np.maximum(x, x.dtype.type(0)) + np.log1p(np.exp(-np.abs(x)))


# log(1 + exp(x)), which neither overflows nor loses digits.
softplus: Unary = Unary(
    "softplus", costly=True, dtypes=FLOATS, evaluate=_softplus,
    lower=lambda b, x: b.add(b.max(x, b.const(0, x.dtype)), b.elementary("log1p", b.elementary("exp", b.neg(b.abs(x))))),
    vjp=(Scale(lambda out, x: sigmoid(x)),),
)  # fmt: skip
