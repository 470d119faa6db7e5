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
    EPSILON,
    IN_A_LAYER,
    RATE,
    SIZES,
    Sizes,
    mlp_data,
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


def mlp(tf: Any, **options: Any) -> Timed:
    """Gradient descent on the four weights."""
    images, labels, initial = mlp_data()
    weights = [tf.Variable(weight) for weight in initial]
    w1, b1, w2, b2 = weights

    @tf.function(**options)
    def step(images: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = tf.nn.relu(images @ w1 + b1) @ w2 + b2
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
        for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
            weight.assign_sub(RATE * gradient)
        return loss

    return Timed(STEP, {"step": step, "x": tf.constant(images), "y": tf.constant(labels)}, FINISH)


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
    tokens, labels, initial = transformer_data(sizes)
    logits = transformer_logits(tf, sizes)
    weights = [tf.Variable(weight) for weight in initial]
    first = [tf.Variable(tf.zeros_like(weight), trainable=False) for weight in weights]
    second = [tf.Variable(tf.zeros_like(weight), trainable=False) for weight in weights]
    steps = tf.Variable(0.0, trainable=False)

    @tf.function(**options)
    def step(tokens: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits(tokens, weights))
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, weights)
        steps.assign_add(1.0)
        unbias1, unbias2 = 1 / (1 - tf.pow(BETA1, steps)), 1 / (1 - tf.pow(BETA2, steps))
        for weight, m, v, gradient in zip(weights, first, second, gradients, strict=True):
            g = tf.convert_to_tensor(gradient)
            m.assign(BETA1 * m + (1 - BETA1) * g)
            v.assign(BETA2 * v + (1 - BETA2) * g * g)
            weight.assign_sub(ADAM_RATE * (m * unbias1) / (tf.sqrt(v * unbias2) + ADAM_EPSILON))
        return loss

    return Timed(STEP, {"step": step, "x": tf.constant(tokens), "y": tf.constant(labels)}, FINISH)
