"""Cuts from a convolution's padding what only positions need that a slice throws away.

The cotangent of a padded operand comes out without its padding.

    %1 = pad(%x) {low=(0, 2, 2, 0, 0,), ...} : f32[1,9,9,1,8]
    %2 = convolution(%1, %w) {...} : f32[1,7,7,1,4]
    %3 = slice(%2) {starts=(0, 1, 1, 0, 0,), ...} : f32[1,5,5,1,4]
  =>
    %1 = pad(%x) {low=(0, 1, 1, 0, 0,), ...} : f32[1,7,7,1,8]
    %2 = convolution(%1, %w) {...} : f32[1,5,5,1,4]

A convolution that something else reads stays as it is.
"""

from __future__ import annotations

from collections import Counter

from tracejit import ops
from tracejit.ir import Graph, Node, make, rebuild


def run(graph: Graph) -> Graph:
    """`graph` with convolutions of no more padding than their slices show."""
    readers = Counter(operand for node in graph.nodes for operand in node.operands)
    readers.update(graph.roots())

    def rule(node: Node, operands: tuple[Node, ...]) -> Node:
        new = rebuild(node, operands)
        if node.op is ops.slice and readers[node.operands[0]] == 1:
            return _cropped(new) or new
        return new

    return graph.rewrite(rule)


def _cropped(node: Node) -> Node | None:
    """A slice of a convolution, where it cuts off nothing but what padding gave."""
    (x,) = node.operands
    starts, sizes, shape = node.attrs["starts"], node.attrs["sizes"], x.shape
    cut = [(low, whole - low - size) for low, size, whole in zip(starts, sizes, shape, strict=True)]
    if x.op is not ops.convolution or x.operands[0].op is not ops.pad or set(node.attrs["strides"]) != {1}:
        return None
    if any(any(cut[axis]) for axis in (0, 3, 4)) or 0 in sizes:
        return None
    padded, filters = x.operands
    attrs = padded.attrs
    steps = (1, *x.attrs["strides"], 1, 1)
    low = tuple(size - before * step for size, (before, _), step in zip(attrs["low"], cut, steps, strict=True))
    high = tuple(size - behind * step for size, (_, behind), step in zip(attrs["high"], cut, steps, strict=True))
    if min(*low, *high) < 0:
        return None
    (operand,) = padded.operands
    if any((*low, *high, *attrs["interior"])):
        operand = make(ops.pad, operand, location=padded.location, **{**attrs, "low": low, "high": high})
    return make(ops.convolution, operand, filters, location=x.location, **x.attrs)
