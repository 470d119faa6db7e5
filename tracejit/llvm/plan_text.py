"""The text form of a plan: its kernels in order with their loops, its arena, and what becomes of its variables.

    k3   fusion %7 of 5 ops            A, %b -> B, A                              ~0.4 µs  train.py:12

Kernel 3 computes node %7 of the optimized graph from the arena's buffer A and the parameter %b; it writes buffer B and, since
it stands on both sides, A in place. An array that is not in order from its buffer's first element on has its strides behind
it, and where it begins: `%x(1,784)+64`. Ops that cost nothing in a loop (constants, broadcasts, iotas) are left out. All that
is printed stands in the plan; none of it is read back.
"""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

from tracejit import ops
from tracejit.ir import Graph, Node
from tracejit.llvm.kernels.loop_pass import points_of
from tracejit.llvm.plan.blocking import Blocking
from tracejit.llvm.plan.calls import KernelCall
from tracejit.llvm.plan.contraction import Contraction
from tracejit.llvm.plan.plan import Plan
from tracejit.llvm.plan.schedule import Schedule
from tracejit.llvm.plan.views import Buffer, View

_WIDTH = 150  # columns
_HEAD, _ARRAYS = 32, 64
# Columns for the kernels in the arena's table.
_LIFE = 60


def print_plan(plan: Plan) -> str:
    """The text of a plan, the same for equal plans."""
    return "\n".join(_Printer(plan).lines()) + "\n"


class _Printer:
    def __init__(self, plan: Plan):
        self.plan = plan
        graph = plan.graph
        self.parameters = [f"%{parameter.attrs['name']}" for parameter in graph.parameters]
        self.nodes = {node: f"%{number}" for number, node in enumerate(graph.nodes)}
        views = [view for call in plan.calls for view in (*call.operands, *call.outputs, *call.scratch)]
        temporaries = dict.fromkeys(view.buffer for view in views if view.buffer.kind == "arena")
        self.letters = {buffer: _letters(number) for number, buffer in enumerate(temporaries)}
        self.values: dict[Buffer, list[str]] = {buffer: [] for buffer in temporaries}  # what each holds, one after the other
        for call in plan.calls:
            for view, value in (*zip(call.outputs, self._results(call), strict=True), *_kept(call)):
                if view.buffer in self.values and value not in self.values[view.buffer]:
                    self.values[view.buffer].append(value)

    def lines(self) -> Iterator[str]:
        plan, machine = self.plan, self.plan.machine
        many = len(plan.updates)
        distinct = len({call.key for call in plan.calls})
        yield (
            f"plan {plan.graph.name} for {machine.name}, {machine.registers} registers of {machine.width} bytes: "
            + _count(len(plan.calls), "kernel")
            + (f", {distinct} of them distinct" if distinct < len(plan.calls) else "")
            + f", {_duration(plan.seconds)} on one core by the cost model"
        )
        yield (
            f"arena {plan.arena_bytes:,d} B for {plan.temporaries_bytes:,d} B of temporaries, at most {plan.peak_bytes:,d} B "
            f"in use at once; {len(plan.in_place)} of {_count(many, 'variable')} in place"
        )
        first: dict[Hashable, int] = {}
        for number, call in enumerate(plan.calls):
            yield ""
            yield from self._call(number, call, first.setdefault(call.key, number))
        if self.letters:
            yield ""
            yield from self._arena()
        if plan.updates:
            yield ""
            yield from self._updates()

    # -- names

    def _buffer(self, buffer: Buffer) -> str:
        if buffer.kind == "parameter":
            return self.parameters[buffer.index]
        return self.letters[buffer] if buffer.kind == "arena" else f"{buffer.kind}.{buffer.index}"

    def _view(self, view: View) -> str:
        name = self._buffer(view.buffer)
        strides = "" if view.contiguous else f"({','.join(map(str, view.strides))})"
        return f"{name}{strides}" + (f"+{view.offset}" if view.offset else "")

    def _results(self, call: KernelCall) -> list[str]:
        """What each output of a call is: the number of its node and its op."""
        if call.node is None:
            return [_COPIES.get(call.purpose, f"{{}} as {call.purpose}").format(self._buffer(call.operands[0].buffer))]
        name = self.nodes.get(call.node)
        if call.node.op is not ops.fusion:
            return [f"{name} {call.node.op.name}"]
        body = call.node.attrs["body"].results
        if name is None:
            return [f"{result.op.name} of the chunks" for result in body]
        if len(body) == 1:
            return [f"{name} {body[0].op.name}"]
        return [f"{name}.{number} {result.op.name}" for number, result in enumerate(body)]

    # -- kernels

    def _call(self, number: int, call: KernelCall, same: int) -> Iterator[str]:
        """The lines of call `number`, which is served by the kernel of call `same`."""
        operands = dict.fromkeys(map(self._view, call.operands))  # those of a product stand among its fusion's again
        arrays = f"{', '.join(operands)} -> {', '.join(map(self._view, call.outputs))}".lstrip()
        where = str(call.node.location or "") if call.node else ""
        first, *more = textwrap.wrap(arrays, _ARRAYS, break_long_words=False, break_on_hyphens=False)
        head = f"k{number:<3d} {self._head(call)}"
        yield f"{head:{_HEAD}s} {first:{_ARRAYS}s} {_duration(call.seconds):>11s}  {where}".rstrip()
        yield from (f"{'':{_HEAD}s} {line}" for line in more)
        for line in self._details(call) if same == number else [f"the kernel of k{same}"]:
            indent = " " * (5 + len(line) - len(line.lstrip()))
            yield from textwrap.wrap(
                line.strip(), _WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False
            )

    def _head(self, call: KernelCall) -> str:
        if call.node is None:
            return f"copy {_PURPOSES.get(call.purpose, f'as {call.purpose}')}"
        if call.node.op is not ops.fusion:
            return f"{call.node.op.name} {self.nodes[call.node]}"
        count = len(_working(call.node.attrs["body"].nodes))
        if call.product is not None:
            return f"{call.product.op.name} {self.nodes[call.node]} and {_count(count - 1, 'op')}"
        if call.node not in self.nodes:
            return "combine the chunks' parts"
        return f"fusion {self.nodes[call.node]} of {_count(count, 'op')}"

    def _details(self, call: KernelCall) -> Iterator[str]:
        if call.can_fail:
            yield "may fail; nothing is written to a variable before"
        if isinstance(call.blocking, Contraction):
            yield from self._convolution(call, call.blocking)
        elif call.product is not None:
            yield from self._product(call, call.blocking)
        elif call.schedule is not None:
            yield from self._fusion(call, call.schedule)
        else:
            view = call.outputs[0]
            threads = ", on threads where it can be divided" if call.parallel else ""
            yield f"{view.dtype.short}[{','.join(map(str, view.shape))}]{threads}"
        past = [self._view(view) for view, is_past in zip(call.outputs, call.nontemporal, strict=True) if is_past]
        if past:
            yield f"nontemporal stores: {', '.join(past)}"

    def _product(self, call: KernelCall, blocking: Blocking | None) -> Iterator[str]:
        if blocking is None:
            yield "empty"
            return
        rows, columns, depth = blocking.rows, blocking.columns, blocking.depth
        batch = f"{math.prod(blocking.batch)} of " if blocking.batch else ""
        turned = ", as the product of the transposes" if blocking.swapped else ""
        yield f"{batch}{rows} x {depth} by {depth} x {columns} of {blocking.dtype.short}{turned}"
        if blocking.by_blas:
            yield "by the BLAS"
        else:
            each = f", each {_of_product(blocking)}" if blocking.chunks > 1 else ""
            yield f"for {_chunks(blocking.chunks, call.parallel)}{each}"
            if blocking.dot:
                yield f"  tile {blocking.mr} x {blocking.nr}, vectors of {blocking.lanes} along the depth"
            else:
                blocks = blocking.depth_blocks
                vectors = blocking.nr // blocking.lanes
                yield (
                    f"  tile {blocking.mr} x {blocking.nr} ({_count(vectors, 'vector')} of {blocking.lanes}): "
                    f"{blocking.mr * vectors} sums in registers, depth in {_count(blocks, 'block')}"
                    + (f" of {blocking.kc}" if blocks > 1 else "")
                )
        packed = ["left operand packed a chunk at a time"] * blocking.packed_x + ["right operand in panels"] * blocking.packed_y
        if packed:
            yield f"  {', '.join(packed)}"
        yield from self._on_tile(call, blocking.scratch)

    def _on_tile(self, call: KernelCall, names: Iterable[str]) -> Iterator[str]:
        """What a product has in memory for itself, and what its fusion does with its tiles."""
        scratch = [f"{_SCRATCH[name]} in {self._view(view)}" for name, view in zip(names, call.scratch, strict=True)]
        if scratch:
            yield f"  {', '.join(scratch)}"
        if call.node is not None and call.node is not call.product:
            body = call.node.attrs["body"]
            others = _working(node for node in body.nodes if node is not call.product)
            yield f"  on the tile, in registers: {_ops(others)} -> {self._written(call, body, body.results)}"

    def _convolution(self, call: KernelCall, plan: Contraction) -> Iterator[str]:
        assert call.product is not None
        parts = f", {plan.parts} parts of it" if plan.parts > 1 else ""
        sum_of = f"each the sum of {_count(plan.terms * plan.parts, 'product')}{parts}"
        yield f"{plan.dtype.short}[{','.join(map(str, call.product.shape))}], {sum_of}"
        yield f"for {_chunks(plan.chunks, call.parallel)}"
        tile, steps = plan.tile, math.prod(axis.size for axis in plan.outer)
        rows = [count for _, count in tile.rows]
        vectors = f"{_count(tile.vectors, 'vector')} of {tile.lanes}" + (" along the sum" if plan.summed else "")
        yield (
            f"  tile {' x '.join(map(str, rows)) or '1'} by {vectors}: {_count(math.prod(rows) * tile.vectors, 'sum')} in "
            f"registers, of {_count(plan.terms // steps, 'product')}" + (f", {steps} times" if steps > 1 else "")
        )
        yield from self._on_tile(call, plan.scratch)

    def _fusion(self, call: KernelCall, schedule: Schedule) -> Iterator[str]:
        assert call.node is not None
        body: Graph = call.node.attrs["body"]
        layout = call.layout
        assert layout is not None
        chunks = f", {_chunks(schedule.chunks, call.parallel)}" if schedule.chunks > 1 else ""
        at_once = f", {layout.rows} at once" if layout.rows > 1 else ""
        lanes = " x ".join(map(str, layout.lane_shape)) or "1"
        if layout.row_shape:
            yield f"for {' x '.join(map(str, layout.row_shape))} rows of {lanes}{at_once}{chunks}"
        else:
            yield f"for {lanes}{chunks}"
        if layout.tile is not None:
            across = [access.across.argument for access in layout.access.values() if access.across is not None]
            names = dict.fromkeys(self._view(call.views[argument]) for argument in across if argument is not None)
            yield f"  in tiles of {layout.tile[0]} x {layout.tile[1]}, transposed before: {', '.join(names)}"
        spills = dict(zip(schedule.spills, call.scratch, strict=False))
        for number, loop in enumerate(schedule.passes):
            nodes = points_of(schedule, number)
            again = [node for node in nodes if node in spills and schedule.number[node] < number]
            working = _working(node for node in nodes if node.op is not ops.parameter and node not in again)
            parts = [f"reads {self._kept(again, spills)}"] if again else []
            parts += [_ops(working)] if working else []
            if loop.reductions:
                parts.append(f"reduces {_ops(loop.reductions)}")
            if loop.results:
                parts.append(f"-> {self._written(call, body, loop.results)}")
            if loop.spills:
                parts.append(f"keeps {self._kept(loop.spills, spills)}")
            if parts:
                yield f"  pass {number + 1}: {'; '.join(parts)}"
        collected = {node for loop in schedule.passes for node in loop.reductions}
        shared = [node for node in body.nodes if schedule.kind[node] == "row" and node not in collected]
        parts = [_ops(working)] if (working := _working(shared)) else []
        if schedule.row_results:
            parts.append(f"-> {self._written(call, body, schedule.row_results)}")
        if parts:
            yield f"  {'a row' if layout.row_shape else 'then'}: {' '.join(parts)}"
        if schedule.accumulators:
            own = " of a chunk" if schedule.partial else ""
            blocks = ", by blocks" if schedule.long else ""
            written = self._written(call, body, schedule.accumulators)
            yield f"  at the end{own}{blocks}: {_ops(schedule.accumulators)} -> {written}"

    def _kept(self, nodes: Iterable[Node], spills: Mapping[Node, View]) -> str:
        return ", ".join(f"{node.op.name} in {self._view(spills[node])}" for node in nodes)

    def _written(self, call: KernelCall, body: Graph, nodes: Iterable[Node]) -> str:
        wanted = set(nodes)
        views = [view for result, view in zip(body.results, call.outputs, strict=True) if result in wanted]
        return ", ".join(map(self._view, views)) or "nothing"

    # -- memory

    def _arena(self) -> Iterator[str]:
        arena, count = self.plan.arena, len(self.plan.calls)
        each = -(-count // _LIFE)  # kernels a column
        ticks = "".join(f"{number * each * 10:<10d}" for number in range(-(-count // (10 * each))))
        note = f" (a column is {each} kernels)" if each > 1 else ""
        values = {buffer: ", then ".join(self.values[buffer]) for buffer in self.letters}
        wide = min(max(map(len, values.values())), 44)
        yield f"{'arena':6s} {'value':{wide}s} {'offset':>13s} {'bytes':>13s}  {'life':11s} {ticks.rstrip()}{note}"
        for buffer, letter in self.letters.items():
            _, first, last = arena.lives[buffer]
            columns = range(-(-count // each))
            life = "".join("#" if first // each <= column <= last // each else "." for column in columns)
            value, *more = textwrap.wrap(values[buffer], wide) or [""]
            span = f"k{first}-k{last}"
            yield f"{letter:6s} {value:{wide}s} {arena.offsets[buffer]:>13,d} {buffer.nbytes:>13,d}  {span:11s} {life}"
            yield from (f"{'':6s} {line}" for line in more)

    def _updates(self) -> Iterator[str]:
        in_place: dict[int, list[str]] = {}
        for variable, number, why_not in self.plan.updates:
            if not why_not:
                in_place.setdefault(number, []).append(f"%{variable.attrs['name']}")
        if in_place:
            by_kernel = "; ".join(f"{', '.join(names)} by k{number}" for number, names in sorted(in_place.items()))
            yield from textwrap.wrap(f"in place: {by_kernel}", _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
        for variable, number, why_not in self.plan.updates:
            if why_not:
                yield f"copied:   %{variable.attrs['name']} by k{number}, not in place: {why_not}"


# What a copy is for, and what it is.
_PURPOSES = {
    "aside": "aside", "in order": "in order", "panels": "into panels", "result": "to a result", "variable": "to a variable",
}  # fmt: skip
_COPIES = {"aside": "{} aside", "in order": "{} in order", "panels": "panels of {}", "result": "{}", "variable": "{}"}
_SCRATCH = {"packed_x": "packed rows", "sums": "sums between blocks"}


def _kept(call: KernelCall) -> list[tuple[View, str]]:
    """What the call's scratch holds."""
    if call.blocking is not None:
        names = [f"scratch: {_SCRATCH[name]}" for name in call.blocking.scratch]
    elif call.schedule is not None:
        names = [f"scratch: {node.op.name}" for node in call.schedule.spills]
        names += [f"scratch: blocks of {node.op.name}" for node in call.schedule.long]
        names += ["scratch: transposed tiles"] * (len(call.scratch) - len(names))
    else:
        names = []
    return list(zip(call.scratch, names, strict=True))


def _working(nodes: Iterable[Node]) -> list[Node]:
    """Those that cost something in a loop."""
    return [node for node in nodes if node.op not in (ops.constant_op, ops.broadcast, ops.iota, ops.reshape)]


def _ops(nodes: Sequence[Node]) -> str:
    counts = Counter(node.op.name for node in nodes)
    return ", ".join(name if count == 1 else f"{count} {name}" for name, count in counts.items())


def _of_product(blocking: Blocking) -> str:
    """What a chunk of a product is."""
    rows = "all rows" if blocking.row_chunks == 1 else f"{_count(blocking.tiles_per_chunk, 'tile')} of rows"
    if blocking.panels == 1:
        return f"{rows} by all columns"
    return f"{rows} by {'all' if blocking.packed_x else '1 of'} {blocking.panels} panels of {blocking.nr} columns"


def _chunks(count: int, parallel: bool) -> str:
    return _count(count, "chunk") + (" on threads" if parallel and count > 1 else "")


def _count(number: int, what: str) -> str:
    return f"{number:,d} {what}" + ("" if number == 1 else "s")


def _duration(seconds: float) -> str:
    return f"~{seconds * 1e6:,.1f} µs" if seconds >= 1e-6 else f"~{seconds * 1e9:,.1f} ns"


def _letters(number: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    rest, last = divmod(number, 26)
    return (_letters(rest - 1) if rest else "") + chr(ord("A") + last)
