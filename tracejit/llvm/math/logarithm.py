"""The logarithm, what is made of it, and powers, as vector code.

log by s = f / (2 + f) is the atanh series, its leading terms kept apart as fdlibm's e_log.c describes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tracejit.ir.types import float32, float64
from tracejit.llvm.math.exponential import EXP_SHORT, exp_reduced, power_of_two, scale, table_of
from tracejit.llvm.math.registry import elementary
from tracejit.llvm.math.vectorparts import (
    DOUBLE,
    Values,
    at_least,
    at_most,
    bits_of,
    format_of,
    integer,
    number,
    polynomial,
    product,
    total,
    unless,
)  # fmt: skip
from tracejit.llvm.text.builder import Builder
from tracejit.llvm.text.types import Lanes

# fmt: off
# ln(1 + f) = f - f^2/2 + f^3 P(f) for 2/3 <= 1 + f < 4/3.
LOG_SINGLE = (0.33333244919776917, -0.2499970942735672, 0.20009082555770874, -0.1668471097946167, 0.1402425318956375,
              -0.12123925983905792, 0.13904647529125214, -0.1315852552652359)
# ln((1 + s) / (1 - s)) = 2 s + s^3 P(s^2) for |s| <= (sqrt(2) - 1) / (sqrt(2) + 1), or 2 s + 2/3 s^3 + s^5 P(s^2).
LOG_DOUBLE = (0.6666666666666734, 0.3999999999941433, 0.28571428742473903, 0.22222198563565512, 0.1818356486221522,
              0.15314035968371997, 0.14796103893102183)
LOG_SHORT = (0.6666666667580462, 0.3999999562069146, 0.2857210926886132, 0.22176184470692528, 0.19584207536324746)
LOG_LONG = (0.40000000000002256, 0.28571428570098567, 0.22222222520108031, 0.18181784350547478, 0.15386758111083695,
            0.13256799208853914, 0.13196504316258642)
# fmt: on
TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)  # in two parts


def _least_mantissa(x: Lanes) -> int:
    """The bits of the least mantissa that is left as it is: 2/3, or sqrt(1/2). The exponent changes there rather than at 1."""
    return 0x3F2AAAAB if x.dtype is float32 else 0x3FE6A09E667F3BCD


def _moved(b: Builder, x: Lanes) -> Lanes:
    """The bits of x > 0, so that the biased exponent e is in front where x = 2^e (1 + f) and 1 + f is in an octave around 1."""
    form = format_of(x)
    return b.add(bits_of(b, x), integer(b, (form.bias << form.mantissa) - _least_mantissa(x), x))


def _exponent(b: Builder, moved: Lanes, x: Lanes, bias: Lanes) -> Lanes:
    """The exponent in front of `moved`, less `bias` + magic, as a float like x. The magic number turns the small integer into
    one: int64 has no vector conversion before AVX-512."""
    form = format_of(x)
    magic_bits = (form.bias + form.mantissa << form.mantissa) + (1 << form.mantissa - 1)
    return b.sub(b.bitcast(b.or_(b.shift_right(moved, form.mantissa), integer(b, magic_bits, x)), x.dtype), bias)


def _split(b: Builder, x: Lanes, subnormals: bool) -> tuple[Lanes, Lanes]:
    """e and f where x = 2^e (1 + f), for finite x > 0."""
    form = format_of(x)
    bias = number(b, form.magic + form.bias, x)
    if subnormals:
        small = b.compare("lt", x, number(b, form.least, x))
        x = b.select(small, b.mul(x, number(b, 2.0**form.mantissa, x)), x)
        bias = b.select(small, number(b, form.magic + form.bias + form.mantissa, x), bias)
    moved = _moved(b, x)
    fraction = b.add(b.and_(moved, integer(b, (1 << form.mantissa) - 1, x)), integer(b, _least_mantissa(x), x))
    return _exponent(b, moved, x, bias), b.sub(b.bitcast(fraction, x.dtype), number(b, 1, x))


def _joined(b: Builder, e: Lanes, f: Lanes, terms: Sequence[float] = LOG_DOUBLE) -> Lanes:
    """ln(2^e (1 + f))."""
    high, low = (number(b, part, f) for part in table_of(f).ln2)
    square = b.mul(f, f)
    if f.dtype is float32:
        tail = b.mul(b.mul(square, f), polynomial(b, f, LOG_SINGLE))
        tail = b.fma(square, number(b, -0.5, f), b.fma(e, low, tail))
        return b.fma(e, high, b.add(f, tail))
    s = b.div(f, b.add(f, number(b, 2, f)))
    z = b.mul(s, s)
    half = b.mul(square, number(b, 0.5, f))
    tail = b.fma(s, b.fma(z, polynomial(b, z, terms), half), b.mul(e, low))
    return b.fma(e, high, b.sub(f, b.sub(half, tail)))


def _log_any(b: Builder, x: Lanes) -> Lanes:
    """ln(x) of subnormal numbers as well, ln(inf) = inf, ln(0) = -inf, and NaN for NaN and what is below 0."""
    zero = number(b, 0, x)
    result = b.select(b.compare("lt", x, number(b, math.inf, x)), _joined(b, *_split(b, x, True)), x)
    result = b.select(b.compare("lt", x, zero), number(b, math.nan, x), result)
    return b.select(b.compare("eq", x, zero), number(b, -math.inf, x), result)


@elementary("log", ulp=(0.9, 0.9))
def log(b: Builder, x: Lanes) -> Lanes:
    """ln(x)."""
    form = format_of(x)
    least = 1 << form.mantissa
    # In one comparison: from the least number that is not subnormal on, and below infinity.
    lowest = -(1 << 8 * x.dtype.size - 1)
    above = b.add(bits_of(b, x), integer(b, -lowest - least, x))
    rare = b.compare("ge", above, integer(b, lowest + (2 * form.bias) * least, x))
    values = [_joined(b, *_split(b, x, False))]
    return unless(b, rare, values, lambda: b.out_of_line("log", lambda b, x: [_log_any(b, x)], x))[0]


@elementary("log1p", ulp=(1.6, 1.5))
def log1p(b: Builder, x: Lanes) -> Lanes:
    """ln(2^e (1 + f)), where e is that of 1 + x rounded, and f = (1 + x) / 2^e - 1 is not made of it: (x - (2^e - 1)) / 2^e."""
    form, one = format_of(x), number(b, 1, x)
    limit = number(b, 2.0 ** (form.bias - 27), x)  # 2^-e is not subnormal up to it
    ordinary = b.and_(b.compare("gt", x, number(b, -1, x)), b.compare("lt", x, limit))
    moved = _moved(b, b.add(x, one))
    front = b.and_(moved, integer(b, -1 << form.mantissa, x))
    inverse = b.bitcast(b.sub(integer(b, 2 * form.bias << form.mantissa, x), front), x.dtype)
    f = b.fma(x, inverse, b.sub(inverse, one))
    result = _joined(b, _exponent(b, moved, x, number(b, form.magic + form.bias, x)), f)

    def mixed(b: Builder, x: Lanes, ordinary: Lanes, result: Lanes) -> Values:
        larger = b.compare("gt", x, number(b, 1, x))
        return [b.select(ordinary, result, _log_any(b, b.select(larger, x, b.add(x, number(b, 1, x)))))]

    result = unless(
        b, b.not_(ordinary), [result], lambda: b.out_of_line("log1p", mixed, x, ordinary, result)
    )[0]  # fmt: skip
    return b.copysign(result, x)


def _log_of_double(b: Builder, x: Lanes, half: Lanes) -> Lanes:
    """ln(2x), from `half`, the number whose log1p it is, where x is below 2^60, so that that may be infinite beyond."""
    large = b.compare("gt", x, number(b, 2.0**60, x))
    result = log1p(b, b.select(large, x, half))
    return b.add(result, b.select(large, number(b, math.log(2), x), number(b, 0, x)))


@elementary("asinh", ulp=(1.9, 1.9))
def asinh(b: Builder, x: Lanes) -> Lanes:
    """log1p(|x| + x^2 / (1 + sqrt(1 + x^2))) with the sign of x."""
    a, one = b.abs(x), number(b, 1, x)
    square = b.mul(a, a)
    root = b.sqrt(b.add(square, one))
    return b.copysign(_log_of_double(b, a, b.add(a, b.div(square, b.add(root, one)))), x)


@elementary("acosh", ulp=(2.3, 2.4))
def acosh(b: Builder, x: Lanes) -> Lanes:
    """log1p(t + sqrt(t (t + 2))) for t = x - 1."""
    one = number(b, 1, x)
    t = b.sub(x, one)
    root = b.sqrt(b.mul(t, b.add(t, number(b, 2, x))))
    return b.select(b.compare("lt", x, one), number(b, math.nan, x), _log_of_double(b, x, b.add(t, root)))


@elementary("atanh", ulp=(2.3, 2.1))
def atanh(b: Builder, x: Lanes) -> Lanes:
    """log1p(2|x| / (1 - |x|)) / 2 with the sign of x."""
    a = b.abs(x)
    result = log1p(b, b.div(b.add(a, a), b.sub(number(b, 1, x), a)))
    return b.copysign(b.mul(result, number(b, 0.5, x)), x)


@elementary("rsqrt", ulp=(1.5, 1.6))
def rsqrt(b: Builder, x: Lanes) -> Lanes:
    """1 / sqrt(x)."""
    return b.div(number(b, 1, x), b.sqrt(x))


@elementary("cbrt", ulp=(1.0, 0.8))
def cbrt(b: Builder, x: Lanes) -> Lanes:
    """x y^2 for y = |x|^(-1/3): a third of the exponent's and the first digits' bits, and two steps of the fourth order."""
    form = format_of(x)
    cut = form.mantissa - 14
    a = b.abs(x)
    small = b.compare("lt", a, number(b, 4 * form.least, x))
    up, down = (48.0, -16.0) if x.dtype is float32 else (60.0, -20.0)
    a = b.select(small, b.mul(a, number(b, 2.0**up, x)), a)
    # 2^(e - bias) (1 + f) has the bits e + f, which are near log2 + bias, and those of y are near 4/3 bias - 1/3 of them.
    unit = number(b, 2.0**form.mantissa, x)
    logarithm = b.sub(b.bitcast(b.or_(b.shift_right(bits_of(b, a), cut), bits_of(b, unit)), x.dtype), unit)
    start = number(b, 2.0**form.mantissa + round((form.bias - 0.045) * 4 / 3 * 2**14), x)
    y = b.bitcast(b.shift_left(bits_of(b, b.fma(logarithm, number(b, -1 / 3, x), start)), cut), x.dtype)
    for _ in range(2):
        e = b.sub(number(b, 1, x), b.mul(b.mul(b.mul(y, a), y), y))
        y = b.fma(y, b.mul(e, polynomial(b, e, (1 / 3, 2 / 9, 14 / 81))), y)
    square = b.mul(y, y)
    root = b.mul(a, square)
    # One step of Newton's, of which the residual is exact to more digits than the root has; quarters do not overflow.
    high, low = product(b, root, root)
    quarter = b.mul(root, number(b, 0.25, x))
    cube, lost = product(b, quarter, high)
    residual = b.sub(b.sub(b.sub(b.mul(a, number(b, 0.25, x)), cube), lost), b.mul(quarter, low))
    root = b.fma(residual, b.mul(square, number(b, 4 / 3, x)), root)
    root = b.select(small, b.mul(root, number(b, 2.0**down, x)), root)
    magnitude = b.abs(x)
    ordinary = b.and_(b.compare("gt", magnitude, number(b, 0, x)), b.compare("lt", magnitude, number(b, math.inf, x)))
    return b.select(ordinary, b.copysign(root, x), x)


def _log_long(b: Builder, x: Lanes) -> tuple[Lanes, Lanes]:
    """ln(x) of float64 in two parts, with some 64 bits, for finite x > 0."""
    e, f = _split(b, x, True)
    two = number(b, 2, x)
    divisor = b.add(f, two)
    inverse = b.div(number(b, 1, x), divisor)
    s = b.mul(f, inverse)
    near, lost = product(b, s, divisor)
    lost = b.add(b.sub(b.sub(f, near), lost), b.neg(b.mul(s, b.sub(f, b.sub(divisor, two)))))
    s_low = b.mul(lost, inverse)
    z, z_low = product(b, s, s)
    z_low = b.fma(b.mul(two, s), s_low, z_low)
    # (2/3 + z P) z s, of which each factor is in two parts.
    high, low = total(b, number(b, TWO_THIRDS[0], x), b.mul(z, polynomial(b, z, LOG_LONG)))
    low = b.add(low, number(b, TWO_THIRDS[1], x))
    cubic, cubic_low = product(b, high, z)
    cubic_low = b.add(cubic_low, b.fma(high, z_low, b.mul(low, z)))
    third, third_low = product(b, cubic, s)
    third_low = b.add(third_low, b.fma(cubic, s_low, b.mul(cubic_low, s)))
    result, rest = total(b, b.add(s, s), third)
    rest = b.add(rest, b.add(third_low, b.add(s_low, s_low)))
    ln2, ln2_low = (number(b, part, x) for part in table_of(x).ln2)
    whole, below = total(b, b.mul(e, ln2), result)
    return total(b, whole, b.add(below, b.fma(e, ln2_low, rest)))


def _power_single(b: Builder, a: Lanes, y: Lanes) -> Lanes:
    """a^y for a >= 0 of float32, computed in float64."""
    wide = b.cast(a, float64)
    product = b.mul(_log_any_of(b, wide), b.cast(y, float64))
    _, w, bits = exp_reduced(b, at_least(b, at_most(b, product, 200.0), -200.0), DOUBLE.bias, EXP_SHORT)
    power = power_of_two(b, bits, wide)
    return b.cast(b.fma(power, w, power), float32)


def _log_any_of(b: Builder, x: Lanes) -> Lanes:
    zero = number(b, 0, x)
    result = b.select(
        b.compare("lt", x, number(b, math.inf, x)), _joined(b, *_split(b, x, False), LOG_SHORT), x
    )  # fmt: skip
    return b.select(b.compare("eq", x, zero), number(b, -math.inf, x), result)


def _power_double(b: Builder, a: Lanes, y: Lanes) -> Lanes:
    """a^y for a >= 0 of float64."""
    zero, infinity = number(b, 0, a), number(b, math.inf, a)
    high, low = _log_long(b, a)
    y = at_least(b, at_most(b, y, 2.0**70), -(2.0**70))  # as good as infinite, unless a is 1
    near, lost = product(b, high, y)
    lost = b.fma(low, y, lost)
    least, most = table_of(a).exp_range
    inside = b.compare("lt", b.abs(near), number(b, 1000.0, a))
    lost = b.select(inside, lost, zero)
    _, w, bits = exp_reduced(b, at_least(b, at_most(b, near, most), least), 2 * format_of(a).bias, added=lost)
    result = scale(b, b.add(w, number(b, 1, a)), bits)
    # Of 0 and infinity there is no logarithm to work with.
    nothing = b.compare("eq", a, zero)
    upwards = b.xor(b.compare("lt", y, zero), b.compare("eq", a, infinity))
    edge = b.or_(nothing, b.compare("eq", a, infinity))
    result = b.select(b.and_(edge, b.compare("eq", y, y)), b.select(upwards, infinity, zero), result)
    return b.select(b.compare("eq", a, a), result, a)


@elementary("pow", ulp=(0.6, 1.0))
def power(b: Builder, x: Lanes, y: Lanes) -> Lanes:
    """x to the power of y; integers wrap around, their exponents are not negative."""
    x, y = b.match(x, y)
    if x.dtype.is_integer:
        return _integer_power(b, x, y)
    one, zero, infinity = (number(b, value, x) for value in (1, 0, math.inf))
    a = b.abs(x)
    result = (_power_single if x.dtype is float32 else _power_double)(b, a, y)
    result = b.select(b.compare("eq", a, one), one, result)  # also to an infinite power
    half = b.mul(y, number(b, 0.5, y))
    fractional = b.compare("ne", y, b.floor(y))
    odd = b.and_(b.not_(fractional), b.compare("ne", half, b.floor(half)))
    result = b.select(odd, b.copysign(result, x), result)
    negative = b.and_(b.compare("lt", x, zero), b.compare("lt", a, infinity))
    result = b.select(b.and_(negative, fractional), number(b, math.nan, x), result)
    return b.select(b.compare("eq", y, zero), one, result)


def _integer_power(b: Builder, x: Lanes, y: Lanes) -> Lanes:
    one, zero = number(b, 1, x), number(b, 0, x)

    def step(_: Lanes, carried: list[Lanes]) -> list[Lanes]:
        result, square, left = carried
        odd = b.compare("ne", b.and_(left, one), zero)
        return [b.mul(result, b.select(odd, square, one)), b.mul(square, square), b.shift_right(left, 1)]

    return b.loop(8 * x.dtype.size - 1, step, [one, x, y])[0]
