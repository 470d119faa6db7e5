"""A fusion that begins with a product (the pass `epilogue`): what planning asks of its body."""

from __future__ import annotations

from tracejit import ops
from tracejit.ir import Graph, Node


def product_of(body: Graph) -> Node | None:
    """The matmul in a fusion's body, None where there is none."""
    return next((node for node in body.nodes if node.op is ops.matmul), None)


def may_overwrite(body: Graph, operand: int) -> bool:
    """Whether a result may be written over operand number `operand`, which has its shape and lies just as it does: each
    element is read only where the same element of the results is computed."""
    parameter = body.parameters[operand]
    return all(parameter not in node.operands for node in body.nodes if node.op in (ops.matmul, ops.broadcast))
