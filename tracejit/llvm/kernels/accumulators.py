"""What a fusion accumulates over its rows, complete only at their end: where it begins, how a long one is collected by blocks.

A block of rows has memory of its own, which is then combined with the result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

from tracejit.ir import Node
from tracejit.ir.types import int64
from tracejit.llvm.kernels.body import combine, identity
from tracejit.llvm.kernels.movement import emit_combine, emit_fill
from tracejit.llvm.kernels.nest import Nest, chunk_loop
from tracejit.llvm.plan.layout import Collection
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.types import Lanes


def begin(nest: Nest, node: Node, array: Array) -> None:
    """Begin to accumulate: in the chunk's own copy, or in its part of the one that there is."""
    b, chunk, empty = nest.b, nest.chunk, identity(node)
    if chunk is None:
        emit_fill(b, array, empty)
        return
    pointer = b.address(array.pointer, array.dtype, array.offset)
    if node in nest.schedule.partial:
        pointer = b.address(pointer, array.dtype, index=chunk.number, stride=array.strides[0])
        emit_fill(b, Array(array.shape[1:], array.strides[1:], 0, array.dtype, pointer), empty)
        return
    count = nest.layout.row_shape[0]
    size = math.prod(array.shape) // count

    def fill(position: Lanes, elements: int) -> list[Lanes]:
        start = b.address(pointer, array.dtype, index=position, stride=size)
        emit_fill(b, Array((elements,), (1,), 0, array.dtype, start), empty)
        return []

    _, step = nest.layout.steps(0)
    left = count % step
    chunk_loop(
        b,
        chunk,
        count,
        step,
        lambda position, _: fill(position, step * size),
        lambda _: fill(b.const(count - left, int64), left * size),
        [],
    )


def begin_collections(nest: Nest, collections: Mapping[Node, Collection]) -> None:
    """Begin a block of each."""
    for node, collection in collections.items():
        emit_fill(nest.b, _own(nest, node, collection), identity(node))


def end_collections(nest: Nest, collections: Mapping[Node, Collection], outer: Sequence[Lanes]) -> None:
    """Combine what was collected behind the index `outer` with the results."""
    b = nest.b
    for node, collection in collections.items():
        own = _own(nest, node, collection)
        for total in collection.totals:
            pointer = nest.start(total)
            for position, stride in zip(outer, total.rows, strict=False):
                pointer = b.address(pointer, node.dtype, index=position, stride=stride)
            strides = (*total.rows, *total.lanes)[collection.axis + 1 :]
            target = Array(collection.shape, strides, 0, node.dtype, pointer)
            emit_combine(b, target, [target, own], partial(combine, b, node))


def _own(nest: Nest, node: Node, collection: Collection) -> Array:
    return Array(collection.shape, collection.strides, 0, node.dtype, nest.start(collection.copy))
