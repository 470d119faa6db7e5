"""How a product of matrices is cut into tiles, and what it needs before it begins: the cost model of `matmul`.

A unit of a product is some of the rows of a panel, which is as many columns as a tile has; units do not depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tracejit.ir import Node
from tracejit.ir.strided import Strided
from tracejit.ir.types import TensorType, float32
from tracejit.llvm.kernels.gemm import is_for_blas
from tracejit.llvm.kernels.tile import choose_tile
from tracejit.llvm.machine.engine import Target
from tracejit.llvm.plan.views import View
from tracejit.llvm.text.builder import held_bytes, summed
from tracejit.llvm.text.powers import power_above

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


def blocking(x: Strided, y: Strided, columns: int, target: Target) -> Blocking:
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
    # Not so many blocks that their sum is one of many numbers; a panel that no other tile reads need not stay in the cache.
    most = 1 if rows <= high and not packed_x else math.isqrt(depth)
    blocks = min(-(-depth * wide * lanes * dtype.size // _PANEL_BYTES), most)
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
    x_matrices, matrices = x.oriented(node.attrs["transpose_a"]), y.oriented(node.attrs["transpose_b"])
    blas = is_for_blas(target, x_matrices, matrices)
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
    source = matrices.with_layout(shape, [matrices.strides[axis] for axis in axes])
    return found.broadcast(matrices.shape, axes), (found, source)


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
