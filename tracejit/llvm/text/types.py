"""LLVM's types and literals, and the values of a function: lanes of one dtype."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tracejit.ir.types import DType, bfloat16, bool_, float16, float32, float64, int32, int64

# A lane of a half dtype is a float that the dtype can represent: what is computed from such lanes is rounded to one at once.
SCALAR_TYPES = {
    float32: "float", float64: "double", int32: "i32", int64: "i64", bool_: "i1", float16: "float", bfloat16: "float",
}  # fmt: skip
# How an element lies in memory: a bool takes a byte, a half dtype is moved as its bits.
MEMORY_TYPES = {**SCALAR_TYPES, bool_: "i8", float16: "i16", bfloat16: "i16"}

_SUFFIXES = {"float": "f32", "double": "f64"}


class Lanes(NamedTuple):
    """A value: its name or literal in the text, its dtype, its number of lanes."""

    ref: str
    dtype: DType
    lanes: int = 1

    @property
    def type(self) -> str:
        return vector_type(SCALAR_TYPES[self.dtype], self.lanes)

    def __str__(self) -> str:
        return f"{self.type} {self.ref}"


def vector_type(scalar: str, lanes: int) -> str:
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


def literal(value: Any, dtype: DType) -> str:
    """`value` as LLVM writes a constant of `dtype`: floats as the bits of a double."""
    if dtype.is_bool:
        return "true" if value else "false"
    if dtype.is_integer:
        return str(int(value))
    value = float(value)
    if dtype.is_half:
        with np.errstate(over="ignore"):
            value = float(np.array(value, np.float32).astype(dtype.numpy))
    if dtype is float32 and math.isfinite(value):
        try:
            value = struct.unpack("f", struct.pack("f", value))[0]
        except OverflowError:
            value = math.copysign(math.inf, value)
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def intrinsic_name(name: str, element: str, lanes: int = 1) -> str:
    """How `llvm.name` is spelled that is overloaded on so many lanes of an LLVM type."""
    return f"@llvm.{name}.{f'v{lanes}' if lanes > 1 else ''}{_SUFFIXES.get(element, element)}"


def mask_text(on: Sequence[bool]) -> str:
    """A constant mask."""
    return "<" + ", ".join(f"i1 {'true' if lane else 'false'}" for lane in on) + ">"
