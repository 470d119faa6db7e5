"""The elementary functions by name: each writer registers itself, with the largest error that it may make.

The error is in units in the last place of the exact result (ULP), of float32 and of float64: what was measured and some 5 %
more, where the processor has fused multiply-add; without it, little more (tests/test_vectormath.py). `python -m benchmarks.ulp`
measures: float32 on 100 million bit patterns, or all, against float64; float64 against mpmath.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tracejit.llvm.text.types import Lanes

# `write(builder, *operands)` gives the lanes of the result.
Writer = Callable[..., Lanes]
W = TypeVar("W", bound=Writer)

FUNCTIONS: dict[str, Writer] = {}
ULP: dict[str, tuple[float, float]] = {}


def elementary(name: str, *, ulp: tuple[float, float]) -> Callable[[W], W]:
    """A decorator for what writes the function `name`, with errors of at most `ulp` (float32, float64)."""

    def register(write: W) -> W:
        if name in FUNCTIONS:
            raise ValueError(f"the elementary function {name!r} is written twice")
        FUNCTIONS[name], ULP[name] = write, ulp
        return write

    return register
