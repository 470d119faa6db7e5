"""The calls in tracejit."""

from __future__ import annotations

from typing import Any

import numpy as np

import tracejit as tj
from benchmarks.libraries import Cases, Timed, tape
from benchmarks.libraries.data import large, six, three

SCALE, SHIFT = 3.0, 0.5


class _Settings:
    less = 0.25


SETTINGS = _Settings()


def _wxb(convert: Any) -> Timed:
    @tj.function
    def f(w: Any, x: Any, b: Any) -> Any:
        return w * x + b

    w, x, b = (convert(array) for array in three())
    return Timed("r = f(w, x, b)", {"f": f, "w": w, "x": x, "b": b})


def _arrays() -> Timed:
    return _wxb(lambda array: array)


def _tensors() -> Timed:
    return _wxb(tj.constant)


def _regression() -> Timed:
    return tape.regression(tj)


@tj.function
def _six(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Any:
    return a * b + c * d + e * f


@tj.function
def _of_dictionary(given: Any) -> Any:
    return given["a"] * given["b"] + given["c"] * given["d"] + given["e"] * given["f"]


@tj.function
def _of_list(given: Any) -> Any:
    a, b, c, d, e, f = given
    return a * b + c * d + e * f


def _tensors_of_six() -> dict[str, Any]:
    return {name: tj.constant(array) for name, array in six().items()}


def _positional() -> Timed:
    return Timed("r = six(a, b, c, d, e, f)", {"six": _six, **_tensors_of_six()})


def _keywords() -> Timed:
    return Timed("r = six(a=a, b=b, c=c, d=d, e=e, f=f)", {"six": _six, **_tensors_of_six()})


def _dictionary() -> Timed:
    return Timed("r = f(given)", {"f": _of_dictionary, "given": _tensors_of_six()})


def _list() -> Timed:
    return Timed("r = f(given)", {"f": _of_list, "given": list(_tensors_of_six().values())})


class _Model:
    def __init__(self) -> None:
        w, _, b = three()
        self.w, self.b, self.scale = tj.Variable(w), tj.Variable(b), 0.5

    @tj.function
    def step(self, x: Any) -> Any:
        return (self.w * x + self.b) * self.scale


def _method() -> Timed:
    return Timed("r = model.step(x)", {"model": _Model(), "x": tj.constant(three()[1])})


@tj.function
def _of_captured(x: Any) -> Any:
    return x * SCALE + SHIFT - SETTINGS.less


def _captured() -> Timed:
    return Timed("r = f(x)", {"f": _of_captured, "x": tj.constant(three()[1])})


@tj.function
def _twice(x: Any) -> Any:
    return x + x


def _rotation() -> Timed:
    tensors = {f"x{n}": tj.constant(np.arange(n, dtype=np.float32)) for n in (2, 3, 4, 5)}
    return Timed("r = f(x2), f(x3), f(x4), f(x5)", {"f": _twice, **tensors}, calls=4)


def _kept() -> Timed:
    kept: list[Any] = []
    dropped = _tensors()
    names = dropped.names | {"kept": kept, "keep": kept.append}
    return dropped._replace(statement=f"{dropped.statement}; keep(r)", names=names, prepare="kept.clear()")


def _large_dropped() -> Timed:
    return Timed("r = None; r = f(x)", {"f": _twice, "x": tj.constant(large())})


def _large_kept() -> Timed:
    kept: list[Any] = []
    names = {"f": _twice, "x": tj.constant(large()), "kept": kept, "keep": kept.append}
    return Timed("r = f(x); keep(r)", names, prepare="kept.clear()")


CASES: Cases = {
    "wxb_arrays": {"tracejit": _arrays},
    "wxb_tensors": {"tracejit": _tensors},
    "regression": {"tracejit": _regression},
    "positional": {"tracejit": _positional},
    "dictionary": {"tracejit": _dictionary},
    "keywords": {"tracejit": _keywords},
    "list": {"tracejit": _list},
    "method": {"tracejit": _method},
    "captured": {"tracejit": _captured},
    "rotation": {"tracejit": _rotation},
    "kept": {"tracejit": _kept},
    "large_dropped": {"tracejit": _large_dropped},
    "large_kept": {"tracejit": _large_kept},
}
