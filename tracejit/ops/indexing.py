"""Ops whose addresses or whose failure depend on values: gather, scatter_add, and the checks that make them safe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tracejit.ir.errors import DtypeError, IndexOutOfRangeError, InvalidArgumentError, fail
from tracejit.ir.op import Kernel, Op, require
from tracejit.ir.types import TensorType, array_type
from tracejit.ops.cotangents import Gapped
from tracejit.ops.elementwise import ALL, INTS, NUMBERS, require_dtype, sample_array
from tracejit.ops.reduce import in_float32

Samples = Iterator[tuple[tuple[np.ndarray, ...], dict[str, Any]]]


def _check_indices(name: str, types: tuple[TensorType, ...], indices: TensorType) -> None:
    require(indices.dtype in INTS, name, types, f"indices must be int32 or int64, not {indices.dtype.name}", DtypeError)


def _range_evaluate(x: Any, low: int, high: int, what: str, function: str) -> Any:
    x = np.asarray(x)
    outside = x[(x < low) | (x >= high)]
    if outside.size:
        fail(IndexOutOfRangeError, function, (array_type(x),), range_message(what, low, high, int(outside.flat[0])))
    return x


def range_message(what: str, low: int, high: int, value: int | None = None) -> str:
    """What is said of a value outside of low..high-1."""
    return f"{f'one {what}' if value is None else f'{what} {value}'} is not in [{low}, {high})"


def _range_infer(x: TensorType, low: int, high: int, what: str, function: str) -> TensorType:
    _check_indices(function, (x,), x)
    return x


def _range_samples(rng: np.random.Generator) -> Samples:
    for dtype in INTS:
        yield (rng.integers(0, 4, (3, 5)).astype(dtype.numpy),), {"low": 0, "high": 4, "what": "index", "function": "gather"}


# The operand itself, once each of its elements is known to lie in low..high-1; an error calls one a `what` of `function`.
check_range: Op = Op(
    "check_range", infer=_range_infer, evaluate=_range_evaluate, vjp=(None,), lower=Kernel(),
    samples=_range_samples,
    runtime_error=lambda types, low, high, what, function: (IndexOutOfRangeError, function, range_message(what, low, high)),
)  # fmt: skip


def _nonzero_evaluate(x: Any, function: str, message: str) -> Any:
    if not np.all(x):
        fail(InvalidArgumentError, function, (), message)
    return x


def _nonzero_infer(x: TensorType, function: str, message: str) -> TensorType:
    require(x.dtype in INTS, "check_nonzero", (x,), "it takes integers", DtypeError)
    return x


def _nonzero_samples(rng: np.random.Generator) -> Samples:
    for dtype in INTS:
        yield (rng.integers(1, 4, (7,)).astype(dtype.numpy),), {"function": "floordiv", "message": "it is zero"}


# The operand itself, once no element is zero; else `function` fails with `message`.
check_nonzero: Op = Op(
    "check_nonzero", infer=_nonzero_infer, evaluate=_nonzero_evaluate, vjp=(None,), lower=Kernel(),
    samples=_nonzero_samples, runtime_error=lambda types, function, message: (InvalidArgumentError, function, message),
)  # fmt: skip


def _gather_infer(params: TensorType, indices: TensorType, axis: int) -> TensorType:
    _check_indices("gather", (params, indices), indices)
    require(0 <= axis < params.rank, "gather", (params, indices), f"axis {axis} is not below {params.rank}")
    return TensorType(params.shape[:axis] + indices.shape + params.shape[axis + 1 :], params.dtype)


def _check_bounds(name: str, indices: Any, size: int, axis: int) -> None:
    indices = np.asarray(indices)
    outside = indices[(indices < 0) | (indices >= size)]
    if outside.size:
        fail(IndexOutOfRangeError, name, (), _outside(size, axis, int(outside.flat[0])))


def _outside(size: int, axis: int, index: int | None = None) -> str:
    """What is said of an index outside of an axis."""
    return f"{range_message('index', 0, size, index)}, the size of axis {axis}"


def _gather_evaluate(params: Any, indices: Any, axis: int) -> Any:
    _check_bounds("gather", indices, params.shape[axis], axis)
    return np.take(params, indices, axis)


_CASES = (((5, 3), (4,), 0), ((2, 5, 3), (2, 3), 1), ((4,), (), 0), ((2, 5), (6,), 1), ((3, 2), (0,), 0))


def _gather_samples(rng: np.random.Generator) -> Samples:
    for dtype in ALL:
        for index_dtype in INTS[dtype.is_half :]:
            for shape, index_shape, axis in _CASES:
                indices = np.asarray(rng.integers(0, shape[axis], index_shape)).astype(index_dtype.numpy)
                yield (sample_array(rng, shape, dtype), indices), {"axis": axis}


gather: Op = Op(
    "gather",
    infer=_gather_infer,
    evaluate=_gather_evaluate,
    vjp=(
        lambda ct, out, params, indices, axis: Gapped(
            in_float32(scatter_add, ct, indices, axis=axis, size=params.type.shape[axis])
        ),
        None,
    ),
    lower=Kernel(),
    samples=_gather_samples,
    runtime_error=lambda types, axis: (IndexOutOfRangeError, "gather", _outside(types[0].shape[axis], axis)),
)


def _scatter_infer(updates: TensorType, indices: TensorType, axis: int, size: int) -> TensorType:
    types = (updates, indices)
    _check_indices("scatter_add", types, indices)
    require_dtype("scatter_add", types, updates.dtype, NUMBERS)
    end = axis + indices.rank
    fits = axis >= 0 and end <= updates.rank and size >= 0
    require(fits, "scatter_add", types, f"axis {axis} or size {size} does not fit it")
    require(
        updates.shape[axis:end] == indices.shape,
        "scatter_add",
        types,
        f"the updates' axes {axis} to {end} are not the indices'",
    )
    return TensorType((*updates.shape[:axis], size, *updates.shape[end:]), updates.dtype)


def _scatter_evaluate(updates: Any, indices: Any, axis: int, size: int) -> Any:
    updates, indices = np.asarray(updates), np.asarray(indices)
    _check_bounds("scatter_add", indices, size, axis)
    end = axis + indices.ndim
    result = np.zeros((*updates.shape[:axis], size, *updates.shape[end:]), updates.dtype)
    rows = np.moveaxis(updates.reshape((*updates.shape[:axis], indices.size, *updates.shape[end:])), axis, 0)
    np.add.at(np.moveaxis(result, axis, 0), indices.reshape(-1), rows)
    return result


def _scatter_samples(rng: np.random.Generator) -> Samples:
    for dtype in NUMBERS:
        for shape, index_shape, axis in _CASES:
            updates = sample_array(rng, shape[:axis] + index_shape + shape[axis + 1 :], dtype)
            indices = np.asarray(rng.integers(0, shape[axis], index_shape)).astype(np.int32)
            yield (updates, indices), {"axis": axis, "size": shape[axis]}


# Zeros of `size` along `axis`, with each slice of the updates added at its index: the gradient of a gather.
scatter_add: Op = Op(
    "scatter_add",
    infer=_scatter_infer,
    evaluate=_scatter_evaluate,
    vjp=(lambda ct, out, updates, indices, axis, size: gather(ct, indices, axis=axis), None),
    lower=Kernel(),
    samples=_scatter_samples,
    runtime_error=lambda types, axis, size: (IndexOutOfRangeError, "scatter_add", _outside(size, axis)),
)
