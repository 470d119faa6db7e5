"""Transposes tiles of what lies across rows."""

from __future__ import annotations

from collections.abc import Sequence

from tracejit.llvm.kernels.movement import emit_copy
from tracejit.llvm.kernels.nest import Nest, Tile
from tracejit.llvm.kernels.tails import overlapped_start
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.types import Lanes


def emit_tile(nest: Nest, outer: Sequence[Lanes], row: Lanes, first: Lanes) -> Tile:
    """Transpose the tile behind the index `outer` that has the `row` along the last axis of the rows, and the element `first`
    along theirs: as its first ones, but where that would lead beyond the end."""
    b, layout = nest.b, nest.layout
    assert layout.tile is not None
    high, wide = layout.tile
    tile = Tile(
        overlapped_start(b, row, layout.row_shape[-1], high), overlapped_start(b, first, layout.lane_shape[-1], wide), first
    )
    shape = (high, *layout.lane_shape[:-1], wide)
    for access in layout.access.values():
        source = access.across
        if source is None:
            continue
        start = nest.start(source)
        for index, stride in zip((*outer, tile.row, tile.lane), (*source.rows, source.lane_step), strict=True):
            start = b.address(start, source.dtype, index=index, stride=stride)
        transposed = Array(shape, (access.row_step, *access.lanes), 0, access.dtype, nest.start(access))
        emit_copy(b, transposed, Array(shape, (source.rows[-1], *source.lanes), 0, source.dtype, start))
    return tile
