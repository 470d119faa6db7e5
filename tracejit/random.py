"""Random numbers (tj.random). The state is a variable, so a traced function draws new numbers at every call.

An element's number is a hash of (key, counter), see ops/selection.py; a draw of n elements moves the counter by n.
"""

from __future__ import annotations

import math
import secrets
from typing import Any

import numpy as np

from tracejit import functions, ops
from tracejit.ir.errors import InvalidArgumentError, fail
from tracejit.ir.types import TensorType, as_dtype, float32, int64
from tracejit.tensor import Tensor, context, convert_to_tensor
from tracejit.variable import Variable, holding

_states: dict[int | None, Variable] = {}
_global_seed: int | None = None


def _start(op_seed: int | None) -> np.ndarray:
    """The state (key, counter) with which the stream of `op_seed` begins."""
    if _global_seed is None and op_seed is None:
        return np.array([secrets.randbits(63), 0], np.int64)
    mixed = np.random.SeedSequence([_global_seed or 0, op_seed or 0, op_seed is not None]).generate_state(1, np.uint64)
    return np.array([mixed[0] >> np.uint64(1), 0]).astype(np.int64)


def set_seed(seed: int) -> None:
    """Begin every stream of random numbers anew, as `seed` says."""
    global _global_seed
    _global_seed = int(seed)
    for op_seed, state in _states.items():
        state.assign(_start(op_seed))


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


def _draw(shape: tuple[int, ...], dtype: Any, op_seed: int | None) -> Any:
    """Numbers in [0, 1)."""
    counters, keys = _counters(shape, op_seed)
    return ops.reshape(ops.random_uniform(counters, keys, dtype=as_dtype(dtype)), shape=shape)


def uniform(
    shape: Any, minval: Any = 0, maxval: Any = None, dtype: Any = float32, seed: int | None = None, name: str | None = None
) -> Any:
    """Numbers drawn evenly from [minval, maxval), where `maxval` is 1 if it is left out. Floats may be rounded to maxval.

    Integers are those from minval to maxval - 1: ValueError where `maxval` is left out, InvalidArgumentError where it is not
    above minval or one of them is no scalar.
    """
    sizes, kind = functions.static_shape("random.uniform", shape), as_dtype(dtype)
    if kind.is_integer:
        if maxval is None:
            raise ValueError(f"random.uniform: maxval must be given for integers, here {kind.name}")
        return _integers(sizes, convert_to_tensor(minval, kind), convert_to_tensor(maxval, kind), seed)
    drawn = _draw(sizes, kind, seed)
    span = ops.sub(convert_to_tensor(1 if maxval is None else maxval, kind), minval)
    return ops.add(ops.mul(drawn, span), minval)


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
    sizes = functions.static_shape("random.normal", shape)
    count = math.prod(sizes)
    both = _draw((2, count), dtype, seed)
    # 1 - u lies in (0, 1], so that its logarithm is finite.
    radius = ops.sqrt(ops.mul(ops.log(ops.sub(1.0, both[0])), -2.0))
    drawn = ops.mul(radius, ops.cos(ops.mul(both[1], 2 * math.pi)))
    return ops.add(ops.mul(ops.reshape(drawn, shape=sizes), stddev), mean)
