"""Writes a fusion as one loop nest: over the rows, and within a row one sweep a stage by vectors along the last axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tracejit import ops
from tracejit.ir import Node
from tracejit.ir.op import Reduction
from tracejit.ir.types import DType, bool_, int64
from tracejit.llvm.builder import SCALAR_TYPES, Lanes, held_bytes, vector_type
from tracejit.llvm.kernel import KernelBuilder, mask_text, power_above
from tracejit.llvm.layout import Key, Layout
from tracejit.llvm.schedule import Schedule, Stage

# Sweeps whose bodies hold at most this many ops run several vectors at once, so that they do not wait for each other.
_UNROLL = ((16, 4), (48, 2))
# Elements of a single row that are one unit of what threads share.
_UNIT = 4096


class _Fusion:
    def __init__(self, b: KernelBuilder, plan: Schedule, layout: Layout):
        self.b, self.plan = b, plan
        self.access, self.outputs, self.scratch = layout.access, layout.results, layout.scratch
        self.row_shape, self.lane_shape = layout.row_shape, layout.lane_shape
        self.row_values: dict[Node, Lanes] = {}
        dtypes: set[DType] = {node.dtype for node, place in plan.place.items() if place == "full"}
        self.count = self.lane_shape[-1] if self.lane_shape else 1
        widest = max(map(held_bytes, dtypes), default=8)
        self.lanes = min(max(b.width // widest, 1), power_above(self.count))

    # -- the nest

    def write(self) -> None:
        for node in self.plan.end_results:
            for array in self.outputs[node]:
                self.b.fill(array, _identity(node))
        if 0 in self.row_shape:
            return
        # End results are collected over the rows, and there is one scratch row.
        if not self.row_shape or self.plan.end_results or self.plan.spills:
            self.b.loops(self.row_shape, self._row)
            return

        def outermost(position: Lanes, carried: list[Lanes]) -> list[Lanes]:
            self.b.loops(self.row_shape[1:], lambda index: self._row([position, *index]))
            return []

        self.b.loop_between(*self.b.span(self.row_shape[0]), outermost)

    def _row(self, index: list[Lanes]) -> None:
        b, plan = self.b, self.plan
        self.index = index
        self.row_values = {}
        self.bases: dict[Key, str] = {}
        for key, access in self.access.items():
            if access.array is None:
                continue
            pointer = b.address(access.array.pointer, access.dtype, access.array.offset)
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
            for number in range(len(self.outputs[node])):
                b.store_at(self._row_value(node), self.bases[node, number])
        for node in ends:
            self._collect(node, self._row_value(node.operands[0]), self.bases)

    def _collect(self, node: Node, value: Lanes, places: dict[Key, str]) -> None:
        """Combine one number into the element of an end result that lies at `places`."""
        for number in range(len(self.outputs[node])):
            pointer = places[node, number]
            before = self.b.load_at(pointer, node.dtype)
            self.b.store_at(_combine(self.b, node, before, value), pointer)

    def _row_value(self, node: Node) -> Lanes:
        """A value that all lanes of the row share, as a scalar."""
        if node not in self.row_values:
            b = self.b
            if (node, -1) in self.access and node.op is not ops.iota:
                value = b.load_at(self.bases[node, -1], node.dtype)
            elif node.op is ops.constant_op:
                value = b.const(node.attrs["value"].item(), node.dtype)
            elif node.op is ops.broadcast:
                value = self._row_value(node.operands[0])
            elif node.op is ops.iota:
                value = b.cast(self._row_position(self.access[node, -1].rows), node.dtype)
            else:
                value = node.op.lower.emit(b, *[self._row_value(operand) for operand in node.operands], **node.attrs)  # type: ignore[union-attr]
            self.row_values[node] = value
        return self.row_values[node]

    def _row_position(self, strides: Sequence[int]) -> Lanes:
        b = self.b
        total = b.const(0, int64)
        for position, stride in zip(self.index, strides, strict=True):
            if stride:
                part = position if stride == 1 else b.mul(position, b.const(stride, int64))
                total = part if total.ref == "0" else b.add(total, part)
        return total

    # -- one sweep over a row

    def _sweep(self, number: int, stage: Stage) -> None:
        b = self.b
        roots = [reduction.operands[0] for reduction in stage.reductions] + stage.results + stage.spills
        if not roots:
            return
        used = self._used(number, roots)
        # What the lanes share is computed once, before the sweep.
        shared = {}
        for node in used:
            if node.op is ops.broadcast and (node, -1) not in self.access:
                shared[node] = b.widen(self._row_value(node.operands[0]), self.lanes)
            elif (node, -1) in self.access and node.op is not ops.iota and not any(self.access[node, -1].lanes):
                shared[node] = b.load_at(self.bases[node, -1], node.dtype, self.lanes, stride=0)
        in_lanes = [node for node in stage.reductions if not any(self._lane_strides(node))]
        unroll = next((times for limit, times in _UNROLL if len(used) <= limit), 1)
        while unroll > 1 and self.count < unroll * self.lanes:
            unroll //= 2
        empty = [b.const(_identity(node), node.dtype, self.lanes) for node in in_lanes for _ in range(unroll)]

        def nest(axis: int, outer: list[Lanes], carried: list[Lanes]) -> list[Lanes]:
            if axis >= len(self.lane_shape) - 1:
                self.outer = outer
                return self._along(number, stage, used, shared, in_lanes, unroll, carried)
            return b.loop(self.lane_shape[axis], lambda position, inside: nest(axis + 1, [*outer, position], inside), carried)

        collected = empty if 0 in self.lane_shape else nest(0, [], empty)
        for place, node in enumerate(in_lanes):
            value = self._total(node, collected[place * unroll : (place + 1) * unroll])
            if self.plan.place[node] == "row":
                self.row_values[node] = value
            else:
                self._collect(node, value, self.bases)

    def _lane_strides(self, node: Node) -> tuple[int, ...]:
        """The strides of a reduction's result along the lanes' axes: all 0 where the lanes are reduced."""
        if self.plan.place[node] == "row":
            return ()
        return self.access[node, 0].lanes

    def _used(self, number: int, roots: list[Node]) -> list[Node]:
        """The full values that the sweep has to have, operands first; what an earlier one kept is not computed again."""
        found: dict[Node, None] = {}

        def visit(node: Node) -> None:
            stack = [(node, False)]
            while stack:
                each, done = stack.pop()
                if each in found or self.plan.place[each] != "full":
                    continue
                if done or each.op in (ops.broadcast, ops.parameter) or self._kept(each, number):
                    found[each] = None
                else:
                    stack.append((each, True))
                    stack.extend((operand, False) for operand in each.operands)

        for root in roots:
            visit(root)
        return list(found)

    def _kept(self, node: Node, number: int) -> bool:
        return node in self.scratch and self.plan.stage[node] < number

    def _along(
        self,
        number: int,
        stage: Stage,
        used: list[Node],
        shared: dict[Node, Lanes],
        in_lanes: list[Node],
        unroll: int,
        carried: list[Lanes],
    ) -> list[Lanes]:
        """Run along the last axis: several vectors at a time, then one at a time, then a masked rest. `carried` are the totals
        of the reductions `in_lanes`; a reduction over the last axis alone of several is complete here."""
        b, lanes, count = self.b, self.lanes, self.count
        others = [node for node in stage.reductions if node not in in_lanes]
        along = [node for node in others if not self._lane_strides(node)[-1]]
        summed = in_lanes + along
        carried = carried + [b.const(_identity(node), node.dtype, lanes) for node in along for _ in range(unroll)]
        starts: dict[Key, str] = {}
        for key, access in self.access.items():
            if key in self.bases:
                pointer = self.bases[key]
                for position, stride in zip(self.outer, access.lanes[:-1], strict=False):
                    pointer = b.address(pointer, access.dtype, index=position, stride=stride)
                starts[key] = pointer

        def vector(position: Lanes, ahead: int, active: int | None, totals: list[Lanes], copy: int) -> None:
            values = dict(shared)

            def pointer(key: Key) -> str:
                access = self.access[key]
                stride = access.lanes[-1] if access.lanes else 0
                start = b.address(starts[key], access.dtype, ahead * stride)
                return b.address(start, access.dtype, index=position, stride=stride)

            def stride(key: Key) -> int:
                return self.access[key].lanes[-1] if self.access[key].lanes else 1

            for node in used:
                if node in values:
                    continue
                if node.op is ops.iota:
                    values[node] = self._positions(node, position, ahead)
                elif (node, -1) in self.access and (node.op in (ops.parameter, ops.broadcast) or self._kept(node, number)):
                    values[node] = b.load_at(pointer((node, -1)), node.dtype, lanes, stride((node, -1)), active)
                else:
                    operands = [values[operand] if operand in values else self._row_value(operand) for operand in node.operands]
                    values[node] = b.widen(node.op.lower.emit(b, *operands, **node.attrs), lanes)  # type: ignore[union-attr]
            for node in stage.spills:
                b.store_at(values[node], pointer((node, -1)), stride((node, -1)), active)
            for node in stage.reductions:
                value = values[node.operands[0]]
                if node in summed:
                    if active is not None and active < lanes:
                        value = self._blanked(value, active, _identity(node))
                    place = summed.index(node) * unroll + copy
                    totals[place] = _combine(b, node, totals[place], value)
                else:
                    for each in range(len(self.outputs[node])):
                        place_of = pointer((node, each))
                        before = b.load_at(place_of, node.dtype, lanes, stride((node, each)), active)
                        b.store_at(_combine(b, node, before, value), place_of, stride((node, each)), active)
            for node in stage.results:
                for each in range(len(self.outputs[node])):
                    b.store_at(values[node], pointer((node, each)), stride((node, each)), active)

        def block(times: int, begin: int) -> Callable[[Lanes, list[Lanes]], list[Lanes]]:
            def body(position: Lanes, inside: list[Lanes]) -> list[Lanes]:
                totals = list(inside)
                for copy in range(times):
                    vector(position, begin + copy * lanes, None, totals, copy)
                return totals

            return body

        step = unroll * lanes

        def run(begin: int, carried: list[Lanes]) -> list[Lanes]:
            blocks = (count - begin) // step * step
            carried = b.loop(blocks, block(unroll, begin), carried, step=step)
            vectors = (count - begin - blocks) // lanes * lanes
            carried = b.loop(vectors, block(1, begin + blocks), carried, step=lanes)
            rest = count - begin - blocks - vectors
            if rest:
                totals = list(carried)
                vector(b.const(0, int64), begin + blocks + vectors, rest, totals, 0)
                carried = totals
            return carried

        units = count // _UNIT if self._single_sweep() else 0
        if b.parallel and units > 1:
            bounds = b.span(units)
            first, last = (b.mul(bound, b.const(_UNIT // step, int64)) for bound in bounds)
            whole = block(unroll, 0)
            b.loop_between(first, last, lambda index, none: whole(b.mul(index, b.const(step, int64)), none))
            # What is left over comes with the last unit: a loop that runs once, or not at all.
            once = b.const(1, int64)
            start = b.select(b.compare("lt", bounds[1], b.const(units, int64)), once, b.const(0, int64))
            b.loop_between(start, once, lambda index, none: run(units * _UNIT, none))
        else:
            carried = run(0, carried)
        for place, node in enumerate(along, len(in_lanes)):
            value = self._total(node, carried[place * unroll : (place + 1) * unroll])
            self._collect(node, value, starts)
        return carried[: len(in_lanes) * unroll]

    def _single_sweep(self) -> bool:
        """Whether all that is done is one sweep over a single row, which collects nothing."""
        plan = self.plan
        reduces = any(stage.reductions for stage in plan.stages)
        return not (self.row_shape or len(self.lane_shape) != 1 or reduces or plan.row_results or plan.end_results)

    def _total(self, node: Node, parts: list[Lanes]) -> Lanes:
        """What a reduction collected, over the vectors that ran side by side and over their lanes."""
        total = parts[0]
        for other in parts[1:]:
            total = _combine(self.b, node, total, other)
        return _across(self.b, node, total)

    def _positions(self, node: Node, position: Lanes, ahead: int) -> Lanes:
        """An iota's lanes."""
        b, access = self.b, self.access[node, -1]
        dtype = node.dtype if node.dtype.is_integer else int64
        total = self._row_position(access.rows)
        for outer, stride in zip(self.outer, access.lanes[:-1], strict=False):
            if stride:
                total = b.add(total, b.mul(outer, b.const(stride, int64)))
        stride = access.lanes[-1] if access.lanes else 0
        if stride:
            along = b.add(position, b.const(ahead, int64)) if ahead else position
            total = b.add(total, along if stride == 1 else b.mul(along, b.const(stride, int64)))
        first = b.widen(b.cast(total, dtype), self.lanes)
        if stride and self.lanes > 1:
            scalar = SCALAR_TYPES[dtype]
            steps = ", ".join(f"{scalar} {lane * stride}" for lane in range(self.lanes))
            first = b.emit(dtype, self.lanes, f"add {first}, <{steps}>")
        return b.cast(first, node.dtype)

    def _blanked(self, value: Lanes, active: int, neutral: object) -> Lanes:
        b = self.b
        return b.select(
            Lanes(mask_text(self.lanes, active), bool_, self.lanes), value, b.const(neutral, value.dtype, self.lanes)
        )


def _identity(node: Node) -> object:
    lower = node.op.lower
    assert isinstance(lower, Reduction)
    return lower.identity(node.dtype)


def _combine(b: KernelBuilder, node: Node, x: Lanes, y: Lanes) -> Lanes:
    lower = node.op.lower
    assert isinstance(lower, Reduction)
    return lower.combine(b, x, y)


def _across(b: KernelBuilder, node: Node, value: Lanes) -> Lanes:
    """All lanes combined, by halves."""
    lanes = value.lanes
    while lanes > 1:
        lanes //= 2
        kind, low, high = value.type, [], []
        for lane in range(lanes):
            low.append(f"i32 {lane}")
            high.append(f"i32 {lane + lanes}")
        if lanes == 1:
            halves = [b.emit(value.dtype, 1, f"extractelement {value}, i64 {lane}") for lane in (0, 1)]
        else:
            mask = vector_type("i32", lanes)
            halves = [
                b.emit(value.dtype, lanes, f"shufflevector {value}, {kind} poison, {mask} <{', '.join(part)}>")
                for part in (low, high)
            ]
        value = _combine(b, node, halves[0], halves[1])
    return value


def emit_fusion(b: KernelBuilder, plan: Schedule, layout: Layout) -> None:
    """Write the loops of a fusion whose values are computed as `plan` and lie as `layout` says."""
    _Fusion(b, plan, layout).write()
