"""Elementary functions as vector code: FUNCTIONS[name](builder, operands) writes one and gives its value.

Largest errors measured, in units in the last place (ULP) of the exact result:

               exp  expm1   log  log1p   sin   cos   tan  tanh  sigmoid   erf   pow
    float32   1.03   1.54  0.83   0.50  0.56  0.56  1.48  2.45     2.34  1.80  0.50
    float64   0.83   1.55  0.80   1.43  1.87  1.90  libm  2.20     2.20  1.52  libm

float32: every 16th bit pattern against NumPy's float64 (erf: against libm's erf; pow: 2 million pairs). float64: 2
million points of all exponents, denser where the functions vary, against NumPy's long double (erf: 40,000 points
against mpmath at 90 bits). Both on x86-64 with FMA and 512-bit registers; without FMA nothing was above 2.2, on fewer
points. Above 1e6 sin, cos and tan are libm's, which is where tan's 1.48 is from.

The reduction of exp's operand by ln(2) in two parts is Cody and Waite's (Software Manual for the Elementary Functions,
1980), and so is that of sin's by pi; log by s = f / (2 + f) is the atanh series, its leading terms kept apart as
fdlibm's e_log.c describes; log1p's correction c/u is in fdlibm's s_log1p.c. The coefficients are minimax fits (Remez
exchange in mpmath, weighted by the effect on the result; float32's are rounded one after another and the rest
refitted). The file is as long as its tables of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tracejit.ir.types import DType, bool_, float32, float64, int32, int64

if TYPE_CHECKING:
    from tracejit.llvm.builder import Builder, Lanes

LOG2_E, INVERSE_PI = 1.4426950408889634, 0.3183098861837907


class Format(NamedTuple):
    """What a float dtype's functions are made of. Polynomials start with the lowest coefficient."""

    integer: DType
    mantissa: int  # bits
    bias: int
    ln2: tuple[float, float]  # in two parts: the first times an exponent is exact
    exp: tuple[float, ...]  # (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2
    exp_range: tuple[float, float]  # beyond, exp is 0 or infinite
    expm1_range: tuple[float, float]  # beyond, expm1 is -1 or infinite
    tanh_limit: float  # beyond, tanh is 1
    erf: tuple[float, ...]  # -ln(erfc(x)) / x - 1 up to erf_limit
    erf_limit: float  # beyond, erf is 1
    center: int  # the bits of the least mantissa that log leaves as it is

    @property
    def magic(self) -> float:
        """Its last bit is worth 1: a small number added to it is rounded to an integer, which the low bits hold."""
        return 1.5 * 2.0**self.mantissa


# fmt: off
SINGLE = Format(
    integer=int32, mantissa=23, bias=127,
    ln2=(355 / 512, -0.00021219444005469057),
    exp=(0.5, 0.16666542, 0.041666444, 0.0083667012, 0.0013936899),
    exp_range=(-104.0, 89.0), expm1_range=(-20.0, 88.75), tanh_limit=9.1,
    erf=(0.1283791716, 0.63661939, 0.10277775, -0.019152738154, -0.00016101913914,
         0.00166766019538, -0.000633185147308, 0.00011773895677, -9.26715802e-06),
    erf_limit=3.95,
    center=0x3F2AAAAB,  # 2/3
)
DOUBLE = Format(
    integer=int64, mantissa=52, bias=1023,
    ln2=(0.6931471803691238, 1.9082149292705877e-10),
    exp=(0.5, 0.16666666666666677, 0.0416666666666667, 0.00833333333332151, 0.0013888888888866685,
         0.0001984126988646552, 2.4801587360843612e-05, 2.7557243840594254e-06, 2.755724252034066e-07,
         2.5109174167622754e-08, 2.0924516160055232e-09),
    exp_range=(-746.0, 710.0), expm1_range=(-40.0, 709.9), tanh_limit=19.2,
    erf=(0.1283791670955126, 0.6366197723675816, 0.10277260330192355, -0.019128447008671865,
         -0.0002091946442611548, 0.0016962059533684587, -0.0005901230957589005, 2.5868763345527505e-05,
         6.452079778496461e-05, -2.9788403817628005e-05, 3.51794779567373e-06, 2.6854936958198657e-06,
         -1.5805242857649811e-06, 1.9725428463398224e-07, 2.3423317957799876e-07, -1.9660777714965772e-07,
         9.084964157288886e-08, -3.025984153649901e-08, 7.76360467722903e-09, -1.5630571517709905e-09,
         2.463387644539874e-10, -2.9867960337029275e-11, 2.6935699586470914e-12, -1.7022446553632692e-13,
         6.725817968690163e-15, -1.2497908542532927e-16),
    erf_limit=5.95,
    center=0x3FE6A09E667F3BCD,  # sqrt(1/2)
)
# float64 inside of float32's functions needs fewer terms.
EXP_SHORT = (0.5000000046727286, 0.16666666818157272, 0.041666353256791876, 0.00833327276200362, 0.001394112592163049,
             0.00019914343502958453)
# ln(1 + f) = f - f^2/2 + f^3 P(f) for 2/3 <= 1 + f < 4/3.
LOG_SINGLE = (0.33333244919776917, -0.2499970942735672, 0.20009082555770874, -0.1668471097946167, 0.1402425318956375,
              -0.12123925983905792, 0.13904647529125214, -0.1315852552652359)
# ln((1 + s) / (1 - s)) = 2 s + s^3 P(s^2) for |s| <= (sqrt(2) - 1) / (sqrt(2) + 1).
LOG_DOUBLE = (0.6666666666666734, 0.3999999999941433, 0.28571428742473903, 0.22222198563565512, 0.1818356486221522,
              0.15314035968371997, 0.14796103893102183)
LOG_SHORT = (0.6666666667580462, 0.3999999562069146, 0.2857210926886132, 0.22176184470692528, 0.19584207536324746)
# sin(r) = r + r^3 P(r^2) for |r| <= pi/2, and in the last two for |r| <= pi/4; cos(r) = 1 - r^2/2 + r^4 P(r^2).
SIN_DOUBLE = (-0.16666666666666666, 0.008333333333333212, -0.0001984126984121535, 2.7557319212143305e-06,
              -2.5052106961261712e-08, 1.6058943986222474e-10, -7.643098939043112e-13, 2.722268346463674e-15)
SIN_SHORT = (-0.1666666663181085, 0.008333331326811294, -0.00019840894521209714, 2.7526639569264953e-06,
             -2.390960124203828e-08)
SIN_QUARTER = (-0.1666666664162715, 0.00833332938597482, -0.00019839334865637316, 2.718311787518138e-06)
COS_QUARTER = (0.04166666662282866, -0.0013888883753447082, 2.4799520014865316e-05, -2.7210237998827866e-07)
# fmt: on
# Pi in parts of 33 bits (and what is left): a part times an integer or half of one below 2^19 is exact.
PI = (3.1415926534682512, 1.2154201012607932e-10, 4.044532497591901e-21)
REDUCED_LIMIT = 1e6  # above, sin, cos and tan are libm's


def _format(x: Lanes) -> Format:
    return SINGLE if x.dtype is float32 else DOUBLE


def _c(b: Builder, value: float, like: Lanes) -> Lanes:
    return b.const(value, like.dtype, like.lanes)


def _polynomial(b: Builder, x: Lanes, coefficients: Sequence[float]) -> Lanes:
    result = _c(b, coefficients[-1], x)
    for coefficient in reversed(coefficients[:-1]):
        result = b.fma(result, x, _c(b, coefficient, x))
    return result


def _at_most(b: Builder, x: Lanes, limit: float) -> Lanes:
    """min(x, limit), in one instruction; NaN stays NaN."""
    bound = _c(b, limit, x)
    return b.select(b.compare("gt", x, bound), bound, x)


def _at_least(b: Builder, x: Lanes, limit: float) -> Lanes:
    bound = _c(b, limit, x)
    return b.select(b.compare("lt", x, bound), bound, x)


def _power_of_two(b: Builder, exponent: Lanes, dtype: DType, mantissa: int) -> Lanes:
    """2^(e - bias), where the low bits of `exponent` are e."""
    return b.bitcast(b.shift_left(exponent, mantissa), dtype)


def _nearest(b: Builder, x: Lanes, factor: float, offset: int) -> tuple[Lanes, Lanes]:
    """n, the integer nearest to x * factor, and an integer whose low bits are n + offset."""
    form = _format(x)
    magic = _c(b, form.magic + offset, x)
    shifted = b.fma(x, _c(b, factor, x), magic)
    return b.sub(shifted, magic), b.bitcast(shifted, form.integer)


def _exp_reduced(b: Builder, x: Lanes, offset: int, exp: Sequence[float] = ()) -> tuple[Lanes, Lanes, Lanes]:
    """n, e^r - 1 where x = n ln(2) + r, and an integer whose low bits are n + offset. (Cody and Waite's reduction.)"""
    form = _format(x)
    n, bits = _nearest(b, x, LOG2_E, offset)
    r = b.fma(n, _c(b, -form.ln2[0], x), x)
    whole, r = r, b.fma(n, _c(b, -form.ln2[1], x), r)
    square, tail = b.mul(r, r), _polynomial(b, r, exp or form.exp)
    if x.dtype is float32 or exp:
        return n, b.fma(square, tail, r), bits
    # What the rounding of r lost is up to half a unit of the result, and more of expm1's and tanh's.
    lost = b.fma(n, _c(b, -form.ln2[1], x), b.sub(whole, r))
    return n, b.add(b.fma(square, tail, lost), r), bits


def _exp_clamped(b: Builder, x: Lanes) -> Lanes:
    """e^x for x inside of exp_range. Two factors make up 2^n, as 2^n itself may be infinite or subnormal."""
    form = _format(x)
    _, w, bits = _exp_reduced(b, x, 2 * form.bias)
    half = b.shift_right(bits, 1)
    scaled = b.mul(b.add(w, _c(b, 1, x)), _power_of_two(b, half, x.dtype, form.mantissa))
    return b.mul(scaled, _power_of_two(b, b.sub(bits, half), x.dtype, form.mantissa))


def exp(b: Builder, x: Lanes) -> Lanes:
    """e^x."""
    low, high = _format(x).exp_range
    return _exp_clamped(b, _at_least(b, _at_most(b, x, high), low))


def sigmoid(b: Builder, x: Lanes) -> Lanes:
    """1 / (1 + e^-x), and for negative x e^x / (1 + e^x): the exponential is of -|x|, which does not overflow."""
    one = _c(b, 1, x)
    z = _exp_clamped(b, _at_least(b, b.neg(b.abs(x)), _format(x).exp_range[0]))
    return b.div(b.select(b.compare("lt", x, _c(b, 0, x)), z, one), b.add(z, one))


def expm1(b: Builder, x: Lanes) -> Lanes:
    """2^n (e^r - 1) + (2^n - 1), halved inside, as 2^n may be infinite where the result is not."""
    form = _format(x)
    low, high = form.expm1_range
    n, w, bits = _exp_reduced(b, _at_least(b, _at_most(b, x, high), low), form.bias - 1)
    scale = _power_of_two(b, bits, x.dtype, form.mantissa)
    half = b.fma(scale, w, b.sub(scale, _c(b, 0.5, x)))
    result = b.select(b.compare("eq", n, _c(b, 0, x)), w, b.add(half, half))
    return b.copysign(result, x)


def _expm1_moderate(b: Builder, x: Lanes) -> Lanes:
    """e^x - 1 where e^x is neither near overflow nor subnormal."""
    form = _format(x)
    _, w, bits = _exp_reduced(b, x, form.bias)
    scale = _power_of_two(b, bits, x.dtype, form.mantissa)
    return b.fma(scale, w, b.sub(scale, _c(b, 1, x)))


def tanh(b: Builder, x: Lanes) -> Lanes:
    """(e^2|x| - 1) / (e^2|x| + 1), by expm1, with the sign of x."""
    a = _at_most(b, b.abs(x), _format(x).tanh_limit)
    e = _expm1_moderate(b, b.add(a, a))
    return b.copysign(b.div(e, b.add(e, _c(b, 2, x))), x)


def erf(b: Builder, x: Lanes) -> Lanes:
    """1 - e^q(|x|), with the sign of x, where q = ln(erfc) is a polynomial: no second interval, no cancellation."""
    form = _format(x)
    a = _at_most(b, b.abs(x), form.erf_limit)
    minus = b.neg(a)
    q = b.fma(minus, _polynomial(b, a, form.erf), minus)
    return b.copysign(_expm1_moderate(b, q), x)


def _log_split(b: Builder, x: Lanes, subnormals: bool = True) -> tuple[Lanes, Lanes]:
    """e and f where x = 2^e (1 + f) and 1 + f is in an octave around 1, for finite x > 0."""
    form = _format(x)

    def constant(value: int) -> Lanes:
        return b.const(value, form.integer, x.lanes)

    bias = form.magic + form.bias
    shift = _c(b, bias, x)
    if subnormals:
        small = b.compare("lt", x, _c(b, 2.0 ** (1 - form.bias), x))
        x = b.select(small, b.mul(x, _c(b, 2.0**form.mantissa, x)), x)
        shift = b.select(small, _c(b, bias + form.mantissa, x), shift)
    # The exponent changes at `center` rather than at 1.
    moved = b.add(b.bitcast(x, form.integer), constant((form.bias << form.mantissa) - form.center))
    fraction = b.add(b.and_(moved, constant((1 << form.mantissa) - 1)), constant(form.center))
    # The magic number turns the small integer into a float: int64 has no vector conversion before AVX-512.
    magic_bits = (form.bias + form.mantissa << form.mantissa) + (1 << form.mantissa - 1)
    exponent = b.bitcast(b.or_(b.shift_right(moved, form.mantissa), constant(magic_bits)), x.dtype)
    return b.sub(exponent, shift), b.sub(b.bitcast(fraction, x.dtype), _c(b, 1, x))


def _log_positive(b: Builder, x: Lanes, terms: Sequence[float] = LOG_DOUBLE, subnormals: bool = True) -> Lanes:
    """ln(x) for finite x > 0."""
    form = _format(x)
    e, f = _log_split(b, x, subnormals)
    high, low = (_c(b, part, x) for part in form.ln2)
    square = b.mul(f, f)
    if x.dtype is float32:
        tail = b.mul(b.mul(square, f), _polynomial(b, f, LOG_SINGLE))
        tail = b.fma(square, _c(b, -0.5, x), b.fma(e, low, tail))
        return b.fma(e, high, b.add(f, tail))
    s = b.div(f, b.add(f, _c(b, 2, x)))
    z = b.mul(s, s)
    half = b.mul(square, _c(b, 0.5, x))
    tail = b.fma(s, b.fma(z, _polynomial(b, z, terms), half), b.mul(e, low))
    return b.fma(e, high, b.sub(f, b.sub(half, tail)))


def _log_specials(b: Builder, x: Lanes, result: Lanes) -> Lanes:
    """`result`, but ln(inf) = inf, ln(0) = -inf, and NaN for NaN and what is below 0."""
    zero = _c(b, 0, x)
    result = b.select(b.compare("lt", x, _c(b, math.inf, x)), result, x)
    result = b.select(b.compare("lt", x, zero), _c(b, math.nan, x), result)
    return b.select(b.compare("eq", x, zero), _c(b, -math.inf, x), result)


def log(b: Builder, x: Lanes) -> Lanes:
    """ln(x)."""
    return _log_specials(b, x, _log_positive(b, x))


def log1p(b: Builder, x: Lanes) -> Lanes:
    """ln(u) + c/u, where u is 1 + x and c what its rounding lost."""
    wide = b.cast(x, float64)
    one = _c(b, 1, wide)
    u = b.add(wide, one)
    if x.dtype is float32:  # The sum is exact, or so small that c/u is c, or so large that c is nothing.
        lost = b.sub(wide, b.sub(u, one))
        result = b.add(_log_positive(b, u, LOG_SHORT, subnormals=False), lost)
    else:
        part = b.sub(u, one)
        lost = b.add(b.sub(one, b.sub(u, part)), b.sub(wide, part))
        result = b.add(_log_positive(b, u, subnormals=False), b.div(lost, u))
    return b.copysign(b.cast(_log_specials(b, u, result), x.dtype), x)


def _libm(b: Builder, name: str, *x: Lanes) -> Lanes:
    return b.call_lanes(name + ("f" if x[0].dtype is float32 else ""), *x)


def _unless_large(b: Builder, x: Lanes, name: str, fast: Callable[[], Lanes]) -> Lanes:
    """What `fast` writes, or libm's values for all lanes where any |x| is too large for it (or infinite)."""
    large = b.compare("gt", b.abs(x), _c(b, REDUCED_LIMIT, x))
    if x.lanes > 1:
        function = f"@llvm.vector.reduce.or.v{x.lanes}i1"
        b.declarations.add(f"declare i1 {function}({large.type})")
        large = b.emit(bool_, 1, f"call i1 {function}({large})")
    label = b.fresh("large")
    b.line(f"br {large}, label %{label}, label %{label}.not")
    b.start_block(label)
    slow = _libm(b, name, x)
    slow_block = b.block
    b.line(f"br label %{label}.end")
    b.start_block(f"{label}.not")
    quick = fast()
    quick_block = b.block
    b.line(f"br label %{label}.end")
    b.start_block(f"{label}.end")
    return b.emit(x.dtype, x.lanes, f"phi {x.type} [ {slow.ref}, %{slow_block} ], [ {quick.ref}, %{quick_block} ]")


def _odd_sign(b: Builder, bits: Lanes, x: Lanes) -> Lanes:
    """x, or -x where the last of `bits` is 1."""
    sign = b.shift_left(bits, 8 * x.dtype.size - 1)
    return b.bitcast(b.xor(b.bitcast(x, bits.dtype), sign), x.dtype)


def _sine(b: Builder, x: Lanes, quarter: float) -> Lanes:
    """sin(x + quarter pi) for quarter 0 or 1/2: (-1)^m sin(r) where x = (m - quarter) pi + r and |r| <= pi/2."""
    wide = b.cast(x, float64)
    magic = _c(b, DOUBLE.magic, wide)
    if quarter:
        shifted = b.add(b.fma(wide, _c(b, INVERSE_PI, wide), _c(b, quarter, wide)), magic)
        n = b.sub(b.sub(shifted, magic), _c(b, quarter, wide))
    else:
        shifted = b.fma(wide, _c(b, INVERSE_PI, wide), magic)
        n = b.sub(shifted, magic)
    r = b.fma(n, _c(b, -PI[0], wide), wide)
    if x.dtype is float32:
        r = b.fma(n, _c(b, -PI[1] - PI[2], wide), r)
        square = b.mul(r, r)
        result = b.fma(b.mul(square, r), _polynomial(b, square, SIN_SHORT), r)
    else:
        # Each subtraction leaves behind what its rounding lost; the sine changes by it times the cosine.
        first, middle = r, b.mul(n, _c(b, PI[1], wide))
        second = b.sub(first, middle)
        lost = b.fma(n, _c(b, -PI[2], wide), b.sub(b.sub(first, second), middle))
        r = b.add(second, lost)
        lost = b.add(b.sub(second, r), lost)
        square = b.mul(r, r)
        lost = b.mul(lost, b.fma(square, _c(b, -0.5, wide), _c(b, 1, wide)))
        result = b.add(r, b.fma(b.mul(square, r), _polynomial(b, square, SIN_DOUBLE), lost))
    return b.cast(_odd_sign(b, b.bitcast(shifted, int64), result), x.dtype)


def sin(b: Builder, x: Lanes) -> Lanes:
    """sin(x)."""
    # The reduction adds +0 to -0, which is +0: a zero is given back as it came.
    result = _unless_large(b, x, "sin", lambda: _sine(b, x, 0))
    return b.select(b.compare("eq", x, _c(b, 0, x)), x, result)


def cos(b: Builder, x: Lanes) -> Lanes:
    """cos(x)."""
    return _unless_large(b, x, "cos", lambda: _sine(b, x, 0.5))


def tan(b: Builder, x: Lanes) -> Lanes:
    """sin(r) / cos(r), or -cos(r) / sin(r), where x = n pi/2 + r and n is even, or odd."""
    if x.dtype is float64:
        return _libm(b, "tan", x)

    def fast() -> Lanes:
        wide = b.cast(x, float64)
        n, bits = _nearest(b, wide, 2 * INVERSE_PI, 0)
        r = b.fma(n, _c(b, -PI[0] / 2, wide), wide)
        r = b.fma(n, _c(b, -(PI[1] + PI[2]) / 2, wide), r)
        square = b.mul(r, r)
        sine = b.fma(b.mul(square, r), _polynomial(b, square, SIN_QUARTER), r)
        tail = b.fma(square, _polynomial(b, square, COS_QUARTER), _c(b, -0.5, r))
        cosine = b.fma(square, tail, _c(b, 1, r))
        one = b.const(1, int64, x.lanes)
        odd = b.compare("eq", b.and_(bits, one), one)
        ratio = b.div(b.select(odd, cosine, sine), b.select(odd, sine, cosine))
        return b.cast(_odd_sign(b, bits, ratio), float32)

    result = _unless_large(b, x, "tan", fast)
    return b.select(b.compare("eq", x, _c(b, 0, x)), x, result)


def power(b: Builder, x: Lanes, y: Lanes) -> Lanes:
    """x to the power of y; integers wrap around, their exponents are not negative."""
    x, y = b.match(x, y)
    if x.dtype.is_integer:
        return _integer_power(b, x, y)
    if x.dtype is float64:
        return _libm(b, "pow", x, y)
    one, zero, infinity = (_c(b, value, x) for value in (1, 0, math.inf))
    a = b.abs(x)
    wide = b.cast(a, float64)
    logarithm = _log_specials(b, wide, _log_positive(b, wide, LOG_SHORT, subnormals=False))
    product = b.mul(logarithm, b.cast(y, float64))
    _, w, bits = _exp_reduced(b, _at_least(b, _at_most(b, product, 200.0), -200.0), DOUBLE.bias, EXP_SHORT)
    scale = _power_of_two(b, bits, float64, DOUBLE.mantissa)
    result = b.cast(b.fma(scale, w, scale), float32)
    result = b.select(b.compare("eq", a, one), one, result)  # also to an infinite power
    half = b.mul(y, _c(b, 0.5, y))
    fractional = b.compare("ne", y, b.floor(y))
    odd = b.and_(b.not_(fractional), b.compare("ne", half, b.floor(half)))
    result = b.select(odd, b.copysign(result, x), result)
    negative = b.and_(b.compare("lt", x, zero), b.compare("lt", a, infinity))
    result = b.select(b.and_(negative, fractional), _c(b, math.nan, x), result)
    return b.select(b.compare("eq", y, zero), one, result)


def _integer_power(b: Builder, x: Lanes, y: Lanes) -> Lanes:
    one, zero = _c(b, 1, x), _c(b, 0, x)

    def step(_: Lanes, carried: list[Lanes]) -> list[Lanes]:
        result, square, left = carried
        odd = b.compare("ne", b.and_(left, one), zero)
        return [b.mul(result, b.select(odd, square, one)), b.mul(square, square), b.shift_right(left, 1)]

    return b.loop(8 * x.dtype.size - 1, step, [one, x, y])[0]


FUNCTIONS: dict[str, Callable[..., Lanes]] = {
    "exp": exp, "expm1": expm1, "log": log, "log1p": log1p, "sin": sin, "cos": cos, "tan": tan,
    "tanh": tanh, "sigmoid": sigmoid, "erf": erf, "pow": power,
}  # fmt: skip
