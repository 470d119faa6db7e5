"""The cases as a user of each library writes them: a module a library, which imports NumPy, that library and nothing else.

`calls_LIBRARY` has functions so small that their time is the call's, `models_LIBRARY` train steps, `kernels_LIBRARY` functions
whose time is the machine's. Each has CASES: for a case, its contestants by label, each a function that makes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

# Of the largest element: what the order of a sum's terms and a function's last bits come to, with room.
TOLERANCES = {"float32": 1e-4, "float64": 1e-10}
# The label of numbers by NumPy that others are compared with and that nobody would write for speed: never timed.
REFERENCE = "reference"


class Timed(NamedTuple):
    """`statement` is what is timed, `calls` calls in a row that bind their result to `r`; it sees `names` as its locals, which
    it may bind anew. `finish` waits until `r` is computed. `prepare` comes before a sample, and is not timed. `dtype` is the
    results'."""

    statement: str
    names: dict[str, Any]
    finish: str = "pass"
    prepare: str = "pass"
    calls: int = 1
    dtype: str = "float32"


Cases = dict[str, dict[str, Callable[[], Timed]]]


def calling(function: Callable[..., Any], *given: Any) -> Timed:
    """A call of `function` with what is given."""
    names = {f"x{number}": each for number, each in enumerate(given)}
    return Timed(f"r = f({', '.join(names)})", {"f": function, **names})


def leaves(result: Any) -> list[np.ndarray]:
    """The arrays in what a statement has bound."""
    if isinstance(result, (tuple, list)):
        return [array for each in result for array in leaves(each)]
    return [np.asarray(result.detach() if hasattr(result, "detach") else result)]


def apart(found: list[np.ndarray], expected: list[np.ndarray], dtype: str = "float32") -> str:
    """Where the arrays are not of `dtype` or differ by more than its rounding; "" where they agree."""
    if len(found) != len(expected):
        return f"{len(found)} arrays in place of {len(expected)}"
    for index, (array, other) in enumerate(zip(found, expected, strict=True)):
        if array.dtype != dtype or other.dtype != dtype or array.shape != other.shape:
            return f"array {index} is {array.dtype}{array.shape}, numpy's {other.dtype}{other.shape}"
        most = float(np.max(np.abs(array - other), initial=0))
        if not most <= TOLERANCES[dtype] * max(float(np.max(np.abs(other), initial=0)), 1e-6):
            return f"array {index} differs from numpy's by {most:.2e}"
    return ""
