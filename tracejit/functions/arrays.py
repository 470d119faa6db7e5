"""Making and rearranging tensors under TensorFlow's names, and Python's indexing."""

from __future__ import annotations

import builtins
import math
import operator
from typing import Any

import numpy as np

from tracejit import ops
from tracejit.functions.math import tensor
from tracejit.ir.errors import DtypeError, IndexOutOfRangeError, InvalidArgumentError, fail
from tracejit.ir.types import DType, as_dtype, float32, int32


def static_shape(name: str, shape: Any) -> tuple[int, ...]:
    """`shape` (a number, a list of numbers, or a tensor with a value) as a tuple. TypeError for a traced tensor."""
    if hasattr(shape, "node"):
        shape.refuse(f"{name} needs a shape that is known while tracing")
    sizes = np.asarray(shape).reshape(-1).tolist()
    if any(not isinstance(size, int) for size in sizes) and sizes:
        raise TypeError(f"{name}: a shape holds whole numbers, not {shape!r}")
    return tuple(sizes)


def reshape(tensor: Any, shape: Any, name: str | None = None) -> Any:
    """The elements of `tensor` in order, in another shape; one size may be -1. InvalidArgumentError where they do not
    fit."""
    (x,) = ops.lift("reshape", (tensor,))
    sizes = static_shape("reshape", shape)
    if sizes.count(-1) > 1 or any(size < -1 for size in sizes):
        fail(
            InvalidArgumentError,
            "reshape",
            (x,),
            f"the shape {list(sizes)} has more than one unknown or a negative size",
        )
    known = math.prod(size for size in sizes if size != -1)
    if -1 in sizes:
        if known == 0 or x.type.size % known:
            fail(InvalidArgumentError, "reshape", (x,), f"{x.type.size} elements do not fill the shape {list(sizes)}")
        sizes = tuple(x.type.size // known if size == -1 else size for size in sizes)
    return ops.reshape(x, shape=sizes)


def squeeze(input: Any, axis: Any = None, name: str | None = None) -> Any:
    """`input` without its axes of size 1, or without those in `axis`. InvalidArgumentError where one has another
    size."""
    x = tensor("squeeze", input)
    shape = x.type.shape
    if axis is None or axis == []:
        return reshape(x, [size for size in shape if size != 1])
    axes = {_axis("squeeze", x, each, len(shape)) for each in (axis if isinstance(axis, (list, tuple)) else [axis])}
    for each in axes:
        if shape[each] != 1:
            fail(InvalidArgumentError, "squeeze", (x,), f"axis {each} has the size {shape[each]}, not 1")
    return reshape(x, [size for position, size in enumerate(shape) if position not in axes])


def _axis(name: str, x: Any, axis: Any, rank: int) -> int:
    axis = operator.index(axis)
    if not -rank <= axis < rank:
        fail(InvalidArgumentError, name, (x,), f"axis {axis} is not in [{-rank}, {rank})")
    return axis % rank


def expand_dims(input: Any, axis: int, name: str | None = None) -> Any:
    """`input` with a new axis of size 1 at `axis`."""
    x = tensor("expand_dims", input)
    place = _axis("expand_dims", x, axis, len(x.type.shape) + 1)
    return reshape(x, (*x.type.shape[:place], 1, *x.type.shape[place:]))


def transpose(a: Any, perm: Any = None, conjugate: bool = False, name: str | None = None) -> Any:
    """`a` with its axes in the order `perm`, reversed where None."""
    x = tensor("transpose", a)
    order = tuple(reversed(builtin_range(len(x.type.shape)))) if perm is None else tuple(int(each) for each in np.asarray(perm))
    return ops.transpose(x, permutation=order)


def broadcast_to(input: Any, shape: Any, name: str | None = None) -> Any:
    """`input` repeated along axes of size 1 and new leading ones. InvalidArgumentError where it does not fit."""
    x = tensor("broadcast_to", input)
    sizes = static_shape("broadcast_to", shape)
    if len(sizes) < len(x.type.shape):
        fail(InvalidArgumentError, "broadcast_to", (x,), f"it has more axes than {list(sizes)}")
    return ops.identity(x) if x.type.shape == sizes else ops.broadcast_to(x, sizes)


def _filled(name: str, shape: Any, value: Any, dtype: DType) -> Any:
    scalar = tensor(name, np.array(value, dtype.numpy))
    return ops.broadcast_to(scalar, static_shape(name, shape))


def zeros(shape: Any, dtype: Any = float32, name: str | None = None) -> Any:
    """A tensor of zeros."""
    return _filled("zeros", shape, 0, as_dtype(dtype))


def ones(shape: Any, dtype: Any = float32, name: str | None = None) -> Any:
    """A tensor of ones."""
    return _filled("ones", shape, 1, as_dtype(dtype))


def fill(dims: Any, value: Any, name: str | None = None) -> Any:
    """A tensor of shape `dims` with every element `value`, which is a scalar."""
    x = tensor("fill", value)
    if x.type.shape:
        fail(InvalidArgumentError, "fill", (x,), "the value must be a scalar")
    return broadcast_to(x, static_shape("fill", dims))


def zeros_like(input: Any, dtype: Any = None, name: str | None = None) -> Any:
    """Zeros of the shape (and, unless given, the dtype) of `input`."""
    x = tensor("zeros_like", input)
    return ops.zeros_like(x) if dtype is None else zeros(x.type.shape, dtype)


def ones_like(input: Any, dtype: Any = None, name: str | None = None) -> Any:
    """Ones of the shape (and, unless given, the dtype) of `input`."""
    x = tensor("ones_like", input)
    return ops.ones_like(x) if dtype is None else ones(x.type.shape, dtype)


def eye(num_rows: int, num_columns: int | None = None, dtype: Any = float32, name: str | None = None) -> Any:
    """The identity matrix."""
    return tensor("eye", np.eye(num_rows, num_columns, dtype=as_dtype(dtype).numpy))


def range(start: Any, limit: Any = None, delta: Any = 1, dtype: Any = None, name: str | None = "range") -> Any:
    """start, start + delta, ... below `limit`; from 0 where one number is given. int32 for whole numbers, else
    float32."""
    if limit is None:
        start, limit = 0, start
    numbers = []
    for each in (start, limit, delta):
        if hasattr(each, "node"):
            each.refuse("range needs numbers that are known while tracing")
        numbers.append(each.numpy().item() if hasattr(each, "numpy") else each)
    if numbers[2] == 0:
        raise ValueError("range: delta must not be 0")
    whole = all(isinstance(number, (int, np.integer)) for number in numbers)
    wanted = as_dtype(dtype) if dtype is not None else int32 if whole else float32
    return tensor("range", np.arange(*numbers).astype(wanted.numpy))


def linspace(start: Any, stop: Any, num: int, name: str | None = None) -> Any:
    """`num` evenly spaced numbers from `start` to `stop`, both included, as float32."""
    return tensor("linspace", np.linspace(start, stop, num).astype(np.float32))


def one_hot(
    indices: Any, depth: int, on_value: Any = 1.0, off_value: Any = 0.0, axis: int = -1, dtype: Any = float32,
    name: str | None = None,
) -> Any:  # fmt: skip
    """indices: i32[...] -> [..., depth], `on_value` at each index and `off_value` elsewhere; an index outside of
    0..depth-1 gives a row of `off_value`. InvalidArgumentError for another axis than the last."""
    x = tensor("one_hot", indices)
    if axis not in (-1, len(x.type.shape)):
        fail(InvalidArgumentError, "one_hot", (x,), f"axis {axis} is not supported, only the last")
    if not x.type.dtype.is_integer:
        fail(DtypeError, "one_hot", (x,), "indices must be int32 or int64")
    kind = as_dtype(dtype)
    on, off = (tensor("one_hot", np.array(value, kind.numpy)) for value in (on_value, off_value))
    hot = hot_mask(x, int(depth))
    return ops.select(hot, *[ops.broadcast_to(each, hot.type.shape) for each in (on, off)])


def hot_mask(indices: Any, depth: int) -> Any:
    """bool[..., depth]: where the position along the last axis is the index."""
    shape = (*indices.type.shape, depth)
    spread = ops.broadcast(indices, shape=shape, axes=tuple(builtin_range(len(shape) - 1)))
    return ops.equal(spread, positions(indices, shape, len(shape) - 1))


def positions(like: Any, shape: tuple[int, ...], axis: int) -> Any:
    """Each element its own index along `axis`, in the dtype of `like`."""
    return ops.iota(shape=shape, axis=axis, dtype=like.type.dtype)


builtin_range = builtins.range


def concat(values: Any, axis: int, name: str | None = "concat") -> Any:
    """The tensors one after the other along `axis`."""
    parts = ops.lift("concat", tuple(values))
    if not parts:
        raise ValueError("concat: values is empty")
    return ops.concat(*parts, axis=_axis("concat", parts[0], axis, len(parts[0].type.shape)))


def stack(values: Any, axis: int = 0, name: str | None = "stack") -> Any:
    """Tensors of one shape along a new axis. InvalidArgumentError where their shapes differ."""
    parts = ops.lift("stack", tuple(values))
    if not parts:
        raise ValueError("stack: values is empty")
    if any(part.type.shape != parts[0].type.shape for part in parts):
        fail(InvalidArgumentError, "stack", parts, "the tensors differ in shape")
    return concat([expand_dims(part, axis) for part in parts], axis)


def unstack(value: Any, num: int | None = None, axis: int = 0, name: str | None = "unstack") -> list[Any]:
    """The slices along `axis`, without that axis."""
    x = tensor("unstack", value)
    along = _axis("unstack", x, axis, len(x.type.shape))
    return [squeeze(part, along) for part in split(x, x.type.shape[along], along)]


def split(value: Any, num_or_size_splits: Any, axis: int = 0, num: int | None = None, name: str | None = "split") -> list[Any]:
    """Parts along `axis`: a number of equal ones, or a list of sizes. InvalidArgumentError where they do not add up."""
    x = tensor("split", value)
    shape = x.type.shape
    along = _axis("split", x, axis, len(shape))
    if isinstance(num_or_size_splits, (list, tuple)):
        sizes = [int(size) for size in num_or_size_splits]
        if sizes.count(-1) == 1:
            sizes[sizes.index(-1)] = shape[along] - sum(size for size in sizes if size != -1)
    else:
        count = int(num_or_size_splits)
        sizes = [shape[along] // max(count, 1)] * count
    if sum(sizes) != shape[along] or min(sizes, default=-1) < 0:
        fail(
            InvalidArgumentError,
            "split",
            (x,),
            f"axis {along} has {shape[along]} elements, which {num_or_size_splits} does not divide",
        )
    parts, start = [], 0
    for size in sizes:
        starts = tuple(start if position == along else 0 for position in builtin_range(len(shape)))
        extent = tuple(size if position == along else each for position, each in enumerate(shape))
        parts.append(ops.slice(x, starts=starts, sizes=extent, strides=(1,) * len(shape)))
        start += size
    return parts


def pad(tensor: Any, paddings: Any, mode: str = "CONSTANT", constant_values: Any = 0, name: str | None = None) -> Any:
    """`tensor` with `paddings[axis] = (before, after)` elements added. ValueError for another mode than CONSTANT."""
    if mode.upper() != "CONSTANT":
        raise ValueError(f"pad: mode={mode!r} is not supported, only 'CONSTANT'")
    (x,) = ops.lift("pad", (tensor,))
    if not x.type.dtype.is_floating and int(constant_values) != constant_values:
        fail(DtypeError, "pad", (x,), f"constant_values={constant_values!r} is no {x.type.dtype.name}")
    low, high = (tuple(int(pair[side]) for pair in np.asarray(paddings).tolist()) for side in (0, 1))
    return ops.pad(
        x, low=low, high=high, interior=(0,) * len(low), value=np.asarray(constant_values, x.type.dtype.numpy).item()
    )


def tile(input: Any, multiples: Any, name: str | None = None) -> Any:
    """`input` repeated `multiples[axis]` times along each axis."""
    x = tensor("tile", input)
    counts = static_shape("tile", multiples)
    shape = x.type.shape
    if len(counts) != len(shape):
        fail(InvalidArgumentError, "tile", (x,), f"multiples {list(counts)} needs {len(shape)} numbers")
    spread = tuple(size for pair in zip(counts, shape, strict=True) for size in pair)
    repeated = ops.broadcast(x, shape=spread, axes=tuple(builtin_range(1, 2 * len(shape), 2)))
    return ops.reshape(repeated, shape=tuple(count * size for count, size in zip(counts, shape, strict=True)))


def reverse(tensor: Any, axis: Any, name: str | None = None) -> Any:
    """`tensor` backwards along the axes in `axis`."""
    (x,) = ops.lift("reverse", (tensor,))
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    return ops.reverse_axes(x, axes=tuple(sorted({_axis("reverse", x, each, len(x.type.shape)) for each in axes})))


def gather(
    params: Any,
    indices: Any,
    validate_indices: Any = None,
    axis: Any = None,
    batch_dims: int = 0,
    name: str | None = None,
) -> Any:
    """Slices of `params` along `axis` (`batch_dims` where None) at `indices`; with `batch_dims` leading axes in common.
    IndexOutOfRangeError where an index is outside. The gradient is a dense tensor."""
    x, index = tensor("gather", params), tensor("gather", indices)
    shape = x.type.shape
    batch = operator.index(batch_dims)
    along = _axis("gather", x, batch if axis is None else axis, len(shape))
    if batch == 0:
        return ops.gather(x, index, axis=along)
    if shape[:batch] != index.type.shape[:batch] or along < batch:
        fail(InvalidArgumentError, "gather", (x, index), f"the first {batch} axes differ, or axis {along} is one of them")
    # The batch axes move next to the gathered one, and an index becomes an index into both.
    rows, depth = math.prod(shape[:batch]), shape[along]
    order = (*builtin_range(batch), along, *(each for each in builtin_range(batch, len(shape)) if each != along))
    rest = tuple(shape[each] for each in order[batch + 1 :])
    flat = ops.reshape(ops.transpose(x, permutation=order), shape=(rows * depth, *rest))
    inside = ops.check_range(index, low=0, high=depth, what="index")
    two = ops.reshape(inside, shape=(rows, math.prod(index.type.shape[batch:])))
    places = ops.add(two, ops.mul(positions(two, two.type.shape, 0), depth))
    found = ops.gather(flat, ops.reshape(places, shape=index.type.shape), axis=0)
    middle = along - batch
    new = len(index.type.shape) - batch
    back = (
        *builtin_range(batch),
        *builtin_range(batch + new, batch + new + middle),
        *builtin_range(batch, batch + new),
        *builtin_range(batch + new + middle, len(found.type.shape)),
    )
    return ops.transpose(found, permutation=back)


def getitem(x: Any, key: Any) -> Any:
    """x[key] with ints, slices, Ellipsis, None and integer tensors (scalars, and one of any shape, each along its
    axis). IndexOutOfRangeError for an index outside of its axis, TypeError for a key of another kind."""
    (whole,) = ops.lift("getitem", (x,))
    x = whole
    keys = list(key) if isinstance(key, tuple) else [key]
    shape = x.type.shape
    used = sum(1 for each in keys if each is not None and each is not Ellipsis)
    if used > len(shape):
        fail(InvalidArgumentError, "getitem", (x,), f"{used} indices for {len(shape)} axes")
    if not any(each is Ellipsis for each in keys):
        keys.append(Ellipsis)
    spot = next(position for position, each in enumerate(keys) if each is Ellipsis)
    keys[spot : spot + 1] = [slice(None)] * (len(shape) - used)
    starts, sizes, strides, backwards, final = [], [], [], [], []
    gathers: list[tuple[int, Any]] = []
    axis = 0
    for each in keys:
        if each is None:
            final.append(1)
            continue
        extent = shape[axis]
        if isinstance(each, slice):
            parts = [None if part is None else operator.index(part) for part in (each.start, each.stop, each.step)]
            taken = builtin_range(*slice(*parts).indices(extent))
            step = taken.step
            if step < 0:
                backwards.append(axis)
                taken = taken[::-1]
            starts.append(taken.start if len(taken) else 0)
            sizes.append(len(taken))
            strides.append(abs(step))
            final.append(len(taken))
        elif hasattr(each, "type") and hasattr(each, "shape"):
            if not each.type.dtype.is_integer:
                fail(DtypeError, "getitem", (x, each), "a tensor that indexes must be int32 or int64")
            if each.type.shape and any(other.type.shape for _, other in gathers):
                fail(DtypeError, "getitem", (x, each), "only one tensor that is no scalar may index")
            (each,) = ops.lift("getitem", (each,))
            from_end = ops.less(each, ops.zeros_like(each))
            gathers.append((len(final), ops.select(from_end, ops.add(each, extent), each)))
            starts.append(0)
            sizes.append(extent)
            strides.append(1)
            final.append(extent)
        else:
            try:
                index = operator.index(each)
            except TypeError:
                raise TypeError(
                    f"a tensor is indexed by ints, slices, Ellipsis, None and integer tensors, not {each!r}"
                ) from None
            if not -extent <= index < extent:
                fail(
                    IndexOutOfRangeError,
                    "getitem",
                    (x,),
                    f"index {index} is out of range for axis {axis} of size {extent}",
                )
            starts.append(index % extent)
            sizes.append(1)
            strides.append(1)
        axis += 1
    if sizes != list(shape):
        x = ops.slice(x, starts=tuple(starts), sizes=tuple(sizes), strides=tuple(strides))
    if backwards:
        x = ops.reverse_axes(x, axes=tuple(backwards))
    if x.type.shape != tuple(final) or (x is whole and not gathers):  # what comes back is another tensor
        x = ops.reshape(x, shape=tuple(final))
    for place, each in reversed(gathers):
        x = gather(x, each, axis=place)
    return x
