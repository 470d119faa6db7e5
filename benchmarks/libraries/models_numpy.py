"""The multi-layer perceptron in NumPy, gradients by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.libraries import Cases, Timed
from benchmarks.libraries.data import BATCH, RATE, mlp_data


class Mlp:
    """The network with its step."""

    def __init__(self) -> None:
        self.images, self.labels, self.weights = mlp_data()
        self.rows = np.arange(BATCH)

    def step(self) -> Any:
        w1, b1, w2, b2 = self.weights
        images, labels, rows = self.images, self.labels, self.rows
        hidden = images @ w1
        hidden += b1
        np.maximum(hidden, 0, out=hidden)
        logits = hidden @ w2
        logits += b2
        logits -= logits.max(axis=1, keepdims=True)
        at_label = logits[rows, labels]
        delta = np.exp(logits, out=logits)
        total = delta.sum(axis=1, keepdims=True)
        loss = np.mean(np.log(total[:, 0]) - at_label)
        delta /= total
        delta[rows, labels] -= 1
        delta *= np.float32(1 / BATCH)
        hidden_delta = delta @ w2.T
        hidden_delta *= hidden > 0
        gradients = (images.T @ hidden_delta, hidden_delta.sum(axis=0), hidden.T @ delta, delta.sum(axis=0))
        for weight, gradient in zip(self.weights, gradients, strict=True):
            gradient *= np.float32(RATE)
            weight -= gradient
        return loss

    def state(self) -> list[Any]:
        return list(self.weights)


def _mlp() -> Timed:
    return Timed("r = step()", {"step": Mlp().step})


CASES: Cases = {"mlp": {"numpy": _mlp}}
