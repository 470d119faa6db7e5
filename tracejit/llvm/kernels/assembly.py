"""Arrays put together of others, part by part: pad and concat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tracejit.ir import Node
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.movement import emit_copy, emit_fill
from tracejit.llvm.text.arrays import Array
from tracejit.ops.shape import concat_parts, pad_layout


def emit_pad(b: KernelBuilder, node: Node, out: Array, x: Array) -> None:
    """Set `out` to x with the node's value around it and between its elements."""
    value, interior = node.attrs["value"], node.attrs["interior"]
    layout = pad_layout(x.shape, node.attrs["low"], interior)
    if any(interior) or 0 in x.shape:
        emit_fill(b, out, value)
    else:
        for border in _borders(out.shape, layout["starts"], x.shape):
            emit_fill(b, out.slice(**border), value)
    emit_copy(b, out.slice(**layout), x)


def _borders(shape: Sequence[int], starts: tuple[int, ...], sizes: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """What of an array of `shape` lies around a part of it, as attributes of slices that do not overlap."""
    rank = len(shape)
    for axis in range(rank):
        end = starts[axis] + sizes[axis]
        for first, size in ((0, starts[axis]), (end, shape[axis] - end)):
            if size:
                before, after = starts[:axis], (0,) * (rank - axis - 1)
                whole = (*sizes[:axis], size, *shape[axis + 1 :])
                yield {"starts": (*before, first, *after), "sizes": whole, "strides": (1,) * rank}


def emit_concat(b: KernelBuilder, node: Node, out: Array, *operands: Array) -> None:
    """Set `out` to the operands, one after the other along the node's axis."""
    for operand, part in zip(operands, concat_parts([x.shape for x in operands], node.attrs["axis"]), strict=True):
        emit_copy(b, out.slice(**part), operand)
