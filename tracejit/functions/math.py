"""Arithmetic and reductions under TensorFlow's names, composed of ops. No rule of their own: gradients are
inherited."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit import ops
from tracejit.ir.errors import DtypeError, InvalidArgumentError, fail
from tracejit.ir.op import Op
from tracejit.ir.types import as_dtype, broadcast_shapes, float32, float64, int32, int64
from tracejit.ops.powers import PRODUCTS, product


def tensor(name: str, x: Any) -> Any:
    """`x` as a tensor (or node)."""
    return ops.lift(name, (x,))[0]


def divide(x: Any, y: Any, name: str | None = None) -> Any:
    """x / y; integers are divided as float64. DtypeError where the dtypes differ."""
    x, y = ops.lift("div", (x, y))
    if x.type.dtype.is_integer and y.type.dtype is x.type.dtype:
        x, y = ops.cast(x, dtype=float64), ops.cast(y, dtype=float64)
    return ops.div(x, y)


def _divisor(function: str, y: Any) -> Any:
    message = "an integer is divided by zero"
    return ops.check_nonzero(y, function=function, message=message) if y.type.dtype.is_integer else y


def floordiv(x: Any, y: Any, name: str | None = None) -> Any:
    """The quotient rounded towards minus infinity. InvalidArgumentError for an integer divided by zero."""
    x, y = ops.lift("floordiv", (x, y))
    return ops.floordiv(x, _divisor("floordiv", y))


def floormod(x: Any, y: Any, name: str | None = None) -> Any:
    """x - floor(x / y) * y, with the sign of y. InvalidArgumentError for an integer and zero."""
    x, y = ops.lift("mod", (x, y))
    return ops.mod(x, _divisor("mod", y))


def pow(x: Any, y: Any, name: str | None = None) -> Any:
    """x ** y. A small whole Python number is multiplied out, so that its derivatives have no special points.
    InvalidArgumentError for an integer and a negative one."""
    if isinstance(y, (int, float)) and not isinstance(y, bool) and not isinstance(x, (int, float)):
        x = tensor("pow", x)
        whole = y in PRODUCTS and not (isinstance(y, float) and x.type.dtype.is_integer)
        if whole and y and x.type.dtype.is_half:
            return ops.identity(x) if y == 1 else product(x, y, ops.mul)
        if whole or (y == 0.5 and x.type.dtype.is_floating):
            return ops.power(x, exponent=int(y) if whole else y)
    x, y = ops.lift("pow", (x, y))
    if y.type.dtype.is_integer:
        y = ops.check_range(y, low=0, high=y.type.dtype.max + 1, what="exponent")
    return ops.pow(x, y)


def square(x: Any, name: str | None = None) -> Any:
    """x * x."""
    x = tensor("square", x)
    return ops.mul(x, x)


def squared_difference(x: Any, y: Any, name: str | None = None) -> Any:
    """(x - y) ** 2, broadcast."""
    return square(ops.sub(x, y))


def reciprocal(x: Any, name: str | None = None) -> Any:
    """1 / x."""
    return ops.reciprocal(x)


def cast(x: Any, dtype: Any, name: str | None = None) -> Any:
    """`x` in another dtype; floats are cut towards zero when they become integers."""
    x, wanted = tensor("cast", x), as_dtype(dtype)
    return x if x.type.dtype is wanted else ops.cast(x, dtype=wanted)


def add_n(inputs: Any, name: str | None = None) -> Any:
    """The sum of a list of tensors of one shape and dtype."""
    if not inputs:
        raise ValueError("add_n: inputs is empty")
    total = tensor("add_n", inputs[0])
    for each in inputs[1:]:
        total = ops.add(total, each)
    return total


def matmul(a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False, name: str | None = None) -> Any:
    """a: [..., n, k]; b: [..., k, m] -> [..., n, m]; batch axes are broadcast. InvalidArgumentError where the inner
    sizes differ or an operand has fewer than two axes, DtypeError where the dtypes differ. Of float16 and bfloat16 the sums are
    float32, and each is rounded once. Compiled, the error of a sum of k products is at most (1024 + sqrt(k)) eps/2 times the
    sum of their absolute values."""
    a, b = ops.lift("matmul", (a, b))
    rank_a, rank_b = len(a.type.shape), len(b.type.shape)
    if rank_a > rank_b == 2 and not transpose_a:
        # One product of all rows: the gradient of b then sums over the batch, and needs no product for each of it.
        *batch, depth = a.type.shape
        product = ops.matmul(
            ops.reshape(a, shape=(math.prod(batch), depth)), b, transpose_a=False, transpose_b=bool(transpose_b)
        )
        return ops.reshape(product, shape=(*batch, product.type.shape[-1]))
    if rank_a >= 2 and rank_b >= 2 and a.type.shape[:-2] != b.type.shape[:-2]:
        batch = _common_batch(a, b)
        a = ops.broadcast_to(a, batch + a.type.shape[-2:])
        b = ops.broadcast_to(b, batch + b.type.shape[-2:])
    return ops.matmul(a, b, transpose_a=bool(transpose_a), transpose_b=bool(transpose_b))


def _common_batch(a: Any, b: Any) -> tuple[int, ...]:
    batch = broadcast_shapes(a.type.shape[:-2], b.type.shape[:-2])
    if batch is None:
        fail(InvalidArgumentError, "matmul", (a, b), "the batch axes do not broadcast")
    return batch


def normalize_axes(name: str, x: Any, axis: Any) -> tuple[int, ...]:
    """`axis` (None for all, an int, or a list of them, negative from the end) as distinct ascending axes."""
    rank = len(x.type.shape)
    if axis is None:
        return tuple(range(rank))
    axes = [axis] if isinstance(axis, int) else [operator.index(each) for each in np.asarray(axis).reshape(-1).tolist()]
    for each in axes:
        if not -rank <= each < rank:
            fail(InvalidArgumentError, name, (x,), f"axis {each} is outside of a tensor of {rank} axes")
    return tuple(sorted({each % rank for each in axes}))


def keep(result: Any, x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """A reduction's result, with size-1 axes where `axes` of `x` were if `keepdims`."""
    if not keepdims:
        return result
    return ops.reshape(result, shape=tuple(1 if axis in axes else size for axis, size in enumerate(x.type.shape)))


def _reduction(op: Op, what: str) -> Callable[..., Any]:
    def reduce(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
        x = tensor(op.name, input_tensor)
        axes = normalize_axes(op.name, x, axis)
        return keep(ops.in_float32(op, x, axes=axes), x, axes, keepdims)

    reduce.__name__ = reduce.__qualname__ = op.name
    reduce.__doc__ = f"The {what} over `axis` (all axes where None); with `keepdims` the axes stay, with size 1."
    return reduce


reduce_sum = _reduction(ops.reduce_sum, "sum")
reduce_prod = _reduction(ops.reduce_prod, "product")
reduce_max = _reduction(ops.reduce_max, "maximum")
reduce_min = _reduction(ops.reduce_min, "minimum")
reduce_any = _reduction(ops.reduce_any, "logical or")
reduce_all = _reduction(ops.reduce_all, "logical and")


def reduce_mean(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """The mean over `axis` (all axes where None). The mean of integers is cut to an integer, as in TensorFlow."""
    x = tensor("reduce_mean", input_tensor)
    if x.type.dtype.is_half:
        return cast(reduce_mean(cast(x, float32), axis, keepdims), x.type.dtype)
    axes = normalize_axes("reduce_mean", x, axis)
    count = math.prod([x.type.shape[axis] for axis in axes])
    total = ops.reduce_sum(x, axes=axes)
    if x.type.dtype.is_integer:
        if count == 0:
            fail(InvalidArgumentError, "reduce_mean", (x,), "there are no integers to take the mean of")
        quotient = ops.floordiv(ops.abs(total), count)
        return keep(ops.mul(ops.sign(total), quotient), x, axes, keepdims)
    if not x.type.dtype.is_floating:
        fail(DtypeError, "reduce_mean", (x,), f"it takes numbers, not {x.type.dtype.name}")
    return keep(ops.div(total, float(count)), x, axes, keepdims)


def reduce_variance(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """The mean of the squared distances from the mean, over `axis`."""
    x = tensor("reduce_variance", input_tensor)
    if not x.type.dtype.is_floating:
        fail(DtypeError, "reduce_variance", (x,), f"it takes float32 and float64, not {x.type.dtype.name}")
    if x.type.dtype.is_half:
        return cast(reduce_variance(cast(x, float32), axis, keepdims), x.type.dtype)
    return reduce_mean(square(ops.sub(x, reduce_mean(x, axis, keepdims=True))), axis, keepdims)


def reduce_std(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """The square root of the variance over `axis`."""
    return ops.sqrt(reduce_variance(input_tensor, axis, keepdims))


def reduce_logsumexp(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """log(sum(exp(x))) over `axis`, shifted by the maximum so that nothing overflows."""
    x = tensor("reduce_logsumexp", input_tensor)
    axes = normalize_axes("reduce_logsumexp", x, axis)
    top = ops.stop_gradient(ops.reduce_max(x, axes=axes))
    top = ops.select(ops.is_finite(top), top, ops.zeros_like(top))
    shifted = ops.exp(ops.sub(x, keep(top, x, axes, True)))
    return keep(ops.add(ops.log(ops.reduce_sum(shifted, axes=axes)), top), x, axes, keepdims)


def _arg_function(op: Op) -> Callable[..., Any]:
    def index_of(input: Any, axis: Any = None, output_type: Any = int64, name: str | None = None) -> Any:
        x = tensor(op.name, input)
        x = cast(x, int32) if x.type.dtype.is_bool else x
        (along,) = normalize_axes(op.name, x, 0 if axis is None else axis)
        return cast(op(x, axis=along), output_type)

    index_of.__name__ = index_of.__qualname__ = op.name
    what = f"The index of the {op.name[3:]}imum along `axis` (0 where None), the first where several are equal"
    index_of.__doc__ = f"{what}; a NaN is never it."
    return index_of


argmax = _arg_function(ops.argmax)
argmin = _arg_function(ops.argmin)


def clip_by_value(t: Any, clip_value_min: Any, clip_value_max: Any, name: str | None = None) -> Any:
    """`t` kept between the two values."""
    return ops.maximum(ops.minimum(t, clip_value_max), clip_value_min)


def where(condition: Any, x: Any, y: Any, name: str | None = None) -> Any:
    """x where `condition` holds, else y, all three broadcast. The gradient of the branch not taken is zero, never
    NaN."""
    condition = tensor("where", condition)
    x, y = ops.lift("where", (x, y))
    if condition.type.dtype.name != "bool":
        fail(DtypeError, "where", (condition, x, y), "the condition must be bool")
    if x.type.dtype is not y.type.dtype:
        fail(DtypeError, "where", (condition, x, y), "x and y must have one dtype; convert one with cast")
    shape = ops.common_shape("where", (condition, x, y))
    return ops.select(*[ops.broadcast_to(each, shape) for each in (condition, x, y)])


def norm(tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """The Euclidean norm over `axis` (all axes where None). ValueError for another `ord`."""
    if ord not in ("euclidean", 2):
        raise ValueError(f"norm: ord={ord!r} is not supported, only 'euclidean'")
    return ops.sqrt(reduce_sum(square(tensor), axis, keepdims))


def shape(input: Any, out_type: Any = int32, name: str | None = None) -> Any:
    """The shape of `input` as an integer tensor."""
    x = tensor("shape", input)
    return tensor("shape", _int_array(x.type.shape, out_type))


def size(input: Any, out_type: Any = int32, name: str | None = None) -> Any:
    """The number of elements of `input` as an integer tensor."""
    x = tensor("size", input)
    return tensor("size", _int_array(x.type.size, out_type))


def _int_array(value: Any, dtype: Any) -> Any:
    return np.array(value, as_dtype(dtype).numpy)
