"""What is to be reached: a row for each kernel, with the peer to beat, by how much, and what the machine needs at the least.

The least: `bytes` of inputs, results and what is updated, each once; `flops` of the products, forward and backward, and of
functions of each element, an exp or its like as 10.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from benchmarks.libraries.data import (
    BATCH,
    CHANNELS,
    CLASSES,
    CONV_BATCH,
    DEEP_BATCH,
    DEEP_LAYERS,
    IMAGE,
    LAYERS,
    LSTM_BATCH,
    LSTM_INPUTS,
    LSTM_STEPS,
    LSTM_WIDTH,
    PINN_BATCH,
    PINN_LAYERS,
    SIZES,
)
from benchmarks.libraries.kernel_data import (
    ACROSS,
    FEATURES,
    FUNCTIONS,
    MANY_FEATURES,
    OPTIONS,
    PRODUCTS,
    ROSENBROCK,
    SIDE,
    SQUARES,
    Product,
    elementwise_case,
    logits_data,
    norm_data,
)
from benchmarks.libraries.kernel_data import BATCH as IMAGES
from benchmarks.libraries.kernel_data import SIZES as ELEMENTS

TRANSCENDENTAL = 10
TENSORFLOW = ("tf.function", "tf.function+xla")


class Row(NamedTuple):
    """`against` are the labels of which the best is to be beaten, empty: everybody's. `reach` is how many times as fast, by
    number of threads where that matters; `share` the part of the machine's limit that is to be reached, 0: none."""

    kind: str
    group: str
    case: str
    title: str
    reach: float | dict[int, float]
    flops: int
    bytes: int
    against: tuple[str, ...] = ()
    share: float = 0
    dtype: str = "float32"

    def reach_on(self, threads: int) -> float:
        """How many times as fast it has to be with so many threads; for more than any that is given, as with the most."""
        if not isinstance(self.reach, dict):
            return self.reach
        return self.reach[max(count for count in self.reach if count <= threads)]


def product_row(product: Product) -> Row:
    """1.2 where there is little work or a side is short, and at least the best elsewhere."""
    m, n, k, transposed, dtype = product
    short = min(m, n, k) <= 64
    square = m == n == k and 64 <= m <= 1024
    title = f"matmul {m},{n},{k}{', A transposed' if transposed else ''}{', float64' if dtype == 'float64' else ''}"
    size = 8 if dtype == "float64" else 4
    return Row("matmul", "kernels", product.case, title, 1.2 if short else 1.0, 2 * m * n * k,
               size * (m * k + k * n + m * n), share=0.9 if square else 0, dtype=dtype)  # fmt: skip


def elementwise_row(function: str, size: int) -> Row:
    """Faster than the best, by whatever."""
    title = f"{function}, {size:,} float32"
    return Row("elementwise", "kernels", elementwise_case(function, size), title, 1.0, TRANSCENDENTAL * size, 8 * size)


def _convolution_rows() -> list[Row]:
    """Forward, and with the gradients; what they read and write comes to the images, as often as they go in and come out."""
    places = IMAGES * SIDE**2
    block, wide = 2 * places * 2 * 9 * FEATURES**2, places * 2 * FEATURES * MANY_FEATURES
    few, many = 4 * places * FEATURES, 4 * places * MANY_FEATURES
    title = f"residual block of 3x3, {FEATURES} features, {IMAGES}x{SIDE}x{SIDE}"
    pointwise = f"convolution of 1x1, {FEATURES} to {MANY_FEATURES} features, {IMAGES}x{SIDE}x{SIDE}"
    return [
        Row("convolution", "kernels", "residual", title, 1.2, block, 2 * few),
        Row("convolution", "kernels", "residual_gradients", f"{title}, with gradients", 1.2, 3 * block, 4 * few),
        Row("convolution", "kernels", "pointwise", pointwise, 1.2, wide, few + many),
        Row("convolution", "kernels", "pointwise_gradients", f"{pointwise}, with gradients", 1.2, 3 * wide, 2 * (few + many)),
    ]


def _weights(layers: tuple[int, ...]) -> int:
    return sum(a * b + b for a, b in pairwise(layers))


def _products(layers: tuple[int, ...]) -> int:
    return sum(2 * a * b for a, b in pairwise(layers))


def _mlp(layers: tuple[int, ...], batch: int) -> int:
    """Forward, and backward to the weights and to each layer's input but the first's."""
    return batch * (3 * _products(layers) - 2 * layers[0] * layers[1])


def _conv() -> int:
    first, second = (2 * 9 * a * b for a, b in pairwise(CHANNELS))
    dense = 2 * (IMAGE // 4) ** 2 * CHANNELS[-1] * CLASSES
    return CONV_BATCH * (2 * IMAGE**2 * first + 3 * (IMAGE // 2) ** 2 * second + 3 * dense)


def _lstm() -> int:
    """Forward, and backward to the weights and to each state but the first; and five functions for each element of it."""
    of_inputs, of_state = (2 * size * 4 * LSTM_WIDTH for size in (LSTM_INPUTS, LSTM_WIDTH))
    return LSTM_STEPS * LSTM_BATCH * (2 * of_inputs + 3 * of_state + 5 * TRANSCENDENTAL * LSTM_WIDTH)


def _transformer() -> tuple[int, int]:
    """Operations, and the number of weights."""
    s = SIZES
    attention = 2 * 2 * s.batch * s.tokens**2 * s.width
    layer = 4 * s.width**2 + 2 * s.width * s.hidden
    weights = s.layers * layer + 2 * s.width * s.vocabulary + s.width * s.tokens
    forward = 2 * s.batch * s.tokens * (s.layers * layer + s.width * s.vocabulary) + s.layers * attention
    return 3 * forward, weights


def _table() -> list[Row]:
    norm, logits = norm_data()[0].shape, logits_data()[0].shape
    of_norm, of_logits = norm[0] * norm[1], logits[0] * logits[1]
    transformer_flops, transformer_weights = _transformer()
    images = CONV_BATCH * IMAGE**2
    return [
        *map(product_row, PRODUCTS),
        Row("transpose_add", "kernels", "transpose_add", f"transpose + 1, {ACROSS}x{ACROSS}", 1.5, ACROSS**2, 8 * ACROSS**2),
        Row("mlp", "models", "mlp", "MLP 784-128-10, batch 32, SGD step", {1: 1.7, 2: 3.0}, _mlp(LAYERS, BATCH),
            4 * (BATCH * LAYERS[0] + 2 * _weights(LAYERS)), ("jax",)),
        Row("mlp_adam", "models", "mlp_adam", "MLP 784-512-512-10, batch 256, Adam step", 1.3, _mlp(DEEP_LAYERS, DEEP_BATCH),
            4 * (DEEP_BATCH * DEEP_LAYERS[0] + 6 * _weights(DEEP_LAYERS)), ("jax",)),
        Row("norm_gelu", "kernels", "norm_gelu", f"layer norm + gelu with gradients, {norm[0]}x{norm[1]}", 2.0, 50 * of_norm,
            4 * 4 * of_norm, ("jax",)),
        Row("cross_entropy", "kernels", "cross_entropy", f"softmax cross entropy with gradient, {logits[0]}x{logits[1]}", 1.5,
            16 * of_logits, 8 * of_logits, ("jax",), share=0.8),
        # The value, both slopes and the curvature go through each layer, and all four come back to weights and inputs.
        Row("pinn", "models", "pinn", "PINN of Burgers' equation, batch 1024, SGD step", 2.0,
            PINN_BATCH * 3 * 4 * _products(PINN_LAYERS), 4 * (2 * PINN_BATCH + 2 * _weights(PINN_LAYERS)), TENSORFLOW),
        Row("conv", "models", "conv", "conv net on 28x28, batch 32, SGD step", 1.3, _conv(), 4 * images, TENSORFLOW),
        Row("lstm", "models", "lstm", f"LSTM of {LSTM_STEPS} steps in a loop, batch {LSTM_BATCH}, SGD step", 2.0, _lstm(),
            4 * LSTM_STEPS * LSTM_BATCH * LSTM_INPUTS, ("jax", "tf.function")),
        Row("transformer", "models", "transformer", "transformer, 2 layers, width 128, Adam step", 1.5, transformer_flops,
            4 * 6 * transformer_weights, ("tf.function+xla",)),
        *_convolution_rows(),
        Row("black_scholes", "kernels", "black_scholes", "Black-Scholes with greeks, 1,000,000 float64", 2.0,
            6 * TRANSCENDENTAL * OPTIONS, 8 * 10 * OPTIONS, ("torch.compile",), dtype="float64"),
        Row("hessian", "kernels", "hessian", "Hessian of Rosenbrock, 100 float64", 2.0, 10 * ROSENBROCK,
            8 * ROSENBROCK**2, ("jax",), dtype="float64"),
        *(elementwise_row(function, size) for function in FUNCTIONS for size in (10**3, 10**5, 10**7)),
    ]  # fmt: skip


ROWS: list[Row] = _table()


class Sweep(NamedTuple):
    """Rows of one kernel by size, and what the size counts."""

    title: str
    counts: str
    rows: dict[int, Row]


# By plot: what is drawn beside each other.
SWEEPS: dict[str, list[Sweep]] = {
    "matmul": [Sweep("matmul, square, float32", "rows and columns", {each.m: product_row(each) for each in SQUARES})],
    "elementwise": [
        Sweep(f"{function}, float32", "elements", {size: elementwise_row(function, size) for size in ELEMENTS})
        for function in FUNCTIONS
    ],
}
