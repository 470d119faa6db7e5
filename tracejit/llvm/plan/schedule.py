"""How a fusion's body runs: which values exist a row, which a lane, and in which sweep over the row each is computed.

A row is swept over in stages: a reduction over the row is known only after the sweep that collects it, so what needs it waits
for the next. A value that a later stage needs again is computed again where that is cheap, else kept in a scratch row.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from tracejit import ops
from tracejit.ir import Graph, Node
from tracejit.ir.op import Reduction, Scalar
from tracejit.llvm.plan.summation import LONG

# A unit has at least so many elements: then what it costs to begin one, and to combine what each has collected, is little.
# There are at most so many units, or fewer where what all collect would be more than a share of the elements.
_UNIT, _MOST_UNITS, _SHARE = 1 << 15, 1024, 1 / 32
# How many rows of at most so many bytes are computed at one time. One row's operations wait for each other: its reductions
# end in a chain, and a short one has too few vectors to fill the time.
_ROWS_AT_ONCE = ((128, 8), (1024, 4), (4096, 2))
# More than 4 are worth the time to compile them only where there are so many rows.
_MANY_ROWS = 512
# And of rows of any length, where they are read once and summed along their columns: the sums are loaded and stored once.
_SUMMED_AT_ONCE = 4


@dataclass
class Stage:
    """One sweep over a row: what it reduces, stores and keeps."""

    reductions: list[Node] = field(default_factory=list)
    results: list[Node] = field(default_factory=list)
    spills: list[Node] = field(default_factory=list)


@dataclass
class Schedule:
    """`place[node]` is full, row, or end; `stage[node]` the sweep that computes a full value, or for a row value the number
    of sweeps after which it is known. The rows are divided into `units`, which do not need each other."""

    space: tuple[int, ...]
    rows: int
    place: dict[Node, str]
    stage: dict[Node, int]
    stages: list[Stage]
    row_results: list[Node]
    end_results: list[Node]
    units: int = 1

    @property
    def spills(self) -> list[Node]:
        """The values that need a scratch row, in the order of their stages."""
        return [node for stage in self.stages for node in stage.spills]

    @property
    def longest(self) -> int:
        """The number of the stage that computes most."""
        counts = Counter(self.stage[node] for node, place in self.place.items() if place == "full")
        return max(counts, key=counts.__getitem__, default=0)

    @property
    def widest(self) -> int:
        """The bytes in a register of the largest element of a full value."""
        return max((node.dtype.accumulator.size for node, place in self.place.items() if place == "full"), default=8)

    def at_once(self, elements: int) -> int:
        """How many rows of so many elements are computed at one time, a power of two."""
        nbytes = elements * self.widest
        if len(self.stages) == 1 and self.end_results:
            return _SUMMED_AT_ONCE if nbytes > 64 else 4 * _SUMMED_AT_ONCE
        rows = next((rows for most, rows in _ROWS_AT_ONCE if nbytes <= most), 1)
        return rows if rows <= 4 or math.prod(self.space) >= _MANY_ROWS * elements else 4

    @property
    def divided(self) -> int | None:
        """The axis that units divide, the first that is longer than 1."""
        return next((axis for axis in range(self.rows) if self.space[axis] > 1), None)

    @property
    def partial(self) -> list[Node]:
        """The end results that each unit collects for itself, to be combined when all are done: it has all elements of each."""
        return [node for node in self.end_results if self.units > 1 and self.divided in node.attrs["axes"]]

    @property
    def long(self) -> list[Node]:
        """The end results to whose elements a unit may add so many rows that it is done by blocks, which have memory."""
        return [node for node in self.end_results if node.dtype.is_floating and self._added(node) > LONG]

    def _added(self, node: Node) -> int:
        """How many rows a unit adds to an element of an end result, at the most."""
        rows = math.prod(self.space[axis] for axis in node.attrs["axes"] if axis < self.rows)
        return -(-rows // self.units) if node in self.partial else rows

    def block_shape(self, node: Node) -> tuple[int, int]:
        """For each unit as many elements as a block of a long end result has at the most: what comes with one index along the
        first of the axes that are summed."""
        axes = node.attrs["axes"]
        return self.units, math.prod(self.space[axis] for axis in range(axes[0], len(self.space)) if axis not in axes)

    @property
    def scratch_shape(self) -> tuple[int, ...]:
        """Each unit has a scratch row for each of the rows that are computed at one time."""
        row = self.space[self.rows :]
        return self.units, self.at_once(math.prod(row)), *row


def schedule(body: Graph, space: tuple[int, ...], rows: int, divide: bool = True) -> Schedule:
    """The schedule of a fusion's body; where it may be divided, with as many units as its shapes ask for: of them alone, so
    that sums are the same by any number of threads."""
    lead = space[:rows]
    place: dict[Node, str] = {}
    stage: dict[Node, int] = {}
    for parameter in body.parameters:
        place[parameter], stage[parameter] = ("full" if parameter.shape == space else "row"), 0
    for node in body.nodes:
        place[node] = _place(node, place, space, rows)
        stage[node] = max((stage[operand] for operand in node.operands), default=0)
        if place[node] == "row" and isinstance(node.op.lower, Reduction):
            stage[node] += 1
    assert all(place[node] != "row" or node.shape == lead or node in body.parameters or _is_constant(node) for node in place)
    found = Schedule(space, rows, place, stage, [], [], [])
    last = max((stage[node] for node in place if place[node] == "full"), default=0)
    found.stages.extend(Stage() for _ in range(last + 1))
    for node in body.nodes:
        if isinstance(node.op.lower, Reduction) and place[node.operands[0]] == "full":
            found.stages[stage[node.operands[0]]].reductions.append(node)
    for node in dict.fromkeys(body.results):
        if place[node] == "full":
            found.stages[stage[node]].results.append(node)
        else:
            (found.row_results if place[node] == "row" else found.end_results).append(node)
    _find_spills(found)
    if divide and found.divided is not None and 0 not in space:
        found.units = _units(found)
    return found


def _units(found: Schedule) -> int:
    assert found.divided is not None
    elements = math.prod(found.space)
    collected = sum(math.prod(node.shape) for node in found.end_results if found.divided in node.attrs["axes"])
    kept = collected + sum(math.prod(found.space[found.rows :]) for _ in found.spills)
    most = min(_MOST_UNITS, int(elements * _SHARE) // kept) if kept else _MOST_UNITS
    rows = found.space[found.divided] // found.at_once(math.prod(found.space[found.rows :]))
    return max(min(elements // _UNIT, rows, most), 1)


def _is_constant(node: Node) -> bool:
    return node.op is ops.constant_op


def _place(node: Node, place: dict[Node, str], space: tuple[int, ...], rows: int) -> str:
    if isinstance(node.op.lower, Reduction):
        (x,) = node.operands
        trailing = node.attrs["axes"] == tuple(range(rows, len(space)))
        return "row" if place[x] == "full" and trailing and rows < len(space) else "end"
    if _is_constant(node):
        return "row"
    return "full" if node.shape == space else "row"


def _find_spills(found: Schedule) -> None:
    """Mark what a later stage would have to compute again at a cost: the last stage first, since what it wants kept is
    computed in an earlier one, from values that may be kept from one earlier still."""
    for number in reversed(range(len(found.stages))):
        stage = found.stages[number]
        seen: set[Node] = set()
        stack = [reduction.operands[0] for reduction in stage.reductions] + stage.results + stage.spills
        while stack:
            node = stack.pop()
            if node in seen or found.place[node] != "full" or node.op is ops.parameter:
                continue
            seen.add(node)
            earlier = found.stage[node]
            if earlier < number and (node in found.stages[earlier].results or _is_costly(node, found)):
                if node not in found.stages[earlier].spills:
                    found.stages[earlier].spills.append(node)
            elif node.op is not ops.broadcast:
                stack.extend(node.operands)


def _is_costly(node: Node, found: Schedule) -> bool:
    """Whether computing `node` again runs an expensive op or more than a few cheap ones. What is costly of an earlier stage
    than its own is kept in any case."""
    stack, seen = [node], set()
    while stack:
        each = stack.pop()
        if each in seen or each.op in (ops.parameter, ops.broadcast, ops.constant_op, ops.iota):
            continue
        if found.stage[each] < found.stage[node] and _is_costly(each, found):
            continue
        seen.add(each)
        if (isinstance(each.op.lower, Scalar) and each.op.lower.costly) or len(seen) > 6:
            return True
        stack.extend(operand for operand in each.operands if found.place[operand] == "full")
    return False


def may_overwrite(found: Schedule, body: Graph, operand: int, result: int) -> bool:
    """Whether result number `result` may be written over operand number `operand`, which lies just as it does: each
    element is read for the last time no later than it is written."""
    parameter, value = body.parameters[operand], body.results[result]
    if parameter.type is not value.type or found.place[value] == "end":
        return False
    single_row = all(size == 1 for size in found.space[: found.rows])
    for node in body.nodes:
        if parameter in node.operands:
            if found.place[value] == "row":
                # Written once its row is done; read by the rows after only if it is spread over them.
                if not single_row and found.place[node] != "row":
                    return False
            elif node.op is ops.broadcast or (isinstance(node.op.lower, Reduction) and found.place[parameter] != "full"):
                return False
    if found.place[value] == "full":
        return found.place[parameter] == "full" and found.stage[value] == len(found.stages) - 1
    return found.place[parameter] == "row"
