"""The demo: a small network that learns to read handwritten digits. It is a user's program: only public names are used.

`python -m tracejit demo` trains the network, then times one training step as plain Python (eager), compiled, and
written by hand in NumPy, checks that the three agree, and writes the graph that the compiled step became to a file.
"""

from __future__ import annotations

import csv
import gzip
import importlib.resources
import io
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import tracejit as tj

PIXELS, HIDDEN, DIGITS = 64, 128, 10
BATCH, LEARNING_RATE, MOMENTUM = 64, 0.1, 0.9
NOISE = 0.15  # added to the pixels that are learned from: the held-out accuracy was 97.2 to 99.2 % with the seeds 0 to 19
DUMP = "train_step.ir.txt"

# -- the network, as anyone would write it


def initial_weights(seed: int) -> list[np.ndarray]:
    """Weights and biases of the two layers, He's initialization."""
    rng = np.random.default_rng(seed)

    def layer(rows: int, columns: int) -> list[np.ndarray]:
        drawn = rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(np.sqrt(2 / rows))
        return [drawn, np.zeros(columns, np.float32)]

    return [*layer(PIXELS, HIDDEN), *layer(HIDDEN, DIGITS)]


class Network:
    """64 pixels, 128 hidden units, 10 digits; trained by gradient descent with momentum."""

    def __init__(self, seed: int):
        names = ("w1", "b1", "w2", "b2")
        self.weights = [tj.Variable(value, name=name) for name, value in zip(names, initial_weights(seed), strict=True)]
        self.velocities = [
            tj.Variable(tj.zeros_like(weight), trainable=False, name=f"v_{name}")
            for name, weight in zip(names, self.weights, strict=True)
        ]

    def logits(self, images: Any) -> Any:
        w1, b1, w2, b2 = self.weights
        return tj.nn.relu(images @ w1 + b1) @ w2 + b2

    @tj.function
    def train_step(self, images: Any, labels: Any) -> Any:
        """One step on one minibatch: its loss."""
        with tj.GradientTape() as tape:
            losses = tj.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=self.logits(images))
            loss = tj.reduce_mean(losses)
        gradients = tape.gradient(loss, self.weights)
        for weight, velocity, gradient in zip(self.weights, self.velocities, gradients, strict=True):
            velocity.assign(MOMENTUM * velocity + gradient)
            weight.assign_sub(LEARNING_RATE * velocity)
        return loss

    @tj.function
    def accuracy(self, images: Any, labels: Any) -> Any:
        """The share of the images that are read rightly."""
        right = tj.equal(tj.argmax(self.logits(images), axis=1), labels)
        return tj.reduce_mean(tj.cast(right, tj.float32))


class NumpyNetwork:
    """The same network and step by hand, gradients and all."""

    def __init__(self, seed: int):
        self.weights = initial_weights(seed)
        self.velocities = [np.zeros_like(weight) for weight in self.weights]

    def train_step(self, images: np.ndarray, labels: np.ndarray) -> np.float32:
        w1, b1, w2, b2 = self.weights
        hidden = images @ w1
        hidden += b1
        np.maximum(hidden, 0, out=hidden)
        logits = hidden @ w2
        logits += b2
        logits -= logits.max(axis=1, keepdims=True)
        rows = np.arange(len(labels))
        at_label = logits[rows, labels]
        delta = np.exp(logits, out=logits)
        total = delta.sum(axis=1, keepdims=True)
        loss = np.mean(np.log(total[:, 0]) - at_label)
        delta /= total
        delta[rows, labels] -= 1
        delta /= len(labels)
        hidden_delta = delta @ w2.T
        hidden_delta *= hidden > 0
        gradients = (images.T @ hidden_delta, hidden_delta.sum(axis=0), hidden.T @ delta, delta.sum(axis=0))
        for weight, velocity, gradient in zip(self.weights, self.velocities, gradients, strict=True):
            velocity *= MOMENTUM
            velocity += gradient
            weight -= LEARNING_RATE * velocity
        return loss


# -- the data


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """1,797 images as f32[1797,64] of 0 to 1, and their labels as i64[1797]."""
    packed = importlib.resources.files("tracejit.data").joinpath("digits.csv.gz").read_bytes()
    rows = np.array(list(csv.reader(io.StringIO(gzip.decompress(packed).decode("ascii")))), np.float32)
    return np.ascontiguousarray(rows[:, :PIXELS]) / np.float32(16), rows[:, PIXELS].astype(np.int64)


def minibatches(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[Any, Any]]:
    """Shuffled minibatches of one size, what is left over dropped: one shape is one trace."""
    order = rng.permutation(len(images))
    images = images + NOISE * rng.standard_normal(images.shape, dtype=np.float32)
    for start in range(0, len(order) - BATCH + 1, BATCH):
        chosen = order[start : start + BATCH]
        yield tj.constant(images[chosen]), tj.constant(labels[chosen])


# -- the program


def run(epochs: int = 20, output: Path | str = ".", seed: int = 0) -> int:
    """Train, compare, write the graph; 0 where the three ways of one step agree, else 1."""
    images, labels = load_digits()
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(images))
    held_out, training = order[: len(order) // 5], order[len(order) // 5 :]
    print(
        f"{len(training)} images to learn from, {len(held_out)} held out; "
        f"{PIXELS}-{HIDDEN}-{DIGITS} network, minibatches of {BATCH}, seed {seed}"
    )
    network = Network(seed)
    sample = tj.constant(images[training[:BATCH]]), tj.constant(labels[training[:BATCH]])
    untrained = Network(seed)
    first_call = _seconds(lambda: untrained.train_step(*sample), calls=1)

    _train(network, epochs, (images[training], labels[training]), (images[held_out], labels[held_out]), rng)
    agree = _compare(seed, images[training], labels[training], first_call)

    dump = Path(output) / DUMP
    dump.write_text(network.train_step.ir(*sample) + "\n", encoding="utf-8")
    print(f"the optimized graph of train_step, forward, backward and update: {dump.resolve()}")
    return 0 if agree else 1


def _train(network: Network, epochs: int, training: Any, held_out: Any, rng: np.random.Generator) -> None:
    images, labels = training
    test_images, test_labels = (tj.constant(each) for each in held_out)
    in_place = sys.stdout.isatty()
    start = time.perf_counter()
    accuracy = 0.0
    for epoch in range(1, epochs + 1):
        losses = [network.train_step(*batch) for batch in minibatches(images, labels, rng)]
        accuracy = float(network.accuracy(test_images, test_labels))
        number = f"{epoch:>{len(str(epochs))}}"
        line = f"epoch {number} of {epochs}: loss {np.mean(losses):.4f}, held-out accuracy {accuracy:.1%}"
        print(f"\r{line}" if in_place else line, end="" if in_place else "\n", flush=True)
    if in_place:
        print()
    print(f"held-out accuracy: {accuracy:.1%} after {epochs} epochs in {time.perf_counter() - start:.1f} s")


def _compare(seed: int, images: np.ndarray, labels: np.ndarray, first_call: float) -> bool:
    """Print what a step takes in each of the three ways; whether they agree."""
    pixels, digits = images[:BATCH], labels[:BATCH]
    batch = tj.constant(pixels), tj.constant(digits)
    eager, compiled, by_hand = Network(seed), Network(seed), NumpyNetwork(seed)
    plain = Network.train_step.python_function
    ways: dict[str, Callable[[], Any]] = {
        "eager": lambda: plain(eager, *batch),
        "compiled": lambda: compiled.train_step(*batch),
        "NumPy by hand": lambda: by_hand.train_step(pixels, digits),
    }
    losses = {name: [float(step()) for _ in range(5)] for name, step in ways.items()}
    apart = max(abs(a - b) for other in losses.values() for a, b in zip(losses["compiled"], other, strict=True))

    # In turns, so that what else the machine does meets all of them.
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(50):
        for name, step in ways.items():
            times[name].append(_seconds(step, calls=10))
    median = {name: float(np.median(each)) for name, each in times.items()}
    print(f"\n{'one training step':<20}{'median':>10}{'of compiled':>14}")
    for name, seconds in median.items():
        print(f"{name:<20}{seconds * 1e6:>7.0f} µs{seconds / median['compiled']:>12.1f} x")
    print(f"first call, which traces and compiles: {first_call * 1e3:.0f} ms")
    agree = apart <= 1e-4
    print(f"losses of 5 steps {'agree' if agree else 'DISAGREE'}: at most {apart:.1e} apart\n")
    return agree


def _seconds(step: Callable[[], Any], calls: int) -> float:
    """Seconds a call."""
    start = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - start) / calls
