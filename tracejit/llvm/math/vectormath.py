"""Elementary functions as vector code: FUNCTIONS[name](builder, operands) writes one and gives its value.

All are inlined and take all operands: infinities, NaN, both zeros, subnormal numbers. What few operands need (Payne and Hanek's
reduction, the logarithm of what is not an ordinary number) is a function that the module has once, called where a vector has
such a lane. The coefficients are minimax fits (Remez exchange in mpmath, weighted by the effect on the result).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tracejit.llvm.math.exponential import cosh, erf, erfc, exp, expm1, sigmoid, sinh, tanh
from tracejit.llvm.math.logarithm import acosh, asinh, atanh, cbrt, log, log1p, power, rsqrt
from tracejit.llvm.math.trigonometry import acos, asin, atan, atan2, cos, sin, tan

if TYPE_CHECKING:
    from tracejit.llvm.text.builder import Lanes

FUNCTIONS: dict[str, Callable[..., Lanes]] = {
    "exp": exp, "expm1": expm1, "log": log, "log1p": log1p, "sin": sin, "cos": cos, "tan": tan,
    "asin": asin, "acos": acos, "atan": atan, "atan2": atan2, "sinh": sinh, "cosh": cosh, "tanh": tanh,
    "asinh": asinh, "acosh": acosh, "atanh": atanh, "sigmoid": sigmoid, "erf": erf, "erfc": erfc, "cbrt": cbrt,
    "rsqrt": rsqrt, "pow": power,
}  # fmt: skip

# The largest errors, of float32 and of float64, in units in the last place of the exact result (ULP): what was measured and
# some 5 % more, where the processor has fused multiply-add; without it, little more (tests/test_vectormath.py). `python -m
# benchmarks.ulp` measures: float32 on 100 million bit patterns, or all, against float64; float64 against mpmath.
ULP: dict[str, tuple[float, float]] = {
    "exp": (1.1, 0.9), "expm1": (1.7, 1.8), "log": (0.9, 0.9), "log1p": (1.6, 1.5), "sin": (2.1, 2.5),
    "cos": (2.1, 2.5), "tan": (2.8, 2.4), "asin": (2.6, 2.6), "acos": (2.3, 2.5), "atan": (1.6, 2.0),
    "atan2": (1.7, 2.0), "sinh": (2.4, 2.3), "cosh": (1.5, 1.5), "tanh": (3.8, 3.9), "asinh": (1.9, 1.9),
    "acosh": (2.3, 2.4), "atanh": (2.3, 2.1), "sigmoid": (2.5, 2.6), "erf": (3.0, 2.3), "erfc": (6.1, 5.2),
    "cbrt": (1.0, 0.8), "rsqrt": (1.5, 1.6), "pow": (0.6, 1.0),
}  # fmt: skip
