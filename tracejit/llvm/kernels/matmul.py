"""Matrix multiplication: the loops around the micro-kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from tracejit.ir import Node
from tracejit.ir.types import int64
from tracejit.llvm.kernels.gemm import call_blas, is_for_blas
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.summation import added
from tracejit.llvm.kernels.tile import Depth, Sums, Vectors, dot_tile, sum_tile
from tracejit.llvm.plan.blocking import Blocking, blocking
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.builder import Lanes
from tracejit.llvm.text.powers import power_above


class Position(NamedTuple):
    """A row or a column: `ahead` of one that is known when the code runs."""

    at: Lanes
    ahead: int = 0


class Place:
    """Where a tile lies in the product."""

    def __init__(self, b: KernelBuilder, batch: Sequence[Lanes], row: Position, column: Position, swapped: bool = False):
        self._b, self._batch, self._row, self._column, self._swapped = b, batch, row, column, swapped

    def strides(self, array: Array) -> tuple[int, int]:
        """How far apart the tile's rows, and its columns, lie in an array of the product's shape."""
        down, along = array.strides[-2:]
        return (along, down) if self._swapped else (down, along)

    def start(self, array: Array) -> str:
        """The address of the tile's first element in an array of the product's shape."""
        b, dtype = self._b, array.dtype
        down, along = self.strides(array)
        pointer = b.address(array.pointer, dtype, array.offset + self._row.ahead * down + self._column.ahead * along)
        steps = zip((*self._batch, self._row.at, self._column.at), (*array.strides[:-2], down, along), strict=True)
        for index, stride in steps:
            pointer = b.address(pointer, dtype, index=index, stride=stride)
        return pointer

    def store(self, array: Array, sums: Sums, vectors: Vectors) -> None:
        """Write a tile to an array of the product's shape, in its dtype."""
        (down, along), start = self.strides(array), self.start(array)
        for row, values in enumerate(sums):
            for value, (column, active) in zip(values, vectors.places(), strict=True):
                value = self._b.cast(value, array.dtype)
                self._b.store_at(value, self._b.address(start, array.dtype, row * down + column * along), along, active)

    def load(self, array: Array, rows: int, vectors: Vectors) -> Sums:
        """Read a tile of an array of the product's shape."""
        b, dtype = self._b, array.dtype
        (down, along), start = self.strides(array), self.start(array)

        def vector(row: int, column: int, active: int | None) -> Lanes:
            place = b.address(start, dtype, row * down + column * along)
            return b.load_at(place, dtype, vectors.lanes, along, active)

        return [[vector(row, *place) for place in vectors.places()] for row in range(rows)]


# What is done with a tile's sums: they are stored, or what is computed from them.
Finish = Callable[[Place, Sums, Vectors], None]
# What is done before a tile of so many rows is summed.
Prepare = Callable[[Place, int, Vectors], None]


def emit_matmul(b: KernelBuilder, node: Node, out: Array, x: Array, y: Array) -> None:
    """out = x @ y, as the node's attributes transpose them, for arrays of matrices with the same batch axes."""
    if 0 in out.shape:
        return
    if 0 in x.shape:
        b.fill(out, 0)
    else:
        write_matmul(b, node, x, y, lambda place, sums, vectors: place.store(out, sums, vectors), out=out)


def write_matmul(
    b: KernelBuilder,
    node: Node,
    x: Array,
    y: Array,
    finish: Finish,
    *,
    out: Array | None = None,
    prepare: Prepare | None = None,
) -> None:
    """Write the loops over the tiles of the matmul `node`, which is not empty; `prepare` is told of each before it is summed,
    `finish` takes it when it is complete. What holds the sums until then is `out`, or memory of its own."""
    x = x.oriented(node.attrs["transpose_a"])
    in_panels = len(y.shape) > len(x.shape)
    if not in_panels:
        y = y.oriented(node.attrs["transpose_b"])
    scratch = list(b.scratch)
    if in_panels or not is_for_blas(b.target, x, y):
        found = blocking(x, y, node.shape[-1], b.target)
        chunk = scratch.pop(0) if found.packed_x else None
        _Product(b, found, x, y, chunk, scratch.pop() if scratch else out, finish, prepare).write()
        return
    sums = scratch.pop() if scratch else out
    assert sums is not None
    call_blas(b, sums, x, y)
    if sums is not out:
        _finish_rows(b, sums, finish)


def _finish_rows(b: KernelBuilder, sums: Array, finish: Finish) -> None:
    """`finish` a product that lies in memory, a vector at a time."""
    *_, columns = sums.shape
    zero, lanes = b.const(0, int64), min(b.lanes_for(sums.dtype), power_above(columns))

    def each(index: list[Lanes]) -> None:
        def vector(column: Position, width: int) -> None:
            place, vectors = Place(b, index[:-1], Position(index[-1]), column), Vectors.over(width, lanes)
            finish(place, place.load(sums, 1, vectors), vectors)

        def step(column: Lanes, carried: list[Lanes]) -> list[Lanes]:
            vector(Position(column), lanes)
            return []

        whole = columns - columns % lanes
        b.loop(whole, step, step=lanes)
        if whole < columns:
            vector(Position(zero, whole), columns - whole)

    b.loops(sums.shape[:-1], each)


# -- the loops


class _Product:
    def __init__(
        self,
        b: KernelBuilder,
        found: Blocking,
        x: Array,
        y: Array,
        chunk: Array | None,
        sums: Array | None,
        finish: Finish,
        prepare: Prepare | None,
    ):
        if found.swapped:
            x, y = y.oriented(True), x.oriented(True)
        self.b, self.found, self.x, self.y, self.chunk, self.sums, self.finish = b, found, x, y, chunk, sums, finish
        self.prepare = prepare
        self.dtype = x.dtype
        self.zero = b.const(0, int64)

    def write(self) -> None:
        b, found = self.b, self.found
        batch = self.x.shape[:-2]
        self.first, last = b.span(math.prod(batch) * found.units)

        def unit(number: Lanes, carried: list[Lanes]) -> list[Lanes]:
            *index, panel, chunk = b.unravel(number, (*batch, found.units // found.chunks, found.chunks))
            self._unit(index, None if found.packed_x else panel, chunk)
            return []

        b.loop_between(self.first, last, unit)

    def _unit(self, index: list[Lanes], panel: Lanes | None, chunk: Lanes) -> None:
        """A chunk of the rows, of one panel or of all."""
        b, found = self.b, self.found
        block = partial(self._block, index, panel, chunk)
        last = (found.depth - 1) // found.block
        if not last:
            block(Position(self.zero), found.depth, first=True, last=True)
            return
        block(Position(self.zero), found.block, first=True, last=False)

        def middle(start: Lanes, carried: list[Lanes]) -> list[Lanes]:
            block(Position(start, found.block), found.block, first=False, last=False)
            return []

        b.loop((last - 1) * found.block, middle, step=found.block)
        start = last * found.block
        block(Position(self.zero, start), found.depth - start, first=False, last=True)

    def _block(
        self, index: list[Lanes], panel: Lanes | None, chunk: Lanes, depth: Position, extent: int, *, first: bool, last: bool
    ) -> None:
        """A unit, along a block of the depth."""
        b, found = self.b, self.found
        whole, rest = divmod(found.columns, found.width)
        packed = self._packed(index, chunk, depth, extent) if self.chunk is not None else None

        def tiles(panel: Position, columns: int) -> None:
            vectors = Vectors(columns, 1, None) if found.dot else Vectors.over(columns, found.lanes)
            self._tiles(index, panel, chunk, depth, extent, vectors, packed, first=first, last=last)

        def full(panel: Lanes, carried: Sequence[Lanes] = ()) -> list[Lanes]:
            tiles(Position(panel), found.width)
            return []

        def narrow() -> None:
            tiles(Position(self.zero, whole), rest)

        if panel is None:
            b.loop(whole, full)
            if rest:
                narrow()
        elif not rest:
            full(panel)
        elif not whole:
            narrow()
        else:
            b.when(b.compare("lt", panel, b.const(whole, int64)), lambda: tiles(Position(panel), found.width), narrow)

    def _tiles(
        self, index: list[Lanes], panel: Position, chunk: Lanes, depth: Position, extent: int, vectors: Vectors,
        packed: str | None, *, first: bool, last: bool,
    ) -> None:  # fmt: skip
        """The tiles of a chunk in one panel."""
        b, found = self.b, self.found
        scaled = panel.at if panel.at.ref == "0" else b.mul(panel.at, b.const(found.width, int64))
        column = Position(scaled, panel.ahead * found.width)
        y = self._panel_start(index, panel, column, depth)
        y_down, y_along = self.y.strides[-2:]
        x_down, x_along = self.x.strides[-2:]

        def tile(row: Position, height: int, x: str, down: int, along: int) -> None:
            place = Place(b, index, row, column, found.swapped)
            offsets = [down * each for each in range(height)]
            if last and self.prepare is not None:
                self.prepare(place, height, vectors)
            if found.dot:
                sums = dot_tile(b, x, offsets, y, [y_along * each for each in range(vectors.number)], extent, self.dtype)
            else:
                sums = sum_tile(b, x, offsets, y, vectors, [Depth(extent, along, y_down)], self.dtype)
            if not first:
                assert self.sums is not None
                before = place.load(self.sums, height, vectors)
                sums = [added(b, *rows) for rows in zip(before, sums, strict=True)]
            if last:
                self.finish(place, sums, vectors)
            else:
                assert self.sums is not None, "a product that is not complete at once has memory for its sums"
                place.store(self.sums, sums, vectors)

        high = found.tile_rows
        lower = self.zero if found.chunks == 1 else b.mul(chunk, b.const(found.share, int64))

        def step(number: Lanes, carried: list[Lanes]) -> list[Lanes]:
            row = Position(b.mul(number, b.const(high, int64)))
            if packed is None:
                tile(row, high, Place(b, index, row, depth).start(self.x), x_down, x_along)
            else:
                at = b.address(packed, self.dtype, index=b.sub(number, lower), stride=found.block * high)
                tile(row, high, at, 1, high)
            return []

        b.loop_between(lower, self._upper(chunk, lower), step)
        rest = found.rows - found.tiles * high
        if rest:
            row = Position(self.zero, found.tiles * high)

            def below() -> None:
                tile(row, rest, Place(b, index, row, depth).start(self.x), x_down, x_along)

            if found.chunks == 1:
                below()
            else:
                b.when(b.compare("eq", chunk, b.const(found.chunks - 1, int64)), below)

    def _upper(self, chunk: Lanes, lower: Lanes) -> Lanes:
        """The tile behind a chunk's last."""
        b, end = self.b, self.b.const(self.found.tiles, int64)
        if self.found.chunks == 1:
            return end
        upper = b.add(lower, b.const(self.found.share, int64))
        return upper if self.found.tiles % self.found.share == 0 else b.select(b.compare("lt", upper, end), upper, end)

    def _panel_start(self, index: list[Lanes], panel: Position, column: Position, depth: Position) -> str:
        b = self.b
        if not self.found.packed_y:
            return Place(b, index, depth, column).start(self.y)
        *_, panels, down, _ = self.y.strides
        at = b.address(self.y.pointer, self.dtype, self.y.offset + panel.ahead * panels + depth.ahead * down)
        for each, stride in zip((*index, panel.at, depth.at), (*self.y.strides[:-3], panels, down), strict=True):
            at = b.address(at, self.dtype, index=each, stride=stride)
        return at

    def _packed(self, index: list[Lanes], chunk: Lanes, depth: Position, extent: int) -> str:
        """The address of a chunk of the left operand, put together: tile by tile, for each place along the depth its rows."""
        b, found = self.b, self.found
        assert self.chunk is not None
        high, size = found.tile_rows, found.block * found.tile_rows
        slot = b.address(self.chunk.pointer, self.dtype, self.chunk.offset, self.first, found.share * size)
        row = Position(self.zero if found.chunks == 1 else b.mul(chunk, b.const(found.share * high, int64)))
        start = Place(b, index, row, depth).start(self.x)
        down, along = self.x.strides[-2:]

        def copy(tiles: int) -> None:
            # What lies next to each other is read together.
            shape = (extent, tiles, high)
            source = Array(shape, (along, high * down, down), 0, self.dtype, start)
            b.copy(Array(shape, (high, size, 1), 0, self.dtype, slot), source)

        rest = found.tiles - (found.chunks - 1) * found.share
        if rest == found.share or found.chunks == 1:
            copy(rest)
        else:
            b.when(b.compare("lt", chunk, b.const(found.chunks - 1, int64)), lambda: copy(found.share), lambda: copy(rest))
        return slot
