"""The builder of numbers: half dtypes as lanes of float32, the elementary functions, division as Python's."""

from __future__ import annotations

from tracejit.ir.types import DType, float32
from tracejit.llvm.math import division, halves
from tracejit.llvm.text.memory import MemoryBuilder
from tracejit.llvm.text.types import Lanes
from tracejit.locks import importing


class MathBuilder(MemoryBuilder):
    """A builder for lanes of every dtype, with the functions of tracejit.llvm.math.vectormath."""

    def elementary(self, name: str, *operands: Lanes) -> Lanes:
        """The elementary function `name`: exp, log, tanh..."""
        with importing:  # 2 ms that a program without them does not pay
            from tracejit.llvm.math.vectormath import FUNCTIONS

        return FUNCTIONS[name](self, *operands)

    def floordiv(self, x: Lanes, y: Lanes) -> Lanes:
        return division.floordiv(self, x, y)

    def mod(self, x: Lanes, y: Lanes) -> Lanes:
        return division.mod(self, x, y)

    # -- half dtypes: what is computed from their lanes is rounded to one at once

    def rounded(self, x: Lanes, dtype: DType) -> Lanes:
        """The float32 `x`, rounded to a half dtype."""
        return halves.rounded(self, x, dtype)

    def binary(self, float_op: str | None, int_op: str, x: Lanes, y: Lanes) -> Lanes:
        if not x.dtype.is_half:
            return super().binary(float_op, int_op, x, y)
        return self.rounded(super().binary(float_op, int_op, x._replace(dtype=float32), y._replace(dtype=float32)), x.dtype)

    def fma(self, x: Lanes, y: Lanes, z: Lanes) -> Lanes:
        return self.add(self.mul(x, y), z) if x.dtype.is_half else super().fma(x, y, z)

    def cast(self, x: Lanes, dtype: DType) -> Lanes:
        if x.dtype is dtype:
            return x
        if x.dtype.is_half:
            x = x._replace(dtype=float32)
        return self.rounded(super().cast(x, float32), dtype) if dtype.is_half else super().cast(x, dtype)

    def load_at(self, pointer: str, dtype: DType, lanes: int = 1, stride: int = 1, active: int | None = None) -> Lanes:
        if not dtype.is_half:
            return super().load_at(pointer, dtype, lanes, stride, active)
        return halves.from_bits(self, self.read(pointer, dtype, lanes, stride, active), dtype, lanes)

    def store_at(self, value: Lanes, pointer: str, stride: int = 1, active: int | None = None) -> None:
        if not value.dtype.is_half:
            super().store_at(value, pointer, stride, active)
            return
        self.write(halves.to_bits(self, value), pointer, value.dtype, value.lanes, stride, active)
