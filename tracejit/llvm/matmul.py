"""Matrix multiplication: how a product is cut into tiles, and the loops around the micro-kernel.

A unit of a product is some of the rows of a panel, which is as many columns as a tile has; units do not depend on each other.
Where TRACEJIT_MATMUL=blas asks for it, products of floats are the business of the BLAS that NumPy brought.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from tracejit.ir import Node
from tracejit.ir.types import DType, TensorType, float32, float64, int64
from tracejit.llvm.blas import GEMM, find_blas
from tracejit.llvm.builder import Lanes
from tracejit.llvm.engine import Target
from tracejit.llvm.kernel import Array, KernelBuilder, power_above
from tracejit.llvm.tile import Depth, Sums, Vectors, choose_tile, dot_tile, sum_tile
from tracejit.llvm.views import View

# Below this many multiplications a call of the BLAS costs more than the loops.
_BLAS_FROM = 4096
_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112
# Bytes of a panel, at the most: half of what a core has for itself (the second-level cache).
_PANEL_BYTES = 1 << 19
# Rows of the right operand that lie further apart are in a page each: where so many rows need it, the panel is copied together.
_FAR_BYTES, _FAR_ROWS = 2048, 48
# So many units, where there are rows for it, leave no thread much longer at work than another.
_UNITS = 16
# A product along the depth keeps so many sums, of at most so many columns; it is for fewer rows than this.
_DOTS, _DOT_COLUMNS, _DOT_ROWS = 8, 4, 4


@dataclass(frozen=True)
class Blocking:
    """How a product of matrices, `rows` by `depth` by `columns`, is computed.

    Either the vectors lie along the columns: tiles of `tile_rows` by `tile_vectors` of `lanes`, the right operand `packed` a
    panel at a time, the depth in blocks of at most `block`; or, for `dot`, along the depth. `swapped` is the product of the
    transposes, whose result is the transpose.
    """

    rows: int
    columns: int
    depth: int
    lanes: int
    tile_rows: int
    tile_vectors: int
    block: int
    packed: bool = False
    dot: bool = False
    swapped: bool = False

    @property
    def width(self) -> int:
        """The columns of a panel."""
        return self.tile_vectors * (1 if self.dot else self.lanes)

    @property
    def panels(self) -> int:
        return -(-self.columns // self.width)

    @property
    def chunks(self) -> int:
        """Into how many parts the rows of a panel are divided."""
        return max(1, min(self.rows // self.tile_rows, _UNITS // self.panels))


class Matrices(Protocol):
    """An array of matrices, where it is planned and where it is written: what its blocking depends on."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> DType: ...


def blocking(x: Matrices, y: Matrices, target: Target) -> Blocking:
    """The blocking of x @ y for matrices that are not empty and lie as their strides say."""
    (rows, depth), columns, dtype = x.shape[-2:], y.shape[-1], x.dtype
    (x_down, x_along), (y_down, y_along) = x.strides[-2:], y.strides[-2:]
    lanes = max(target.width // dtype.size, 1)
    swapped = columns == 1 and x_down == 1 and rows > 1 and x_along != 1
    if swapped:
        rows, columns = columns, rows
        y_down, y_along = x_along, x_down
    elif x_along == 1 and y_down == 1 and depth >= lanes and (columns == 1 or (rows < _DOT_ROWS and y_along != 1)):
        wide = min(columns, _DOT_COLUMNS)
        return Blocking(rows, columns, depth, lanes, min(rows, _DOTS // wide), wide, depth, dot=True)
    lanes = min(lanes, power_above(columns))
    high, wide = choose_tile(rows, -(-columns // lanes), depth, target.registers)
    packed = y_along != 1 or (abs(y_down) * dtype.size > _FAR_BYTES and rows >= _FAR_ROWS)
    blocks = -(-depth * wide * lanes * dtype.size // _PANEL_BYTES)
    return Blocking(
        rows, columns, depth, lanes, high, wide, -(-depth // blocks), packed=packed and columns > 1, swapped=swapped
    )


def scratch_for(node: Node, x: View, y: View, target: Target, *, fused: bool = False) -> list[TensorType]:
    """The memory that a product needs besides its operands: a panel for each unit, of which a call fills its first; and where
    it is `fused` and not complete at once, its sums."""
    x, y = _oriented(x, node.attrs["transpose_a"]), _oriented(y, node.attrs["transpose_b"])
    if 0 in x.shape or 0 in y.shape:
        return []
    found = blocking(x, y, target)
    units = math.prod(x.shape[:-2]) * found.panels * found.chunks
    needed = [TensorType((units, found.block, found.width), x.dtype)] if found.packed else []
    if fused and (found.block < found.depth or _is_for_blas(target, x, y)):
        needed.append(TensorType(node.shape, x.dtype))
    return needed


class Position(NamedTuple):
    """A row or a column: `ahead` of one that is known when the code runs."""

    index: Lanes
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
        steps = zip((*self._batch, self._row.index, self._column.index), (*array.strides[:-2], down, along), strict=True)
        for index, stride in steps:
            pointer = b.address(pointer, dtype, index=index, stride=stride)
        return pointer

    def store(self, array: Array, sums: Sums, vectors: Vectors) -> None:
        """Write a tile to an array of the product's shape."""
        (down, along), start = self.strides(array), self.start(array)
        for row, values in enumerate(sums):
            for value, (column, active) in zip(values, vectors.places(), strict=True):
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


def emit_matmul(b: KernelBuilder, node: Node, out: Array, x: Array, y: Array) -> None:
    """out = x @ y, as the node's attributes transpose them, for arrays of matrices with the same batch axes."""
    if 0 in out.shape:
        return
    if 0 in x.shape:
        b.fill(out, 0)
    else:
        write_matmul(b, node, x, y, lambda place, sums, vectors: place.store(out, sums, vectors), out)


def write_matmul(b: KernelBuilder, node: Node, x: Array, y: Array, finish: Finish, out: Array | None = None) -> None:
    """Write the loops over the tiles of x @ y, which is not empty; `finish` takes each when it is complete. What holds the sums
    until then is `out`, or memory of its own."""
    x, y = _oriented(x, node.attrs["transpose_a"]), _oriented(y, node.attrs["transpose_b"])
    found = blocking(x, y, b.target)
    scratch = list(b.scratch)
    panel = scratch.pop(0) if found.packed else None
    sums = scratch.pop() if scratch else out
    if not _is_for_blas(b.target, x, y):
        _Product(b, found, x, y, panel, sums, finish).write()
        return
    assert sums is not None
    _call_blas_for_each(b, sums, x, y)
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


M = TypeVar("M", Array, View)


def _oriented(matrices: M, transposed: bool) -> M:
    """The matrices, or their transposes."""
    if not transposed:
        return matrices
    shape, strides = list(matrices.shape), list(matrices.strides)
    shape[-2:], strides[-2:] = shape[:-3:-1], strides[:-3:-1]
    return replace(matrices, shape=tuple(shape), strides=tuple(strides))


# -- the loops


class _Product:
    def __init__(
        self, b: KernelBuilder, found: Blocking, x: Array, y: Array, panel: Array | None, sums: Array | None, finish: Finish
    ):
        if found.swapped:
            x, y = _oriented(y, True), _oriented(x, True)
        self.b, self.found, self.x, self.y, self.panel, self.sums, self.finish = b, found, x, y, panel, sums, finish
        self.dtype = x.dtype

    def write(self) -> None:
        b, found = self.b, self.found
        batch = self.x.shape[:-2]
        self.first, last = b.span(math.prod(batch) * found.panels * found.chunks)

        def unit(number: Lanes, carried: list[Lanes]) -> list[Lanes]:
            *index, panel, chunk = b.unravel(number, (*batch, found.panels, found.chunks))
            self._unit(number, index, panel, chunk)
            return []

        b.loop_between(self.first, last, unit)

    def _unit(self, number: Lanes, index: list[Lanes], panel: Lanes, chunk: Lanes) -> None:
        """A chunk of the rows of a panel."""
        b, found = self.b, self.found
        whole = found.columns // found.width
        rest = found.columns - whole * found.width

        def full() -> None:
            column = b.mul(panel, b.const(found.width, int64)) if found.panels > 1 else panel
            self._panel(number, index, chunk, Position(column), found.width)

        def narrow() -> None:
            self._panel(number, index, chunk, Position(b.const(0, int64), whole * found.width), rest)

        if not rest:
            full()
        elif not whole:
            narrow()
        else:
            b.when(b.compare("lt", panel, b.const(whole, int64)), full, narrow)

    def _panel(self, number: Lanes, index: list[Lanes], chunk: Lanes, column: Position, columns: int) -> None:
        b, found = self.b, self.found
        vectors = Vectors(columns, 1, None) if found.dot else Vectors.over(columns, found.lanes)
        block = partial(self._block, number, index, chunk, column, vectors)
        last = (found.depth - 1) // found.block
        if not last:
            block(Position(b.const(0, int64)), found.depth, first=True, last=True)
            return
        block(Position(b.const(0, int64)), found.block, first=True, last=False)

        def middle(start: Lanes, carried: list[Lanes]) -> list[Lanes]:
            block(Position(start, found.block), found.block, first=False, last=False)
            return []

        b.loop((last - 1) * found.block, middle, step=found.block)
        start = last * found.block
        block(Position(b.const(0, int64), start), found.depth - start, first=False, last=True)

    def _block(
        self, number: Lanes, index: list[Lanes], chunk: Lanes, column: Position, vectors: Vectors, depth: Position,
        extent: int, *, first: bool, last: bool,
    ) -> None:  # fmt: skip
        """The rows of a chunk, summed along a block of the depth."""
        b, found = self.b, self.found
        y = replace(self.y, pointer=Place(b, index, depth, column).start(self.y), offset=0)
        if self.panel is not None:
            y = self._packed(self.panel, number, chunk, y, extent, vectors)

        def rows(row: Position, height: int) -> None:
            x = Place(b, index, row, depth).start(self.x)
            place = Place(b, index, row, column, found.swapped)
            x_down, x_along = self.x.strides[-2:]
            y_down, y_along = y.strides[-2:]
            offsets = [x_down * each for each in range(height)]
            if found.dot:
                sums = dot_tile(b, x, offsets, y.pointer, [y_along * each for each in range(vectors.count)], extent, self.dtype)
            else:
                start = None if first or self.sums is None else place.load(self.sums, height, vectors)
                sums = sum_tile(b, x, offsets, y.pointer, vectors, [Depth(extent, x_along, y_down)], self.dtype, start)
            if last:
                self.finish(place, sums, vectors)
            else:
                assert self.sums is not None, "a product that is not complete at once has memory for its sums"
                place.store(self.sums, sums, vectors)

        high = found.tile_rows
        tiles, rest = divmod(found.rows, high)
        zero = b.const(0, int64)

        def tile(row: Lanes, carried: list[Lanes]) -> list[Lanes]:
            rows(Position(row), high)
            return []

        def tile_of_chunk(number: Lanes, carried: list[Lanes]) -> list[Lanes]:
            return tile(b.mul(number, b.const(high, int64)), carried)

        if found.chunks == 1:
            b.loop(tiles * high, tile, step=high)
            if rest:
                rows(Position(zero, tiles * high), rest)
            return
        share = b.const(-(-tiles // found.chunks), int64)
        lower = b.mul(chunk, share)
        upper = b.add(lower, share)
        end = b.const(tiles, int64)
        b.loop_between(lower, b.select(b.compare("lt", upper, end), upper, end), tile_of_chunk)
        if rest:
            is_last = b.compare("eq", chunk, b.const(found.chunks - 1, int64))
            b.when(is_last, lambda: rows(Position(zero, tiles * high), rest))

    def _packed(self, panel: Array, number: Lanes, chunk: Lanes, y: Array, extent: int, vectors: Vectors) -> Array:
        """The block of a panel that begins at `y`, its rows next to each other."""
        b, found = self.b, self.found
        columns = vectors.active or vectors.lanes
        columns += (vectors.count - 1) * vectors.lanes
        slot = b.address(panel.pointer, self.dtype, panel.offset, self.first, found.block * found.width)
        target = Array(slot, (extent, columns), (found.width, 1), self.dtype)
        source = Array(y.pointer, (extent, columns), y.strides[-2:], self.dtype)
        if found.chunks == 1 or found.block < found.depth:
            b.copy(target, source)
        else:  # the chunk before left it there
            begins = b.or_(b.compare("eq", chunk, b.const(0, int64)), b.compare("eq", number, self.first))
            b.when(begins, lambda: b.copy(target, source))
        return target


# -- the BLAS


def _is_for_blas(target: Target, x: Matrices, y: Matrices) -> bool:
    if not target.blas or x.dtype not in GEMM or find_blas() is None:
        return False
    return x.shape[-2] * x.shape[-1] * y.shape[-1] >= _BLAS_FROM and None not in (_leading(x), _leading(y))


def _leading(matrix: Matrices) -> tuple[int, int] | None:
    """(transposition, leading dimension) as the BLAS takes it; None where neither axis is contiguous."""
    (rows, columns), (down, along) = matrix.shape[-2:], matrix.strides[-2:]
    if (along == 1 or columns == 1) and (down >= columns or rows == 1):
        return _PLAIN, max(down, columns, 1)
    if (down == 1 or rows == 1) and (along >= rows or columns == 1):
        return _TRANSPOSED, max(along, rows, 1)
    return None


def _call_blas_for_each(b: KernelBuilder, out: Array, x: Array, y: Array) -> None:
    b.loops(out.shape[:-2], lambda index: _call_blas(b, *(b.subarray(array, 0, index) for array in (out, x, y))))


def _call_blas(b: KernelBuilder, out: Array, x: Array, y: Array) -> None:
    library = find_blas()
    assert library is not None
    layouts = [_leading(matrix) for matrix in (out, x, y)]
    (_, ldc), (trans_x, lda), (trans_y, ldb) = [layout for layout in layouts if layout is not None]
    kind = {float32: "float", float64: "double"}[out.dtype]
    one, zero = b.const(1, out.dtype).ref, b.const(0, out.dtype).ref
    integer = f"i{library.integer_bits}"
    sizes = (out.shape[0], out.shape[1], x.shape[1])
    name = f"@{GEMM[out.dtype]}"
    b.declarations.add(
        f"declare void {name}(i32, i32, i32, {integer}, {integer}, {integer}, {kind}, ptr, {integer}, ptr, {integer}, "
        f"{kind}, ptr, {integer})"
    )
    pointers = [b.address(array.pointer, array.dtype, array.offset) for array in (x, y, out)]
    arguments = ", ".join([
        f"i32 {_ROW_MAJOR}, i32 {trans_x}, i32 {trans_y}",
        *(f"{integer} {size}" for size in sizes),
        f"{kind} {one}, ptr {pointers[0]}, {integer} {lda}, ptr {pointers[1]}, {integer} {ldb}",
        f"{kind} {zero}, ptr {pointers[2]}, {integer} {ldc}",
    ])  # fmt: skip
    b.line(f"call void {name}({arguments})")
