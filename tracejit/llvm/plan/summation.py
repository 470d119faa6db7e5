"""Sums of many numbers, by blocks: their errors do not grow with the count.

Each number of a sum of n goes through at most BOUND + sqrt(n) additions that round, so the error of a sum is at most
(BOUND + sqrt(n)) u times the sum of the absolute values, with u the unit of rounding, half of the dtype's eps. What is
typical is far less. (One after the other it would be n u.)
"""

from __future__ import annotations

# Numbers of a block, which are added one after the other: a hundredth of a product's time is then spent between them. A sum
# that is no longer than two blocks is none of blocks.
BLOCK = 512
LONG = 2 * BLOCK
# What the bound begins with: the longest sum without blocks.
BOUND = LONG


def is_long(steps: int, roundings: int = 1) -> bool:
    """Whether so many steps, each of so many roundings, are summed by blocks."""
    return steps * roundings > LONG and steps > 1
