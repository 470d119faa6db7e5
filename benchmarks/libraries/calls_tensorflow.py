"""The calls in TensorFlow, as its own executor runs them and compiled by XLA."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from benchmarks.libraries import Cases, Timed, tape
from benchmarks.libraries.data import three
from benchmarks.libraries.threads import THREADS

tf.config.threading.set_intra_op_parallelism_threads(THREADS)
tf.config.threading.set_inter_op_parallelism_threads(THREADS)


def _wxb(convert: Any, **options: Any) -> Timed:
    @tf.function(**options)
    def f(w: Any, x: Any, b: Any) -> Any:
        return w * x + b

    w, x, b = (convert(array) for array in three())
    return Timed("r = f(w, x, b)", {"f": f, "w": w, "x": x, "b": b}, tape.FINISH)


_MAKERS: dict[str, tuple[Callable[..., Timed], Any]] = {
    "wxb_arrays": (_wxb, lambda array: array),
    "wxb_tensors": (_wxb, tf.constant),
    "regression": (tape.regression, tf),
}
CASES: Cases = {
    name: {
        "tf.function": functools.partial(make, given),
        "tf.function+xla": functools.partial(make, given, jit_compile=True),
    }
    for name, (make, given) in _MAKERS.items()
}
