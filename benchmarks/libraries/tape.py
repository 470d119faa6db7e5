"""Train steps written for TensorFlow's tape, for a library that has it: `tf` is TensorFlow or tracejit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from benchmarks.libraries import Timed
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
    points,
    transformer_data,
)

FINISH = "r.numpy()"
STEP = "r = step(x, y)"


def regression(tf: Any, **options: Any) -> Timed:
    """Gradient descent on two scalars and four points."""
    w, b = tf.Variable(0.0), tf.Variable(0.0)

    @tf.function(**options)
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(w * x + b - y))
        dw, db = tape.gradient(loss, [w, b])
        w.assign_sub(RATE * dw)
        b.assign_sub(RATE * db)
        return loss

    x, y = points()
    return Timed(STEP, {"step": step, "x": tf.constant(x), "y": tf.constant(y)}, FINISH)


def _descent(tf: Any, weights: list[Any]) -> Callable[[list[Any]], None]:
    """Gradient descent: what updates the weights, given the gradients."""

    def update(gradients: list[Any]) -> None:
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.assign_sub(RATE * gradient)

    return update


def _adam(tf: Any, weights: list[Any]) -> Callable[[list[Any]], None]:
    """Adam: what updates the weights, given the gradients."""
    first = [tf.Variable(tf.zeros_like(weight), trainable=False) for weight in weights]
    second = [tf.Variable(tf.zeros_like(weight), trainable=False) for weight in weights]
    steps = tf.Variable(0.0, trainable=False)

    def update(gradients: list[Any]) -> None:
        steps.assign_add(1.0)
        unbias1, unbias2 = 1 / (1 - tf.pow(BETA1, steps)), 1 / (1 - tf.pow(BETA2, steps))
        for weight, m, v, gradient in zip(weights, first, second, gradients, strict=True):
            g = tf.convert_to_tensor(gradient)
            m.assign(BETA1 * m + (1 - BETA1) * g)
            v.assign(BETA2 * v + (1 - BETA2) * g * g)
            weight.assign_sub(ADAM_RATE * (m * unbias1) / (tf.sqrt(v * unbias2) + ADAM_EPSILON))

    return update


def _training(tf: Any, loss_of: Any, optimizer: Any, x: Any, y: Any, initial: list[Any], options: dict[str, Any]) -> Timed:
    """A step: `loss_of(x, y, weights)`, its gradients, and the update of the weights."""
    weights = [tf.Variable(weight) for weight in initial]
    update = optimizer(tf, weights)

    @tf.function(**options)
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(x, y, weights)
        update(tape.gradient(loss, weights))
        return loss

    return Timed(STEP, {"step": step, "x": tf.constant(x), "y": tf.constant(y)}, FINISH)


def _cross_entropy(tf: Any, logits: Any, labels: Any) -> Any:
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))


def _dense(x: Any, weights: list[Any], activation: Any) -> Any:
    """The layers, an activation between each two."""
    *before, w, b = weights
    for each, bias in zip(before[::2], before[1::2], strict=True):
        x = activation(x @ each + bias)
    return x @ w + b


def mlp(tf: Any, **options: Any) -> Timed:
    """Gradient descent on the four weights."""

    def loss(images: Any, labels: Any, weights: list[Any]) -> Any:
        return _cross_entropy(tf, _dense(images, weights, tf.nn.relu), labels)

    return _training(tf, loss, _descent, *mlp_data(), options)


def mlp_adam(tf: Any, **options: Any) -> Timed:
    """Adam on the six weights of a deeper one."""

    def loss(images: Any, labels: Any, weights: list[Any]) -> Any:
        return _cross_entropy(tf, _dense(images, weights, tf.nn.relu), labels)

    return _training(tf, loss, _adam, *mlp_data(DEEP_LAYERS, DEEP_BATCH), options)


def pinn(tf: Any, **options: Any) -> Timed:
    """Gradient descent on what is left of Burgers' equation, with derivatives of the second order in it."""

    def loss(t: Any, x: Any, weights: list[Any]) -> Any:
        with tf.GradientTape() as second:
            second.watch(x)
            with tf.GradientTape() as first:
                first.watch([t, x])
                u = _dense(tf.concat([t, x], axis=1), weights, tf.tanh)
            u_t, u_x = first.gradient(u, [t, x])
        u_xx = second.gradient(u_x, x)
        return tf.reduce_mean(tf.square(u_t + u * u_x - VISCOSITY * u_xx))

    return _training(tf, loss, _descent, *pinn_data(), options)


def conv(tf: Any, **options: Any) -> Timed:
    """Gradient descent on two kernels, a matrix and their biases."""
    if not hasattr(tf.nn, "conv2d"):
        raise NotImplementedError(f"{tf.__name__}.nn has no conv2d")

    def loss(images: Any, labels: Any, weights: list[Any]) -> Any:
        k1, b1, k2, b2, *last = weights
        x = images
        for kernel, bias in ((k1, b1), (k2, b2)):
            x = tf.nn.relu(tf.nn.conv2d(x, kernel, strides=1, padding="SAME") + bias)
            x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding="VALID")
        return _cross_entropy(tf, _dense(tf.reshape(x, (x.shape[0], -1)), last, None), labels)

    return _training(tf, loss, _descent, *conv_data(), options)


def lstm(tf: Any, **options: Any) -> Timed:
    """Gradient descent on four weights, by way of all steps."""

    def loss(x: Any, y: Any, weights: list[Any]) -> Any:
        of_inputs, of_state, bias, last = weights
        h = c = tf.zeros([x.shape[0], LSTM_WIDTH])
        for step in range(x.shape[1]):
            i, f, g, o = tf.split(x[:, step] @ of_inputs + h @ of_state + bias, 4, axis=1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            h = tf.sigmoid(o) * tf.tanh(c)
        return tf.reduce_mean(tf.square(h @ last - y))

    return _training(tf, loss, _descent, *lstm_data(), options)


def transformer_logits(tf: Any, sizes: Sizes) -> Callable[[Any, Any], Any]:
    """(tokens, weights) -> logits."""
    each = sizes.width // sizes.heads
    split_heads = (sizes.batch, sizes.tokens, sizes.heads, each)

    def norm(x: Any, gamma: Any, beta: Any) -> Any:
        mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
        return (x - mean) * tf.math.rsqrt(variance + EPSILON) * gamma + beta

    def attention(x: Any, qkv: Any, qkv_b: Any, out: Any, out_b: Any) -> Any:
        parts = tf.split(x @ qkv + qkv_b, 3, axis=-1)
        q, k, v = (tf.transpose(tf.reshape(part, split_heads), [0, 2, 1, 3]) for part in parts)
        weights = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) * (1 / math.sqrt(each)))
        mixed = tf.transpose(weights @ v, [0, 2, 1, 3])
        return tf.reshape(mixed, (sizes.batch, sizes.tokens, sizes.width)) @ out + out_b

    def logits(tokens: Any, weights: Any) -> Any:
        x = tf.gather(weights[0], tokens) + weights[1]
        for start in range(2, 2 + sizes.layers * len(IN_A_LAYER), len(IN_A_LAYER)):
            g1, b1, qkv, qkv_b, out, out_b, g2, b2, up, up_b, down, down_b = weights[start : start + len(IN_A_LAYER)]
            x = x + attention(norm(x, g1, b1), qkv, qkv_b, out, out_b)
            x = x + tf.nn.gelu(norm(x, g2, b2) @ up + up_b, approximate=True) @ down + down_b
        gamma, beta, last, last_b = weights[-4:]
        return norm(x, gamma, beta) @ last + last_b

    return logits


def transformer(tf: Any, sizes: Sizes = SIZES, **options: Any) -> Timed:
    """Adam on all weights."""
    logits = transformer_logits(tf, sizes)

    def loss(tokens: Any, labels: Any, weights: list[Any]) -> Any:
        return _cross_entropy(tf, logits(tokens, weights), labels)

    return _training(tf, loss, _adam, *transformer_data(sizes), options)


MODELS: dict[str, Callable[..., Timed]] = {
    "mlp": mlp,
    "mlp_adam": mlp_adam,
    "pinn": pinn,
    "conv": conv,
    "lstm": lstm,
    "transformer": transformer,
}
