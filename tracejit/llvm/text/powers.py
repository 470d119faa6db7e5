"""Powers of two around a count: how many lanes a vector of so many elements has."""

from __future__ import annotations


def power_above(count: int) -> int:
    """The least power of two that is not below `count`."""
    return 1 << max(count - 1, 0).bit_length()


def power_below(count: int) -> int:
    """The greatest power of two that is not above `count`."""
    return 1 << (count.bit_length() - 1)
