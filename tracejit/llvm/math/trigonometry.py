"""sin, cos, tan and their inverses as vector code.

Operands up to a limit are reduced by Cody and Waite's subtraction of pi in parts (Software Manual for the Elementary
Functions, 1980). Where a vector has one beyond it, pi's multiples are found in a function of their own, by Payne and
Hanek's multiplication with a window of the bits of 2/pi (Radian reduction for trigonometric functions, 1983).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from tracejit.ir.types import float32, float64, int64
from tracejit.llvm.math.registry import elementary
from tracejit.llvm.math.vectorparts import (
    Values,
    bits_of,
    change_sign,
    format_of,
    integer,
    number,
    polynomial,
    unless,
)  # fmt: skip
from tracejit.llvm.text.builder import Builder
from tracejit.llvm.text.types import Lanes

# fmt: off
# sin(r) = r + r^3 P(r^2) for |r| <= pi/2, and in QUARTER for |r| <= pi/4; there cos(r) = 1 - r^2/2 + r^4 P(r^2) and
# tan(r) = r + r^3 P(r^2). atan(z) = z + z^3 P(z^2) for z <= 1.
SIN_SINGLE = (-0.166666597, 0.00833306275, -0.000198093592, 2.60520915e-06)
SIN_DOUBLE = (-0.16666666666666666, 0.008333333333333212, -0.0001984126984121535, 2.7557319212143305e-06,
              -2.5052106961261712e-08, 1.6058943986222474e-10, -7.643098939043112e-13, 2.722268346463674e-15)
SIN_QUARTER = (-0.16666666666666657, 0.008333333333330747, -0.0001984126983857271, 2.7557317928207748e-06,
               -2.505179287625657e-08, 1.6021092067206866e-10, -5.836607833686594e-13)
COS_QUARTER = (0.0416666666666666, -0.001388888888887412, 2.4801587289479633e-05, -2.7557314351554093e-07,
               2.087572316203185e-09, -1.1359641785178859e-11)
TAN_SINGLE = (0.333333522, 0.133326247, 0.0540643707, 0.0212585013, 0.0108989188, 7.46914066e-06, 0.00441773236)
ATAN_SINGLE = (-0.333332986, 0.199985489, -0.142642438, 0.10952194, -0.0840347335, 0.0579579584, -0.0311781894, 0.0109147811,
               -0.00179365929)
ATAN_DOUBLE = (-0.3333333333333186, 0.1999999999975532, -0.14285714271350397, 0.11111110679163175, -0.09090901241966144,
               0.07692212998830907, -0.06665860856153698, 0.05877310344368444, -0.052392429751380046, 0.04673978834066417,
               -0.04092703662200137, 0.03406893561224328, -0.02582827792234821, 0.01697951727070422, -0.009185664164786745,
               0.0038565699718602913, -0.0011642902892398416, 0.00022307135907929918, -2.026360050419045e-05)
# fmt: on
HALF_PI = ((1.5707963705062866, -4.3711390001862426e-08), (1.5707963267948966, 6.123233995736766e-17))  # in two parts


class Reduction(NamedTuple):
    """Pi in parts, the first of which times an integer (or half of one) is subtracted exactly from what is up to `limit`."""

    parts: tuple[float, ...]
    limit: float


REDUCE_DOUBLE = Reduction((3.1415926534682512, 1.2154201012607932e-10, 4.044532497591901e-21), 1e6)  # 33 bits
REDUCE_SINGLE = Reduction((3.14159274, -8.74227766e-08, -3.43024902e-15), 1e5)
REDUCE_SINGLE_WITHOUT_FMA = Reduction((3.140625, 0.000967502594, 1.50990672e-07, 5.12668814e-12), 1e4)  # 11 bits

# The first 1158 bits of 2/pi, behind the point.
TWO_OVER_PI = int(
    "28be60db9391054a7f09d5f47d4d377036d8a5664f10e4107f9458eaf7aef1586dc91b8e909374b801924bba827464873f87"
    "7ac72c4a69cfba208d7d4baed1213a671c09ad17df904e64758e60d4ce7d272117e2ef7e4a0ec7fe25fff7816603fbcbc462"
    "d6829b47db4d9fb3c9f2c26dd3d18fd9a797fa8b5d49eeb1faf97c5ecf41ce7de294a4ba9afed7ec47e3574215",
    16,
)

# x = m 2^e, where m is an integer. Of the bits of 2/pi those that make multiples of 4 are left out: the window begins where
# a bit times 2^e is worth 2, less up to 7 bits, which m is shifted by. So the product's 192 bits are x 2/pi modulo 4. Doubled
# where the unit is pi/2, they have in front whether the number of units is odd; a half is added to round it. What is left,
# normalised, times pi (2^62 times as large) has 62 bits or more, of which the first 53 are r.
_REDUCE = rf"""define internal {{ double, double, i64 }} @tracejit.reduced(double %x, i192 %doubled, i192 %turn) #0 {{
  %bits = bitcast double %x to i64
  %biased = lshr i64 %bits, 52
  %fraction = and i64 %bits, 4503599627370495
  %integer = or i64 %fraction, 4503599627370496
  %exponent = sub i64 %biased, 1075
  %small = icmp slt i64 %exponent, -40
  %e = select i1 %small, i64 -40, i64 %exponent
  %bytes = ashr i64 %e, 3
  %rest = and i64 %e, 7
  %shifted = shl i64 %integer, %rest
  %m = zext i64 %shifted to i192
  %place = sub i64 121, %bytes
  %start = getelementptr i8, ptr @tracejit.two_over_pi, i64 %place
  %window = load i192, ptr %start, align 1
  %quarters = mul i192 %window, %m
  %units = shl i192 %quarters, %doubled
  %turned = add i192 %units, %turn
  %rounded = add i192 %turned, {1 << 190}
  %front = lshr i192 %rounded, 191
  %odd = trunc i192 %front to i64
  %signed = shl i192 %turned, 1
  %minus = ashr i192 %signed, 191
  %flipped = xor i192 %signed, %minus
  %left = sub i192 %flipped, %minus
  %zeros = call i192 @llvm.ctlz.i192(i192 %left, i1 false)
  %normal = shl i192 %left, %zeros
  %top = lshr i192 %normal, 128
  %wide = mul i192 %top, 14488038916154245685
  %high = lshr i192 %wide, 64
  %digits = trunc i192 %high to i64
  %first = and i64 %digits, -2048
  %last = and i64 %digits, 2047
  %a = uitofp i64 %first to double
  %b = uitofp i64 %last to double
  %lower = add i192 %zeros, %doubled
  %lower64 = trunc i192 %lower to i64
  %power = sub i64 961, %lower64
  %placed = shl i64 %power, 52
  %sign = trunc i192 %minus to i64
  %signbit = shl i64 %sign, 63
  %scalebits = or i64 %placed, %signbit
  %scale = bitcast i64 %scalebits to double
  %infinite = icmp eq i64 %biased, 2047
  %factor = select i1 %infinite, double 0x7FF8000000000000, double %scale
  %r = fmul double %a, %factor
  %lost = fmul double %b, %factor
  %one = insertvalue {{ double, double, i64 }} undef, double %r, 0
  %two = insertvalue {{ double, double, i64 }} %one, double %lost, 1
  %three = insertvalue {{ double, double, i64 }} %two, i64 %odd, 2
  ret {{ double, double, i64 }} %three
}}"""


def _bits_of_two_over_pi() -> str:
    text = "".join(f"\\{byte:02X}" for byte in TWO_OVER_PI.to_bytes(151, "little"))
    return f'@tracejit.two_over_pi = internal constant [151 x i8] c"{text}"'


def _reduce_large(b: Builder, x: Lanes, unit: int, half: bool) -> Values:
    """What `_reduce` gives for finite x from 8192 on, a lane after the other; NaN for infinities."""
    b.declarations |= {_REDUCE, _bits_of_two_over_pi(), "declare i192 @llvm.ctlz.i192(i192, i1)"}
    kind = "{ double, double, i64 }"
    turn = 1 << 190 if half else 0

    def lane(position: Lanes, carried: Values) -> Values:
        one = x if x.lanes == 1 else b.emit(x.dtype, 1, f"extractelement {x}, i64 {position.ref}")
        wide = b.cast(one, float64)
        reduced = b.emit(int64, 1, f"call {kind} @tracejit.reduced({wide}, i192 {unit - 1}, i192 {turn})").ref
        r, lost = (b.emit(float64, 1, f"extractvalue {kind} {reduced}, {place}") for place in (0, 1))
        odd = b.emit(int64, 1, f"extractvalue {kind} {reduced}, 2")
        if x.dtype is float32:
            r = b.add(r, lost)
        found = [b.cast(odd, carried[0].dtype), b.cast(r, x.dtype), b.cast(lost, x.dtype)]
        if x.lanes == 1:
            return found
        return [
            b.emit(all.dtype, all.lanes, f"insertelement {all}, {each}, i64 {position.ref}")
            for all, each in zip(carried, found, strict=True)
        ]

    empty = [Lanes("poison", dtype, x.lanes) for dtype in (format_of(x).integer, x.dtype, x.dtype)]
    return b.loop(x.lanes, lane, empty)


def _reduce(b: Builder, x: Lanes, unit: int = 1, half: bool = False) -> Values:
    """[bits, r, lost] where x >= 0 is (n - half / 2) pi / unit + r + lost, |r| <= pi / unit / 2, and the last of `bits` says
    whether n is odd. `lost` is less than r's last digit, and of no use for float32."""
    form = format_of(x)
    magic, shift = number(b, form.magic, x), number(b, 0.5, x)
    if half:
        shifted = b.add(b.fma(x, number(b, unit / math.pi, x), shift), magic)
        n = b.sub(b.sub(shifted, magic), shift)
    else:
        shifted = b.fma(x, number(b, unit / math.pi, x), magic)
        n = b.sub(shifted, magic)
    if x.dtype is float32:
        parts, limit = REDUCE_SINGLE if b.fma_in_hardware else REDUCE_SINGLE_WITHOUT_FMA
        r, lost = x, number(b, 0, x)
        for part in parts:
            r = b.fma(n, number(b, -part / unit, x), r)
    else:
        parts, limit = REDUCE_DOUBLE
        # Each subtraction leaves behind what its rounding lost.
        first = b.fma(n, number(b, -parts[0] / unit, x), x)
        middle = b.mul(n, number(b, parts[1] / unit, x))
        second = b.sub(first, middle)
        lost = b.fma(n, number(b, -parts[2] / unit, x), b.sub(b.sub(first, second), middle))
        r = b.add(second, lost)
        lost = b.add(b.sub(second, r), lost)
    values = [b.bitcast(shifted, form.integer), r, lost]
    large = b.compare("gt", x, number(b, limit, x))

    def mixed(b: Builder, x: Lanes, large: Lanes, *values: Lanes) -> Values:
        return [b.select(large, *pair) for pair in zip(_reduce_large(b, x, unit, half), values, strict=True)]

    return unless(b, large, values, lambda: b.out_of_line(f"reduced.{unit}.{int(half)}", mixed, x, large, *values))


def _odd(b: Builder, bits: Lanes) -> Lanes:
    """`bits` with the last as the first."""
    return b.shift_left(bits, 8 * bits.dtype.size - 1)


def _sine(b: Builder, x: Lanes, half: bool) -> Lanes:
    """sin(x + half pi / 2) for x >= 0: (-1)^n sin(r)."""
    bits, r, lost = _reduce(b, x, half=half)
    square = b.mul(r, r)
    if x.dtype is float32:
        result = b.fma(b.mul(square, r), polynomial(b, square, SIN_SINGLE), r)
    else:
        # The sine changes by what is lost times the cosine.
        lost = b.mul(lost, b.fma(square, number(b, -0.5, x), number(b, 1, x)))
        result = b.add(r, b.fma(b.mul(square, r), polynomial(b, square, SIN_DOUBLE), lost))
    return change_sign(b, result, _odd(b, bits))


@elementary("sin", ulp=(2.1, 2.5))
def sin(b: Builder, x: Lanes) -> Lanes:
    """sin(|x|) with x's sign."""
    return change_sign(b, _sine(b, b.abs(x), False), bits_of(b, x))


@elementary("cos", ulp=(2.1, 2.5))
def cos(b: Builder, x: Lanes) -> Lanes:
    """cos(|x|)."""
    return _sine(b, b.abs(x), True)


@elementary("tan", ulp=(2.8, 2.4))
def tan(b: Builder, x: Lanes) -> Lanes:
    """tan(r), or -1 / tan(r) where |x| = n pi/2 + r and n is odd, with x's sign."""
    bits, r, lost = _reduce(b, b.abs(x), 2)
    one, square = number(b, 1, x), b.mul(r, r)
    if x.dtype is float32:
        sine, cosine = b.fma(b.mul(square, r), polynomial(b, square, TAN_SINGLE), r), one
    else:
        lost_sine = b.mul(lost, b.fma(square, number(b, -0.5, x), one))
        sine = b.add(r, b.fma(b.mul(square, r), polynomial(b, square, SIN_QUARTER), lost_sine))
        half = b.mul(square, number(b, 0.5, x))
        cosine = b.sub(one, half)
        tail = b.fma(b.mul(square, square), polynomial(b, square, COS_QUARTER), b.neg(b.mul(r, lost)))
        cosine = b.add(cosine, b.add(b.sub(b.sub(one, cosine), half), tail))
    last = integer(b, 1, bits)
    odd = b.compare("eq", b.and_(bits, last), last)
    ratio = b.div(b.select(odd, b.neg(cosine), sine), b.select(odd, sine, cosine))
    return change_sign(b, ratio, bits_of(b, x))


def _atan_ratio(b: Builder, y: Lanes, x: Lanes) -> Lanes:
    """atan(y / x) for y, x >= 0: of z = y / x, or pi/2 less that of z = x / y where y is the larger."""
    steep = b.compare("gt", y, x)
    z = b.div(b.select(steep, x, y), b.select(steep, y, x))
    square = b.mul(z, z)
    tail = b.mul(b.mul(square, z), polynomial(b, square, ATAN_SINGLE if x.dtype is float32 else ATAN_DOUBLE))
    high, low = (number(b, part, x) for part in HALF_PI[x.dtype is float64])
    return b.select(steep, b.sub(high, b.add(b.sub(z, low), tail)), b.add(z, tail))


def _in_left_half(b: Builder, angle: Lanes, x: Lanes) -> Lanes:
    """`angle`, or pi less it where x has a minus."""
    high, low = (number(b, 2 * part, x) for part in HALF_PI[x.dtype is float64])
    left = b.compare("lt", bits_of(b, x), integer(b, 0, x))
    return b.select(left, b.sub(high, b.sub(angle, low)), angle)


@elementary("atan", ulp=(1.6, 2.0))
def atan(b: Builder, x: Lanes) -> Lanes:
    """atan(|x|) with x's sign."""
    return b.copysign(_atan_ratio(b, b.abs(x), number(b, 1, x)), x)


@elementary("atan2", ulp=(1.7, 2.0))
def atan2(b: Builder, y: Lanes, x: Lanes) -> Lanes:
    """The angle of the point (x, y), which 0 and infinity have as well."""
    y, x = b.match(y, x)
    up, right, one = b.abs(y), b.abs(x), number(b, 1, x)
    equal = b.compare("eq", up, right)  # so that neither 0 / 0 nor inf / inf is computed
    up = b.select(b.and_(equal, b.compare("gt", up, number(b, 0, x))), one, up)
    return b.copysign(_in_left_half(b, _atan_ratio(b, up, b.select(equal, one, right)), x), y)


def _other_leg(b: Builder, x: Lanes) -> Lanes:
    """sqrt(1 - x^2)."""
    one = number(b, 1, x)
    return b.sqrt(b.mul(b.sub(one, x), b.add(one, x)))


@elementary("asin", ulp=(2.6, 2.6))
def asin(b: Builder, x: Lanes) -> Lanes:
    """The angle of the point (sqrt(1 - x^2), x)."""
    return b.copysign(_atan_ratio(b, b.abs(x), _other_leg(b, x)), x)


@elementary("acos", ulp=(2.3, 2.5))
def acos(b: Builder, x: Lanes) -> Lanes:
    """The angle of the point (x, sqrt(1 - x^2))."""
    return _in_left_half(b, _atan_ratio(b, _other_leg(b, x), b.abs(x)), x)
