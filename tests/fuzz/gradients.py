"""Gradients of smooth programs, to the third order, against differences in float64.

Along a direction a gradient is a number, whose error is found from two steps of the difference. Where the differences of two
steps, or those to the left and to the right, are not of one mind there is a kink or too much rounding, and nothing is said.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import tracejit as tj

from .check import DOCUMENTED, Difference
from .program import Program

ORDERS = 3
_STEPS = (1e-3, 5e-4)
_AGREE, _WRONG = 1e-4, 1e-2


def check_gradients(program: Program) -> Difference | None:
    """The first order at which a gradient is not the slope."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return _check(program)


def _check(program: Program) -> Difference | None:
    # Through a compiled function now and then: a tape around it differentiates its graph.
    function = tj.function if program.seed % 12 == 0 else lambda f: f
    space = program.load(function, function)
    f = space["f"]
    arguments = program.arguments()
    moved = [index for index, each in enumerate(arguments) if isinstance(each, tj.Tensor) and each.dtype is tj.float64]
    if not moved:
        return None
    rng = np.random.default_rng(program.seed)
    directions = [np.asarray(rng.uniform(0.5, 1.0, arguments[index].shape)) * rng.choice([-1, 1]) for index in moved]
    weights: dict[int, Any] = {}

    def total(values: list[Any]) -> Any:
        given = list(arguments)
        for index, value in zip(moved, values, strict=True):
            given[index] = value
        sums = []
        for place, each in enumerate(f(*given)):
            weight = weights.setdefault(place, rng.uniform(0.5, 1.5, each.shape))
            sums.append(tj.reduce_sum(each * weight))
        return tj.add_n(sums)

    def derived(function: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
        """The slope of `function` along the direction, by a tape."""

        def slope(values: list[Any]) -> Any:
            with tj.GradientTape() as tape:
                tape.watch(values)
                result = function(values)
            found = tape.gradient(result, values)
            parts = [tj.reduce_sum(g * d) for g, d in zip(found, directions, strict=True) if g is not None]
            return tj.add_n(parts) if parts else tj.zeros([], tj.float64)

        return slope

    # Each value an own tensor, so that tapes tell them apart.
    def at(distance: float) -> list[Any]:
        return [
            tj.constant(arguments[index].numpy() + distance * direction, tj.float64)
            for index, direction in zip(moved, directions, strict=True)
        ]

    derivative: Callable[[list[Any]], Any] = total
    for order in range(1, ORDERS + 1):
        slope = derived(derivative)
        try:
            found = float(slope(at(0.0)).numpy())
        except DOCUMENTED as error:
            return Difference("gradients", None, f"{type(error).__name__}: {error} at order {order}")
        wanted = _slope(lambda distance, derivative=derivative: float(derivative(at(distance)).numpy()))
        if wanted is None:
            return None
        if order == 1 and np.isnan(found) and _is_guarded(program):
            return Difference("gradients", 0, f"NaN instead of {wanted!r}, from a branch that is not taken")
        if not np.isfinite(found):
            return None  # the root of nothing has an infinite slope, in TensorFlow too
        if not abs(found - wanted) <= _WRONG * max(abs(wanted), 0.1):
            return Difference("gradients", 0, f"order {order}: {found!r} instead of {wanted!r}")
        derivative = slope
    return None


def _is_guarded(program: Program) -> bool:
    """Whether all that is returned comes out of one choice between a smooth branch and one that may not be. What is the root of
    a sum of squares may have no slope in the branch that is taken either, where all of them are 0."""
    (first, *others) = program.returned()
    roots = any(name in line.text for line in program.lines for name in ("reduce_std", "norm"))
    return (
        not others
        and not roots
        and any(line.text.startswith(f"{first} = ") and "tj.where(" in line.text for line in program.lines)
    )


def _slope(value: Callable[[float], float]) -> float | None:
    """The derivative at 0, None where there seems to be none."""
    middle = value(0.0)
    central, sides = [], []
    for step in _STEPS:
        right, left = value(step), value(-step)
        central.append((right - left) / (2 * step))
        sides.append(((right - middle) / step, (middle - left) / step))
    estimate = (4 * central[1] - central[0]) / 3  # Richardson's
    scale = max(abs(estimate), 0.1)
    if not np.isfinite([*central, *sides[0], *sides[1]]).all() or abs(central[0] - central[1]) > _AGREE * scale * 10:
        return None
    # The sides' difference is the second derivative times the step: it halves with the step, or there is a kink.
    wide, narrow = (abs(right - left) for right, left in sides)
    if narrow > 0.75 * wide + _AGREE * scale * 10:
        return None
    if abs(middle) * 1e-13 / _STEPS[1] > _AGREE * scale:
        return None
    return estimate
