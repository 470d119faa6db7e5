"""Nodes of the same op, operands and attributes become one, the first.

%2 = exp(%x) : f32[4]             %2 = exp(%x) : f32[4]
%3 = exp(%x) : f32[4]        =>   %3 = mul(%2, %2) : f32[4]
%4 = mul(%2, %3) : f32[4]
"""

from __future__ import annotations

from typing import Any

from tracejit.ir import Graph, Node, rebuild
from tracejit.ir.graph import attr_key


def run(graph: Graph) -> Graph:
    """`graph` with no node computed twice."""
    first: dict[Any, Node] = {}

    def rule(node: Node, operands: tuple[Node, ...]) -> Node:
        attrs = tuple([(name, attr_key(value)) for name, value in node.attrs.items()]) if node.attrs else ()
        key = (node.op.name, operands, attrs)
        if key not in first:
            first[key] = rebuild(node, operands)
        return first[key]

    return graph.rewrite(rule)
