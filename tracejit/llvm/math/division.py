"""Division that is rounded towards minus infinity, as Python's is."""

from __future__ import annotations

from tracejit.llvm.text.builder import Builder
from tracejit.llvm.text.types import Lanes


def floordiv(b: Builder, x: Lanes, y: Lanes) -> Lanes:
    """The quotient, rounded down; of integers by 0 it is 0."""
    x, y = b.match(x, y)
    if not x.dtype.is_floating:
        return _divide_integers(b, x, y)[0]
    return b.floor(b.div(x, y))


def mod(b: Builder, x: Lanes, y: Lanes) -> Lanes:
    """The rest, which has the sign of y."""
    x, y = b.match(x, y)
    if not x.dtype.is_floating:
        return _divide_integers(b, x, y)[1]
    zero = b.const(0, x.dtype)
    rest = b.emit(x.dtype, x.lanes, f"frem {x}, {y.ref}")
    result = b.select(_wrong_sign(b, rest, y), b.add(rest, y), rest)
    return b.select(b.compare("eq", rest, zero), b.copysign(zero, y), result)


def _wrong_sign(b: Builder, rest: Lanes, y: Lanes) -> Lanes:
    zero = b.const(0, rest.dtype)
    differ = b.xor(b.compare("lt", rest, zero), b.compare("lt", y, zero))
    return b.and_(b.compare("ne", rest, zero), differ)


def _divide_integers(b: Builder, x: Lanes, y: Lanes) -> tuple[Lanes, Lanes]:
    # The processor traps on division by 0 and of the least integer by -1: neither reaches it.
    zero, one, minus = (b.const(value, x.dtype, x.lanes) for value in (0, 1, -1))
    is_zero, is_minus = b.compare("eq", y, zero), b.compare("eq", y, minus)
    safe = b.select(b.or_(is_zero, is_minus), one, y)
    quotient = b.div(x, safe)
    rest = b.sub(x, b.mul(quotient, safe))
    wrong = _wrong_sign(b, rest, safe)
    quotient = b.select(wrong, b.sub(quotient, one), quotient)
    rest = b.select(wrong, b.add(rest, safe), rest)
    quotient = b.select(is_minus, b.neg(x), b.select(is_zero, zero, quotient))
    return quotient, rest
