"""Convolution as an implicit matrix multiplication: no windows are copied, each is read where it lies.

Every axis of the result and of the sum has a stride in the result, in x and in the filters. Lanes run along an axis of the
result, or, for a single feature, along one of the sum; a tile is some positions along other axes by some vectors of lanes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tracejit.ir import Node
from tracejit.ir.strided import collapse
from tracejit.ir.types import int64
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.movement import emit_fill
from tracejit.llvm.kernels.tile import Depth, Sums, Vectors, sum_tile
from tracejit.llvm.plan.tiles import cycles, parts
from tracejit.llvm.target import Machine
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.powers import power_above
from tracejit.llvm.text.types import Lanes


class Axis(NamedTuple):
    """An axis of the result or of the sum, with its strides."""

    size: int
    out: int
    x: int
    filters: int


_NO_AXIS = Axis(1, 1, 0, 0)


class Places(NamedTuple):
    """Pointers to an element of each array."""

    out: str
    x: str
    filters: str


class Tile(NamedTuple):
    """What is summed at once: `vectors` of `lanes` along the axis `lane`, for as many positions along each axis of `rows` as
    stand there."""

    lane: Axis
    lanes: int
    vectors: int
    rows: dict[Axis, int]


def emit_convolution(b: KernelBuilder, node: Node, out: Array, x: Array, filters: Array) -> None:
    """out = the convolution of x with the filters, as the op says; out is contiguous."""
    strides, dilations = node.attrs["strides"], node.attrs["dilations"]
    if 0 in out.shape:
        return
    if 0 in filters.shape:
        emit_fill(b, out, 0)
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
    """out[positions] = the sum over `depth` of x * filters, for arrays (out, x, filters)."""

    def __init__(self, b: KernelBuilder, arrays: tuple[Array, Array, Array], positions: list[Axis], depth: list[Axis]):
        self.b, self.arrays, self.dtype = b, arrays, arrays[0].dtype
        self.tile = choose_tile(positions, depth, b.lanes_for(self.dtype), b.machine)
        self.lane, self.lanes = self.tile.lane, self.tile.lanes
        self.summed = self.lane in depth
        self.width = self.lane.size if self.summed else self.tile.vectors * self.lanes
        self.blocks = -(-self.lane.size // self.width)
        self.loops = [axis for axis in positions if axis not in self.tile.rows and axis is not self.lane]
        if b.parallel and not self.loops and self.tile.rows:
            self._divide_rows()
        within = [axis for axis in depth if axis is not self.lane]
        most = b.machine.filter_panel // (self.tile.vectors * self.lanes * self.dtype.size)
        self.outer, self.depth = split_depth(within, most)

    def _divide_rows(self) -> None:
        """Cut the axis of rows with the most tiles, so that there are chunks."""
        rows = self.tile.rows
        axis = max(rows, key=lambda axis: axis.size // rows[axis])
        tiles = axis.size // rows[axis]
        count = next(count for count in range(min(self.b.machine.chunks, tiles), 0, -1) if axis.size % count == 0)
        size = axis.size // count
        self.loops = [Axis(count, axis.out * size, axis.x * size, axis.filters * size)]
        self.tile = self.tile._replace(
            rows={(each._replace(size=size) if each is axis else each): most for each, most in rows.items()}
        )

    def write(self) -> None:
        b = self.b
        start = Places(*[b.address(array.pointer, self.dtype, array.offset) for array in self.arrays])
        self.first, self.last = b.parallel_range(self.blocks * math.prod(axis.size for axis in self.loops))
        if self.outer:
            self._each_chunk(start, self._clear)

        def part(index: list[Lanes]) -> None:
            places = start
            for axis, position in zip(self.outer, index, strict=True):
                places = self._moved(places, axis, position)
            self._each_chunk(places, lambda here, columns: self._rows(here, list(self.tile.rows.items()), {}, columns))

        b.loops([axis.size for axis in self.outer], part)

    def _each_chunk(self, places: Places, body: Callable[[Places, int], None]) -> None:
        """Run `body(places, columns)` for each chunk: a block of columns along the lanes, at a position of each of `loops`."""
        b, width = self.b, self.width
        whole, rest = divmod(self.lane.size, width)

        def chunk(number: Lanes, carried: list[Lanes]) -> list[Lanes]:
            block, *index = b.unravel(number, [self.blocks, *(axis.size for axis in self.loops)])
            here = self._moved(places, Axis(self.blocks, *(width * stride for stride in self.lane[1:])), block)
            for axis, position in zip(self.loops, index, strict=True):
                here = self._moved(here, axis, position)
            if whole and rest:
                is_whole = b.compare("lt", block, b.const(whole, int64))
                b.when(is_whole, lambda: body(here, width), lambda: body(here, rest))
            else:
                body(here, rest or width)
            return []

        b.loop_between(self.first, self.last, chunk)

    def _clear(self, places: Places, columns: int) -> None:
        axes = [*self.tile.rows, *([] if self.summed else [self.lane._replace(size=columns)])]
        emit_fill(
            self.b, Array(tuple(axis.size for axis in axes), tuple(axis.out for axis in axes), 0, self.dtype, places.out), 0
        )

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
        offsets = [(0, 0)]
        for axis, height in rows.items():
            offsets = [(out + k * axis.out, x + k * axis.x) for out, x in offsets for k in range(height)]
        if self.summed:
            self._write_sums(places, offsets)
            return
        b, dtype, lane, lanes = self.b, self.dtype, self.lane, self.lanes
        vectors = Vectors.over(columns, lanes)
        ends = [
            [(b.address(places.out, dtype, out + place * lane.out), active) for place, active in vectors.columns()]
            for out, _ in offsets
        ]
        sums = self._summed(places, offsets, vectors, self.depth)
        for row, values in zip(ends, sums, strict=True):
            for (end, active), value in zip(row, values, strict=True):
                total = b.add(b.load_at(end, dtype, lanes, lane.out, active), value) if self.outer else value
                b.store_at(total, end, lane.out, active)

    def _summed(self, places: Places, offsets: list[tuple[int, int]], vectors: Vectors, axes: list[Axis]) -> Sums:
        depth = [Depth(axis.size, axis.x, axis.filters) for axis in axes]
        along = (self.lane.x, self.lane.filters)
        rows = [x for _, x in offsets]
        return sum_tile(self.b, places.x, rows, places.filters, vectors, depth, self.dtype, along)

    def _write_sums(self, places: Places, offsets: list[tuple[int, int]]) -> None:
        """A tile whose lanes are summed themselves."""
        b, lane, lanes = self.b, self.lane, self.lanes
        whole, rest = divmod(lane.size, lanes)
        found: list[Sums] = []
        if whole:
            vectors = lane._replace(size=whole, x=lane.x * lanes, filters=lane.filters * lanes)
            found.append(self._summed(places, offsets, Vectors(1, lanes, None), [*self.depth, vectors]))
        if rest:
            behind = self._moved(places, lane, None, whole * lanes)
            found.append(self._summed(behind, offsets, Vectors(1, lanes, rest), self.depth))
        for (out, _), *values in zip(offsets, *found, strict=True):
            end = b.address(places.out, self.dtype, out)
            total = b.sum_lanes(functools.reduce(b.add, (value for (value,) in values)))
            b.store_at(b.add(b.load_at(end, self.dtype), total) if self.outer else total, end)


def split_depth(depth: list[Axis], most: int) -> tuple[list[Axis], list[Axis]]:
    """The axes of the sum to run outside of the tiles, and those within them, of at most `most` elements where that can be."""
    outer, inner = [], list(depth)
    while math.prod(axis.size for axis in inner) > most:
        axis, *rest = inner
        others = math.prod(each.size for each in rest)
        size = next(size for size in range(max(most // others, 1), 0, -1) if axis.size % size == 0)
        if size * others * 8 < most:
            break  # a size without divisors: better as it is than in small pieces
        if size < axis.size:
            outer.append(Axis(axis.size // size, 0, axis.x * size, axis.filters * size))
        inner = [axis._replace(size=size), *rest] if size > 1 else rest
    return outer, inner


def choose_tile(positions: list[Axis], depth: list[Axis], most: int, machine: Machine) -> Tile:
    """The tile with which all tiles together take the fewest cycles, of vectors of at most so many lanes."""
    near = [axis for axis in (*positions, *depth) if axis.x in (0, 1) and axis.filters in (0, 1)]
    count, registers = math.prod(axis.size for axis in depth), machine.usable_registers
    fitting = []
    for lane in dict.fromkeys((*near, positions[-1] if positions else _NO_AXIS)):
        lanes = min(most, power_above(lane.size))
        vectors, others = -(-lane.size // lanes), [axis for axis in positions if axis is not lane]
        free = [axis for axis in others if axis.filters == 0]
        if lane in depth:
            for rows in _row_choices(free, registers - 3):
                tile = Tile(lane, lanes, 1, rows)
                fitting.append((_cost(tile, others, 1, -(-count // lane.size) * vectors, machine), _extent(tile), tile))
            continue
        for wide in range(1, min(vectors, registers // 2) + 1):
            for rows in _row_choices(free, (registers - 2 - wide) // wide):
                tile = Tile(lane, lanes, wide, rows)
                fitting.append((_cost(tile, others, vectors, count, machine), _extent(tile), tile))
    # Of equals, the one that reads what lies nearest.
    return min(fitting, key=lambda found: found[:2])[2]


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


def _cost(tile: Tile, others: list[Axis], vectors: int, depth: int, machine: Machine) -> float:
    """Cycles of all tiles, over `vectors` along the lanes and the positions along `others`."""
    lane, lanes = tile.lane, tile.lanes
    shapes = [(1, math.prod(axis.size for axis in others if axis not in tile.rows))]
    for axis, count in tile.rows.items():
        cut = list(parts(axis.size, count))
        shapes = [(height * rows, number * times) for height, number in shapes for rows, times in cut]
    gathered = machine.gathered_lane * lanes
    x_load, filter_load = (1 if stride in (0, 1) else gathered for stride in (lane.x, lane.filters))
    end = 0 if lane.out == 1 else gathered
    return sum(
        beside
        * above
        * (cycles(rows, wide, wide * filter_load + rows * (wide if lane.x else 1) * x_load, depth, machine) + rows * wide * end)
        for wide, beside in parts(vectors, tile.vectors)
        for rows, above in shapes
    )
