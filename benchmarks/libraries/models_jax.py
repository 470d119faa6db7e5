"""The models in JAX: parameters go in and come out, and their buffers are given away."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.libraries import Cases, Timed
from benchmarks.libraries.data import (
    ADAM_EPSILON,
    ADAM_RATE,
    BETA1,
    BETA2,
    DEEP_BATCH,
    DEEP_LAYERS,
    EPSILON,
    IN_A_LAYER,
    LSTM_WIDTH,
    RATE,
    SIZES,
    VISCOSITY,
    Sizes,
    conv_data,
    lstm_data,
    mlp_data,
    pinn_data,
    transformer_data,
)

FINISH = "r.block_until_ready()"
STEP = "state, r = step(state, x, y)"


def cross_entropy(logits: Any, labels: Any) -> Any:
    """The mean over all rows."""
    # As optax has it; by log_softmax the gradient with respect to 4096 classes takes 20 times as long.
    at_label = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - at_label)


def _descent(loss: Any, x: Any, y: Any, initial: list[Any]) -> Timed:
    """Gradient descent on `loss(weights, x, y)`."""

    @functools.partial(jax.jit, donate_argnums=0)
    def step(weights: Any, x: Any, y: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(weights, x, y)
        return [weight - RATE * gradient for weight, gradient in zip(weights, gradients, strict=True)], value

    state = [jnp.array(weight) for weight in initial]
    return Timed(STEP, {"step": step, "state": state, "x": jnp.array(x), "y": jnp.array(y)}, FINISH)


def _adam(loss: Any, x: Any, y: Any, initial: list[Any]) -> Timed:
    """Adam on `loss(weights, x, y)`."""

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: Any, x: Any, y: Any) -> Any:
        weights, first, second, steps = state
        value, gradients = jax.value_and_grad(loss)(weights, x, y)
        steps = steps + 1
        unbias1, unbias2 = 1 / (1 - BETA1**steps), 1 / (1 - BETA2**steps)
        first = [BETA1 * m + (1 - BETA1) * g for m, g in zip(first, gradients, strict=True)]
        second = [BETA2 * v + (1 - BETA2) * g * g for v, g in zip(second, gradients, strict=True)]
        weights = [
            weight - ADAM_RATE * (m * unbias1) / (jnp.sqrt(v * unbias2) + ADAM_EPSILON)
            for weight, m, v in zip(weights, first, second, strict=True)
        ]
        return (weights, first, second, steps), value

    weights = [jnp.array(weight) for weight in initial]
    first, second = ([jnp.zeros_like(weight) for weight in weights] for _ in range(2))
    state = (weights, first, second, jnp.float32(0))
    return Timed(STEP, {"step": step, "state": state, "x": jnp.array(x), "y": jnp.array(y)}, FINISH)


def _dense(x: Any, weights: Any, activation: Any) -> Any:
    *before, w, b = weights
    for each, bias in zip(before[::2], before[1::2], strict=True):
        x = activation(x @ each + bias)
    return x @ w + b


def _mlp_loss(weights: Any, images: Any, labels: Any) -> Any:
    return cross_entropy(_dense(images, weights, jax.nn.relu), labels)


def mlp() -> Timed:
    """Gradient descent on the four weights."""
    return _descent(_mlp_loss, *mlp_data())


def mlp_adam() -> Timed:
    """Adam on the six weights of a deeper one."""
    return _adam(_mlp_loss, *mlp_data(DEEP_LAYERS, DEEP_BATCH))


def pinn() -> Timed:
    """Gradient descent on what is left of Burgers' equation."""

    def loss(weights: Any, t: Any, x: Any) -> Any:
        def total(t: Any, x: Any) -> Any:
            u = _dense(jnp.concatenate([t, x], axis=1), weights, jnp.tanh)
            return u.sum(), u

        def slopes(t: Any, x: Any) -> Any:
            (u_t, u_x), u = jax.grad(total, argnums=(0, 1), has_aux=True)(t, x)
            return u_x.sum(), (u, u_t, u_x)

        u_xx, (u, u_t, u_x) = jax.grad(slopes, argnums=1, has_aux=True)(t, x)
        return jnp.mean(jnp.square(u_t + u * u_x - VISCOSITY * u_xx))

    return _descent(loss, *pinn_data())


def conv() -> Timed:
    """Gradient descent on two kernels, a matrix and their biases."""

    def loss(weights: Any, images: Any, labels: Any) -> Any:
        k1, b1, k2, b2, *last = weights
        x = images
        for kernel, bias in ((k1, b1), (k2, b2)):
            layout = ("NHWC", "HWIO", "NHWC")
            x = jax.nn.relu(jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout) + bias)
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return cross_entropy(_dense(x.reshape(x.shape[0], -1), last, None), labels)

    return _descent(loss, *conv_data())


def lstm() -> Timed:
    """Gradient descent on four weights, by way of all steps."""

    def loss(weights: Any, x: Any, y: Any) -> Any:
        of_inputs, of_state, bias, last = weights
        h = c = jnp.zeros((x.shape[0], LSTM_WIDTH), jnp.float32)
        for step in range(x.shape[1]):
            i, f, g, o = jnp.split(x[:, step] @ of_inputs + h @ of_state + bias, 4, axis=1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return jnp.mean(jnp.square(h @ last - y))

    return _descent(loss, *lstm_data())


def _norm(x: Any, gamma: Any, beta: Any) -> Any:
    centered = x - x.mean(axis=-1, keepdims=True)
    return centered * jax.lax.rsqrt(jnp.square(centered).mean(axis=-1, keepdims=True) + EPSILON) * gamma + beta


def _logits(weights: Any, tokens: Any, sizes: Sizes) -> Any:
    each = sizes.width // sizes.heads

    def attention(x: Any, qkv: Any, qkv_b: Any, out: Any, out_b: Any) -> Any:
        parts = jnp.split(x @ qkv + qkv_b, 3, axis=-1)
        heads = (part.reshape(*part.shape[:2], sizes.heads, each).transpose(0, 2, 1, 3) for part in parts)
        q, k, v = heads
        weights = jax.nn.softmax(q @ k.swapaxes(-1, -2) * (1 / math.sqrt(each)))
        return (weights @ v).transpose(0, 2, 1, 3).reshape(x.shape) @ out + out_b

    x = weights[0][tokens] + weights[1]
    for start in range(2, 2 + sizes.layers * len(IN_A_LAYER), len(IN_A_LAYER)):
        g1, b1, qkv, qkv_b, out, out_b, g2, b2, up, up_b, down, down_b = weights[start : start + len(IN_A_LAYER)]
        x = x + attention(_norm(x, g1, b1), qkv, qkv_b, out, out_b)
        x = x + jax.nn.gelu(_norm(x, g2, b2) @ up + up_b, approximate=True) @ down + down_b
    gamma, beta, last, last_b = weights[-4:]
    return _norm(x, gamma, beta) @ last + last_b


def transformer(sizes: Sizes = SIZES) -> Timed:
    """Adam on all weights."""

    def loss(weights: Any, tokens: Any, labels: Any) -> Any:
        return cross_entropy(_logits(weights, tokens, sizes), labels)

    return _adam(loss, *transformer_data(sizes))


CASES: Cases = {each.__name__: {"jax": each} for each in (mlp, mlp_adam, pinn, conv, lstm, transformer)}
