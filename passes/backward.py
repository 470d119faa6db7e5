"""Puts the generated backward nodes in the place of every `gradient` node, innermost first.

    %2 = mul(%x, %x) : f32[]                                    %2 = mul(%x, %x) : f32[]
    %3 = gradient(%2, %x) {targets=1, ...} : (f32[])            %3 = constant() {value=1.0} : f32[]
    %4 = element(%3) {index=0} : f32[]                     =>   %4 = mul(%3, %x) : f32[]
                                                                %5 = mul(%3, %x) : f32[]
                                                                %6 = add(%4, %5) : f32[]

A generated node carries the line of the node that it differentiates. Once no gradient is left, a custom gradient's rule has
no reader any more and its results are its operands.
"""

from __future__ import annotations

from tracejit import ops
from tracejit.ir import Graph, Node, rebuild


def run(graph: Graph) -> Graph:
    """`graph` without gradient and custom_gradient nodes."""
    graph = graph.with_roots(ops.expand_gradients(graph.nodes))

    def rule(node: Node, operands: tuple[Node, ...]) -> Node:
        if node.op is ops.element and operands[0].op is ops.custom_gradient:
            return operands[0].operands[node.attrs["index"]]
        return rebuild(node, operands)

    return graph.rewrite(rule)
