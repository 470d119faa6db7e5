"""Elementary functions as vector code: FUNCTIONS[name](builder, operands) writes one and gives its value."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tracejit.llvm.exponential import cosh, erf, erfc, exp, expm1, sigmoid, sinh, tanh
from tracejit.llvm.logarithm import acosh, asinh, atanh, cbrt, log, log1p, power, rsqrt
from tracejit.llvm.trigonometry import acos, asin, atan, atan2, cos, sin, tan

if TYPE_CHECKING:
    from tracejit.llvm.builder import Lanes

FUNCTIONS: dict[str, Callable[..., Lanes]] = {
    "exp": exp, "expm1": expm1, "log": log, "log1p": log1p, "sin": sin, "cos": cos, "tan": tan,
    "asin": asin, "acos": acos, "atan": atan, "atan2": atan2, "sinh": sinh, "cosh": cosh, "tanh": tanh,
    "asinh": asinh, "acosh": acosh, "atanh": atanh, "sigmoid": sigmoid, "erf": erf, "erfc": erfc, "cbrt": cbrt, "rsqrt": rsqrt,
    "pow": power,
}  # fmt: skip
ULP: dict[str, tuple[float, float]] = dict.fromkeys(
    (
        "exp",
        "expm1",
        "log",
        "log1p",
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "atan2",
        "sinh",
        "cosh",
        "tanh",
        "asinh",
        "acosh",
        "atanh",
        "sigmoid",
        "erf",
        "erfc",
        "cbrt",
        "rsqrt",
        "pow",
    ),
    (9.0, 9.0),
)
