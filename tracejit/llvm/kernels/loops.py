"""Writes a fusion as one loop nest: over the rows, and within a row one sweep a stage along the last axis.

What is computed at one time is a piece: `width` elements along the last axis, of each of `rows` rows, as the lanes of one
value, the first row's first. It fills several registers, so that the instructions that wait for each other have others
between them; LLVM takes it apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tracejit import ops
from tracejit.ir import Node
from tracejit.ir.types import int64
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.layout import Key, Layout
from tracejit.llvm.kernels.movement import emit_fill
from tracejit.llvm.kernels.pieces import Piece, begin_blocks, combine, compute, end_blocks, folded, identity
from tracejit.llvm.kernels.summation import Add, is_long, sum_by_blocks
from tracejit.llvm.plan.schedule import Schedule, Stage
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.builder import shuffled
from tracejit.llvm.text.types import SCALAR_TYPES, Lanes, power_above

# A piece of a sweep of so few ops fills as many registers as are worked at in turns, one of more ops half of them.
_FEW_OPS = 4
# A row of more pieces is summed by blocks, of so many pieces each.
_LONG_ROW, _BLOCK = 64, 16


class Fusion:
    def __init__(self, b: KernelBuilder, plan: Schedule, layout: Layout):
        self.b, self.plan = b, plan
        self.access, self.outputs, self.scratch = layout.access, layout.results, layout.scratch
        self.ends, self.blocks = layout.ends, layout.blocks
        self.row_shape, self.lane_shape = layout.row_shape, layout.lane_shape
        self.count = self.lane_shape[-1] if self.lane_shape else 1
        self.lanes = max(b.width // plan.widest, 1)  # of one register
        self.row_elements = math.prod(self.lane_shape)
        self.most_rows = layout.rows
        self.rows = 1  # that are computed at one time

    # -- the nest

    def write(self) -> None:
        b, units = self.b, self.plan.units
        if units == 1:
            self._unit(None)
        else:

            def one(unit: Lanes, none: list[Lanes]) -> list[Lanes]:
                self._unit(unit)
                return none

            b.loop_between(*b.span(units), one)
        if any(array.streamed for arrays in self.outputs.values() for array in arrays):
            b.line("fence seq_cst")

    def _unit(self, unit: Lanes | None) -> None:
        """Compute one of the units that threads may share; all where it is None."""
        self.unit = unit
        for node in self.plan.end_results:
            for array in self.ends[node]:
                self._fill(node, array)
        if 0 in self.row_shape:
            return
        if not self.row_shape:
            self._block([], 1)
        else:
            self._rows([], unit)

    def _steps(self, axis: int) -> tuple[int, int]:
        """How many indices along an axis of the rows are one step, and how many are a block of steps."""
        step = self.most_rows if axis == len(self.row_shape) - 1 else 1
        return step, step * max((block.steps for block in self.blocks.values() if block.axis == axis), default=1)

    def _rows(self, outer: list[Lanes], unit: Lanes | None) -> None:
        """Run along the axes of the rows that are left behind the index `outer`."""
        b, axis = self.b, len(outer)
        count, (step, size) = self.row_shape[axis], self._steps(axis)
        is_last = axis == len(self.row_shape) - 1
        collected = {node: block for node, block in self.blocks.items() if block.axis == axis}
        whole, rest = count - count % step, count - count % size

        def one_step(position: Lanes, none: list[Lanes]) -> list[Lanes]:
            if is_last:
                self._block([*outer, position], step)
            else:
                self._rows([*outer, position], None)
            return none

        def single(position: Lanes, none: list[Lanes]) -> list[Lanes]:
            self._block([*outer, b.add(position, b.const(whole, int64))], 1)
            return none

        def block(start: Lanes, steps: int, singles: int = 0) -> None:
            begin_blocks(b, collected, self.unit)
            b.loop(steps, lambda inside, none: one_step(b.add(start, inside), none), step=step)
            b.loop(singles, single)
            end_blocks(b, collected, self.unit, outer)

        def one_block(position: Lanes, none: list[Lanes]) -> list[Lanes]:
            block(position, size)
            return none

        def last_block(none: list[Lanes]) -> list[Lanes]:
            block(b.const(rest, int64), whole - rest, count - whole)
            return none

        if collected:
            self._stepped(unit, count, size, one_block, last_block, [])
        else:
            self._stepped(unit, count, step, one_step, lambda none: b.loop(count - whole, single), [])

    def _stepped(
        self,
        unit: Lanes | None,
        count: int,
        step: int,
        body: Callable[[Lanes, list[Lanes]], list[Lanes]],
        rest: Callable[[list[Lanes]], list[Lanes]],
        carried: list[Lanes],
    ) -> list[Lanes]:
        """Of `count` in steps, those of the unit: `body(position, carried)` for each whole step, `rest(carried)` for what is
        left over, which comes with the last unit."""
        b, units = self.b, self.plan.units
        steps, left = divmod(count, step)
        if unit is None:
            carried = b.loop(steps * step, body, carried, step=step)
            return rest(carried) if left else carried
        if steps:
            each, size = b.const(-(-steps // units), int64), b.const(step, int64)
            first = b.mul(unit, each)
            last = b.min(b.add(first, each), b.const(steps, int64))
            carried = b.loop_between(first, last, lambda index, inside: body(b.mul(index, size), inside), carried)
        if not left:
            return carried
        one = b.const(1, int64)
        once = b.select(b.compare("lt", unit, b.const(units - 1, int64)), one, b.const(0, int64))
        return b.loop_between(once, one, lambda _, inside: rest(inside), carried)

    def _fill(self, node: Node, array: Array) -> None:
        """Begin to collect an end result: the unit's own copy, or its part of the one that there is."""
        b, empty = self.b, identity(node)
        if self.unit is None:
            emit_fill(b, array, empty)
            return
        pointer = b.address(array.pointer, array.dtype, array.offset)
        if node in self.plan.partial:
            pointer = b.address(pointer, array.dtype, index=self.unit, stride=array.strides[0])
            emit_fill(b, Array(array.shape[1:], array.strides[1:], 0, array.dtype, pointer), empty)
            return
        count = self.row_shape[0]
        size = math.prod(array.shape) // count

        def fill(position: Lanes, elements: int) -> list[Lanes]:
            start = b.address(pointer, array.dtype, index=position, stride=size)
            emit_fill(b, Array((elements,), (1,), 0, array.dtype, start), empty)
            return []

        _, step = self._steps(0)
        left = count % step
        self._stepped(
            self.unit,
            count,
            step,
            lambda position, _: fill(position, step * size),
            lambda _: fill(b.const(count - left, int64), left * size),
            [],
        )

    def _block(self, index: list[Lanes], rows: int) -> None:
        """Compute `rows` rows at one time, the first at `index`."""
        b, plan = self.b, self.plan
        self.index, self.rows = index, rows
        self.row_values: dict[Node, Lanes] = {}
        self.bases: dict[Key, str] = {}
        for key, access in self.access.items():
            if access.array is None:
                continue
            pointer = b.address(access.array.pointer, access.dtype, access.array.offset)
            if self.unit is not None:
                pointer = b.address(pointer, access.dtype, index=self.unit, stride=access.unit)
            for position, stride in zip(index, access.rows, strict=True):
                pointer = b.address(pointer, access.dtype, index=position, stride=stride)
            self.bases[key] = pointer
        for number, stage in enumerate(plan.stages):
            self._sweep(number, stage)
        ends = [node for node in plan.end_results if plan.place[node.operands[0]] == "row"]
        # All are computed before the first is stored: it may be stored over what another is computed from.
        for node in (*plan.row_results, *(end.operands[0] for end in ends)):
            self._row_value(node)
        for node in plan.row_results:
            value = b.widen(self._row_value(node), self.rows)
            for number in range(len(self.outputs[node])):
                b.store_at(value, self.bases[node, number], self.row_stride((node, number)))
        for node in ends:
            self._collect(node, b.widen(self._row_value(node.operands[0]), self.rows), self.bases)

    def row_stride(self, key: Key) -> int:
        """From a row to the next of those that are computed at one time. Each of them has a scratch row."""
        node, number = key
        if number == -1 and node in self.scratch:
            return self.row_elements
        rows = self.access[key].rows
        return rows[-1] if rows else 0

    def lane_stride(self, key: Key) -> int:
        lanes = self.access[key].lanes
        return lanes[-1] if lanes else 0

    def _collect(self, node: Node, value: Lanes, places: dict[Key, str]) -> None:
        """Combine one number a row into the elements of an end result that lie at `places`."""
        b = self.b
        for number in range(len(self.outputs[node])):
            pointer, stride = places[node, number], self.row_stride((node, number))
            part = value if stride else folded(b, node, value, 1, 1)
            before = b.load_at(pointer, node.dtype, part.lanes, stride)
            b.store_at(combine(b, node, before, part), pointer, stride)

    def _row_value(self, node: Node) -> Lanes:
        """A value that all elements of a row share: a lane a row, or one where it is known that all rows share it."""
        if node not in self.row_values:
            b = self.b
            if (node, -1) in self.access and node.op is not ops.iota:
                key = (node, -1)
                lanes = self.rows if self.row_stride(key) else 1
                value = b.load_at(self.bases[key], node.dtype, lanes, self.row_stride(key))
            elif node.op is ops.constant_op:
                value = b.const(node.attrs["value"].item(), node.dtype)
            elif node.op is ops.broadcast:
                value = self._row_value(node.operands[0])
            elif node.op is ops.iota:
                value = self.positions(node, self.access[node, -1].rows, (), 1)
            else:
                value = compute(b, node, [self._row_value(operand) for operand in node.operands])
            self.row_values[node] = value
        return self.row_values[node]

    def _spread(self, value: Lanes, width: int) -> Lanes:
        """A row value in all lanes of its row."""
        lanes = [row for row in range(self.rows) for _ in range(width)]
        return self.b.widen(value, len(lanes)) if value.lanes == 1 else shuffled(self.b, value, lanes)

    # -- one sweep over a row

    def _sweep(self, number: int, stage: Stage) -> None:
        b = self.b
        roots = [reduction.operands[0] for reduction in stage.reductions] + stage.results + stage.spills
        if not roots:
            return
        self.number, self.stage = number, stage
        self.used = self._used(roots)
        for node in self.used:  # What the elements share is computed once, before the sweep.
            if node.op is ops.broadcast and (node, -1) not in self.access:
                self._row_value(node.operands[0])
        registers = b.machine.in_flight // (1 if len(self.used) <= _FEW_OPS else 2)
        self.width = min(self.lanes * max(registers // self.rows, 1), power_above(self.count))
        self.fetched = self._fetched() if number == self.plan.longest else []
        in_lanes = [node for node in stage.reductions if not any(self._lane_strides(node))]

        def nest(axis: int, outer: list[Lanes], carried: list[Lanes]) -> list[Lanes]:
            if axis >= len(self.lane_shape) - 1:
                self.outer = outer
                return self._along(in_lanes, carried)
            within = math.prod(self.lane_shape[axis + 1 : -1]) * self._added_along()
            apart = is_long(within)  # what lies within is summed by itself

            def step(position: Lanes, inside: list[Lanes]) -> list[Lanes]:
                found = nest(axis + 1, [*outer, position], empty if apart else inside)
                return add(inside, found) if apart else found

            roundings = 1 if apart else within
            return sum_by_blocks(b, self.lane_shape[axis], step, carried, roundings=roundings, add=add)

        add, empty = self._adds(in_lanes), [self._empty(node) for node in in_lanes]
        collected = empty if 0 in self.lane_shape else nest(0, [], empty)
        for node, total in zip(in_lanes, collected, strict=True):
            value = folded(b, node, total, self.rows, 1)
            if self.plan.place[node] == "row":
                self.row_values[node] = value
            else:
                self._collect(node, value, self.bases)

    def _adds(self, nodes: list[Node]) -> Add:
        """How totals of these reductions are combined."""
        return lambda totals, found: [combine(self.b, node, *pair) for node, *pair in zip(nodes, totals, found, strict=True)]

    def _added_along(self) -> int:
        """How often a total is added to along the last axis."""
        pieces = -(-self.count // self.width)
        return pieces if pieces <= _LONG_ROW else pieces // self._block_pieces() + 1

    def _block_pieces(self, units: int = 1) -> int:
        """How many pieces of a long row, of which each unit has its part, are a block."""
        return max(_BLOCK, math.isqrt(self.count // self.width // units))

    def _empty(self, node: Node) -> Lanes:
        return self.b.const(identity(node), node.dtype, self.rows * self.width)

    def _lane_strides(self, node: Node) -> tuple[int, ...]:
        """The strides of a reduction's result along the lanes' axes: all 0 where the lanes are reduced."""
        if self.plan.place[node] == "row":
            return ()
        return self.access[node, 0].lanes

    def _used(self, roots: list[Node]) -> list[Node]:
        """The full values that the sweep has to have, operands first; what an earlier one kept is not computed again."""
        found: dict[Node, None] = {}

        def visit(node: Node) -> None:
            stack = [(node, False)]
            while stack:
                each, done = stack.pop()
                if each in found or self.plan.place[each] != "full":
                    continue
                if done or each.op in (ops.broadcast, ops.parameter) or self._kept(each):
                    found[each] = None
                else:
                    stack.append((each, True))
                    stack.extend((operand, False) for operand in each.operands)

        for root in roots:
            visit(root)
        return list(found)

    def _fetched(self) -> list[tuple[Key, int, bool]]:
        """What memory is asked for while the sweep that computes most runs, which others wait for: the rows to be read next,
        and those that a later sweep writes. Each with the number of rows from the present ones, and whether it is written."""
        found = []
        if len(self.plan.stages) > 1 and self.row_elements * self.plan.widest >= self.b.machine.prefetched_row:
            for key in self.access:
                node, number = key
                if self.plan.place[node] == "full" and self.lane_stride(key) == 1 and self.row_stride(key):
                    if number == -1 and node.op is ops.parameter:
                        found.append((key, self.rows, False))
                    elif number >= 0 and self.plan.stage[node] > self.number:
                        found.append((key, 0, True))
        return found

    def _kept(self, node: Node) -> bool:
        return node in self.scratch and self.plan.stage[node] < self.number

    def _along(self, in_lanes: list[Node], carried: list[Lanes]) -> list[Lanes]:
        """Run along the last axis: whole pieces, then what is left as one that is masked. `carried` are the totals
        of the reductions `in_lanes`; a reduction over the last axis alone of several is complete here.

        The totals of a long row are collected block by block. So each of the numbers in n pieces goes through at most
        max(_LONG_ROW, 4 sqrt(n)) + log2(width) additions."""
        b = self.b
        apart = [node for node in self.stage.reductions if node not in in_lanes]
        along = [node for node in apart if not self._lane_strides(node)[-1]]
        summed = in_lanes + along
        carried = carried + [self._empty(node) for node in along]
        self.starts: dict[Key, str] = {}
        for key, access in self.access.items():
            if key in self.bases:
                pointer = self.bases[key]
                for position, stride in zip(self.outer, access.lanes[:-1], strict=False):
                    pointer = b.address(pointer, access.dtype, index=position, stride=stride)
                self.starts[key] = pointer
        whole = self.count - self.count % self.width
        rest = self.count - whole
        shared = self._shared(self.width) if whole else {}

        def piece(position: Lanes, totals: list[Lanes]) -> list[Lanes]:
            return self._piece(Piece(self, position, 0, self.width, None), shared, summed, totals)

        def last(totals: list[Lanes]) -> list[Lanes]:
            width = max(power_above(rest), 2)  # a vector, whose lanes can be shuffled
            piece = Piece(self, b.const(0, int64), whole, width, rest)
            return self._piece(piece, self._shared(width), summed, totals)

        unit = None if self.row_shape else self.unit
        block = self._block_pieces(1 if unit is None else self.plan.units) * self.width
        if not summed or self.count <= _LONG_ROW * self.width:
            carried = self._stepped(unit, self.count, self.width, piece, last, carried)
        else:
            empty, blocks = [self._empty(node) for node in summed], whole - whole % block
            add = self._adds(summed)

            def one_block(position: Lanes, totals: list[Lanes]) -> list[Lanes]:
                found = b.loop(block, lambda inside, own: piece(b.add(position, inside), own), empty, step=self.width)
                return add(totals, found)

            def others(totals: list[Lanes]) -> list[Lanes]:
                start = b.const(blocks, int64)
                found = b.loop(whole - blocks, lambda inside, own: piece(b.add(start, inside), own), empty, step=self.width)
                return add(totals, last(found) if rest else found)

            carried = self._stepped(unit, self.count, block, one_block, others, carried)
        for node, total in zip(along, carried[len(in_lanes) :], strict=True):
            self._collect(node, folded(b, node, total, self.rows, 1), self.starts)
        return carried[: len(in_lanes)]

    def _shared(self, width: int) -> dict[Node, Lanes]:
        """The values of a sweep that are the same along a row, as pieces."""
        b, found = self.b, {}
        for node in self.used:
            key = (node, -1)
            if node.op is ops.broadcast and key not in self.access:
                found[node] = self._spread(self._row_value(node.operands[0]), width)
            elif key in self.access and node.op is not ops.iota and not any(self.access[key].lanes):
                stride = self.row_stride(key)
                value = b.load_at(self.bases[key], node.dtype, self.rows if stride else 1, stride)
                found[node] = self._spread(value, width)
        return found

    def _piece(self, piece: Piece, shared: dict[Node, Lanes], summed: list[Node], totals: list[Lanes]) -> list[Lanes]:
        """Compute a piece of a sweep: the totals of the reductions `summed` with it."""
        b, stage = self.b, self.stage
        totals = list(totals)
        values = dict(shared)
        for node in self.used:
            if node in values:
                continue
            if node.op is ops.iota:
                values[node] = piece.positions(node)
            elif (node, -1) in self.access and (node.op in (ops.parameter, ops.broadcast) or self._kept(node)):
                values[node] = piece.load((node, -1))
            else:
                operands = [values[each] if each in values else self._row_value(each) for each in node.operands]
                values[node] = b.widen(compute(b, node, operands), self.rows * piece.width)
        for fetched in self.fetched:
            piece.fetch(*fetched)
        for node in stage.spills:
            piece.store(values[node], (node, -1))
        for node in stage.reductions:
            value = values[node.operands[0]]
            if node in summed:
                place = summed.index(node)
                totals[place] = combine(b, node, totals[place], piece.filled(value, identity(node)))
            else:
                for each in range(len(self.outputs[node])):
                    piece.collect(node, value, (node, each))
        for node in stage.results:
            for each in range(len(self.outputs[node])):
                piece.store(values[node], (node, each))
        return totals

    def positions(self, node: Node, rows: Sequence[int], along: Sequence[tuple[Lanes, int]], width: int) -> Lanes:
        """An iota's lanes: the row's index times the strides `rows`, each of `along` times its stride, and the step from a
        lane to the next, which is the stride of the last of `along`."""
        b = self.b
        dtype = node.dtype if node.dtype.is_integer else int64
        total = b.const(0, int64)
        for position, stride in (*zip(self.index, rows, strict=True), *along):
            if stride and position.ref != "0":
                part = position if stride == 1 else b.mul(position, b.const(stride, int64))
                total = part if total.ref == "0" else b.add(total, part)
        row_step, lane_step = rows[-1] if rows else 0, along[-1][1] if along else 0
        steps = [row * row_step + lane * lane_step for row in range(self.rows) for lane in range(width)]
        first = b.widen(b.cast(total, dtype), len(steps))
        if any(steps):
            scalar = SCALAR_TYPES[dtype]
            first = b.emit(dtype, len(steps), f"add {first}, <{', '.join(f'{scalar} {step}' for step in steps)}>")
        return b.cast(first, node.dtype)


def emit_fusion(b: KernelBuilder, plan: Schedule, layout: Layout) -> None:
    """Write the loops of a fusion whose values are computed as `plan` and lie as `layout` says."""
    Fusion(b, plan, layout).write()
