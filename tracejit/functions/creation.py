"""Making tensors under TensorFlow's names."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from tracejit import ops
from tracejit.functions import arguments
from tracejit.functions.math import tensor
from tracejit.ir import dispatch
from tracejit.ir.errors import DtypeError, InvalidArgumentError, fail, shown
from tracejit.ir.types import DType, float32, float64, int32, int64


def _filled(name: str, shape: Any, value: Any, dtype: DType, argument: str = "shape") -> Any:
    sizes = arguments.shape(name, argument, shape, dtype)
    return ops.broadcast_to(tensor(name, np.array(value, dtype.numpy)), sizes)


def zeros(shape: Any, dtype: Any = float32, name: str | None = None) -> Any:
    """A tensor of zeros."""
    return _filled("zeros", shape, 0, arguments.dtype("zeros", "dtype", dtype))


def ones(shape: Any, dtype: Any = float32, name: str | None = None) -> Any:
    """A tensor of ones."""
    return _filled("ones", shape, 1, arguments.dtype("ones", "dtype", dtype))


def fill(dims: Any, value: Any, name: str | None = None) -> Any:
    """A tensor of shape `dims` with every element `value`, which is a scalar, or one in a list."""
    x = tensor("fill", value)
    if x.type.shape == (1,):
        x = ops.reshape(x, shape=())
    if x.type.shape:
        fail(InvalidArgumentError, "fill", (x,), "the value must be a scalar")
    sizes = arguments.shape("fill", "dims", dims, x.type.dtype, (x,))
    return ops.broadcast_to(x, sizes) if sizes else ops.identity(x)


def zeros_like(input: Any, dtype: Any = None, name: str | None = None) -> Any:
    """Zeros of the shape (and, unless given, the dtype) of `input`."""
    x = tensor("zeros_like", input)
    if dtype is None:
        return ops.zeros_like(x)
    return _filled("zeros_like", x.type.shape, 0, arguments.dtype("zeros_like", "dtype", dtype, None, (x,)))


def ones_like(input: Any, dtype: Any = None, name: str | None = None) -> Any:
    """Ones of the shape (and, unless given, the dtype) of `input`."""
    x = tensor("ones_like", input)
    if dtype is None:
        return ops.ones_like(x)
    return _filled("ones_like", x.type.shape, 1, arguments.dtype("ones_like", "dtype", dtype, None, (x,)))


def eye(num_rows: Any, num_columns: Any = None, batch_shape: Any = None, dtype: Any = float32, name: str | None = None) -> Any:
    """The identity matrix, repeated along leading axes of `batch_shape`."""
    kind = arguments.dtype("eye", "dtype", dtype)
    rows = arguments.integer("eye", "num_rows", num_rows)
    columns = rows if num_columns is None else arguments.integer("eye", "num_columns", num_columns)
    batch = () if batch_shape is None else arguments.integers("eye", "batch_shape", batch_shape)
    sizes = arguments.shape("eye", "the shape", (*batch, rows, columns), kind)
    return ops.broadcast_to(tensor("eye", np.eye(rows, columns, dtype=kind.numpy)), sizes)


# Numbers of several dtypes count in the last of theirs.
_RANGE_DTYPES = (int32, int64, float32, float64)


def range(start: Any, limit: Any = None, delta: Any = 1, dtype: Any = None, name: str | None = "range") -> Any:
    """start, start + delta, ... before `limit`; from 0 where one number is given. They are of `dtype`, or of the first of
    int32, int64, float32 and float64 that holds what the three have. InvalidArgumentError where delta is 0 or leads away from
    limit."""
    if limit is None:
        start, limit = 0, start
    named = {"start": start, "limit": limit, "delta": delta}
    given = {argument: _number("range", argument, value) for argument, value in named.items()}
    if dtype is None:
        kind = max((number.dtype for number in given.values()), key=lambda each: _rank(each, given))
    else:
        kind = arguments.dtype("range", "dtype", dtype)
        for argument, number in given.items():
            if kind.is_bool or (kind.is_integer and number.dtype.is_floating and not number.cast):
                arguments.refuse("range", argument, f"a number that is {kind.name}", named[argument])
    scalar = kind.numpy.type
    if kind.is_integer:
        first, last, step = (int(number.value) for number in given.values())
        bounds = ("start", first), ("limit", last), ("delta", step)
        for argument, whole in bounds:
            if not kind.min <= whole <= kind.max:
                fail(InvalidArgumentError, "range", (), f"{argument} {shown(whole)} does not fit into {kind.name}")
    else:
        first, last, step = (scalar(number.value) for number in given.values())
    if step == 0:
        fail(InvalidArgumentError, "range", (), "delta must not be 0")
    if not (first <= last if step > 0 else last <= first):
        fail(InvalidArgumentError, "range", (), f"delta {step} does not lead from start {first} to limit {last}")
    with np.errstate(all="ignore"):
        # As TensorFlow counts them: in the numbers' own dtype, where they are floats.
        whole = -((first - last) // step) if kind.is_integer else np.ceil(np.abs((last - first) / step))
        if not math.isfinite(whole):
            message = f"from start {first} to limit {last} by delta {step} there are too many numbers"
            fail(InvalidArgumentError, "range", (), message)
        arguments.check_size("range", (int(whole),), kind)
        counted = np.arange(int(whole), dtype=np.int64 if kind.is_integer else np.float64).astype(kind.numpy)
        return tensor("range", scalar(first) + counted * scalar(step))


class _Number:
    """An argument of range: its value, the dtype that a tensor of it would have, and whether it has been a tensor's."""

    __slots__ = ("cast", "dtype", "value")

    def __init__(self, value: Any, dtype: DType, cast: bool):
        self.value, self.dtype, self.cast = value, dtype, cast


def _number(name: str, argument: str, value: Any) -> _Number:
    cast = isinstance(value, dispatch.operand_type)
    x = arguments.converted(name, argument, value, None)
    if x.type.dtype.is_bool or x.type.size != 1 or len(x.type.shape) > 1:
        arguments.refuse(name, argument, "one number", value)
    return _Number(arguments.known(name, argument, x).reshape(())[()], x.type.dtype, cast)


def _rank(dtype: DType, given: Any) -> int:
    if dtype not in _RANGE_DTYPES:
        fail(DtypeError, "range", (), f"it counts in int32, int64, float32 and float64, not {dtype.name}; give its dtype")
    return _RANGE_DTYPES.index(dtype)


def linspace(start: Any, stop: Any, num: Any, name: str | None = None, axis: Any = 0) -> Any:
    """`num` evenly spaced numbers from `start` to `stop`, both included, along a new axis, in the dtype of `start`; of integers
    in float64. `start` and `stop` may be tensors, which are broadcast."""
    first = tensor("linspace", start)
    last = arguments.converted("linspace", "stop", stop, first.type.dtype, (first,))
    if first.type.dtype.is_bool:
        fail(DtypeError, "linspace", (first, last), "start and stop must be numbers, not bool")
    if first.type.dtype.is_integer:
        first, last = ops.cast(first, dtype=float64), ops.cast(last, dtype=float64)
    dtype = first.type.dtype
    count = arguments.integer("linspace", "num", num, (first, last))
    if count < 0:
        fail(InvalidArgumentError, "linspace", (first, last), f"num {shown(count)} is negative")
    sizes = ops.common_shape("linspace", (first, last))
    along = arguments.axis("linspace", first, axis, len(sizes) + 1)
    arguments.check_size("linspace", (*sizes, max(count, 2)), dtype, (first, last))
    edge = (*sizes[:along], 1, *sizes[along:])
    first, last = (ops.reshape(ops.broadcast_to(x, sizes), shape=edge) for x in (first, last))
    parts = [first, last]
    if count > 2:
        steps = [count - 2 if position == along else 1 for position in builtins.range(len(edge))]
        numbers = ops.add(ops.iota(shape=tuple(steps), axis=along, dtype=dtype.accumulator), 1)
        numbers = ops.cast(numbers, dtype=dtype) if dtype.is_half else numbers
        step = ops.div(ops.sub(last, first), float(count - 1))
        parts.insert(1, ops.add(first, ops.mul(step, numbers)))
    whole = ops.concat(*parts, axis=along)
    if count >= 2:
        return whole
    kept = tuple(count if position == along else size for position, size in enumerate(edge))
    return ops.slice(whole, starts=(0,) * len(edge), sizes=kept, strides=(1,) * len(edge))


def one_hot(
    indices: Any, depth: Any, on_value: Any = None, off_value: Any = None, axis: Any = None, dtype: Any = None,
    name: str | None = None,
) -> Any:  # fmt: skip
    """indices: i32[...] -> [..., depth]: `on_value` (1) at each index and `off_value` (0) elsewhere, with the new axis at
    `axis`, the last where None; an index outside of 0..depth-1 gives `off_value` alone. The dtype is `dtype`, or that of the
    two values, or float32."""
    x = arguments.indices("one_hot", "indices", indices)
    if not x.type.dtype.is_integer:
        fail(DtypeError, "one_hot", (x,), "indices must be int32 or int64")
    rank = len(x.type.shape)
    number = -1 if axis is None else arguments.integer("one_hot", "axis", axis, (x,))
    if not -1 <= number <= rank:
        fail(InvalidArgumentError, "one_hot", (x,), f"axis {shown(number)} is not in [-1, {rank}]")
    along = rank if number == -1 else number
    kind = None if dtype is None else arguments.dtype("one_hot", "dtype", dtype, None, (x,))
    for argument, value in (("on_value", on_value), ("off_value", off_value)):
        if kind is None and value is not None:
            kind = arguments.converted("one_hot", argument, value, None, (x,)).type.dtype
    kind = float32 if kind is None else kind
    on = arguments.scalar("one_hot", "on_value", np.ones((), kind.numpy) if on_value is None else on_value, kind, (x,))
    off = arguments.scalar("one_hot", "off_value", np.zeros((), kind.numpy) if off_value is None else off_value, kind, (x,))
    count = arguments.integer("one_hot", "depth", depth, (x,))
    if count < 0:
        fail(InvalidArgumentError, "one_hot", (x,), f"depth {shown(count)} is negative")
    arguments.check_size("one_hot", (*x.type.shape, count), kind, (x,))
    hot = hot_mask(x, count, along)
    return ops.select(hot, *[ops.broadcast_to(each, hot.type.shape) for each in (on, off)])


def hot_mask(indices: Any, depth: int, axis: int) -> Any:
    """A bool tensor with the new axis `axis` of size `depth`: where the position along it is the index."""
    shape = (*indices.type.shape[:axis], depth, *indices.type.shape[axis:])
    kept = tuple(position for position in builtins.range(len(shape)) if position != axis)
    return ops.equal(ops.broadcast(indices, shape=shape, axes=kept), positions(indices, shape, axis))


def positions(like: Any, shape: tuple[int, ...], axis: int) -> Any:
    """Each element its own index along `axis`, in the dtype of `like`."""
    return ops.iota(shape=shape, axis=axis, dtype=like.type.dtype)
