"""Convolution as an implicit matrix multiplication: no windows are copied, each is read where it lies."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tracejit.ir.types import DType, int64
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.movement import emit_fill
from tracejit.llvm.kernels.tile import Depth, Sums, Vectors, sum_tile
from tracejit.llvm.plan.contraction import Axis, Contraction, scaled
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.types import Lanes


class Places(NamedTuple):
    """Pointers to an element of x, of the filters, and of each array of the result's shape."""

    x: str
    filters: str
    ends: tuple[str, ...]


def emit_convolution(b: KernelBuilder, contraction: Contraction | None, out: Array, x: Array, filters: Array) -> None:
    """out = the convolution of x with the filters, as planned; out is contiguous."""
    if contraction is None:
        if 0 not in out.shape:
            emit_fill(b, out, 0)
        return
    _Writer(b, contraction, x, filters, (out,)).write()


class _Writer:
    """The loops of a contraction of x and the filters, whose `ends` are the arrays of the result's shape."""

    def __init__(self, b: KernelBuilder, contraction: Contraction, x: Array, filters: Array, ends: tuple[Array, ...]):
        self.b, self.plan, self.dtype = b, contraction, contraction.dtype
        self.start = Places(b.first_element(x), b.first_element(filters), tuple([b.first_element(end) for end in ends]))
        self.types = tuple([end.dtype for end in ends])
        self.lane, self.lanes = contraction.tile.lane, contraction.tile.lanes
        # The array that has the sums until they are complete.
        self.sums = 0 if contraction.sums is None else len(ends) - 1

    def write(self) -> None:
        b, outer = self.b, self.plan.outer
        self.first, self.last = b.parallel_range(self.plan.chunks)
        if outer:
            self._each_chunk(self.start, self._clear)

        def step(index: list[Lanes]) -> None:
            places = self.start
            for axis, position in zip(outer, index, strict=True):
                places = self._moved(places, axis, position)
            self._each_chunk(places, lambda here, columns: self._rows(here, list(self.plan.tile.rows), {}, columns))

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
        shape, strides = tuple([axis.size for axis in axes]), tuple([axis.ends[self.sums] for axis in axes])
        emit_fill(self.b, Array(shape, strides, 0, self.dtype, places.ends[self.sums]), 0)

    def _moved(self, places: Places, axis: Axis, index: Lanes | None, ahead: int = 0) -> Places:
        """The places `ahead + index` further along `axis`."""
        b, dtype = self.b, self.dtype

        def moved(at: str, dtype: DType, stride: int) -> str:
            return b.address(b.address(at, dtype, ahead * stride), dtype, 0, index, stride)

        ends = [moved(*each) for each in zip(places.ends, self.types, axis.ends, strict=True)]
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

    def _rows(self, places: Places, left: list[tuple[Axis, int]], rows: dict[Axis, int], columns: int) -> None:
        if not left:
            self._write_tile(places, rows, columns)
            return
        (axis, size), *rest = left
        self._blocks(places, axis, size, lambda here, height: self._rows(here, rest, {**rows, axis: height}, columns))

    def _write_tile(self, places: Places, rows: dict[Axis, int], columns: int) -> None:
        """Sum a tile, add what is in memory of it, and store it."""
        b, lane, plan = self.b, self.lane, self.plan
        offsets = [(0, 0)]
        for axis, height in rows.items():
            offsets = [(x + k * axis.x, end + k * axis.ends[self.sums]) for x, end in offsets for k in range(height)]
        along = 0 if plan.summed else lane.ends[self.sums]
        vectors = Vectors(1, 1, None) if plan.summed else Vectors.over(columns, self.lanes)
        sums = (self._summed_lanes if plan.summed else self._summed)(places, [x for x, _ in offsets], vectors)
        for (_, offset), values in zip(offsets, sums, strict=True):
            for value, (column, active) in zip(values, vectors.columns(), strict=True):
                end = b.address(places.ends[self.sums], self.dtype, offset + column * along)
                total = b.add(b.load_at(end, self.dtype, vectors.lanes, along, active), value) if plan.outer else value
                b.store_at(total, end, along, active)

    def _summed(self, places: Places, rows: list[int], vectors: Vectors) -> Sums:
        return self._sums(places, rows, vectors, self.plan.depth)

    def _sums(self, places: Places, rows: list[int], vectors: Vectors, axes: Sequence[Axis]) -> Sums:
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
            found.append(self._sums(places, rows, Vectors(1, lanes, None), [*depth, along]))
        if rest:
            behind = self._moved(places, lane, None, whole * lanes)
            found.append(self._sums(behind, rows, Vectors(1, lanes, rest), depth))
        return [[b.sum_lanes(functools.reduce(b.add, (value for (value,) in values)))] for values in zip(*found, strict=True)]
