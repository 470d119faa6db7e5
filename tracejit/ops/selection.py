"""Elementwise ops whose operands differ in dtype: select and cast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tracejit.ir.errors import DtypeError
from tracejit.ir.op import Op, Scalar, require
from tracejit.ir.types import BY_NUMPY, DTYPES, HALVES, DType, TensorType, bool_
from tracejit.ops.cotangents import Gapped
from tracejit.ops.elementwise import ALL, FLOATS, SAMPLE_SHAPES, sample_array
from tracejit.ops.operands import zeros_like

Samples = Iterator[tuple[tuple[np.ndarray, ...], dict[str, Any]]]


def _select_infer(condition: TensorType, x: TensorType, y: TensorType) -> TensorType:
    types = (condition, x, y)
    require(condition.dtype is bool_, "select", types, "the condition must be bool", DtypeError)
    require(x.dtype is y.dtype, "select", types, "the operands' dtypes differ", DtypeError)
    require(condition.shape == x.shape == y.shape, "select", types, "the operands' shapes differ")
    return x


def _select_samples(rng: np.random.Generator) -> Samples:
    for dtype in ALL:
        for shape in SAMPLE_SHAPES:
            yield (rng.integers(0, 2, shape).astype(bool), *(sample_array(rng, shape, dtype) for _ in range(2))), {}


select: Op = Op(
    "select",
    infer=_select_infer,
    evaluate=np.where,
    vjp=(
        None,
        lambda ct, out, condition, x, y: Gapped(select(condition, ct, zeros_like(ct))),
        lambda ct, out, condition, x, y: Gapped(select(condition, zeros_like(ct), ct)),
    ),
    lower=Scalar(lambda b, condition, x, y: b.select(condition, x, y)),
    samples=_select_samples,
)


def _cast_evaluate(x: Any, dtype: DType) -> Any:
    """NumPy's cast, but that a float outside of an integer's range (or NaN) is the integer's minimum on every machine, and
    that to and from a half dtype it goes by way of float32, as TensorFlow does."""
    x = np.asarray(x)
    if dtype.is_half:
        return x.astype(dtype.accumulator.numpy).astype(dtype.numpy)
    if BY_NUMPY[x.dtype].is_half:
        x = x.astype(np.float32)
    if dtype.is_integer and x.dtype.kind == "f":
        bound = -float(dtype.min)
        inside = (x >= -bound) & (x < bound)
        return np.where(inside, np.where(inside, x, 0).astype(dtype.numpy), dtype.min).astype(dtype.numpy)
    return x.astype(dtype.numpy)


def _cast_samples(rng: np.random.Generator) -> Samples:
    for source in DTYPES:
        for target in DTYPES:
            yield (sample_array(rng, (3, 17), source, (-1.9, 1.9)),), {"dtype": target}
    for target in DTYPES:
        for source in FLOATS:
            yield (np.array([np.nan, np.inf, -np.inf, 3e20, -0.0], source.numpy),), {"dtype": target}
    for half in HALVES:
        for other in ALL:
            yield (sample_array(rng, (3, 17), other, (-1.9, 1.9)),), {"dtype": half}
            yield (sample_array(rng, (3, 17), half, (-1.9, 1.9)),), {"dtype": other}


def _cast_infer(x: TensorType, dtype: DType) -> TensorType:
    require(type(dtype) is DType, "cast", (x,), f"{dtype!r} is no dtype", DtypeError)
    return TensorType(x.shape, dtype)


def _cast_vjp(ct: Any, out: Any, x: Any, dtype: DType) -> Any:
    return cast(ct, dtype=x.type.dtype) if x.type.dtype.is_floating and dtype.is_floating else None


cast: Op = Op(
    "cast",
    infer=_cast_infer,
    evaluate=_cast_evaluate,
    vjp=(_cast_vjp,),
    lower=Scalar(lambda b, x, dtype: b.cast(x, dtype)),
    samples=_cast_samples,
)
