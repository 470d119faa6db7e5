"""Logic of bools, and of the bits of integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.ir import dispatch
from tracejit.ir.graph import Node
from tracejit.ops.elementwise import BOOL, INTS, Binary, Unary


def truths(name: str, operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """`operands` as tensors; what is none becomes bools, an array as `array != 0` does."""
    return tuple(operand if type(operand) is Node else _truth(name, operand) for operand in operands)


def _truth(name: str, operand: Any) -> Any:
    beside = () if isinstance(operand, dispatch.operand_type) else (np.False_,)
    return dispatch.lift(name, (*beside, operand))[-1]


class LogicalUnary(Unary):
    """A public function of bools."""

    __slots__ = ()

    def __call__(self, x: Any, name: str | None = None) -> Any:
        """The op on every element of `x`. DtypeError where it is no tensor of bools and does not become one."""
        return super().__call__(x if type(x) is dispatch.tensor_type else truths(self.name, (x,))[0])


class LogicalBinary(Binary):
    """A public function of two tensors of bools."""

    __slots__ = ()

    def __call__(self, x: Any, y: Any, name: str | None = None) -> Any:
        """The op on the elements of `x` and `y`, broadcast. DtypeError where one is no tensor of bools and does not become
        one."""
        if type(x) is not dispatch.tensor_type or type(y) is not dispatch.tensor_type:
            x, y = truths(self.name, (x, y))
        return super().__call__(x, y)


logical_not: Unary = LogicalUnary("logical_not", dtypes=BOOL, evaluate=np.logical_not, lower=lambda b, x: b.not_(x))
logical_and: Binary = LogicalBinary(
    "logical_and", arity=2, dtypes=BOOL, evaluate=np.logical_and, lower=lambda b, x, y: b.and_(x, y)
)
logical_or: Binary = LogicalBinary(
    "logical_or", arity=2, dtypes=BOOL, evaluate=np.logical_or, lower=lambda b, x, y: b.or_(x, y)
)
logical_xor: Binary = LogicalBinary(
    "logical_xor", arity=2, dtypes=BOOL, evaluate=np.logical_xor, lower=lambda b, x, y: b.xor(x, y)
)

invert: Unary = Unary("invert", dtypes=INTS, evaluate=np.invert, lower=lambda b, x: b.xor(x, b.const(-1, x.dtype)), vjp=(None,))
bitwise_and: Binary = Binary("bitwise_and", arity=2, dtypes=INTS, evaluate=np.bitwise_and, lower=lambda b, x, y: b.and_(x, y))
bitwise_or: Binary = Binary("bitwise_or", arity=2, dtypes=INTS, evaluate=np.bitwise_or, lower=lambda b, x, y: b.or_(x, y))
bitwise_xor: Binary = Binary("bitwise_xor", arity=2, dtypes=INTS, evaluate=np.bitwise_xor, lower=lambda b, x, y: b.xor(x, y))
