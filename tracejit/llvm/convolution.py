"""Convolution as an implicit matrix multiplication: no windows are copied, each is read where it lies.

Every axis of the result and of the sum has a stride in the result, in x and in the filters. Lanes run along the result's last axis, a
tile of some positions along other axes by some vectors of lanes is summed in registers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tracejit.llvm.builder import Lanes
from tracejit.llvm.kernel import Array, KernelBuilder, collapse, power_above

# Bytes of the filters' vectors for which a tile sums at once: they, and what is read of x, stay in the first cache.
_PANEL = 32 * 1024
# Multiplications in the body of a loop.
_UNROLL = 96
# What a tile costs beside its multiplications, in those.
_TILE_COST = 20
# A vector that is gathered costs a load a lane, and as much to put it together.
_GATHER_COST = 2


class Axis(NamedTuple):
    """An axis of the result or of the sum, with its strides."""

    size: int
    out: int
    x: int
    filters: int


class Places(NamedTuple):
    """Pointers to an element of each array."""

    out: str
    x: str
    filters: str


class Tile(NamedTuple):
    """What is summed at once: `vectors` of lanes, for as many positions along each axis of `rows` as stand there."""

    vectors: int
    rows: dict[Axis, int]


def emit_convolution(
    b: KernelBuilder, out: Array, x: Array, filters: Array, strides: Sequence[int], dilations: Sequence[int]
) -> None:
    """out = the convolution of x with the filters, as the op says; out is contiguous."""
    if 0 in out.shape:
        return
    if 0 in filters.shape:
        b.fill(out, 0)
        return
    xs, fs = x.strides, filters.strides
    positions = _axes(
        out.shape,
        out.strides,
        (xs[0], xs[1] * strides[0], xs[2] * strides[1], xs[3], 0),
        (0, 0, 0, fs[2], fs[4]),
    )
    along = ((0, xs[1] * dilations[0], fs[0]), (1, xs[2] * dilations[1], fs[1]), (3, xs[4], fs[3]))
    order = sorted(along, key=lambda axis: -abs(axis[2]))
    depth = _axes(
        [filters.shape[axis] for axis, _, _ in order],
        [0] * 3,
        [stride for _, stride, _ in order],
        [stride for _, _, stride in order],
    )
    _Contraction(b, out, x, filters, positions, depth).write()


def _axes(shape: Sequence[int], *layouts: Sequence[int]) -> list[Axis]:
    """As few axes as address the same elements."""
    sizes, collapsed = collapse(shape, layouts)
    return [Axis(*parts) for parts in zip(sizes, *collapsed, strict=True)]


class _Contraction:
    """out[positions] = the sum over depth of x * filters."""

    def __init__(
        self, b: KernelBuilder, out: Array, x: Array, filters: Array, positions: list[Axis], depth: list[Axis]
    ):
        self.b, self.out, self.x, self.filters = b, out, x, filters
        *self.others, self.lane = positions or [Axis(1, 1, 0, 0)]
        self.lanes = min(b.lanes_for(out.dtype), power_above(self.lane.size))
        count = math.prod(axis.size for axis in depth)
        self.tile = choose_tile(self.lane, self.others, count, self.lanes, 31 if b.width == 64 else 15)
        panel = self.tile.vectors * self.lanes * out.dtype.size
        self.outer, self.depth = split_depth(depth, max(_PANEL // panel, 1))

    def write(self) -> None:
        b = self.b
        arrays = (self.out, self.x, self.filters)
        start = Places(*[b.address(array.pointer, array.dtype, array.offset) for array in arrays])
        if self.outer:
            b.fill(self.out, 0)

        def part(index: list[Lanes]) -> None:
            places = start
            for axis, position in zip(self.outer, index, strict=True):
                places = self._moved(places, axis, position)
            self._lane_blocks(places)

        b.loops([axis.size for axis in self.outer], part)

    def _moved(self, places: Places, axis: Axis, index: Lanes | None, offset: int = 0) -> Places:
        """The places `offset + index` further along `axis`."""
        dtype = self.out.dtype
        pairs = zip(places, axis[1:], strict=True)
        return Places(*[
            self.b.address(self.b.address(place, dtype, offset * stride), dtype, index=index, stride=stride)
            for place, stride in pairs
        ])  # fmt: skip

    def _lane_blocks(self, places: Places) -> None:
        loops = [axis for axis in self.others if axis not in self.tile.rows]

        def block(moved: Places, count: int) -> None:
            def position(index: list[Lanes]) -> None:
                here = moved
                for axis, each in zip(loops, index, strict=True):
                    here = self._moved(here, axis, each)
                self._row_blocks(here, list(self.tile.rows.items()), {}, count)

            self.b.loops([axis.size for axis in loops], position)

        self._blocks(places, self.lane, self.tile.vectors * self.lanes, block)

    def _row_blocks(self, places: Places, left: list[tuple[Axis, int]], rows: dict[Axis, int], count: int) -> None:
        if not left:
            self._write_tile(places, rows, count)
            return
        (axis, size), *rest = left
        self._blocks(places, axis, size, lambda here, height: self._row_blocks(here, rest, {**rows, axis: height}, count))

    def _blocks(self, places: Places, axis: Axis, size: int, body: Callable[[Places, int], None]) -> None:
        """Run `body(places, size)` for each block along `axis`, of which the last may be smaller."""
        full = axis.size - axis.size % size

        def step(index: Lanes, carried: list[Lanes]) -> list[Lanes]:
            body(self._moved(places, axis, index), size)
            return []

        self.b.loop(full, step, step=size)
        if axis.size > full:
            body(self._moved(places, axis, None, full), axis.size - full)

    def _write_tile(self, places: Places, rows: dict[Axis, int], count: int) -> None:
        b, dtype, lane, lanes = self.b, self.out.dtype, self.lane, self.lanes
        offsets = [(0, 0)]
        for axis, height in rows.items():
            offsets = [(out + k * axis.out, x + k * axis.x) for out, x in offsets for k in range(height)]
        active = [min(count - first, lanes) for first in range(0, count, lanes)]
        ends = [
            (b.address(places.out, dtype, out + number * lanes), each if each < lanes else None)
            for out, _ in offsets
            for number, each in enumerate(active)
        ]
        if self.outer:
            sums = [b.load_at(end, dtype, lanes, 1, each) for end, each in ends]
        else:
            sums = [b.const(0, dtype, lanes)] * len(ends)

        def add(here: Places, totals: list[Lanes]) -> list[Lanes]:
            """One element of the depth."""
            columns = [self._vector(here.filters, number, lane.filters, each) for number, each in enumerate(active)]
            after = []
            for _, offset in offsets:
                place = b.address(here.x, dtype, offset)
                for number, each in enumerate(active):
                    if number == 0 or lane.x:
                        factor = self._vector(place, number, lane.x, each)
                    total = totals[len(after)]
                    product = b.fma(factor, columns[number], total) if dtype.is_floating else b.mul(factor, columns[number])
                    after.append(product if dtype.is_floating else b.add(product, total))
            return after

        def nest(axes: list[Axis], here: Places, totals: list[Lanes]) -> list[Lanes]:
            if not axes:
                return add(here, totals)
            first, *rest = axes
            times = 1 if rest else unrolled(first.size, len(sums))

            def step(index: Lanes, inside: list[Lanes]) -> list[Lanes]:
                moved = self._moved(here, first, index)
                for ahead in range(times):
                    inside = nest(rest, self._moved(moved, first, None, ahead), inside)
                return inside

            return b.loop(first.size, step, totals, step=times)

        for total, (end, each) in zip(nest(self.depth, places, sums), ends, strict=True):
            b.store_at(total, end, 1, each)

    def _vector(self, place: str, number: int, stride: int, active: int) -> Lanes:
        """Vector `number` of the lanes from `place` on; all the same where the stride is 0."""
        start = self.b.address(place, self.out.dtype, number * self.lanes * stride)
        return self.b.load_at(start, self.out.dtype, self.lanes, stride, active if active < self.lanes else None)


def unrolled(size: int, work: int) -> int:
    """How many steps of a loop of `size` to write out, each of `work` multiplications: they divide the size."""
    most = max(_UNROLL // work, 1)
    return next(times for times in range(min(most, size), 0, -1) if size % times == 0)


def split_depth(depth: list[Axis], most: int) -> tuple[list[Axis], list[Axis]]:
    """The axes of the sum to run outside of the tiles, and those within them, of at most `most` elements where that can be."""
    outer, inner = [], list(depth)
    while len(inner) > 1 and math.prod(axis.size for axis in inner) > most:
        outer.append(inner.pop(0))
    if len(inner) == 1 and inner[0].size > most:
        (axis,) = inner
        size = next(size for size in range(most, 0, -1) if axis.size % size == 0)
        if size >= most // 8:
            outer.append(Axis(axis.size // size, 0, axis.x * size, axis.filters * size))
            inner = [axis._replace(size=size)]
    return outer, inner


def choose_tile(lane: Axis, others: list[Axis], depth: int, lanes: int, registers: int) -> Tile:
    """The tile with which all tiles together take the least time."""
    whole = -(-lane.size // lanes)
    found = [
        Tile(vectors, rows)
        for vectors in range(1, min(whole, 4) + 1)
        for rows in _row_choices([axis for axis in others if axis.filters == 0], (registers - 1) // vectors - 1)
    ]
    return min(found, key=lambda tile: _cost(tile, lane, others, depth, lanes))


def _row_choices(axes: list[Axis], most: int) -> Iterator[dict[Axis, int]]:
    """Positions along one axis, or along one the whole of which leaves room and another."""
    yield {}
    for axis in axes:
        for count in range(2, min(axis.size, most) + 1):
            yield {axis: count}
        if axis.size <= most // 2:
            for other in axes:
                if other is not axis:
                    for count in range(2, min(other.size, most // axis.size) + 1):
                        yield {other: count, axis: axis.size}


def _cost(tile: Tile, lane: Axis, others: list[Axis], depth: int, lanes: int) -> int:
    """Half cycles for all tiles: a processor loads as many vectors as it multiplies, and waits where few are summed."""
    total = 0
    for vectors, blocks in _parts(-(-lane.size // lanes), tile.vectors):
        shapes = [(1, blocks)]
        for axis, count in tile.rows.items():
            shapes = [
                (height * rows, number * times)
                for height, number in shapes
                for rows, times in _parts(axis.size, count)
            ]
        for rows, number in shapes:
            loads = vectors * _load_cost(lane.filters, lanes) + rows * (vectors if lane.x else 1) * _load_cost(lane.x, lanes)
            total += number * (depth * max(rows * vectors, loads, 8) + _TILE_COST)
    return total * math.prod(axis.size for axis in others if axis not in tile.rows)


def _parts(size: int, block: int) -> list[tuple[int, int]]:
    """(size, number) of the blocks of an axis."""
    return [(part, number) for part, number in ((block, size // block), (size % block, 1)) if part and number]


def _load_cost(stride: int, lanes: int) -> int:
    return 1 if stride in (0, 1) else _GATHER_COST * lanes
