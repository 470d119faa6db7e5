"""Puts the generated backward nodes in the place of every `gradient` node, innermost first.

    %2 = mul(%x, %x) : f32[]                                    %2 = mul(%x, %x) : f32[]
    %3 = gradient(%2, %x) {targets=1, ...} : (f32[])            %3 = constant() {value=1.0} : f32[]
    %4 = element(%3) {index=0} : f32[]                     =>   %4 = mul(%3, %x) : f32[]
                                                                %5 = mul(%3, %x) : f32[]
                                                                %6 = add(%4, %5) : f32[]

A generated node carries the line of the node that it differentiates.
"""

from __future__ import annotations

from tracejit import ops
from tracejit.ir import Graph


def run(graph: Graph) -> Graph:
    """`graph` without gradient nodes."""
    return graph.with_roots(ops.expand_gradients(graph.nodes))
