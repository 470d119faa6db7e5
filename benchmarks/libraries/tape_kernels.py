"""The kernels written for TensorFlow's functions and tape, for a library that has them: `tf` is TensorFlow or tracejit."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from benchmarks.libraries import Timed, calling
from benchmarks.libraries.data import EPSILON
from benchmarks.libraries.kernel_data import (
    ALL_PRODUCTS,
    FUNCTIONS,
    OPTIONS,
    SIZES,
    Product,
    arguments,
    block_data,
    elementwise_case,
    factors,
    logits_data,
    matrix,
    norm_data,
    option_data,
    point,
    pointwise_data,
    repeated,
)


def matmul(tf: Any, decorate: Any, product: Product) -> Timed:
    """The product of two matrices."""

    def multiply(a: Any, b: Any) -> Any:
        return tf.matmul(a, b, transpose_a=product.transposed)

    return calling(decorate(multiply), *map(tf.constant, factors(product)))


def elementwise(tf: Any, decorate: Any, function: str, size: int) -> Timed:
    """A function of each element; gelu is the one by erf."""
    f = tf.nn.gelu if function == "gelu" else getattr(tf.math, function)
    return calling(decorate(lambda x: f(x)), tf.constant(repeated(arguments(function), size)))


def transpose_add(tf: Any, decorate: Any) -> Timed:
    """A matrix read across its rows."""
    return calling(decorate(lambda x: tf.transpose(x) + 1), tf.constant(matrix()))


def norm_gelu(tf: Any, decorate: Any) -> Timed:
    """Layer norm, gelu by tanh, and the gradient with respect to x, gamma and beta."""

    def f(x: Any, gamma: Any, beta: Any, cotangent: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([x, gamma, beta])
            mean, variance = tf.nn.moments(x, axes=[1], keepdims=True)
            y = tf.nn.gelu((x - mean) * tf.math.rsqrt(variance + EPSILON) * gamma + beta, approximate=True)
        return y, tape.gradient(y, [x, gamma, beta], output_gradients=cotangent)

    return calling(decorate(f), *map(tf.constant, norm_data()))


def cross_entropy(tf: Any, decorate: Any) -> Timed:
    """The mean loss and its gradient with respect to the logits."""

    def f(logits: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
        return loss, tape.gradient(loss, logits)

    return calling(decorate(f), *map(tf.constant, logits_data()))


def black_scholes(tf: Any, decorate: Any, size: int = OPTIONS) -> Timed:
    """The price of calls with delta, vega, theta and rho."""

    def normal(x: Any) -> Any:
        return 0.5 * (1.0 + tf.math.erf(x * math.sqrt(0.5)))

    def f(spot: Any, strike: Any, years: Any, rate: Any, volatility: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([spot, years, rate, volatility])
            spread = volatility * tf.sqrt(years)
            d1 = (tf.math.log(spot / strike) + (rate + 0.5 * volatility * volatility) * years) / spread
            price = spot * normal(d1) - strike * tf.exp(-rate * years) * normal(d1 - spread)
        delta, by_years, rho, vega = tape.gradient(price, [spot, years, rate, volatility])
        return price, delta, vega, -by_years, rho

    return calling(decorate(f), *(tf.constant(repeated(each, size)) for each in option_data()))


def hessian(tf: Any, decorate: Any) -> Timed:
    """The second derivatives of Rosenbrock's function: each row of a matrix is the point, and the gradient of row i's i-th
    slope is row i of the result."""

    def f(x: Any) -> Any:
        n = x.shape[0]
        rows = tf.tile(tf.reshape(x, (1, n)), (n, 1))
        with tf.GradientTape() as second:
            second.watch(rows)
            with tf.GradientTape() as first:
                first.watch(rows)
                left, right = rows[:, :-1], rows[:, 1:]
                values = tf.reduce_sum(100.0 * tf.square(right - tf.square(left)) + tf.square(1.0 - left), axis=1)
            slopes = tf.reduce_sum(first.gradient(values, rows) * tf.eye(n, dtype=tf.float64))
        return second.gradient(slopes, rows)

    return calling(decorate(f), tf.constant(point()))


def _layer(tf: Any, x: Any, kernel: Any, bias: Any) -> Any:
    return tf.nn.conv2d(x, kernel, strides=1, padding="SAME") + bias


def _forward(decorate: Any, layers: Any, given: list[Any]) -> Timed:
    """The `layers` of all that is given but the cotangent."""
    return calling(decorate(lambda *inputs: layers(*inputs)), *given[:-1])


def _with_gradients(tf: Any, decorate: Any, layers: Any, given: list[Any]) -> Timed:
    """The gradient with respect to all that is given, for the cotangent, which comes last."""

    def f(*inputs: Any) -> Any:
        *inputs, cotangent = inputs
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y = layers(*inputs)
        return y, tape.gradient(y, inputs, output_gradients=cotangent)

    return calling(decorate(f), *given)


def residual(tf: Any, decorate: Any, gradients: bool) -> Timed:
    """A residual block: two convolutions of 3x3."""

    def layers(x: Any, kernel1: Any, bias1: Any, kernel2: Any, bias2: Any) -> Any:
        return tf.nn.relu(x + _layer(tf, tf.nn.relu(_layer(tf, x, kernel1, bias1)), kernel2, bias2))

    given = [tf.constant(each) for each in block_data()]
    return _with_gradients(tf, decorate, layers, given) if gradients else _forward(decorate, layers, given)


def pointwise(tf: Any, decorate: Any, gradients: bool) -> Timed:
    """A convolution of 1x1 to many features."""

    def layers(x: Any, kernel: Any, bias: Any) -> Any:
        return tf.nn.relu(_layer(tf, x, kernel, bias))

    given = [tf.constant(each) for each in pointwise_data()]
    return _with_gradients(tf, decorate, layers, given) if gradients else _forward(decorate, layers, given)


# By case: what makes it, given the library and what it decorates functions with.
KERNELS: dict[str, Callable[[Any, Any], Timed]] = {
    **{each.case: functools.partial(matmul, product=each) for each in ALL_PRODUCTS},
    **{
        elementwise_case(name, size): functools.partial(elementwise, function=name, size=size)
        for name in FUNCTIONS
        for size in SIZES
    },
    "transpose_add": transpose_add,
    "norm_gelu": norm_gelu,
    "cross_entropy": cross_entropy,
    "residual": functools.partial(residual, gradients=False),
    "residual_gradients": functools.partial(residual, gradients=True),
    "pointwise": functools.partial(pointwise, gradients=False),
    "pointwise_gradients": functools.partial(pointwise, gradients=True),
    "black_scholes": black_scholes,
    "hessian": hessian,
}
