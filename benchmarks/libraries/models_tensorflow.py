"""The models in TensorFlow, as its own executor runs them and compiled by XLA."""

from __future__ import annotations

import functools

import tensorflow as tf

from benchmarks.libraries import Cases, tape
from benchmarks.libraries.threads import THREADS

tf.config.threading.set_intra_op_parallelism_threads(THREADS)
tf.config.threading.set_inter_op_parallelism_threads(THREADS)

CASES: Cases = {
    name: {
        "tf.function": functools.partial(make, tf),
        "tf.function+xla": functools.partial(make, tf, jit_compile=True),
    }
    for name, make in tape.MODELS.items()
}
