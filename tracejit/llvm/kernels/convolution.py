"""Convolution as an implicit matrix multiplication: no windows are copied, each is read where it lies."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tracejit.ir.strided import collapse
from tracejit.ir.types import DType, int64
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.movement import emit_fill
from tracejit.llvm.kernels.tile import Depth, Sums, Vectors, sum_tile
from tracejit.llvm.plan.contraction import Axis, Contraction, scaled
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.types import Lanes

Rows = tuple[tuple[Axis, int], ...]  # how many positions along each axis


class Places(NamedTuple):
    """Pointers to an element of x, of the filters, and of each array of the result's shape."""

    x: str
    filters: str
    ends: tuple[str, ...]


class TilePlace(NamedTuple):
    """Where a tile lies in each of the arrays `ends` of the result's shape: its first element, and how its rows go on."""

    b: KernelBuilder
    ends: tuple[Array, ...]
    starts: tuple[str, ...]
    lane: Axis
    rows: Rows

    def start(self, array: Array) -> str:
        """The address of the tile's first element in one of the arrays."""
        return self.starts[self.ends.index(array)]

    def along(self, array: Array) -> int:
        """How far apart the tile's columns lie in it."""
        return self.lane.ends[self.ends.index(array)]

    def is_same_in_rows(self, array: Array) -> bool:
        """Whether all rows have the same elements."""
        number = self.ends.index(array)
        return not any(axis.ends[number] for axis, _ in self.rows)

    def row_start(self, array: Array, start: str, row: Lanes) -> str:
        """The address of the first element of a row of the tile, which begins at `start`."""
        number, b = self.ends.index(array), self.b
        sizes, (strides,) = collapse([height for _, height in self.rows], [[axis.ends[number] for axis, _ in self.rows]])
        if not row.ref.startswith("%"):
            return b.address(start, array.dtype, _offset(int(row.ref), sizes, strides))
        index = b.unravel(row, sizes) if len(sizes) > 1 else [row]
        for position, stride in zip(index, strides, strict=False):
            start = b.address(start, array.dtype, index=position, stride=stride)
        return b.freeze(start)


def _offset(number: int, sizes: Sequence[int], strides: Sequence[int]) -> int:
    """How far into an array element `number` lies, counted in order."""
    offset = 0
    for size, stride in zip(reversed(sizes), reversed(strides), strict=True):
        number, index = divmod(number, size)
        offset += index * stride
    return offset


# What is done with a tile's sums when they are complete, and, with the number of its rows, before they are summed.
Finish = Callable[[TilePlace, Sums, Vectors], None]
Prepare = Callable[[TilePlace, int, Vectors], None]


def emit_convolution(b: KernelBuilder, contraction: Contraction | None, out: Array, x: Array, filters: Array) -> None:
    """out = the convolution of x with the filters, as planned; out is contiguous."""
    if contraction is None:
        if 0 not in out.shape:
            emit_fill(b, out, 0)
        return
    write_convolution(b, contraction, x, filters, [out], None)


def write_convolution(
    b: KernelBuilder,
    contraction: Contraction,
    x: Array,
    filters: Array,
    ends: Sequence[Array],
    sums: Array | None,
    finish: Finish | None = None,
    prepare: Prepare | None = None,
) -> None:
    """Write the loops over the tiles of a convolution as planned; the `ends` are the arrays of its shape. `finish` takes a tile
    when it is complete, of which `prepare` is told before it is summed; until then it lies in `sums`. Where there is no
    `finish`, the first of the ends is the result."""
    _Writer(b, contraction, x, filters, tuple(ends), sums, finish, prepare).write()


class _Writer:
    """The loops of a contraction."""

    def __init__(
        self,
        b: KernelBuilder,
        contraction: Contraction,
        x: Array,
        filters: Array,
        ends: tuple[Array, ...],
        sums: Array | None,
        finish: Finish | None,
        prepare: Prepare | None,
    ):
        self.b, self.plan, self.dtype, self.ends = b, contraction, contraction.dtype, ends
        self.finish, self.prepare = finish, prepare
        self.lane, self.lanes = contraction.tile.lane, contraction.tile.lanes
        starts = [b.first_element(end) for end in (ends if sums is None else (*ends, sums))]
        self.start = Places(b.first_element(x), b.first_element(filters), tuple(starts))
        self.types = tuple([end.dtype for end in ends]) + (self.dtype,) * (sums is not None)
        # Which of the ends has the sums until they are complete.
        self.sums = 0 if sums is None else len(ends)

    def write(self) -> None:
        b, outer = self.b, self.plan.outer
        self.first, self.last = b.parallel_range(self.plan.chunks)
        if outer:
            self._each_chunk(self.start, self._clear)

        def step(index: list[Lanes]) -> None:
            places = self.start
            for axis, position in zip(outer, index, strict=True):
                places = self._moved(places, axis, position)
            ends = [b.compare("eq", at, b.const(axis.size - 1, int64)) for axis, at in zip(outer, index, strict=True)]
            is_last = functools.reduce(b.and_, ends) if ends else None
            self._each_chunk(places, lambda here, columns: self._rows(here, self.plan.tile.rows, (), columns, is_last))

        b.loops([axis.size for axis in outer], step)

    def _each_chunk(self, places: Places, body: Callable[[Places, int], None]) -> None:
        """Run `body(places, columns)` for each chunk: a block of columns along the lanes, at a position of each of `loops`."""
        b, plan, width = self.b, self.plan, self.plan.width
        whole, rest = divmod(self.lane.size, width)
        block_axis = scaled(self.lane._replace(size=plan.blocks), width)

        def chunk(number: Lanes, carried: list[Lanes]) -> list[Lanes]:
            block, *index = b.unravel(number, [plan.blocks, *(axis.size for axis in plan.loops)])
            here = self._moved(places, block_axis, block)
            for axis, position in zip(plan.loops, index, strict=True):
                here = self._moved(here, axis, position)
            if whole and rest:
                is_whole = b.compare("lt", block, b.const(whole, int64))
                b.when(is_whole, lambda: body(here, width), lambda: body(here, rest))
            else:
                body(here, rest or width)
            return []

        b.loop_between(self.first, self.last, chunk)

    def _clear(self, places: Places, columns: int) -> None:
        axes = [axis for axis, _ in self.plan.tile.rows]
        axes += [] if self.plan.summed else [self.lane._replace(size=columns)]
        shape, strides = tuple([axis.size for axis in axes]), tuple([axis.ends[0] for axis in axes])
        emit_fill(self.b, Array(shape, strides, 0, self.dtype, places.ends[self.sums]), 0)

    def _moved(self, places: Places, axis: Axis, index: Lanes | None, ahead: int = 0) -> Places:
        """The places `ahead + index` further along `axis`."""
        b, dtype = self.b, self.dtype

        def moved(at: str, dtype: DType, stride: int) -> str:
            return b.address(b.address(at, dtype, ahead * stride), dtype, 0, index, stride)

        strides = axis.ends + axis.ends[:1] * (self.sums > 0)  # what has the sums lies like the first
        ends = [moved(*each) for each in zip(places.ends, self.types, strides, strict=True)]
        return Places(moved(places.x, dtype, axis.x), moved(places.filters, dtype, axis.filters), tuple(ends))

    def _blocks(self, places: Places, axis: Axis, size: int, body: Callable[[Places, int], None]) -> None:
        """Run `body(places, size)` for each block along `axis`, of which the last may be smaller."""
        full = axis.size - axis.size % size

        def step(index: Lanes, carried: list[Lanes]) -> list[Lanes]:
            body(self._moved(places, axis, index), size)
            return []

        self.b.loop(full, step, step=size)
        if axis.size > full:
            body(self._moved(places, axis, None, full), axis.size - full)

    def _rows(self, places: Places, left: Rows, rows: Rows, columns: int, is_last: Lanes | None) -> None:
        if not left:
            self._write_tile(places, rows, columns, is_last)
            return
        (axis, size), *rest = left
        self._blocks(
            places, axis, size, lambda here, height: self._rows(here, tuple(rest), (*rows, (axis, height)), columns, is_last)
        )

    def _write_tile(self, places: Places, rows: Rows, columns: int, is_last: Lanes | None) -> None:
        """Sum a tile, add what is in memory of it, and store or finish it."""
        b, lane, plan = self.b, self.lane, self.plan
        offsets = [0]
        for axis, height in rows:
            offsets = [offset + k * axis.x for offset in offsets for k in range(height)]
        vectors = Vectors(1, 1, None) if plan.summed else Vectors.over(columns, self.lanes)
        tile = TilePlace(b, self.ends, places.ends[: len(self.ends)], lane, rows)
        prepare = self.prepare
        if prepare is not None and is_last is None:
            prepare(tile, len(offsets), vectors)
        elif prepare is not None and is_last is not None:
            b.when(is_last, lambda: prepare(tile, len(offsets), vectors))
        sums = (self._summed_lanes if plan.summed else self._summed)(places, offsets, vectors)
        start, along = places.ends[self.sums], lane.ends[0]

        def address(row: int, column: int) -> str:
            return b.address(tile.row_start(self.ends[0], start, b.const(row, int64)), self.dtype, column * along)

        def added(row: int, values: list[Lanes]) -> list[Lanes]:
            pairs = zip(vectors.columns(), values, strict=True)
            return [
                b.add(b.load_at(address(row, column), self.dtype, vectors.lanes, along, active), value)
                for (column, active), value in pairs
            ]

        totals = sums if is_last is None else [added(row, values) for row, values in enumerate(sums)]

        def store() -> None:
            for row, values in enumerate(totals):
                for (column, active), value in zip(vectors.columns(), values, strict=True):
                    b.store_at(value, address(row, column), along, active)

        finish = self.finish
        if finish is None:
            store()
        elif is_last is None:
            finish(tile, totals, vectors)
        else:
            b.when(is_last, lambda: finish(tile, totals, vectors), store)

    def _summed(self, places: Places, rows: list[int], vectors: Vectors) -> Sums:
        return self._products(places, rows, vectors, self.plan.depth)

    def _products(self, places: Places, rows: list[int], vectors: Vectors, axes: Sequence[Axis]) -> Sums:
        depth = [Depth(axis.size, axis.x, axis.filters) for axis in axes]
        along = (self.lane.x, self.lane.filters)
        return sum_tile(self.b, places.x, rows, places.filters, vectors, depth, self.dtype, along)

    def _summed_lanes(self, places: Places, rows: list[int], vectors: Vectors) -> Sums:
        """The sums of a tile whose lanes are summed themselves."""
        b, lane, lanes, depth = self.b, self.lane, self.lanes, self.plan.depth
        whole, rest = divmod(lane.size, lanes)
        found: list[Sums] = []
        if whole:
            along = scaled(lane._replace(size=whole), lanes)
            found.append(self._products(places, rows, Vectors(1, lanes, None), [*depth, along]))
        if rest:
            behind = self._moved(places, lane, None, whole * lanes)
            found.append(self._products(behind, rows, Vectors(1, lanes, rest), depth))
        return [[b.sum_lanes(functools.reduce(b.add, (value for (value,) in values)))] for values in zip(*found, strict=True)]
