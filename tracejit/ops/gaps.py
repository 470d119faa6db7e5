"""Products and quotients of a cotangent with gaps, in which nothing arrives however infinite the derivative is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.ops.cotangents import Gapped, Scale
from tracejit.ops.elementwise import ALL_FLOATS, Binary, div, neg


def _or_zero(ufunc: np.ufunc) -> Callable[..., Any]:
    def evaluate(x: Any, y: Any) -> Any:
        result = ufunc(x, y)
        # Where the sum is finite no element is NaN or infinite, and there is nothing to mend.
        return result if math.isfinite(np.add.reduce(result, axis=None)) else np.where(x == 0, x, result)

    return evaluate


# A zero first operand stays zero; and so does the derivative by the second operand there.
mul_or_zero: Binary = Binary(
    "mul_or_zero", arity=2, dtypes=ALL_FLOATS, evaluate=_or_zero(np.multiply),
    lower=lambda b, x, y: b.select(b.compare("ne", x, b.const(0, x.dtype)), b.mul(x, y), b.const(0, x.dtype)),
    domain=((0.2, 2), (-2, 2)),
    vjp=(Scale(lambda out, x, y: y), lambda ct, out, x, y: Gapped(mul_or_zero(x, ct))),
)  # fmt: skip
div_or_zero: Binary = Binary(
    "div_or_zero", costly=True, arity=2, dtypes=ALL_FLOATS, evaluate=_or_zero(np.true_divide),
    lower=lambda b, x, y: b.select(b.compare("eq", x, b.const(0, x.dtype)), x, b.div(x, y)), domain=((0.2, 2), (0.5, 2)),
    vjp=(Scale(over=lambda out, x, y: y), lambda ct, out, x, y: Gapped(mul_or_zero(neg(out), div(ct, y)))),
)  # fmt: skip
