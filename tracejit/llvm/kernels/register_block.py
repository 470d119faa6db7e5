"""What a fusion computes at one time: a register block, `width` elements along the last axis of each of some rows.

They are the lanes of one value, the first row's first. It fills several registers, so that the instructions that wait for each
other have others between them; LLVM takes it apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tracejit.ir import Node
from tracejit.ir.types import int64
from tracejit.llvm.kernels.body import combine, horizontal_reduce, identity
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.plan.layout import Access, Key
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.builder import concat, shuffled
from tracejit.llvm.text.types import SCALAR_TYPES, Lanes


class RegisterBlock(NamedTuple):
    """`width` elements, `ahead` behind `position`, of each row; of which the first `active` exist, all where it is None.
    `starts` is where the first row of each array begins, `in_tile` the position in the tile of what lies across the rows."""

    b: KernelBuilder
    arrays: Sequence[Array]
    access: Mapping[Key, Access]
    starts: Mapping[Key, str]
    rows: int
    position: Lanes
    ahead: int
    width: int
    active: int | None
    in_tile: Lanes

    @property
    def lanes(self) -> int:
        return self.rows * self.width

    def _pointer(self, key: Key, row: int) -> str:
        b, access = self.b, self.access[key]
        position = self.position if access.across is None else self.in_tile
        start = b.address(self.starts[key], access.dtype, self.ahead * access.lane_step + row * access.row_step)
        return b.address(start, access.dtype, index=position, stride=access.lane_step)

    def _row(self, value: Lanes, row: int) -> Lanes:
        return shuffled(self.b, value, range(row * self.width, (row + 1) * self.width))

    def load(self, key: Key) -> Lanes:
        access = self.access[key]
        rows = self.rows if access.row_step else 1
        parts = [
            self.b.load_at(self._pointer(key, row), access.dtype, self.width, access.lane_step, self.active)
            for row in range(rows)
        ]
        return concat(self.b, parts * (self.rows // rows))

    def prefetch(self, key: Key, ahead: int, written: bool) -> None:
        """Bring the elements of the rows that are `ahead` rows away into the second-level cache, where there are such rows."""
        b, dtype = self.b, self.access[key].dtype
        for row in range(self.rows):
            for element in range(0, self.width, b.machine.line // dtype.size):
                b.prefetch(b.address(self._pointer(key, row + ahead), dtype, element), written)

    def store(self, value: Lanes, key: Key) -> None:
        b, stride, register = self.b, self.access[key].lane_step, self._nontemporal_lanes(key)
        for row in range(self.rows):
            part = self._row(value, row)
            if not register:
                b.store_at(part, self._pointer(key, row), stride, self.active)
                continue
            for start in range(0, self.width, register):
                one = shuffled(b, part, range(start, start + register))
                target = b.address(self._pointer(key, row), value.dtype, start)
                b.write(one.ref, target, value.dtype, register, nontemporal=True)

    def _nontemporal_lanes(self, key: Key) -> int:
        """How many elements, a register or a half or a quarter of one, are written past the caches at one time; 0 where none
        are."""
        access = self.access[key]
        nontemporal = access.argument is not None and self.arrays[access.argument].nontemporal
        if not nontemporal or self.active is not None or access.lanes[-1:] != (1,):
            return 0
        register = self.b.lanes_for(access.dtype)
        lanes = math.gcd(register, *access.rows, *access.lanes[:-1], self.width, self.ahead)
        return lanes if lanes >= max(register // 4, 1) else 0

    def accumulate(self, node: Node, value: Lanes, key: Key) -> None:
        """Combine with the elements of an accumulator, which has one for each along the last axis."""
        b, access, rows = self.b, self.access[key], self.rows
        if not access.row_step:
            value, rows = horizontal_reduce(b, node, value, 1, self.width), 1
        for row in range(rows):
            pointer, part = self._pointer(key, row), self._row(value, row)
            before = b.load_at(pointer, node.dtype, self.width, access.lane_step, self.active)
            b.store_at(combine(b, node, before, part), pointer, access.lane_step, self.active)

    def mask_with_identity(self, node: Node, value: Lanes, width: int) -> Lanes:
        """As many lanes as a register block of `width` has, with the reduction's identity for elements that do not exist."""
        active = self.active or self.width
        if active == width:
            return value
        empty = self.b.const(identity(node), value.dtype, value.lanes)
        lanes: list[int] = []
        for row in range(self.rows):
            lanes += [row * self.width + lane for lane in range(active)] + [value.lanes] * (width - active)
        return shuffled(self.b, value, lanes, empty)

    def positions(self, node: Node, index: Sequence[Lanes], outer: Sequence[Lanes]) -> Lanes:
        """An iota's lanes, for the rows at `index` and behind `outer` along the axes of a row."""
        b, access = self.b, self.access[node, -1]
        axes = [*zip(index, access.rows, strict=True), *zip(outer, access.lanes[:-1], strict=False)]
        if access.lanes:
            position = b.add(self.position, b.const(self.ahead, int64)) if self.ahead else self.position
            axes.append((position, access.lanes[-1]))
        return positions(b, node, axes, (self.rows, access.row_step), (self.width, access.lane_step))


def positions(
    b: KernelBuilder, node: Node, axes: Sequence[tuple[Lanes, int]], rows: tuple[int, int], lanes: tuple[int, int]
) -> Lanes:
    """An iota's lanes: the sum over `axes` of each index times its stride, and the steps of as many `rows`, and of as many
    `lanes` in each, as stand before them."""
    dtype = node.dtype if node.dtype.is_integer else int64
    total = b.const(0, int64)
    for position, stride in axes:
        if stride and position.ref != "0":
            part = position if stride == 1 else b.mul(position, b.const(stride, int64))
            total = part if total.ref == "0" else b.add(total, part)
    (row_count, row_step), (width, lane_step) = rows, lanes
    steps = [row * row_step + lane * lane_step for row in range(row_count) for lane in range(width)]
    first = b.widen(b.cast(total, dtype), len(steps))
    if any(steps):
        scalar = SCALAR_TYPES[dtype]
        first = b.emit(dtype, len(steps), f"add {first}, <{', '.join(f'{scalar} {step}' for step in steps)}>")
    return b.cast(first, node.dtype)
