"""A fusion that begins with a product (the pass `epilogue`): what planning asks of its body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from tracejit import ops
from tracejit.ir import Graph, Node
from tracejit.ir.strided import Strided

S = TypeVar("S", bound=Strided)


def product_of(body: Graph) -> Node | None:
    """The matmul or the convolution in a fusion's body, None where there is none."""
    return next((node for node in body.nodes if node.op.is_product), None)


class OnTile(NamedTuple):
    """What a fusion does with a product's tiles. `value` is the product, or what it is reshaped to; `reads` are the nodes that
    are read, each with the parameter that it is or repeats, `computed` those that are computed."""

    value: Node
    reads: dict[Node, Node]
    computed: list[Node]


def on_tile(body: Graph, product: Node) -> OnTile:
    """What the body does with the tiles of its product."""
    value = next((node for node in body.nodes if node.op is ops.reshape), product)
    parameters, reads = set(body.parameters), dict[Node, Node]()
    others = [node for node in body.nodes if node not in (product, value)]
    for node in others:
        if node.op is ops.broadcast and node.operands[0] in parameters:
            reads[node] = node.operands[0]
        else:
            reads |= {operand: operand for operand in node.operands if operand in parameters}
    return OnTile(value, reads, [node for node in others if node not in reads])


def read_by_tiles(found: OnTile, product: Node, arrays: Mapping[Node, S]) -> dict[Node, S]:
    """What is read a tile at a time, as it lies over the product; `arrays` are those of the body's parameters."""

    def laid(node: Node, parameter: Node) -> S:
        return arrays[parameter] if node is parameter else arrays[parameter].broadcast(**node.attrs)

    return {node: over_product(laid(node, parameter), product) for node, parameter in found.reads.items()}


def over_product(array: S, product: Node) -> S:
    """An array of the fusion's space as one of the product's shape: a convolution's last axis is its groups and features."""
    if array.shape == product.shape:
        return array
    *steps, last = array.strides
    return array.with_layout(product.shape, (*steps, product.shape[-1] * last, last))


def may_overwrite(body: Graph, operand: int) -> bool:
    """Whether a result may be written over operand number `operand`, which has its shape and lies just as it does: each
    element is read only where the same element of the results is computed."""
    parameter = body.parameters[operand]
    return all(parameter not in node.operands for node in body.nodes if node.op.is_product or node.op is ops.broadcast)
