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
    elementwise_case,
    factors,
    logits_data,
    norm_data,
    option_data,
    point,
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


# By case: what makes it, given the library and what it decorates functions with.
KERNELS: dict[str, Callable[[Any, Any], Timed]] = {
    **{each.case: functools.partial(matmul, product=each) for each in ALL_PRODUCTS},
    **{
        elementwise_case(name, size): functools.partial(elementwise, function=name, size=size)
        for name in FUNCTIONS
        for size in SIZES
    },
    "norm_gelu": norm_gelu,
    "cross_entropy": cross_entropy,
    "black_scholes": black_scholes,
    "hessian": hessian,
}
