"""Moves whole arrays of any layout: by runs of memory, by blocks transposed in registers, by lanes picked from vectors."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.ir.strided import in_memory_order
from tracejit.ir.types import DType, int64
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.tails import masked_loop, overlapped_loop, overlapped_start
from tracejit.llvm.kernels.transposition import PIECE_BYTES, transposed
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.memory import PICKED
from tracejit.llvm.text.powers import power_above, power_below
from tracejit.llvm.text.types import Lanes

# Elements that are moved one after the other in one run through a loop.
_UNROLL = 4


def emit_copy(b: KernelBuilder, target: Array, source: Array, divided: bool = False) -> None:
    """Set every element of `target` to that of `source`, which has its shape, in its dtype; they have no element in common.
    `divided` where it is all that the function does."""
    if target.dtype is not source.dtype:
        _combine_rows(b, target, [source], lambda x, y: x, b.loops_divided if divided else b.loops)
        return
    target, source = in_memory_order(target, source)
    if 0 in target.shape:
        return
    if not target.shape:
        b.write(b.read(b.first_element(source), source.dtype), b.first_element(target), target.dtype)
        return
    last = len(target.shape) - 1
    across = _across(target, source)
    if target.strides[last] == source.strides[last] == 1:
        _copy_runs(b, target, source, divided)
    elif across is not None:
        _copy_transposed(b, target, source, across, divided)
    else:
        _copy_strided(b, target, source, divided)


def _copy_runs(b: KernelBuilder, target: Array, source: Array, divided: bool) -> None:
    def run(index: list[Lanes]) -> None:
        to, at = (b.first_element(b.subarray(array, 0, index)) for array in (target, source))
        b.move_bytes(to, at, target.dtype, target.shape[-1])

    (b.loops_divided if divided else b.loops)(target.shape[:-1], run)


# -- the source runs along another axis than the target


def _across(target: Array, source: Array) -> int | None:
    """The axis along which the source's elements are neighbours, where it is worth while to turn blocks."""
    last = len(target.shape) - 1
    if target.strides[last] != 1 or abs(source.strides[last]) <= PICKED:
        return None
    return next((axis for axis in range(last) if abs(source.strides[axis]) == 1), None)


def _copy_transposed(b: KernelBuilder, target: Array, source: Array, across: int, divided: bool) -> None:
    """Blocks of vectors along the source's axis `across`, written as vectors along the target's last."""
    last = len(target.shape) - 1
    if source.strides[across] < 0:
        target, source = target.reverse([across]), source.reverse([across])
    others = [axis for axis in range(last) if axis != across]

    def matrix(index: list[Lanes]) -> None:
        parts = []
        for array in (target, source):
            start = b.first_element(array)
            for position, axis in zip(index, others, strict=True):
                start = b.address(start, array.dtype, index=position, stride=array.strides[axis])
            shape, strides = (array.shape[across], array.shape[last]), (array.strides[across], array.strides[last])
            parts.append(Array(shape, strides, 0, array.dtype, start))
        if target.shape[last] <= PICKED and target.strides[across] == target.shape[last]:
            _interleave(b, parts[0], parts[1])
        else:
            _transpose(b, parts[0], parts[1], divided and not others)

    (b.loops_divided if divided else b.loops)([target.shape[axis] for axis in others], matrix)


def _interleave(b: KernelBuilder, target: Array, source: Array) -> None:
    """A few long columns of `source`, each without gaps, as the short rows of `target`, which have none between them."""
    dtype, (count, few) = target.dtype, target.shape
    lanes = min(b.lanes_for(dtype), power_below(count))

    def rows(first: Lanes) -> None:
        at = b.address(source.pointer, dtype, index=first)
        to = b.address(target.pointer, dtype, index=first, stride=few)
        columns = [b.read(b.address(at, dtype, column * source.strides[1]), dtype, lanes) for column in range(few)]
        for begin in range(0, few * lanes, lanes):
            picked = [(element % few, element // few) for element in range(begin, begin + lanes)]
            b.write(b.pick(dtype, lanes, columns, picked), b.address(to, dtype, begin), dtype, lanes)

    overlapped_loop(b, count, lanes, rows)


def _transpose(b: KernelBuilder, target: Array, source: Array, divided: bool) -> None:
    """A matrix whose columns have no gaps in `source`, and whose rows have none in `target`."""
    dtype, (across, along) = target.dtype, target.shape
    down, step = target.strides[0], source.strides[1]
    most = b.machine.transposed_vectors
    lanes = min(b.lanes_for(dtype), power_below(across), 2 * most)
    edge = min(lanes, most, power_below(along))
    if edge < lanes:
        edge = min(edge, PIECE_BYTES // dtype.size)

    def block(row: Lanes, column: Lanes, nontemporal: bool) -> None:
        at = b.freeze(b.address(b.address(source.pointer, dtype, index=row), dtype, index=column, stride=step))
        to = b.freeze(b.address(b.address(target.pointer, dtype, index=column), dtype, index=row, stride=down))
        rows = [b.read(b.address(at, dtype, number * step), dtype, lanes) for number in range(edge)]
        for number, value in enumerate(transposed(b, dtype, rows, lanes)):
            b.write(value, b.address(to, dtype, number * down), dtype, edge, nontemporal=nontemporal)

    tile = b.machine.transposed_tile // dtype.size
    high, wide = min(tile, across), min(tile, along)
    grid = -(-along // wide), -(-across // high)
    chunks = math.prod(grid)
    first, last = b.parallel_range(chunks) if divided else (b.const(0, int64), b.const(chunks, int64))

    def tiles(nontemporal: bool) -> None:
        def blocks(first_row: Lanes, first_column: Lanes) -> None:
            def at(row: Lanes, column: Lanes) -> None:
                block(b.add(first_row, row), b.add(first_column, column), nontemporal)

            # What is far from one row to the next is gone through in the order of its memory.
            if nontemporal or abs(step) > abs(down):
                overlapped_loop(b, wide, edge, lambda column: overlapped_loop(b, high, lanes, lambda row: at(row, column)))
            else:
                overlapped_loop(b, high, lanes, lambda row: overlapped_loop(b, wide, edge, lambda column: at(row, column)))

        def chunk(number: Lanes, carried: list[Lanes]) -> list[Lanes]:
            column, row = b.unravel(number, grid)
            first_row = overlapped_start(b, b.mul(row, b.const(high, int64)), across, high)
            blocks(first_row, overlapped_start(b, b.mul(column, b.const(wide, int64)), along, wide))
            return []

        b.loop_between(first, last, chunk)

    whole_registers = edge * dtype.size == b.width and not along % edge and not down % edge
    if across * along * dtype.size >= b.machine.nontemporal_transpose and whole_registers:
        b.when(b.aligned(target.pointer, b.width), lambda: tiles(True), lambda: tiles(False))
        b.line("fence seq_cst")
    else:
        tiles(False)


# -- along the target's last axis, at any strides


def _copy_strided(b: KernelBuilder, target: Array, source: Array, divided: bool) -> None:
    dtype, count = target.dtype, target.shape[-1]
    down, step = target.strides[-1], source.strides[-1]
    lanes = min(b.lanes_for(dtype), power_below(count))
    by_vectors = all(stride == 0 or b.picks(lanes, stride) for stride in (down, step))

    def row(index: list[Lanes]) -> None:
        to, at = (b.first_element(b.subarray(array, 0, index)) for array in (target, source))
        if not by_vectors:
            _copy_elements(b, to, at, down, step, dtype, count)
            return
        same = b.read(at, dtype, lanes, 0) if step == 0 else None

        def vector(first: Lanes) -> None:
            value = same or b.read(b.address(at, dtype, index=first, stride=step), dtype, lanes, step)
            b.write(value, b.address(to, dtype, index=first, stride=down), dtype, lanes, down)

        overlapped_loop(b, count, lanes, vector)

    (b.loops_divided if divided else b.loops)(target.shape[:-1], row)


def _copy_elements(b: KernelBuilder, to: str, at: str, down: int, step: int, dtype: DType, count: int) -> None:
    def unrolled(times: int, begin: int) -> Callable[[Lanes, list[Lanes]], list[Lanes]]:
        def body(first: Lanes, carried: list[Lanes]) -> list[Lanes]:
            source = b.address(at, dtype, begin * step, first, step)
            target = b.address(to, dtype, begin * down, first, down)
            for number in range(times):
                value = b.read(b.address(source, dtype, number * step), dtype)
                b.write(value, b.address(target, dtype, number * down), dtype)
            return []

        return body

    whole = count - count % _UNROLL
    b.loop(whole, unrolled(_UNROLL, 0), step=_UNROLL)
    b.loop(count - whole, unrolled(1, whole))


# -- without a source, and onto what is there


def emit_fill(b: KernelBuilder, target: Array, value: Any) -> None:
    """Set every element of `target` to the number `value`."""
    (target,) = in_memory_order(target)
    dtype, count = target.dtype, target.shape[-1] if target.shape else 1
    stride = target.strides[-1] if target.shape else 1
    if 0 in target.shape:
        return
    lanes = min(b.lanes_for(dtype), power_below(count))
    zero = not any(np.asarray(value, dtype.numpy).tobytes())

    def row(index: list[Lanes]) -> None:
        to = b.first_element(b.subarray(target, 0, index))

        def vector(first: Lanes) -> None:
            b.store_at(b.const(value, dtype, lanes), b.address(to, dtype, index=first, stride=stride), stride)

        if zero and stride == 1:
            b.zero_bytes(to, dtype, count)
        else:
            overlapped_loop(b, count, lanes, vector)

    b.loops(target.shape[:-1], row)


def emit_combine(b: KernelBuilder, target: Array, sources: Sequence[Array], operation: Callable[[Lanes, Lanes], Lanes]) -> None:
    """Set every element of `target` to those of `sources`, which have its shape, combined from the first on. One of them may be
    `target` itself."""
    target, *sources = in_memory_order(target, *sources)
    _combine_rows(b, target, sources, operation, b.loops)


def _combine_rows(
    b: KernelBuilder,
    target: Array,
    sources: Sequence[Array],
    operation: Callable[[Lanes, Lanes], Lanes],
    loops: Callable[[Sequence[int], Callable[[list[Lanes]], None]], None],
) -> None:
    """Combine elements in the target's dtype, a row of the last axis after the other."""
    dtype, count = target.dtype, target.shape[-1] if target.shape else 1
    down, *steps = (array.strides[-1] if array.shape else 1 for array in (target, *sources))
    dtypes = [array.dtype for array in sources]
    lanes = min(b.lanes_for(dtype), power_above(count))

    def row(index: list[Lanes]) -> None:
        to, *starts = (b.first_element(b.subarray(array, 0, index)) for array in (target, *sources))

        def vector(first: Lanes, ahead: int, active: int | None) -> None:
            values = [
                b.cast(b.load_at(b.address(at, own, ahead * step, first, step), own, lanes, step, active), dtype)
                for at, own, step in zip(starts, dtypes, steps, strict=True)
            ]
            b.store_at(functools.reduce(operation, values), b.address(to, dtype, ahead * down, first, down), down, active)

        masked_loop(b, count, lanes, vector)

    loops(target.shape[:-1], row)
