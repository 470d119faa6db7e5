"""Rearranging tensors under TensorFlow's names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tracejit import ops
from tracejit.functions import arguments
from tracejit.functions.creation import positions
from tracejit.functions.math import tensor
from tracejit.ir import dispatch
from tracejit.ir.errors import DtypeError, InvalidArgumentError, ResourceExhaustedError, fail, shown
from tracejit.memory import total_memory


def reshape(tensor: Any, shape: Any, name: str | None = None) -> Any:
    """The elements of `tensor` in order, in another shape; one size may be -1. InvalidArgumentError where they do not
    fit."""
    (x,) = ops.lift("reshape", (tensor,))
    sizes = arguments.integers("reshape", "shape", shape, (x,))
    if sizes.count(-1) > 1 or any(size < -1 for size in sizes):
        message = f"the shape {shown(list(sizes))} has more than one unknown or a negative size"
        fail(InvalidArgumentError, "reshape", (x,), message)
    if -1 in sizes:
        sizes = tuple(_unknown_size(x, sizes) if size == -1 else size for size in sizes)
    if math.prod(sizes) != x.type.size:
        message = f"{x.type.size} elements do not fill the shape {shown(list(sizes))}"
        fail(InvalidArgumentError, "reshape", (x,), message)
    arguments.check_size("reshape", sizes, None, (x,))
    return ops.reshape(x, shape=sizes)


def _unknown_size(x: Any, sizes: tuple[int, ...]) -> int:
    """What stands for the -1 in `sizes`. Where x has no elements, the axes of size 0 count on neither side."""
    known = math.prod(size for size in sizes if size != -1)
    count = x.type.size
    if known == count == 0:
        known = math.prod(size for size in sizes if size > 0)
        count = math.prod(size for size in x.type.shape if size)
    if known == 0 or count % known:
        message = f"{x.type.size} elements do not fill the shape {shown(list(sizes))}"
        fail(InvalidArgumentError, "reshape", (x,), message)
    return count // known


def squeeze(input: Any, axis: Any = None, name: str | None = None) -> Any:
    """`input` without its axes of size 1, or without those in `axis`. InvalidArgumentError where one has another
    size."""
    x = tensor("squeeze", input)
    shape = x.type.shape
    if axis is None or (isinstance(axis, (list, tuple)) and not axis):
        return reshape(x, [size for size in shape if size != 1])
    axes = {arguments.axis("squeeze", x, each, len(shape)) for each in arguments.integers("squeeze", "axis", axis, (x,))}
    for each in axes:
        if shape[each] != 1:
            fail(InvalidArgumentError, "squeeze", (x,), f"axis {each} has the size {shape[each]}, not 1")
    return reshape(x, [size for position, size in enumerate(shape) if position not in axes])


def _single_axis(name: str, x: Any, axis: Any, rank: int) -> int:
    """An axis that may also be written as a list of one."""
    numbers = arguments.integers(name, "axis", axis, (x,), "a whole number")
    return arguments.axis(name, x, numbers[0] if len(numbers) == 1 else axis, rank)


def expand_dims(input: Any, axis: Any, name: str | None = None) -> Any:
    """`input` with a new axis of size 1 at `axis`."""
    x = tensor("expand_dims", input)
    shape = x.type.shape
    position = _single_axis("expand_dims", x, axis, len(shape) + 1)
    return reshape(x, (*shape[:position], 1, *shape[position:]))


def transpose(a: Any, perm: Any = None, conjugate: bool = False, name: str | None = None) -> Any:
    """`a` with its axes in the order `perm`, reversed where None."""
    x = tensor("transpose", a)
    arguments.flag("transpose", "conjugate", conjugate, (x,))
    rank = len(x.type.shape)
    if perm is None:
        return ops.transpose(x, permutation=tuple(reversed(range(rank))))
    order = arguments.integers("transpose", "perm", perm, (x,))
    wrapped = tuple(number + rank if -rank <= number < 0 else number for number in order)
    if sorted(wrapped) != list(range(rank)):
        message = f"{shown(list(order))} is no permutation of its {rank} axes"
        fail(InvalidArgumentError, "transpose", (x,), message)
    return ops.transpose(x, permutation=wrapped)


def broadcast_to(input: Any, shape: Any, name: str | None = None) -> Any:
    """`input` repeated along axes of size 1 and new leading ones. InvalidArgumentError where it does not fit."""
    x = tensor("broadcast_to", input)
    sizes = arguments.integers("broadcast_to", "shape", shape, (x,))
    if len(sizes) < len(x.type.shape):
        fail(InvalidArgumentError, "broadcast_to", (x,), f"it has more axes than the shape {shown(list(sizes))}")
    own = x.type.shape
    if any(size not in (1, wanted) for size, wanted in zip(own, sizes[len(sizes) - len(own) :], strict=True)):
        fail(InvalidArgumentError, "broadcast_to", (x,), f"it does not fit the shape {shown(list(sizes))}")
    arguments.shape("broadcast_to", "shape", sizes, x.type.dtype, (x,))
    return ops.identity(x) if own == sizes else ops.broadcast_to(x, sizes)


def listed(name: str, argument: str, values: Any) -> list[Any]:
    """The items of a list or tuple, or the slices of a tensor or array along its first axis. DtypeError for anything else."""
    if isinstance(values, (list, tuple)):
        return list(values)
    if isinstance(values, dispatch.operand_type) or (isinstance(values, np.ndarray) and values.ndim):
        x = tensor(name, values)
        if x.type.shape:
            return [x[index] for index in range(x.type.shape[0])]
    arguments.refuse(name, argument, "a list of tensors", values)


def concat(values: Any, axis: Any, name: str | None = "concat") -> Any:
    """The tensors one after the other along `axis`; where there is one alone, or a tensor in the list's place, it as it is.
    InvalidArgumentError where they differ in shape outside of `axis`."""
    alone = isinstance(values, (dispatch.operand_type, np.ndarray))
    if not alone and not isinstance(values, (list, tuple)):
        arguments.refuse("concat", "values", "a list of tensors", values)
    parts = ops.lift("concat", (values,) if alone else tuple(values))
    if not parts:
        fail(InvalidArgumentError, "concat", (), "values is empty")
    if len(parts) == 1:  # along any axis, and a scalar has none
        arguments.integers("concat", "axis", axis, parts, "a whole number")
        return ops.identity(*parts)
    return ops.concat(*parts, axis=_single_axis("concat", parts[0], axis, len(parts[0].type.shape)))


def stack(values: Any, axis: Any = 0, name: str | None = "stack") -> Any:
    """Tensors of one shape along a new axis; of none, an empty float32 tensor. InvalidArgumentError where their shapes
    differ."""
    if isinstance(values, (list, tuple)) and not any(isinstance(value, dispatch.operand_type) for value in values):
        values = tensor("stack", values)  # numbers and lists, of which the dtype is found together
        if values.type.shape == (0,):
            arguments.axis("stack", values, axis, 1)
            return values
    parts = ops.lift("stack", tuple(listed("stack", "values", values)))
    if not parts:
        fail(InvalidArgumentError, "stack", (), "values is empty")
    if any(part.type.shape != parts[0].type.shape for part in parts):
        fail(InvalidArgumentError, "stack", parts, "the tensors differ in shape")
    if any(part.type.dtype is not parts[0].type.dtype for part in parts):
        fail(DtypeError, "stack", parts, "the tensors differ in dtype; convert them with cast")
    along = arguments.axis("stack", parts[0], axis, len(parts[0].type.shape) + 1)
    return concat([expand_dims(part, along) for part in parts], along)


def unstack(value: Any, num: Any = None, axis: Any = 0, name: str | None = "unstack") -> list[Any]:
    """The slices along `axis`, without that axis. InvalidArgumentError where they are not `num`, if that is given."""
    x = tensor("unstack", value)
    along = arguments.axis("unstack", x, axis, len(x.type.shape))
    size = x.type.shape[along]
    if num is not None and arguments.integer("unstack", "num", num, (x,)) != size:
        fail(InvalidArgumentError, "unstack", (x,), f"axis {along} has {size} slices, not num={shown(num)}")
    return [squeeze(part, along) for part in _parts(x, along, (1,) * size)]


# About what a tensor costs beside its elements.
_TENSOR_BYTES = 200


def split(value: Any, num_or_size_splits: Any, axis: Any = 0, num: Any = None, name: str | None = "split") -> list[Any]:
    """Parts along `axis`: a number of equal ones, or a list of sizes, of which one may be -1 for the rest.
    InvalidArgumentError where they do not add up."""
    x = tensor("split", value)
    along = arguments.axis("split", x, axis, len(x.type.shape))
    extent = x.type.shape[along]
    wanted = num_or_size_splits
    expected = "a whole number or a list of them"
    sizes = arguments.integers("split", "num_or_size_splits", wanted, (x,), expected)
    several = isinstance(wanted, (list, tuple, range)) or getattr(wanted, "ndim", 0) == 1
    if num is not None and arguments.integer("split", "num", num, (x,)) != len(sizes) and several:
        fail(InvalidArgumentError, "split", (x,), f"num={shown(num)}, but there are {len(sizes)} sizes")
    if several:
        if sizes.count(-1) == 1:
            rest = extent - sum(size for size in sizes if size != -1)
            sizes = tuple(rest if size == -1 else size for size in sizes)
        if min(sizes, default=-1) < 0 or sum(sizes) != extent:
            message = f"axis {along} has {extent} elements, which the sizes {shown(wanted)} do not add up to"
            fail(InvalidArgumentError, "split", (x,), message)
        return _parts(x, along, sizes)
    (count,) = sizes
    if count < 1 or extent % count:
        message = f"axis {along} has {extent} elements, which {shown(count)} does not divide"
        fail(InvalidArgumentError, "split", (x,), message)
    if count * _TENSOR_BYTES > total_memory():
        fail(ResourceExhaustedError, "split", (x,), f"{shown(count)} tensors do not fit into memory")
    return _parts(x, along, (extent // count,) * count)


def _parts(x: Any, axis: int, sizes: tuple[int, ...]) -> list[Any]:
    """Slices of `sizes`, one after the other, along `axis`."""
    shape = x.type.shape
    parts, start = [], 0
    for size in sizes:
        starts = tuple(start if position == axis else 0 for position in range(len(shape)))
        extent = tuple(size if position == axis else each for position, each in enumerate(shape))
        parts.append(ops.slice(x, starts=starts, sizes=extent, strides=(1,) * len(shape)))
        start += size
    return parts


def pad(tensor: Any, paddings: Any, mode: Any = "CONSTANT", constant_values: Any = 0, name: str | None = None) -> Any:
    """`tensor` with `paddings[axis] = (before, after)` elements added. InvalidArgumentError for another mode than CONSTANT."""
    (x,) = ops.lift("pad", (tensor,))
    if not isinstance(mode, str) or mode.upper() != "CONSTANT":
        arguments.choice("pad", "mode", mode, ("CONSTANT",), (x,))
    pairs = arguments.table("pad", "paddings", paddings, (x,))
    if len(pairs) != len(x.type.shape) or min((size for pair in pairs for size in pair), default=0) < 0:
        message = f"paddings must be {len(x.type.shape)} pairs of sizes, not {shown(pairs)}"
        fail(InvalidArgumentError, "pad", (x,), message)
    sizes = [before + size + after for size, (before, after) in zip(x.type.shape, pairs, strict=True)]
    arguments.check_size("pad", sizes, x.type.dtype, (x,))
    zero = type(constant_values) is int and constant_values == 0
    value = 0 if zero else arguments.number("pad", "constant_values", constant_values, x.type.dtype, (x,))
    low, high = (tuple(pair[side] for pair in pairs) for side in (0, 1))
    return ops.pad(x, low=low, high=high, interior=(0,) * len(low), value=value)


def tile(input: Any, multiples: Any, name: str | None = None) -> Any:
    """`input` repeated `multiples[axis]` times along each axis."""
    x = tensor("tile", input)
    counts = arguments.integers("tile", "multiples", multiples, (x,))
    shape = x.type.shape
    if len(counts) != len(shape):
        fail(InvalidArgumentError, "tile", (x,), f"multiples {shown(list(counts))} needs {len(shape)} numbers")
    if min(counts, default=0) < 0:
        fail(InvalidArgumentError, "tile", (x,), f"multiples {shown(list(counts))} has a negative number")
    arguments.check_size("tile", [count * size for count, size in zip(counts, shape, strict=True)], x.type.dtype, (x,))
    repeated_shape = tuple(size for pair in zip(counts, shape, strict=True) for size in pair)
    repeated = ops.broadcast(x, shape=repeated_shape, axes=tuple(range(1, 2 * len(shape), 2)))
    return ops.reshape(repeated, shape=tuple(count * size for count, size in zip(counts, shape, strict=True)))


def reverse(tensor: Any, axis: Any, name: str | None = None) -> Any:
    """`tensor` backwards along the axes in `axis`. InvalidArgumentError where one is named twice."""
    (x,) = ops.lift("reverse", (tensor,))
    if axis is None:
        arguments.refuse("reverse", "axis", "a list of whole numbers", axis, (x,))
    return ops.reverse_axes(x, axes=arguments.axes("reverse", x, axis))


def gather(
    params: Any,
    indices: Any,
    validate_indices: Any = None,
    axis: Any = None,
    batch_dims: Any = 0,
    name: str | None = None,
) -> Any:
    """Slices of `params` along `axis` (`batch_dims` where None) at `indices`; with `batch_dims` leading axes in common (counted
    from the end of the indices' where negative). IndexOutOfRangeError where an index is outside. The gradient is a dense
    tensor."""
    x, index = tensor("gather", params), arguments.indices("gather", "indices", indices)
    shape = x.type.shape
    batch = arguments.integer("gather", "batch_dims", batch_dims, (x, index))
    rank = len(index.type.shape)
    if not -rank <= batch <= min(rank, len(shape)):
        message = f"batch_dims {shown(batch)} is not in [{-rank}, {min(rank, len(shape))}]"
        fail(InvalidArgumentError, "gather", (x, index), message)
    along = arguments.axis("gather", x, batch if axis is None else axis, len(shape))
    batch += rank if batch < 0 else 0
    if batch == 0:
        return ops.gather(x, index, axis=along)
    if shape[:batch] != index.type.shape[:batch] or along < batch:
        fail(InvalidArgumentError, "gather", (x, index), f"the first {batch} axes differ, or axis {along} is one of them")
    # The batch axes move next to the gathered one, and an index becomes an index into both.
    rows, depth = math.prod(shape[:batch]), shape[along]
    order = (*range(batch), along, *(each for each in range(batch, len(shape)) if each != along))
    rest = tuple(shape[each] for each in order[batch + 1 :])
    flat = ops.reshape(ops.transpose(x, permutation=order), shape=(rows * depth, *rest))
    inside = ops.check_range(index, low=0, high=depth, what="index", function="gather")
    two = ops.reshape(inside, shape=(rows, math.prod(index.type.shape[batch:])))
    places = ops.add(two, ops.mul(positions(two, two.type.shape, 0), depth))
    found = ops.gather(flat, ops.reshape(places, shape=index.type.shape), axis=0)
    middle = along - batch
    new = len(index.type.shape) - batch
    back = (
        *range(batch),
        *range(batch + new, batch + new + middle),
        *range(batch, batch + new),
        *range(batch + new + middle, len(found.type.shape)),
    )
    return ops.transpose(found, permutation=back)
