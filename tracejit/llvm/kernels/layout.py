"""How a fusion's values lie over its space: every access with its strides along as few axes as possible, those of the rows
and those of the lanes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tracejit import ops
from tracejit.ir import DType, Graph, Node
from tracejit.ir.strided import broadcast_strides, collapse, contiguous_strides
from tracejit.llvm.kernels.summation import BLOCK, LONG
from tracejit.llvm.plan.schedule import Schedule
from tracejit.llvm.text.arrays import Array
from tracejit.ops import kept_axes

# (node, number): number 0 and up for where a result is written, -1 for where a value is read (or an iota's position).
Key = tuple[Node, int]


@dataclass
class Access:
    """How a value lies: `rows` and `lanes` are strides along the collapsed axes, `unit` is the stride from a unit's copy to
    the next; no pointer for a position."""

    array: Array | None
    rows: tuple[int, ...]
    lanes: tuple[int, ...]
    unit: int = 0

    @property
    def dtype(self) -> DType:
        """The array's dtype."""
        assert self.array is not None
        return self.array.dtype


@dataclass
class Block:
    """What a long end result is collected in, by blocks of `steps` along a row's `axis`: a copy of what comes with one index
    along the axes before, which is then added to that part of the result. Of `shape`, with `strides` in the copy, and in the
    results as `totals` says."""

    axis: int
    steps: int
    copy: Access
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    totals: list[Access]


class Layout:
    """`access[key]` for every value that is read or written, over `row_shape` and, within a row, `lane_shape`. `rows` are
    computed at one time. `results` are where the values are written, those of `blocks` a block at a time; `ends` where end
    results are complete."""

    def __init__(
        self,
        body: Graph,
        plan: Schedule,
        operands: Sequence[Array],
        results: Sequence[Array],
        scratch: Sequence[Array],
    ):
        self.body, self.plan = body, plan
        self.operands = dict(zip(body.parameters, operands, strict=True))
        self.results: dict[Node, list[Array]] = {}
        for node, array in zip(body.results, results, strict=True):
            self.results.setdefault(node, []).append(array)
        self.ends = {node: list(self.results[node]) for node in plan.end_results}
        self.scratch = dict(zip(plan.spills, scratch[: len(plan.spills)], strict=True))
        self._collapse()
        innermost = self.row_shape[-1] if self.row_shape else 1
        self.rows = min(plan.at_once(math.prod(self.lane_shape)), 1 << max(innermost, 1).bit_length() - 1)
        self.blocks: dict[Node, Block] = {}
        for node, array in zip(plan.long, scratch[len(plan.spills) :], strict=True):
            self._collect_by_blocks(node, array)

    def _collect_by_blocks(self, node: Node, array: Array) -> None:
        """Let an end result be collected by blocks, where it is long as the rows are computed."""
        if not self.row_shape:
            return
        keys = [(node, number) for number in range(len(self.results[node]))]
        totals = [self.access[key] for key in keys]
        rows, lanes = totals[0].rows, totals[0].lanes
        counts = [1 if stride else size for size, stride in zip(self.row_shape, rows, strict=True)]
        if node in self.plan.partial:
            counts[0] = -(-counts[0] // self.plan.units)
        counts[-1] = -(-counts[-1] // self.rows)
        total = math.prod(counts)
        if total <= LONG:
            return
        # So that a block has about as many additions as there are blocks, or more where these are few.
        most, within, axis = max(BLOCK, math.isqrt(total)), 1, len(counts) - 1
        while within * counts[axis] < most:
            within *= counts[axis]
            axis -= 1
        old = rows[axis + 1 :] + lanes
        kept = [size if stride else 1 for size, stride in zip(self.row_shape[axis + 1 :] + self.lane_shape, old, strict=True)]
        own = tuple(stride if before else 0 for stride, before in zip(contiguous_strides(tuple(kept)), old, strict=True))
        split = len(rows) - axis - 1
        copy = Access(array, (0,) * (axis + 1) + own[:split], own[split:], array.strides[0])
        self.blocks[node] = Block(axis, max(most // within, 1), copy, tuple(kept), own, totals)
        for key in keys:
            del self.access[key]
        self.access[node, 0], self.results[node] = copy, [array]

    def _collapse(self) -> None:
        """Collapse the axes of rows and lanes, and give every access its strides along them."""
        space, rows = self.plan.space, self.plan.rows
        found = self._accesses()
        layouts = [strides for _, strides in found.values()]
        if rows == len(space):
            # Nothing is reduced within a row: the last axis that is left when all are collapsed is the one of the lanes.
            sizes, together = collapse(space, layouts)
            self.row_shape, self.lane_shape = sizes[:-1], sizes[-1:]
            parts = [(strides[:-1], strides[-1:]) for strides in together]
        else:
            self.row_shape, outer = collapse(space[:rows], [strides[:rows] for strides in layouts])
            self.lane_shape, inner = collapse(space[rows:], [strides[rows:] for strides in layouts])
            parts = list(zip(outer, inner, strict=True))
        self.access: dict[Key, Access] = {
            key: Access(array, *part, self._unit_stride(key, array))
            for (key, (array, _)), part in zip(found.items(), parts, strict=True)
        }

    def _unit_stride(self, key: Key, array: Array | None) -> int:
        node, number = key
        own = node in (self.scratch if number == -1 else self.plan.partial)
        return array.strides[0] if own and array is not None else 0

    def _accesses(self) -> dict[Key, tuple[Array | None, tuple[int, ...]]]:
        """The array, none for a position, and its strides over the space."""
        space, place = self.plan.space, self.plan.place
        found: dict[Key, tuple[Array | None, tuple[int, ...]]] = {}
        direct = {operand for node in self.body.nodes if node.op is not ops.broadcast for operand in node.operands}
        for node, array in self.operands.items():
            if node in direct:
                found[node, -1] = (array, self._spread(array.strides, place[node]))
        for node in self.body.nodes:
            if node.op is ops.broadcast and node.operands[0] in self.operands:
                array = self.operands[node.operands[0]].broadcast(node.shape, node.attrs["axes"])
                found[node, -1] = (array, self._spread(array.strides, place[node]))
            elif node.op is ops.iota:
                axis = node.attrs["axis"]
                unit = tuple(1 if each == axis else 0 for each in range(len(node.shape)))
                found[node, -1] = (None, self._spread(unit, place[node]))
        for node, arrays in self.results.items():
            for number, array in enumerate(arrays):
                found[node, number] = (array, self._result_strides(node, array))
        for node, array in self.scratch.items():
            rows = self.plan.rows
            found[node, -1] = (array, (0,) * rows + contiguous_strides(space[rows:]))
        return found

    def _spread(self, strides: tuple[int, ...], place: str) -> tuple[int, ...]:
        """Strides over the space of what has them over the space, or over the rows only."""
        if place == "full":
            return strides
        strides = strides if len(strides) == self.plan.rows else (0,) * self.plan.rows
        return strides + (0,) * (len(self.plan.space) - self.plan.rows)

    def _result_strides(self, node: Node, array: Array) -> tuple[int, ...]:
        place = self.plan.place[node]
        if place != "end":
            return self._spread(array.strides, place)
        source = node.operands[0]
        own = array.strides[1:] if node in self.plan.partial else array.strides
        kept = kept_axes(len(source.shape), node.attrs["axes"])
        return self._spread(broadcast_strides(node.shape, own, source.shape, kept), self.plan.place[source])
