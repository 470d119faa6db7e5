"""Arithmetic and reductions under TensorFlow's names, composed of ops. No rule of their own: gradients are
inherited."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tracejit import ops
from tracejit.functions import arguments
from tracejit.ir import dispatch
from tracejit.ir.errors import DtypeError, InvalidArgumentError, fail, shown
from tracejit.ir.op import Op
from tracejit.ir.types import broadcast_shapes, float64, has_dtype, int32, int64
from tracejit.ops.powers import PRODUCTS


def tensor(name: str, x: Any) -> Any:
    """`x` as a tensor (or node)."""
    return ops.lift(name, (x,))[0]


def floats(name: str, x: Any) -> Any:
    """`x` as a tensor of floats. DtypeError where it is none, in the words of the function `name`."""
    x = tensor(name, x)
    if not x.type.dtype.is_floating:
        fail(DtypeError, name, (x,), f"it takes float32 and float64, not {x.type.dtype.name}")
    return x


def numbers(name: str, x: Any) -> Any:
    """`x` as a tensor of numbers. DtypeError where it is none, in the words of the function `name`."""
    x = tensor(name, x)
    if x.type.dtype.is_bool:
        fail(DtypeError, name, (x,), "it takes numbers, not bool")
    return x


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
        x = numbers("pow", x)
        whole = y in PRODUCTS and not (isinstance(y, float) and x.type.dtype.is_integer)
        if whole or (y == 0.5 and x.type.dtype.is_floating):
            return ops.power(x, exponent=int(y) if whole else y)
    x, y = ops.lift("pow", (x, y))
    if y.type.dtype.is_integer:
        y = ops.check_range(y, low=0, high=y.type.dtype.max + 1, what="exponent", function="pow")
    return ops.pow(x, y)


def square(x: Any, name: str | None = None) -> Any:
    """x * x."""
    x = numbers("square", x)
    return ops.mul(x, x)


def squared_difference(x: Any, y: Any, name: str | None = None) -> Any:
    """(x - y) ** 2, broadcast."""
    x, y = ops.align("squared_difference", ops.lift("squared_difference", (x, y)))
    return square(ops.sub(numbers("squared_difference", x), y))


def reciprocal(x: Any, name: str | None = None) -> Any:
    """1 / x."""
    return ops.reciprocal(floats("reciprocal", x))


def cast(x: Any, dtype: Any, name: str | None = None) -> Any:
    """`x` in another dtype; floats are cut towards zero when they become integers."""
    wanted = arguments.dtype("cast", "dtype", dtype)
    if isinstance(x, (np.ndarray, np.generic)) and x.dtype.kind in "iuf" and not has_dtype(x):
        # Integers and floats of NumPy's that no tensor has, such as pixels in uint8.
        return arguments.converted("cast", "x", x, wanted)
    x = tensor("cast", x)
    return x if x.type.dtype is wanted else ops.cast(x, dtype=wanted)


def add_n(inputs: Any, name: str | None = None) -> Any:
    """The sum of tensors of one shape and dtype: those of a list, those that a generator gives, or the slices of a tensor.
    InvalidArgumentError where their shapes differ."""
    if isinstance(inputs, Iterator):
        inputs = list(inputs)
    if isinstance(inputs, dispatch.operand_type) or (isinstance(inputs, np.ndarray) and inputs.ndim):
        x = tensor("add_n", inputs)
        inputs = [x[index] for index in range(x.type.shape[0])] if x.type.shape else None
    if not isinstance(inputs, (list, tuple)):
        arguments.refuse("add_n", "inputs", "a list of tensors", inputs)
    if not inputs:
        fail(InvalidArgumentError, "add_n", (), "inputs is empty")
    parts = tuple(numbers("add_n", part) for part in ops.lift("add_n", tuple(inputs)))
    total = parts[0]
    for part in parts[1:]:
        if part.type.shape != total.type.shape:
            fail(InvalidArgumentError, "add_n", parts, "the tensors differ in shape")
        if part.type.dtype is not total.type.dtype:
            fail(DtypeError, "add_n", parts, "the tensors differ in dtype; convert them with cast")
        total = ops.add(total, part)
    return total


def matmul(
    a: Any,
    b: Any,
    transpose_a: bool = False,
    transpose_b: bool = False,
    adjoint_a: bool = False,
    adjoint_b: bool = False,
    name: str | None = None,
) -> Any:
    """a: [..., n, k]; b: [..., k, m] -> [..., n, m]; batch axes are broadcast, and an adjoint is a transpose, of real numbers.
    InvalidArgumentError where the inner sizes differ, an operand has fewer than two axes or is transposed twice, DtypeError
    where the dtypes differ. Of half dtypes the sums are float32, and each is rounded once. Compiled, the error of a sum
    of k products is at most (1024 + sqrt(k)) eps/2 times the sum of their absolute values."""
    a, b = ops.lift("matmul", (a, b))
    if transpose_a is not False or adjoint_a is not False:
        transpose_a = _transposed("a", transpose_a, adjoint_a, (a, b))
    if transpose_b is not False or adjoint_b is not False:
        transpose_b = _transposed("b", transpose_b, adjoint_b, (a, b))
    rank_a, rank_b = len(a.type.shape), len(b.type.shape)
    if rank_a > rank_b == 2 and not transpose_a and a.type.shape[-1] == b.type.shape[1 if transpose_b else 0]:
        # One product of all rows: the gradient of b then sums over the batch, and needs no product for each of it.
        *batch, depth = a.type.shape
        product = ops.matmul(ops.reshape(a, shape=(math.prod(batch), depth)), b, transpose_a=False, transpose_b=transpose_b)
        return ops.reshape(product, shape=(*batch, product.type.shape[-1]))
    if rank_a >= 2 and rank_b >= 2 and a.type.shape[:-2] != b.type.shape[:-2]:
        batch = _common_batch(a, b)
        inner, depth = a.type.shape[-2 if transpose_a else -1], b.type.shape[-1 if transpose_b else -2]
        if inner != depth:
            fail(InvalidArgumentError, "matmul", (a, b), f"the inner sizes differ: {inner} and {depth}")
        a = ops.broadcast_to(a, batch + a.type.shape[-2:])
        b = ops.broadcast_to(b, batch + b.type.shape[-2:])
    return ops.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b)


def _transposed(which: str, transpose: Any, adjoint: Any, operands: Any) -> bool:
    for argument, value in ((f"transpose_{which}", transpose), (f"adjoint_{which}", adjoint)):
        if type(value) is not bool:
            arguments.refuse("matmul", argument, "True or False", value, operands)
    if transpose and adjoint:
        fail(InvalidArgumentError, "matmul", operands, f"transpose_{which} and adjoint_{which} cannot both be True")
    return transpose or adjoint


def _common_batch(a: Any, b: Any) -> tuple[int, ...]:
    batch = broadcast_shapes(a.type.shape[:-2], b.type.shape[:-2])
    if batch is None:
        fail(InvalidArgumentError, "matmul", (a, b), "the batch axes do not broadcast")
    return batch


def _over(name: str, x: Any, axis: Any, keepdims: Any) -> tuple[tuple[int, ...], bool]:
    """The axes that a reduction takes, and whether they stay."""
    return arguments.axes(name, x, axis), arguments.flag(name, "keepdims", keepdims, (x,))


def keep(result: Any, x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """A reduction's result, with size-1 axes where `axes` of `x` were if `keepdims`."""
    if not keepdims:
        return result
    return ops.reshape(result, shape=tuple(1 if axis in axes else size for axis, size in enumerate(x.type.shape)))


def _reduction(op: Op, what: str, logical: bool = False) -> Callable[..., Any]:
    def reduce(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
        x = ops.truths(op.name, (input_tensor,))[0] if logical else tensor(op.name, input_tensor)
        axes, keepdims = _over(op.name, x, axis, keepdims)
        return keep(ops.in_float32(op, x, axes=axes), x, axes, keepdims)

    reduce.__name__ = reduce.__qualname__ = op.name
    reduce.__doc__ = f"The {what} over `axis` (all axes where None); with `keepdims` the axes stay, with size 1."
    return reduce


reduce_sum = _reduction(ops.reduce_sum, "sum")
reduce_prod = _reduction(ops.reduce_prod, "product")
reduce_max = _reduction(ops.reduce_max, "maximum")
reduce_min = _reduction(ops.reduce_min, "minimum")
reduce_any = _reduction(ops.reduce_any, "logical or", logical=True)
reduce_all = _reduction(ops.reduce_all, "logical and", logical=True)


def reduce_mean(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """The mean over `axis` (all axes where None). The mean of integers is cut to an integer, as in TensorFlow."""
    x = numbers("reduce_mean", input_tensor)
    axes, keepdims = _over("reduce_mean", x, axis, keepdims)
    if x.type.dtype.is_half:
        return cast(reduce_mean(cast(x, x.type.dtype.accumulator), axes, keepdims), x.type.dtype)
    count = math.prod([x.type.shape[axis] for axis in axes])
    if x.type.dtype.is_integer:
        if count == 0:
            fail(InvalidArgumentError, "reduce_mean", (x,), "there are no integers to take the mean of")
        total = ops.reduce_sum(cast(x, int64), axes=axes)
        quotient = ops.floordiv(ops.abs(total), count)
        return keep(cast(ops.mul(ops.sign(total), quotient), x.type.dtype), x, axes, keepdims)
    total = ops.reduce_sum(x, axes=axes)
    return keep(ops.div(total, float(count)), x, axes, keepdims)


def reduce_variance(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """The mean of the squared distances from the mean, over `axis`."""
    return _variance("reduce_variance", input_tensor, axis, keepdims)


def _variance(name: str, input: Any, axis: Any, keepdims: Any) -> Any:
    x = floats(name, input)
    axes, keepdims = _over(name, x, axis, keepdims)
    if x.type.dtype.is_half:
        return cast(_variance(name, cast(x, x.type.dtype.accumulator), axes, keepdims), x.type.dtype)
    return reduce_mean(square(ops.sub(x, reduce_mean(x, axes, keepdims=True))), axes, keepdims)


def reduce_std(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """The square root of the variance over `axis`."""
    return ops.sqrt(_variance("reduce_std", input_tensor, axis, keepdims))


def reduce_logsumexp(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """log(sum(exp(x))) over `axis`, shifted by the maximum so that nothing overflows."""
    x = floats("reduce_logsumexp", input_tensor)
    axes, keepdims = _over("reduce_logsumexp", x, axis, keepdims)
    top = ops.stop_gradient(ops.reduce_max(x, axes=axes))
    top = ops.select(ops.is_finite(top), top, ops.zeros_like(top))
    shifted = ops.exp(ops.sub(x, keep(top, x, axes, True)))
    return keep(ops.add(ops.log(ops.reduce_sum(shifted, axes=axes)), top), x, axes, keepdims)


def _arg_function(op: Op) -> Callable[..., Any]:
    def index_of(input: Any, axis: Any = None, output_type: Any = int64, name: str | None = None) -> Any:
        x = tensor(op.name, input)
        x = cast(x, int32) if x.type.dtype.is_bool else x
        along = arguments.axis(op.name, x, 0 if axis is None else axis, len(x.type.shape))
        wanted = int64 if output_type is None else arguments.dtype(op.name, "output_type", output_type, (int32, int64), (x,))
        return cast(op(x, axis=along), wanted)

    index_of.__name__ = index_of.__qualname__ = op.name
    what = f"The index of the {op.name[3:]}imum along `axis` (0 where None), the first where several are equal"
    index_of.__doc__ = f"{what}; a NaN is never it."
    return index_of


argmax = _arg_function(ops.argmax)
argmin = _arg_function(ops.argmin)


def clip_by_value(t: Any, clip_value_min: Any, clip_value_max: Any, name: str | None = None) -> Any:
    """`t` kept between the two values, which must not make it larger: InvalidArgumentError."""
    x, low, high = ops.lift("clip_by_value", (t, clip_value_min, clip_value_max))
    for argument, bound in (("clip_value_min", low), ("clip_value_max", high)):
        if bound.type.dtype is not x.type.dtype:
            message = f"{argument} is {bound.type.dtype.name}, t is {x.type.dtype.name}; convert one with cast"
            fail(DtypeError, "clip_by_value", (x, low, high), message)
    if ops.common_shape("clip_by_value", (x, low, high)) != x.type.shape:
        fail(InvalidArgumentError, "clip_by_value", (x, low, high), "the bounds have more elements than t")
    return ops.maximum(ops.minimum(x, high), low)


def where(condition: Any, x: Any = None, y: Any = None, name: str | None = None) -> Any:
    """x where `condition` holds, else y, all three broadcast. The gradient of the branch not taken is zero, never
    NaN. Without x and y: i64[n,rank], the places of the elements that are not zero, in row-major order; in a traced function
    their number must be known, so that the condition is a constant there."""
    condition = tensor("where", condition)
    if x is None and y is None:
        if not condition.type.shape:
            fail(InvalidArgumentError, "where", (condition,), "a scalar has no places")
        return tensor("where", np.argwhere(arguments.known("where", "the condition, without x and y,", condition)))
    if x is None or y is None:
        fail(InvalidArgumentError, "where", (condition,), "x and y must both be given, or none")
    x, y = ops.lift("where", (x, y))
    if condition.type.dtype.name != "bool":
        fail(DtypeError, "where", (condition, x, y), "the condition must be bool")
    if x.type.dtype is not y.type.dtype:
        fail(DtypeError, "where", (condition, x, y), "x and y must have one dtype; convert one with cast")
    shape = ops.common_shape("where", (condition, x, y))
    return ops.select(*[ops.broadcast_to(each, shape) for each in (condition, x, y)])


def norm(tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """The Euclidean norm over `axis` (all axes where None). InvalidArgumentError for another `ord`."""
    x = floats("norm", tensor)
    if not (isinstance(ord, str) and ord == "euclidean") and not (type(ord) in (int, float) and ord == 2):
        message = f"ord={shown(ord)} is not supported, only 'euclidean'"
        fail(InvalidArgumentError if isinstance(ord, (str, int, float)) else DtypeError, "norm", (x,), message)
    axes, keepdims = _over("norm", x, axis, keepdims)
    if ord == 2 and axis is not None and len(axes) == 2:
        message = "ord=2 over two axes, the largest singular value, is not supported, only 'euclidean'"
        fail(InvalidArgumentError, "norm", (x,), message)
    return ops.sqrt(reduce_sum(square(x), axes, keepdims))


def shape(input: Any, out_type: Any = int32, name: str | None = None) -> Any:
    """The shape of `input` as an integer tensor."""
    x = tensor("shape", input)
    wanted = int32 if out_type is None else arguments.dtype("shape", "out_type", out_type, (int32, int64), (x,))
    return arguments.converted("shape", "out_type", list(x.type.shape), wanted, (x,))


def size(input: Any, out_type: Any = int32, name: str | None = None) -> Any:
    """The number of elements of `input`, in the dtype `out_type`."""
    x = tensor("size", input)
    wanted = int32 if out_type is None else arguments.dtype("size", "out_type", out_type, None, (x,))
    return tensor("size", np.array(x.type.size).astype(wanted.numpy))
