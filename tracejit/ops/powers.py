"""Powers: with an exponent that is a tensor, and with one of a few numbers, which need no logarithm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tracejit.ir.op import Op, Scalar, require
from tracejit.ir.op import registered as ops
from tracejit.ir.types import BY_NUMPY, TensorType
from tracejit.ops.cotangents import Scale
from tracejit.ops.elementary import log
from tracejit.ops.elementwise import (
    ALL_NUMBERS,
    FLOATS,
    NUMBERS,
    SAMPLE_SHAPES,
    Binary,
    div,
    greater,
    mul,
    require_dtype,
    sample_array,
    sub,
)  # fmt: skip
from tracejit.ops.operands import ones_like, zeros_like

# Exponents of `power`: those that are products, and the square root.
PRODUCTS = (0, 1, 2, 3, 4)
HALF = 0.5


def _pow(x: Any, y: Any) -> Any:
    result = np.power(x, y)
    if y.dtype.kind == "f" and y.size and y.flat[0] == HALF:
        # NumPy takes the square root where all exponents are 0.5, which at -0 and at minus infinity is not the power.
        roots = np.where(x == -math.inf, x.dtype.type(math.inf), result + x.dtype.type(0))
        result = np.where(y == HALF, roots, result)
    return result


pow: Binary = Binary(
    "pow", costly=True, arity=2, dtypes=NUMBERS, evaluate=_pow, lower=lambda b, x, y: b.elementary("pow", x, y),
    domain=((0.5, 2), (0, 2)),
    vjp=(
        Scale(lambda out, x, y: mul(y, pow(x, sub(y, 1.0)))),
        # d(x**y)/dy is x**y * log(x), whose logarithm is taken as 0 for x <= 0, where it is a limit or has no value.
        Scale(lambda out, x, y: mul(out, log(ops.select(greater(x, zeros_like(x)), x, ones_like(x))))),
    ),
)  # fmt: skip


def product(x: Any, exponent: float, mul: Callable[[Any, Any], Any]) -> Any:
    """x times itself, `exponent` (1 to 4) factors in all."""
    square = x if exponent == 1 else mul(x, x)
    return square if exponent <= 2 else mul(square, x if exponent == 3 else square)


def _evaluate(x: Any, exponent: float) -> Any:
    if exponent == HALF:
        # As a power, which the square root is not at -0 and at minus infinity.
        return np.where(x == -math.inf, x.dtype.type(math.inf), np.sqrt(x + x.dtype.type(0)))
    if exponent == 0:
        return np.ones_like(x)
    if BY_NUMPY[x.dtype].is_half:  # rounded once
        return product(x.astype(np.float32), exponent, np.multiply).astype(x.dtype)
    return product(x, exponent, np.multiply)


def _lower(b: Any, x: Any, exponent: float) -> Any:
    if exponent == HALF:
        root = b.sqrt(b.add(x, b.const(0, x.dtype)))
        return b.select(b.compare("eq", x, b.const(-math.inf, x.dtype)), b.const(math.inf, x.dtype), root)
    return b.const(1, x.dtype, x.lanes) if exponent == 0 else product(x, exponent, b.mul)


def _infer(x: TensorType, exponent: float) -> TensorType:
    require(exponent in (*PRODUCTS, HALF), "power", (x,), f"the exponent is {exponent!r}")
    require_dtype("power", (x,), x.dtype, FLOATS if exponent == HALF else ALL_NUMBERS)
    return x


def _factor(out: Any, x: Any, exponent: float) -> Any:
    if exponent == HALF:
        return div(HALF, out)
    return mul(power(x, exponent=max(exponent - 1, 0)), exponent)


def _samples(rng: np.random.Generator) -> Iterator[tuple[tuple[np.ndarray], dict[str, Any]]]:
    for dtype in ALL_NUMBERS:
        for exponent in (*PRODUCTS, HALF) if dtype in FLOATS else PRODUCTS:
            for shape in SAMPLE_SHAPES:
                yield (sample_array(rng, shape, dtype, (0.5, 2)),), {"exponent": exponent}


# x ** exponent. Derivatives of every order depend on x, so that they are 0 from some order on and not None.
power: Op = Op(
    "power", infer=_infer, evaluate=_evaluate, vjp=(Scale(_factor),), lower=Scalar(_lower, costly=True), samples=_samples
)
