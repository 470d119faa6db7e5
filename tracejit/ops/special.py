"""NumPy evaluations of functions that NumPy does not have."""

from __future__ import annotations

from typing import Any

import numpy as np

# erf(x) = 1 - e^-q(x) for 0 <= x <= ERF_LIMIT, where q = -ln(erfc). q(x) / x - 1 is this polynomial, lowest coefficient
# first: the minimax fit in which an error of q weighs what it changes in erf. tracejit.llvm.exponential
# takes it from here.
# fmt: off
ERF_COEFFICIENTS = (
    0.1283791670955126, 0.6366197723675816, 0.10277260330192355, -0.019128447008671865,
    -0.0002091946442611548, 0.0016962059533684587, -0.0005901230957589005, 2.5868763345527505e-05,
    6.452079778496461e-05, -2.9788403817628005e-05, 3.51794779567373e-06, 2.6854936958198657e-06,
    -1.5805242857649811e-06, 1.9725428463398224e-07, 2.3423317957799876e-07, -1.9660777714965772e-07,
    9.084964157288886e-08, -3.025984153649901e-08, 7.76360467722903e-09, -1.5630571517709905e-09,
    2.463387644539874e-10, -2.9867960337029275e-11, 2.6935699586470914e-12, -1.7022446553632692e-13,
    6.725817968690163e-15, -1.2497908542532927e-16
)
# fmt: on
ERF_LIMIT = 5.95  # erf is 1 from here on
_BLOCK = 4096  # elements at a time, so that what is in between stays in the cache


def erf(x: Any) -> Any:
    """The error function of a float32 or float64 array or NumPy scalar, in its dtype and shape."""
    array = np.asarray(x)
    flat = array.reshape(-1)
    result = np.empty_like(flat)
    with np.errstate(all="ignore"):
        for start in range(0, flat.size, _BLOCK):
            _erf_block(flat[start : start + _BLOCK], result[start : start + _BLOCK])
    result = result.reshape(array.shape)
    return result if array.ndim else result[()]


def _erf_block(x: np.ndarray, result: np.ndarray) -> None:
    """Fills `result`. expm1, as 1 - e^-q would cancel near 0; |x| as float64 makes float32's result the nearest."""
    a = np.minimum(np.abs(x, dtype=np.float64), ERF_LIMIT)
    q = np.full_like(a, ERF_COEFFICIENTS[-1])
    for coefficient in reversed(ERF_COEFFICIENTS[:-1]):
        q *= a
        q += coefficient
    q *= a
    q += a
    np.negative(q, out=q)
    np.expm1(q, out=q)
    np.copysign(q, x, out=result, casting="same_kind")
