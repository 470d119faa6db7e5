"""Elementary functions as vector code: FUNCTIONS[name](builder, *operands) writes one and gives its value; ULP[name] are its
largest errors.

All are inlined and take all operands: infinities, NaN, both zeros, subnormal numbers. What few operands need (Payne and Hanek's
reduction, the logarithm of what is not an ordinary number) is a function that the module has once, called where a vector has
such a lane. The coefficients are minimax fits (Remez exchange in mpmath, weighted by the effect on the result).
"""

from tracejit.llvm.math import exponential, logarithm, trigonometry  # noqa: F401  # they register their functions
from tracejit.llvm.math.registry import FUNCTIONS, ULP

__all__ = ["FUNCTIONS", "ULP"]
