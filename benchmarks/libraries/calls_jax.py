"""The calls in JAX."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.libraries import Cases, Timed
from benchmarks.libraries.data import RATE, points, six, three

FINISH = "r.block_until_ready()"


@jax.jit
def _scaled(w: Any, x: Any, b: Any) -> Any:
    return w * x + b


def _wxb(convert: Any) -> Timed:
    w, x, b = (convert(array) for array in three())
    return Timed("r = f(w, x, b)", {"f": _scaled, "w": w, "x": x, "b": b}, FINISH)


def _arrays() -> Timed:
    return _wxb(lambda array: array)


def _tensors() -> Timed:
    return _wxb(jnp.array)


def _loss(state: Any, x: Any, y: Any) -> Any:
    w, b = state
    return jnp.mean(jnp.square(w * x + b - y))


@functools.partial(jax.jit, donate_argnums=0)
def _step(state: Any, x: Any, y: Any) -> Any:
    loss, gradients = jax.value_and_grad(_loss)(state, x, y)
    return tuple(value - RATE * gradient for value, gradient in zip(state, gradients, strict=True)), loss


def _regression() -> Timed:
    x, y = (jnp.array(array) for array in points())
    names = {"step": _step, "state": (jnp.float32(0), jnp.float32(0)), "x": x, "y": y}
    return Timed("state, r = step(state, x, y)", names, FINISH)


@jax.jit
def _six(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Any:
    return a * b + c * d + e * f


@jax.jit
def _of_dictionary(given: Any) -> Any:
    return given["a"] * given["b"] + given["c"] * given["d"] + given["e"] * given["f"]


def _tensors_of_six() -> dict[str, Any]:
    return {name: jnp.array(array) for name, array in six().items()}


def _positional() -> Timed:
    return Timed("r = six(a, b, c, d, e, f)", {"six": _six, **_tensors_of_six()}, FINISH)


def _dictionary() -> Timed:
    return Timed("r = f(given)", {"f": _of_dictionary, "given": _tensors_of_six()}, FINISH)


CASES: Cases = {
    "wxb_arrays": {"jax": _arrays},
    "wxb_tensors": {"jax": _tensors},
    "regression": {"jax": _regression},
    "positional": {"jax": _positional},
    "dictionary": {"jax": _dictionary},
}
