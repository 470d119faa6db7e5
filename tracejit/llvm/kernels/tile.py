"""The micro-kernel: a tile of a product, some rows by some vectors of columns, summed along the depth in registers.

A step along the depth loads the tile's vectors of one operand, and for each row a number of the other, which it multiplies with
all of them. What is summed lies along any number of axes, each with its strides in both operands: the one of a matrix
product, or the window and the channels of a convolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tracejit.ir.types import DType, int64
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.summation import added, sum_by_blocks
from tracejit.llvm.plan.summation import is_long
from tracejit.llvm.text.types import Lanes

# Steps along the depth that are written one after the other, so that the loop itself costs little.
_UNROLL = 2


class Depth(NamedTuple):
    """An axis that is summed along: its extent, and its strides in the operand of the rows and in that of the vectors."""

    extent: int
    x: int
    y: int


class Vectors(NamedTuple):
    """The columns of a tile: `number` vectors of `lanes`, of the last only `active` lanes (None for all)."""

    number: int
    lanes: int
    active: int | None

    @classmethod
    def over(cls, columns: int, lanes: int) -> Vectors:
        """As many as `columns` take."""
        return cls(-(-columns // lanes), lanes, columns % lanes or None)

    def columns(self) -> Iterator[tuple[int, int | None]]:
        """For each vector its first column, and how many of its lanes are active where not all are."""
        for number in range(self.number):
            yield number * self.lanes, self.active if number == self.number - 1 else None


Sums = list[list[Lanes]]  # a list a row, a value a vector


def sum_tile(
    b: KernelBuilder,
    x: str,
    rows: Sequence[int],
    y: str,
    vectors: Vectors,
    depth: Sequence[Depth],
    dtype: DType,
    along: tuple[int, int] = (0, 1),
) -> Sums:
    """The sums over `depth` of x at each of the offsets `rows` times the vectors from y on, in the dtype in which `dtype` is
    summed. `along` is how far apart the lanes of a vector lie in x, where they may all have one number, and in y."""

    def load(pointer: str, stride: int) -> list[Lanes]:
        columns = vectors.columns() if stride else [(0, None)]
        starts = ((b.address(pointer, dtype, column * stride), active) for column, active in columns)
        return [b.cast(b.load_at(start, dtype, vectors.lanes, stride, active), dtype.accumulator) for start, active in starts]

    def multiplied(x: str, y: str, sums: list[Lanes]) -> list[Lanes]:
        loaded = load(y, along[1]) if along[1] else load(y, 0) * vectors.number
        after = []
        for number, row in enumerate(rows):
            factors = load(b.address(x, dtype, row), along[0])
            for column, vector in enumerate(loaded):
                factor = factors[column if along[0] else 0]
                total = sums[number * vectors.number + column]
                after.append(multiply_add(b, factor, vector, total))
        return after

    def nest(axis: int, x: str, y: str, sums: list[Lanes]) -> list[Lanes]:
        if axis == len(depth):
            return multiplied(x, y, sums)
        extent, x_stride, y_stride = depth[axis]
        within = math.prod(each.extent for each in depth[axis + 1 :])
        apart = is_long(within)  # what lies within is summed by itself
        times = _UNROLL if axis == len(depth) - 1 else 1

        def at(ahead: int, x: str, y: str, sums: list[Lanes]) -> list[Lanes]:
            if ahead and not set(rows).isdisjoint(row + ahead * x_stride for row in rows):
                b.compiler_fence()
            x, y = b.address(x, dtype, ahead * x_stride), b.address(y, dtype, ahead * y_stride)
            return added(b, sums, nest(axis + 1, x, y, zeros)) if apart else nest(axis + 1, x, y, sums)

        def step(position: Lanes, sums: list[Lanes]) -> list[Lanes]:
            moved_x = b.freeze(b.address(x, dtype, index=position, stride=x_stride))
            moved_y = b.freeze(b.address(y, dtype, index=position, stride=y_stride))
            for ahead in range(times):
                sums = at(ahead, moved_x, moved_y, sums)
            return sums

        whole, roundings = extent - extent % times, times * (1 if apart else within)
        sums = sum_by_blocks(b, whole, step, sums, step=times, roundings=roundings)
        for ahead in range(whole, extent):
            sums = at(ahead, x, y, sums)
        return sums

    x, y = b.freeze(x), b.freeze(y)
    zeros = [b.const(0, dtype.accumulator, vectors.lanes)] * (len(rows) * vectors.number)
    flat = nest(0, x, y, zeros)
    return [flat[row : row + vectors.number] for row in range(0, len(flat), vectors.number)]


def dot_tile(b: KernelBuilder, x: str, rows: Sequence[int], y: str, columns: Sequence[int], extent: int, dtype: DType) -> Sums:
    """The sums over `extent` of x at each of the offsets `rows` times y at each of `columns`, both of which lie along it: its
    vectors are added first, then their lanes."""
    lanes = b.lanes_for(dtype.accumulator)
    pairs = len(rows) * len(columns)
    times = max(1, min(b.machine.in_flight // pairs, extent // lanes))

    def add(x: str, y: str, sums: list[Lanes], active: int | None = None) -> list[Lanes]:
        def load(pointer: str) -> Lanes:
            return b.cast(b.load_at(pointer, dtype, lanes, active=active), dtype.accumulator)

        left = [load(b.address(x, dtype, row)) for row in rows]
        right = [load(b.address(y, dtype, column)) for column in columns]
        products = [(a, c) for a in left for c in right]
        return [multiply_add(b, *product, total) for product, total in zip(products, sums, strict=True)]

    def block(count: int, ahead: int) -> Callable[[Lanes, list[Lanes]], list[Lanes]]:
        def step(position: Lanes, sums: list[Lanes]) -> list[Lanes]:
            after = []
            for number in range(count):
                left, right = (
                    b.address(b.address(side, dtype, ahead + number * lanes), dtype, index=position) for side in (x, y)
                )
                after += add(left, right, sums[number * pairs : (number + 1) * pairs])
            return after + sums[count * pairs :]

        return step

    zeros = [b.const(0, dtype.accumulator, lanes)] * (times * pairs)
    whole = extent - extent % (times * lanes)
    sums = sum_by_blocks(b, whole, block(times, 0), zeros, step=times * lanes)
    single = (extent - whole) - (extent - whole) % lanes
    sums = b.loop(single, block(1, whole), sums, step=lanes)
    done = whole + single
    if done < extent:
        sums[:pairs] = add(b.address(x, dtype, done), b.address(y, dtype, done), sums[:pairs], extent - done)
    totals = sums[:pairs]
    for start in range(pairs, len(sums), pairs):
        totals = [b.add(total, other) for total, other in zip(totals, sums[start : start + pairs], strict=True)]
    flat = [b.sum_lanes(total) for total in totals]
    return [flat[row : row + len(columns)] for row in range(0, pairs, len(columns))]


def multiply_add(b: KernelBuilder, x: Lanes, y: Lanes, total: Lanes) -> Lanes:
    """x * y + total."""
    return b.fma(x, y, total) if total.dtype.is_floating else b.add(b.mul(x, y), total)


def each_row(b: KernelBuilder, sums: Sums, body: Callable[[Lanes, list[Lanes]], None], *, unrolled: bool) -> None:
    """Run `body(row, values)` for each row of a tile; where it is not `unrolled` it is written once, and the sums go over the
    stack to a loop."""
    if unrolled or len(sums) == 1:
        for number, row in enumerate(sums):
            body(b.const(number, int64), row)
        return
    (first, *_), wide = sums[0], len(sums[0])
    buffer = b.stack_buffer(len(sums) * wide * first.lanes * first.dtype.size)
    for number, value in enumerate(value for row in sums for value in row):
        b.store_at(value, b.address(buffer, first.dtype, number * first.lanes))

    def step(row: Lanes, none: list[Lanes]) -> list[Lanes]:
        start = b.freeze(b.address(buffer, first.dtype, index=row, stride=wide * first.lanes))
        places = [b.address(start, first.dtype, number * first.lanes) for number in range(wide)]
        body(row, [b.load_at(place, first.dtype, first.lanes) for place in places])
        return none

    b.loop(len(sums), step)
