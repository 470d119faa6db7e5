"""Rewrites that are exact in IEEE arithmetic.

Identities vanish, views compose, broadcasts and reshapes move behind elementwise ops (which then work on fewer elements, or
next to each other).

    %1 = broadcast(%b) {shape=(32, 128,), axes=(1,)} : f32[32,128]
    %2 = exp(%1) : f32[32,128]
  =>
    %1 = exp(%b) : f32[128]
    %2 = broadcast(%1) {shape=(32, 128,), axes=(1,)} : f32[32,128]

x + 0 stays: it is not x where x is -0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tracejit import ops
from tracejit.ir import Graph, Node, Op, make, rebuild
from tracejit.ir.op import Reduction, Scalar
from tracejit.ops.powers import HALF, product

Rule = Callable[[Node], Node | None]


def run(graph: Graph) -> Graph:
    """`graph` simplified as far as the rules go: each is given nodes whose operands have been through them."""
    return graph.rewrite(lambda node, operands: _simplest(rebuild(node, operands)))


def _simplest(node: Node) -> Node:
    """What the rules make of a node; what they make anew has been through them too, in `_again`."""
    op, lower = node.op, node.op.lower
    found = RULES[op](node) if op in RULES else None
    if found is None and isinstance(lower, Scalar):
        found = _elementwise(node)
    elif found is None and isinstance(lower, Reduction):
        found = _reduction(node)
    return node if found is None else found


def _again(node: Node, op: Op, *operands: Node, **attrs: object) -> Node:
    """The simplest form of a node that stands at `node`'s line."""
    return _simplest(make(op, *operands, location=node.location, **attrs))


def scalar_constant(node: Node) -> Node | None:
    """The scalar constant that `node` is, or is a broadcast of."""
    if node.op is ops.broadcast:
        node = node.operands[0]
    return node if node.op is ops.constant_op and node.shape == () else None


def scalar_value(node: Node) -> float | None:
    """The number that every element of `node` is, where that is a constant."""
    constant = scalar_constant(node)
    return None if constant is None else constant.attrs["value"].item()


def _same(node: Node) -> Node | None:
    return node.operands[0]


def _broadcast(node: Node) -> Node | None:
    (x,) = node.operands
    shape, axes = node.attrs["shape"], node.attrs["axes"]
    if shape == x.shape:
        return x
    if x.op is ops.broadcast:
        return composed(node)
    if x.op is ops.reshape:
        kept = _unit_reshape(x)
        if kept is not None:
            return _again(node, ops.broadcast, x.operands[0], shape=shape, axes=tuple(axes[axis] for axis in kept))
    return None


def composed(node: Node) -> Node:
    """A broadcast of a broadcast as one."""
    (x,), axes = node.operands, node.attrs["axes"]
    inner = tuple(axes[axis] for axis in x.attrs["axes"])
    return _again(node, ops.broadcast, x.operands[0], shape=node.attrs["shape"], axes=inner)


def _unit_reshape(node: Node) -> tuple[int, ...] | None:
    """For a reshape that only adds axes of size 1: where the operand's axes went."""
    places, position = [], 0
    source = node.operands[0].shape
    for axis, size in enumerate(node.shape):
        if position < len(source) and source[position] == size:
            places.append(axis)
            position += 1
        elif size != 1:
            return None
    return tuple(places) if position == len(source) else None


def _reshape(node: Node) -> Node | None:
    (x,) = node.operands
    if node.shape == x.shape:
        return x
    if x.op is ops.reshape:
        return _again(node, ops.reshape, x.operands[0], shape=node.shape)
    if x.op is ops.broadcast and x.operands[0].shape == ():
        return _again(node, ops.broadcast, x.operands[0], shape=node.shape, axes=())
    return None


def _transpose(node: Node) -> Node | None:
    (x,) = node.operands
    order = node.attrs["permutation"]
    if order == tuple(range(len(order))):
        return x
    if x.op is ops.transpose:
        composed = tuple(x.attrs["permutation"][axis] for axis in order)
        return _again(node, ops.transpose, x.operands[0], permutation=composed)
    return None


def _slice(node: Node) -> Node | None:
    (x,) = node.operands
    return x if node.shape == x.shape else None


def _matmul(node: Node) -> Node | None:
    """A transpose of the last two axes of an operand becomes the matmul's own."""
    operands, flags = list(node.operands), [node.attrs["transpose_a"], node.attrs["transpose_b"]]
    for index, x in enumerate(operands):
        if x.op is ops.transpose:
            rank = len(x.shape)
            if x.attrs["permutation"] == (*range(rank - 2), rank - 1, rank - 2):
                operands[index], flags[index] = x.operands[0], not flags[index]
    if operands == list(node.operands):
        return None
    return _again(node, ops.matmul, *operands, transpose_a=flags[0], transpose_b=flags[1])


def _mul(node: Node) -> Node | None:
    """x * 1 and x * -1; of integers neg wraps around as the product does, but is no cheaper."""
    for x, y in (node.operands, node.operands[::-1]):
        value = scalar_value(y)
        if value == 1:
            return x
        if value == -1 and node.dtype.is_floating:
            return _again(node, ops.neg, x)
    return None


def _sub(node: Node) -> Node | None:
    """x - 0 is x, also where x is -0; x - -0 is x + 0."""
    x, y = node.operands
    value = scalar_value(y)
    return x if value == 0 and math.copysign(1, value) > 0 else None


def _div(node: Node) -> Node | None:
    x, y = node.operands
    value = scalar_value(y)
    if value == 1:
        return x
    if value and math.isfinite(value) and abs(math.frexp(value)[0]) == 0.5:
        # Of a power of two whose reciprocal the dtype has, both are the same number, rounded once: also where it is subnormal.
        with np.errstate(over="ignore"):
            inverse = float(node.dtype.numpy.type(1 / value))
        if inverse * value == 1:
            scale = _again(node, ops.broadcast, _constant(node, inverse), shape=node.shape, axes=())
            return _again(node, ops.mul, x, scale)
    return None


def _or_zero(node: Node) -> Node | None:
    """A first operand that is known not to be zero needs no look; nor does it where zero times the other is zero of its own
    sign."""
    first, second = map(scalar_value, node.operands)
    finite = node.op is ops.mul_or_zero and second is not None and 0 < second < math.inf
    if finite or (first is not None and first != 0):
        return _again(node, ops.mul if node.op is ops.mul_or_zero else ops.div, *node.operands)
    return None


def _power(node: Node) -> Node | None:
    """What the op computes, as ops of its own, which others share."""
    (x,), exponent = node.operands, node.attrs["exponent"]
    if exponent == HALF or (node.dtype.is_half and exponent > 2):  # which is rounded once
        return None
    if exponent == 0:
        return _again(node, ops.broadcast, _constant(node, 1), shape=node.shape, axes=())
    return product(x, exponent, lambda x, y: _again(node, ops.mul, x, y))


def _silu(node: Node) -> Node | None:
    """What the op computes, as ops of its own, which the gradient shares."""
    x, beta = node.operands
    return _again(node, ops.mul, x, _again(node, ops.sigmoid, _again(node, ops.mul, x, beta)))


def _constant(node: Node, value: float) -> Node:
    """A scalar of the node's dtype."""
    return _again(node, ops.constant_op, value=ops.frozen(node.dtype.numpy.type(value)))


def _neg(node: Node) -> Node | None:
    (x,) = node.operands
    return x.operands[0] if x.op is ops.neg else None


def _cast(node: Node) -> Node | None:
    (x,) = node.operands
    return x if x.dtype is node.attrs["dtype"] else None


def _reduction(node: Node) -> Node | None:
    """Over axes of size 1 nothing is reduced. (The sum of -0 alone becomes -0: NumPy's is of either sign, as its layout is.)"""
    (x,) = node.operands
    if all(x.shape[axis] == 1 for axis in node.attrs["axes"]):
        return _again(node, ops.reshape, x, shape=node.shape)
    return None


def _elementwise(node: Node) -> Node | None:
    """op(view(x), view(y), scalar) becomes view(op(x, y, scalar)) where all views are the same broadcast or reshape."""
    first = next((operand for operand in node.operands if scalar_constant(operand) is None), None)
    if first is None or first.op not in (ops.broadcast, ops.reshape):
        return None
    source = first.operands[0]
    if first.op is ops.broadcast and source.type.size == first.type.size:  # type: ignore[union-attr]
        return None
    operands = []
    for operand in node.operands:
        scalar = scalar_constant(operand)
        if scalar is not None:
            operands.append(_again(node, ops.broadcast, scalar, shape=source.shape, axes=()))
        elif operand.op is first.op and operand.operands[0].shape == source.shape and operand.attrs == first.attrs:
            operands.append(operand.operands[0])
        else:
            return None
    return _again(node, first.op, _again(node, node.op, *operands, **node.attrs), **first.attrs)


RULES: dict[Op, Rule] = {
    ops.identity: _same,
    ops.stop_gradient: _same,
    ops.depending: _same,
    ops.broadcast: _broadcast,
    ops.reshape: _reshape,
    ops.transpose: _transpose,
    ops.slice: _slice,
    ops.matmul: _matmul,
    ops.mul: _mul,
    ops.sub: _sub,
    ops.div: _div,
    ops.mul_or_zero: _or_zero,
    ops.div_or_zero: _or_zero,
    ops.neg: _neg,
    ops.power: _power,
    ops.silu: _silu,
    ops.cast: _cast,
}
