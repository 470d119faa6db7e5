"""How a fusion's values lie over its space, and so what its loops are.

Every access has strides along as few axes as possible, those of the rows and those of the lanes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tracejit import ops
from tracejit.ir import DType, Graph, Node
from tracejit.ir.strided import Strided, broadcast_strides, collapse, contiguous_strides
from tracejit.llvm.plan.schedule import Schedule
from tracejit.llvm.plan.summation import BLOCK, LONG
from tracejit.ops import kept_axes

# (node, number): number 0 and up for where a result is written, -1 for where a value is read (or an iota's position).
Key = tuple[Node, int]


class Access(NamedTuple):
    """How a value lies in the kernel's argument of this number (None for a position, which lies nowhere): `rows` and `lanes`
    are strides along the collapsed axes, `unit` is the stride from a chunk's copy to the next. A scratch row is of as many
    elements as `scratch` says. What lies `across` the rows is read from a tile of it, which is transposed before."""

    argument: int | None
    dtype: DType
    rows: tuple[int, ...]
    lanes: tuple[int, ...]
    unit: int = 0
    scratch: int = 0
    across: Access | None = None

    @property
    def row_step(self) -> int:
        """From a row to the next of those that are computed at one time. Each of them has a scratch row."""
        return self.scratch or (self.rows[-1] if self.rows else 0)

    @property
    def lane_step(self) -> int:
        """From an element to the next along the last axis."""
        return self.lanes[-1] if self.lanes else 0


class Collection(NamedTuple):
    """What a long accumulator is collected in, by blocks of `steps` along a row's `axis`: a copy of what comes with one index
    along the axes before, which is then added to that part of the result. Of `shape`, with `strides` in the copy, and in the
    results as `totals` says."""

    axis: int
    steps: int
    copy: Access
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    totals: Sequence[Access]


class Layout(NamedTuple):
    """`access[key]` for every value that is read or written, over `row_shape` and, within a row, `lane_shape`. `rows` are
    computed at one time.

    Arrays are numbers of the kernel's arguments: `results` where values are written, those of `collections` a block at a time;
    `ends` where accumulators are complete; `scratch` the rows of what is kept for a later pass. Where something lies across the
    rows, the work is done in tiles of so many rows, and elements along the last axis, as `tile` says.
    """

    row_shape: tuple[int, ...]
    lane_shape: tuple[int, ...]
    rows: int
    access: Mapping[Key, Access]
    results: Mapping[Node, Sequence[int]]
    ends: Mapping[Node, Sequence[int]]
    scratch: Mapping[Node, int]
    collections: Mapping[Node, Collection]
    tile: tuple[int, int] | None = None

    def steps(self, axis: int) -> tuple[int, int]:
        """How many indices along an axis of the rows are one step, and how many are a block of steps."""
        step = self.rows if axis == len(self.row_shape) - 1 else 1
        blocks = [collection.steps for collection in self.collections.values() if collection.axis == axis]
        return step, step * max(blocks, default=1)


def fusion_layout(
    body: Graph, schedule: Schedule, outputs: Sequence[Strided], operands: Sequence[Strided], scratch: Sequence[Strided]
) -> Layout:
    """The layout of a fusion over these arrays, which are the kernel's arguments in this order."""
    arrays = [*outputs, *operands, *scratch]
    results: dict[Node, list[int]] = {}
    for argument, node in enumerate(body.results):
        results.setdefault(node, []).append(argument)
    read = {node: argument for argument, node in enumerate(body.parameters, len(outputs))}
    own = len(outputs) + len(operands)
    spills = {node: argument for argument, node in enumerate(schedule.spills, own)}
    strides = _strides(body, schedule, arrays, results, read)
    for node, argument in spills.items():
        within = contiguous_strides(schedule.space[schedule.rows :])
        strides[node, -1] = (argument, (0,) * schedule.rows + within)
    row_shape, lane_shape, parts = _collapse(schedule, [over for _, over in strides.values()])
    access = {}
    for (key, (where, _)), (rows, lanes) in zip(strides.items(), parts, strict=True):
        node, number = key
        is_scratch = number == -1 and node in spills
        copies = where is not None and (is_scratch or (number >= 0 and node in schedule.partial))
        unit = arrays[where].strides[0] if where is not None and copies else 0
        access[key] = Access(where, node.dtype, rows, lanes, unit, math.prod(lane_shape) if is_scratch else 0)
    at_once = rows_at_once(schedule, row_shape, lane_shape)
    ends = {node: results[node] for node in schedule.accumulators}
    layout = Layout(row_shape, lane_shape, at_once, access, results, ends, spills, {})
    for argument, node in enumerate(schedule.long, own + len(spills)):
        layout = _collected(layout, schedule, node, argument, arrays[argument].strides[0])
    return layout


def rows_at_once(schedule: Schedule, row_shape: Sequence[int], lane_shape: Sequence[int]) -> int:
    """How many rows are computed at one time, a power of two that is no more than there are next to each other."""
    innermost = row_shape[-1] if row_shape else 1
    return min(schedule.row_unroll(math.prod(lane_shape)), 1 << max(innermost, 1).bit_length() - 1)


def _collected(layout: Layout, schedule: Schedule, node: Node, argument: int, unit: int) -> Layout:
    """The layout, where an accumulator is collected by blocks in an argument, if it is long as the rows are computed."""
    if not layout.row_shape:
        return layout
    keys = [(node, number) for number in range(len(layout.results[node]))]
    totals = [layout.access[key] for key in keys]
    rows, lanes = totals[0].rows, totals[0].lanes
    counts = [1 if stride else size for size, stride in zip(layout.row_shape, rows, strict=True)]
    if node in schedule.partial:
        counts[0] = -(-counts[0] // schedule.chunks)
    counts[-1] = -(-counts[-1] // layout.rows)
    total = math.prod(counts)
    if total <= LONG:
        return layout
    # So that a block has about as many additions as there are blocks, or more where these are few.
    most, within, axis = max(BLOCK, math.isqrt(total)), 1, len(counts) - 1
    while within * counts[axis] < most:
        within *= counts[axis]
        axis -= 1
    old, sizes = rows[axis + 1 :] + lanes, layout.row_shape[axis + 1 :] + layout.lane_shape
    kept = tuple(size if stride else 1 for size, stride in zip(sizes, old, strict=True))
    own = tuple(stride if before else 0 for stride, before in zip(contiguous_strides(kept), old, strict=True))
    split = len(rows) - axis - 1
    copy = Access(argument, node.dtype, (0,) * (axis + 1) + own[:split], own[split:], unit)
    access = {key: access for key, access in layout.access.items() if key not in keys}
    collection = Collection(axis, max(most // within, 1), copy, kept, own, totals)
    return layout._replace(
        access={**access, (node, 0): copy},
        results={**layout.results, node: [argument]},
        collections={**layout.collections, node: collection},
    )


_Ints = tuple[int, ...]


def _collapse(schedule: Schedule, layouts: Sequence[_Ints]) -> tuple[_Ints, _Ints, list[tuple[_Ints, _Ints]]]:
    """The axes of the rows and those of the lanes, as few as can be, and the strides of each of the `layouts` along both."""
    space, rows = schedule.space, schedule.rows
    if rows == len(space):
        # Nothing is reduced within a row: the last axis that is left when all are collapsed is the one of the lanes.
        sizes, together = collapse(space, layouts)
        return sizes[:-1], sizes[-1:], [(strides[:-1], strides[-1:]) for strides in together]
    row_shape, outer = collapse(space[:rows], [strides[:rows] for strides in layouts])
    lane_shape, inner = collapse(space[rows:], [strides[rows:] for strides in layouts])
    return row_shape, lane_shape, list(zip(outer, inner, strict=True))


def _strides(
    body: Graph,
    schedule: Schedule,
    arrays: Sequence[Strided],
    results: Mapping[Node, Sequence[int]],
    read: Mapping[Node, int],
) -> dict[Key, tuple[int | None, _Ints]]:
    """The argument, none for a position, and its strides over the space, of what is read and written."""
    kind = schedule.kind
    strides: dict[Key, tuple[int | None, _Ints]] = {}
    direct = {operand for node in body.nodes if node.op is not ops.broadcast for operand in node.operands}
    for node, argument in read.items():
        if node in direct:
            strides[node, -1] = (argument, _over_space(schedule, arrays[argument].strides, kind[node]))
    for node in body.nodes:
        if node.op is ops.broadcast and node.operands[0] in read:
            argument = read[node.operands[0]]
            over = arrays[argument].broadcast(node.shape, node.attrs["axes"]).strides
            strides[node, -1] = (argument, _over_space(schedule, over, kind[node]))
        elif node.op is ops.iota:
            unit = tuple(1 if axis == node.attrs["axis"] else 0 for axis in range(len(node.shape)))
            strides[node, -1] = (None, _over_space(schedule, unit, kind[node]))
    for node, arguments in results.items():
        for number, argument in enumerate(arguments):
            strides[node, number] = (argument, _result_strides(schedule, node, arrays[argument].strides))
    return strides


def _over_space(schedule: Schedule, strides: _Ints, kind: str) -> _Ints:
    """Strides over the space of what has them over the space, or over the rows only."""
    if kind == "point":
        return strides
    strides = strides if len(strides) == schedule.rows else (0,) * schedule.rows
    return strides + (0,) * (len(schedule.space) - schedule.rows)


def _result_strides(schedule: Schedule, node: Node, strides: _Ints) -> _Ints:
    kind = schedule.kind[node]
    if kind != "accumulator":
        return _over_space(schedule, strides, kind)
    source = node.operands[0]
    own = strides[1:] if node in schedule.partial else strides
    kept = kept_axes(len(source.shape), node.attrs["axes"])
    return _over_space(schedule, broadcast_strides(node.shape, own, source.shape, kept), schedule.kind[source])
