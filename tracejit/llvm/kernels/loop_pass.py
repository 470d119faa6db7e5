"""A loop pass over the rows of a block: along all of their elements, with what is reduced, stored and kept on the way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tracejit import ops
from tracejit.ir import Node
from tracejit.ir.types import int64
from tracejit.llvm.kernels.body import Values, combine, emit_nodes, horizontal_reduce, identity, operands_first
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.nest import RowBlock, chunk_loop
from tracejit.llvm.kernels.register_block import RegisterBlock
from tracejit.llvm.kernels.summation import Add, sum_by_blocks
from tracejit.llvm.plan.layout import Key
from tracejit.llvm.plan.schedule import LoopPass, Schedule
from tracejit.llvm.plan.summation import is_long
from tracejit.llvm.text.powers import power_above
from tracejit.llvm.text.types import Lanes

# The register block of a pass of so few ops fills as many registers as are worked at in turns, of one of more ops half of them.
_FEW_OPS = 4
# A row of more register blocks is summed by blocks, of so many each.
_LONG_ROW, _BLOCK = 64, 16


class Prefetch(NamedTuple):
    """Elements that memory is asked for: of the rows that are so many `ahead`; whether they are to be `written`."""

    key: Key
    ahead: int
    written: bool


@dataclass(frozen=True)
class PassContext:
    """The pass `number` over the rows of a block, which computes `nodes` by `width` elements of a row at one time. `values` are
    those that a row shares and that it needs; `carried` its reductions whose totals all elements of a row go into."""

    rows: RowBlock
    number: int
    planned: LoopPass
    nodes: Sequence[Node]
    width: int
    values: Mapping[Node, Lanes]
    prefetches: Sequence[Prefetch]
    carried: Sequence[Node]

    @property
    def b(self) -> KernelBuilder:
        return self.rows.nest.b

    @property
    def count(self) -> int:
        """The elements along the last axis."""
        return (self.rows.nest.layout.lane_shape or (1,))[-1]

    def empty(self, nodes: Sequence[Node]) -> list[Lanes]:
        """The totals of these reductions before the first element."""
        return [self.b.const(identity(node), node.dtype, self.rows.rows * self.width) for node in nodes]

    def add(self, nodes: Sequence[Node]) -> Add:
        """How totals of these reductions are combined."""
        return lambda totals, parts: [combine(self.b, node, *pair) for node, *pair in zip(nodes, totals, parts, strict=True)]

    def additions(self) -> int:
        """How often a total is added to along the last axis."""
        blocks = -(-self.count // self.width)
        return blocks if blocks <= _LONG_ROW else blocks // self.long_block() + 1

    def long_block(self, chunks: int = 1) -> int:
        """How many register blocks of a long row, of which each chunk has its part, are summed by themselves."""
        return max(_BLOCK, math.isqrt(self.count // self.width // chunks))


def emit_pass(rows: RowBlock, values: Values, number: int) -> Values:
    """Write the pass `number`; what a row shares comes back, the `values` from before and what the pass reduced to one."""
    b, schedule, layout = rows.nest.b, rows.nest.schedule, rows.nest.layout
    planned, nodes = schedule.passes[number], points_of(schedule, number)
    if not nodes:
        return values
    # What the elements share is computed once, before the pass.
    shared = [node.operands[0] for node in nodes if node.op is ops.broadcast and (node, -1) not in layout.access]
    values = rows.values(shared, values)
    registers = b.machine.in_flight // (1 if len(nodes) <= _FEW_OPS else 2)
    lanes = max(b.width // schedule.widest, 1)  # of one register
    width = min(lanes * max(registers // rows.rows, 1), power_above((layout.lane_shape or (1,))[-1]))
    carried = [node for node in planned.reductions if not any(_lane_strides(rows, node))]
    prefetches = _prefetches(rows, number) if number == schedule.longest else []
    loop = PassContext(rows, number, planned, nodes, width, values, prefetches, carried)
    empty = loop.empty(carried)
    totals = empty if 0 in layout.lane_shape else _emit_axis(loop, [], empty)
    for node, total in zip(carried, totals, strict=True):
        value = horizontal_reduce(b, node, total, rows.rows, 1)
        if schedule.kind[node] == "row":
            values = {**values, node: value}
        else:
            rows.accumulate(node, value, rows.bases)
    return values


def _lane_strides(rows: RowBlock, node: Node) -> tuple[int, ...]:
    """The strides of a reduction's result along the lanes' axes: all 0 where the lanes are reduced."""
    return () if rows.nest.schedule.kind[node] == "row" else rows.nest.layout.access[node, 0].lanes


def _is_kept(rows: RowBlock, number: int, node: Node) -> bool:
    """Whether a pass before `number` kept the value."""
    return node in rows.nest.layout.scratch and rows.nest.schedule.number[node] < number


def points_of(schedule: Schedule, number: int) -> list[Node]:
    """The points that a pass has to have, operands first: what an earlier one kept is read, all else is computed, again where
    need be."""
    kind, planned = schedule.kind, schedule.passes[number]
    kept = {node for node in schedule.spills if schedule.number[node] < number}

    def operands(node: Node) -> Sequence[Node]:
        if node.op in (ops.broadcast, ops.parameter) or node in kept:
            return ()
        return [operand for operand in node.operands if kind[operand] == "point"]

    roots = [*(reduction.operands[0] for reduction in planned.reductions), *planned.results, *planned.spills]
    return operands_first(roots, operands)


def _prefetches(rows: RowBlock, number: int) -> list[Prefetch]:
    """What memory is asked for while the pass that computes most runs, which others wait for: the rows to be read next, and
    those that a later pass writes."""
    schedule, layout = rows.nest.schedule, rows.nest.layout
    if len(schedule.passes) == 1 or math.prod(layout.lane_shape) * schedule.widest < rows.nest.b.machine.prefetched_row:
        return []
    prefetches = []
    for key, access in layout.access.items():
        node, result = key
        if schedule.kind[node] == "point" and access.lane_step == 1 and access.row_step and access.across is None:
            if result == -1 and node.op is ops.parameter:
                prefetches.append(Prefetch(key, rows.rows, False))
            elif result >= 0 and schedule.number[node] > number:
                prefetches.append(Prefetch(key, 0, True))
    return prefetches


def _emit_axis(loop: PassContext, outer: Sequence[Lanes], totals: list[Lanes]) -> list[Lanes]:
    """Run along the axes of a row that are left behind `outer`: the totals with it."""
    shape, axis = loop.rows.nest.layout.lane_shape, len(outer)
    if axis >= len(shape) - 1:
        return _emit_last_axis(loop, outer, totals)
    within = math.prod(shape[axis + 1 : -1]) * loop.additions()
    apart = is_long(within)  # what lies within is summed by itself
    add, empty = loop.add(loop.carried), loop.empty(loop.carried)

    def step(position: Lanes, inside: list[Lanes]) -> list[Lanes]:
        part = _emit_axis(loop, [*outer, position], empty if apart else inside)
        return add(inside, part) if apart else part

    return sum_by_blocks(loop.b, shape[axis], step, totals, roundings=1 if apart else within, add=add)


# -- along the last axis


class Line(NamedTuple):
    """A run of a pass along the last axis, behind `outer`; `starts` is where it begins in each array. `reductions` are those
    whose totals it carries, in their order; others have an element of their own for each along the axis."""

    loop: PassContext
    outer: Sequence[Lanes]
    starts: Mapping[Key, str]
    reductions: Sequence[Node]

    def shared(self, width: int) -> Values:
        """The values of the pass that are the same along a row, in register blocks of `width`."""
        rows, access = self.loop.rows, self.loop.rows.nest.layout.access
        values = {}
        for node in self.loop.nodes:
            if node.op is ops.broadcast and (node, -1) not in access:
                values[node] = rows.broadcast(self.loop.values[node.operands[0]], width)
            elif (node, -1) in access and node.op is not ops.iota and not any(access[node, -1].lanes):
                values[node] = rows.broadcast(rows.load(node), width)
        return values

    def block(self, position: Lanes, ahead: int, width: int, active: int | None) -> RegisterBlock:
        rows, nest = self.loop.rows, self.loop.rows.nest
        in_tile = nest.b.sub(position, nest.tile.lane) if nest.tile is not None and nest.is_part_of_a_row else position
        access = nest.layout.access
        return RegisterBlock(nest.b, nest.arrays, access, self.starts, rows.rows, position, ahead, width, active, in_tile)

    def emit_block(self, block: RegisterBlock, shared: Values, totals: list[Lanes]) -> list[Lanes]:
        """Compute a register block: the totals with it."""
        loop, rows = self.loop, self.loop.rows
        layout = rows.nest.layout

        def read(node: Node) -> Lanes | None:
            if node.op is ops.iota:
                return block.positions(node, rows.index, self.outer)
            is_read = node.op in (ops.parameter, ops.broadcast) or _is_kept(rows, loop.number, node)
            return block.load((node, -1)) if is_read and (node, -1) in layout.access else None

        values = emit_nodes(loop.b, loop.nodes, shared, read, block.lanes)
        for prefetch in loop.prefetches:
            block.prefetch(*prefetch)
        for node in loop.planned.spills:
            block.store(values[node], (node, -1))
        totals = list(totals)
        for node in loop.planned.reductions:
            value = values[node.operands[0]]
            if node in self.reductions:
                number = self.reductions.index(node)
                totals[number] = combine(loop.b, node, totals[number], block.mask_with_identity(node, value, loop.width))
            else:
                for number in range(len(layout.results[node])):
                    block.accumulate(node, value, (node, number))
        for node in loop.planned.results:
            for number in range(len(layout.results[node])):
                block.store(values[node], (node, number))
        return totals


def _emit_last_axis(loop: PassContext, outer: Sequence[Lanes], carried: list[Lanes]) -> list[Lanes]:
    """Run along the last axis: whole register blocks, then what is left as one that is masked. `carried` are the totals that
    the pass carries; a reduction over the last axis alone of several is complete here.

    The totals of a long row are collected block by block. So each of the numbers in n register blocks goes through at most
    max(_LONG_ROW, 4 sqrt(n)) + log2(width) additions."""
    b, rows, layout = loop.b, loop.rows, loop.rows.nest.layout
    apart = [node for node in loop.planned.reductions if node not in loop.carried]
    along = [node for node in apart if not _lane_strides(rows, node)[-1]]
    totals = carried + loop.empty(along)
    line = Line(loop, outer, _starts(rows, outer), [*loop.carried, *along])
    count, width = loop.count, loop.width
    whole = count - count % width
    rest = count - whole
    shared = line.shared(width) if whole else {}

    def one(position: Lanes, totals: list[Lanes]) -> list[Lanes]:
        return line.emit_block(line.block(position, 0, width, None), shared, totals)

    def last(totals: list[Lanes]) -> list[Lanes]:
        last_width = max(power_above(rest), 2)  # a vector, whose lanes can be shuffled
        position, ahead = (whole, 0) if rows.nest.is_part_of_a_row else (0, whole)
        block = line.block(b.const(position, int64), ahead, last_width, None if rest == last_width else rest)
        return line.emit_block(block, line.shared(last_width), totals)

    if rows.nest.is_part_of_a_row:
        assert layout.tile is not None and rows.nest.tile is not None
        first = rows.nest.tile.first
        end = b.add(first, b.const(layout.tile[1], int64))
        b.loop_between(first, b.min(end, b.const(whole, int64)), one, step=width)

        def write_last() -> None:
            last([])

        if rest:
            b.when(b.compare("ge", end, b.const(count, int64)), write_last)
        return totals
    chunk = None if layout.row_shape else rows.nest.chunk
    size = loop.long_block(1 if chunk is None else chunk.of) * width
    if not line.reductions or count <= _LONG_ROW * width:
        totals = chunk_loop(b, chunk, count, width, one, last, totals)
    else:
        empty, blocks, add = loop.empty(line.reductions), whole - whole % size, loop.add(line.reductions)

        def one_block(position: Lanes, totals: list[Lanes]) -> list[Lanes]:
            part = b.loop(size, lambda inside, own: one(b.add(position, inside), own), empty, step=width)
            return add(totals, part)

        def others(totals: list[Lanes]) -> list[Lanes]:
            start = b.const(blocks, int64)
            part = b.loop(whole - blocks, lambda inside, own: one(b.add(start, inside), own), empty, step=width)
            return add(totals, last(part) if rest else part)

        totals = chunk_loop(b, chunk, count, size, one_block, others, totals)
    for node, total in zip(along, totals[len(loop.carried) :], strict=True):
        rows.accumulate(node, horizontal_reduce(b, node, total, rows.rows, 1), line.starts)
    return totals[: len(loop.carried)]


def _starts(rows: RowBlock, outer: Sequence[Lanes]) -> dict[Key, str]:
    """Where each array's part behind `outer` begins."""
    b, starts = rows.nest.b, dict(rows.bases)
    for key, pointer in rows.bases.items():
        access = rows.nest.layout.access[key]
        for position, stride in zip(outer, access.lanes[:-1], strict=False):
            pointer = b.address(pointer, access.dtype, index=position, stride=stride)
        starts[key] = pointer
    return starts
