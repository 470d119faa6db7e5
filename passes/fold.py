"""Computes what depends on constants alone, in NumPy, where the result is small; broadcast scalars are computed as scalars.

    %0 = constant() {value=array f32[] [2.0]} : f32[]
    %1 = mul(%0, %0) : f32[]                           =>   %0 = constant() {value=array f32[] [4.0]} : f32[]

An op that fails on its constants is left to fail when the function is called.
"""

from __future__ import annotations

import numpy as np
from tracejit.passes.simplify import scalar_constant

from tracejit import ops
from tracejit.ir import Graph, Node, make, rebuild
from tracejit.ir.errors import InvalidArgumentError
from tracejit.ir.op import Scalar

# A larger constant costs more in the module's text than computing it costs in the call.
LIMIT = 64


def run(graph: Graph) -> Graph:
    """`graph` with constant nodes in place of what can be computed now."""
    return graph.rewrite(_rule)


def _rule(node: Node, operands: tuple[Node, ...]) -> Node:
    new = rebuild(node, operands)
    if not operands or node.op.evaluate is None or node.op is ops.fusion:
        return new
    if all(operand.op is ops.constant_op for operand in operands):
        return _evaluated(new) or new if _small(new) and node.op is not ops.broadcast else new
    if isinstance(node.op.lower, Scalar) and all(scalar_constant(operand) is not None for operand in operands):
        scalars = [scalar_constant(operand) for operand in operands]
        folded = _evaluated(make(node.op, *scalars, location=node.location, **node.attrs))  # type: ignore[arg-type]
        if folded is not None:
            return make(ops.broadcast, folded, location=node.location, shape=new.shape, axes=())
    return new


def _small(node: Node) -> bool:
    return getattr(node.type, "size", LIMIT + 1) <= LIMIT


def _evaluated(node: Node) -> Node | None:
    try:
        with np.errstate(all="ignore"):
            value = node.op.evaluate(*[operand.attrs["value"] for operand in node.operands], **node.attrs)  # type: ignore[misc]
    except InvalidArgumentError:
        return None
    return make(ops.constant_op, location=node.location, value=ops.frozen(value))
