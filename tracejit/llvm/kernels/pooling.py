"""The maximum of each window of an array."""

from __future__ import annotations

from tracejit.ir import Node
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.movement import emit_combine
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.types import Lanes


def emit_max_windows(b: KernelBuilder, node: Node, out: Array, x: Array) -> None:
    """Row by row, the elements of a window one after the other."""
    (kh, kw), (sh, sw) = node.attrs["window"], node.attrs["strides"]
    n, height, width, channels = out.shape

    def row(number: Lanes, carried: list[Lanes]) -> list[Lanes]:
        index = b.unravel(number, (n, height))
        target = b.subarray(out, 0, index)
        start = b.subarray(x.slice((0,) * 4, (n, height, width, channels), (1, sh, 1, 1)), 0, index)
        parts = []
        for i in range(kh):
            for j in range(kw):
                offset = i * x.strides[1] + j * x.strides[2]
                parts.append(start.with_layout(target.shape, (sw * x.strides[2], x.strides[3]), offset))
        emit_combine(b, target, parts, b.max)
        return []

    b.loop_between(*b.parallel_range(n * height), row)
