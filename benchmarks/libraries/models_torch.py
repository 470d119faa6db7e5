"""The models in PyTorch, eager and compiled: forward, backward and update are one function either way."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.libraries import Cases, Timed
from benchmarks.libraries.data import (
    ADAM_EPSILON,
    ADAM_RATE,
    BETA1,
    BETA2,
    CHANNELS,
    CLASSES,
    DEEP_BATCH,
    DEEP_LAYERS,
    EPSILON,
    IMAGE,
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
from benchmarks.libraries.threads import THREADS

torch.set_num_threads(THREADS)
STEP = "r = step(x, y)"


def _descent(loss: Any, x: Any, y: Any, initial: list[Any], compiled: bool) -> Timed:
    """Gradient descent on `loss(weights, x, y)`."""
    weights = [torch.from_numpy(weight.copy()).requires_grad_(not compiled) for weight in initial]

    def step(x: Any, y: Any) -> Any:
        value, gradients = _gradients(loss, weights, x, y, compiled)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.sub_(RATE * gradient)
        return value

    return _timed(step, x, y, compiled)


def _adam(loss: Any, x: Any, y: Any, initial: list[Any], compiled: bool) -> Timed:
    """Adam on `loss(weights, x, y)`."""
    weights = [torch.from_numpy(weight.copy()).requires_grad_(not compiled) for weight in initial]
    first, second = ([torch.zeros_like(weight) for weight in weights] for _ in range(2))
    steps = torch.zeros(())

    def step(x: Any, y: Any) -> Any:
        value, gradients = _gradients(loss, weights, x, y, compiled)
        with torch.no_grad():
            steps.add_(1)
            unbias1, unbias2 = 1 / (1 - BETA1**steps), 1 / (1 - BETA2**steps)
            for weight, m, v, g in zip(weights, first, second, gradients, strict=True):
                m.mul_(BETA1).add_(g, alpha=1 - BETA1)
                v.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
                weight.sub_(ADAM_RATE * (m * unbias1) / ((v * unbias2).sqrt() + ADAM_EPSILON))
        return value

    return _timed(step, x, y, compiled)


def _gradients(loss: Any, weights: Any, x: Any, y: Any, compiled: bool) -> Any:
    """The loss and its gradients: by torch.func, which a compiled function can hold, and by the tape elsewhere."""
    if compiled:
        gradients, value = torch.func.grad_and_value(loss)(weights, x, y)
    else:
        value = loss(weights, x, y)
        gradients = torch.autograd.grad(value, weights)
    return value, gradients


def _timed(step: Any, x: Any, y: Any, compiled: bool) -> Timed:
    given = {"x": torch.from_numpy(x), "y": torch.from_numpy(y)}
    return Timed(STEP, {"step": torch.compile(step) if compiled else step, **given})


def _dense(x: Any, weights: Any, activation: Any) -> Any:
    *before, w, b = weights
    for each, bias in zip(before[::2], before[1::2], strict=True):
        x = activation(x @ each + bias)
    return x @ w + b


def _mlp_loss(weights: Any, images: Any, labels: Any) -> Any:
    return F.cross_entropy(_dense(images, weights, torch.relu), labels)


def mlp(compiled: bool) -> Timed:
    """Gradient descent on the four weights."""
    return _descent(_mlp_loss, *mlp_data(), compiled)


def mlp_adam(compiled: bool) -> Timed:
    """Adam on the six weights of a deeper one."""
    return _adam(_mlp_loss, *mlp_data(DEEP_LAYERS, DEEP_BATCH), compiled)


def pinn(compiled: bool) -> Timed:
    """Gradient descent on what is left of Burgers' equation."""
    grad = torch.func.grad

    def loss(weights: Any, t: Any, x: Any) -> Any:
        def total(t: Any, x: Any) -> Any:
            u = _dense(torch.cat([t, x], dim=1), weights, torch.tanh)
            return u.sum(), u

        def slopes(t: Any, x: Any) -> Any:
            (u_t, u_x), u = grad(total, argnums=(0, 1), has_aux=True)(t, x)
            return u_x.sum(), (u, u_t, u_x)

        u_xx, (u, u_t, u_x) = grad(slopes, argnums=1, has_aux=True)(t, x)
        return torch.mean(torch.square(u_t + u * u_x - VISCOSITY * u_xx))

    return _descent(loss, *pinn_data(), compiled)


def conv(compiled: bool) -> Timed:
    """Gradient descent on two kernels, a matrix and their biases; channels come before rows, as they do in PyTorch."""
    images, labels, (k1, b1, k2, b2, w, b) = conv_data()
    # The dense layer's rows, one for each place and channel, in the order in which this layout flattens.
    side = IMAGE // 4
    w = w.reshape(side, side, CHANNELS[-1], CLASSES).transpose(2, 0, 1, 3).reshape(-1, CLASSES)
    initial = [k1.transpose(3, 2, 0, 1), b1, k2.transpose(3, 2, 0, 1), b2, w, b]

    def loss(weights: Any, images: Any, labels: Any) -> Any:
        k1, b1, k2, b2, *last = weights
        x = images
        for kernel, bias in ((k1, b1), (k2, b2)):
            x = F.max_pool2d(torch.relu(F.conv2d(x, kernel, bias, padding=1)), 2)
        return F.cross_entropy(_dense(x.flatten(1), last, None), labels)

    images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return _descent(loss, images, labels, [np.ascontiguousarray(each) for each in initial], compiled)


def lstm(compiled: bool) -> Timed:
    """Gradient descent on four weights, by way of all steps."""

    def loss(weights: Any, x: Any, y: Any) -> Any:
        of_inputs, of_state, bias, last = weights
        h = c = torch.zeros((x.shape[0], LSTM_WIDTH))
        for step in range(x.shape[1]):
            i, f, g, o = (x[:, step] @ of_inputs + h @ of_state + bias).chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return torch.mean(torch.square(h @ last - y))

    return _descent(loss, *lstm_data(), compiled)


def _norm(x: Any, gamma: Any, beta: Any) -> Any:
    return F.layer_norm(x, (x.shape[-1],), gamma, beta, EPSILON)


def _logits(weights: Any, tokens: Any, sizes: Sizes) -> Any:
    each = sizes.width // sizes.heads

    def attention(x: Any, qkv: Any, qkv_b: Any, out: Any, out_b: Any) -> Any:
        parts = (x @ qkv + qkv_b).chunk(3, dim=-1)
        q, k, v = (part.reshape(*part.shape[:2], sizes.heads, each).transpose(1, 2) for part in parts)
        weights = torch.softmax(q @ k.transpose(-1, -2) * (1 / math.sqrt(each)), dim=-1)
        return (weights @ v).transpose(1, 2).reshape(x.shape) @ out + out_b

    x = F.embedding(tokens, weights[0]) + weights[1]
    for start in range(2, 2 + sizes.layers * len(IN_A_LAYER), len(IN_A_LAYER)):
        g1, b1, qkv, qkv_b, out, out_b, g2, b2, up, up_b, down, down_b = weights[start : start + len(IN_A_LAYER)]
        x = x + attention(_norm(x, g1, b1), qkv, qkv_b, out, out_b)
        x = x + F.gelu(_norm(x, g2, b2) @ up + up_b, approximate="tanh") @ down + down_b
    gamma, beta, last, last_b = weights[-4:]
    return _norm(x, gamma, beta) @ last + last_b


def transformer(compiled: bool, sizes: Sizes = SIZES) -> Timed:
    """Adam on all weights."""
    tokens, labels, initial = transformer_data(sizes)

    def loss(weights: Any, tokens: Any, labels: Any) -> Any:
        return F.cross_entropy(_logits(weights, tokens, sizes).flatten(0, 1), labels.flatten())

    return _adam(loss, tokens, labels.astype("int64"), initial, compiled)


CASES: Cases = {
    each.__name__: {"torch": functools.partial(each, False), "torch.compile": functools.partial(each, True)}
    for each in (mlp, mlp_adam, pinn, conv, lstm, transformer)
}
