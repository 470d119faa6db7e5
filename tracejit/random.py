"""Random numbers (tj.random). The state is a variable, so a traced function draws new numbers at every call.

An element's number is a hash of (key, counter), see ops/selection.py; a draw of n elements moves the counter by n.
"""

from __future__ import annotations

import math
import secrets
from typing import Any

import numpy as np

from tracejit import functions, ops
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


def _draw(shape: tuple[int, ...], dtype: Any, op_seed: int | None) -> Any:
    """Numbers in [0, 1)."""
    state = _state(op_seed)
    count = math.prod(shape)
    with holding((state,)):  # no two threads draw the same numbers
        value = state.read()
        state.assign_add(convert_to_tensor([0, count], int64))
    key, counter = value[0], value[1]
    numbers = ops.add(ops.iota(shape=(count,), axis=0, dtype=int64), counter)
    drawn = ops.random_uniform(numbers, ops.broadcast_to(key, (count,)), dtype=as_dtype(dtype))
    return ops.reshape(drawn, shape=shape)


def uniform(
    shape: Any, minval: Any = 0, maxval: Any = 1, dtype: Any = float32, seed: int | None = None, name: str | None = None
) -> Any:
    """Numbers drawn evenly from [minval, maxval); a number just below maxval may be rounded to it."""
    drawn = _draw(functions.static_shape("random.uniform", shape), dtype, seed)
    return ops.add(ops.mul(drawn, ops.sub(convert_to_tensor(maxval, dtype), minval)), minval)


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
