"""Operands that lie across a fusion's rows.

Neighbours in such an operand are elements of different rows: read along a row, each is loaded by itself, from a line of memory
of its own. So a tile is transposed first, by whole vectors, and the tile's rows are computed from that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from tracejit.ir.strided import Strided, contiguous_strides
from tracejit.llvm.plan.layout import Access, Key, Layout, rows_at_once
from tracejit.llvm.plan.schedule import Schedule
from tracejit.llvm.target import Machine
from tracejit.llvm.text.memory import PICKED

# Fewer elements along one of the axes, or in all, are read one by one: what is gained is less than what a transposition costs
# to compile.
_EDGE, _FEW = 8, 1 << 14
# Where a set of the first-level cache is wanted by so many times the lines that it holds, each element is a miss.
_CROWDED = 4


def may_lie_across(array: Strided) -> bool:
    """Whether there is another axis than the last along which the elements of an array are neighbours."""
    axes = [(size, abs(stride)) for size, stride in zip(array.shape, array.strides, strict=True) if size != 1]
    return bool(axes) and axes[-1][1] > PICKED and any(stride == 1 and size >= _EDGE for size, stride in axes)


def keys_across(layout: Layout, schedule: Schedule, operands: range, machine: Machine) -> tuple[int, list[Key]]:
    """What is read of these arguments by elements that are neighbours along the same axis of the rows, and that axis; nothing
    where it does not pay to transpose it."""
    empty = len(layout.row_shape), list[Key]()
    if not layout.lane_shape or layout.lane_shape[-1] < _EDGE or math.prod(schedule.space) < _FEW:
        return empty
    axes: dict[Key, int] = {}
    for key, access in layout.access.items():
        if key[1] == -1 and access.argument in operands and abs(access.lane_step) > PICKED:
            along = [axis for axis, size in enumerate(layout.row_shape) if abs(access.rows[axis]) == 1 and size >= _EDGE]
            if along and _pays(access, layout, along[0], machine):
                axes[key] = along[0]
    if not axes:
        return empty
    [(most, _)] = Counter(axes.values()).most_common(1)
    return most, [key for key, axis in axes.items() if axis == most]


def _pays(access: Access, layout: Layout, axis: int, machine: Machine) -> bool:
    """Whether the lines of memory that hold a row are no longer in a near cache when the next element of each is read, in the
    next row along the axis."""
    lanes, stride = layout.lane_shape[-1], abs(access.lane_step) * access.dtype.size
    lines = lanes * math.prod(layout.row_shape[axis + 1 :])
    apart = 1 if stride % machine.line else math.gcd(stride // machine.line, machine.l1_sets)
    held = machine.l1_sets // apart * machine.l1_ways
    return lines * machine.line > machine.l2 // 8 or (apart > 1 and lanes >= _CROWDED * held)


def in_tiles(layout: Layout, schedule: Schedule, axis: int, keys: Sequence[Key], argument: int, machine: Machine) -> Layout:
    """The layout with this axis of the rows as the last of them, and with a tile of what `keys` read in scratch arguments from
    number `argument` on. Nothing may be accumulated, since the rows are computed in another order."""
    order = [*(other for other in range(len(layout.row_shape)) if other != axis), axis]
    row_shape = tuple(layout.row_shape[each] for each in order)
    access = {
        key: each._replace(rows=tuple(each.rows[number] for number in order)) for key, each in layout.access.items()
    }  # fmt: skip
    high, wide = tile = _tile(layout, schedule, row_shape[-1], machine)
    shape = (high, *layout.lane_shape[:-1], wide)
    down, *along = contiguous_strides(shape)
    for number, key in enumerate(keys, argument):
        rows = (0,) * (len(order) - 1) + (down,)
        access[key] = Access(number, key[0].dtype, rows, tuple(along), math.prod(shape), across=access[key])
    return layout._replace(
        row_shape=row_shape, access=access, rows=rows_at_once(schedule, row_shape, layout.lane_shape), tile=tile
    )


def _tile(layout: Layout, schedule: Schedule, rows: int, machine: Machine) -> tuple[int, int]:
    """The rows of a tile, and its elements along the last axis: all of them where a row has more to do than one pass over its
    points."""
    high, lanes = machine.across_rows // schedule.widest, layout.lane_shape[-1]
    wide = min(machine.across_lanes // schedule.widest, lanes)
    (first, *later) = schedule.passes
    if later or first.reductions or schedule.row_results:
        most = machine.l2 // 4 // (math.prod(layout.lane_shape) * schedule.widest)
        high, wide = max(min(high, 1 << most.bit_length() >> 1), machine.line // schedule.widest), lanes
    return min(high, rows), wide
