"""The models in PyTorch, eager and compiled: forward, backward and update are one function either way."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.libraries import Cases, Timed
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
    transformer_data,
)
from benchmarks.libraries.threads import THREADS

torch.set_num_threads(THREADS)
STEP = "r = step(x, y)"


def mlp(compiled: bool) -> Timed:
    """Gradient descent on the four weights."""
    images, labels, initial = mlp_data()
    weights = [torch.from_numpy(weight.copy()).requires_grad_(not compiled) for weight in initial]

    def loss(weights: Any, images: Any, labels: Any) -> Any:
        w1, b1, w2, b2 = weights
        return F.cross_entropy(torch.relu(images @ w1 + b1) @ w2 + b2, labels)

    def step(images: Any, labels: Any) -> Any:
        value, gradients = _gradients(loss, weights, images, labels, compiled)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.sub_(RATE * gradient)
        return value

    return _timed(step, images, labels, compiled)


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
    weights = [torch.from_numpy(weight.copy()).requires_grad_(not compiled) for weight in initial]
    first, second = ([torch.zeros_like(weight) for weight in weights] for _ in range(2))
    steps = torch.zeros(())

    def loss(weights: Any, tokens: Any, labels: Any) -> Any:
        return F.cross_entropy(_logits(weights, tokens, sizes).flatten(0, 1), labels.flatten())

    def step(tokens: Any, labels: Any) -> Any:
        value, gradients = _gradients(loss, weights, tokens, labels, compiled)
        with torch.no_grad():
            steps.add_(1)
            unbias1, unbias2 = 1 / (1 - BETA1**steps), 1 / (1 - BETA2**steps)
            for weight, m, v, g in zip(weights, first, second, gradients, strict=True):
                m.mul_(BETA1).add_(g, alpha=1 - BETA1)
                v.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
                weight.sub_(ADAM_RATE * (m * unbias1) / ((v * unbias2).sqrt() + ADAM_EPSILON))
        return value

    return _timed(step, tokens, labels.astype("int64"), compiled)


CASES: Cases = {
    name: {"torch": functools.partial(make, False), "torch.compile": functools.partial(make, True)}
    for name, make in {"mlp": mlp, "transformer": transformer}.items()
}
