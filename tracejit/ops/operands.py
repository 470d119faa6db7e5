"""What becomes of operands before an op is applied to them: constants, one dtype, one shape."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from tracejit.ir import dispatch
from tracejit.ir.errors import DtypeError, InvalidArgumentError, fail
from tracejit.ir.graph import Node, make
from tracejit.ir.op import registered as ops
from tracejit.ir.types import broadcast_shapes


def frozen(array: Any) -> np.ndarray:
    """A copy of `array` that cannot be written to, as attributes are."""
    copy = np.array(array)
    copy.flags.writeable = False
    return copy


def constant(value: Any) -> Node:
    """A node holding `value`, an array of a dtype that tracejit has."""
    return make(ops.constant, value=frozen(value))


def lift(name: str, operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """`operands` as nodes where one of them is a node, else as tensors; Python numbers take the dtype of the others."""
    for node in operands:
        if type(node) is Node:
            return tuple(
                operand if type(operand) is Node else constant(np.asarray(operand, node.dtype.numpy)) for operand in operands
            )
    return dispatch.lift(name, operands)


def align(name: str, operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """Broadcast `operands` to their common shape. DtypeError where dtypes differ, InvalidArgumentError where shapes do."""
    first = operands[0].type
    for operand in operands[1:]:
        if operand.type.dtype is not first.dtype:
            message = f"operands must have one dtype, but these are {first.dtype.name} and {operand.type.dtype.name}"
            fail(DtypeError, name, operands, message + "; convert one with cast")
    shape = common_shape(name, operands)
    return tuple([broadcast_to(operand, shape) for operand in operands])


_broadcast_shapes = functools.lru_cache(4096)(broadcast_shapes)


def common_shape(name: str, operands: tuple[Any, ...]) -> tuple[int, ...]:
    """The broadcast shape of `operands`; InvalidArgumentError where there is none."""
    shape = _broadcast_shapes(*[operand.type.shape for operand in operands])
    if shape is None:
        shapes = " and ".join(str(list(operand.type.shape)) for operand in operands)
        fail(InvalidArgumentError, name, operands, f"the shapes {shapes} do not broadcast")
    return shape


def broadcast_to(x: Any, shape: tuple[int, ...]) -> Any:
    """`x` broadcast to `shape`, to which it is known to fit; `x` itself where it has that shape."""
    if x.type.shape == shape:
        return x
    rank = len(x.type.shape)
    attrs: dict[str, Any] = {"shape": shape, "axes": tuple(range(len(shape) - rank, len(shape))) if rank else ()}
    return make(ops.broadcast, x, **attrs) if type(x) is Node else dispatch.apply(ops.broadcast, (x,), attrs)


def filled(x: Any, shape: tuple[int, ...], value: float) -> Any:
    """A value of this shape and of x's dtype, every element `value`."""
    # As an array, of which each lift makes a tensor of its own.
    _, number = lift("fill", (x, np.array(value, x.type.dtype.numpy)))
    return broadcast_to(number, shape)


def filled_like(x: Any, value: float) -> Any:
    """A value of x's shape and dtype, every element `value`."""
    return filled(x, x.type.shape, value)


def zeros_like(x: Any) -> Any:
    """Zeros of x's shape and dtype."""
    return filled_like(x, 0)


def ones_like(x: Any) -> Any:
    """Ones of x's shape and dtype."""
    return filled_like(x, 1)
