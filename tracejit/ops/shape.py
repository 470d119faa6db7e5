"""Ops that move elements without computing: broadcast, reshape, transpose, reverse, slice, pad, concat.

Where a result is an affine view of its operand (offset and strides), its lowering is an `Alias`, a method of `Strided`, and no
data moves.
"""

from __future__ import annotations

import builtins
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tracejit.ir.errors import DtypeError
from tracejit.ir.op import Alias, Kernel, Op, require
from tracejit.ir.op import registered as ops
from tracejit.ir.strided import broadcast_strides
from tracejit.ir.types import TensorType
from tracejit.ops.cotangents import Slot
from tracejit.ops.elementwise import ALL, sample_array
from tracejit.ops.reduce import in_float32, reduce_sum

Ints = tuple[int, ...]


def _sampler(*cases: tuple[Ints | tuple[Ints, ...], dict[str, Any]]) -> Any:
    """Samples of every dtype: a case gives a shape (or a tuple of shapes) and the attributes."""

    def samples(rng: np.random.Generator) -> Iterator[tuple[tuple[np.ndarray, ...], dict[str, Any]]]:
        for dtype in ALL:
            for shapes, attrs in cases:
                several = bool(shapes) and isinstance(shapes[0], tuple)
                yield tuple(sample_array(rng, shape, dtype) for shape in (shapes if several else (shapes,))), attrs  # type: ignore[arg-type]

    return samples


def _broadcast_infer(x: TensorType, shape: Ints, axes: Ints) -> TensorType:
    ascending = all(low < high for low, high in itertools.pairwise(axes))
    require(len(axes) == x.rank and ascending, "broadcast", (x,), f"axes {list(axes)} do not place each axis of the operand")
    fits = all(0 <= axis < len(shape) and size in (1, shape[axis]) for axis, size in zip(axes, x.shape, strict=True))
    fits = fits and min(shape, default=0) >= 0
    require(fits, "broadcast", (x,), f"it does not fit {list(shape)} with axes {list(axes)}")
    return TensorType(shape, x.dtype)


def _broadcast_evaluate(x: Any, shape: Ints, axes: Ints) -> Any:
    if not axes:
        return np.ndarray(shape, x.dtype, x, 0, (0,) * len(shape))
    strides = broadcast_strides(x.shape, x.strides, shape, axes)
    x = np.asarray(x)
    if x.flags.c_contiguous:  # the constructor takes a quarter of the time of np.broadcast_to
        return np.ndarray(shape, x.dtype, x, 0, strides)
    return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=False)


def _broadcast_vjp(ct: Any, out: Any, x: Any, shape: Ints, axes: Ints) -> Any:
    source = x.type.shape
    if not axes:
        return in_float32(reduce_sum, ct, axes=tuple(range(len(shape))))
    grown = tuple(axis for axis, size in zip(axes, source, strict=True) if size != shape[axis])
    reduced = tuple(axis for axis in range(len(shape)) if axis not in axes or axis in grown)
    result = in_float32(reduce_sum, ct, axes=reduced) if reduced else ct
    return ops.reshape(result, shape=source) if grown else result


broadcast: Op = Op(
    "broadcast",
    infer=_broadcast_infer,
    evaluate=_broadcast_evaluate,
    vjp=(_broadcast_vjp,),
    lower=Alias(lambda x, node: x.broadcast(**node.attrs)),
    samples=_sampler(
        ((), {"shape": (3,), "axes": ()}),
        ((3,), {"shape": (2, 3), "axes": (1,)}),
        ((3,), {"shape": (3, 4), "axes": (0,)}),
        ((3, 1), {"shape": (2, 3, 4), "axes": (1, 2)}),
    ),
)


def _reshape_infer(x: TensorType, shape: Ints) -> TensorType:
    fills = min(shape, default=0) >= 0 and math.prod(shape) == x.size
    require(fills, "reshape", (x,), f"{x.size} elements do not fill the shape {list(shape)}")
    return TensorType(shape, x.dtype)


reshape: Op = Op(
    "reshape",
    infer=_reshape_infer,
    evaluate=lambda x, shape: np.reshape(x, shape),
    vjp=(lambda ct, out, x, shape: reshape(ct, shape=x.type.shape),),
    lower=Alias(lambda x, node: x.reshape(**node.attrs)),
    samples=_sampler(
        ((), {"shape": (1, 1)}), ((6,), {"shape": (2, 3)}), ((2, 3), {"shape": (3, 1, 2)}), ((0, 3), {"shape": (0,)})
    ),
)


def _transpose_infer(x: TensorType, permutation: Ints) -> TensorType:
    valid = tuple(sorted(permutation)) == tuple(range(x.rank))
    require(valid, "transpose", (x,), f"{list(permutation)} is no permutation of its {x.rank} axes")
    return TensorType([x.shape[axis] for axis in permutation], x.dtype)


transpose: Op = Op(
    "transpose",
    infer=_transpose_infer,
    evaluate=lambda x, permutation: np.transpose(x, permutation),
    vjp=(lambda ct, out, x, permutation: transpose(ct, permutation=tuple(np.argsort(permutation).tolist())),),
    lower=Alias(lambda x, node: x.transpose(**node.attrs)),
    samples=_sampler(((3,), {"permutation": (0,)}), ((2, 3), {"permutation": (1, 0)}), ((2, 3, 4), {"permutation": (2, 0, 1)})),
)


def _reverse_infer(x: TensorType, axes: Ints) -> TensorType:
    valid = all(0 <= axis < x.rank for axis in axes) and len(set(axes)) == len(axes)
    require(valid, "reverse", (x,), f"axes {list(axes)} are not distinct axes below {x.rank}")
    return x


reverse: Op = Op(
    "reverse",
    infer=_reverse_infer,
    evaluate=lambda x, axes: np.flip(x, axes),
    vjp=(lambda ct, out, x, axes: reverse(ct, axes=axes),),
    lower=Alias(lambda x, node: x.reverse(**node.attrs)),
    samples=_sampler(((5,), {"axes": (0,)}), ((2, 3), {"axes": (0, 1)}), ((0, 3), {"axes": (0,)})),
)


def _slice_infer(x: TensorType, starts: Ints, sizes: Ints, strides: Ints) -> TensorType:
    require(
        len(starts) == len(sizes) == len(strides) == x.rank,
        "slice",
        (x,),
        f"it needs {x.rank} starts, sizes and strides",
    )
    for axis, (start, size, stride, extent) in enumerate(zip(starts, sizes, strides, x.shape, strict=True)):
        last = start + (size - 1) * stride if size else -1
        inside = stride > 0 and size >= 0 and 0 <= start <= extent and last < extent
        message = f"{size} elements from {start} by {stride} do not lie in axis {axis}, which has {extent}"
        require(inside, "slice", (x,), message)
    return TensorType(sizes, x.dtype)


def _slice_evaluate(x: Any, starts: Ints, sizes: Ints, strides: Ints) -> Any:
    parts = zip(starts, sizes, strides, strict=True)
    taken = [builtin_slice(start, start + size * stride, stride) for start, size, stride in parts]
    key: Any = (*taken, ...)
    return np.asarray(x)[key]  # with the Ellipsis a view, also of a scalar


def _slice_vjp(ct: Any, out: Any, x: Any, starts: Ints, sizes: Ints, strides: Ints) -> Any:
    return Slot(ct, starts, strides)


builtin_slice = builtins.slice
slice: Op = Op(
    "slice",
    infer=_slice_infer,
    evaluate=_slice_evaluate,
    vjp=(_slice_vjp,),
    lower=Alias(lambda x, node: x.slice(**node.attrs)),
    samples=_sampler(
        ((7,), {"starts": (1,), "sizes": (3,), "strides": (2,)}),
        ((4, 5), {"starts": (1, 0), "sizes": (2, 5), "strides": (1, 1)}),
        ((4, 5), {"starts": (0, 1), "sizes": (2, 2), "strides": (3, 2)}),
        ((4,), {"starts": (4,), "sizes": (0,), "strides": (1,)}),
    ),
)


def _pad_infer(x: TensorType, low: Ints, high: Ints, interior: Ints, value: float) -> TensorType:
    require(len(low) == len(high) == len(interior) == x.rank, "pad", (x,), f"it needs {x.rank} paddings")
    require(min((*low, *high, *interior), default=0) >= 0, "pad", (x,), "paddings must not be negative")
    return TensorType(_padded(x.shape, low, high, interior), x.dtype)


def _padded(shape: Ints, low: Ints, high: Ints, interior: Ints) -> Ints:
    parts = zip(shape, low, high, interior, strict=True)
    return tuple(before + size + max(size - 1, 0) * gap + after for size, before, after, gap in parts)


def pad_layout(shape: Ints, low: Ints, interior: Ints) -> dict[str, Ints]:
    """Where the operand lies in the result, as attributes of a slice."""
    return {"starts": low, "sizes": shape, "strides": tuple(gap + 1 for gap in interior)}


def _pad_evaluate(x: Any, low: Ints, high: Ints, interior: Ints, value: float) -> Any:
    x = np.asarray(x)
    result = np.full(_padded(x.shape, low, high, interior), value, x.dtype)
    _slice_evaluate(result, **pad_layout(x.shape, low, interior))[...] = x
    return result


def _pad_vjp(ct: Any, out: Any, x: Any, low: Ints, high: Ints, interior: Ints, value: float) -> Any:
    return slice(ct, **pad_layout(x.type.shape, low, interior))


# `interior` elements are put between neighbours; so padded, a strided slice has a gradient that is no special case.
pad: Op = Op(
    "pad",
    infer=_pad_infer,
    evaluate=_pad_evaluate,
    vjp=(_pad_vjp,),
    lower=Kernel(),
    samples=_sampler(
        ((3,), {"low": (1,), "high": (2,), "interior": (0,), "value": 0.0}),
        ((2, 3), {"low": (0, 1), "high": (1, 0), "interior": (0, 2), "value": 1.0}),
        ((0,), {"low": (2,), "high": (1,), "interior": (3,), "value": 0.0}),
    ),
)


def _concat_infer(*types: TensorType, axis: int) -> TensorType:
    require(types and 0 <= axis < types[0].rank, "concat", types, f"axis {axis} is not below the operands' rank")
    first = types[0]
    require(all(other.dtype is first.dtype for other in types), "concat", types, "the operands' dtypes differ", DtypeError)
    rest = {(other.rank, other.shape[:axis], other.shape[axis + 1 :]) for other in types}
    require(len(rest) == 1, "concat", types, f"the operands differ in size outside of axis {axis}")
    total = sum(other.shape[axis] for other in types)
    return TensorType((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype)


def concat_parts(shapes: list[Ints], axis: int) -> Iterator[dict[str, Ints]]:
    """Where each operand lies in the result, as attributes of a slice."""
    start = 0
    for shape in shapes:
        rank = len(shape)
        yield {"starts": (0,) * axis + (start,) + (0,) * (rank - axis - 1), "sizes": shape, "strides": (1,) * rank}
        start += shape[axis]


def _concat_vjp(needed: list[int], cts: Any, outs: Any, operands: Any, attrs: dict[str, Any], gapped: bool) -> list[Any]:
    parts = list(concat_parts([operand.type.shape for operand in operands], attrs["axis"]))
    return [slice(cts[0], **parts[index]) if index in needed else None for index in range(len(operands))]


concat: Op = Op(
    "concat",
    infer=_concat_infer,
    evaluate=lambda *arrays, axis: np.concatenate(arrays, axis),
    vjp=_concat_vjp,
    lower=Kernel(),
    samples=_sampler(
        (((3,),), {"axis": 0}),
        (((3,), (2,)), {"axis": 0}),
        (((2, 3), (2, 1), (2, 0)), {"axis": 1}),
    ),
)
