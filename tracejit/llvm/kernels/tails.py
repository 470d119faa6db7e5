"""What is left of a loop over vectors where the count is no multiple of their lanes. It is chosen by what the loop does:

- `overlapped_loop` where an element may be done twice: copies, fills, transpositions, checks, searches. The last vector begins
  earlier and does again what the one before did. So one variant of the code, with nothing masked, serves the whole row: a block
  of 16 by 16 that is transposed in registers takes 64 shuffles, 16 loads and 16 stores, and a second variant as many again.
  Vectors are at most as long as the row (`power_below`).
- `masked_loop` where it may not: what is written may lie over what is read, which is another when it is read again (fusions
  and the epilogues of products, which the planner puts in place; sums that are added to), and reductions would count twice.
  The last vector's lanes behind the end are off. Vectors may be longer than the row (`power_above`).

The loops of fusions, which carry totals, and tiles of products mask in their own way (`loop_pass`, `tile.Vectors`).
"""

from __future__ import annotations

from collections.abc import Callable

from tracejit.ir.types import int64
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.text.types import Lanes


def overlapped_loop(b: KernelBuilder, count: int, step: int, body: Callable[[Lanes], None]) -> None:
    """Run `body(first)` so that every index below `count` lies in a first..first+step-1; the last two may overlap."""

    def block(index: Lanes, carried: list[Lanes]) -> list[Lanes]:
        body(overlapped_start(b, index, count, step))
        return []

    b.loop(count, block, step=step)


def overlapped_start(b: KernelBuilder, index: Lanes, count: int, step: int) -> Lanes:
    """A loop's index, but not so far that less than `step` of the `count` are left."""
    if not count % step:
        return index
    limit = b.const(count - step, int64)
    return b.select(b.compare("lt", index, limit), index, limit)


def masked_loop(b: KernelBuilder, count: int, lanes: int, body: Callable[[Lanes, int, int | None], None]) -> None:
    """Run `body(first, ahead, active)` so that every index below `count` lies in one vector of `lanes`, which begins at
    `first + ahead`. Only its first `active` lanes are on, or all where that is None."""
    whole = count - count % lanes

    def vector(first: Lanes, carried: list[Lanes]) -> list[Lanes]:
        body(first, 0, None)
        return []

    b.loop(whole, vector, step=lanes)
    if count > whole:
        body(b.const(0, int64), whole, count - whole)
