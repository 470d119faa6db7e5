"""The cases: each as a user's function, eager and compiled, and as a competent person writes it in NumPy, in float32.

Each contestant has inputs and variables of its own and is called without arguments. What a case needs at the least, for
the limit that the machine sets: the bytes of its inputs and outputs, each once, and its floating-point operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tracejit as tj
from benchmarks.libraries import apart, leaves
from benchmarks.libraries.data import BATCH, EPSILON, LAYERS, RATE, mlp_data
from benchmarks.libraries.kernel_data import logits_data, norm_data
from benchmarks.libraries.kernels_numpy import cross_entropy as numpy_cross_entropy
from benchmarks.libraries.kernels_numpy import norm_gelu as numpy_norm_gelu
from benchmarks.libraries.models_numpy import Mlp as NumpyMlp

CONTESTANTS = ("eager", "compiled", "numpy")


class Contestant(NamedTuple):
    """`call` computes and returns its results; `state` are the arrays that it updates."""

    call: Callable[[], Any]
    state: Callable[[], list[Any]]


class Case(NamedTuple):
    """Three contestants that compute the same; `flops` counts an exp, tanh or log as 10. `traced` is the function that is
    compiled, with its arguments."""

    title: str
    contestants: dict[str, Contestant]
    bytes: int
    flops: int
    traced: tuple[Any, ...]


def _stateless() -> list[Any]:
    return []


def _three(
    eager: Callable[[], Any],
    compiled: Callable[[], Any],
    numpy: Callable[[], Any],
    states: tuple[Callable[[], list[Any]], ...] = (_stateless, _stateless, _stateless),
) -> dict[str, Contestant]:
    calls = (eager, compiled, numpy)
    return {name: Contestant(*both) for name, *both in zip(CONTESTANTS, calls, states, strict=True)}


# -- linear regression on 4 points


class _Regression:
    def __init__(self) -> None:
        self.w, self.b = tj.Variable(0.0), tj.Variable(0.0)
        self.x, self.y = tj.constant([1.0, 2.0, 3.0, 4.0]), tj.constant([3.0, 5.0, 7.0, 9.0])

    @tj.function
    def step(self, x: Any, y: Any) -> Any:
        with tj.GradientTape() as tape:
            loss = tj.reduce_mean(tj.square(self.w * x + self.b - y))
        dw, db = tape.gradient(loss, [self.w, self.b])
        self.w.assign_sub(0.01 * dw)
        self.b.assign_sub(0.01 * db)
        return loss

    def state(self) -> list[Any]:
        return [self.w, self.b]


class _NumpyRegression:
    def __init__(self) -> None:
        self.w, self.b = np.float32(0), np.float32(0)
        self.x, self.y = np.array([1, 2, 3, 4], np.float32), np.array([3, 5, 7, 9], np.float32)
        self.share, self.rate = np.float32(1 / 4), np.float32(0.01 * 2 / 4)

    def step(self) -> Any:
        error = self.w * self.x + self.b - self.y
        loss = error @ error * self.share
        self.w = self.w - self.rate * (error @ self.x)
        self.b = self.b - self.rate * error.sum()
        return loss

    def state(self) -> list[Any]:
        return [self.w, self.b]


def linear_regression() -> Case:
    """A step of gradient descent on two scalar variables."""
    eager, compiled, by_hand = _Regression(), _Regression(), _NumpyRegression()
    plain, step = _Regression.step.python_function, compiled.step
    contestants = _three(
        lambda: plain(eager, eager.x, eager.y),
        lambda: step(compiled.x, compiled.y),
        by_hand.step,
        (eager.state, compiled.state, by_hand.state),
    )
    return Case("linear regression, 4 points, step", contestants, bytes=4 * (8 + 4), flops=40,
                traced=(step, compiled.x, compiled.y))  # fmt: skip


# -- a dense layer of 10x3 to 1 with the mean squared error


def _dense(x: Any, y: Any, w: Any, b: Any) -> Any:
    with tj.GradientTape() as tape:
        loss = tj.reduce_mean(tj.square(y - (tj.matmul(x, w) + b)))
    return loss, tape.gradient(loss, [w, b])


def _numpy_dense(x: np.ndarray, y: np.ndarray, w: np.ndarray, b: np.ndarray) -> Any:
    error = x @ w
    error += b
    error -= y
    loss = np.mean(np.square(error))
    error *= np.float32(2 / error.size)
    return loss, [x.T @ error, error.sum(axis=0)]


def dense() -> Case:
    """Loss and gradients, returned; the variables are arguments."""
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(shape, dtype=np.float32) for shape in ((10, 3), (10, 1), (3, 1), (1,))]
    x, y = (tj.constant(array) for array in arrays[:2])
    w, b = (tj.Variable(array) for array in arrays[2:])
    compiled = tj.function(_dense)
    contestants = _three(
        lambda: _dense(x, y, w, b),
        lambda: compiled(x, y, w, b),
        lambda: _numpy_dense(*arrays),
    )
    return Case("dense 10x3 to 1, loss and gradients", contestants, bytes=4 * (44 + 5), flops=200,
                traced=(compiled, x, y, w, b))  # fmt: skip


# -- a step of a multi-layer perceptron


class Mlp:
    """The network with its step in tracejit."""

    def __init__(self) -> None:
        images, labels, weights = mlp_data()
        self.images, self.labels = tj.constant(images), tj.constant(labels)
        self.weights = [tj.Variable(weight) for weight in weights]

    @tj.function
    def step(self, images: Any, labels: Any) -> Any:
        w1, b1, w2, b2 = self.weights
        with tj.GradientTape() as tape:
            logits = tj.nn.relu(images @ w1 + b1) @ w2 + b2
            losses = tj.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
            loss = tj.reduce_mean(losses)
        for weight, gradient in zip(self.weights, tape.gradient(loss, self.weights), strict=True):
            weight.assign_sub(RATE * gradient)
        return loss

    def state(self) -> list[Any]:
        return list(self.weights)


def mlp() -> Case:
    """Forward, backward and the update of the weights in place."""
    eager, compiled, by_hand = Mlp(), Mlp(), NumpyMlp()
    plain, step = Mlp.step.python_function, compiled.step
    contestants = _three(
        lambda: plain(eager, eager.images, eager.labels),
        lambda: step(compiled.images, compiled.labels),
        by_hand.step,
        (eager.state, compiled.state, by_hand.state),
    )
    inputs, hidden, classes = LAYERS
    weights = inputs * hidden + hidden + hidden * classes + classes
    flops = 2 * BATCH * (2 * inputs * hidden + 3 * hidden * classes) + 2 * weights
    return Case("MLP 784-128-10, batch 32, SGD step", contestants, bytes=4 * (BATCH * inputs + 2 * weights), flops=flops,
                traced=(step, compiled.images, compiled.labels))  # fmt: skip


# -- layer norm and gelu with their gradient


def _norm_gelu(x: Any, gamma: Any, beta: Any, cotangent: Any) -> Any:
    with tj.GradientTape() as tape:
        tape.watch([x, gamma, beta])
        mean, variance = tj.nn.moments(x, axes=[1], keepdims=True)
        y = tj.nn.gelu((x - mean) * tj.rsqrt(variance + EPSILON) * gamma + beta, approximate=True)
    return y, tape.gradient(y, [x, gamma, beta], output_gradients=cotangent)


def norm_gelu(rows: int = 1024, columns: int = 1024) -> Case:
    """Layer norm, gelu (by tanh), and the gradient with respect to x, gamma and beta, all returned."""
    arrays = norm_data(rows, columns)
    tensors = [tj.constant(array) for array in arrays]
    compiled = tj.function(_norm_gelu)
    contestants = _three(
        lambda: _norm_gelu(*tensors),
        lambda: compiled(*tensors),
        lambda: numpy_norm_gelu(*arrays),
    )
    size = rows * columns
    title = f"layer norm + gelu with gradient, {rows}x{columns}"
    return Case(title, contestants, bytes=4 * (4 * size + 4 * columns), flops=50 * size,
                traced=(compiled, *tensors))  # fmt: skip


# -- softmax cross entropy with its gradient


def _cross_entropy(logits: Any, labels: Any) -> Any:
    with tj.GradientTape() as tape:
        tape.watch(logits)
        losses = tj.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        loss = tj.reduce_mean(losses)
    return loss, tape.gradient(loss, logits)


def cross_entropy(rows: int = 1024, classes: int = 4096) -> Case:
    """The mean loss and its gradient with respect to the logits, returned."""
    logits, labels = logits_data(rows, classes)
    tensors = tj.constant(logits), tj.constant(labels)
    compiled = tj.function(_cross_entropy)
    contestants = _three(
        lambda: _cross_entropy(*tensors),
        lambda: compiled(*tensors),
        lambda: numpy_cross_entropy(logits, labels),
    )
    size = rows * classes
    title = f"softmax cross entropy with gradient, {rows}x{classes}"
    return Case(title, contestants, bytes=4 * 2 * size + 8 * rows, flops=16 * size,
                traced=(compiled, *tensors))  # fmt: skip


CASES: dict[str, Callable[[], Case]] = {
    "regression": linear_regression,
    "dense": dense,
    "mlp": mlp,
    "norm_gelu": norm_gelu,
    "cross_entropy": cross_entropy,
}


def disagreement(case: Case, calls: int = 3) -> str:
    """Where the contestants differ by more than rounding (1e-4 of the largest element) in what they return, and in what
    they hold, at each of some calls; "" where they agree. To be called before anything else calls them."""
    for number in range(calls):
        found = {name: [*leaves(each.call()), *leaves(each.state())] for name, each in case.contestants.items()}
        expected = found.pop("numpy")
        for name, arrays in found.items():
            told = apart(arrays, expected)
            if told:
                return f"{name}: {told} (call {number})"
    return ""
