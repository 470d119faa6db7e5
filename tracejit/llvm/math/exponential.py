"""The exponential and what is made of it, as vector code.

The reduction of the operand by ln(2) in two parts is Cody and Waite's (Software Manual for the Elementary Functions, 1980).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tracejit.ir.types import float32
from tracejit.llvm.math.registry import elementary
from tracejit.llvm.math.vectorparts import (
    at_least,
    at_most,
    bits_of,
    format_of,
    has_scalef,
    number,
    polynomial,
    product,
    times_power_of_two,
    total,
)  # fmt: skip
from tracejit.llvm.text.builder import Builder
from tracejit.llvm.text.types import Lanes
from tracejit.ops.special import ERF_COEFFICIENTS, ERF_LIMIT, ERFC_CENTER, ERFC_COEFFICIENTS, ERFC_LIMIT

LOG2_E = 1.4426950408889634


class Table(NamedTuple):
    """What a float dtype's functions are made of. Polynomials start with the lowest coefficient."""

    ln2: tuple[float, float]  # in two parts: the first times an exponent is exact
    exp: tuple[float, ...]  # (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2
    exp_range: tuple[float, float]  # beyond, exp is 0 or infinite
    expm1_range: tuple[float, float]  # beyond, expm1 is -1 or infinite
    cosh_limit: float  # beyond, cosh is infinite
    tanh_limit: float  # beyond, tanh is 1
    exp2: tuple[float, ...]  # (2^r - 1) / r - 1 for |r| <= 1/2
    erf: tuple[float, ...]  # -log2(erfc(x)) / x - 1 up to erf_limit
    erf_limit: float  # beyond, erf is 1
    erfc: tuple[float, ...]  # (1 + 2x) e^(x^2) erfc(x), of (x - erfc_center) / (x + erfc_center)
    erfc_center: float
    erfc_limit: float  # beyond, erfc is 0


# fmt: off
SINGLE = Table(
    ln2=(355 / 512, -0.00021219444005469057),
    exp=(0.5, 0.16666542, 0.041666444, 0.0083667012, 0.0013936899),
    exp_range=(-104.0, 89.0), expm1_range=(-20.0, 88.75), cosh_limit=89.5, tanh_limit=9.1,
    exp2=(-0.306852818, 0.240226492, 0.0555035733, 0.00961823761, 0.00133907353, 0.000154035166),
    erf=(0.627907097, 0.918443441, 0.148329839, -0.0278753284, 0.000296781887, 0.0018058758, -0.00054965762, 5.87270297e-05),
    erf_limit=3.95,
    erfc=(1.25300801, -0.135621145, -0.0475624092, 0.129646435, -0.119270794, 0.0682957545, -0.0237985421, 0.00256654713,
          0.00200335495, -0.000775099674, -0.000267170806),
    erfc_center=3.0, erfc_limit=10.2,
)
DOUBLE = Table(
    ln2=(0.6931471803691238, 1.9082149292705877e-10),
    exp=(0.5, 0.16666666666666677, 0.0416666666666667, 0.00833333333332151, 0.0013888888888866685,
         0.0001984126988646552, 2.4801587360843612e-05, 2.7557243840594254e-06, 2.755724252034066e-07,
         2.5109174167622754e-08, 2.0924516160055232e-09),
    exp_range=(-746.0, 710.0), expm1_range=(-40.0, 709.9), cosh_limit=710.5, tanh_limit=19.2,
    exp2=(-0.3068528194400547, 0.24022650695910097, 0.055504108664821236, 0.009618129107607065, 0.0013333558146531755,
          0.00015403530441481287, 1.5252733701087677e-05, 1.3215442723534978e-06, 1.0178121353043858e-07,
          7.072561872491852e-09, 4.4455291882710216e-10),
    erf=(LOG2_E - 1 + LOG2_E * ERF_COEFFICIENTS[0], *(LOG2_E * each for each in ERF_COEFFICIENTS[1:])),
    erf_limit=ERF_LIMIT,
    erfc=ERFC_COEFFICIENTS, erfc_center=ERFC_CENTER, erfc_limit=ERFC_LIMIT,
)
# float64 inside of float32's pow needs fewer terms.
EXP_SHORT = (0.5000000046727286, 0.16666666818157272, 0.041666353256791876, 0.00833327276200362, 0.001394112592163049,
             0.00019914343502958453)
# fmt: on


def table_of(x: Lanes) -> Table:
    """What the functions of x's dtype are made of."""
    return SINGLE if x.dtype is float32 else DOUBLE


def power_of_two(b: Builder, exponent: Lanes, x: Lanes) -> Lanes:
    """2^(e - bias) in x's dtype, where the low bits of `exponent` are e."""
    return b.bitcast(b.shift_left(exponent, format_of(x).mantissa), x.dtype)


def scale(b: Builder, x: Lanes, exponent: Lanes) -> Lanes:
    """x * 2^(e - 2 bias), where the low bits of `exponent` are e: by two factors, as 2^(e - 2 bias) itself may be infinite or
    subnormal."""
    half = b.shift_right(exponent, 1)
    return b.mul(b.mul(x, power_of_two(b, half, x)), power_of_two(b, b.sub(exponent, half), x))


def exp_reduced(
    b: Builder, x: Lanes, offset: int, exp: Sequence[float] = (), added: Lanes | None = None
) -> tuple[Lanes, Lanes, Lanes]:
    """n, e^(r + added) - 1 where x = n ln(2) + r, and an integer whose low bits are n + offset. `added` is tiny."""
    table, magic = table_of(x), number(b, format_of(x).magic + offset, x)
    high, low = (number(b, -part, x) for part in table.ln2)
    shifted = b.fma(x, number(b, LOG2_E, x), magic)
    n = b.sub(shifted, magic)
    whole = b.fma(n, high, x)
    r = b.fma(n, low, whole)
    precise = x.dtype is not float32 and not exp
    # What the rounding of r lost is up to half a unit of the result, and more of expm1's and tanh's.
    lost = b.fma(n, low, b.sub(whole, r)) if precise else None
    if added is not None:
        r, rest = total(b, r, added)
        lost = None if lost is None else b.add(lost, rest)
    square = b.mul(r, r)
    tail = polynomial(b, r, exp or table.exp, square)
    w = b.fma(square, tail, r) if lost is None else b.add(b.fma(square, tail, lost), r)
    return n, w, bits_of(b, shifted)


def exp_clamped(b: Builder, x: Lanes, factor: Lanes | None = None, added: Lanes | None = None) -> Lanes:
    """factor * e^(x + added), for x inside of exp_range."""
    n, w, bits = exp_reduced(b, x, 0 if has_scalef(b, x) else 2 * format_of(x).bias, added=added)
    value = b.add(w, number(b, 1, x)) if factor is None else b.fma(w, factor, factor)
    return times_power_of_two(b, value, n) if has_scalef(b, x) else scale(b, value, bits)


@elementary("exp", ulp=(1.1, 0.9))
def exp(b: Builder, x: Lanes) -> Lanes:
    """e^x."""
    low, high = table_of(x).exp_range
    return exp_clamped(b, at_least(b, at_most(b, x, high), low))


@elementary("sigmoid", ulp=(2.5, 2.6))
def sigmoid(b: Builder, x: Lanes) -> Lanes:
    """1 / (1 + e^-x), and for negative x e^x / (1 + e^x): the exponential is of -|x|, which does not overflow."""
    one = number(b, 1, x)
    z = exp_clamped(b, at_least(b, b.neg(b.abs(x)), table_of(x).exp_range[0]))
    return b.div(b.select(b.compare("lt", x, number(b, 0, x)), z, one), b.add(z, one))


def _quarter(b: Builder, x: Lanes) -> tuple[Lanes, Lanes, Lanes, Lanes]:
    """n, e^r - 1 where x = n ln(2) + r, and 2^n / 4 and (e^x - 1) / 4, which are finite where 2^n is not."""
    n, w, bits = exp_reduced(b, x, format_of(x).bias - 2)
    quarter = power_of_two(b, bits, x)
    return n, w, quarter, b.fma(quarter, w, b.sub(quarter, number(b, 0.25, x)))


def _expm1_of_quarter(b: Builder, n: Lanes, w: Lanes, less: Lanes) -> Lanes:
    # Where n is 0 a quarter may be subnormal.
    return b.select(b.compare("eq", n, number(b, 0, n)), w, b.mul(less, number(b, 4, n)))


@elementary("expm1", ulp=(1.7, 1.8))
def expm1(b: Builder, x: Lanes) -> Lanes:
    """2^n (e^r - 1) + (2^n - 1)."""
    low, high = table_of(x).expm1_range
    n, w, _, less = _quarter(b, at_least(b, at_most(b, x, high), low))
    return b.copysign(_expm1_of_quarter(b, n, w, less), x)


@elementary("sinh", ulp=(2.4, 2.3))
def sinh(b: Builder, x: Lanes) -> Lanes:
    """(m + m / (m + 1)) / 2 for m = e^|x| - 1, or e^|x| / 2, with the sign of x."""
    n, w, _, less = _quarter(b, at_most(b, b.abs(x), table_of(x).cosh_limit))
    m = _expm1_of_quarter(b, n, w, less)
    near = b.mul(b.add(m, b.div(m, b.add(m, number(b, 1, x)))), number(b, 0.5, x))
    return b.copysign(b.select(b.compare("gt", n, number(b, 64, x)), b.add(less, less), near), x)


@elementary("cosh", ulp=(1.5, 1.5))
def cosh(b: Builder, x: Lanes) -> Lanes:
    """q + 1 / (4 q) for q = e^|x| / 2."""
    _, w, quarter, _ = _quarter(b, at_most(b, b.abs(x), table_of(x).cosh_limit))
    q = b.fma(quarter, w, quarter)
    return b.add(b.add(q, q), b.div(number(b, 0.125, x), q))


def _exp2m1(b: Builder, x: Lanes) -> Lanes:
    """2^x - 1 where 2^x is neither near overflow nor subnormal. To the base 2 nothing is lost in reducing x."""
    form = format_of(x)
    magic = number(b, form.magic + form.bias, x)
    shifted = b.add(x, magic)
    r = b.sub(x, b.sub(shifted, magic))
    w = b.fma(r, polynomial(b, r, table_of(x).exp2), r)
    power = power_of_two(b, bits_of(b, shifted), x)
    return b.fma(power, w, b.sub(power, number(b, 1, x)))


@elementary("tanh", ulp=(3.8, 3.9))
def tanh(b: Builder, x: Lanes) -> Lanes:
    """(e^2|x| - 1) / (e^2|x| + 1), with the sign of x."""
    a = at_most(b, b.abs(x), table_of(x).tanh_limit)
    e = _exp2m1(b, b.mul(a, number(b, 2 * LOG2_E, x)))
    return b.copysign(b.div(e, b.add(e, number(b, 2, x))), x)


@elementary("erf", ulp=(3.0, 2.3))
def erf(b: Builder, x: Lanes) -> Lanes:
    """1 - 2^q(|x|), with the sign of x, where q = log2(erfc) is a polynomial: no second interval, no cancellation."""
    table = table_of(x)
    a = at_most(b, b.abs(x), table.erf_limit)
    minus = b.neg(a)
    return b.copysign(_exp2m1(b, b.fma(minus, polynomial(b, a, table.erf), minus)), x)


@elementary("erfc", ulp=(6.1, 5.2))
def erfc(b: Builder, x: Lanes) -> Lanes:
    """e^(-x^2) P(q) / (1 + 2|x|), or 2 less it for negative x. (The variable is from Shepherd and Laframboise, Chebyshev
    approximation of (1 + 2x) exp(x^2) erfc(x), Mathematics of Computation 36, 1981.)"""
    table = table_of(x)
    one, center = number(b, 1, x), number(b, table.erfc_center, x)
    a = at_most(b, b.abs(x), table.erfc_limit)
    inverse = b.div(one, b.add(a, center))
    q = b.mul(b.sub(a, center), inverse)
    # (q + 1) center - (1 - q) a, which is nothing but for the roundings.
    q = b.fma(inverse, b.fma(b.neg(q), a, b.fma(b.neg(center), b.add(q, one), a)), q)
    factor = b.div(polynomial(b, q, table.erfc), b.fma(a, number(b, 2, x), one))
    square, lost = product(b, a, a)
    result = exp_clamped(b, at_least(b, b.neg(square), table.exp_range[0]), factor, b.neg(lost))
    return b.select(b.compare("lt", x, number(b, 0, x)), b.sub(number(b, 2, x), result), result)
