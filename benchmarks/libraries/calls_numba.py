"""The calls in Numba, whose own tensors are NumPy's arrays."""

from __future__ import annotations

from typing import Any

import numba

from benchmarks.libraries import Cases, Timed
from benchmarks.libraries.data import six, three


@numba.njit
def _scaled(w: Any, x: Any, b: Any) -> Any:
    return w * x + b


@numba.njit
def _six(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Any:
    return a * b + c * d + e * f


def _wxb() -> Timed:
    w, x, b = three()
    return Timed("r = f(w, x, b)", {"f": _scaled, "w": w, "x": x, "b": b})


def _positional() -> Timed:
    return Timed("r = six(a, b, c, d, e, f)", {"six": _six, **six()})


CASES: Cases = {
    "wxb_arrays": {"numba": _wxb},
    "wxb_tensors": {"numba": _wxb},
    "positional": {"numba": _positional},
}
