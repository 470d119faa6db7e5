"""Makes one product of a sum of products, of their operands side by side.

The gradient of a weight that every step of a loop has used is such a sum:

    %2 = matmul(%h1, %d1) {transpose_a=true, transpose_b=false} : f32[32,128]
    %3 = matmul(%h2, %d2) {transpose_a=true, transpose_b=false} : f32[32,128]
    %4 = add(%2, %3) : f32[32,128]
  =>
    %2 = concat(%h1, %h2) {axis=0} : f32[16,32]
    %3 = concat(%d1, %d2) {axis=0} : f32[16,128]
    %4 = matmul(%2, %3) {transpose_a=true, transpose_b=false} : f32[32,128]

It is done where the depths are small, so that to write the products and read them again takes longer than to compute them.
A sum of sums over the rows of what is put together so, the gradient of a bias, becomes one sum over all of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tracejit import ops
from tracejit.ir import Graph, Node, make, rebuild
from tracejit.ir.op import Alias
from tracejit.ir.types import float32, float64

# A product of operands that have so many times its own numbers takes longer to compute than to write and to read again.
DEPTH = 4


class _Sum(NamedTuple):
    """A sum of any number of terms, of which `together` become one."""

    terms: Sequence[Node]
    together: Sequence[Node]


def run(graph: Graph) -> Graph:
    """`graph` with sums of products as products."""
    sums = _sums(graph)
    return _Rewriter(sums).rewritten(graph) if sums else graph


def _sums(graph: Graph) -> dict[Node, _Sum]:
    """What is to be done, by the last addition of each sum."""
    users = Counter(operand for node in graph.nodes for operand in node.operands)
    users.update(graph.roots())
    inner: set[Node] = set()
    found: dict[Node, list[Node]] = {}
    for node in reversed(graph.nodes):
        if node.op is ops.add and node not in inner and node.dtype in (float32, float64):
            found[node] = _terms(node, users, inner)
    sums: dict[Node, _Sum] = {}
    for node, terms in found.items():
        products = [term for term in terms if _is_wide(term) and users[term] == 1]
        first = products[0].attrs if products else {}
        together = [term for term in products if term.attrs == first]
        if len(together) > 1 and _saves(together):
            sums[node] = _Sum(terms, together)
    operands = {
        side
        for each in sums.values()
        for side, axis in zip(_sides(each.together), _axes(each.together[0]), strict=True)
        if axis == 0
    }
    for node, terms in found.items():
        together = [term for term in terms if _is_sum_of_rows(term) and users[term] == 1]
        if len(together) > 1 and tuple([term.operands[0] for term in together]) in operands:
            sums[node] = _Sum(terms, together)
    return sums


def _terms(node: Node, users: Counter[Node], inner: set[Node]) -> list[Node]:
    """What a tree of additions adds up; those below its last one are `inner`. What was computed last comes first: a gradient
    goes through the steps of a loop backwards, so that what they have read often lies in memory as it is put together."""
    terms, stack = [], list(node.operands)
    while stack:
        term = stack.pop()
        if term.op is ops.add and users[term] == 1:
            inner.add(term)
            stack.extend(term.operands)
        else:
            terms.append(term)
    return sorted(terms, key=lambda term: -term.serial)


def _is_wide(node: Node) -> bool:
    """Whether a node is a product of two matrices that is not small beside these."""
    matrices = node.op is ops.matmul and len(node.shape) == 2
    return matrices and sum(map(_size, node.operands)) < DEPTH * _size(node)


def _saves(products: Sequence[Node]) -> bool:
    """Whether fewer numbers have to be copied than are not written and read again. What a kernel computes it writes in its
    place; other views of what is there are copied."""
    copied = sum(_size(x) for node in products for x in node.operands if x.op is ops.parameter or isinstance(x.op.lower, Alias))
    return copied < (len(products) - 1) * _size(products[0])


def _size(node: Node) -> int:
    return math.prod(node.shape)


def _is_sum_of_rows(node: Node) -> bool:
    return node.op is ops.reduce_sum and node.attrs["axes"] == (0,) and len(node.operands[0].shape) == 2


def _sides(products: Sequence[Node]) -> list[tuple[Node, ...]]:
    """The first operands of the products, and the second ones."""
    return [tuple([product.operands[side] for product in products]) for side in (0, 1)]


def _axes(product: Node) -> tuple[int, int]:
    """Along which axis of each operand the depth lies."""
    return (0 if product.attrs["transpose_a"] else 1), (1 if product.attrs["transpose_b"] else 0)


class _Rewriter:
    def __init__(self, sums: dict[Node, _Sum]):
        self.sums = sums
        self.new: dict[Node, Node] = {}
        self.side_by_side: dict[tuple[tuple[Node, ...], int], Node] = {}

    def rewritten(self, graph: Graph) -> Graph:
        return graph.rewrite(self._rule)

    def _rule(self, node: Node, operands: tuple[Node, ...]) -> Node:
        self.new[node] = new = self._total(node, self.sums[node]) if node in self.sums else rebuild(node, operands)
        return new

    def _total(self, node: Node, found: _Sum) -> Node:
        first = found.together[0]
        if first.op is ops.matmul:
            parts = [self._concat(side, axis) for side, axis in zip(_sides(found.together), _axes(first), strict=True)]
        else:
            parts = [self._concat(tuple([term.operands[0] for term in found.together]), 0)]
        total = make(first.op, *parts, location=first.location, **first.attrs)
        rest = set(found.together)
        for term in found.terms:
            if term not in rest:
                total = make(ops.add, self.new.get(term, term), total, location=node.location)
        return total

    def _concat(self, pieces: tuple[Node, ...], axis: int) -> Node:
        key = pieces, axis
        if key not in self.side_by_side:
            new = [self.new.get(piece, piece) for piece in pieces]
            self.side_by_side[key] = make(ops.concat, *new, location=pieces[0].location, axis=axis)
        return self.side_by_side[key]
