"""Convolution and pooling under TensorFlow's names (tj.nn)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tracejit import ops
from tracejit.functions import arguments
from tracejit.functions.math import tensor
from tracejit.ir.errors import DtypeError, InvalidArgumentError, fail, shown

Ints = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]

_MOST = 2**31 - 1
_NO_SIDES = ((0, 0), (0, 0))
# (axes that bring a format's axes into NHWC's order, axes that bring them back)
_ORDERS = {"NHWC": None, "NCHW": ((0, 2, 3, 1), (0, 3, 1, 2))}


def conv2d(
    input: Any,
    filters: Any,
    strides: Any,
    padding: Any,
    data_format: str = "NHWC",
    dilations: Any = None,
    name: str | None = None,
) -> Any:
    """input: f32[n,h,w,c]; filters: f32[kh,kw,c,o] -> f32[n,oh,ow,o]; where c is a multiple of the filters' channels, each of
    several groups of channels has its own share of the filters.

    `padding` is "SAME", "VALID" or a pair (before, after) for each axis of `data_format`, "NHWC" or "NCHW".
    InvalidArgumentError where the shapes do not fit, or for another padding or format.
    """
    x, w = _operands("conv2d", input, filters)
    x = _to_nhwc("conv2d", x, data_format)
    *window, channels, features = w.type.shape
    groups = _groups("conv2d", x, w, channels, features)
    steps = _pair("conv2d", "strides", strides, data_format)
    dilation = _pair("conv2d", "dilations", dilations, data_format)
    sides = _sides("conv2d", x, padding, ops.window_extents(window, dilation), steps, data_format)
    if window == [1, 1]:
        x, sides, steps = _stepped(_padded(x, sides, 0.0), steps), _NO_SIDES, (1, 1)
    if groups == 1 and sides == _NO_SIDES and ops.window_extents(window, dilation) == tuple(window):
        blocks = _blocks(x, window, steps)
        if blocks is not None:
            return _from_nhwc(_multiplied(blocks, w), data_format)
    of_groups = ops.reshape(w, shape=(*window, channels, groups, features // groups))
    arranged = ops.transpose(of_groups, permutation=(0, 1, 3, 2, 4))
    result = _convolved(x, sides, arranged, groups, steps, dilation)
    return _from_nhwc(result, data_format)


def depthwise_conv2d(
    input: Any,
    filter: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = None,
    dilations: Any = None,
    name: str | None = None,
) -> Any:
    """input: f32[n,h,w,c]; filter: f32[kh,kw,c,m] -> f32[n,oh,ow,c*m]: m filters of each channel's own. `padding` and
    `data_format` as for conv2d."""
    x, w = _operands("depthwise_conv2d", input, filter)
    x = _to_nhwc("depthwise_conv2d", x, data_format)
    *window, channels, features = w.type.shape
    if channels != x.type.shape[3]:
        message = f"the filter is for {channels} channels, the input has {x.type.shape[3]}"
        fail(InvalidArgumentError, "depthwise_conv2d", (x, w), message)
    steps = _pair("depthwise_conv2d", "strides", strides, data_format)
    dilation = _pair("depthwise_conv2d", "dilations", dilations, data_format)
    sides = _sides("depthwise_conv2d", x, padding, ops.window_extents(window, dilation), steps, data_format)
    arranged = ops.reshape(w, shape=(*window, channels, 1, features))
    result = _convolved(x, sides, arranged, channels, steps, dilation)
    return _from_nhwc(result, data_format)


def conv2d_transpose(
    input: Any,
    filters: Any,
    output_shape: Any,
    strides: Any,
    padding: Any = "SAME",
    data_format: str = "NHWC",
    dilations: Any = None,
    name: str | None = None,
) -> Any:
    """input: f32[n,oh,ow,o]; filters: f32[kh,kw,c,o] -> f32[n,h,w,c] of `output_shape`: conv2d's gradient with respect to its
    input, for the cotangent `input`. InvalidArgumentError where conv2d would not give the shape of `input`."""
    function = "conv2d_transpose"
    ct, w = _operands(function, input, filters)
    ct = _to_nhwc(function, ct, data_format)
    shape = arguments.shape(function, "output_shape", output_shape, ct.type.dtype, (ct, w))
    if len(shape) != 4:
        fail(InvalidArgumentError, function, (ct, w), f"output_shape must be 4 sizes, not {list(shape)}")
    *window, channels, features = w.type.shape
    order = _order(function, data_format)
    whole = shape if order is None else tuple(shape[axis] for axis in order[0])
    steps = _pair(function, "strides", strides, data_format)
    dilation = _pair(function, "dilations", dilations, data_format)
    reach = ops.window_extents(window, dilation)
    sides = _sides(function, whole, padding, reach, steps, data_format)
    padded = tuple(size + sum(side) for size, side in zip(whole[1:3], sides, strict=True))
    positions = tuple((size - extent) // step + 1 for size, extent, step in zip(padded, reach, steps, strict=True))
    if (whole[0], *positions, features) != ct.type.shape or whole[3] != channels:
        message = f"conv2d of {list(whole)} with these filters has not the shape {list(ct.type.shape)} of the input"
        fail(InvalidArgumentError, function, (ct, w), message)
    arranged = ops.reshape(w, shape=(*window, 1, channels, features))
    grouped = ops.reshape(ct, shape=(*ct.type.shape[:3], 1, features))
    result = ops.reshape(
        ops.transposed_convolution(grouped, arranged, padded, steps, dilation), shape=(whole[0], *padded, channels)
    )
    starts = (0, sides[0][0], sides[1][0], 0)
    inside = ops.slice(result, starts=starts, sizes=whole, strides=(1, 1, 1, 1))
    return _from_nhwc(inside, data_format)


def max_pool2d(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: str | None = "NHWC", name: str | None = None
) -> Any:
    """input: f32[n,h,w,c] -> f32[n,oh,ow,c]: the maximum of each window of `ksize`; its gradient goes to the first one in
    row-major order. `padding` and `data_format` as for conv2d."""
    x = _image("max_pool2d", input, data_format)
    window = _pair("max_pool2d", "ksize", ksize, data_format)
    steps = _pair("max_pool2d", "strides", strides, data_format)
    sides = _sides("max_pool2d", x, padding, window, steps, data_format)
    least = -math.inf if x.type.dtype.is_floating else x.type.dtype.min
    return _from_nhwc(ops.max_windows(_padded(x, sides, least), window=window, strides=steps), data_format)


def avg_pool2d(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: str | None = "NHWC", name: str | None = None
) -> Any:
    """input: f32[n,h,w,c] -> f32[n,oh,ow,c]: the mean of each window of `ksize`, of the elements that lie in the input.
    `padding` is "SAME" or "VALID"."""
    x = _image("avg_pool2d", input, data_format)
    if not x.type.dtype.is_floating:
        fail(DtypeError, "avg_pool2d", (x,), f"it takes float32 and float64, not {x.type.dtype.name}")
    if not isinstance(padding, str):
        arguments.refuse("avg_pool2d", "padding", "'SAME' or 'VALID'", padding, (x,))
    window = _pair("avg_pool2d", "ksize", ksize, data_format)
    steps = _pair("avg_pool2d", "strides", strides, data_format)
    sides = _sides("avg_pool2d", x, padding, window, steps, data_format)
    channels = x.type.shape[3]
    blocks = _blocks(x, window, steps) if sides == _NO_SIDES else None
    if blocks is not None:
        total = ops.reduce_sum(blocks, axes=(2, 4))
    else:
        ones = ops.broadcast_to(_constant(x, 1.0), (*window, channels, 1, 1))
        total = _convolved(x, sides, ones, channels, steps, (1, 1))
    counts = [
        _counts(size, side, extent, step)
        for size, side, extent, step in zip(x.type.shape[1:3], sides, window, steps, strict=True)
    ]
    shares = 1 / np.outer(*counts)[:, :, None]
    share = shares.flat[0] if (shares == shares.flat[:1]).all() and shares.size else shares
    return _from_nhwc(ops.mul(total, _constant(x, share)), data_format)


def max_pool(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: str | None = None, name: str | None = None
) -> Any:
    """max_pool2d."""
    return max_pool2d(input, ksize, strides, padding, data_format)


def avg_pool(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: str | None = None, name: str | None = None
) -> Any:
    """avg_pool2d."""
    return avg_pool2d(input, ksize, strides, padding, data_format)


# -- what they share


def _constant(x: Any, values: Any) -> Any:
    """`values` as a tensor of the dtype of `x`."""
    return ops.lift("fill", (x, np.array(values, x.type.dtype.numpy)))[1]


def _operands(name: str, input: Any, filters: Any) -> tuple[Any, Any]:
    x, w = ops.lift(name, (input, filters))
    for each, what in ((x, "input"), (w, "filter")):
        if len(each.type.shape) != 4:
            fail(InvalidArgumentError, name, (x, w), f"the {what} needs 4 axes")
    if x.type.dtype is not w.type.dtype:
        message = f"operands must have one dtype, but these are {x.type.dtype.name} and {w.type.dtype.name}"
        fail(DtypeError, name, (x, w), message + "; convert one with cast")
    return x, w


def _image(name: str, input: Any, data_format: str | None) -> Any:
    x = tensor(name, input)
    if len(x.type.shape) != 4:
        fail(InvalidArgumentError, name, (x,), "the input needs 4 axes")
    return _to_nhwc(name, x, data_format)


def _groups(name: str, x: Any, w: Any, channels: int, features: int) -> int:
    """How many groups of `channels` the input has, each with its share of the `features`."""
    whole = x.type.shape[3]
    if whole == channels:
        return 1
    if channels == 0 or whole % channels or whole == 0 or features % (whole // channels):
        message = f"{whole} channels are no groups for filters of {channels} channels and {features} features"
        fail(InvalidArgumentError, name, (x, w), message)
    return whole // channels


def _order(name: str, data_format: str | None) -> tuple[Ints, Ints] | None:
    wanted = "NHWC" if data_format is None else arguments.choice(name, "data_format", data_format, tuple(_ORDERS))
    return _ORDERS[wanted]


def _to_nhwc(name: str, x: Any, data_format: str | None) -> Any:
    order = _order(name, data_format)
    return x if order is None else ops.transpose(x, permutation=order[0])


def _from_nhwc(x: Any, data_format: str | None) -> Any:
    order = _ORDERS["NHWC" if data_format is None else data_format]
    return x if order is None else ops.transpose(x, permutation=order[1])


def _pair(name: str, what: str, value: Any, data_format: str | None) -> Ints:
    """The numbers for height and width of `value`: one for both, two, or one an axis. DtypeError where they are no whole
    numbers, InvalidArgumentError where they are others."""
    numbers = (1,) if value is None else arguments.integers(name, what, value, (), "1, 2 or 4 positive whole numbers")
    if len(numbers) == 1:
        numbers *= 2
    elif len(numbers) == 4:
        order = _order(name, data_format)
        numbers = numbers if order is None else tuple(numbers[axis] for axis in order[0])
        if numbers[0] != 1 or numbers[3] != 1:
            fail(InvalidArgumentError, name, (), f"{what}={shown(value)}: only 1 is supported for batch and channels")
        numbers = numbers[1:3]
    if len(numbers) != 2 or min(numbers) < 1 or max(numbers) > _MOST:
        fail(InvalidArgumentError, name, (), f"{what}={shown(value)} must be 1, 2 or 4 positive numbers")
    return numbers


def _sides(name: str, x: Any, padding: Any, reach: Ints, strides: Ints, data_format: str | None) -> Pairs:
    """What `padding` adds before and after height and width of `x` (in NHWC's order), a value or a shape."""
    shape = x if isinstance(x, tuple) else x.type.shape
    sides = _asked_sides(name, shape[1:3], padding, reach, strides, data_format)
    padded = [size + sum(side) for size, side in zip(shape[1:3], sides, strict=True)]
    arguments.check_size(name, (shape[0], *padded, shape[3]), None)
    if any(size < extent for size, extent in zip(padded, reach, strict=True)):
        fail(InvalidArgumentError, name, (), f"a window of {list(reach)} elements does not fit into {padded}")
    return sides


def _asked_sides(name: str, sizes: Ints, padding: Any, reach: Ints, strides: Ints, data_format: str | None) -> Pairs:
    if isinstance(padding, str) and padding.upper() == "VALID":
        return _NO_SIDES
    if isinstance(padding, str) and padding.upper() == "SAME":
        missing = [
            max((-(-size // step) - 1) * step + extent - size, 0)
            for size, extent, step in zip(sizes, reach, strides, strict=True)
        ]
        return tuple((each // 2, each - each // 2) for each in missing)
    expected = "'SAME', 'VALID' or a pair of numbers for each of the 4 axes"
    if not isinstance(padding, (str, list, tuple, np.ndarray)):
        arguments.refuse(name, "padding", expected, padding)
    pairs = [] if isinstance(padding, str) else arguments.table(name, "padding", padding)
    if len(pairs) != 4 or any(min(pair) < 0 for pair in pairs):
        fail(InvalidArgumentError, name, (), f"padding={shown(padding)} must be {expected}")
    order = _order(name, data_format)
    batch, *sides, channels = pairs if order is None else [pairs[axis] for axis in order[0]]
    if any((*batch, *channels)):
        fail(InvalidArgumentError, name, (), f"padding={shown(padding)}: batch and channels cannot be padded")
    return tuple((low, high) for low, high in sides)


def _stepped(x: Any, strides: Ints) -> Any:
    """Every so manyth element of axes 1 and 2."""
    if strides == (1, 1):
        return x
    n, *size, channels = x.type.shape
    counts = (-(-whole // step) for whole, step in zip(size, strides, strict=True))
    return ops.slice(x, starts=(0,) * 4, sizes=(n, *counts, channels), strides=(1, *strides, 1))


def _padded(x: Any, sides: Pairs, value: float) -> Any:
    """`x` with `sides` added to axes 1 and 2."""
    if not any(any(side) for side in sides):
        return x
    others = (0,) * (len(x.type.shape) - 3)
    low, high = ((0, sides[0][end], sides[1][end], *others) for end in (0, 1))
    return ops.pad(x, low=low, high=high, interior=(0,) * len(low), value=value)


def _blocks(x: Any, window: Any, strides: Ints) -> Any | None:
    """x: f32[n,h,w,c] as f32[n,oh,kh,ow,kw,c] where the windows lie next to each other and hold all of it; else None."""
    n, *size, channels = x.type.shape
    whole = all(
        extent > 0 and extent in (step, whole) and whole % extent == 0
        for whole, extent, step in zip(size, window, strides, strict=True)
    )
    (height, width), (kh, kw) = size, window
    return ops.reshape(x, shape=(n, height // kh, kh, width // kw, kw, channels)) if whole else None


def _multiplied(blocks: Any, filters: Any) -> Any:
    """A convolution of windows that lie next to each other: a product of matrices."""
    n, height, kh, width, kw, channels = blocks.type.shape
    depth, features = kh * kw * channels, filters.type.shape[3]
    together = ops.transpose(blocks, permutation=(0, 1, 3, 2, 4, 5))
    rows = ops.reshape(together, shape=(n * height * width, depth))
    product = ops.matmul(rows, ops.reshape(filters, shape=(depth, features)), transpose_a=False, transpose_b=False)
    return ops.reshape(product, shape=(n, height, width, features))


def _convolved(x: Any, sides: Pairs, filters: Any, groups: int, strides: Ints, dilations: Ints) -> Any:
    """x: f32[n,h,w,g*c]; filters: f32[kh,kw,g,c,o] -> f32[n,oh,ow,g*o]."""
    grouped = ops.reshape(x, shape=(*x.type.shape[:3], groups, filters.type.shape[3]))
    result = ops.convolution(_padded(grouped, sides, 0.0), filters, strides=strides, dilations=dilations)
    kept = result.type.shape
    return ops.reshape(result, shape=(*kept[:3], kept[3] * kept[4]))


def _counts(size: int, side: tuple[int, int], extent: int, stride: int) -> np.ndarray:
    """How many elements of the axis each window holds that are no padding."""
    first = np.arange(0, size + sum(side) - extent + 1, stride) - side[0]
    return np.minimum(first + extent, size) - np.maximum(first, 0)
