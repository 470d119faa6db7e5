"""Kernels of indices: gather and scatter_add, the check that indices lie inside, and where along an axis the extreme lies."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tracejit.ir import Node
from tracejit.ir.strided import collapse, collapsed, in_memory_order
from tracejit.ir.types import DType, bool_, int32, int64
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.movement import emit_combine, emit_copy, emit_fill
from tracejit.llvm.kernels.tails import overlapped_loop, overlapped_start
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.powers import power_below
from tracejit.llvm.text.types import SCALAR_TYPES, Lanes


def emit_check_range(b: KernelBuilder, node: Node, out: Array, x: Array) -> None:
    """Set `out` to x, once every integer of it is known to lie in the node's range."""
    _check(b, x, node.attrs["low"], node.attrs["high"])
    emit_copy(b, out, x)


def emit_check_nonzero(b: KernelBuilder, node: Node, out: Array, x: Array) -> None:
    """Set `out` to x, and fail where an element is 0."""

    def element(position: list[Lanes]) -> None:
        value = b.load(x, position)
        b.fail_if(b.compare("eq", value, b.const(0, value.dtype)))
        b.store(out, position, value)

    b.loops(x.shape, element)


def _check(b: KernelBuilder, array: Array, low: int, high: int) -> None:
    """Fail unless every integer of `array` lies in low..high-1."""
    (array,) = in_memory_order(array)
    if 0 in array.shape:
        return
    if high <= low:
        b.fail_if(b.const(True, bool_))
        return
    dtype, count = array.dtype, array.shape[-1] if array.shape else 1
    stride = array.strides[-1] if array.shape else 1
    kind = dtype if dtype.min <= low and high - 1 <= dtype.max else int64
    lanes = min(b.lanes_for(kind), power_below(count))

    def row(index: list[Lanes]) -> None:
        start = b.first_element(b.subarray(array, 0, index))

        def vector(first: Lanes, carried: list[Lanes]) -> list[Lanes]:
            first = overlapped_start(b, first, count, lanes)
            value = b.cast(b.load_at(b.address(start, dtype, index=first, stride=stride), dtype, lanes, stride), kind)
            # Without a sign, what lies below `low` is more than any distance from it.
            distance = b.sub(value, b.const(low, kind)) if low else value
            return [b.intrinsic("umax", carried[0], distance)]

        (most,) = b.loop(count, vector, [b.const(0, kind, lanes)], step=lanes)
        outside = b.emit(bool_, lanes, f"icmp ugt {most}, {b.const(high - 1 - low, kind, lanes).ref}")
        b.fail_if(b.any_lane(outside))

    b.loops(array.shape[:-1], row)


def emit_gather(b: KernelBuilder, node: Node, out: Array, params: Array, indices: Array) -> None:
    """Set the slices of `out` to those of `params` at `indices`; nothing is written where one is outside."""
    axis = node.attrs["axis"]
    _check(b, indices, 0, params.shape[axis])
    out, indices = _collapsed_indices(out, indices, axis)

    def before(outer: list[Lanes]) -> None:
        target, source = (b.subarray(array, 0, outer) for array in (out, params))

        def one_slice(position: list[Lanes]) -> None:
            index = b.cast(b.load(indices, position), int64)
            emit_copy(b, b.subarray(target, 0, position), b.subarray(source, 0, [index]))

        (b.loops if axis else b.loops_divided)(indices.shape, one_slice)

    (b.loops_divided if axis else b.loops)(params.shape[:axis], before)


def emit_scatter_add(b: KernelBuilder, node: Node, out: Array, updates: Array, indices: Array) -> None:
    """Set `out` to 0, then add each slice of `updates`, in order, at its index; not where one is outside."""
    axis = node.attrs["axis"]
    _check(b, indices, 0, out.shape[axis])
    emit_fill(b, out, 0)
    updates, indices = _collapsed_indices(updates, indices, axis)

    def before(outer: list[Lanes]) -> None:
        target, source = (b.subarray(array, 0, outer) for array in (out, updates))

        def one_slice(position: list[Lanes]) -> None:
            index = b.cast(b.load(indices, position), int64)
            slot = b.subarray(target, 0, [index])
            emit_combine(b, slot, [slot, b.subarray(source, 0, position)], b.add)

        b.loops(indices.shape, one_slice)

    b.loops(out.shape[:axis], before)


def _collapsed_indices(array: Array, indices: Array, axis: int) -> tuple[Array, Array]:
    """Both with as few axes as possible where `array` has those of `indices`, from `axis` on."""
    end = axis + len(indices.shape)
    shape, (along, own) = collapse(indices.shape, [array.strides[axis:end], indices.strides])
    sizes, strides = array.shape[:axis] + shape + array.shape[end:], array.strides[:axis] + along + array.strides[end:]
    return array.with_layout(sizes, strides), indices.with_layout(shape, own)


# -- where the extreme lies


def emit_arg_extreme(b: KernelBuilder, node: Node, out: Array, x: Array, better: str) -> None:
    """Set `out` to where along the node's axis the first of the elements lies than which none is `better`; 0 where all are NaN
    or infinitely bad."""
    axis = node.attrs["axis"]
    step, count = x.strides[axis], x.shape[axis]
    rest = x.strides[:axis] + x.strides[axis + 1 :]
    target, source = collapsed([out, x.with_layout(out.shape, rest)])
    if 0 in target.shape:
        return
    # The vectors lie along the axis with the nearest neighbours.
    axes = range(len(target.shape))
    nearest = min(axes, key=lambda axis: abs(source.strides[axis]), default=None)
    beside = nearest is not None and (count == 1 or abs(source.strides[nearest]) < abs(step))
    if beside:
        order = sorted(axes, key=lambda axis: axis == nearest)
        target, source = target.transpose(order), source.transpose(order)
    search = _Search(b, x.dtype, count, step, better)

    def row(index: list[Lanes]) -> None:
        to, at = (b.first_element(b.subarray(array, 0, index)) for array in (target, source))
        if beside:
            search.beside(to, at, target.shape[-1], target.strides[-1], source.strides[-1])
        else:
            search.along(to, at)

    b.loops_divided(target.shape[:-1] if beside else target.shape, row)


def _side_by_side(b: KernelBuilder) -> int:
    """The vectors that a search looks at in turns. Each takes a comparison and a selection, two of what is in flight."""
    return b.machine.in_flight // 2


class _Search:
    """Writes the search through `count` elements that lie `step` apart.

    Several vectors are looked at side by side; the best so far are [value, position, value, position...]. They begin with the
    worst value at position 0, which every number but itself takes the place of, and no NaN.
    """

    def __init__(self, b: KernelBuilder, dtype: DType, count: int, step: int, better: str):
        self.b, self.dtype, self.count, self.step, self.better = b, dtype, count, step, better
        self.kind = int32 if dtype.size == 4 and count <= int32.max else int64

    def beside(self, to: str, at: str, size: int, down: int, across: int) -> None:
        """Search in `size` places that lie `across` apart, and write the positions `down` apart."""
        b, dtype = self.b, self.dtype
        lanes = min(b.lanes_for(dtype), power_below(size))
        times = min(_side_by_side(b), power_below(size // lanes))

        def block(first: Lanes) -> None:
            start, end = b.address(at, dtype, index=first, stride=across), b.address(to, int64, index=first, stride=down)

            def values(index: Lanes) -> list[Lanes]:
                row = b.address(start, dtype, index=index, stride=self.step)
                return [b.load_at(b.address(row, dtype, n * lanes * across), dtype, lanes, across) for n in range(times)]

            best = b.loop(self.count, lambda index, best: self._step(best, values(index), index), self._begin(times, lanes))
            for n, position in enumerate(best[1::2]):
                b.store_at(b.cast(position, int64), b.address(end, int64, n * lanes * down), down)

        overlapped_loop(b, size, lanes * times, block)

    def along(self, to: str, at: str) -> None:
        """Search in the one place `at`."""
        b, dtype, step, count = self.b, self.dtype, self.step, self.count
        lanes = min(b.lanes_for(dtype), power_below(count))
        times = min(_side_by_side(b), power_below(count // lanes))
        whole = count - count % (lanes * times)

        def values(first: Lanes, number: int) -> list[Lanes]:
            start = b.address(at, dtype, index=first, stride=step)
            return [b.load_at(b.address(start, dtype, n * lanes * step), dtype, lanes, step) for n in range(number)]

        def rest(index: Lanes, best: list[Lanes]) -> list[Lanes]:
            first = overlapped_start(b, b.add(index, b.const(whole, int64)), count, lanes)
            return [*self._step(best[:2], values(first, 1), first), *best[2:]]

        best = b.loop(
            whole, lambda index, best: self._step(best, values(index, times), index), self._begin(times, lanes),
            step=lanes * times,
        )  # fmt: skip
        best = b.loop(count - whole, rest, best, step=lanes)
        # A lane knows at which vector it found its best; its own place in the block comes on top.
        candidates = [[best[2 * n], b.add(best[2 * n + 1], self._numbers(lanes, n * lanes))] for n in range(times)]
        while len(candidates) > 1:
            candidates = [self._first(*candidates[n : n + 2]) for n in range(0, len(candidates), 2)]
        (extreme,) = candidates
        while extreme[0].lanes > 1:
            extreme = self._first(*map(list, zip(*[_halves(b, value) for value in extreme], strict=True)))
        b.store_at(b.cast(extreme[1], int64), to)

    def _begin(self, times: int, lanes: int) -> list[Lanes]:
        dtype, upwards = self.dtype, self.better == "gt"
        least, most = (-math.inf, math.inf) if dtype.is_floating else (dtype.min, dtype.max)
        return [self.b.const(least if upwards else most, dtype, lanes), self.b.const(0, self.kind, lanes)] * times

    def _step(self, best: list[Lanes], values: list[Lanes], index: Lanes) -> list[Lanes]:
        b = self.b
        position = b.widen(b.cast(index, self.kind), values[0].lanes)
        after: list[Lanes] = []
        for value, held, held_position in zip(values, best[::2], best[1::2], strict=True):
            wins = b.compare(self.better, value, held)
            after += [b.select(wins, value, held), b.select(wins, position, held_position)]
        return after

    def _numbers(self, lanes: int, first: int) -> Lanes:
        scalar = SCALAR_TYPES[self.kind]
        if lanes == 1:
            return self.b.const(first, self.kind)
        return Lanes("<" + ", ".join(f"{scalar} {first + lane}" for lane in range(lanes)) + ">", self.kind, lanes)

    def _first(self, x: Sequence[Lanes], y: Sequence[Lanes]) -> list[Lanes]:
        """The better of two, the one with the lower position where they are equal."""
        b = self.b
        equal = b.not_(b.compare(self.better, x[0], y[0]))
        wins = b.or_(b.compare(self.better, y[0], x[0]), b.and_(equal, b.compare("lt", y[1], x[1])))
        return [b.select(wins, y[0], x[0]), b.select(wins, y[1], x[1])]


def _halves(b: KernelBuilder, x: Lanes) -> tuple[Lanes, Lanes]:
    half = x.lanes // 2
    if half == 1:
        low, high = (b.emit(x.dtype, 1, f"extractelement {x}, i64 {lane}") for lane in (0, 1))
    else:
        low, high = (
            Lanes(b.shuffle(x.dtype, x.ref, "poison", range(first, first + half), x.lanes), x.dtype, half)
            for first in (0, half)
        )
    return low, high
