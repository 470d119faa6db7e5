"""Arrays that begin where a vector register's worth of memory does.

One that begins elsewhere is read in two lines of the cache for each register.
"""

from __future__ import annotations

import contextlib
import functools
import math
import mmap
import os
from typing import Any

import numpy as np

# Bytes: arrays of at least so many begin at a multiple of the other. NumPy's own begin at a multiple of 16.
ALIGNED_FROM, ALIGNMENT = 1024, 64


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array whose elements are anything."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < ALIGNED_FROM:
        return np.empty(shape, dtype)
    block = np.empty(size + ALIGNMENT, np.uint8)
    return np.ndarray(shape, dtype, block, -address(block) % ALIGNMENT)


def copied(array: Any, dtype: Any) -> np.ndarray:
    """A copy of what is like an array, in order."""
    array = np.asarray(array)
    copy = empty(array.shape, dtype)
    copy[...] = array
    return copy


def address(array: np.ndarray) -> int:
    """Where the first element lies."""
    return int(array.__array_interface__["data"][0])


def is_aligned(array: np.ndarray) -> bool:
    """Whether an array lies as one of `empty` does."""
    return array.nbytes < ALIGNED_FROM or address(array) % ALIGNMENT == 0


@functools.cache
def total_memory() -> int:
    """The bytes of memory that the machine has; where it does not say, more than any machine has."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**50


def require_room(size: int, purpose: str) -> None:
    """MemoryError unless this process can have `size` bytes more: for code that ends the process where it gets none."""
    kind = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}
    try:
        with contextlib.closing(mmap.mmap(-1, size, **kind)):  # untouched, it takes addresses only
            pass
    except OSError:
        raise MemoryError(f"{purpose} takes {size >> 20} MiB, which this process cannot have") from None
