"""The kernels in JAX, each one compiled function."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.libraries import Cases, Timed, calling
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
from benchmarks.libraries.models_jax import cross_entropy


def _called(function: Callable[..., Any], *given: Any) -> Timed:
    timed = calling(jax.jit(function), *map(jnp.array, given))
    return timed._replace(finish="wait(r)", names=timed.names | {"wait": jax.block_until_ready})


def _matmul(product: Product) -> Timed:
    make = functools.partial(_called, (lambda a, b: a.T @ b) if product.transposed else (lambda a, b: a @ b), *factors(product))
    return _double(make) if product.dtype == "float64" else make()


_ELEMENTWISE: dict[str, Callable[[Any], Any]] = {
    "exp": jnp.exp,
    "log": jnp.log,
    "tanh": jnp.tanh,
    "erf": jax.scipy.special.erf,
    "sin": jnp.sin,
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
}


def _elementwise(function: str, size: int) -> Timed:
    f = _ELEMENTWISE[function]
    return _called(lambda x: f(x), repeated(arguments(function), size))


def _norm_gelu() -> Timed:
    def forward(x: Any, gamma: Any, beta: Any) -> Any:
        centered = x - x.mean(axis=1, keepdims=True)
        scale = jax.lax.rsqrt(jnp.square(centered).mean(axis=1, keepdims=True) + EPSILON)
        return jax.nn.gelu(centered * scale * gamma + beta, approximate=True)

    def f(x: Any, gamma: Any, beta: Any, cotangent: Any) -> Any:
        y, backward = jax.vjp(forward, x, gamma, beta)
        return y, backward(cotangent)

    return _called(f, *norm_data())


def _cross_entropy() -> Timed:
    return _called(jax.value_and_grad(cross_entropy), *logits_data())


def _layer(x: Any, kernel: Any, bias: Any) -> Any:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias


def _residual(x: Any, kernel1: Any, bias1: Any, kernel2: Any, bias2: Any) -> Any:
    return jax.nn.relu(x + _layer(jax.nn.relu(_layer(x, kernel1, bias1)), kernel2, bias2))


def _pointwise(x: Any, kernel: Any, bias: Any) -> Any:
    return jax.nn.relu(_layer(x, kernel, bias))


def _layers(layers: Callable[..., Any], data: Callable[[], list[Any]], gradients: bool) -> Timed:
    """The layers, or they and their gradients for the cotangent, which is the last of the data."""

    def both(*given: Any) -> Any:
        *inputs, cotangent = given
        y, backward = jax.vjp(layers, *inputs)
        return y, backward(cotangent)

    return _called(both, *data()) if gradients else _called(layers, *data()[:-1])


def _double(make: Callable[[], Timed]) -> Timed:
    """In double precision, which JAX has to be told of, while the case runs and not for the others."""
    double = functools.partial(jax.config.update, "jax_enable_x64")
    double(True)
    timed = make()
    double(False)
    return timed._replace(
        prepare="double(True)", finish="wait(r); double(False)", names=timed.names | {"double": double}, dtype="float64"
    )


def _black_scholes() -> Timed:
    def normal(x: Any) -> Any:
        return 0.5 * (1.0 + jax.scipy.special.erf(x * math.sqrt(0.5)))

    def total(spot: Any, years: Any, rate: Any, volatility: Any, strike: Any) -> Any:
        spread = volatility * jnp.sqrt(years)
        d1 = (jnp.log(spot / strike) + (rate + 0.5 * volatility * volatility) * years) / spread
        price = spot * normal(d1) - strike * jnp.exp(-rate * years) * normal(d1 - spread)
        return price.sum(), price

    def f(spot: Any, strike: Any, years: Any, rate: Any, volatility: Any) -> Any:
        greeks = jax.grad(total, argnums=(0, 1, 2, 3), has_aux=True)
        (delta, by_years, rho, vega), price = greeks(spot, years, rate, volatility, strike)
        return price, delta, vega, -by_years, rho

    return _called(f, *(repeated(each, OPTIONS) for each in option_data()))


def _hessian() -> Timed:
    def f(x: Any) -> Any:
        return jnp.sum(100.0 * jnp.square(x[1:] - jnp.square(x[:-1])) + jnp.square(1.0 - x[:-1]))

    return _called(jax.hessian(f), point())


CASES: Cases = {
    **{each.case: {"jax": functools.partial(_matmul, each)} for each in ALL_PRODUCTS},
    **{
        elementwise_case(name, size): {"jax": functools.partial(_elementwise, name, size)}
        for name in FUNCTIONS
        for size in SIZES
    },
    "transpose_add": {"jax": lambda: _called(lambda x: x.T + 1, matrix())},
    "norm_gelu": {"jax": _norm_gelu},
    "cross_entropy": {"jax": _cross_entropy},
    "residual": {"jax": functools.partial(_layers, _residual, block_data, False)},
    "residual_gradients": {"jax": functools.partial(_layers, _residual, block_data, True)},
    "pointwise": {"jax": functools.partial(_layers, _pointwise, pointwise_data, False)},
    "pointwise_gradients": {"jax": functools.partial(_layers, _pointwise, pointwise_data, True)},
    "black_scholes": {"jax": functools.partial(_double, _black_scholes)},
    "hessian": {"jax": functools.partial(_double, _hessian)},
}
