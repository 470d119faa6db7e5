"""The plan of a compiled function: which kernels run in which order, and where every value lies.

An arena, laid out once, holds what lives only during the call; results get buffers of their own; a variable is written in
place, at the earliest by the last kernel that reads it and never before a kernel that may still fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tracejit import ops
from tracejit.ir import Graph, Node, TensorType, make
from tracejit.ir.op import Alias, Kernel, Op
from tracejit.ir.types import Type
from tracejit.llvm.plan.across import in_tiles, keys_across, may_lie_across
from tracejit.llvm.plan.arena import Arena, lay_out, live_ranges_of
from tracejit.llvm.plan.blocking import needs
from tracejit.llvm.plan.calls import KernelCall
from tracejit.llvm.plan.contraction import contraction
from tracejit.llvm.plan.copies import made_once
from tracejit.llvm.plan.cost import estimated, is_worth_dividing
from tracejit.llvm.plan.epilogue import on_tile, over_product, product_of, read_by_tiles
from tracejit.llvm.plan.inplace import Update, over_operands, over_variables, updates_last
from tracejit.llvm.plan.layout import fusion_layout
from tracejit.llvm.plan.pieces import in_place, side_by_side
from tracejit.llvm.plan.schedule import schedule
from tracejit.llvm.plan.views import Buffer, View
from tracejit.llvm.target import Machine, Target
from tracejit.ops.region import Region


@dataclass(frozen=True, eq=False)
class Plan:
    """What the emitter writes: `calls` over buffers, for a `machine`. `updates` say how each variable gets its new value.

    All buffers of the `arena`, next to each other, would have `temporaries_bytes`.
    """

    graph: Graph
    machine: Machine
    calls: tuple[KernelCall, ...]
    arena: Arena
    temporaries_bytes: int
    updates: tuple[Update, ...]

    @property
    def arena_bytes(self) -> int:
        return self.arena.nbytes

    @property
    def peak_bytes(self) -> int:
        """The most bytes of the arena that are in use at once."""
        return self.arena.peak

    @property
    def seconds(self) -> float:
        """About how long a run takes on one core."""
        return sum(call.seconds for call in self.calls)

    @property
    def in_place(self) -> set[Node]:
        """The variables whose new values are written over the old ones."""
        return {update.variable for update in self.updates if not update.why_not}

    @property
    def constants(self) -> list[Buffer]:
        views = [view for call in self.calls for view in (*call.operands, *call.outputs)]
        return list(dict.fromkeys(view.buffer for view in views if view.buffer.kind == "constant"))


def plan(graph: Graph, target: Target) -> Plan:
    """The plan of an optimized graph. TypeError where an op is left that has no lowering."""
    return _Planner(graph, target).plan()


class _Planner:
    def __init__(self, graph: Graph, target: Target):
        self.graph, self.target = graph, target
        self.calls: list[KernelCall] = []
        self.views: dict[Node, View | list[View]] = {}
        self.parameters: dict[Node, Buffer] = {}
        self.moved: dict[Buffer, Buffer] = {}  # where what was planned to lie in the arena lies instead
        self.constants = self.temporaries = 0

    def plan(self) -> Plan:
        graph = self.graph
        for index, parameter in enumerate(graph.parameters):
            kind = parameter.type
            assert isinstance(kind, TensorType)
            buffer = self.parameters[parameter] = Buffer("parameter", index, kind.nbytes)
            self.views[parameter] = View.whole_of(buffer, kind)
        for node in graph.nodes:
            self._add(node)
        kept = [self.view(node) for node in graph.roots()]
        self.calls = updates_last(in_place(made_once(self.calls), kept), graph, self.view)
        self.moved, updates = over_variables(self.calls, graph, self.view, self.parameters)
        self._place_results()
        self._commit(updates)
        calls: Sequence[KernelCall] = [call.over(self.moved) for call in self.calls]
        temporaries = sum(buffer.nbytes for buffer in live_ranges_of(calls))
        calls = [estimated(call, self.target.machine) for call in over_operands(calls)]
        return Plan(graph, self.target.machine, tuple(calls), lay_out(calls), temporaries, tuple(updates.values()))

    # -- a call a node

    def view(self, node: Node) -> View:
        found = self.views[node]
        assert isinstance(found, View)
        return self._settled(found)

    def _settled(self, view: View) -> View:
        buffer = self.moved.get(view.buffer)
        return view if buffer is None else replace(view, buffer=buffer)

    def _new(self, kind: TensorType) -> View:
        self.temporaries += 1
        buffer = Buffer("arena", self.temporaries, kind.nbytes)
        return View.whole_of(buffer, kind)

    def _add(self, node: Node) -> None:
        lower = node.op.lower
        if node.op is ops.element:
            found = self.views[node.operands[0]]
            assert isinstance(found, list)
            self.views[node] = found[node.attrs["index"]]
        elif node.op is ops.constant_op:
            buffer = Buffer("constant", self.constants, node.type.nbytes, node.attrs["value"])  # type: ignore[union-attr]
            self.constants += 1
            self.views[node] = View.whole_of(buffer, node.type)  # type: ignore[arg-type]
        elif node.op is ops.matmul:
            self._add_product(node, node, [self.view(operand) for operand in node.operands], [node.type])
        elif node.op is ops.convolution:
            self._add_convolution(node, node, {}, [self.view(operand) for operand in node.operands], [node.type])
        elif node.op is ops.fusion and (product := product_of(node.attrs["body"])) is not None:
            body = node.attrs["body"]
            views = dict(zip(body.parameters, map(self.view, node.operands), strict=True))
            factors, results = [views[operand] for operand in product.operands], [result.type for result in body.results]
            if product.op is ops.matmul:
                self._add_product(node, product, [*factors, *views.values()], results)
            else:
                self._add_convolution(node, product, views, factors, results)
        elif node.op is ops.fusion:
            outputs = self._fusion(node)
            self.views[node] = outputs[0] if len(outputs) == 1 else outputs
        elif isinstance(lower, Alias):
            source = self.view(node.operands[0])
            view = lower.layout(source, node)
            self.views[node] = lower.layout(self._copied(source), node) if view is None else view
        elif (
            node.op is ops.concat
            and (joined := side_by_side(list(map(self.view, node.operands)), node.attrs["axis"])) is not None
        ):
            self.views[node] = joined
        elif isinstance(lower, Kernel):
            output = self._new(node.type)  # type: ignore[arg-type]
            operands = self._in_order(node, [self.view(operand) for operand in node.operands])
            self.calls.append(KernelCall(node, (output,), tuple(operands)))
            self.views[node] = output
        else:
            raise TypeError(f"the op {node.op.name} has no lowering of its own; the passes have to replace it")

    def _add_product(self, node: Node, product: Node, operands: list[View], results: list[Type]) -> None:
        """The call of `node`, which is `product` or a fusion that begins with it; the operands of that come first."""
        x, y, *others = operands
        needed = needs(product, x, y, self.target, self._new, fused=node is not product)
        for target, source in needed.copies:
            self.calls.append(KernelCall.copy(target, source, "panels" if target.dtype is source.dtype else str(target.dtype)))
        outputs = tuple([self._new(kind) for kind in results])  # type: ignore[arg-type]
        scratch = tuple([self._new(kind) for kind in needed.blocking.scratch.values()]) if needed.blocking else ()
        self.calls.append(
            KernelCall(node, outputs, (needed.x, needed.y, *others), scratch, product=product, blocking=needed.blocking)
        )
        self.views[node] = outputs[0] if len(outputs) == 1 else list(outputs)

    def _add_convolution(
        self, node: Node, product: Node, others: dict[Node, View], factors: list[View], results: list[Type]
    ) -> None:
        """The call of `node`, which is the convolution `product` or a fusion that begins with it and has the `others` as its
        parameters; and the call that adds the parts of its sums where it has several."""
        machine, is_fused = self.target.machine, node is not product
        x, filters = self._in_order(product, factors)
        outputs = [self._new(kind) for kind in results]  # type: ignore[arg-type]
        others = others | dict(zip(product.operands, (x, filters), strict=True)) if is_fused else others
        call = KernelCall(node, tuple(outputs), (x, filters, *others.values()), product=product)
        reads = read_by_tiles(on_tile(node.attrs["body"], product), product, others) if is_fused else {}
        ends = [over_product(output, product) for output in outputs] + list(reads.values())
        found = contraction(product, x, filters, ends, machine, divided=is_worth_dividing(call, machine), fused=is_fused)
        parts = 1 if found is None else found.parts
        if parts > 1:
            outputs = [self._new(TensorType((parts, *product.shape), product.dtype))]
        scratch = tuple([self._new(kind) for kind in found.scratch.values()]) if found else ()
        self.calls.append(replace(call, outputs=tuple(outputs), scratch=scratch, blocking=found))
        views = [self._combined(ops.reduce_sum, node, outputs[0])] if parts > 1 else outputs
        self.views[node] = views[0] if len(views) == 1 else views

    def _fusion(self, node: Node) -> list[View]:
        """Add the call of a fusion, and those that combine what its chunks have accumulated: the views of its results."""
        body = node.attrs["body"]
        found, machine = schedule(body, node.attrs["space"], node.attrs["rows"]), self.target.machine
        operands = tuple([self.view(operand) for operand in node.operands])
        if not found.accumulators and any(map(may_lie_across, operands)):
            found = replace(found, chunks=min(found.chunks, machine.chunks))  # each has tiles of its own
        outputs = []
        for result in body.results:
            shape = (found.chunks, *result.shape) if result in found.partial else result.shape
            outputs.append(self._new(TensorType(shape, result.dtype)))
        scratch = [self._new(TensorType(found.scratch_shape, spill.dtype)) for spill in found.spills]
        scratch += [self._new(TensorType(found.block_shape(end), end.dtype)) for end in found.long]
        layout = fusion_layout(body, found, outputs, operands, scratch)
        inputs = range(len(outputs), len(outputs) + len(operands))
        axis, across = keys_across(layout, found, inputs, machine)
        if across and found.accumulators:
            # They are added to in the order of the rows, so these are not computed in tiles.
            numbers = {layout.access[key].argument for key in across}
            operands = tuple([
                self._copied(view) if number in numbers else view
                for number, view in zip(inputs, operands, strict=True)
            ])  # fmt: skip
            layout = fusion_layout(body, found, outputs, operands, scratch)
        elif across:
            layout = in_tiles(layout, found, axis, across, inputs.stop + len(scratch), machine)
            tiles = [layout.access[key] for key in across]
            scratch += [self._new(TensorType((found.chunks, tile.unit), tile.dtype)) for tile in tiles]
        self.calls.append(KernelCall(node, tuple(outputs), operands, tuple(scratch), found, layout))
        results = zip(body.results, outputs, strict=True)
        return [self._combined(result.op, result, output) if result in found.partial else output for result, output in results]

    def _combined(self, op: Op, node: Node, parts: View) -> View:
        """Add the call that combines by `op`, a reduction, the `parts` of what is the value of `node`."""
        part = make(ops.parameter, location=node.location, type=TensorType(parts.shape, parts.dtype), name="part")
        rows = len(parts.shape) if len(parts.shape) > 1 else 0
        region = Region()
        total_of = make(op, region.take(part), location=node.location, axes=(0,))
        combination = region.fusion([total_of], parts.shape, rows, node.location)
        total = self._new(node.type)  # type: ignore[arg-type]
        body = combination.attrs["body"]
        found = schedule(body, parts.shape, rows, divide=False)
        layout = fusion_layout(body, found, [total], [parts], [])
        self.calls.append(KernelCall(combination, (total,), (parts,), schedule=found, layout=layout))
        return total

    def _in_order(self, node: Node, operands: Sequence[View]) -> list[View]:
        """The operands of a node with a kernel of its own, those copied that this needs in order."""
        lower = node.op.lower
        assert isinstance(lower, Kernel)
        wanted = lower.contiguous(node, operands) if lower.contiguous else ()
        return [self._copied(view) if number in wanted else view for number, view in enumerate(operands)]

    def _copied(self, source: View, purpose: str = "in order") -> View:
        target = self._new(TensorType(source.shape, source.dtype))
        self.calls.append(KernelCall.copy(target, source, purpose))
        return target

    # -- results and variables

    def _place_results(self) -> None:
        for index, result in enumerate(self.graph.results):
            kind = result.type
            assert isinstance(kind, TensorType)
            buffer = Buffer("result", index, kind.nbytes)
            source = self.view(result)
            if source.buffer.kind == "arena" and source.whole:
                self.moved[source.buffer] = buffer
            else:
                target = View.whole_of(buffer, kind)
                self.calls.append(KernelCall.copy(target, source, "result"))

    def _commit(self, updates: dict[Node, Update]) -> None:
        """Copy the other new values to their variables, the last thing that happens; first aside where one variable's new
        value is another's old one."""
        rest = [(variable, self.view(value)) for variable, value in self.graph.updates if updates[variable].why_not]
        targets = {self.parameters[variable] for variable, _ in rest}
        sources = [self._copied(view, "aside") if view.buffer in targets else view for _, view in rest]
        for (variable, _), source in zip(rest, sources, strict=True):
            target = self.views[variable]
            assert isinstance(target, View)
            updates[variable] = updates[variable]._replace(call=len(self.calls))
            self.calls.append(KernelCall.copy(target, source, "variable"))
