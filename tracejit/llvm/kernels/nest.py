"""The loops around a fusion's loop passes, as values: a nest for one of its chunks, in it the rows of a block.

Each context is made with all that it says and is never changed: what an inner loop knows came down to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tracejit import ops
from tracejit.ir import Node
from tracejit.ir.types import int64
from tracejit.llvm.kernels.body import Values, combine, emit_nodes, horizontal_reduce, operands_first
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.register_block import positions
from tracejit.llvm.plan.layout import Access, Key, Layout
from tracejit.llvm.plan.schedule import Schedule
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.builder import Body, shuffled
from tracejit.llvm.text.types import Lanes


class Chunk(NamedTuple):
    """Number `number` of so many parts of the work, which threads may share."""

    number: Lanes
    of: int


class Tile(NamedTuple):
    """A tile of the rows, whose elements are computed from `first` along the last axis on. What lies across the rows has been
    transposed from the index `row` along their last axis, and from `lane` along theirs."""

    row: Lanes
    lane: Lanes
    first: Lanes


class Nest(NamedTuple):
    """A fusion over `arrays`, the kernel's arguments, of which one chunk is written; all of it where that is None. Its rows are
    those of the `tile`, where there is one."""

    b: KernelBuilder
    schedule: Schedule
    layout: Layout
    arrays: Sequence[Array]
    chunk: Chunk | None
    tile: Tile | None = None

    @property
    def is_part_of_a_row(self) -> bool:
        """Whether a tile has only some of the elements along the last axis."""
        return self.layout.tile is not None and self.layout.tile[1] < self.layout.lane_shape[-1]

    def array(self, access: Access) -> Array:
        """Where a value lies that is no position."""
        assert access.argument is not None
        return self.arrays[access.argument]

    def start(self, access: Access) -> str:
        """Where the part of the chunk begins."""
        array = self.array(access)
        pointer = self.b.address(array.pointer, array.dtype, array.offset)
        return pointer if self.chunk is None else self.b.address(pointer, array.dtype, 0, self.chunk.number, access.unit)


def chunk_loop(
    b: KernelBuilder,
    chunk: Chunk | None,
    count: int,
    step: int,
    body: Body,
    rest: Callable[[list[Lanes]], list[Lanes]],
    carried: list[Lanes],
) -> list[Lanes]:
    """Of `count` in steps, those of the chunk: `body(position, carried)` for each whole step, `rest(carried)` for what is left
    over, which comes with the last chunk."""
    steps, left = divmod(count, step)
    if chunk is None:
        carried = b.loop(steps * step, body, carried, step=step)
        return rest(carried) if left else carried
    if steps:
        each, size = b.const(-(-steps // chunk.of), int64), b.const(step, int64)
        first = b.mul(chunk.number, each)
        last = b.min(b.add(first, each), b.const(steps, int64))
        carried = b.loop_between(first, last, lambda index, inside: body(b.mul(index, size), inside), carried)
    if not left:
        return carried
    one = b.const(1, int64)
    once = b.select(b.compare("lt", chunk.number, b.const(chunk.of - 1, int64)), one, b.const(0, int64))
    return b.loop_between(once, one, lambda _, inside: rest(inside), carried)


@dataclass(frozen=True)
class RowBlock:
    """`rows` rows that are computed at one time, the first at `index`; `bases` is where that begins in each array."""

    nest: Nest
    index: tuple[Lanes, ...]
    rows: int
    bases: Mapping[Key, str]

    @classmethod
    def at(cls, nest: Nest, index: Sequence[Lanes], rows: int) -> RowBlock:
        """Write where the rows begin."""
        b, bases = nest.b, {}
        for key, access in nest.layout.access.items():
            if access.argument is None:
                continue
            positions = index
            if access.across is not None:
                assert nest.tile is not None
                positions = [*index[:-1], b.sub(index[-1], nest.tile.row)]
            pointer = nest.start(access)
            for position, stride in zip(positions, access.rows, strict=True):
                pointer = b.address(pointer, access.dtype, index=position, stride=stride)
            bases[key] = b.freeze(pointer)
        return cls(nest, tuple(index), rows, bases)

    def load(self, node: Node) -> Lanes:
        """A lane a row, or one where all rows have the same."""
        step = self.nest.layout.access[node, -1].row_step
        return self.nest.b.load_at(self.bases[node, -1], node.dtype, self.rows if step else 1, step)

    def values(self, roots: Iterable[Node], known: Values) -> Values:
        """The `known` values that all elements of a row share, and those of `roots` and of what these are computed from: a lane
        a row, or one where it is known that all rows share it."""
        access = self.nest.layout.access

        def read(node: Node) -> Lanes | None:
            if (node, -1) not in access:
                return None
            if node.op is not ops.iota:
                return self.load(node)
            here = access[node, -1]
            axes = list(zip(self.index, here.rows, strict=True))
            return positions(self.nest.b, node, axes, (self.rows, here.row_step), (1, 0))

        def operands(node: Node) -> Sequence[Node]:
            return () if node in known or (node, -1) in access else node.operands[::-1]

        return emit_nodes(self.nest.b, operands_first(roots, operands), known, read)

    def broadcast(self, value: Lanes, width: int) -> Lanes:
        """A row value in all `width` lanes of its row."""
        lanes = [row for row in range(self.rows) for _ in range(width)]
        return self.nest.b.widen(value, len(lanes)) if value.lanes == 1 else shuffled(self.nest.b, value, lanes)

    def accumulate(self, node: Node, value: Lanes, pointers: Mapping[Key, str]) -> None:
        """Combine one number a row into the elements of an accumulator that lie at `pointers`."""
        b, layout = self.nest.b, self.nest.layout
        for number in range(len(layout.results[node])):
            pointer, step = pointers[node, number], layout.access[node, number].row_step
            part = value if step else horizontal_reduce(b, node, value, 1, 1)
            before = b.load_at(pointer, node.dtype, part.lanes, step)
            b.store_at(combine(b, node, before, part), pointer, step)
