"""Matrix multiplication: the loops around the micro-kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tracejit.ir import Node
from tracejit.ir.types import int64
from tracejit.llvm.kernels.gemm import call_blas
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.movement import emit_copy, emit_fill
from tracejit.llvm.kernels.summation import added
from tracejit.llvm.kernels.tails import masked_loop
from tracejit.llvm.kernels.tile import Depth, Sums, Vectors, dot_tile, sum_tile
from tracejit.llvm.plan.blocking import Blocking
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.powers import power_above
from tracejit.llvm.text.types import Lanes


class Position(NamedTuple):
    """A row or a column: `ahead` of one that is known when the code runs."""

    at: Lanes
    ahead: int = 0


class TileCoordinate(NamedTuple):
    """Where a tile lies in the product: its first row and column, in the matrix at `batch`; of the transposes where they are
    `swapped`."""

    b: KernelBuilder
    batch: Sequence[Lanes]
    row: Position
    column: Position
    swapped: bool = False

    def strides(self, array: Array) -> tuple[int, int]:
        """How far apart the tile's rows, and its columns, lie in an array of the product's shape."""
        down, along = array.strides[-2:]
        return (along, down) if self.swapped else (down, along)

    def start(self, array: Array) -> str:
        """The address of the tile's first element in an array of the product's shape."""
        b, dtype = self.b, array.dtype
        down, along = self.strides(array)
        pointer = b.address(array.pointer, dtype, array.offset + self.row.ahead * down + self.column.ahead * along)
        steps = zip((*self.batch, self.row.at, self.column.at), (*array.strides[:-2], down, along), strict=True)
        for index, stride in steps:
            pointer = b.address(pointer, dtype, index=index, stride=stride)
        return pointer

    def along(self, array: Array) -> int:
        """How far apart the tile's columns lie in it."""
        return self.strides(array)[1]

    def is_same_in_rows(self, array: Array) -> bool:
        """Whether all rows have the same elements."""
        return not self.strides(array)[0]

    def row_start(self, array: Array, start: str, row: Lanes) -> str:
        """The address of the first element of a row of the tile, which begins at `start`."""
        at = self.b.address(start, array.dtype, index=row, stride=self.strides(array)[0])
        return self.b.freeze(at) if row.ref.startswith("%") else at

    def store(self, array: Array, sums: Sums, vectors: Vectors) -> None:
        """Write a tile to an array of the product's shape, in its dtype."""
        (down, along), start = self.strides(array), self.b.freeze(self.start(array))
        for row, values in enumerate(sums):
            for value, (column, active) in zip(values, vectors.columns(), strict=True):
                value = self.b.cast(value, array.dtype)
                self.b.store_at(value, self.b.address(start, array.dtype, row * down + column * along), along, active)

    def load(self, array: Array, rows: int, vectors: Vectors) -> Sums:
        """Read a tile of an array of the product's shape."""
        b, dtype = self.b, array.dtype
        (down, along), start = self.strides(array), b.freeze(self.start(array))

        def vector(row: int, column: int, active: int | None) -> Lanes:
            pointer = b.address(start, dtype, row * down + column * along)
            return b.load_at(pointer, dtype, vectors.lanes, along, active)

        return [[vector(row, column, active) for column, active in vectors.columns()] for row in range(rows)]


# What is done with a tile's sums: they are stored, or what is computed from them.
Finish = Callable[[TileCoordinate, Sums, Vectors], None]
# What is done before a tile of so many rows is summed.
Prepare = Callable[[TileCoordinate, int, Vectors], None]


def emit_matmul(
    b: KernelBuilder, node: Node, blocking: Blocking | None, out: Array, x: Array, y: Array, scratch: Sequence[Array]
) -> None:
    """out = x @ y, as the node's attributes transpose them, for arrays of matrices with the same batch axes."""
    if blocking is None:
        if 0 not in out.shape:
            emit_fill(b, out, 0)
        return
    write_matmul(b, node, blocking, x, y, scratch, lambda tile, sums, vectors: tile.store(out, sums, vectors), out=out)


def write_matmul(
    b: KernelBuilder,
    node: Node,
    blocking: Blocking,
    x: Array,
    y: Array,
    scratch: Sequence[Array],
    finish: Finish,
    *,
    out: Array | None = None,
    prepare: Prepare | None = None,
) -> None:
    """Write the loops over the tiles of the matmul `node` as `blocking` says. `prepare` is told of each tile before it is
    summed, `finish` takes it when it is complete. What holds the sums until then is `out`, or memory of its own."""
    x = x.oriented(node.attrs["transpose_a"])
    if not blocking.packed_y:
        y = y.oriented(node.attrs["transpose_b"])
    named = dict(zip(blocking.scratch, scratch, strict=True))
    sums = named.get("sums", out)
    if blocking.by_blas:
        assert sums is not None
        call_blas(b, sums, x, y)
        if sums is not out:
            _finish_rows(b, sums, finish)
        return
    if blocking.swapped:
        x, y = y.oriented(True), x.oriented(True)
    first, last = b.parallel_range(blocking.chunks)
    product = _Product(b, blocking, x, y, sums, finish, prepare, named.get("packed_x"), first)
    b.loop_between(first, last, product.emit_chunk)


def _finish_rows(b: KernelBuilder, sums: Array, finish: Finish) -> None:
    """`finish` a product that lies in memory, a vector at a time."""
    *_, columns = sums.shape
    lanes = min(b.lanes_for(sums.dtype), power_above(columns))

    def row(index: list[Lanes]) -> None:
        def vector(first: Lanes, ahead: int, active: int | None) -> None:
            tile = TileCoordinate(b, index[:-1], Position(index[-1]), Position(first, ahead))
            vectors = Vectors(1, lanes, active)
            finish(tile, tile.load(sums, 1, vectors), vectors)

        masked_loop(b, columns, lanes, vector)

    b.loops(sums.shape[:-1], row)


# -- the loops


class _Chunk(NamedTuple):
    """Some of the rows, of the matrices at `batch`, in one panel, or in all of them where `panel` is None."""

    batch: list[Lanes]
    panel: Lanes | None
    number: Lanes


class _DepthBlock(NamedTuple):
    """`extent` steps along the depth from `start` on; a tile is complete after the `last` block."""

    start: Position
    extent: int
    first: bool
    last: bool


class _Product(NamedTuple):
    """The loops of a product, whose chunks from `first` on are written; `packed_x` has room for the rows of each of them."""

    b: KernelBuilder
    blocking: Blocking
    x: Array
    y: Array
    sums: Array | None
    finish: Finish
    prepare: Prepare | None
    packed_x: Array | None
    first: Lanes

    @property
    def zero(self) -> Lanes:
        return self.b.const(0, int64)

    def emit_chunk(self, number: Lanes, carried: list[Lanes]) -> list[Lanes]:
        """A chunk of the rows, of one panel or of all, block by block along the depth."""
        b, blocking = self.b, self.blocking
        kc, depth, count = blocking.kc, blocking.depth, blocking.depth_blocks
        panels = 1 if blocking.packed_x else blocking.panels
        *batch, panel, chunk = b.unravel(number, (*blocking.batch, panels, blocking.row_chunks))
        here = _Chunk(batch, None if blocking.packed_x else panel, chunk)
        if count == 1:
            self._depth_block(here, _DepthBlock(Position(self.zero), depth, first=True, last=True))
            return []
        self._depth_block(here, _DepthBlock(Position(self.zero), kc, first=True, last=False))

        def middle(start: Lanes, carried: list[Lanes]) -> list[Lanes]:
            self._depth_block(here, _DepthBlock(Position(start, kc), kc, first=False, last=False))
            return []

        b.loop((count - 2) * kc, middle, step=kc)
        start = (count - 1) * kc
        self._depth_block(here, _DepthBlock(Position(self.zero, start), depth - start, first=False, last=True))
        return []

    def _depth_block(self, chunk: _Chunk, depth: _DepthBlock) -> None:
        """A chunk, along a block of the depth: its panels, of which the last may have fewer columns."""
        b, blocking = self.b, self.blocking
        whole, rest = divmod(blocking.columns, blocking.nr)
        packed = self._packed(chunk, depth) if blocking.packed_x else None

        def tiles(panel: Position, columns: int) -> None:
            vectors = Vectors(columns, 1, None) if blocking.dot else Vectors.over(columns, blocking.lanes)
            self._tiles(chunk, panel, vectors, depth, packed)

        def full(panel: Lanes, carried: Sequence[Lanes] = ()) -> list[Lanes]:
            tiles(Position(panel), blocking.nr)
            return []

        def narrow() -> None:
            tiles(Position(self.zero, whole), rest)

        if chunk.panel is None:
            b.loop(whole, full)
            if rest:
                narrow()
        elif not rest:
            full(chunk.panel)
        elif not whole:
            narrow()
        else:
            panel = chunk.panel
            b.when(b.compare("lt", panel, b.const(whole, int64)), lambda: tiles(Position(panel), blocking.nr), narrow)

    def _tiles(self, chunk: _Chunk, panel: Position, vectors: Vectors, depth: _DepthBlock, packed: str | None) -> None:
        """The tiles of a chunk in one panel; their rows lie at `packed`, or where x has them."""
        b, blocking, batch = self.b, self.blocking, chunk.batch
        scaled = panel.at if panel.at.ref == "0" else b.mul(panel.at, b.const(blocking.nr, int64))
        column = Position(scaled, panel.ahead * blocking.nr)
        y = self._panel_start(batch, panel, column, depth.start)
        x_down, x_along = self.x.strides[-2:]

        def tile(row: Position, height: int, x: str, down: int, along: int) -> None:
            at = TileCoordinate(b, batch, row, column, blocking.swapped)
            if depth.last and self.prepare is not None:
                self.prepare(at, height, vectors)
            sums = self._sums(x, [down * number for number in range(height)], along, y, vectors, depth.extent)
            if not depth.first:
                assert self.sums is not None
                before = at.load(self.sums, height, vectors)
                sums = [added(b, *rows) for rows in zip(before, sums, strict=True)]
            if depth.last:
                self.finish(at, sums, vectors)
            else:
                assert self.sums is not None, "a product that is not complete at once has memory for its sums"
                at.store(self.sums, sums, vectors)

        mr = blocking.mr
        lower = self.zero if blocking.row_chunks == 1 else b.mul(chunk.number, b.const(blocking.tiles_per_chunk, int64))

        def step(number: Lanes, carried: list[Lanes]) -> list[Lanes]:
            row = Position(b.mul(number, b.const(mr, int64)))
            if packed is None:
                tile(row, mr, TileCoordinate(b, batch, row, depth.start).start(self.x), x_down, x_along)
            else:
                start = b.address(packed, blocking.dtype, index=b.sub(number, lower), stride=blocking.kc * mr)
                tile(row, mr, start, 1, mr)
            return []

        b.loop_between(lower, self._upper(chunk, lower), step)
        rest = blocking.rows - blocking.tiles * mr
        if rest:
            row = Position(self.zero, blocking.tiles * mr)

            def below() -> None:
                tile(row, rest, TileCoordinate(b, batch, row, depth.start).start(self.x), x_down, x_along)

            if blocking.row_chunks == 1:
                below()
            else:
                b.when(b.compare("eq", chunk.number, b.const(blocking.row_chunks - 1, int64)), below)

    def _sums(self, x: str, rows: list[int], along: int, y: str, vectors: Vectors, extent: int) -> Sums:
        """The sums of a tile, whose rows begin at these offsets from x on and go on by `along`."""
        b, dtype = self.b, self.blocking.dtype
        y_down, y_along = self.y.strides[-2:]
        if self.blocking.dot:
            return dot_tile(b, x, rows, y, [y_along * number for number in range(vectors.number)], extent, dtype)
        return sum_tile(b, x, rows, y, vectors, [Depth(extent, along, y_down)], dtype)

    def _upper(self, chunk: _Chunk, lower: Lanes) -> Lanes:
        """The tile behind a chunk's last."""
        b, tiles, per_chunk = self.b, self.blocking.tiles, self.blocking.tiles_per_chunk
        end = b.const(tiles, int64)
        if self.blocking.row_chunks == 1:
            return end
        upper = b.add(lower, b.const(per_chunk, int64))
        return upper if tiles % per_chunk == 0 else b.select(b.compare("lt", upper, end), upper, end)

    def _panel_start(self, batch: list[Lanes], panel: Position, column: Position, depth: Position) -> str:
        b, dtype = self.b, self.blocking.dtype
        if not self.blocking.packed_y:
            return TileCoordinate(b, batch, depth, column).start(self.y)
        *_, panels, down, _ = self.y.strides
        at = b.address(self.y.pointer, dtype, self.y.offset + panel.ahead * panels + depth.ahead * down)
        for index, stride in zip((*batch, panel.at, depth.at), (*self.y.strides[:-3], panels, down), strict=True):
            at = b.address(at, dtype, index=index, stride=stride)
        return at

    def _packed(self, chunk: _Chunk, depth: _DepthBlock) -> str:
        """The address of a chunk of the left operand, put together: tile by tile, for each step along the depth its rows."""
        b, blocking = self.b, self.blocking
        assert self.packed_x is not None
        mr, per_chunk, dtype = blocking.mr, blocking.tiles_per_chunk, blocking.dtype
        size = blocking.kc * mr
        slot = b.address(self.packed_x.pointer, dtype, self.packed_x.offset, self.first, per_chunk * size)
        row = Position(self.zero if blocking.row_chunks == 1 else b.mul(chunk.number, b.const(per_chunk * mr, int64)))
        start = TileCoordinate(b, chunk.batch, row, depth.start).start(self.x)
        down, along = self.x.strides[-2:]

        def copy(tiles: int) -> None:
            # What lies next to each other is read together.
            shape = (depth.extent, tiles, mr)
            source = Array(shape, (along, mr * down, down), 0, dtype, start)
            emit_copy(b, Array(shape, (mr, size, 1), 0, dtype, slot), source)

        rest = blocking.tiles - (blocking.row_chunks - 1) * per_chunk
        if rest == per_chunk or blocking.row_chunks == 1:
            copy(rest)
        else:
            is_full = b.compare("lt", chunk.number, b.const(blocking.row_chunks - 1, int64))
            b.when(is_full, lambda: copy(per_chunk), lambda: copy(rest))
        return slot
