"""Functions at special points, written for any module with TensorFlow's names, and their derivatives to the third order.

`python tests/special.py`, run with a Python that has TensorFlow, records its answers in special.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ANSWERS = Path(__file__).with_name("special.json")
INF, NAN = np.inf, np.nan
POINTS = [0.0, -0.0, INF, -INF, NAN, 1, -1, 0.5, -0.5, 2, -2, 6, -6, 3, 100, -100, 800, 1e-30, 2.5, 7]
PAIRS = [0.0, -0.0, INF, -INF, NAN, 1, -1, 0.5, 2, -2, 2.5]
ROWS = [
    [1, 2, 3], [0, 0, 0], [0, 0, 1], [2, 2, 1], [0, 2, 3], [INF, 1, 2], [-INF, 1, 2], [NAN, 1, 2], [1, NAN, 2], [1, 2, NAN],
    [INF, INF, 1], [-INF, -INF, -INF], [INF, -INF, 0], [NAN, NAN, 1], [NAN, INF, -INF], [0, 0, INF], [0, -0.0, 0], [100, 100, -100],
]  # fmt: skip
EXPONENTS = (0, 1, 2, 3, 4, 5, -1, -2, 0.0, 1.0, 2.0, 0.5, -0.5, 1.5, 0.25)


def _named(module: Any, name: str) -> Callable[..., Any]:
    return getattr(module, name) if hasattr(module, name) else getattr(module.math, name)


def unary(tf: Any) -> dict[str, Callable[[Any], Any]]:
    """Functions of one tensor, by name."""
    names = (
        "abs acos acosh asin asinh atan atanh cos cosh erf erfc exp expm1 floor ceil log log1p negative reciprocal round rsqrt "
        "sigmoid sign sin sinh sqrt square tan tanh softplus log_sigmoid"
    )
    found = {name: _named(tf, name) for name in names.split()}
    for name in ["relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "softplus"]:
        found[f"nn.{name}"] = getattr(tf.nn, name)
    for exponent in EXPONENTS:
        found[f"x ** {exponent!r}"] = lambda x, exponent=exponent: x**exponent
    for base in (0.0, 1.0, 2.0, 0.5, -2.0, -1.0):
        found[f"{base!r} ** x"] = lambda x, base=base: base**x
    found |= {
        "gelu by tanh": lambda x: tf.nn.gelu(x, approximate=True),
        "clip": lambda x: tf.clip_by_value(x, -1.0, 2.0),
        "maximum(x, 0)": lambda x: tf.maximum(x, 0.0),
        "maximum(0, x)": lambda x: tf.maximum(0.0, x),
        "minimum(x, 6)": lambda x: tf.minimum(x, 6.0),
        "log(1 + exp(x))": lambda x: tf.math.log(1 + tf.exp(x)),
        "where sqrt": lambda x: tf.where(x > 0, tf.sqrt(x), 0.0),
        "where log": lambda x: tf.where(x > 0, tf.math.log(x), 0.0),
        "x * x": lambda x: x * x,
        "1 / x": lambda x: 1.0 / x,
        "x / 2": lambda x: x / 2.0,
        "x // 2": lambda x: x // 2.0,
        "x % 2": lambda x: x % 2.0,
        "cross entropy": lambda x: tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.ones_like(x) * 0.3, logits=x),
    }
    return found


def binary(tf: Any) -> dict[str, Callable[[Any, Any], Any]]:
    """Functions of two tensors."""
    names = "add subtract multiply divide maximum minimum atan2 pow floordiv squared_difference equal less greater_equal"
    found = {name: _named(tf, name) for name in names.split()}
    found["floormod"] = lambda x, y: x % y
    found["cross entropy"] = lambda x, y: tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=y)
    return found


def rowwise(tf: Any) -> dict[str, Callable[[Any], Any]]:
    """Functions of the rows of a matrix."""
    names = "sum prod max min mean logsumexp variance std"
    found = {f"reduce_{name}": lambda x, name=name: _named(tf, f"reduce_{name}")(x, axis=1) for name in names.split()}
    labels = np.array([[0.2, 0.3, 0.5]] * len(ROWS), np.float32)
    return found | {
        "norm": lambda x: tf.norm(x, axis=1),
        "argmax": lambda x: tf.argmax(x, axis=1),
        "argmin": lambda x: tf.argmin(x, axis=1),
        "softmax": tf.nn.softmax,
        "log_softmax": tf.nn.log_softmax,
        "cross entropy": lambda x: tf.nn.softmax_cross_entropy_with_logits(labels=tf.constant(labels), logits=x),
        "sparse": lambda x: tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.constant([1] * len(ROWS)), logits=x),
    }


def cases(tf: Any) -> dict[str, tuple[Callable[..., Any], list[np.ndarray], int]]:
    """(function, operands, the highest order of derivative) by name."""
    x, y = (each.ravel() for each in np.meshgrid(PAIRS, PAIRS, indexing="ij"))
    found: dict[str, tuple[Callable[..., Any], list[np.ndarray], int]] = {}
    for kind, functions, operands, order in (
        ("unary", unary(tf), [POINTS], 3), ("binary", binary(tf), [x, y], 2), ("rows", rowwise(tf), [ROWS], 2),
    ):  # fmt: skip
        for name, function in functions.items():
            found[f"{kind}: {name}"] = function, [np.array(each, np.float32) for each in operands], order
    return found


def derivatives(tf: Any, function: Callable[..., Any], operands: Any, order: int) -> list[Any]:
    """[value, gradients, their gradients...]: of each entry of a list that is not None the gradients by each operand."""
    tapes = [tf.GradientTape(persistent=True) for _ in range(order)]

    def value(depth: int) -> list[Any]:
        if depth == order:
            return [function(*operands)]
        with tapes[depth]:
            tapes[depth].watch(operands)
            inner = value(depth + 1)
        return [*inner, gradients(tapes[depth], inner[-1])]

    def gradients(tape: Any, of: Any) -> Any:
        if of is None:
            return None
        return [gradients(tape, each) for each in of] if isinstance(of, list) else tape.gradient(of, operands)

    return value(0)


def plain(value: Any) -> Any:
    """Nested lists of numbers."""
    if value is None or isinstance(value, list):
        return value if value is None else [plain(each) for each in value]
    return np.asarray(value).tolist()


def _record() -> None:
    import tensorflow as tf

    answers = {
        name: plain(derivatives(tf, function, [tf.constant(each) for each in operands], order))
        for name, (function, operands, order) in cases(tf).items()
    }
    lines = [f"{json.dumps(name)}: {json.dumps(_short(answer), separators=(',', ':'))}" for name, answer in answers.items()]
    ANSWERS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _short(value: Any) -> Any:
    if isinstance(value, list):
        return [_short(each) for each in value]
    return float(f"{value:.8g}") if isinstance(value, float) else value


if __name__ == "__main__":
    _record()
