"""float16 and bfloat16 in registers: a lane is a float that the dtype can represent.

The processor converts float16 where it has instructions for it. All else is done on the bits: LLVM would call functions that
need not be there, and would round bfloat16 by an instruction that takes the smallest numbers for zero.
"""

from __future__ import annotations

import math

from tracejit.ir.types import DType, bfloat16, float16, float32, int32
from tracejit.llvm.text.builder import Builder
from tracejit.llvm.text.types import Lanes, vector_type


def in_hardware(b: Builder, dtype: DType) -> bool:
    """Whether the processor converts the dtype."""
    return dtype is float16 and b.converts_float16


def rounded(b: Builder, x: Lanes, dtype: DType) -> Lanes:
    """The float32 `x`, rounded to a half dtype."""
    if in_hardware(b, dtype):
        return from_bits(b, to_bits(b, x._replace(dtype=dtype)), dtype, x.lanes)
    # The bits that are kept, and one more in the last place where those that are not are more than half of one; from the middle
    # to the even neighbour.
    lost = 13 if dtype is float16 else 16
    whole = b.bitcast(x, int32)
    odd = b.and_(b.shift_right(whole, lost), b.const(1, int32))
    raised = b.add(b.add(whole, b.const((1 << lost - 1) - 1, int32)), odd)
    result = b.bitcast(b.and_(raised, b.const(-1 << lost, int32)), float32)
    if dtype is float16:
        size = b.abs(x)
        # Below the normal numbers float16 has the steps that float32 has from 0.5 on.
        half = b.const(0.5, float32)
        small = b.copysign(b.sub(b.add(size, half), half), x)
        result = b.select(b.compare("lt", size, b.const(2.0**-14, float32)), small, result)
        large = b.copysign(b.const(math.inf, float32, x.lanes), x)
        result = b.select(b.compare("ge", size, b.const(65520.0, float32)), large, result)
    quiet = b.copysign(b.const(math.nan, float32, x.lanes), x)
    return b.select(b.is_nan(x), quiet, result)._replace(dtype=dtype)


def to_bits(b: Builder, x: Lanes) -> str:
    """The name of the lanes of a half dtype as they lie in memory."""
    bits = vector_type("i16", x.lanes)
    if in_hardware(b, x.dtype):
        kind = vector_type("half", x.lanes)
        return b.emit(
            x.dtype, x.lanes, f"bitcast {kind} {b.emit(x.dtype, x.lanes, f'fptrunc {x} to {kind}').ref} to {bits}"
        ).ref
    number = x._replace(dtype=float32)
    high = b.shift_right(b.bitcast(number, int32), 16)
    if x.dtype is float16:
        # Where float32 has the exponents of float16, its leading bits are those of the float16.
        scaled = b.bitcast(b.mul(b.abs(number), b.const(2.0**-112, float32)), int32)
        special = b.select(b.is_nan(number), b.const(0x7E00, int32), b.const(0x7C00, int32))
        finite = b.compare("lt", scaled, b.const(0x7F800000, int32))
        size = b.select(finite, b.shift_right(scaled, 13), special)
        high = b.or_(size, b.and_(high, b.const(0x8000, int32)))
    return b.emit(x.dtype, x.lanes, f"trunc {high} to {bits}").ref


def from_bits(b: Builder, name: str, dtype: DType, lanes: int) -> Lanes:
    """The lanes of a half dtype that lie in memory as `name` holds them."""
    kind, target = vector_type("i16", lanes), vector_type("float", lanes)
    if in_hardware(b, dtype):
        half = vector_type("half", lanes)
        return b.emit(dtype, lanes, f"fpext {half} {b.emit(dtype, lanes, f'bitcast {kind} {name} to {half}').ref} to {target}")
    bits = b.emit(int32, lanes, f"zext {kind} {name} to {vector_type('i32', lanes)}")
    if dtype is bfloat16:
        return b.bitcast(b.shift_left(bits, 16), float32)._replace(dtype=dtype)
    size = b.shift_left(b.and_(bits, b.const(0x7FFF, int32)), 13)
    scaled = b.bitcast(b.mul(b.bitcast(size, float32), b.const(2.0**112, float32)), int32)
    special = b.or_(size, b.const(0x7F800000, int32))
    size = b.select(b.compare("lt", size, b.const(0x7C00 << 13, int32)), scaled, special)
    sign = b.shift_left(b.and_(bits, b.const(0x8000, int32)), 16)
    return b.bitcast(b.or_(size, sign), float32)._replace(dtype=dtype)
