"""The calls in NumPy: what the numbers have to be, and what the same work costs there."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.libraries import Cases, Timed
from benchmarks.libraries.data import RATE, large, points, six, three


def _scaled(w: Any, x: Any, b: Any) -> Any:
    return w * x + b


def _wxb() -> Timed:
    w, x, b = three()
    return Timed("r = f(w, x, b)", {"f": _scaled, "w": w, "x": x, "b": b})


class _Regression:
    def __init__(self) -> None:
        self.w, self.b = np.float32(0), np.float32(0)
        self.share, self.rate = np.float32(1 / 4), np.float32(RATE * 2 / 4)

    def step(self, x: Any, y: Any) -> Any:
        error = self.w * x + self.b - y
        loss = error @ error * self.share
        self.w = self.w - self.rate * (error @ x)
        self.b = self.b - self.rate * error.sum()
        return loss


def _regression() -> Timed:
    x, y = points()
    return Timed("r = step(x, y)", {"step": _Regression().step, "x": x, "y": y})


def _six(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Any:
    return a * b + c * d + e * f


def _positional() -> Timed:
    return Timed("r = six(a, b, c, d, e, f)", {"six": _six, **six()})


def _keywords() -> Timed:
    return Timed("r = six(a=a, b=b, c=c, d=d, e=e, f=f)", {"six": _six, **six()})


def _dictionary() -> Timed:
    return Timed("r = f(given)", {"f": lambda given: _six(*(given[name] for name in "abcdef")), "given": six()})


def _list() -> Timed:
    return Timed("r = f(given)", {"f": lambda given: _six(*given), "given": list(six().values())})


class _Model:
    def __init__(self) -> None:
        self.w, _, self.b = three()
        self.scale = 0.5

    def step(self, x: Any) -> Any:
        return (self.w * x + self.b) * np.float32(self.scale)


def _method() -> Timed:
    return Timed("r = model.step(x)", {"model": _Model(), "x": three()[1]})


def _captured() -> Timed:
    return Timed("r = f(x)", {"f": lambda x: x * np.float32(3) + np.float32(0.5) - np.float32(0.25), "x": three()[1]})


def _rotation() -> Timed:
    arrays = {f"x{n}": np.arange(n, dtype=np.float32) for n in (2, 3, 4, 5)}
    return Timed("r = f(x2), f(x3), f(x4), f(x5)", {"f": lambda x: x + x, **arrays}, calls=4)


def _kept() -> Timed:
    kept: list[Any] = []
    dropped = _wxb()
    names = dropped.names | {"kept": kept, "keep": kept.append}
    return dropped._replace(statement=f"{dropped.statement}; keep(r)", names=names, prepare="kept.clear()")


def _large_dropped() -> Timed:
    return Timed("r = None; r = f(x)", {"f": lambda x: x + x, "x": large()})


def _large_kept() -> Timed:
    kept: list[Any] = []
    names = {"f": lambda x: x + x, "x": large(), "kept": kept, "keep": kept.append}
    return Timed("r = f(x); keep(r)", names, prepare="kept.clear()")


CASES: Cases = {
    "wxb_arrays": {"numpy": _wxb},
    "wxb_tensors": {"numpy": _wxb},
    "regression": {"numpy": _regression},
    "positional": {"numpy": _positional},
    "dictionary": {"numpy": _dictionary},
    "keywords": {"numpy": _keywords},
    "list": {"numpy": _list},
    "method": {"numpy": _method},
    "captured": {"numpy": _captured},
    "rotation": {"numpy": _rotation},
    "kept": {"numpy": _kept},
    "large_dropped": {"numpy": _large_dropped},
    "large_kept": {"numpy": _large_kept},
}
