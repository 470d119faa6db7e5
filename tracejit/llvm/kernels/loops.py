"""Writes a fusion as one loop nest: over the rows, some of them at one time, and within a row one loop pass after the other."""

from __future__ import annotations

from collections.abc import Sequence

from tracejit.ir.types import int64
from tracejit.llvm.kernels.accumulators import begin, begin_collections, end_collections
from tracejit.llvm.kernels.across import emit_tile
from tracejit.llvm.kernels.body import Values
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.loop_pass import emit_pass
from tracejit.llvm.kernels.nest import Chunk, Nest, RowBlock, chunk_loop
from tracejit.llvm.plan.layout import Layout
from tracejit.llvm.plan.schedule import Schedule
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.builder import Body
from tracejit.llvm.text.types import Lanes


def emit_fusion(b: KernelBuilder, schedule: Schedule, layout: Layout, arrays: Sequence[Array]) -> None:
    """Write the loops of a fusion over `arrays`, whose values are computed as `schedule` and lie as `layout` says."""
    count = schedule.chunks
    if count == 1:
        _emit_chunk(Nest(b, schedule, layout, arrays, None))
    else:

        def one(number: Lanes, none: list[Lanes]) -> list[Lanes]:
            _emit_chunk(Nest(b, schedule, layout, arrays, Chunk(number, count)))
            return none

        b.loop_between(*b.parallel_range(count), one)
    if any(arrays[argument].nontemporal for arguments in layout.results.values() for argument in arguments):
        b.line("fence seq_cst")


def _emit_chunk(nest: Nest) -> None:
    layout = nest.layout
    for node in nest.schedule.accumulators:
        for argument in layout.ends[node]:
            begin(nest, node, nest.arrays[argument])
    if 0 in layout.row_shape:
        return
    if not layout.row_shape:
        _emit_rows(nest, [], 1)
    elif layout.tile is not None and len(layout.row_shape) == 1:
        _emit_tiles(nest, [], nest.chunk)
    else:
        _emit_axis(nest, [], nest.chunk)


def _emit_axis(nest: Nest, outer: Sequence[Lanes], chunk: Chunk | None) -> None:
    """Run along the axes of the rows that are left behind the index `outer`; along the first of them, the part of a chunk."""
    b, layout, axis = nest.b, nest.layout, len(outer)
    count, (step, size) = layout.row_shape[axis], layout.steps(axis)
    is_last = axis == len(layout.row_shape) - 1
    collections = {node: collection for node, collection in layout.collections.items() if collection.axis == axis}
    whole, rest = count - count % step, count - count % size

    def one_step(position: Lanes, none: list[Lanes]) -> list[Lanes]:
        if is_last:
            _emit_rows(nest, [*outer, position], step)
        elif layout.tile is not None and axis == len(layout.row_shape) - 2:
            _emit_tiles(nest, [*outer, position], None)
        else:
            _emit_axis(nest, [*outer, position], None)
        return none

    def single(position: Lanes, none: list[Lanes]) -> list[Lanes]:
        _emit_rows(nest, [*outer, b.add(position, b.const(whole, int64))], 1)
        return none

    def block(start: Lanes, steps: int, singles: int = 0) -> None:
        begin_collections(nest, collections)
        b.loop(steps, lambda inside, none: one_step(b.add(start, inside), none), step=step)
        b.loop(singles, single)
        end_collections(nest, collections, outer)

    def one_block(position: Lanes, none: list[Lanes]) -> list[Lanes]:
        block(position, size)
        return none

    def last_block(none: list[Lanes]) -> list[Lanes]:
        block(b.const(rest, int64), whole - rest, count - whole)
        return none

    if collections:
        chunk_loop(b, chunk, count, size, one_block, last_block, [])
    else:
        chunk_loop(b, chunk, count, step, one_step, lambda none: b.loop(count - whole, single), [])


def _emit_tiles(nest: Nest, outer: Sequence[Lanes], chunk: Chunk | None) -> None:
    """Run along the last axis of the rows, those of a chunk, and along their last axis by tiles, of what lies across transposed
    before the tile's rows are computed."""
    b, layout = nest.b, nest.layout
    assert layout.tile is not None
    (high, wide), count, step = layout.tile, layout.row_shape[-1], layout.rows
    whole = b.const(count - count % step, int64)

    def tiles(number: Lanes, none: list[Lanes]) -> list[Lanes]:
        first = b.mul(number, b.const(high, int64))
        last = b.min(b.add(first, b.const(high, int64)), b.const(count, int64))

        def tile(lane: Lanes, none: list[Lanes]) -> list[Lanes]:
            inside = nest._replace(tile=emit_tile(nest, outer, first, lane))

            def rows(at_once: int) -> Body:
                def body(row: Lanes, none: list[Lanes]) -> list[Lanes]:
                    _emit_rows(inside, [*outer, row], at_once)
                    return none

                return body

            b.loop_between(first, b.min(last, whole), rows(step), step=step)
            if count % step:
                b.loop_between(b.max(first, whole), last, rows(1))
            return none

        return b.loop(layout.lane_shape[-1], tile, step=wide)

    chunk_loop(b, chunk, -(-count // high), 1, tiles, lambda none: none, [])


def _emit_rows(nest: Nest, index: Sequence[Lanes], rows: int) -> None:
    """Compute `rows` rows at one time, the first at `index`."""
    b, schedule, layout = nest.b, nest.schedule, nest.layout
    block = RowBlock.at(nest, index, rows)
    values: Values = {}
    for number in range(len(schedule.passes)):
        values = emit_pass(block, values, number)
    ends = [node for node in schedule.accumulators if schedule.kind[node.operands[0]] == "row"]
    # All are computed before the first is stored: it may be stored over what another is computed from.
    values = block.values([*schedule.row_results, *(end.operands[0] for end in ends)], values)
    for node in schedule.row_results:
        value = b.widen(values[node], rows)
        for number in range(len(layout.results[node])):
            b.store_at(value, block.bases[node, number], layout.access[node, number].row_step)
    for node in ends:
        block.accumulate(node, b.widen(values[node.operands[0]], rows), block.bases)
