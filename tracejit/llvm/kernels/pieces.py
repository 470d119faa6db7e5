"""What a fusion computes at one time: a piece, and how its lanes are put together and combined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from tracejit.ir import Node
from tracejit.ir.op import Reduction
from tracejit.ir.types import int64
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.layout import Access, Block, Key
from tracejit.llvm.kernels.movement import emit_combine, emit_fill
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.builder import joined, shuffled
from tracejit.llvm.text.types import Lanes

if TYPE_CHECKING:
    from tracejit.llvm.kernels.loops import Fusion


class Piece:
    """`width` elements, `ahead` behind `position`, of each row; of which the first `active` exist, all where it is None."""

    def __init__(self, fusion: Fusion, position: Lanes, ahead: int, width: int, active: int | None):
        self.fusion, self.b, self.rows = fusion, fusion.b, fusion.rows
        self.position, self.ahead, self.width = position, ahead, width
        self.active = None if active == width else active

    def _pointer(self, key: Key, row: int) -> str:
        fusion, b = self.fusion, self.b
        dtype, stride = fusion.access[key].dtype, fusion.lane_stride(key)
        start = b.address(fusion.starts[key], dtype, self.ahead * stride + row * fusion.row_stride(key))
        return b.address(start, dtype, index=self.position, stride=stride)

    def load(self, key: Key) -> Lanes:
        fusion = self.fusion
        dtype, stride = fusion.access[key].dtype, fusion.lane_stride(key)
        rows = self.rows if fusion.row_stride(key) else 1
        parts = [self.b.load_at(self._pointer(key, row), dtype, self.width, stride, self.active) for row in range(rows)]
        return joined(self.b, parts * (self.rows // rows))

    def fetch(self, key: Key, ahead: int, written: bool) -> None:
        """Bring the elements of the rows that are `ahead` rows away into the second-level cache, where there are such rows."""
        b, dtype = self.b, self.fusion.access[key].dtype
        for row in range(self.rows):
            for element in range(0, self.width, b.machine.line // dtype.size):
                b.prefetch(b.address(self._pointer(key, row + ahead), dtype, element), written)

    def store(self, value: Lanes, key: Key) -> None:
        b, stride, register = self.b, self.fusion.lane_stride(key), self._streamed(key)
        for row in range(self.rows):
            part = shuffled(b, value, range(row * self.width, (row + 1) * self.width))
            if not register:
                b.store_at(part, self._pointer(key, row), stride, self.active)
                continue
            for start in range(0, self.width, register):
                one = shuffled(b, part, range(start, start + register))
                place = b.address(self._pointer(key, row), value.dtype, start)
                b.write(one.ref, place, value.dtype, register, streamed=True)

    def _streamed(self, key: Key) -> int:
        """The elements of a register, where a result is written past the caches in whole ones; else 0."""
        access, register = self.fusion.access[key], self.b.lanes_for(self.fusion.access[key].dtype)
        array = access.array
        steps = (*access.rows, *access.lanes[:-1], self.width, self.ahead)
        whole = self.active is None and access.lanes[-1:] == (1,) and not any(step % register for step in steps)
        return register if array is not None and array.streamed and whole else 0

    def collect(self, node: Node, value: Lanes, key: Key) -> None:
        """Combine with the elements of an end result, which has one for each along the last axis."""
        fusion, b = self.fusion, self.b
        rows = self.rows
        if not fusion.row_stride(key):
            value, rows = folded(b, node, value, 1, self.width), 1
        for row in range(rows):
            pointer, stride = self._pointer(key, row), fusion.lane_stride(key)
            part = shuffled(b, value, range(row * self.width, (row + 1) * self.width))
            before = b.load_at(pointer, node.dtype, self.width, stride, self.active)
            b.store_at(combine(b, node, before, part), pointer, stride, self.active)

    def positions(self, node: Node) -> Lanes:
        fusion, b = self.fusion, self.b
        access = fusion.access[node, -1]
        along = list(zip(fusion.outer, access.lanes[:-1], strict=False))
        if access.lanes:
            position = b.add(self.position, b.const(self.ahead, int64)) if self.ahead else self.position
            along.append((position, access.lanes[-1]))
        return fusion.positions(node, access.rows, along, self.width)

    def filled(self, value: Lanes, neutral: object) -> Lanes:
        """As many lanes as a whole piece has, with `neutral` for the elements that do not exist."""
        whole, active = self.fusion.width, self.active or self.width
        if active == whole:
            return value
        empty = self.b.const(neutral, value.dtype, value.lanes)
        lanes: list[int] = []
        for row in range(self.rows):
            lanes += [row * self.width + lane for lane in range(active)] + [value.lanes] * (whole - active)
        return shuffled(self.b, value, lanes, empty)


def compute(b: KernelBuilder, node: Node, operands: Sequence[Lanes]) -> Lanes:
    """The value of an elementwise op, whose operands have one lane or all as many."""
    return node.op.lower.emit(b, *operands, **node.attrs)  # type: ignore[union-attr]


def identity(node: Node) -> object:
    lower = node.op.lower
    assert isinstance(lower, Reduction)
    return lower.identity(node.dtype)


def combine(b: KernelBuilder, node: Node, x: Lanes, y: Lanes) -> Lanes:
    lower = node.op.lower
    assert isinstance(lower, Reduction)
    return lower.combine(b, x, y)


def folded(b: KernelBuilder, node: Node, value: Lanes, rows: int, width: int) -> Lanes:
    """`value`, which is `rows` parts of lanes, with those of each part combined by halves until `width` are left."""
    while value.lanes > rows * width:
        part, half = value.lanes // rows, value.lanes // 2
        first, second = shuffled(b, value, range(half)), shuffled(b, value, range(half, 2 * half))
        if rows > 1:
            # As shuffles of two operands that have as many lanes as the result, which LLVM understands at once.
            low = [row * part + lane for row in range(rows) for lane in range(part // 2)]
            high = [lane + part // 2 for lane in low]
            first, second = shuffled(b, first, low, second), shuffled(b, first, high, second)
        value = combine(b, node, first, second)
    return value


# -- end results that are collected by blocks


def begin_blocks(b: KernelBuilder, blocks: Mapping[Node, Block], unit: Lanes | None) -> None:
    """Begin a block of each of these end results."""
    for node, block in blocks.items():
        emit_fill(b, _copy(b, node, block, unit), identity(node))


def end_blocks(b: KernelBuilder, blocks: Mapping[Node, Block], unit: Lanes | None, outer: Sequence[Lanes]) -> None:
    """Combine what was collected behind the index `outer` with the results."""
    for node, block in blocks.items():
        own = _copy(b, node, block, unit)
        for total in block.totals:
            pointer = _unit_start(b, total, unit)
            for position, stride in zip(outer, total.rows, strict=False):
                pointer = b.address(pointer, node.dtype, index=position, stride=stride)
            target = Array(block.shape, (*total.rows, *total.lanes)[block.axis + 1 :], 0, node.dtype, pointer)
            emit_combine(b, target, [target, own], partial(combine, b, node))


def _copy(b: KernelBuilder, node: Node, block: Block, unit: Lanes | None) -> Array:
    return Array(block.shape, block.strides, 0, node.dtype, _unit_start(b, block.copy, unit))


def _unit_start(b: KernelBuilder, access: Access, unit: Lanes | None) -> str:
    """Where the part of a unit begins."""
    assert access.array is not None
    start = b.place(access.array)
    return start if unit is None else b.address(start, access.dtype, index=unit, stride=access.unit)
