"""Elementwise ops whose operands differ in dtype: select, cast, and the counter-based random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tracejit import ops
from tracejit.ir.errors import DtypeError
from tracejit.ir.op import Op, Scalar, require
from tracejit.ir.types import DTYPES, HALVES, DType, TensorType, bool_, int64
from tracejit.ops.elementwise import ALL, FLOATS, SAMPLE_SHAPES, sample_array

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
        lambda ct, out, condition, x, y: select(condition, ct, ops.zeros_like(ct)),
        lambda ct, out, condition, x, y: select(condition, ops.zeros_like(ct), ct),
    ),
    lower=Scalar(lambda b, condition, x, y: b.select(condition, x, y)),
    samples=_select_samples,
)


def _cast_evaluate(x: Any, dtype: DType) -> Any:
    """NumPy's cast, but that a float outside of an integer's range (or NaN) is the integer's minimum on every machine, and
    that to and from a half dtype it goes by way of float32, as TensorFlow does."""
    x = np.asarray(x)
    if dtype.is_half:
        return x.astype(np.float32).astype(dtype.numpy)
    if x.dtype.itemsize == 2:
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


def _random_infer(counter: TensorType, key: TensorType, dtype: DType) -> TensorType:
    types = (counter, key)
    require(counter.dtype is key.dtype is int64, "random_uniform", types, "counter and key must be int64", DtypeError)
    require(counter is key, "random_uniform", types, "counter and key must have one shape")
    require(dtype in FLOATS, "random_uniform", types, f"it draws float32 or float64, not {dtype.name}", DtypeError)
    return TensorType(counter.shape, dtype)


# The output function of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014) on
# key + counter * golden ratio, so that an element's number depends on its counter alone. A signed shift keeps the sign;
# the mask takes it off.
_GOLDEN, _MIX1, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _random_evaluate(counter: Any, key: Any, dtype: DType) -> Any:
    z = np.asarray(counter).astype(np.uint64) * np.uint64(_GOLDEN) + np.asarray(key).astype(np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_MIX1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_MIX2)
    z = z ^ (z >> np.uint64(31))
    bits = 24 if dtype.size == 4 else 53
    return (z >> np.uint64(64 - bits)).astype(np.int64).astype(dtype.numpy) * dtype.numpy.type(2.0**-bits)


def _random_lower(b: Any, counter: Any, key: Any, dtype: DType) -> Any:
    def signed(value: int) -> Any:
        return b.const(value - 2**64 if value >= 2**63 else value, int64)

    z = b.add(b.mul(counter, signed(_GOLDEN)), key)
    z = b.mul(b.xor(z, b.shift_right(z, 30)), signed(_MIX1))
    z = b.mul(b.xor(z, b.shift_right(z, 27)), signed(_MIX2))
    z = b.xor(z, b.shift_right(z, 31))
    bits = 24 if dtype.size == 4 else 53
    return b.mul(b.cast(b.shift_right(z, 64 - bits), dtype), b.const(2.0**-bits, dtype))


def _random_samples(rng: np.random.Generator) -> Samples:
    for dtype in FLOATS:
        counter = np.arange(37, dtype=np.int64)
        yield (counter, np.full_like(counter, rng.integers(-(2**63), 2**63 - 1))), {"dtype": dtype}


random_uniform: Op = Op(
    "random_uniform",
    infer=_random_infer,
    evaluate=_random_evaluate,
    vjp=(None, None),
    lower=Scalar(_random_lower, costly=True),
    samples=_random_samples,
)
