"""What the functions of tracejit.llvm.math.vectormath are written with: formats, polynomials, ways out for rare operands."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tracejit.ir.types import DType, bool_, float32, int32, int64
from tracejit.locks import importing

if TYPE_CHECKING:
    from tracejit.llvm.text.builder import Builder, Lanes


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


Values = list["Lanes"]


def out_of_line(b: Builder, name: str, write: Callable[..., Values], *operands: Lanes) -> Values:
    """The values that `write(builder, *operands)` gives, computed in a function that the module has once."""
    with importing:
        from tracejit.llvm.text.builder import Builder, Lanes

    symbol = f"@tracejit.{name}.{operands[0].dtype.name}x{operands[0].lanes}"
    inner = Builder(symbol, [], width=b.width, fma=b.fma_in_hardware)
    given = [Lanes(f"%x{place}", x.dtype, x.lanes) for place, x in enumerate(operands)]
    values = write(inner, *given)
    kind = "{ " + ", ".join(value.type for value in values) + " }"
    packed = "undef"
    for place, value in enumerate(values):
        inner.line(f"%packed{place} = insertvalue {kind} {packed}, {value}, {place}")
        packed = f"%packed{place}"
    head = f"define internal {kind} {symbol}({', '.join(map(str, given))}) #0 {{\nstart:"
    b.declarations |= {"\n".join([head, *inner.lines, f"  ret {kind} {packed}", "}"]), *inner.declarations}
    result = "%" + b.fresh()
    b.line(f"{result} = call {kind} {symbol}({', '.join(map(str, operands))})")
    return [b.emit(value.dtype, value.lanes, f"extractvalue {kind} {result}, {place}") for place, value in enumerate(values)]


def unless(b: Builder, rare: Lanes, values: Values, instead: Callable[[], Values]) -> Values:
    """`values`, or those that `instead` writes where `rare` holds in any lane, which is seldom."""
    if rare.lanes > 1:
        function = f"@llvm.vector.reduce.or.v{rare.lanes}i1"
        b.declarations.add(f"declare i1 {function}({rare.type})")
        rare = b.emit(bool_, 1, f"call i1 {function}({rare})")
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
