"""How a product of matrices is cut into tiles, and what it needs before it begins: the cost model of `matmul`.

A chunk of a product is some of the rows of a panel, which is as many columns as a tile has; chunks do not depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from tracejit.ir import Node
from tracejit.ir.strided import Strided
from tracejit.ir.types import DType, TensorType, float32
from tracejit.llvm.plan.blas import is_for_blas
from tracejit.llvm.plan.tiles import choose_tile, rows_in_cache
from tracejit.llvm.plan.views import View
from tracejit.llvm.target import Target
from tracejit.llvm.text.powers import power_above

# A product along the depth has sums of at most so many columns; it is for fewer rows than this.
_DOT_COLUMNS, _DOT_ROWS = 4, 4


class Blocking(NamedTuple):
    """How a product of matrices, `rows` by `depth` by `columns` of `dtype` for each of `batch`, is computed.

    Either the vectors, of `lanes`, lie along the columns: tiles of `mr` rows by `nr` columns, the depth in blocks of at most
    `kc`; or, for `dot`, along the depth. `swapped` is the product of the transposes, whose result is the transpose. By the
    BLAS (`by_blas`) all of this is its own affair.

    A panel is as many columns as a tile has. The panels of the right operand, where it is `packed_y`, lie one after the other.
    A chunk of the work is some rows, those of `tiles_per_chunk` (the last may have less), in one panel; or in all panels, where
    the left operand is `packed_x`: its rows are put together first, tile by tile. `own_sums` says that what is not
    complete yet has memory of its own, not the result's.
    """

    rows: int
    columns: int
    depth: int
    dtype: DType
    lanes: int
    mr: int
    nr: int
    kc: int
    tiles_per_chunk: int
    batch: tuple[int, ...] = ()
    packed_x: bool = False
    packed_y: bool = False
    dot: bool = False
    swapped: bool = False
    by_blas: bool = False
    own_sums: bool = False

    @property
    def panels(self) -> int:
        return -(-self.columns // self.nr)

    @property
    def tiles(self) -> int:
        """The tiles, one above the other, that have all their rows."""
        return self.rows // self.mr

    @property
    def row_chunks(self) -> int:
        """Into how many chunks the rows are divided."""
        return max(1, -(-self.tiles // self.tiles_per_chunk))

    @property
    def chunks(self) -> int:
        """How many chunks, which threads share, all matrices of the batch have."""
        return math.prod(self.batch) * self.row_chunks * (1 if self.packed_x else self.panels)

    @property
    def depth_blocks(self) -> int:
        """How many blocks of the depth are summed one after the other."""
        return -(-self.depth // self.kc)

    @property
    def scratch(self) -> dict[str, TensorType]:
        """What it has in memory for itself, by name, in the order of the kernel's scratch arguments: `packed_x`, the rows of
        the left operand for each chunk; `sums`, those that are not complete yet."""
        types = {}
        if self.packed_x and not self.by_blas:
            types["packed_x"] = TensorType((self.chunks, self.tiles_per_chunk, self.kc, self.mr), self.dtype)
        if self.own_sums:
            shape = (self.columns, self.rows) if self.swapped else (self.rows, self.columns)
            types["sums"] = TensorType((*self.batch, *shape), self.dtype.accumulator)
        return types


def blocking(x: Strided, y: Strided, target: Target, *, fused: bool = False, half: bool = False) -> Blocking:
    """The blocking of x @ y, for matrices that are not empty and lie as their strides say. Where the product is `fused`, or its
    result is of a `half` dtype, what is not complete at once is no result yet."""
    (rows, depth), columns, dtype = x.shape[-2:], y.shape[-1], x.dtype
    tiling = _tiling(rows, depth, columns, dtype, x.strides[-2:], y.strides[-2:], target)
    by_blas = is_for_blas(target, x, y)
    return tiling._replace(
        batch=x.shape[:-2],
        packed_x=tiling.packed_x and not by_blas,
        packed_y=tiling.packed_y and not by_blas,
        by_blas=by_blas,
        own_sums=(fused or half) and (by_blas or tiling.depth_blocks > 1),
    )


def _tiling(
    rows: int, depth: int, columns: int, dtype: DType, x_strides: tuple[int, ...], y_strides: tuple[int, ...], target: Target
) -> Blocking:
    """The tiles of a product, and what is packed, for strides along the rows and the columns."""
    (x_down, x_along), (y_down, y_along) = x_strides, y_strides
    machine = target.machine
    lanes = max(machine.width // dtype.accumulator.size, 1)
    swapped = columns == 1 and x_down == 1 and rows > 1 and x_along != 1
    if swapped:
        rows, columns = columns, rows
        x_down, x_along, y_down, y_along = y_along, y_down, x_along, x_down
    dot = x_along == 1 and y_down == 1 and depth >= lanes and (columns == 1 or (rows < _DOT_ROWS and y_along != 1))
    if dot and not swapped:
        nr = min(columns, _DOT_COLUMNS)
        mr, kc, packed_x, packed_y = min(rows, machine.in_flight // nr), depth, False, False
    else:
        dot = False
        lanes = min(lanes, power_above(columns))
        far = abs(x_along) * dtype.size > machine.near and min(columns, depth) >= machine.often
        most = None if far else rows_in_cache(abs(x_down) * dtype.size, machine)
        mr, vectors = choose_tile(rows, -(-columns // lanes), depth, machine, most)
        nr, packed_x = vectors * lanes, far and rows >= mr
        far = abs(y_down) * dtype.size > machine.far and rows >= machine.often
        packed_y = columns > 1 and (y_along != 1 or far)
        # Not so many blocks that their sum is one of many numbers; a panel that no other tile reads need not stay in the cache.
        most = 1 if rows <= mr and not packed_x else math.isqrt(depth)
        kc = -(-depth // min(-(-depth * nr * dtype.size // machine.product_panel), most))
    tiles, panels = rows // mr, -(-columns // nr)
    chunk = min(machine.packed_rows // mr, -(-tiles // machine.chunks)) if packed_x else -(-tiles * panels // machine.chunks)
    return Blocking(
        rows, columns, depth, dtype, lanes, mr, nr, kc, max(chunk, 1),
        packed_x=packed_x, packed_y=packed_y, dot=dot, swapped=swapped,
    )  # fmt: skip


# -- what a product needs before it begins


class Needs(NamedTuple):
    """What a product reads in the place of its operands, how it is computed (None where it is empty), and the `copies`
    (target, source) that are to be made before."""

    x: View
    y: View
    blocking: Blocking | None
    copies: list[tuple[View, View]]


def needs(node: Node, x: View, y: View, target: Target, new: Callable[[TensorType], View], *, fused: bool = False) -> Needs:
    """What the matmul `node` needs, which is `fused` or alone. `new` makes memory."""
    if 0 in x.shape or 0 in y.shape:
        return Needs(x, y, None, [])
    copies: list[tuple[View, View]] = []
    if node.dtype.is_half and min(node.shape[-2:]) >= target.machine.often:
        # Converted once, not at every use.
        x, x_copy = _in_float32(x, new)
        y, y_copy = _in_float32(y, new)
        copies += [x_copy, y_copy]
    x_matrices, y_matrices = x.oriented(node.attrs["transpose_a"]), y.oriented(node.attrs["transpose_b"])
    decided = blocking(x_matrices, y_matrices, target, fused=fused, half=node.dtype.is_half)
    if decided.packed_y:
        y, panel_copies = _in_panels(y_matrices, decided, new)
        copies += panel_copies
    return Needs(x, y, decided, copies)


def _in_float32(matrices: View, new: Callable[[TensorType], View]) -> tuple[View, tuple[View, View]]:
    """The matrices, of a half dtype, as float32 that lie alike in memory of their own, and the copy that puts them there."""
    axes = [axis for axis, stride in enumerate(matrices.strides) if stride]
    axes.sort(key=lambda axis: -abs(matrices.strides[axis]))
    shape = tuple(matrices.shape[axis] for axis in axes)
    converted = new(TensorType(shape, float32))
    source = matrices.with_layout(shape, [matrices.strides[axis] for axis in axes])
    return converted.broadcast(matrices.shape, axes), (converted, source)


def _in_panels(matrices: View, decided: Blocking, new: Callable[[TensorType], View]) -> tuple[View, list[tuple[View, View]]]:
    """The matrices as panels in memory of their own, and the copies that put them there. A batch axis along which they are the
    same stays one."""
    *batch_strides, down, along = matrices.strides
    batch = tuple(size if stride else 1 for size, stride in zip(matrices.shape[:-2], batch_strides, strict=True))
    width, (whole, rest) = decided.nr, divmod(decided.columns, decided.nr)
    panels = new(TensorType((*batch, decided.panels, decided.depth, width), matrices.dtype))
    outer = panels.strides[:-3]
    copies = []
    if whole:
        shape = (*batch, whole, decided.depth, width)
        source = matrices.with_layout(shape, (*batch_strides, width * along, down, along))
        copies.append((panels.with_layout(shape, panels.strides), source))
    if rest:
        shape = (*batch, decided.depth, rest)
        source = matrices.with_layout(shape, (*batch_strides, down, along), whole * width * along)
        target = panels.with_layout(shape, (*outer, width, 1), whole * decided.depth * width)
        copies.append((target, source))
    strides = [step if stride else 0 for step, stride in zip(outer, batch_strides, strict=True)]
    return panels.with_layout((*matrices.shape[:-2], *panels.shape[-3:]), (*strides, *panels.strides[-3:])), copies
