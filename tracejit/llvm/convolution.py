"""Convolution as an implicit matrix multiplication: no windows are copied, each is read where it lies.

Every axis of the result and of the sum has a stride in the result, in x and in the filters. Lanes run along the result's last
axis; a tile is some positions along other axes by some vectors of lanes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tracejit.llvm.builder import Lanes
from tracejit.llvm.kernel import Array, KernelBuilder, collapse, power_above
from tracejit.llvm.tile import Depth, Vectors, cycles, parts, sum_tile

# Bytes of the filters' vectors for which a tile sums at once: they, and what is read of x, stay in the first cache.
_PANEL = 32 * 1024
# What a lane of a vector costs that is put together from single numbers, in loads.
_GATHERED = 2


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
    x_layout = (xs[0], xs[1] * strides[0], xs[2] * strides[1], xs[3], 0)
    positions = _axes(out.shape, out.strides, x_layout, (0, 0, 0, fs[2], fs[4]))
    # The far ones outside.
    depth = sorted([(0, xs[1] * dilations[0]), (1, xs[2] * dilations[1]), (3, xs[4])], key=lambda axis: -abs(fs[axis[0]]))
    sizes, in_filters = [filters.shape[axis] for axis, _ in depth], [fs[axis] for axis, _ in depth]
    _Contraction(b, (out, x, filters), positions, _axes(sizes, (0,) * 3, [stride for _, stride in depth], in_filters)).write()


def _axes(shape: Sequence[int], *layouts: Sequence[int]) -> list[Axis]:
    """As few axes as address the same elements."""
    sizes, collapsed = collapse(shape, layouts)
    return [Axis(*each) for each in zip(sizes, *collapsed, strict=True)]


class _Contraction:
    """out[positions] = the sum over `depth` of x * filters, for arrays (out, x, filters). A unit is a position along the axes
    that no tile spans."""

    def __init__(self, b: KernelBuilder, arrays: tuple[Array, Array, Array], positions: list[Axis], depth: list[Axis]):
        self.b, self.arrays, self.dtype = b, arrays, arrays[0].dtype
        *others, self.lane = positions or [Axis(1, 1, 0, 0)]
        self.lanes = min(b.lanes_for(self.dtype), power_above(self.lane.size))
        count = math.prod(axis.size for axis in depth)
        self.tile = choose_tile(self.lane, others, count, self.lanes, b.target.registers)
        self.loops = [axis for axis in others if axis not in self.tile.rows]
        if b.parallel and not self.loops and self.tile.rows:
            self._divide_rows()
        self.outer, self.depth = split_depth(depth, _PANEL // (self.tile.vectors * self.lanes * self.dtype.size))

    def _divide_rows(self) -> None:
        """Cut the longest axis of rows, so that there are units."""
        rows = self.tile.rows
        axis = max(rows, key=lambda axis: axis.size)
        count = next(count for count in range(min(16, axis.size), 0, -1) if axis.size % count == 0)
        size = axis.size // count
        self.loops = [Axis(count, axis.out * size, axis.x * size, axis.filters * size)]
        cut = {(each._replace(size=size) if each is axis else each): most for each, most in rows.items()}
        self.tile = self.tile._replace(rows={each: min(most, each.size) for each, most in cut.items()})

    def write(self) -> None:
        b = self.b
        start = Places(*[b.address(array.pointer, self.dtype, array.offset) for array in self.arrays])
        units = math.prod(axis.size for axis in self.loops)
        first, last = b.span(units)

        def each_unit(places: Places, body: Callable[[Places], None]) -> None:
            def unit(number: Lanes, carried: list[Lanes]) -> list[Lanes]:
                here = places
                for axis, index in zip(self.loops, b.unravel(number, [axis.size for axis in self.loops]), strict=True):
                    here = self._moved(here, axis, index)
                body(here)
                return []

            b.loop_between(first, last, unit)

        if self.outer:
            each_unit(start, self._clear)

        def part(index: list[Lanes]) -> None:
            places = start
            for axis, position in zip(self.outer, index, strict=True):
                places = self._moved(places, axis, position)
            width = self.tile.vectors * self.lanes
            rows = list(self.tile.rows.items())
            self._blocks(
                places, self.lane, width, lambda here, columns: each_unit(here, lambda at: self._rows(at, rows, {}, columns))
            )

        b.loops([axis.size for axis in self.outer], part)

    def _clear(self, places: Places) -> None:
        axes = [*self.tile.rows, self.lane]
        self.b.fill(Array(places.out, tuple(axis.size for axis in axes), tuple(axis.out for axis in axes), self.dtype), 0)

    def _moved(self, places: Places, axis: Axis, index: Lanes | None, ahead: int = 0) -> Places:
        """The places `ahead + index` further along `axis`."""
        b, dtype = self.b, self.dtype
        pairs = zip(places, axis[1:], strict=True)
        return Places(*[b.address(b.address(at, dtype, ahead * stride), dtype, 0, index, stride) for at, stride in pairs])

    def _blocks(self, places: Places, axis: Axis, size: int, body: Callable[[Places, int], None]) -> None:
        """Run `body(places, size)` for each block along `axis`, of which the last may be smaller."""
        full = axis.size - axis.size % size

        def step(index: Lanes, carried: list[Lanes]) -> list[Lanes]:
            body(self._moved(places, axis, index), size)
            return []

        self.b.loop(full, step, step=size)
        if axis.size > full:
            body(self._moved(places, axis, None, full), axis.size - full)

    def _rows(self, places: Places, left: list[tuple[Axis, int]], rows: dict[Axis, int], columns: int) -> None:
        if not left:
            self._write_tile(places, rows, columns)
            return
        (axis, size), *rest = left
        self._blocks(places, axis, size, lambda here, height: self._rows(here, rest, {**rows, axis: height}, columns))

    def _write_tile(self, places: Places, rows: dict[Axis, int], columns: int) -> None:
        b, dtype, lane = self.b, self.dtype, self.lane
        offsets = [(0, 0)]
        for axis, height in rows.items():
            offsets = [(out + k * axis.out, x + k * axis.x) for out, x in offsets for k in range(height)]
        vectors = Vectors.over(columns, self.lanes)
        ends = [
            [(b.address(places.out, dtype, out + place), active) for place, active in vectors.places()] for out, _ in offsets
        ]
        start = [[b.load_at(end, dtype, self.lanes, 1, active) for end, active in row] for row in ends] if self.outer else None
        depth = [Depth(axis.size, axis.x, axis.filters) for axis in self.depth]
        in_x = [x for _, x in offsets]
        sums = sum_tile(b, places.x, in_x, places.filters, vectors, depth, dtype, start, along=(lane.x, lane.filters))
        for row, values in zip(ends, sums, strict=True):
            for (end, active), value in zip(row, values, strict=True):
                b.store_at(value, end, 1, active)


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
    """The tile with which all tiles together take the fewest cycles."""
    whole = -(-lane.size // lanes)
    fitting = [
        Tile(vectors, rows)
        for vectors in range(1, min(whole, registers // 2) + 1)
        for rows in _row_choices([axis for axis in others if axis.filters == 0], (registers - 2 - vectors) // vectors)
    ]
    # Of equals, the one that reads what lies nearest.
    return min(fitting, key=lambda tile: (_cost(tile, lane, others, depth, lanes), _extent(tile)))


def _extent(tile: Tile) -> int:
    return sum((count - 1) * abs(axis.x) for axis, count in tile.rows.items())


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


def _cost(tile: Tile, lane: Axis, others: list[Axis], depth: int, lanes: int) -> float:
    """Cycles of all tiles."""
    shapes = [(1, math.prod(axis.size for axis in others if axis not in tile.rows))]
    for axis, count in tile.rows.items():
        cut = list(parts(axis.size, count))
        shapes = [(height * rows, number * times) for height, number in shapes for rows, times in cut]
    x_load, filter_load = (1 if stride in (0, 1) else _GATHERED * lanes for stride in (lane.x, lane.filters))
    return sum(
        beside * above * cycles(rows, vectors, vectors * filter_load + rows * (vectors if lane.x else 1) * x_load, depth)
        for vectors, beside in parts(-(-lane.size // lanes), tile.vectors)
        for rows, above in shapes
    )
