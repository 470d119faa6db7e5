"""How a fusion's body runs: which values exist a row, which a point, and in which loop pass over the row each is computed.

A reduction over the row is known only after the pass that collects it, so what needs it waits for the next. A value that a
later pass needs again is computed again where that is cheap, else kept in a scratch row.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from tracejit import ops
from tracejit.ir import Graph, Node
from tracejit.ir.op import Reduction, Scalar
from tracejit.llvm.plan.summation import LONG

# -- limits, of shapes alone, since they decide in which order numbers are added. Where none is given, no figure is recorded.

# A chunk has at least so many elements: then what it costs to begin one, and to combine what each has accumulated, is little.
_CHUNK_ELEMENTS = 1 << 15
# There are at most so many chunks, and no more than leave what all of them accumulate and keep in scratch rows below this share
# of the elements: each has memory of its own for it.
_MOST_CHUNKS, _OWN_SHARE = 1024, 1 / 32
# How many rows of at most so many bytes are computed at one time. One row's operations wait for each other: its reductions end
# in a chain, and a short one has too few vectors to fill the time. (With register blocks of several registers, layer norm with
# gelu on 32 rows of 1024 took 28 instead of 45 µs.)
_ROW_UNROLL = ((128, 8), (1024, 4), (4096, 2))
# More than 4 are worth the time to compile them only where there are so many rows.
_FEW_ROWS, _MANY_ROWS = 4, 512
# And rows of any length, where they are read once and accumulated along their columns: the sums are loaded and stored once. Of
# rows that fill no more than a register of so many bytes, as many.
_ACCUMULATED_ROWS, _REGISTER, _SHORT_ROWS = 4, 64, 16
# A value that a later pass needs again is computed again where that takes at most so many ops, none of them costly, else it is
# stored in a scratch row and loaded: an estimate of what these two cost.
_RECOMPUTED_OPS = 6

# A point has a value of its own in each element of the space, a row one that its elements share, an accumulator one that is
# complete only when all rows are.
Kind = Literal["point", "row", "accumulator"]


class LoopPass(NamedTuple):
    """A loop over a row: what it reduces, stores as a result and keeps for a later one."""

    reductions: tuple[Node, ...]
    results: tuple[Node, ...]
    spills: tuple[Node, ...] = ()


@dataclass(frozen=True, eq=False)
class Schedule:
    """`kind[node]` says what a value is; `number[node]` which of the `passes` computes a point, or for a row's value after how
    many of them it is known. `rows` axes of the space are those of the rows. The rows are divided into `chunks`, which do not
    need each other."""

    space: tuple[int, ...]
    rows: int
    kind: Mapping[Node, Kind]
    number: Mapping[Node, int]
    passes: tuple[LoopPass, ...]
    row_results: tuple[Node, ...]
    accumulators: tuple[Node, ...]
    chunks: int = 1

    @property
    def spills(self) -> list[Node]:
        """The values that need a scratch row, in the order of their passes."""
        return [node for loop in self.passes for node in loop.spills]

    @property
    def longest(self) -> int:
        """The number of the pass that computes most."""
        counts = Counter(self.number[node] for node, kind in self.kind.items() if kind == "point")
        return max(counts, key=counts.__getitem__, default=0)

    @property
    def widest(self) -> int:
        """The bytes in a register of the largest element of a point."""
        return max((node.dtype.accumulator.size for node, kind in self.kind.items() if kind == "point"), default=8)

    def row_unroll(self, elements: int) -> int:
        """How many rows of so many elements are computed at one time, a power of two."""
        nbytes = elements * self.widest
        if len(self.passes) == 1 and self.accumulators:
            return _ACCUMULATED_ROWS if nbytes > _REGISTER else _SHORT_ROWS
        rows = next((rows for most, rows in _ROW_UNROLL if nbytes <= most), 1)
        return rows if rows <= _FEW_ROWS or math.prod(self.space) >= _MANY_ROWS * elements else _FEW_ROWS

    @property
    def divided(self) -> int | None:
        """The axis that chunks divide, the first that is longer than 1."""
        return next((axis for axis in range(self.rows) if self.space[axis] > 1), None)

    @property
    def partial(self) -> list[Node]:
        """The accumulators of which each chunk has a copy, to be combined when all are done: it has all elements of each."""
        return [node for node in self.accumulators if self.chunks > 1 and self.divided in node.attrs["axes"]]

    @property
    def long(self) -> list[Node]:
        """The accumulators to whose elements a chunk may add so many rows that it is done by blocks, which have memory."""
        return [node for node in self.accumulators if node.dtype.is_floating and self._added(node) > LONG]

    def _added(self, node: Node) -> int:
        """How many rows a chunk adds to an element of an accumulator, at the most."""
        rows = math.prod(self.space[axis] for axis in node.attrs["axes"] if axis < self.rows)
        return -(-rows // self.chunks) if node in self.partial else rows

    def block_shape(self, node: Node) -> tuple[int, int]:
        """For each chunk as many elements as a block of a long accumulator has at the most: what comes with one index along the
        first of the axes that are summed."""
        axes = node.attrs["axes"]
        return self.chunks, math.prod(self.space[axis] for axis in range(axes[0], len(self.space)) if axis not in axes)

    @property
    def scratch_shape(self) -> tuple[int, ...]:
        """Each chunk has a scratch row for each of the rows that are computed at one time."""
        row = self.space[self.rows :]
        return self.chunks, self.row_unroll(math.prod(row)), *row


def schedule(body: Graph, space: tuple[int, ...], rows: int, divide: bool = True) -> Schedule:
    """The schedule of a fusion's body; where it may be divided, with as many chunks as its shapes ask for: of them alone, so
    that sums are the same by any number of threads."""
    kind, number = _kinds(body, space, rows)
    count = 1 + max((number[node] for node in kind if kind[node] == "point"), default=0)
    reductions: list[list[Node]] = [[] for _ in range(count)]
    for node in body.nodes:
        if isinstance(node.op.lower, Reduction) and kind[node.operands[0]] == "point":
            reductions[number[node.operands[0]]].append(node)
    results = tuple(dict.fromkeys(body.results))
    stored = [tuple(node for node in results if kind[node] == "point" and number[node] == current) for current in range(count)]
    passes = tuple(LoopPass(tuple(reduced), kept) for reduced, kept in zip(reductions, stored, strict=True))
    spills = _spills(kind, number, passes)
    passes = tuple(loop._replace(spills=tuple(kept)) for loop, kept in zip(passes, spills, strict=True))
    row_results, accumulators = (tuple(node for node in results if kind[node] == own) for own in ("row", "accumulator"))
    whole = Schedule(space, rows, kind, number, passes, row_results, accumulators)
    if divide and whole.divided is not None and 0 not in space:
        return replace(whole, chunks=_chunks(whole, whole.divided))
    return whole


def _kinds(body: Graph, space: tuple[int, ...], rows: int) -> tuple[dict[Node, Kind], dict[Node, int]]:
    """What each value is, and the number of its pass."""
    kind: dict[Node, Kind] = {}
    number: dict[Node, int] = {}
    for parameter in body.parameters:
        kind[parameter], number[parameter] = ("point" if parameter.shape == space else "row"), 0
    for node in body.nodes:
        kind[node] = _kind(node, kind, space, rows)
        number[node] = max((number[operand] for operand in node.operands), default=0)
        if kind[node] == "row" and isinstance(node.op.lower, Reduction):
            number[node] += 1
    lead = space[:rows]
    assert all(kind[node] != "row" or node.shape == lead or node in body.parameters or _is_constant(node) for node in kind)
    return kind, number


def _kind(node: Node, kind: Mapping[Node, Kind], space: tuple[int, ...], rows: int) -> Kind:
    if isinstance(node.op.lower, Reduction):
        (x,) = node.operands
        trailing = node.attrs["axes"] == tuple(range(rows, len(space)))
        return "row" if kind[x] == "point" and trailing and rows < len(space) else "accumulator"
    if _is_constant(node):
        return "row"
    return "point" if node.shape == space else "row"


def _is_constant(node: Node) -> bool:
    return node.op is ops.constant_op


def _chunks(whole: Schedule, divided: int) -> int:
    elements = math.prod(whole.space)
    accumulated = sum(math.prod(node.shape) for node in whole.accumulators if divided in node.attrs["axes"])
    own = accumulated + sum(math.prod(whole.space[whole.rows :]) for _ in whole.spills)
    most = min(_MOST_CHUNKS, int(elements * _OWN_SHARE) // own) if own else _MOST_CHUNKS
    rows = whole.space[divided] // whole.row_unroll(math.prod(whole.space[whole.rows :]))
    return max(min(elements // _CHUNK_ELEMENTS, rows, most), 1)


def _spills(kind: Mapping[Node, Kind], number: Mapping[Node, int], passes: Sequence[LoopPass]) -> list[list[Node]]:
    """What each pass keeps since a later one would have to compute it again at a cost: the last first, since what it wants kept
    is computed in an earlier one, from values that may be kept from one earlier still."""
    spills: list[list[Node]] = [[] for _ in passes]
    costly = _costly(kind, number)
    for current in reversed(range(len(passes))):
        loop = passes[current]
        seen: set[Node] = set()
        stack = [*(reduction.operands[0] for reduction in loop.reductions), *loop.results, *spills[current]]
        while stack:
            node = stack.pop()
            if node in seen or kind[node] != "point" or node.op is ops.parameter:
                continue
            seen.add(node)
            earlier = number[node]
            if earlier < current and (node in passes[earlier].results or node in costly):
                if node not in spills[earlier]:
                    spills[earlier].append(node)
            elif node.op is not ops.broadcast:
                stack.extend(node.operands)
    return spills


def _costly(kind: Mapping[Node, Kind], number: Mapping[Node, int]) -> set[Node]:
    """The points that take an expensive op to compute again, or more than a few cheap ones. What is costly of an earlier pass
    than a point's own is kept in any case."""
    costly: set[Node] = set()
    for node in kind:  # operands come first
        if kind[node] == "point" and _is_costly(node, kind, number, costly):
            costly.add(node)
    return costly


def _is_costly(node: Node, kind: Mapping[Node, Kind], number: Mapping[Node, int], known: Container[Node]) -> bool:
    stack, again = [node], set()
    while stack:
        needed = stack.pop()
        if needed in again or needed.op in (ops.parameter, ops.broadcast, ops.constant_op, ops.iota):
            continue
        if number[needed] < number[node] and needed in known:
            continue
        again.add(needed)
        if (isinstance(needed.op.lower, Scalar) and needed.op.lower.costly) or len(again) > _RECOMPUTED_OPS:
            return True
        stack.extend(operand for operand in needed.operands if kind[operand] == "point")
    return False


def may_overwrite(schedule: Schedule, body: Graph, operand: int, result: int) -> bool:
    """Whether result number `result` may be written over operand number `operand`, which lies just as it does: each
    element is read for the last time no later than it is written."""
    parameter, value = body.parameters[operand], body.results[result]
    if parameter.type is not value.type or schedule.kind[value] == "accumulator":
        return False
    single_row = all(size == 1 for size in schedule.space[: schedule.rows])
    for node in body.nodes:
        if parameter in node.operands:
            if schedule.kind[value] == "row":
                # Written once its row is done; read by the rows after only if it is broadcast over them.
                if not single_row and schedule.kind[node] != "row":
                    return False
            elif node.op is ops.broadcast or (isinstance(node.op.lower, Reduction) and schedule.kind[parameter] != "point"):
                return False
    if schedule.kind[value] == "point":
        return schedule.kind[parameter] == "point" and schedule.number[value] == len(schedule.passes) - 1
    return schedule.kind[parameter] == "row"
