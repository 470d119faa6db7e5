"""How a fusion's values lie over its space: every access with its strides along as few axes as possible, those of the rows
and those of the lanes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tracejit import ops
from tracejit.ir import DType, Graph, Node
from tracejit.llvm.kernel import Array, collapse
from tracejit.llvm.schedule import Schedule
from tracejit.ops import contiguous_strides, kept_axes

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


class Layout:
    """`access[key]` for every value that is read or written, over `row_shape` and, within a row, `lane_shape`."""

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
        self.scratch = dict(zip(plan.spills, scratch, strict=True))
        self._collapse()

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
                array = self.operands[node.operands[0]]
                strides = [0] * len(node.shape)
                for axis, size, stride in zip(node.attrs["axes"], array.shape, array.strides, strict=True):
                    strides[axis] = stride if size == node.shape[axis] else 0
                found[node, -1] = (array, self._spread(tuple(strides), place[node]))
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
        strides = [0] * len(source.shape)
        own = array.strides[1:] if node in self.plan.partial else array.strides
        for axis, stride in zip(kept_axes(len(source.shape), node.attrs["axes"]), own, strict=True):
            strides[axis] = stride
        return self._spread(tuple(strides), self.plan.place[source])
