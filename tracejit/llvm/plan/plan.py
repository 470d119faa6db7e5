"""The plan of a compiled step: which kernels run in which order, and where every value lies.

An arena, laid out once, holds what lives only during the call; results get buffers of their own; a variable is written in
place, at the earliest by the last kernel that reads it and never before a kernel that may still fail.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import NamedTuple

from tracejit import ops
from tracejit.ir import Graph, Node, TensorType, make
from tracejit.ir.graph import attr_key
from tracejit.ir.op import Alias, Kernel, Reduction, Scalar
from tracejit.ir.types import Type
from tracejit.llvm.kernels.epilogue import may_overwrite as tile_may_overwrite
from tracejit.llvm.kernels.epilogue import product_of
from tracejit.llvm.plan.blocking import Blocking, needs
from tracejit.llvm.plan.schedule import Schedule, may_overwrite, schedule
from tracejit.llvm.plan.views import Buffer, View
from tracejit.llvm.target import Machine, Target
from tracejit.memory import ALIGNMENT

# The arenas of plans with more buffers are laid out in the order of the steps. (The time to place the largest first grows
# with the square of the number.)
_PACKED_BY_SIZE = 1024


@dataclass(eq=False)
class Step:
    """One kernel: `node` (None for a copy) computes `outputs` from `operands`, with `scratch` for itself alone. How is said by
    `schedule` for a fusion, by `blocking` for a `product` that is not empty.

    `parallel` says that it takes long enough to be worth dividing; whether it can be, its kernel knows. `nontemporal` says of
    each output whether it is better written past the caches.
    """

    node: Node | None
    outputs: list[View]
    operands: list[View]
    scratch: list[View] = field(default_factory=list)
    schedule: Schedule | None = None
    product: Node | None = None
    blocking: Blocking | None = None
    parallel: bool = False
    nontemporal: tuple[bool, ...] = ()

    @property
    def fails(self) -> bool:
        return self.node is not None and self.node.op.fails is not None

    @property
    def views(self) -> list[View]:
        """Everything that it touches, in the order of its kernel's arguments."""
        return [*self.outputs, *self.operands, *self.scratch]

    @property
    def key(self) -> Hashable:
        """Equal for steps that one kernel can serve: the same computation over arrays that lie alike in their buffers."""
        layouts = tuple([(view.shape, view.strides, view.offset, view.dtype) for view in self.views])
        if self.node is None:
            return self.parallel, layouts
        attrs = tuple([(name, attr_key(value)) for name, value in self.node.attrs.items()])
        return self.node.op.name, self.parallel, self.nontemporal, len(self.scratch), self.blocking, attrs, layouts


@dataclass
class Plan:
    """What the emitter writes: `steps` over buffers; `in_place` are the updates that are written over their variable.

    The arena has `arena_bytes`, of which at most `peak_bytes` are in use at once; all its buffers, next to each other, would
    have `temporaries_bytes`. A run takes about `seconds` on one core.
    """

    graph: Graph
    steps: list[Step]
    arena_bytes: int
    peak_bytes: int
    temporaries_bytes: int
    in_place: set[Node]
    seconds: float

    @property
    def constants(self) -> list[Buffer]:
        views = [view for step in self.steps for view in (*step.operands, *step.outputs)]
        return list(dict.fromkeys(view.buffer for view in views if view.buffer.kind == "constant"))


def plan(graph: Graph, target: Target) -> Plan:
    """The plan of an optimized graph. TypeError where an op is left that has no lowering."""
    return _Planner(graph, target).plan()


class _Planner:
    def __init__(self, graph: Graph, target: Target):
        self.graph, self.target = graph, target
        self.steps: list[Step] = []
        self.views: dict[Node, View | list[View]] = {}
        self.parameters: dict[Node, Buffer] = {}
        self.moved: dict[Buffer, Buffer] = {}  # where what was planned to lie in the arena lies instead
        self.constant_count = 0

    def plan(self) -> Plan:
        for index, parameter in enumerate(self.graph.parameters):
            kind = parameter.type
            assert isinstance(kind, TensorType)
            buffer = self.parameters[parameter] = Buffer("parameter", index, kind.nbytes)
            self.views[parameter] = View.whole_of(buffer, kind)
        for node in self.graph.nodes:
            self._add(node)
        self._updates_last()
        in_place = self._write_in_place()
        self._place_results()
        self._commit(in_place)
        for step in self.steps:
            step.outputs = [self._settled(view) for view in step.outputs]
            step.operands = [self._settled(view) for view in step.operands]
        temporaries = sum(buffer.nbytes for buffer in lives_of(self.steps))
        self._reuse()
        machine = self.target.machine
        seconds = [_seconds(step, machine) for step in self.steps]
        for step, alone in zip(self.steps, seconds, strict=True):
            step.parallel = alone > machine.parallel_seconds
            step.nontemporal = tuple([_is_nontemporal(view, machine) for view in step.outputs])
        arena, peak = _lay_out_arena(self.steps)
        return Plan(self.graph, self.steps, arena, peak, temporaries, in_place, sum(seconds))

    # -- a step a node

    def view(self, node: Node) -> View:
        found = self.views[node]
        assert isinstance(found, View)
        return self._settled(found)

    def _settled(self, view: View) -> View:
        buffer = self.moved.get(view.buffer)
        return view if buffer is None else replace(view, buffer=buffer)

    def _new(self, kind: TensorType) -> View:
        buffer = Buffer("arena", 0, kind.nbytes)
        return View.whole_of(buffer, kind)

    def _add(self, node: Node) -> None:
        lower = node.op.lower
        if node.op is ops.element:
            found = self.views[node.operands[0]]
            assert isinstance(found, list)
            self.views[node] = found[node.attrs["index"]]
        elif node.op is ops.constant_op:
            buffer = Buffer("constant", self.constant_count, node.type.nbytes, node.attrs["value"])  # type: ignore[union-attr]
            self.constant_count += 1
            self.views[node] = View.whole_of(buffer, node.type)  # type: ignore[arg-type]
        elif node.op is ops.matmul:
            self._add_product(node, node, [self.view(operand) for operand in node.operands], [node.type])
        elif node.op is ops.fusion and (product := product_of(node.attrs["body"])) is not None:
            body = node.attrs["body"]
            views = dict(zip(body.parameters, map(self.view, node.operands), strict=True))
            factors = [views[operand] for operand in product.operands]
            self._add_product(node, product, [*factors, *views.values()], [result.type for result in body.results])
        elif node.op is ops.fusion:
            outputs = self._fusion(node)
            self.views[node] = outputs[0] if len(outputs) == 1 else outputs
        elif isinstance(lower, Alias):
            source = self.view(node.operands[0])
            view = lower.layout(source, node)
            self.views[node] = lower.layout(self._copied(source), node) if view is None else view
        elif isinstance(lower, Kernel):
            output = self._new(node.type)  # type: ignore[arg-type]
            operands = [self.view(operand) for operand in node.operands]
            for number in lower.contiguous(node, operands) if lower.contiguous else ():
                operands[number] = self._copied(operands[number])
            self.steps.append(Step(node, [output], operands))
            self.views[node] = output
        else:
            raise TypeError(f"the op {node.op.name} has no lowering of its own; the passes have to replace it")

    def _add_product(self, node: Node, product: Node, operands: list[View], results: list[Type]) -> None:
        """The step of `node`, which is `product` or a fusion that begins with it; the operands of that come first."""
        x, y, *others = operands
        needed = needs(product, x, y, self.target, self._new, fused=node is not product)
        self.steps += [Step(None, [target], [source]) for target, source in needed.copies]
        outputs = [self._new(kind) for kind in results]  # type: ignore[arg-type]
        scratch = [self._new(kind) for kind in needed.blocking.scratch.values()] if needed.blocking else []
        self.steps.append(
            Step(node, outputs, [needed.x, needed.y, *others], scratch, product=product, blocking=needed.blocking)
        )
        self.views[node] = outputs[0] if len(outputs) == 1 else list(outputs)

    def _fusion(self, node: Node) -> list[View]:
        """Add the step of a fusion, and those that combine what its units have collected: the views of its results."""
        found = schedule(node.attrs["body"], node.attrs["space"], node.attrs["rows"])
        outputs = []
        for result in node.attrs["body"].results:
            shape = (found.units, *result.shape) if result in found.partial else result.shape
            outputs.append(self._new(TensorType(shape, result.dtype)))
        scratch = [self._new(TensorType(found.scratch_shape, spill.dtype)) for spill in found.spills]
        scratch += [self._new(TensorType(found.block_shape(end), end.dtype)) for end in found.long]
        self.steps.append(Step(node, outputs, [self.view(operand) for operand in node.operands], scratch, found))
        results = zip(node.attrs["body"].results, outputs, strict=True)
        return [self._combined(result, output) if result in found.partial else output for result, output in results]

    def _combined(self, reduction: Node, parts: View) -> View:
        """Add the step that combines the units' `parts` of a reduction."""
        part = make(ops.parameter, location=reduction.location, type=TensorType(parts.shape, parts.dtype), name="part")
        body = Graph("body", [part], [make(reduction.op, part, location=reduction.location, axes=(0,))])
        rows = len(parts.shape) if len(parts.shape) > 1 else 0
        node = make(ops.fusion, part, location=reduction.location, body=body, space=parts.shape, rows=rows)
        total = self._new(reduction.type)  # type: ignore[arg-type]
        self.steps.append(Step(node, [total], [parts], [], schedule(body, parts.shape, rows, divide=False)))
        return total

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
        count = Counter(value for _, value in self.graph.updates)
        assigned = {self.view(value).buffer for value in count}
        makers = {view.buffer: (index, view) for index, step in enumerate(self.steps) for view in step.outputs}
        readers = {view.buffer: index for index, step in enumerate(self.steps) for view in step.operands}  # the last
        last_failing = max((index for index, step in enumerate(self.steps) if step.fails), default=-1)
        for parameter, value in self.graph.updates:
            target, new = self.parameters[parameter], self.view(value)
            if count[value] > 1 or new.buffer not in makers or not new.whole or new.buffer.kind != "arena":
                continue
            if target in returned or target in assigned:
                continue
            maker, output = makers[new.buffer]
            if readers.get(target, -1) > maker or last_failing >= maker:
                continue
            if readers.get(target) == maker and not self._safe_over(self.steps[maker], output, target):
                continue
            self.moved[new.buffer] = target
            done.add(parameter)
        return done

    def _reuse(self) -> None:
        """Let a step write over what it is the last to read, where the arena holds that and it lies alike."""
        lives = lives_of(self.steps)
        last = {buffer: life.last for buffer, life in lives.items()}
        over: dict[Buffer, Buffer] = {}
        for index, step in enumerate(self.steps):
            step.operands = [replace(view, buffer=over.get(view.buffer, view.buffer)) for view in step.operands]
            dying = {view.buffer: view for view in step.operands if last.get(view.buffer) == index and view.whole}
            for number, new in enumerate(step.outputs):
                if new.buffer not in lives:
                    continue
                for old, view in dying.items():
                    if (view.shape, view.dtype) == (new.shape, new.dtype) and new.whole and self._safe_over(step, new, old):
                        over[new.buffer] = old
                        last[old] = last[new.buffer]
                        step.outputs[number] = replace(new, buffer=old)
                        del dying[old]
                        break

    def _safe_over(self, step: Step, new: View, target: Buffer) -> bool:
        if step.node is None or step.node.op is not ops.fusion:
            return False
        result = step.outputs.index(new)
        if step.product is not None and any(view.buffer is target for view in step.operands[:2]):
            return False
        body, schedule = step.node.attrs["body"], step.schedule
        return all(
            view.whole
            and view.shape == new.shape
            and (may_overwrite(schedule, body, number, result) if schedule else tile_may_overwrite(body, number))
            for number, view in enumerate(step.operands[2:] if step.product else step.operands)
            if view.buffer is target
        )

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


def _is_nontemporal(view: View, machine: Machine) -> bool:
    """Whether a result is better written past the caches, as memory that is tracejit's own and begins where a register does."""
    own = view.buffer.kind in ("result", "arena")
    return view.nbytes > machine.nontemporal_result and view.whole and own and view.dtype.size >= 4


def _seconds(step: Step, machine: Machine) -> float:
    """About how long a step takes: to move what it touches, each byte once, and then to compute. Both are as if nothing of one
    went on behind the other, so that it is rather too long."""
    moved = sum({view: view.nbytes for view in (*step.operands, *step.outputs)}.values())
    flops = 0.0
    if step.schedule is not None:
        for node in step.schedule.place:
            lower = node.op.lower
            if isinstance(lower, Scalar):
                flops += node.type.size * (machine.costly_flops if lower.costly else 1)  # type: ignore[union-attr]
            elif isinstance(lower, Reduction):
                flops += node.operands[0].type.size  # type: ignore[union-attr]
    work = step.product or step.node
    if work is not None and isinstance(work.op.lower, Kernel) and work.op.lower.product_flops is not None:
        flops = work.op.lower.product_flops(work) / machine.product_speedup
    return moved / machine.bytes_per_second + flops / machine.flops_per_second


# -- the arena


class Life(NamedTuple):
    """How many bytes a buffer of the arena takes there, and the first and the last step that touches it."""

    size: int
    first: int
    last: int


def lives_of(steps: list[Step]) -> dict[Buffer, Life]:
    """The buffers of the arena."""
    first: dict[Buffer, int] = {}
    last: dict[Buffer, int] = {}
    for index, step in enumerate(steps):
        for view in step.views:
            if view.buffer.kind == "arena":
                first.setdefault(view.buffer, index)
                last[view.buffer] = index
    return {
        buffer: Life(max(-(-buffer.nbytes // ALIGNMENT), 1) * ALIGNMENT, born, last[buffer]) for buffer, born in first.items()
    }


def _lay_out_arena(steps: list[Step]) -> tuple[int, int]:
    """Give every arena buffer its offset; gives the arena's bytes, and the most that are in use at once."""
    lives = lives_of(steps)
    change = [0] * (len(steps) + 1)
    for size, first, last in lives.values():
        change[first] += size
        change[last + 1] -= size
    pack = _pack_by_size if len(lives) <= _PACKED_BY_SIZE else _pack_in_order
    return pack(lives), max(accumulate(change))


def _pack_by_size(lives: dict[Buffer, Life]) -> int:
    """The largest first, each at the lowest place that is free while it lives."""
    placed: list[tuple[int, int, int, int]] = []
    for buffer, (size, first, last) in sorted(lives.items(), key=lambda item: -item[0].nbytes):
        offset = 0
        for start, end, born, dead in placed:
            if start >= offset + size:
                break
            if born <= last and first <= dead and offset < end:
                offset = end
        buffer.index = offset
        bisect.insort(placed, (offset, offset + size, first, last))
    return max((end for _, end, _, _ in placed), default=0)


def _pack_in_order(lives: dict[Buffer, Life]) -> int:
    """In the order in which they come to life, each at the smallest place that is free then."""
    free = _Free()
    dying = sorted(lives, key=lambda buffer: -lives[buffer].last)
    for buffer, life in lives.items():
        while lives[dying[-1]].last < life.first:
            dead = dying.pop()
            free.give(dead.index, lives[dead].size)
        buffer.index = free.take(life.size)
    return free.end


class _Free:
    """The free places below `end`, behind which all is free. No two of them touch."""

    def __init__(self) -> None:
        self.end = 0
        self.places: list[tuple[int, int]] = []  # (size, offset), sorted
        self.sizes: dict[int, int] = {}  # by offset
        self.starts: dict[int, int] = {}  # by where they end

    def take(self, size: int) -> int:
        """The offset of `size` bytes that were free."""
        number = bisect.bisect_left(self.places, (size, 0))
        if number < len(self.places):
            found, offset = self.places[number]
            self._remove(offset)
            if found > size:
                self._add(offset + size, found - size)
            return offset
        offset = self.starts.get(self.end, self.end)
        if offset < self.end:
            self._remove(offset)
        self.end = offset + size
        return offset

    def give(self, offset: int, size: int) -> None:
        """Let `size` bytes at `offset` be free again."""
        before, behind = self.starts.get(offset), offset + size
        if behind in self.sizes:
            size += self._remove(behind)
        if before is not None:
            size += self._remove(before)
            offset = before
        self._add(offset, size)

    def _add(self, offset: int, size: int) -> None:
        bisect.insort(self.places, (size, offset))
        self.sizes[offset], self.starts[offset + size] = size, offset

    def _remove(self, offset: int) -> int:
        size = self.sizes.pop(offset)
        del self.starts[offset + size]
        del self.places[bisect.bisect_left(self.places, (size, offset))]
        return size
