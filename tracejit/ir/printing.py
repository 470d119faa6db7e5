"""The text form of a graph, written; the grammar stands in `tracejit.ir.text`, which reads it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tracejit.ir.op import Frozen, Node
from tracejit.ir.types import DType, TupleType, array_type


def print_graph(graph: Any, indent: str = "") -> str:
    """The text of `graph`: values are numbered in order of evaluation, so equal graphs have equal texts. A value of another
    graph, which the verifier refuses, is %?."""
    names: dict[Node, str] = {node: f"%{node.attrs['name']}" for node in graph.parameters}
    names.update((node, f"%{number}") for number, node in enumerate(graph.nodes))
    parameters = ", ".join(f"{names[node]}: {node.type}{_at(node)}" for node in graph.parameters)
    lines = [f"graph {graph.name}({parameters}) {{"]
    for node in graph.nodes:
        operands = ", ".join([names.get(operand, "%?") for operand in node.operands])
        attrs = ", ".join([f"{name}={_literal(value, indent + '    ')}" for name, value in node.attrs.items()])
        attrs = f" {{{attrs}}}" if attrs else ""
        lines.append(f"  {names[node]} = {node.op.name}({operands}){attrs} : {node.type}{_at(node)}")
    results = ", ".join([names.get(node, "%?") for node in graph.results])
    lines.append(f"  return {results}".rstrip())
    lines.extend(f"  update {names.get(parameter, '%?')} = {names.get(value, '%?')}" for parameter, value in graph.updates)
    lines.extend(f"  effect {names[node]}" for node in graph.effects)
    return f"\n{indent}".join([*lines, "}"])


def _at(node: Node) -> str:
    return f" @ {json.dumps(node.location.file)} {node.location.line}" if node.location else ""


def _literal(value: Any, indent: str) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, DType):
        return value.short
    if isinstance(value, TupleType):
        return f"types{value}"
    if isinstance(value, Frozen):  # a graph: a node is no attribute
        return print_graph(value, indent)
    if isinstance(value, tuple):
        return "(" + "".join([f"{_literal(item, indent)}, " for item in value]).rstrip() + ")"
    if isinstance(value, np.ndarray):
        return f"array {array_type(value)} [{', '.join([_literal(item, indent) for item in value.reshape(-1).tolist()])}]"
    return str(value)  # a TensorType
