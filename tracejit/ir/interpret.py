"""The reference interpreter: what a graph means, in NumPy. The oracle of every test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.ir.graph import Graph, Node
from tracejit.ir.location import at
from tracejit.ir.op import PURE


def interpret(graph: Graph, arguments: Sequence[Any]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Run `graph` on arrays, one a parameter; gives the results and the new values of `graph.updates`.

    ValueError where an argument has not the parameter's shape and dtype.
    """
    if len(arguments) != len(graph.parameters):
        raise ValueError(f"{graph.name} takes {len(graph.parameters)} arguments, {len(arguments)} came")
    values: dict[Node, Any] = {}
    for parameter, argument in zip(graph.parameters, arguments, strict=True):
        array = np.asarray(argument)
        if array.shape != parameter.shape or array.dtype != parameter.dtype.numpy:
            found = f"{array.dtype}{list(array.shape)}"
            raise ValueError(f"{graph.name}: {parameter.attrs['name']} is {parameter.type}, {found} came")
        values[parameter] = array
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            if node.op.effects is not PURE:
                _value(node, values)
        results = [np.asarray(_value(node, values)) for node in graph.results]
        updates = [np.asarray(_value(node, values)) for _, node in graph.updates]
    return results, updates


def _value(root: Node, values: dict[Node, Any]) -> Any:
    stack = [root]
    while stack:
        node = stack[-1]
        if node in values:
            stack.pop()
            continue
        if node.op.expand is not None:
            with at(node.location):
                parts = node.op.expand(node)
            values[node] = tuple([_value(part, values) for part in parts])
            continue
        pending = [operand for operand in node.operands if operand not in values]
        if pending:
            stack.extend(pending)
            continue
        assert node.op.evaluate is not None, node.op.name
        with at(node.location):
            values[node] = node.op.evaluate(*[values[operand] for operand in node.operands], **node.attrs)
    return values[root]
