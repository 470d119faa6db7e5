"""What the functions of tracejit.llvm.math.vectormath are written with: formats, polynomials, ways out for rare operands."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tracejit.ir.types import DType, float32, int32, int64
from tracejit.llvm.text.builder import Builder, concat, shuffled
from tracejit.llvm.text.types import SCALAR_TYPES, Lanes, vector_type


class Format(NamedTuple):
    """How a float dtype's bits lie."""

    integer: DType
    mantissa: int  # bits
    bias: int

    @property
    def magic(self) -> float:
        """Its last bit is worth 1: a small number added to it is rounded to an integer, which the low bits hold."""
        return 1.5 * 2.0**self.mantissa

    @property
    def least(self) -> float:
        """The least number that is not subnormal."""
        return math.ldexp(1, 1 - self.bias)


SINGLE, DOUBLE = Format(int32, 23, 127), Format(int64, 52, 1023)


def format_of(x: Lanes) -> Format:
    """The format of x's dtype."""
    return SINGLE if x.dtype is float32 else DOUBLE


def number(b: Builder, value: float, like: Lanes) -> Lanes:
    """`value` in all lanes, in the dtype of `like`."""
    return b.const(value, like.dtype, like.lanes)


def bits_of(b: Builder, x: Lanes) -> Lanes:
    """The bits of a float as an integer."""
    return b.bitcast(x, format_of(x).integer)


def integer(b: Builder, value: int, like: Lanes) -> Lanes:
    """`value` in all lanes, as an integer of the size of `like`."""
    return b.const(value, format_of(like).integer if like.dtype.is_floating else like.dtype, like.lanes)


def polynomial(b: Builder, x: Lanes, coefficients: Sequence[float], square: Lanes | None = None) -> Lanes:
    """The polynomial at x, coefficients lowest first. By Estrin's scheme, neighbours joined until few are left: Horner's takes
    an operation less a level, but each waits for the one before. `square` is x^2 where that is there already."""
    terms = [number(b, coefficient, x) for coefficient in coefficients]
    while len(terms) > 4:
        pairs = [b.fma(high, x, low) for low, high in zip(terms[::2], terms[1::2], strict=False)]
        terms = pairs + terms[2 * len(pairs) :]
        x, square = square or b.mul(x, x), None
    result = terms.pop()
    while terms:
        result = b.fma(result, x, terms.pop())
    return result


def at_most(b: Builder, x: Lanes, limit: float) -> Lanes:
    """min(x, limit), in one instruction; NaN stays NaN."""
    bound = number(b, limit, x)
    return b.select(b.compare("gt", x, bound), bound, x)


def at_least(b: Builder, x: Lanes, limit: float) -> Lanes:
    """max(x, limit), in one instruction; NaN stays NaN."""
    bound = number(b, limit, x)
    return b.select(b.compare("lt", x, bound), bound, x)


def change_sign(b: Builder, x: Lanes, bits: Lanes) -> Lanes:
    """x, or -x where the first of the integer's `bits` is 1."""
    sign = b.and_(bits, integer(b, -(1 << 8 * x.dtype.size - 1), x))
    return b.bitcast(b.xor(bits_of(b, x), sign), x.dtype)


def product(b: Builder, x: Lanes, y: Lanes) -> tuple[Lanes, Lanes]:
    """x * y rounded, and what its rounding lost. Without fused multiply-add by Veltkamp's and Dekker's halves, for factors
    that are far from overflow."""
    result = b.mul(x, y)
    if b.fma_in_hardware:
        return result, b.fma(x, y, b.neg(result))

    def halves(z: Lanes) -> tuple[Lanes, Lanes]:
        far = b.mul(z, number(b, 2.0 ** (format_of(z).mantissa // 2 + 1) + 1, z))
        high = b.sub(far, b.sub(far, z))
        return high, b.sub(z, high)

    (a, c), (d, e) = halves(x), halves(y)
    return result, b.add(b.add(b.add(b.sub(b.mul(a, d), result), b.mul(a, e)), b.mul(c, d)), b.mul(c, e))


def total(b: Builder, x: Lanes, y: Lanes) -> tuple[Lanes, Lanes]:
    """x + y rounded, and what its rounding lost, where x is 0 or the larger in magnitude."""
    result = b.add(x, y)
    return result, b.add(b.sub(x, result), y)


def has_scalef(b: Builder, x: Lanes) -> bool:
    """Whether `times_power_of_two` is an instruction: AVX-512's, of whole registers."""
    return b.width == 64 and x.lanes * x.dtype.size % 64 == 0


def times_power_of_two(b: Builder, x: Lanes, n: Lanes) -> Lanes:
    """x * 2^n for whole numbers n, rounded once, also where 2^n itself is infinite or subnormal."""
    lanes = 64 // x.dtype.size
    kind, mask, suffix = vector_type(SCALAR_TYPES[x.dtype], lanes), f"i{lanes}", "ps" if x.dtype is float32 else "pd"
    function = f"@llvm.x86.avx512.mask.scalef.{suffix}.512"
    b.declarations.add(f"declare {kind} {function}({kind}, {kind}, {kind}, {mask}, i32 immarg)")
    parts = []
    for start in range(0, x.lanes, lanes):
        part, power = (shuffled(b, value, range(start, start + lanes)) for value in (x, n))
        text = f"call {kind} {function}({part}, {power}, {kind} zeroinitializer, {mask} -1, i32 4)"
        parts.append(b.emit(x.dtype, lanes, text))
    return concat(b, parts)


Values = list[Lanes]


def unless(b: Builder, rare: Lanes, values: Values, instead: Callable[[], Values]) -> Values:
    """`values`, or those that `instead` writes where `rare` holds in any lane, which is seldom."""
    rare = b.any_lane(rare)
    label, before = b.fresh("rare"), b.block
    b.line(f'br {rare}, label %{label}, label %{label}.end, !prof !{{!"branch_weights", i32 1, i32 1000000}}')
    b.start_block(label)
    other = instead()
    after = b.block
    b.line(f"br label %{label}.end")
    b.start_block(f"{label}.end")
    return [
        b.emit(x.dtype, x.lanes, f"phi {x.type} [ {x.ref}, %{before} ], [ {y.ref}, %{after} ]")
        for x, y in zip(values, other, strict=True)
    ]
