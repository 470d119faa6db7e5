"""What the models learn from and begin with: always the same, for every library, from NumPy's generator."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

# -- multi-layer perceptrons

RATE = 0.01
LAYERS, BATCH = (784, 128, 10), 32
DEEP_LAYERS, DEEP_BATCH = (784, 512, 512, 10), 256


def mlp_data(layers: Sequence[int] = LAYERS, batch: int = BATCH) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Images, labels, and a matrix and a bias a layer."""
    rng = np.random.default_rng(2)
    images = rng.random((batch, layers[0]), dtype=np.float32)
    labels = rng.integers(0, layers[-1], batch)
    return images, labels, _dense(rng, layers, gain=2)


def _dense(rng: np.random.Generator, layers: Sequence[int], gain: float) -> list[np.ndarray]:
    weights: list[np.ndarray] = []
    for inputs, outputs in pairwise(layers):
        drawn = rng.standard_normal((inputs, outputs), dtype=np.float32) * np.float32(math.sqrt(gain / inputs))
        weights += [drawn, np.zeros(outputs, np.float32)]
    return weights


# -- a network whose derivatives are to fulfil Burgers' equation, u_t + u u_x = VISCOSITY u_xx

PINN_LAYERS, PINN_BATCH = (2, 64, 64, 64, 1), 1024
VISCOSITY = 0.01 / math.pi


def pinn_data(layers: Sequence[int] = PINN_LAYERS, batch: int = PINN_BATCH) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Times and places, f32[batch,1], and a matrix and a bias a layer."""
    rng = np.random.default_rng(10)
    t = rng.random((batch, 1), dtype=np.float32)
    x = rng.random((batch, 1), dtype=np.float32) * np.float32(2) - np.float32(1)
    return t, x, _dense(rng, layers, gain=1)


# -- a network of two convolutions of 3x3, each with a pooling of 2x2, and a dense layer

IMAGE, CHANNELS, CLASSES, CONV_BATCH = 28, (1, 16, 32), 10, 32


def conv_data(batch: int = CONV_BATCH) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Images, f32[batch,28,28,1], labels, and a kernel, f32[3,3,in,out], or a matrix and a bias a layer."""
    rng = np.random.default_rng(11)
    images = rng.random((batch, IMAGE, IMAGE, 1), dtype=np.float32) - np.float32(0.5)
    labels = rng.integers(0, CLASSES, batch)
    weights: list[np.ndarray] = []
    for inputs, outputs in pairwise(CHANNELS):
        drawn = rng.standard_normal((3, 3, inputs, outputs), dtype=np.float32) * np.float32(math.sqrt(2 / (9 * inputs)))
        weights += [drawn, np.zeros(outputs, np.float32)]
    return images, labels, weights + _dense(rng, ((IMAGE // 4) ** 2 * CHANNELS[-1], CLASSES), gain=2)


# -- a long short-term memory, whose steps are a loop in Python

LSTM_STEPS, LSTM_BATCH, LSTM_INPUTS, LSTM_WIDTH = 100, 8, 32, 32


def lstm_data() -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Sequences, f32[batch,steps,inputs], and what each is to give, f32[batch,1]; the matrices of the gates for the inputs and
    for the state with their bias, which forgets little at first, and the matrix of the result."""
    rng = np.random.default_rng(12)
    x = rng.standard_normal((LSTM_BATCH, LSTM_STEPS, LSTM_INPUTS), dtype=np.float32)
    y = rng.standard_normal((LSTM_BATCH, 1), dtype=np.float32)
    of_inputs, _ = _dense(rng, (LSTM_INPUTS, 4 * LSTM_WIDTH), gain=1)
    of_state, bias = _dense(rng, (LSTM_WIDTH, 4 * LSTM_WIDTH), gain=1)
    bias[LSTM_WIDTH : 2 * LSTM_WIDTH] = 1
    return x, y, [of_inputs, of_state, bias, _dense(rng, (LSTM_WIDTH, 1), gain=1)[0]]


# -- a transformer: each layer normalizes what goes into its attention and into its feed-forward network


class Sizes(NamedTuple):
    """The model's sizes and the batch's."""

    vocabulary: int = 64
    width: int = 128
    tokens: int = 64
    batch: int = 16
    heads: int = 4
    hidden: int = 512
    layers: int = 2


SIZES = Sizes()
EPSILON = 1e-5  # of the layer norms
ADAM_RATE, BETA1, BETA2, ADAM_EPSILON = 1e-3, 0.9, 0.999, 1e-8

# A layer's weights in their order: the norm before the attention, its projections to queries, keys and values in one and
# back, the norm before the feed-forward network, its two layers.
IN_A_LAYER = ("g1", "b1", "qkv", "qkv_b", "out", "out_b", "g2", "b2", "up", "up_b", "down", "down_b")


@functools.cache
def transformer_data(sizes: Sizes = SIZES) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Tokens and labels, i32[batch,tokens]; the weights: the embeddings of tokens and of positions, IN_A_LAYER for each
    layer, and the last norm's two and the projection to logits with its bias."""
    rng = np.random.default_rng(5)
    width, hidden = sizes.width, sizes.hidden

    def drawn(rows: int, columns: int) -> np.ndarray:
        return rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(0.02)

    def zeros(size: int) -> np.ndarray:
        return np.zeros(size, np.float32)

    def layer() -> list[np.ndarray]:
        attention = [drawn(width, 3 * width), zeros(3 * width), drawn(width, width), zeros(width)]
        feed_forward = [drawn(width, hidden), zeros(hidden), drawn(hidden, width), zeros(width)]
        return [zeros(width) + 1, zeros(width), *attention, zeros(width) + 1, zeros(width), *feed_forward]

    tokens, labels = rng.integers(0, sizes.vocabulary, (2, sizes.batch, sizes.tokens), dtype=np.int32)
    weights = [drawn(sizes.vocabulary, width), drawn(sizes.tokens, width)]
    for _ in range(sizes.layers):
        weights += layer()
    weights += [zeros(width) + 1, zeros(width), drawn(width, sizes.vocabulary), zeros(sizes.vocabulary)]
    return tokens, labels, weights


def large() -> np.ndarray:
    """4 MiB."""
    return np.random.default_rng(7).standard_normal((1024, 1024), dtype=np.float32)


def six() -> dict[str, np.ndarray]:
    """Six arrays of four, by name."""
    rng = np.random.default_rng(8)
    return {name: rng.standard_normal(4, dtype=np.float32) for name in "abcdef"}


def three() -> list[np.ndarray]:
    """w, x and b, four of each."""
    return [np.array(values, np.float32) for values in ([2, 3, 4, 5], [1, -2, 3, -4], [0.5, 0.25, 0.125, 1])]


def points() -> tuple[np.ndarray, np.ndarray]:
    """Four points near a line."""
    return np.array([1, 2, 3, 4], np.float32), np.array([3, 5, 7, 9.5], np.float32)
