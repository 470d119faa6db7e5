"""How far two right answers may lie apart.

The machine code's sums run in another order than NumPy's and its elementary functions err by other bits, so eager mode and the
compiled function differ by what such roundings become on their way to a result. How much that is depends on the program: so it
is run again in eager mode with each of these roundings moved at random (Monte Carlo arithmetic: Parker, 1997). What the results
then move by, times a factor for what a few samples do not show, is what two right answers may be apart. Where an element
becomes infinite, NaN or another integer by it, nothing can be said of it. What rounds nothing has to have the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tracejit.ir import OPS
from tracejit.ir.op import Scalar
from tracejit.llvm.math.vectormath import ULP

SAMPLES = 3  # and MORE where these show a difference, before it is one
MORE = 40
# Of the largest movement among the samples.
_FACTOR = 24.0
# NumPy's own errors are up to 4 ULP, which come to the machine code's (vectormath.ULP).
_NUMPY = 4.0
# A sum's terms are added in another order: some units for short ones, and the more the longer they are.
_SUMS = ("reduce_sum", "reduce_prod", "scatter_add", "matmul", "convolution")
# The gradients of these are theirs, but for one rounding more or less.
_EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


def _moved(result: Any, size: Any, rng: np.random.Generator) -> Any:
    """`result` with each element moved by up to `size`."""
    array = np.asarray(result)
    # Where it is subnormal, by some of the smallest numbers.
    least = {"float64": 2.0**-1072, "float32": 2.0**-147, "float16": 2.0**-22}.get(array.dtype.name, 2.0**-131)
    size = np.where(array != 0, np.maximum(size, least), size)
    by = rng.uniform(0.5, 1.0, array.shape) * rng.choice([-1.0, 1.0], array.shape) * size
    wide = array.astype(np.float64)
    moved = np.where(np.isfinite(wide) & (by != 0), wide + by, wide)
    return moved.astype(array.dtype)[()]


def _noisy(name: str, evaluate: Callable[..., Any], rng: np.random.Generator) -> Callable[..., Any]:
    def noisy(*arrays: Any, **attrs: Any) -> Any:
        result = evaluate(*arrays, **attrs)
        array = np.asarray(result)
        epsilon = _EPSILON.get(array.dtype.name)
        if epsilon is None:
            return result
        if name == "add":
            return _moved(result, (np.abs(arrays[0].astype(np.float64)) + np.abs(arrays[1].astype(np.float64))) * epsilon, rng)
        if name in _SUMS and name != "reduce_prod":
            sizes = [np.abs(np.asarray(each)) if np.asarray(each).dtype == array.dtype else each for each in arrays]
            terms = np.asarray(arrays[0]).size / max(array.size, 1) + 4.0
            if epsilon >= 2.0**-10:  # summed in float32, rounded once
                return _moved(result, np.abs(array.astype(np.float64)) * epsilon, rng)
            # Finite terms whose sum overflows in one order may not in another, nor to the same side.
            finite = [np.where(np.isfinite(each), each, 0) if np.asarray(each).dtype == array.dtype else each for each in sizes]
            over = np.isinf(np.asarray(evaluate(*finite, **attrs)))
            if over.any():
                result = np.where(over, rng.choice([np.nan, np.inf, -np.inf], array.shape), array).astype(array.dtype)[()]
            return _moved(result, np.asarray(evaluate(*sizes, **attrs), np.float64) * epsilon * (2 + terms / 8), rng)
        units = sum(ULP.get(name, (4.0, 4.0))) / 2 + _NUMPY
        if name == "reduce_prod":
            units += np.asarray(arrays[0]).size / max(array.size, 1)
        return _moved(result, np.abs(array.astype(np.float64)) * epsilon * units, rng)

    return noisy


# Costly, but rounded once by machine code as by NumPy.
_EXACT = ("sqrt", "div", "div_or_zero", "floordiv", "mod", "random_uniform")


def _is_function(op: Any) -> bool:
    """Whether the op is an elementary function, that is, one of which nobody says that it is exact."""
    return isinstance(op.lower, Scalar) and op.lower.costly and op.name not in _EXACT


@contextmanager
def moved_roundings(seed: int, reordered: bool = False) -> Iterator[None]:
    """Eager mode and the interpreter with other roundings where the machine code may have others. `reordered` where a tape is open
    around a compiled function: the cotangents that meet at a value are then added in another order."""
    rng = np.random.default_rng(seed)
    kept = {name: op.evaluate for name, op in OPS.items() if name in ULP or name in _SUMS or _is_function(op)}
    if reordered:
        kept["add"] = OPS["add"].evaluate
    try:
        for name, evaluate in kept.items():
            OPS[name].evaluate = _noisy(name, evaluate, rng)  # type: ignore[arg-type]
        with np.errstate(all="ignore"):
            yield
    finally:
        for name, evaluate in kept.items():
            OPS[name].evaluate = evaluate


class Bounds:
    """How far each element of some results may be off, and which of them say nothing."""

    def __init__(self, expected: Sequence[Any], samples: Sequence[Sequence[Any]]):
        self.expected = expected
        self._bounds: list[Any] = []
        self._open: list[Any] = []
        for index, array in enumerate(expected):
            if array is None:
                self._bounds.append(None)
                self._open.append(None)
                continue
            wide = _wide(array)
            others = [_wide(sample[index]) for sample in samples if _alike(sample, expected, index)]
            apart, unsure = np.zeros(array.shape), np.zeros(array.shape, bool)
            if len(others) < len(samples):
                unsure[...] = True
            with np.errstate(all="ignore"):
                for other in others:
                    same_kind = np.isfinite(other) == np.isfinite(wide)
                    same = (other == wide) | (np.isnan(other) & np.isnan(wide))
                    unsure |= ~same_kind | (~np.isfinite(wide) & ~same)
                    if array.dtype.name in _EPSILON:
                        apart = np.fmax(apart, np.where(np.isfinite(other - wide), np.abs(other - wide), 0.0))
                    else:
                        unsure |= ~same
                if array.dtype.name in _EPSILON:
                    # An element that the few samples happened not to move may move as most of the others do.
                    shares = (apart / np.abs(wide))[(apart > 0) & (wide != 0)]
                    share = np.median(shares) if shares.size else 0.0
                    bound = _FACTOR * np.fmax(apart, np.where(np.isfinite(wide), share * np.abs(wide), 0.0))
                    # A result that was rounded to few digits moves by whole units, or not at all.
                    unit = np.where(apart > 0, np.abs(wide) * 2 * _EPSILON[array.dtype.name], 0.0)
                    tiny = np.where(apart > 0, 1e-37 if array.dtype.itemsize <= 4 else 1e-300, 0.0)
                    bound = bound + unit + tiny
                else:
                    bound = apart
            self._bounds.append(bound)
            self._open.append(unsure)

    def difference(self, found: Sequence[Any]) -> tuple[int, str] | None:
        """(which result, what is wrong with it) of the first that is wrong, None where all are right."""
        if len(found) != len(self.expected):
            return 0, f"{len(found)} results instead of {len(self.expected)}"
        for index, (one, wanted) in enumerate(zip(found, self.expected, strict=True)):
            if one is None or wanted is None:
                if one is not wanted:
                    return index, f"{_short(one)} instead of {_short(wanted)}"
                continue
            if (one.dtype, one.shape) != (wanted.dtype, wanted.shape):
                return index, f"{one.dtype}{list(one.shape)} instead of {wanted.dtype}{list(wanted.shape)}"
            with np.errstate(all="ignore"):
                near = np.abs(_wide(one) - _wide(wanted)) <= self._bounds[index]
                if not np.all(near | same_elements(one, wanted) | self._open[index]):
                    wrong = ~(near | same_elements(one, wanted) | self._open[index])
                    place = tuple(int(each) for each in np.argwhere(wrong)[0])
                    at = f" at {list(place)}" if place else ""
                    bound = float(self._bounds[index][place])
                    return index, (
                        f"{_short(one[place])} instead of {_short(wanted[place])}{at}, may be {bound:.3g} apart; "
                        f"{np.count_nonzero(wrong)} of {wrong.size} elements of {wanted.dtype}{list(wanted.shape)}"
                    )
        return None


def _alike(sample: Sequence[Any], expected: Sequence[Any], index: int) -> bool:
    return len(sample) == len(expected) and sample[index] is not None and sample[index].shape == expected[index].shape


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype.kind not in "iu" or array.dtype.itemsize < 8 else array.astype(np.longdouble)


def same_elements(one: np.ndarray, other: np.ndarray) -> Any:
    """Equal elements, a NaN being equal to a NaN and -0 to 0."""
    if one.dtype.kind in "biu":
        return one == other
    one, other = one.astype(np.float64), other.astype(np.float64)
    return (one == other) | (np.isnan(one) & np.isnan(other))


def _short(value: Any) -> str:
    if value is None:
        return "None"
    array = np.asarray(value)
    return (
        repr(array.astype(np.float64 if array.dtype.kind not in "biu" else array.dtype).item())
        if array.size == 1
        else f"{array.dtype}{list(array.shape)}"
    )
