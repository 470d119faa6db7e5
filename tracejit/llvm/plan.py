"""The plan of a compiled step: which kernels run in which order, and where every value lies.

An arena, laid out once, holds what lives only during the call; results get buffers of their own; a variable is written in
place, at the earliest by the last kernel that reads it and never before a kernel that may still fail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tracejit import ops
from tracejit.ir import Graph, Node, TensorType
from tracejit.ir.op import Kernel
from tracejit.ir.op import View as ViewLowering
from tracejit.llvm.schedule import Schedule, may_overwrite, schedule
from tracejit.llvm.views import Buffer, View
from tracejit.ops import contiguous_strides

ALIGNMENT = 64


@dataclass(eq=False)
class Step:
    """One kernel: `node` (None for a copy) computes `outputs` from `operands`, with `scratch` for itself alone."""

    node: Node | None
    outputs: list[View]
    operands: list[View]
    scratch: list[View] = field(default_factory=list)
    schedule: Schedule | None = None

    @property
    def fails(self) -> bool:
        return self.node is not None and self.node.op.fails is not None


@dataclass
class Plan:
    """What the emitter writes: `steps` over buffers; `in_place` are the updates that are written over their variable."""

    graph: Graph
    steps: list[Step]
    arena_bytes: int
    temporaries_bytes: int
    in_place: set[Node]

    @property
    def constants(self) -> list[Buffer]:
        views = [view for step in self.steps for view in (*step.operands, *step.outputs)]
        return list(dict.fromkeys(view.buffer for view in views if view.buffer.kind == "constant"))


def plan(graph: Graph) -> Plan:
    """The plan of an optimized graph. TypeError where an op is left that has no lowering."""
    return _Planner(graph).plan()


class _Planner:
    def __init__(self, graph: Graph):
        self.graph = graph
        self.steps: list[Step] = []
        self.views: dict[Node, View | list[View]] = {}
        self.parameters: dict[Node, Buffer] = {}
        self.constant_count = 0

    def plan(self) -> Plan:
        for index, parameter in enumerate(self.graph.parameters):
            kind = parameter.type
            assert isinstance(kind, TensorType)
            buffer = self.parameters[parameter] = Buffer("parameter", index, kind.nbytes)
            self.views[parameter] = View(buffer, kind.shape, contiguous_strides(kind.shape), 0, kind.dtype)
        for node in self.graph.nodes:
            self._add(node)
        self._updates_last()
        in_place = self._write_in_place()
        self._place_results()
        self._commit(in_place)
        temporaries = sum(buffer.nbytes for buffer in self._arena_buffers())
        return Plan(self.graph, self.steps, self._lay_out_arena(), temporaries, in_place)

    # -- a step a node

    def view(self, node: Node) -> View:
        found = self.views[node]
        assert isinstance(found, View)
        return found

    def _new(self, kind: TensorType) -> View:
        buffer = Buffer("arena", 0, kind.nbytes)
        return View(buffer, kind.shape, contiguous_strides(kind.shape), 0, kind.dtype)

    def _add(self, node: Node) -> None:
        lower = node.op.lower
        if node.op is ops.element:
            found = self.views[node.operands[0]]
            assert isinstance(found, list)
            self.views[node] = found[node.attrs["index"]]
        elif node.op is ops.constant_op:
            buffer = Buffer("constant", self.constant_count, node.type.nbytes, node.attrs["value"])  # type: ignore[union-attr]
            self.constant_count += 1
            self.views[node] = View(buffer, node.shape, contiguous_strides(node.shape), 0, node.dtype)
        elif node.op is ops.fusion:
            found_schedule = schedule(node.attrs["body"], node.attrs["space"], node.attrs["rows"])
            outputs = [self._new(result.type) for result in node.attrs["body"].results]
            row = node.attrs["space"][node.attrs["rows"] :]
            scratch = [self._new(TensorType(row, spill.dtype)) for spill in found_schedule.spills]
            operands = [self.view(operand) for operand in node.operands]
            self.steps.append(Step(node, outputs, operands, scratch, found_schedule))
            self.views[node] = outputs[0] if len(outputs) == 1 else list(outputs)
        elif isinstance(lower, ViewLowering):
            source = self.view(node.operands[0])
            address = lower.address(source, node)
            if address is None:
                address = lower.address(self._copied(source), node)
            self.views[node] = address
        elif isinstance(lower, Kernel):
            output = self._new(node.type)  # type: ignore[arg-type]
            self.steps.append(Step(node, [output], [self.view(operand) for operand in node.operands]))
            self.views[node] = output
        else:
            raise TypeError(f"the op {node.op.name} has no lowering of its own; the passes have to replace it")

    def _copied(self, source: View) -> View:
        target = self._new(TensorType(source.shape, source.dtype))
        self.steps.append(Step(None, [target], [source]))
        return target

    # -- results and variables

    def _updates_last(self) -> None:
        """Put steps that serve nothing but updates at the end: by then all that may fail has run."""
        updated = {id(self.view(value).buffer) for _, value in self.graph.updates}
        kept = {id(self.view(result).buffer) for result in self.graph.results}
        read = {id(view.buffer) for step in self.steps for view in step.operands}

        def late(step: Step) -> bool:
            buffers = [id(view.buffer) for view in step.outputs]
            return not step.fails and all(b in updated and b not in kept and b not in read for b in buffers)

        self.steps.sort(key=late)

    def _write_in_place(self) -> set[Node]:
        """Let the step that computes a variable's new value write it over the old one, where nobody misses that."""
        done: set[Node] = set()
        returned = {self.view(result).buffer for result in self.graph.results}
        values = [value for _, value in self.graph.updates]
        for parameter, value in self.graph.updates:
            target, new = self.parameters[parameter], self.view(value)
            makers = [index for index, step in enumerate(self.steps) if new in step.outputs]
            readers = [index for index, step in enumerate(self.steps) if any(view.buffer is target for view in step.operands)]
            if not makers or not new.whole or new.buffer.kind != "arena" or values.count(value) > 1:
                continue
            (maker,) = makers
            if target in returned or any(self.view(other).buffer is target for other in values):
                continue
            if any(reader > maker for reader in readers) or any(step.fails for step in self.steps[maker:]):
                continue
            if maker in readers and not self._safe_over(self.steps[maker], new, target):
                continue
            self._redirect(new.buffer, target)
            done.add(parameter)
        return done

    def _safe_over(self, step: Step, new: View, target: Buffer) -> bool:
        if step.node is None or step.schedule is None:
            return False
        result = step.outputs.index(new)
        body = step.node.attrs["body"]
        return all(
            view.whole and view.shape == new.shape and may_overwrite(step.schedule, body, number, result)
            for number, view in enumerate(step.operands)
            if view.buffer is target
        )

    def _redirect(self, old: Buffer, new: Buffer) -> None:
        """Let everything that lies in `old` lie in `new`."""

        def moved(view: View) -> View:
            return View(new, view.shape, view.strides, view.offset, view.dtype) if view.buffer is old else view

        for step in self.steps:
            step.outputs = [moved(view) for view in step.outputs]
            step.operands = [moved(view) for view in step.operands]
        for node, found in self.views.items():
            self.views[node] = [moved(view) for view in found] if isinstance(found, list) else moved(found)

    def _place_results(self) -> None:
        for index, result in enumerate(self.graph.results):
            kind = result.type
            assert isinstance(kind, TensorType)
            buffer = Buffer("result", index, kind.nbytes)
            source = self.view(result)
            if source.buffer.kind == "arena" and source.whole:
                self._redirect(source.buffer, buffer)
            else:
                target = View(buffer, kind.shape, contiguous_strides(kind.shape), 0, kind.dtype)
                self.steps.append(Step(None, [target], [source]))

    def _commit(self, in_place: set[Node]) -> None:
        """Copy the other new values to their variables, the last thing that happens; first aside where one variable's new
        value is another's old one."""
        rest = [(parameter, self.view(value)) for parameter, value in self.graph.updates if parameter not in in_place]
        targets = {self.parameters[parameter] for parameter, _ in rest}
        sources = [self._copied(view) if view.buffer in targets else view for _, view in rest]
        for (parameter, _), source in zip(rest, sources, strict=True):
            target = self.views[parameter]
            assert isinstance(target, View)
            self.steps.append(Step(None, [target], [source]))

    # -- the arena

    def _arena_buffers(self) -> list[Buffer]:
        views = (view for step in self.steps for view in (*step.outputs, *step.operands, *step.scratch))
        return list(dict.fromkeys(view.buffer for view in views if view.buffer.kind == "arena"))

    def _lay_out_arena(self) -> int:
        """Give every arena buffer its offset: the largest first, each at the lowest place that is free while it lives."""
        lives: dict[Buffer, list[int]] = {}
        for index, step in enumerate(self.steps):
            for view in (*step.outputs, *step.operands, *step.scratch):
                if view.buffer.kind == "arena":
                    lives.setdefault(view.buffer, [index, index])[1] = index
        placed: list[tuple[int, int, int, int]] = []
        total = 0
        for buffer in sorted(lives, key=lambda each: -each.nbytes):
            first, last = lives[buffer]
            size = max(math.ceil(buffer.nbytes / ALIGNMENT), 1) * ALIGNMENT
            offset = 0
            for start, end, born, dead in sorted(placed):
                if born <= last and first <= dead and offset < end and start < offset + size:
                    offset = end
            buffer.index = offset
            placed.append((offset, offset + size, first, last))
            total = max(total, offset + size)
        return total
