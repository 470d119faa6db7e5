"""NumPy evaluations of functions that NumPy does not have; tracejit.llvm.math.exponential takes its float64 tables here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

# erf(x) = 1 - e^-q(x) for 0 <= x <= ERF_LIMIT, where q = -ln(erfc). q(x) / x - 1 is this polynomial, lowest coefficient
# first: the minimax fit in which an error of q weighs what it changes in erf.
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
# erfc(x) = e^(-x^2) P(q) / (1 + 2x) for x >= 0, where q = (x - ERFC_CENTER) / (x + ERFC_CENTER): a minimax fit as well.
ERFC_COEFFICIENTS = (
    1.2329951186255526, -0.13962111684056253, 0.01537965210261965, 0.06809705425469541, -0.10103906603629932,
    0.09373283499825211, -0.06633036581232431, 0.0371675155390658, -0.016197734056599977, 0.0050319699638795195,
    -0.0007577732969158545, -0.00019925661881205377, 0.00015062171604479803, -2.4399469668222775e-05,
    -1.1222173162416338e-05, 5.710265588277118e-06, 2.9417169162290225e-07, -8.260679424441555e-07,
    7.405197260949641e-08, 1.1040897589249722e-07, -1.7399879177989165e-08, -1.4084549811923038e-08,
    1.6451284313144166e-09, 1.188906635994096e-09
)
# fmt: on
ERF_LIMIT = 5.95  # erf is 1 from here on
ERFC_CENTER, ERFC_LIMIT = 4.0, 27.5  # erfc is 0 from the limit on
_BLOCK = 4096  # elements at a time, so that what is in between stays in the cache


def erf(x: Any) -> Any:
    """The error function of a float32 or float64 array or NumPy scalar, in its dtype and shape."""
    return _by_blocks(_erf_block, x)


def erfc(x: Any) -> Any:
    """1 - erf(x) of a float32 or float64 array or NumPy scalar, in its dtype and shape, with few digits lost for large x."""
    return _by_blocks(_erfc_block, x)


def _by_blocks(block: Callable[[np.ndarray, np.ndarray], None], x: Any) -> Any:
    array = np.asarray(x)
    flat = array.reshape(-1)
    result = np.empty_like(flat)
    with np.errstate(all="ignore"):
        for start in range(0, flat.size, _BLOCK):
            block(flat[start : start + _BLOCK], result[start : start + _BLOCK])
    result = result.reshape(array.shape)
    return result if array.ndim else result[()]


def _polynomial(x: np.ndarray, coefficients: tuple[float, ...]) -> np.ndarray:
    result = np.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result *= x
        result += coefficient
    return result


def _erf_block(x: np.ndarray, result: np.ndarray) -> None:
    """Fills `result`. expm1, as 1 - e^-q would cancel near 0; |x| as float64 makes float32's result the nearest."""
    a = np.minimum(np.abs(x, dtype=np.float64), ERF_LIMIT)
    q = _polynomial(a, ERF_COEFFICIENTS)
    q *= a
    q += a
    np.negative(q, out=q)
    np.expm1(q, out=q)
    np.copysign(q, x, out=result, casting="same_kind")


def _erfc_block(x: np.ndarray, result: np.ndarray) -> None:
    """Fills `result`. The square is of |x| with half its digits, which is exact, and the rest."""
    a = np.minimum(np.abs(x, dtype=np.float64), ERFC_LIMIT)
    short = a.astype(np.float32).astype(np.float64)
    value = _polynomial((a - ERFC_CENTER) / (a + ERFC_CENTER), ERFC_COEFFICIENTS)
    value *= np.exp(-short * short) * np.exp((short - a) * (short + a)) / (1 + 2 * a)
    np.copyto(result, np.where(x < 0, 2 - value, value), casting="same_kind")
