"""How a convolution is cut into tiles: the cost model of `convolution`.

It is a sum of products along some axes, for each place along some others. An axis has a stride in x, in the filters and in each
of the arrays that have an element for each place. Lanes run along an axis of the result, or, for a single feature, along one
of the sum; a tile is some positions along other axes by some vectors of lanes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tracejit.ir import Node
from tracejit.ir.strided import Strided, collapse
from tracejit.ir.types import DType, TensorType
from tracejit.llvm.plan.tiles import cycles, parts
from tracejit.llvm.target import Machine
from tracejit.llvm.text.powers import power_above


class Axis(NamedTuple):
    """An axis of the result or of the sum, with its strides; `ends` are those in the arrays of the result's shape."""

    size: int
    x: int
    filters: int
    ends: tuple[int, ...]


def scaled(axis: Axis, step: int, ends: tuple[int, ...] | None = None) -> Axis:
    """The axis, a position of which is `step` of those before; with other strides in the `ends` where they are given."""
    within = tuple([stride * step for stride in axis.ends]) if ends is None else ends
    return Axis(axis.size, axis.x * step, axis.filters * step, within)


class Tile(NamedTuple):
    """What is summed at once: `vectors` of `lanes` along the axis `lane`, for as many positions along each axis of `rows` as
    stand there."""

    lane: Axis
    lanes: int
    vectors: int
    rows: tuple[tuple[Axis, int], ...] = ()


class Contraction(NamedTuple):
    """How a convolution of `dtype` is computed.

    A chunk of the work is the tiles of a block of columns along the lanes, as many as a tile has, at a position of each of
    `loops`. What a tile sums lies along `depth`, and along the lanes where these are `summed`. For each step along the `outer`
    axes of the sum all chunks run, and add to what is in memory: in an array of the type `sums`, or, where that is None, in
    the result. With several `parts` the first of `loops` is not the result's: each part of the sum has a result of its own.
    """

    dtype: DType
    tile: Tile
    loops: tuple[Axis, ...]
    outer: tuple[Axis, ...]
    depth: tuple[Axis, ...]
    summed: bool
    parts: int = 1
    sums: TensorType | None = None

    @property
    def width(self) -> int:
        """The columns of a block."""
        return self.tile.lane.size if self.summed else self.tile.vectors * self.tile.lanes

    @property
    def blocks(self) -> int:
        return -(-self.tile.lane.size // self.width)

    @property
    def chunks(self) -> int:
        """How many chunks threads share."""
        return self.blocks * math.prod(axis.size for axis in self.loops)

    @property
    def scratch(self) -> dict[str, TensorType]:
        """What it has in memory for itself, by name."""
        return {} if self.sums is None else {"sums": self.sums}

    @property
    def terms(self) -> int:
        """How many products are added for an element, of each part."""
        return math.prod(axis.size for axis in (*self.outer, *self.depth)) * (self.tile.lane.size if self.summed else 1)


def contraction(
    node: Node, x: Strided, filters: Strided, ends: Sequence[Strided], machine: Machine, *, divided: bool, fused: bool = False
) -> Contraction | None:
    """How the convolution `node` of arrays that lie so is computed, None where it is empty. The `ends` have its shape; the
    first is its result where it is not `fused`. Where it is `divided`, there are to be chunks to share."""
    strides, dilations = node.attrs["strides"], node.attrs["dilations"]
    kind = node.type
    assert isinstance(kind, TensorType)
    if 0 in kind.shape or 0 in filters.shape:
        return None
    xs, fs = x.strides, filters.strides
    x_layout = (xs[0], xs[1] * strides[0], xs[2] * strides[1], xs[3], 0)
    positions = _axes(kind.shape, [x_layout, (0, 0, 0, fs[2], fs[4]), *(end.strides for end in ends)])
    positions = positions or [Axis(1, 0, 0, (1,) * len(ends))]
    # The far ones outside.
    summed = sorted([(0, xs[1] * dilations[0]), (1, xs[2] * dilations[1]), (3, xs[4])], key=lambda axis: -abs(fs[axis[0]]))
    sizes, in_filters = [filters.shape[axis] for axis, _ in summed], [fs[axis] for axis, _ in summed]
    depth = _axes(sizes, [[stride for _, stride in summed], in_filters, *((0,) * len(summed) for _ in ends)])
    tile = choose_tile(positions, depth, max(machine.width // kind.dtype.size, 1), machine)
    is_row = dict(tile.rows)
    loops = [axis for axis in positions if axis not in is_row and axis is not tile.lane]
    found = Contraction(kind.dtype, tile, tuple(loops), (), (), tile.lane in depth)
    depth = [axis for axis in depth if axis is not tile.lane]
    if divided and not fused:
        found, depth = _in_parts(found, depth, kind.size, machine)
    if divided and not found.loops and tile.rows:
        found = _in_rows(found, machine)
    outer, within = split_depth(depth, filter_steps(tile, kind.dtype.size, machine))
    return found._replace(outer=tuple(outer), depth=tuple(within), sums=kind if fused and outer else None)


def _axes(shape: Sequence[int], layouts: Sequence[Sequence[int]]) -> list[Axis]:
    """As few axes as address the same elements."""
    sizes, (x, filters, *ends) = collapse(shape, layouts)
    return [Axis(*each) for each in zip(sizes, x, filters, zip(*ends, strict=True), strict=True)]


def _in_parts(found: Contraction, depth: list[Axis], size: int, machine: Machine) -> tuple[Contraction, list[Axis]]:
    """The contraction with as many parts of its sum as make enough chunks, and what is left of the depth. Each part has a
    result of `size` elements, so it is not to be short."""
    chunks, steps = found.chunks, math.prod(axis.size for axis in depth)
    if chunks >= machine.chunks or not depth:
        return found, depth
    axis, *rest = depth
    fitting = [
        count for count in range(2, machine.chunks + 1) if axis.size % count == 0 and steps // count >= machine.part_steps
    ]
    if not fitting:
        return found, depth
    count = next((count for count in fitting if chunks * count >= machine.chunks), fitting[-1])
    each = axis.size // count
    part = scaled(axis._replace(size=count), each, (size,))
    return found._replace(loops=(part, *found.loops), parts=count), [axis._replace(size=each), *rest]


def _in_rows(found: Contraction, machine: Machine) -> Contraction:
    """The contraction with the axis of rows that has the most tiles cut, so that there are chunks."""
    rows = dict(found.tile.rows)
    axis = max(rows, key=lambda axis: axis.size // rows[axis])
    tiles = axis.size // rows[axis]
    count = next(count for count in range(min(machine.chunks, tiles), 0, -1) if axis.size % count == 0)
    size = axis.size // count
    cut = tuple([((each._replace(size=size) if each is axis else each), most) for each, most in found.tile.rows])
    return found._replace(tile=found.tile._replace(rows=cut), loops=(scaled(axis._replace(size=count), size),))


def split_depth(depth: list[Axis], most: int) -> tuple[list[Axis], list[Axis]]:
    """The axes of the sum to run outside of the tiles, and those within them, of at most `most` elements where that can be."""
    outer, inner = [], list(depth)
    while math.prod(axis.size for axis in inner) > most:
        axis, *rest = inner
        others = math.prod(each.size for each in rest)
        size = next(size for size in range(max(most // others, 1), 0, -1) if axis.size % size == 0)
        if size * others * 8 < most:
            break  # a size without divisors: better as it is than in small pieces
        if size < axis.size:
            outer.append(scaled(axis._replace(size=axis.size // size), size))
        inner = [axis._replace(size=size), *rest] if size > 1 else rest
    return outer, inner


def choose_tile(positions: list[Axis], depth: list[Axis], most: int, machine: Machine) -> Tile:
    """The tile with which all tiles together take the fewest cycles, of vectors of at most so many lanes."""
    near = [axis for axis in (*positions, *depth) if axis.x in (0, 1) and axis.filters in (0, 1)]
    count, registers = math.prod(axis.size for axis in depth), machine.usable_registers
    size = machine.width // most
    fitting = []
    for lane in dict.fromkeys((*near, positions[-1])):
        lanes = min(most, power_above(lane.size))
        vectors, others = -(-lane.size // lanes), [axis for axis in positions if axis is not lane]
        free = [axis for axis in others if axis.filters == 0]
        if lane in depth:
            for rows in _row_choices(free, registers - 3):
                tile = Tile(lane, lanes, 1, tuple(rows.items()))
                fitting.append((_cost(tile, others, 1, -(-count // lane.size) * vectors, size, machine), _extent(tile), tile))
            continue
        for wide in range(1, min(vectors, registers // 2) + 1):
            for rows in _row_choices(free, (registers - 2 - wide) // wide):
                tile = Tile(lane, lanes, wide, tuple(rows.items()))
                fitting.append((_cost(tile, others, vectors, count, size, machine), _extent(tile), tile))
    # Of equals, the one that reads what lies nearest.
    return min(fitting, key=lambda found: found[:2])[2]


def _extent(tile: Tile) -> int:
    return sum((count - 1) * abs(axis.x) for axis, count in tile.rows)


def _row_choices(axes: list[Axis], most: int) -> Iterator[dict[Axis, int]]:
    """Positions along one axis, or along one the whole of which leaves room and another."""
    yield {}
    for axis in axes:
        for count in range(2, min(axis.size, most) + 1):
            yield {axis: count}
        if axis.size <= most // 2:
            for other in axes:
                if other is not axis:
                    for count in range(2, min(other.size, most // axis.size) + 1):
                        yield {other: count, axis: axis.size}


def _cost(tile: Tile, others: list[Axis], vectors: int, depth: int, size: int, machine: Machine) -> float:
    """Cycles of all tiles, over `vectors` along the lanes and the positions along `others`, of elements of `size` bytes."""
    lane, lanes = tile.lane, tile.lanes
    shapes = [(1, math.prod(axis.size for axis in others if axis not in dict(tile.rows)))]
    for axis, count in tile.rows:
        cut = list(parts(axis.size, count))
        shapes = [(height * rows, number * times) for height, number in shapes for rows, times in cut]
    gathered = machine.gathered_lane * lanes
    x_load, filter_load = (1 if stride in (0, 1) else gathered for stride in (lane.x, lane.filters))
    end = 0 if lane.ends[:1] == (1,) else gathered
    # So often a tile is begun, written and, but for the first time, read (`split_depth`).
    steps = 1 if lane.x else -(-depth // filter_steps(tile, size, machine))

    def of_tile(rows: int, wide: int) -> float:
        loads = wide * filter_load + rows * (wide if lane.x else 1) * x_load
        each = cycles(rows, wide, loads, -(-depth // steps), machine) + rows * wide * end
        return steps * each + (steps - 1) * rows * wide * machine.tile_write

    return sum(beside * above * of_tile(rows, wide) for wide, beside in parts(vectors, tile.vectors) for rows, above in shapes)


def filter_steps(tile: Tile, size: int, machine: Machine) -> int:
    """For how many steps along the sum a tile's filters, of `size` bytes an element, may be read again and again."""
    return machine.filter_panel // (tile.vectors * tile.lanes * size)
