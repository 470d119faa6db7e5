"""Convolution and the maximum over windows, both over the elements that are there: padding is the op `pad` before them.

A convolution has groups, so that depthwise ones are no special case. It closes under differentiation: the gradient of either
operand is again a convolution, of views.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tracejit.ir.errors import DtypeError
from tracejit.ir.op import Kernel, Op, require
from tracejit.ir.op import registered as ops
from tracejit.ir.types import TensorType
from tracejit.ops.cotangents import Gapped
from tracejit.ops.elementwise import FLOATS, NUMBERS, require_dtype, sample_array
from tracejit.ops.operands import lift, zeros_like

Ints = tuple[int, ...]


def _check_steps(name: str, types: tuple[TensorType, ...], **steps: Ints) -> None:
    for what, values in steps.items():
        valid = len(values) == 2 and min(values) >= 1
        require(valid, name, types, f"{what} {list(values)} are not two positive numbers")


def window_extents(window: Sequence[int], dilations: Ints) -> Ints:
    """From the first to the last element of a window, along each axis."""
    return tuple((size - 1) * dilation + 1 for size, dilation in zip(window, dilations, strict=True))


def _positions(name: str, types: tuple[TensorType, ...], window: Ints, strides: Ints, dilations: Ints) -> Ints:
    """How many windows lie inside of the first operand's axes 1 and 2."""
    sizes = types[0].shape[1:3]
    reach = window_extents(window, dilations)
    fits = all(size >= extent >= 1 for size, extent in zip(sizes, reach, strict=True))
    message = f"a window of {list(reach)} elements does not fit into {list(sizes)}"
    require(fits, name, types, message)
    return tuple((size - extent) // stride + 1 for size, extent, stride in zip(sizes, reach, strides, strict=True))


def _windows(x: Any, window: Ints, strides: Ints, dilations: Ints) -> Any:
    """A view of the array: [n, oh, ow, kh, kw, ...]."""
    positions = [
        (size - extent) // stride + 1
        for size, extent, stride in zip(x.shape[1:3], window_extents(window, dilations), strides, strict=True)
    ]
    steps = [stride * own for stride, own in zip(strides, x.strides[1:3], strict=True)]
    inner = [dilation * own for dilation, own in zip(dilations, x.strides[1:3], strict=True)]
    shape = (x.shape[0], *positions, *window, *x.shape[3:])
    layout = (x.strides[0], *steps, *inner, *x.strides[3:])
    return np.lib.stride_tricks.as_strided(x, shape, layout, writeable=False)


# -- convolution


def _infer(x: TensorType, filters: TensorType, strides: Ints, dilations: Ints) -> TensorType:
    types = (x, filters)
    require(x.rank == filters.rank == 5, "convolution", types, "both operands need 5 axes")
    require(
        x.dtype is filters.dtype, "convolution", types, f"the dtypes {x.dtype.name} and {filters.dtype.name} differ", DtypeError
    )
    require_dtype("convolution", types, x.dtype, NUMBERS)
    _check_steps("convolution", types, strides=strides, dilations=dilations)
    groups, channels = x.shape[3:]
    message = f"the filters are for {filters.shape[2]} groups of {filters.shape[3]} channels, not for {groups} of {channels}"
    require(filters.shape[2:4] == (groups, channels), "convolution", types, message)
    positions = _positions("convolution", types, filters.shape[:2], strides, dilations)
    return TensorType((x.shape[0], *positions, groups, filters.shape[4]), x.dtype)


def _evaluate(x: Any, filters: Any, strides: Ints, dilations: Ints) -> Any:
    *window, groups, channels, features = filters.shape
    windows = _windows(x, tuple(window), strides, dilations)
    n, height, width = windows.shape[:3]
    depth = window[0] * window[1] * channels
    rows = windows.transpose(5, 0, 1, 2, 3, 4, 6).reshape(groups, n * height * width, depth)
    columns = filters.transpose(2, 0, 1, 3, 4).reshape(groups, depth, features)
    result = np.matmul(rows, columns).reshape(groups, n, height, width, features)
    return np.ascontiguousarray(result.transpose(1, 2, 3, 0, 4))


def transposed_convolution(ct: Any, filters: Any, size: Ints, strides: Ints, dilations: Ints) -> Any:
    """The cotangent of a convolution's operand, whose axes 1 and 2 have `size`."""
    apart = all(stride == 1 or dilation == 1 for stride, dilation in zip(strides, dilations, strict=True))
    if strides != (1, 1) and apart and filters.type.shape[2] == 1:
        return _transposed_by_blocks(ct, filters, size, strides, dilations)
    low = tuple(extent - 1 for extent in window_extents(filters.type.shape[:2], dilations))
    counts = zip(size, ct.type.shape[1:3], strides, strict=True)
    high = tuple(whole - (count - 1) * stride - 1 for whole, count, stride in counts)
    interior = tuple(stride - 1 for stride in strides)
    padded = ops.pad(ct, low=(0, *low, 0, 0), high=(0, *high, 0, 0), interior=(0, *interior, 0, 0), value=0.0)
    turned = ops.transpose(ops.reverse(filters, axes=(0, 1)), permutation=(0, 1, 2, 4, 3))
    return convolution(padded, turned, strides=(1, 1), dilations=dilations)


def _transposed_by_blocks(ct: Any, filters: Any, size: Ints, strides: Ints, dilations: Ints) -> Any:
    """`transposed_convolution` without multiplying the zeros between the elements of `ct`, for one group.

    Along an axis, place q * stride + r of the result is a sum over t of ct[q - t] times the filters at r + t * stride. So the
    filters for each r are features of a convolution of `ct`, and its result holds a block of places for each q.
    """
    *window, _, channels, features = filters.type.shape
    n = ct.type.shape[0]
    times = [-(-extent // stride) for extent, stride in zip(window, strides, strict=True)]
    block = [min(extent, stride) for extent, stride in zip(window, strides, strict=True)]
    blocks = [-(-whole // stride) for whole, stride in zip(size, strides, strict=True)]
    missing = [each * count - extent for each, count, extent in zip(block, times, window, strict=True)]
    whole = ops.pad(filters, low=(0,) * 5, high=(*missing, 0, 0, 0), interior=(0,) * 5, value=0.0)
    parts = ops.reshape(whole, shape=(times[0], block[0], times[1], block[1], channels, features))
    turned = ops.transpose(ops.reverse(parts, axes=(0, 2)), permutation=(0, 2, 5, 1, 3, 4))
    merged = ops.reshape(turned, shape=(*times, 1, features, block[0] * block[1] * channels))
    low = tuple((count - 1) * dilation for count, dilation in zip(times, dilations, strict=True))
    high = tuple(count - old for count, old in zip(blocks, ct.type.shape[1:3], strict=True))
    padded = ops.pad(ct, low=(0, *low, 0, 0), high=(0, *high, 0, 0), interior=(0,) * 5, value=0.0)
    result = ops.reshape(convolution(padded, merged, strides=(1, 1), dilations=dilations), shape=(n, *blocks, *block, channels))
    interleaved = ops.transpose(result, permutation=(0, 1, 3, 2, 4, 5))
    gaps = (0, 0, strides[0] - block[0], 0, strides[1] - block[1], 0)
    filled = ops.pad(interleaved, low=(0,) * 6, high=gaps, interior=(0,) * 6, value=0.0) if any(gaps) else interleaved
    places = (blocks[0] * strides[0], blocks[1] * strides[1])
    return ops.slice(
        ops.reshape(filled, shape=(n, *places, 1, channels)), starts=(0,) * 5, sizes=(n, *size, 1, channels), strides=(1,) * 5
    )


def _vjp_x(ct: Any, out: Any, x: Any, filters: Any, strides: Ints, dilations: Ints) -> Any:
    return transposed_convolution(ct, filters, x.type.shape[1:3], strides, dilations)


def _vjp_filters(ct: Any, out: Any, x: Any, filters: Any, strides: Ints, dilations: Ints) -> Any:
    """Batch and channels change their roles, and so do strides and dilations."""
    window, positions = filters.type.shape[:2], ct.type.shape[1:3]
    used = tuple(
        extent + (count - 1) * stride
        for extent, count, stride in zip(window_extents(window, dilations), positions, strides, strict=True)
    )
    n, _, _, *channels = x.type.shape
    touched = ops.slice(x, starts=(0,) * 5, sizes=(n, *used, *channels), strides=(1,) * 5)
    swapped = ops.transpose(touched, permutation=(4, 1, 2, 3, 0))
    result = convolution(swapped, ops.transpose(ct, permutation=(1, 2, 3, 0, 4)), strides=dilations, dilations=strides)
    return ops.transpose(result, permutation=(1, 2, 3, 0, 4))


def _to_copy(node: Any, views: Any) -> list[int]:
    """The operands whose elements for neighbours in the result would be neighbours if they were copied."""
    x, filters = views
    *_, groups, features = node.type.shape
    if features > 1:
        return [] if filters.strides[4] == 1 else [1]
    if groups == 1 or x.shape[4] > 1:
        return []
    return [number for number, stride in enumerate((x.strides[3], filters.strides[2])) if stride not in (0, 1)]


def _flops(node: Any) -> int:
    height, width, _, channels, _ = node.operands[1].shape
    return 2 * node.type.size * height * width * channels


def _samples(rng: np.random.Generator) -> Iterator[tuple[tuple[np.ndarray, np.ndarray], dict[str, Any]]]:
    cases: tuple[tuple[Ints, Ints, Ints, Ints], ...] = (
        ((2, 5, 4, 1, 3), (3, 2, 1, 3, 4), (1, 1), (1, 1)),
        ((1, 6, 7, 1, 2), (2, 3, 1, 2, 5), (2, 1), (1, 2)),
        ((2, 3, 4, 1, 5), (1, 1, 1, 5, 17), (1, 1), (1, 1)),
        ((1, 7, 5, 3, 1), (3, 2, 3, 1, 1), (3, 2), (2, 1)),
        ((1, 4, 4, 2, 2), (2, 2, 2, 2, 3), (1, 2), (1, 1)),
        ((0, 3, 3, 1, 2), (2, 2, 1, 2, 3), (1, 1), (1, 1)),
        ((1, 3, 3, 1, 0), (2, 2, 1, 0, 3), (1, 1), (1, 1)),
    )
    for dtype in NUMBERS:
        for shape, window, strides, dilations in cases:
            arrays = sample_array(rng, shape, dtype), sample_array(rng, window, dtype)
            yield arrays, {"strides": strides, "dilations": dilations}


# x: f32[n,h,w,g,c]; filters: f32[kh,kw,g,c,o] -> f32[n,oh,ow,g,o], each group with its own filters.
convolution: Op = Op(
    "convolution",
    infer=_infer,
    evaluate=_evaluate,
    vjp=(_vjp_x, _vjp_filters),
    lower=Kernel(contiguous=_to_copy, product_flops=_flops),
    samples=_samples,
)


# -- the maximum of each window


def _max_infer(x: TensorType, window: Ints, strides: Ints) -> TensorType:
    require(x.rank == 4, "max_windows", (x,), "it needs 4 axes")
    require_dtype("max_windows", (x,), x.dtype, NUMBERS)
    _check_steps("max_windows", (x,), window=window, strides=strides)
    return TensorType((x.shape[0], *_positions("max_windows", (x,), window, strides, (1, 1)), x.shape[3]), x.dtype)


def _max_vjp(ct: Any, out: Any, x: Any, window: Ints, strides: Ints) -> Any:
    """To the first element in row-major order that is the maximum.

    An element's place is q * stride + r along each axis. Of the windows that hold it, the one that begins `t` strides before
    q's has it at r + t * stride; so all elements collect from all windows in one loop nest.
    """
    n, height, width, channels = x.type.shape
    reach = [-(-size // stride) for size, stride in zip(window, strides, strict=True)]
    blocks = [-(-size // stride) for size, stride in zip((height, width), strides, strict=True)]
    code = reach[1] * strides[1]  # more than any place along the last axis of a window
    low = (0, reach[0] - 1, reach[1] - 1, 0)
    high = (0, blocks[0] - ct.type.shape[1], blocks[1] - ct.type.shape[2], 0)
    padding = {"low": low, "high": high, "interior": (0,) * 4}
    first = _first_place(out, x, window, strides, code)
    if any((*low, *high)):
        first, ct = ops.pad(first, value=-1.0, **padding), ops.pad(ct, value=0.0, **padding)
    space = (n, blocks[0], strides[0], blocks[1], strides[1], channels)
    total = None
    for before in np.ndindex(*reach):
        starts = (0, *(most - 1 - each for most, each in zip(reach, before, strict=True)), 0)
        part = {"starts": starts, "sizes": (n, *blocks, channels), "strides": (1,) * 4}
        there, cotangent = (ops.broadcast(ops.slice(each, **part), shape=space, axes=(0, 1, 3, 5)) for each in (first, ct))
        rows, columns = (each * stride + np.arange(stride) for each, stride in zip(before, strides, strict=True))
        place = _constant(rows[:, None] * code + columns, x)
        at = ops.equal(there, ops.broadcast(place, shape=space, axes=(2, 4)))
        term = ops.select(at, cotangent, zeros_like(cotangent))
        total = term if total is None else ops.add(total, term)
    whole = ops.reshape(total, shape=(n, blocks[0] * strides[0], blocks[1] * strides[1], channels))
    inside = ops.slice(whole, starts=(0,) * 4, sizes=x.type.shape, strides=(1,) * 4)
    return Gapped(ops.depending(inside, x))


def _first_place(out: Any, x: Any, window: Ints, strides: Ints, code: int) -> Any:
    """Where in its window each maximum stands first: row * code + column."""
    shape = out.type.shape
    found = None
    for row, column in reversed(list(np.ndindex(*window))):
        place = ops.broadcast(_constant(row * code + column, x), shape=shape, axes=())
        each = ops.slice(x, starts=(0, row, column, 0), sizes=shape, strides=(1, *strides, 1))
        found = place if found is None else ops.select(ops.equal(each, out), place, found)
    return found


def _constant(values: Any, like: Any) -> Any:
    """The array `values` as an operand of the dtype of `like`."""
    return lift("max_windows", (like, np.array(values, like.type.dtype.numpy)))[1]


def _max_samples(rng: np.random.Generator) -> Iterator[tuple[tuple[np.ndarray], dict[str, Any]]]:
    for dtype in NUMBERS:
        for shape, window, strides in (
            ((2, 4, 6, 3), (2, 2), (2, 2)),
            ((1, 5, 7, 17), (3, 2), (2, 1)),
            ((1, 7, 4, 1), (2, 1), (3, 2)),
            ((0, 3, 3, 2), (3, 3), (1, 1)),
        ):
            x = sample_array(rng, shape, dtype)
            if dtype in FLOATS:
                # Far enough apart that a difference quotient meets no kink.
                x = rng.permutation(np.linspace(-2, 2, x.size)).reshape(shape).astype(dtype.numpy)
            yield (x,), {"window": window, "strides": strides}


# x: f32[n,h,w,c] -> f32[n,oh,ow,c]
max_windows: Op = Op(
    "max_windows",
    infer=_max_infer,
    evaluate=lambda x, window, strides: np.max(_windows(x, window, strides, (1, 1)), axis=(3, 4)),
    vjp=(_max_vjp,),
    lower=Kernel(),
    samples=_max_samples,
)
