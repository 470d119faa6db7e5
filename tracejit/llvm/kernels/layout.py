"""How a fusion's values lie over its space: every access with its strides along as few axes as possible, those of the rows
and those of the lanes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tracejit import ops
from tracejit.ir import DType, Graph, Node
from tracejit.ir.strided import broadcast_strides, collapse, contiguous_strides
from tracejit.llvm.plan.schedule import Schedule
from tracejit.llvm.plan.summation import BLOCK, LONG
from tracejit.llvm.text.arrays import Array
from tracejit.ops import kept_axes

# (node, number): number 0 and up for where a result is written, -1 for where a value is read (or an iota's position).
Key = tuple[Node, int]


@dataclass(frozen=True)
class Access:
    """How a value lies: `rows` and `lanes` are strides along the collapsed axes, `unit` is the stride from a chunk's copy to
    the next; no array for a position. A scratch row is of as many elements as `scratch` says."""

    array: Array | None
    rows: tuple[int, ...]
    lanes: tuple[int, ...]
    unit: int = 0
    scratch: int = 0

    @property
    def dtype(self) -> DType:
        """The array's dtype."""
        assert self.array is not None
        return self.array.dtype

    @property
    def row_step(self) -> int:
        """From a row to the next of those that are computed at one time. Each of them has a scratch row."""
        return self.scratch or (self.rows[-1] if self.rows else 0)

    @property
    def lane_step(self) -> int:
        """From an element to the next along the last axis."""
        return self.lanes[-1] if self.lanes else 0


@dataclass(frozen=True)
class Collection:
    """What a long accumulator is collected in, by blocks of `steps` along a row's `axis`: a copy of what comes with one index
    along the axes before, which is then added to that part of the result. Of `shape`, with `strides` in the copy, and in the
    results as `totals` says."""

    axis: int
    steps: int
    copy: Access
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    totals: Sequence[Access]


@dataclass(frozen=True)
class Layout:
    """`access[key]` for every value that is read or written, over `row_shape` and, within a row, `lane_shape`. `rows` are
    computed at one time. `results` are where the values are written, those of `collections` a block at a time; `ends` where
    accumulators are complete; `scratch` the rows of what is kept for a later pass."""

    row_shape: tuple[int, ...]
    lane_shape: tuple[int, ...]
    rows: int
    access: Mapping[Key, Access]
    results: Mapping[Node, Sequence[Array]]
    ends: Mapping[Node, Sequence[Array]]
    scratch: Mapping[Node, Array]
    collections: Mapping[Node, Collection]

    def steps(self, axis: int) -> tuple[int, int]:
        """How many indices along an axis of the rows are one step, and how many are a block of steps."""
        step = self.rows if axis == len(self.row_shape) - 1 else 1
        blocks = [collection.steps for collection in self.collections.values() if collection.axis == axis]
        return step, step * max(blocks, default=1)


def lay_out(
    body: Graph, schedule: Schedule, operands: Sequence[Array], results: Sequence[Array], scratch: Sequence[Array]
) -> Layout:
    """The layout of a fusion over these arrays."""
    written: dict[Node, list[Array]] = {}
    for node, array in zip(body.results, results, strict=True):
        written.setdefault(node, []).append(array)
    ends = {node: written[node] for node in schedule.end_results}
    spills = dict(zip(schedule.spills, scratch[: len(schedule.spills)], strict=True))
    strides = _strides(body, schedule, dict(zip(body.parameters, operands, strict=True)), written, spills)
    row_shape, lane_shape, access = _collapse(schedule, strides, spills)
    innermost = row_shape[-1] if row_shape else 1
    rows = min(schedule.at_once(math.prod(lane_shape)), 1 << max(innermost, 1).bit_length() - 1)
    collections: dict[Node, Collection] = {}
    for node, array in zip(schedule.long, scratch[len(schedule.spills) :], strict=True):
        keys = [(node, number) for number in range(len(written[node]))]
        collection = _collection(schedule, node, array, [access[key] for key in keys], row_shape, lane_shape, rows)
        if collection is not None:
            collections[node] = collection
            access = {key: access[key] for key in access if key not in keys} | {(node, 0): collection.copy}
            written = written | {node: [array]}
    return Layout(row_shape, lane_shape, rows, access, written, ends, spills, collections)


def _collection(
    schedule: Schedule,
    node: Node,
    array: Array,
    totals: Sequence[Access],
    row_shape: tuple[int, ...],
    lane_shape: tuple[int, ...],
    at_once: int,
) -> Collection | None:
    """How an accumulator is collected by blocks; None where it is not long as the rows are computed."""
    if not row_shape:
        return None
    rows, lanes = totals[0].rows, totals[0].lanes
    counts = [1 if stride else size for size, stride in zip(row_shape, rows, strict=True)]
    if node in schedule.partial:
        counts[0] = -(-counts[0] // schedule.units)
    counts[-1] = -(-counts[-1] // at_once)
    total = math.prod(counts)
    if total <= LONG:
        return None
    # So that a block has about as many additions as there are blocks, or more where these are few.
    most, within, axis = max(BLOCK, math.isqrt(total)), 1, len(counts) - 1
    while within * counts[axis] < most:
        within *= counts[axis]
        axis -= 1
    old = rows[axis + 1 :] + lanes
    kept = tuple(size if stride else 1 for size, stride in zip(row_shape[axis + 1 :] + lane_shape, old, strict=True))
    own = tuple(stride if before else 0 for stride, before in zip(contiguous_strides(kept), old, strict=True))
    split = len(rows) - axis - 1
    copy = Access(array, (0,) * (axis + 1) + own[:split], own[split:], array.strides[0])
    return Collection(axis, max(most // within, 1), copy, kept, own, totals)


# Each array, none for a position, with its strides over the space.
_Strides = dict[Key, tuple[Array | None, tuple[int, ...]]]


def _collapse(
    schedule: Schedule, strides: _Strides, spills: Mapping[Node, Array]
) -> tuple[tuple[int, ...], tuple[int, ...], dict[Key, Access]]:
    """The axes of the rows and those of the lanes, as few as can be, and every access with its strides along them."""
    space, rows = schedule.space, schedule.rows
    layouts = [over for _, over in strides.values()]
    if rows == len(space):
        # Nothing is reduced within a row: the last axis that is left when all are collapsed is the one of the lanes.
        sizes, together = collapse(space, layouts)
        row_shape, lane_shape = sizes[:-1], sizes[-1:]
        parts = [(over[:-1], over[-1:]) for over in together]
    else:
        row_shape, outer = collapse(space[:rows], [over[:rows] for over in layouts])
        lane_shape, inner = collapse(space[rows:], [over[rows:] for over in layouts])
        parts = list(zip(outer, inner, strict=True))
    access = {}
    for (key, (array, _)), part in zip(strides.items(), parts, strict=True):
        node, number = key
        is_scratch = number == -1 and node in spills
        has_copies = array is not None and (is_scratch or (number >= 0 and node in schedule.partial))
        unit = array.strides[0] if array is not None and has_copies else 0
        access[key] = Access(array, *part, unit, math.prod(lane_shape) if is_scratch else 0)
    return row_shape, lane_shape, access


def _strides(
    body: Graph,
    schedule: Schedule,
    operands: Mapping[Node, Array],
    results: Mapping[Node, Sequence[Array]],
    spills: Mapping[Node, Array],
) -> _Strides:
    space, place = schedule.space, schedule.place
    strides: _Strides = {}
    direct = {operand for node in body.nodes if node.op is not ops.broadcast for operand in node.operands}
    for node, array in operands.items():
        if node in direct:
            strides[node, -1] = (array, _over_space(schedule, array.strides, place[node]))
    for node in body.nodes:
        if node.op is ops.broadcast and node.operands[0] in operands:
            array = operands[node.operands[0]].broadcast(node.shape, node.attrs["axes"])
            strides[node, -1] = (array, _over_space(schedule, array.strides, place[node]))
        elif node.op is ops.iota:
            unit = tuple(1 if axis == node.attrs["axis"] else 0 for axis in range(len(node.shape)))
            strides[node, -1] = (None, _over_space(schedule, unit, place[node]))
    for node, arrays in results.items():
        for number, array in enumerate(arrays):
            strides[node, number] = (array, _result_strides(schedule, node, array))
    for node, array in spills.items():
        strides[node, -1] = (array, (0,) * schedule.rows + contiguous_strides(space[schedule.rows :]))
    return strides


def _over_space(schedule: Schedule, strides: tuple[int, ...], place: str) -> tuple[int, ...]:
    """Strides over the space of what has them over the space, or over the rows only."""
    if place == "full":
        return strides
    strides = strides if len(strides) == schedule.rows else (0,) * schedule.rows
    return strides + (0,) * (len(schedule.space) - schedule.rows)


def _result_strides(schedule: Schedule, node: Node, array: Array) -> tuple[int, ...]:
    place = schedule.place[node]
    if place != "end":
        return _over_space(schedule, array.strides, place)
    source = node.operands[0]
    own = array.strides[1:] if node in schedule.partial else array.strides
    kept = kept_axes(len(source.shape), node.attrs["axes"])
    return _over_space(schedule, broadcast_strides(node.shape, own, source.shape, kept), schedule.place[source])
