"""Reductions over `axes` (distinct, ascending, not negative), which leave the shape; argmax and argmin over one axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tracejit.ir.op import Kernel, Op, Reduction, require
from tracejit.ir.op import registered as ops
from tracejit.ir.types import DType, TensorType, array_type, bool_, int64
from tracejit.ops.cotangents import Gapped
from tracejit.ops.elementwise import NUMBERS, require_dtype, sample_array

_SAMPLES: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((7,), (0,)),
    ((3, 5), (0,)),
    ((3, 5), (1,)),
    ((3, 5), (0, 1)),
    ((2, 3, 4), (1,)),
    ((2, 3, 4), (0, 2)),
    ((2, 67), (1,)),
    ((4, 0), (1,)),
    ((3,), ()),
)


def kept_axes(rank: int, axes: tuple[int, ...]) -> tuple[int, ...]:
    """The axes below `rank` that are not in `axes`."""
    return tuple(axis for axis in range(rank) if axis not in axes)


def _check_axes(name: str, x: TensorType, axes: tuple[int, ...]) -> None:
    valid = all(0 <= axis < x.rank for axis in axes) and tuple(sorted(set(axes))) == axes
    require(valid, name, (x,), f"axes {list(axes)} are not distinct ascending axes below {x.rank}")


def in_float32(op: Callable[..., Any], x: Any, *others: Any, **attrs: Any) -> Any:
    """op(x, *others), of a half dtype computed in float32 and rounded once."""
    dtype = x.type.dtype
    if not dtype.is_half:
        return op(x, *others, **attrs)
    return ops.cast(op(ops.cast(x, dtype=dtype.accumulator), *others, **attrs), dtype=dtype)


def broadcast_back(x: Any, like: Any, axes: tuple[int, ...]) -> Any:
    """A reduction's result over `axes`, broadcast back to the shape of `like`."""
    shape = like.type.shape
    return ops.broadcast(x, shape=shape, axes=kept_axes(len(shape), axes))


def _reduction(
    name: str,
    ufunc: np.ufunc,
    dtypes: tuple[DType, ...],
    combine: Callable[..., Any],
    identity: Callable[[DType], Any],
    vjp: Any = (None,),
    empty: bool = True,
) -> Op:
    def infer(x: TensorType, axes: tuple[int, ...]) -> TensorType:
        require_dtype(name, (x,), x.dtype, dtypes)
        _check_axes(name, x, axes)
        return TensorType([x.shape[axis] for axis in kept_axes(x.rank, axes)], x.dtype)

    def evaluate(x: Any, axes: tuple[int, ...]) -> Any:
        return ufunc.reduce(x, axis=axes, dtype=x.dtype, initial=identity(array_type(x).dtype))

    def evaluate_plain(x: Any, axes: tuple[int, ...]) -> Any:
        # Floats keep their dtype without being told, which is a third faster.
        return ufunc.reduce(x, axis=axes) if x.dtype.kind == "f" else ufunc.reduce(x, axis=axes, dtype=x.dtype)

    def samples(rng: np.random.Generator) -> Iterator[tuple[tuple[np.ndarray], dict[str, Any]]]:
        for dtype in dtypes:
            for shape, axes in _SAMPLES:
                yield (sample_array(rng, shape, dtype, (-2, 2)),), {"axes": axes}

    return Op(
        name, infer=infer, evaluate=evaluate_plain if empty else evaluate, vjp=vjp, lower=Reduction(combine, identity),
        samples=samples,
    )  # fmt: skip


def _extreme_vjp(ct: Any, out: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """Elements that share the extreme value share its cotangent evenly."""
    at = ops.cast(ops.equal(x, broadcast_back(out, x, axes)), dtype=x.type.dtype)
    return Gapped(ops.mul(broadcast_back(ops.div(ct, reduce_sum(at, axes=axes)), x, axes), at))


def _shift(x: Any, distance: int) -> Any:
    """`x` moved by `distance` along its last axis (to the right where positive), ones shifted in."""
    shape = x.type.shape
    rank, size = len(shape), shape[-1]
    kept = max(size - builtin_abs(distance), 0)
    starts = (0,) * (rank - 1) + (0 if distance > 0 else size - kept,)
    part = ops.slice(x, starts=starts, sizes=(*shape[:-1], kept), strides=(1,) * rank)
    low, high = (size - kept, 0) if distance > 0 else (0, size - kept)
    none = (0,) * (rank - 1)
    return ops.pad(part, low=(*none, low), high=(*none, high), interior=(0,) * rank, value=1.0)


builtin_abs = abs


def _others(x: Any, direction: int) -> Any:
    """Along the last axis, the product of all elements before (direction 1) or after (-1) each."""
    result, distance = _shift(x, direction), 1
    while distance < x.type.shape[-1]:
        result = ops.mul(result, _shift(result, direction * distance))
        distance *= 2
    return result


def _prod_vjp(ct: Any, out: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """The product of all the other elements, without a division, so that zeros are no special case."""
    shape = x.type.shape
    kept = kept_axes(len(shape), axes)
    order = kept + axes
    flat_shape = (*(shape[axis] for axis in kept), math.prod(shape[axis] for axis in axes))
    flat = ops.reshape(ops.transpose(x, permutation=order), shape=flat_shape)
    others = ops.mul(_others(flat, 1), _others(flat, -1))
    back = ops.reshape(others, shape=tuple(shape[axis] for axis in order))
    return ops.mul(broadcast_back(ct, x, axes), ops.transpose(back, permutation=tuple(np.argsort(order).tolist())))


def _least(dtype: DType) -> Any:
    return -math.inf if dtype.is_floating else dtype.min


def _most(dtype: DType) -> Any:
    return math.inf if dtype.is_floating else dtype.max


reduce_sum = _reduction(
    "reduce_sum", np.add, NUMBERS, lambda b, x, y: b.add(x, y), lambda dtype: 0,
    vjp=(lambda ct, out, x, axes: broadcast_back(ct, x, axes),),
)  # fmt: skip
reduce_prod = _reduction("reduce_prod", np.multiply, NUMBERS, lambda b, x, y: b.mul(x, y), lambda dtype: 1, vjp=(_prod_vjp,))
reduce_max = _reduction(
    "reduce_max", np.maximum, NUMBERS, lambda b, x, y: b.max(x, y), _least, vjp=(_extreme_vjp,), empty=False
)
reduce_min = _reduction("reduce_min", np.minimum, NUMBERS, lambda b, x, y: b.min(x, y), _most, vjp=(_extreme_vjp,), empty=False)
reduce_any = _reduction("reduce_any", np.logical_or, (bool_,), lambda b, x, y: b.or_(x, y), lambda dtype: False)
reduce_all = _reduction("reduce_all", np.logical_and, (bool_,), lambda b, x, y: b.and_(x, y), lambda dtype: True)


def _arg_op(name: str, arg: Callable[..., Any], worst: float) -> Op:
    """The index of the first best element. As in TensorFlow a NaN is never better than another, nor is what is `worst`; where
    there is nothing else, it is 0."""

    def evaluate(x: Any, axis: int) -> Any:
        # NumPy finds the first NaN. Where the sum is finite there is none.
        if x.dtype.kind == "f" and not math.isfinite(np.add.reduce(x, axis=None)):
            x = np.where(np.isnan(x), x.dtype.type(worst), x)
        return np.asarray(arg(x, axis=axis), np.int64)

    def infer(x: TensorType, axis: int) -> TensorType:
        require_dtype(name, (x,), x.dtype, NUMBERS)
        _check_axes(name, x, (axis,))
        require(x.shape[axis] > 0, name, (x,), f"axis {axis} has no elements")
        return TensorType(x.shape[:axis] + x.shape[axis + 1 :], int64)

    def samples(rng: np.random.Generator) -> Iterator[tuple[tuple[np.ndarray], dict[str, Any]]]:
        for dtype in NUMBERS:
            for shape, axis in (((7,), 0), ((3, 5), 0), ((3, 5), 1), ((2, 3, 4), 1)):
                yield (sample_array(rng, shape, dtype),), {"axis": axis}
        for row in ([1.0, np.nan, 3.0, np.nan], [np.nan, worst, np.nan], [np.nan, np.inf, -np.inf], [worst, worst]):
            yield (np.array(row, np.float32),), {"axis": 0}
        rows = rng.uniform(-2, 2, (40, 37)).astype(np.float32)
        rows[rng.uniform(size=rows.shape) < 0.3] = np.nan
        for axis in (0, 1):
            yield (rows,), {"axis": axis}

    return Op(name, infer=infer, evaluate=evaluate, vjp=(None,), lower=Kernel(), samples=samples)


argmax = _arg_op("argmax", np.argmax, -math.inf)
argmin = _arg_op("argmin", np.argmin, math.inf)
