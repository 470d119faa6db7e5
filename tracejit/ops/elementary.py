"""The elementary functions: exp, sin, erf... What writes one is registered under its name in tracejit.llvm.math.

Every op of this module is public, in `tracejit.ops` and in `tj.math`: an entry here and its writer are all that one takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tracejit.ir.op import registered as ops
from tracejit.ops.cotangents import Scale
from tracejit.ops.elementwise import FLOATS, Binary, Unary, add, mul, neg, one_minus_square, sqrt, sub
from tracejit.ops.special import erf as erf_numpy
from tracejit.ops.special import erfc as erfc_numpy

_SQRT_PI = math.sqrt(math.pi)


class Elementary(Unary):
    """A function of floats, `evaluate` in NumPy."""

    __slots__ = ()

    def __init__(self, name: str, evaluate: Callable[..., Any], *, vjp: Any, domain: tuple[float, float] = (-2, 2)):
        super().__init__(
            name, costly=True, dtypes=FLOATS, evaluate=evaluate, vjp=vjp, domain=domain,
            lower=lambda b, x: b.elementary(name, x),
        )  # fmt: skip


def sigmoid_numpy(x: Any) -> Any:
    decay = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + decay), decay / (1 + decay))


exp: Elementary = Elementary("exp", np.exp, vjp=(Scale(lambda out, x: out),))
expm1: Elementary = Elementary("expm1", np.expm1, vjp=(Scale(lambda out, x: exp(x)),))
log: Elementary = Elementary("log", np.log, domain=(0.5, 4), vjp=(Scale(over=lambda out, x: x),))
log1p: Elementary = Elementary("log1p", np.log1p, domain=(-0.5, 3), vjp=(Scale(over=lambda out, x: add(x, 1.0)),))
sin: Elementary = Elementary("sin", np.sin, vjp=(Scale(lambda out, x: cos(x)),))
cos: Elementary = Elementary("cos", np.cos, vjp=(Scale(lambda out, x: neg(sin(x))),))
tan: Elementary = Elementary("tan", np.tan, domain=(-1, 1), vjp=(Scale(lambda out, x: add(mul(out, out), 1.0)),))
tanh: Elementary = Elementary("tanh", np.tanh, vjp=(Scale(lambda out, x: sub(1.0, mul(out, out))),))
sigmoid: Elementary = Elementary("sigmoid", sigmoid_numpy, vjp=(Scale(lambda out, x: mul(out, sub(1.0, out))),))
erf: Elementary = Elementary("erf", erf_numpy, vjp=(Scale(lambda out, x: mul(2 / _SQRT_PI, exp(neg(mul(x, x))))),))
erfc: Elementary = Elementary("erfc", erfc_numpy, vjp=(Scale(lambda out, x: mul(-2 / _SQRT_PI, exp(neg(mul(x, x))))),))
asin: Elementary = Elementary(
    "asin", np.arcsin, domain=(-0.6, 0.6), vjp=(Scale(over=lambda out, x: sqrt(one_minus_square(x))),)
)
acos: Elementary = Elementary(
    "acos", np.arccos, domain=(-0.6, 0.6), vjp=(Scale(over=lambda out, x: neg(sqrt(one_minus_square(x)))),)
)
atan: Elementary = Elementary("atan", np.arctan, vjp=(Scale(over=lambda out, x: add(mul(x, x), 1.0)),))
sinh: Elementary = Elementary("sinh", np.sinh, vjp=(Scale(lambda out, x: cosh(x)),))
cosh: Elementary = Elementary("cosh", np.cosh, vjp=(Scale(lambda out, x: sinh(x)),))
asinh: Elementary = Elementary("asinh", np.arcsinh, vjp=(Scale(over=lambda out, x: cosh(out)),))
acosh: Elementary = Elementary("acosh", np.arccosh, domain=(1.5, 4), vjp=(Scale(over=lambda out, x: sinh(out)),))
atanh: Elementary = Elementary("atanh", np.arctanh, domain=(-0.6, 0.6), vjp=(Scale(over=lambda out, x: one_minus_square(x)),))
cbrt: Elementary = Elementary("cbrt", np.cbrt, domain=(0.5, 4), vjp=(Scale(over=lambda out, x: mul(mul(out, out), 3.0)),))
rsqrt: Elementary = Elementary(
    "rsqrt",
    lambda x: np.reciprocal(np.sqrt(x)),
    domain=(0.5, 4),
    vjp=(lambda ct, out, x: ops.mul_or_zero(mul(ct, -0.5), mul(out, mul(out, out))),),
)


def _squared_radius(out: Any, y: Any, x: Any) -> Any:
    return add(mul(x, x), mul(y, y))


class Angle(Binary):
    """Of the two coordinates of a point, y first."""

    __slots__ = ()

    def __call__(self, y: Any, x: Any, name: str | None = None) -> Any:  # type: ignore[override]
        """The angle of (x, y), errors as for any two operands."""
        return super().__call__(y, x)


atan2: Angle = Angle(
    "atan2", costly=True, arity=2, dtypes=FLOATS, evaluate=np.arctan2, lower=lambda b, y, x: b.elementary("atan2", y, x),
    domain=((-2, 2), (0.5, 2)),
    vjp=(
        Scale(over=_squared_radius, times=lambda out, y, x: x),
        Scale(over=_squared_radius, times=lambda out, y, x: neg(y)),
    ),
)  # fmt: skip

if not TYPE_CHECKING:  # which sees the names themselves
    __all__ = [name for name, value in globals().items() if isinstance(value, (Elementary, Angle))]
