"""Values of tensors, by dtype: ordinary ones, special ones, kinks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from reference.cases import DTYPES, FLOATS, Leaf, T

INTS = ("int32", "int64")
ALL = (*FLOATS, *INTS, "bool")
MAIN = ("float32", "float64")  # where the kernels are

LIMITS = {"float32": (1e-40, 1.1754943508222875e-38, 3.4028234663852886e38), "float64": (1e-310, 2.2250738585072014e-308, 1.7976931348623157e308),
          "float16": (1e-7, 6.103515625e-05, 65504.0), "bfloat16": (1e-40, 1.1754943508222875e-38, 3.3895313892515355e38)}  # fmt: skip


def special(dtype: str) -> list[Any]:
    """Zeros, infinities, NaN, the largest numbers, and a few between."""
    if dtype == "bool":
        return [True, False]
    if dtype not in FLOATS:
        limits = np.iinfo(DTYPES[dtype])
        return [0, 1, -1, 2, -3, 7, int(limits.max), int(limits.min), int(limits.max) - 1]
    most = LIMITS[dtype][2]
    return [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, most, -most, 2.5, -0.3]


def tiny(dtype: str) -> list[Any]:
    """Subnormal numbers, and the least that is none."""
    subnormal, least, _ = LIMITS[dtype]
    return [subnormal, -subnormal, 3 * subnormal, least, -least, 1.5 * least]


def far(dtype: str) -> list[Any]:
    """Where elementary functions grow, saturate and overflow."""
    if dtype not in FLOATS:
        return [100, -100, 12345, -12345]
    return [1e-4, -1e-4, 5.0, -5.0, 12.0, -12.0, 20.0, -20.0, 88.5, -88.5, 103.0, -104.0, 710.0, -745.0, 1e4, -1e4]


def kinks(dtype: str) -> list[Any]:
    """Where functions bend, jump or tie."""
    if dtype not in FLOATS:
        return [-6, -1, 0, 0, 1, 6]
    return [0.0, -0.0, 0.5, -0.5, 1.5, -1.5, 2.5, 1.0, -1.0, 6.0, -6.0, 3.0]


def ordinary(shape: tuple[int, ...], dtype: str = "float32", low: float = -2.0, high: float = 2.0, seed: int = 0) -> Leaf:
    """A tensor of numbers in [low, high] without a pattern."""
    size = int(np.prod(shape, dtype=np.int64))
    spread = (np.arange(1, size + 1) * 0.6180339887498949 + seed * 0.2360679774997897) % 1.0
    numbers: Any = np.round(low + (high - low) * spread, 3)
    if dtype == "bool":
        numbers = spread < 0.5
    elif dtype not in FLOATS:
        numbers = np.floor(numbers * 3).astype(np.int64) if low < 0 else np.ceil(numbers * 3).astype(np.int64)
    if size == 0:
        return T(dtype, [], shape)
    return T(dtype, numbers.reshape(shape).tolist())


SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (3,), (2, 3), (1, 0, 2), (2, 1, 3))


def same(leaf: Leaf, kind: type[Leaf]) -> Leaf:
    """`leaf` as a leaf of another kind."""
    return kind(leaf.dtype, leaf.value, leaf.shape)
