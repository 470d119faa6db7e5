"""Random numbers (tj.random). The state is a variable, so a traced function draws new numbers at every call.

An element's number is a hash of (key, counter), see ops/selection.py; a draw of n elements moves the counter by n.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from tracejit import functions, ops
from tracejit.context import context
from tracejit.functions import arguments
from tracejit.ir.errors import InvalidArgumentError, fail
from tracejit.ir.types import DType, TensorType, broadcast_shapes, float32, float64, int32, int64
from tracejit.tensor import Tensor, convert_to_tensor
from tracejit.variable import Variable, holding

__all__ = ["normal", "set_seed", "uniform"]


def __dir__() -> list[str]:
    return __all__


_states: dict[int | None, Variable] = {}
_global_seed: int | None = None


def _start(op_seed: int | None) -> np.ndarray:
    """The state (key, counter) with which the stream of `op_seed` begins."""
    if _global_seed is None and op_seed is None:
        return np.array([int.from_bytes(os.urandom(8), "little") >> 1, 0], np.int64)
    # A negative seed stands for the unsigned number of the same bits.
    seeds = [seed % 2**64 if seed < 0 else seed for seed in (_global_seed or 0, op_seed or 0)]
    mixed = np.random.SeedSequence([*seeds, op_seed is not None]).generate_state(1, np.uint64)
    return np.array([mixed[0] >> np.uint64(1), 0]).astype(np.int64)


def set_seed(seed: int | None) -> None:
    """Begin every stream of random numbers anew, as `seed` says; None for streams that are others each time."""
    global _global_seed
    _global_seed = _seed("random.set_seed", seed)
    for op_seed, state in _states.items():
        state.assign(_start(op_seed))


def _seed(name: str, seed: Any) -> int | None:
    return None if seed is None else arguments.integer(name, "seed", seed)


def _state(op_seed: int | None) -> Variable:
    if op_seed not in _states:
        trace, context.trace = context.trace, None  # the state outlives the trace that first draws from it
        try:
            start = _start(op_seed)
            _states[op_seed] = Variable(Tensor(start, TensorType((2,), int64)), trainable=False, name="random_state")
        finally:
            context.trace = trace
    return _states[op_seed]


def _counters(shape: tuple[int, ...], op_seed: int | None) -> tuple[Any, Any]:
    """(counter, key) for each element of a flat draw; the state moves on."""
    state = _state(op_seed)
    count = math.prod(shape)
    with holding((state,)):  # no two threads draw the same numbers
        value = state.read()
        state.assign_add(convert_to_tensor([0, count], int64))
    key, counter = value[0], value[1]
    return ops.add(ops.iota(shape=(count,), axis=0, dtype=int64), counter), ops.broadcast_to(key, (count,))


def _draw(shape: tuple[int, ...], dtype: DType, op_seed: int | None) -> Any:
    """Numbers in [0, 1)."""
    counters, keys = _counters(shape, op_seed)
    return ops.reshape(ops.random_uniform(counters, keys, dtype=dtype), shape=shape)


def _check_broadcast(name: str, sizes: tuple[int, ...], *bounds: Any) -> None:
    if broadcast_shapes(sizes, *[bound.type.shape for bound in bounds]) is None:
        fail(InvalidArgumentError, name, bounds, f"they do not broadcast with the shape {list(sizes)}")


def uniform(
    shape: Any, minval: Any = 0, maxval: Any = None, dtype: Any = float32, seed: int | None = None, name: str | None = None
) -> Any:
    """Numbers drawn evenly from [minval, maxval), where `maxval` is 1 if it is left out. Floats may be rounded to maxval.

    Integers are those from minval to maxval - 1: InvalidArgumentError where `maxval` is left out, or is not above minval, or
    one of them is no scalar.
    """
    kind = arguments.dtype("random.uniform", "dtype", dtype, (float32, float64, int32, int64))
    sizes = arguments.shape("random.uniform", "shape", shape, kind)
    if kind.is_integer and maxval is None:
        fail(InvalidArgumentError, "random.uniform", (), f"maxval must be given for integers, here {kind.name}")
    low = arguments.converted("random.uniform", "minval", minval, kind)
    high = arguments.converted("random.uniform", "maxval", 1 if maxval is None else maxval, kind)
    if kind.is_integer:
        return _integers(sizes, low, high, _seed("random.uniform", seed))
    _check_broadcast("random.uniform", sizes, low, high)
    drawn = _draw(sizes, kind, _seed("random.uniform", seed))
    return ops.add(ops.mul(drawn, ops.sub(high, low)), low)


def _integers(shape: tuple[int, ...], low: Any, high: Any, seed: int | None) -> Any:
    for bound in (low, high):
        if bound.type.shape:
            fail(InvalidArgumentError, "random.uniform", (low, high), "minval and maxval must be scalars for integers")
    dtype, count = low.type.dtype, math.prod(shape)
    if count:
        # Only then it matters, as in TensorFlow.
        above = ops.cast(ops.less(low, high), dtype=dtype)
        above = ops.check_nonzero(above, function="random.uniform", message="minval is not below maxval")
        low = ops.mul(low, above)
    counters, keys = _counters(shape, seed)
    bounds = [ops.broadcast_to(functions.cast(bound, int64), (count,)) for bound in (low, high)]
    return functions.cast(ops.reshape(ops.random_integers(counters, keys, *bounds), shape=shape), dtype)


def normal(
    shape: Any,
    mean: Any = 0.0,
    stddev: Any = 1.0,
    dtype: Any = float32,
    seed: int | None = None,
    name: str | None = None,
) -> Any:
    """Numbers of the normal distribution. (Box, Muller: A note on the generation of random normal deviates, 1958.)"""
    kind = arguments.dtype("random.normal", "dtype", dtype, (float32, float64))
    sizes = arguments.shape("random.normal", "shape", shape, kind)
    center = arguments.converted("random.normal", "mean", mean, kind)
    deviation = arguments.converted("random.normal", "stddev", stddev, kind)
    _check_broadcast("random.normal", sizes, center, deviation)
    count = math.prod(sizes)
    both = _draw((2, count), kind, _seed("random.normal", seed))
    # 1 - u lies in (0, 1], so that its logarithm is finite.
    radius = ops.sqrt(ops.mul(ops.log(ops.sub(1.0, both[0])), -2.0))
    drawn = ops.mul(radius, ops.cos(ops.mul(both[1], 2 * math.pi)))
    return ops.add(ops.mul(ops.reshape(drawn, shape=sizes), deviation), center)
