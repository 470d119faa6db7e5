"""The kernels in TensorFlow: op by op where a case is one op, and otherwise as its own executor runs them; compiled by XLA."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from benchmarks.libraries import Cases, Timed, tape_kernels
from benchmarks.libraries.kernel_data import ALL_PRODUCTS, FUNCTIONS, SIZES, elementwise_case
from benchmarks.libraries.threads import THREADS

tf.config.threading.set_intra_op_parallelism_threads(THREADS)
tf.config.threading.set_inter_op_parallelism_threads(THREADS)

_ONE_OP = {each.case for each in ALL_PRODUCTS} | {elementwise_case(name, size) for name in FUNCTIONS for size in SIZES}


def _made(make: Callable[[Any, Any], Timed], decorate: Any) -> Timed:
    timed = make(tf, decorate)
    # A tensor's memory is seen, without a copy, when it is computed.
    return timed._replace(finish="wait(r)", names=timed.names | {"wait": _wait})


def _wait(result: Any) -> None:
    while isinstance(result, (tuple, list)):
        result = result[-1]
    memoryview(result)


def _contestants(name: str, make: Callable[[Any, Any], Timed]) -> dict[str, Callable[[], Timed]]:
    first = ("tensorflow", lambda f: f) if name in _ONE_OP else ("tf.function", tf.function)
    decorators = dict([first, ("tf.function+xla", tf.function(jit_compile=True))])
    return {label: functools.partial(_made, make, decorate) for label, decorate in decorators.items()}


CASES: Cases = {name: _contestants(name, make) for name, make in tape_kernels.KERNELS.items()}
