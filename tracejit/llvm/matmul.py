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
from tracejit.llvm.builder import Lanes, held_bytes, summed
from tracejit.llvm.engine import Target
from tracejit.llvm.kernel import Array, KernelBuilder, power_above
from tracejit.llvm.tile import Depth, Sums, Vectors, choose_tile, dot_tile, sum_tile
from tracejit.llvm.views import View

# Below this many multiplications a call of the BLAS costs more than the loops.
_BLAS_FROM = 4096
_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112
# Bytes of a panel, at the most: half of what a core has for itself (the second-level cache).
_PANEL_BYTES = 1 << 19
# What lies further apart is in a page of its own, or falls into a few sets of the cache: where it is needed by so many rows
# (or columns) and so often, it is put together first.
_FAR_BYTES, _NEAR_BYTES, _OFTEN = 2048, 256, 48
# So many units, where there are rows for it, leave no thread much longer at work than another.
_UNITS = 16
# Rows of the left operand that are put together at once: three lines of the cache, and with a panel they stay in the second.
_TOGETHER = 48
# A product along the depth keeps so many sums, of at most so many columns; it is for fewer rows than this.
_DOTS, _DOT_COLUMNS, _DOT_ROWS = 8, 4, 4


@dataclass(frozen=True)
class Blocking:
    """How a product of matrices, `rows` by `depth` by `columns`, is computed.

    Either the vectors lie along the columns: tiles of `tile_rows` by `tile_vectors` of `lanes`, the depth in blocks of at most
    `block`; or, for `dot`, along the depth. `swapped` is the product of the transposes, whose result is the transpose.

    A panel is as many columns as a tile has. The panels of the right operand, where it is `packed_y`, lie one after the other.
    A unit of the work is a chunk of the rows of one panel; or of all panels, where the left operand is `packed_x`: the chunk is
    put together first, tile by tile.
    """

    rows: int
    columns: int
    depth: int
    lanes: int
    tile_rows: int
    tile_vectors: int
    block: int
    packed_x: bool = False
    packed_y: bool = False
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
    def tiles(self) -> int:
        """The tiles, one above the other, that have all their rows."""
        return self.rows // self.tile_rows

    @property
    def share(self) -> int:
        """The tiles of a chunk; the last may have less."""
        if self.packed_x:
            return max(1, min(_TOGETHER // self.tile_rows, -(-self.tiles // _UNITS)))
        return max(1, -(-self.tiles * self.panels // _UNITS))

    @property
    def chunks(self) -> int:
        """Into how many chunks the rows are divided."""
        return max(1, -(-self.tiles // self.share))

    @property
    def units(self) -> int:
        return self.chunks if self.packed_x else self.chunks * self.panels


class Matrices(Protocol):
    """An array of matrices, where it is planned and where it is written: what its blocking depends on."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> DType: ...


def blocking(x: Matrices, y: Matrices, columns: int, target: Target) -> Blocking:
    """The blocking of x @ y, which has `columns`, for matrices that are not empty and lie as their strides say; of `y` the
    panels, where they are packed already."""
    (rows, depth), dtype = x.shape[-2:], x.dtype
    (x_down, x_along), (y_down, y_along) = x.strides[-2:], y.strides[-2:]
    is_packed = len(y.shape) > len(x.shape)
    lanes = max(target.width // held_bytes(dtype), 1)
    swapped = columns == 1 and x_down == 1 and rows > 1 and x_along != 1
    if swapped:
        rows, columns = columns, rows
        (x_down, x_along), (y_down, y_along) = (y_along, y_down), (x_along, x_down)
    dot = x_along == 1 and y_down == 1 and depth >= lanes and (columns == 1 or (rows < _DOT_ROWS and y_along != 1))
    if dot and not swapped and not is_packed:
        wide = min(columns, _DOT_COLUMNS)
        return Blocking(rows, columns, depth, lanes, min(rows, _DOTS // wide), wide, depth, dot=True)
    lanes = min(lanes, power_above(columns))
    high, wide = choose_tile(rows, -(-columns // lanes), depth, target.usable)
    far = abs(y_down) * dtype.size > _FAR_BYTES and rows >= _OFTEN
    packed_y = is_packed or (columns > 1 and (y_along != 1 or far))
    far = abs(x_along) * dtype.size > _NEAR_BYTES and min(columns, depth) >= _OFTEN
    packed_x = far and rows >= high
    blocks = -(-depth * wide * lanes * dtype.size // _PANEL_BYTES)
    return Blocking(rows, columns, depth, lanes, high, wide, -(-depth // blocks), packed_x, packed_y, swapped=swapped)


# -- what a product needs before it begins


class Needs(NamedTuple):
    """What a product reads in the place of its operands, the types of its `scratch`, and the `copies` (target, source) that
    are to be made before."""

    x: View
    y: View
    scratch: list[TensorType]
    copies: list[tuple[View, View]]


def needs(node: Node, x: View, y: View, target: Target, new: Callable[[TensorType], View], *, fused: bool = False) -> Needs:
    """What the matmul `node` needs. `new` makes memory; where the product is `fused` and is not complete at once, its sums are
    in memory of their own."""
    if 0 in x.shape or 0 in y.shape:
        return Needs(x, y, [], [])
    copies: list[tuple[View, View]] = []
    if node.dtype.is_half and min(node.shape[-2:]) >= _OFTEN:
        # Converted once, not at every use.
        x, x_copy = _in_float32(x, new)
        y, y_copy = _in_float32(y, new)
        copies += [x_copy, y_copy]
    x_matrices, matrices = _oriented(x, node.attrs["transpose_a"]), _oriented(y, node.attrs["transpose_b"])
    blas = _is_for_blas(target, x_matrices, matrices)
    found = blocking(x_matrices, matrices, node.shape[-1], target)
    apart = fused or node.dtype.is_half  # what is not complete is no result yet
    sums = [TensorType(node.shape, summed(node.dtype))] if apart and (blas or found.block < found.depth) else []
    if blas:
        return Needs(x, y, sums, copies)
    scratch = list(sums)
    if found.packed_x:
        units = math.prod(x.shape[:-2]) * found.units
        scratch.insert(0, TensorType((units, found.share, found.block, found.tile_rows), x.dtype))
    if found.packed_y:
        y, panel_copies = _in_panels(matrices, found, new)
        copies += panel_copies
    return Needs(x, y, scratch, copies)


def _in_float32(matrices: View, new: Callable[[TensorType], View]) -> tuple[View, tuple[View, View]]:
    """The matrices, of a half dtype, as float32 that lie alike in memory of their own, and the copy that puts them there."""
    axes = [axis for axis, stride in enumerate(matrices.strides) if stride]
    axes.sort(key=lambda axis: -abs(matrices.strides[axis]))
    shape = tuple(matrices.shape[axis] for axis in axes)
    found = new(TensorType(shape, float32))
    strides = [0] * len(matrices.shape)
    for axis, stride in zip(axes, found.strides, strict=True):
        strides[axis] = stride
    source = matrices.with_layout(shape, [matrices.strides[axis] for axis in axes])
    return found.with_layout(matrices.shape, strides), (found, source)


def _in_panels(matrices: View, found: Blocking, new: Callable[[TensorType], View]) -> tuple[View, list[tuple[View, View]]]:
    """The matrices as panels in memory of their own, and the copies that put them there. A batch axis along which they are the
    same stays one."""
    *batch_strides, down, along = matrices.strides
    batch = tuple(size if stride else 1 for size, stride in zip(matrices.shape[:-2], batch_strides, strict=True))
    width, (whole, rest) = found.width, divmod(found.columns, found.width)
    panels = new(TensorType((*batch, found.panels, found.depth, width), matrices.dtype))
    outer = panels.strides[:-3]
    copies = []
    if whole:
        shape = (*batch, whole, found.depth, width)
        source = matrices.with_layout(shape, (*batch_strides, width * along, down, along))
        copies.append((panels.with_layout(shape, panels.strides), source))
    if rest:
        shape = (*batch, found.depth, rest)
        source = matrices.with_layout(shape, (*batch_strides, down, along), whole * width * along)
        target = panels.with_layout(shape, (*outer, width, 1), whole * found.depth * width)
        copies.append((target, source))
    strides = [step if stride else 0 for step, stride in zip(outer, batch_strides, strict=True)]
    return panels.with_layout((*matrices.shape[:-2], *panels.shape[-3:]), (*strides, *panels.strides[-3:])), copies


# -- tiles


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
    x = _oriented(x, node.attrs["transpose_a"])
    in_panels = len(y.shape) > len(x.shape)
    if not in_panels:
        y = _oriented(y, node.attrs["transpose_b"])
    scratch = list(b.scratch)
    if in_panels or not _is_for_blas(b.target, x, y):
        found = blocking(x, y, node.shape[-1], b.target)
        chunk = scratch.pop(0) if found.packed_x else None
        _Product(b, found, x, y, chunk, scratch.pop() if scratch else out, finish, prepare).write()
        return
    sums = scratch.pop() if scratch else out
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
            x, y = _oriented(y, True), _oriented(x, True)
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
                start = None if first or self.sums is None else place.load(self.sums, height, vectors)
                sums = sum_tile(b, x, offsets, y, vectors, [Depth(extent, along, y_down)], self.dtype, start)
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
            source = Array(start, shape, (along, high * down, down), self.dtype)
            b.copy(Array(slot, shape, (high, size, 1), self.dtype), source)

        rest = found.tiles - (found.chunks - 1) * found.share
        if rest == found.share or found.chunks == 1:
            copy(rest)
        else:
            b.when(b.compare("lt", chunk, b.const(found.chunks - 1, int64)), lambda: copy(found.share), lambda: copy(rest))
        return slot


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
