"""Loops that sum by blocks (tracejit.llvm.plan.summation)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from tracejit.ir.types import int64
from tracejit.llvm.plan.summation import BLOCK, is_long
from tracejit.llvm.text.builder import Body, Builder
from tracejit.llvm.text.types import Lanes

# Combines totals with what comes to each.
Add = Callable[[list[Lanes], list[Lanes]], list[Lanes]]


def added(b: Builder, totals: Sequence[Lanes], sums: Sequence[Lanes]) -> list[Lanes]:
    """The sum of each of `totals` and what comes to it."""
    return [b.add(*pair) for pair in zip(totals, sums, strict=True)]


def sum_by_blocks(
    b: Builder, count: int, body: Body, sums: list[Lanes], *, step: int = 1, roundings: int = 1, add: Add | None = None
) -> list[Lanes]:
    """`b.loop(count, body, sums, step)`, whose `body` adds to the sums that are carried on, each with so many `roundings`.
    Where that is long, `sums` are zeros, with which every block begins: its sums are added (by `add`, default: the addition)
    to those of a group of blocks, and these to the total."""
    steps = -(-count // step)
    if not any(total.dtype.is_floating for total in sums) or not is_long(steps, roundings):
        return b.loop(count, body, sums, step)
    blocks = -(-steps // max(BLOCK // roundings, 1))
    block = -(-steps // blocks)  # all about as long
    group = math.isqrt(blocks) if blocks > BLOCK else blocks
    sizes = [size * step for size in (block * group, block) if size * step < count]

    def nest(first: Lanes, last: Lanes, sizes: Sequence[int]) -> list[Lanes]:
        if not sizes:
            return b.repeat(first, last, body, sums, step)
        size, *rest = sizes

        def part(start: Lanes, totals: list[Lanes]) -> list[Lanes]:
            end = b.min(b.add(start, b.const(size, int64)), last)
            return (add or partial(added, b))(totals, nest(start, end, rest))

        return b.repeat(first, last, part, sums, size)

    return nest(b.const(0, int64), b.const(count, int64), sizes)
