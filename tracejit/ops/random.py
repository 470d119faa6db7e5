"""Counter-based random numbers: each element is a hash of a key and its counter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tracejit.ir.errors import DtypeError
from tracejit.ir.op import Op, Scalar, require
from tracejit.ir.types import DType, TensorType, int64
from tracejit.ops.elementwise import FLOATS

Samples = Iterator[tuple[tuple[np.ndarray, ...], dict[str, Any]]]


def _uniform_infer(counter: TensorType, key: TensorType, dtype: DType) -> TensorType:
    types = (counter, key)
    require(counter.dtype is key.dtype is int64, "random_uniform", types, "counter and key must be int64", DtypeError)
    require(counter is key, "random_uniform", types, "counter and key must have one shape")
    require(dtype in FLOATS, "random_uniform", types, f"it draws float32 or float64, not {dtype.name}", DtypeError)
    return TensorType(counter.shape, dtype)


# The output function of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014) on
# key + counter * golden ratio, so that an element's number depends on its counter alone. A signed shift keeps the sign;
# the mask takes it off.
_GOLDEN, _MIX1, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _bits_evaluate(counter: Any, key: Any) -> Any:
    z = np.asarray(counter).astype(np.uint64) * np.uint64(_GOLDEN) + np.asarray(key).astype(np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_MIX1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_MIX2)
    return z ^ (z >> np.uint64(31))


def _uniform_evaluate(counter: Any, key: Any, dtype: DType) -> Any:
    z = _bits_evaluate(counter, key)
    return (z >> np.uint64(64 - dtype.digits)).astype(np.int64).astype(dtype.numpy) * dtype.numpy.type(2.0**-dtype.digits)


def _bits_lower(b: Any, counter: Any, key: Any) -> Any:
    def signed(value: int) -> Any:
        return b.const(value - 2**64 if value >= 2**63 else value, int64)

    z = b.add(b.mul(counter, signed(_GOLDEN)), key)
    z = b.mul(b.xor(z, b.shift_right(z, 30)), signed(_MIX1))
    z = b.mul(b.xor(z, b.shift_right(z, 27)), signed(_MIX2))
    return b.xor(z, b.shift_right(z, 31))


def _uniform_lower(b: Any, counter: Any, key: Any, dtype: DType) -> Any:
    z = _bits_lower(b, counter, key)
    return b.mul(b.cast(b.shift_right(z, 64 - dtype.digits), dtype), b.const(2.0**-dtype.digits, dtype))


def _uniform_samples(rng: np.random.Generator) -> Samples:
    for dtype in FLOATS:
        counter = np.arange(37, dtype=np.int64)
        yield (counter, np.full_like(counter, rng.integers(-(2**63), 2**63 - 1))), {"dtype": dtype}


random_uniform: Op = Op(
    "random_uniform",
    infer=_uniform_infer,
    evaluate=_uniform_evaluate,
    vjp=(None, None),
    lower=Scalar(_uniform_lower, costly=True),
    samples=_uniform_samples,
)


def _integers_infer(*types: TensorType) -> TensorType:
    require(all(each.dtype is int64 for each in types), "random_integers", types, "all operands must be int64", DtypeError)
    require(len(types) == 4 and types.count(types[0]) == 4, "random_integers", types, "it takes four operands of one shape")
    return types[0]


def _integers_evaluate(counter: Any, key: Any, low: Any, high: Any) -> Any:
    low = np.asarray(low).astype(np.uint64)
    span = np.maximum(np.asarray(high).astype(np.uint64) - low, np.uint64(1))
    return (low + _bits_evaluate(counter, key) % span).astype(np.int64)


def _integers_lower(b: Any, counter: Any, key: Any, low: Any, high: Any) -> Any:
    span = b.sub(high, low)
    # The processor traps on division by zero.
    span = b.select(b.compare("eq", span, b.const(0, int64)), b.const(1, int64), span)
    bits, span = b.match(_bits_lower(b, counter, key), span)
    return b.add(low, b.emit(int64, bits.lanes, f"urem {bits}, {span.ref}"))


def _integers_samples(rng: np.random.Generator) -> Samples:
    counter = np.arange(37, dtype=np.int64)
    key = np.full_like(counter, rng.integers(-(2**63), 2**63 - 1))
    for low, high in ((0, 10), (-5, 2), (-(2**63), 2**63 - 1), (7, 8)):
        yield (counter, key, np.full_like(counter, low), np.full_like(counter, high)), {}


# Integers from low to high - 1; the remainder of 64 bits, of which 2**32 numbers are uneven by less than 2**-32.
random_integers: Op = Op(
    "random_integers",
    infer=_integers_infer,
    evaluate=_integers_evaluate,
    vjp=(None, None, None, None),
    lower=Scalar(_integers_lower, costly=True),
    samples=_integers_samples,
)
