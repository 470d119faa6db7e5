"""The verifier: the rules that make a graph a graph. Run after tracing and after every pass, always."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import numpy as np

from tracejit.ir.errors import VerifyError
from tracejit.ir.graph import Graph, Node
from tracejit.ir.op import OPS
from tracejit.ir.types import DType, TensorType, TupleType, has_dtype

# The exact types: a NumPy scalar or an enum is an int or a float too, but its repr is not in the grammar of the text.
_ATTR_TYPES = {bool, int, float, str, DType, TensorType, TupleType, Graph, type(None)}
_GRAPH_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_PARAMETER_NAME = re.compile(r"(?!\d+$)[A-Za-z0-9_.]+")


def verify(graph: Graph) -> Graph:
    """Give `graph` back, or raise VerifyError with the first rule that it breaks.

    The graph's name and its parameters' can be printed, and no two parameters share one; parameters are `parameter` nodes
    and tensors; a node uses only the graph's own parameters and the nodes made before it; its type is the one that its op
    infers; attributes are plain values; an update keeps its parameter's type, one a parameter.
    """
    if not _GRAPH_NAME.fullmatch(graph.name):
        raise VerifyError(f"{graph.name!r} is no name of a graph: it takes ASCII letters, digits, _ and .")
    if any(parameter.op.name != "parameter" for parameter in graph.parameters):
        raise VerifyError(f"{graph.name}: a parameter is not a parameter node")
    names = [parameter.attrs["name"] for parameter in graph.parameters]
    for name in names:
        if not _PARAMETER_NAME.fullmatch(name):
            raise VerifyError(
                f"{graph.name}: {name!r} is no name of a parameter: it takes ASCII letters, digits, _ and ., and is no number"
            )
    if len(set(names)) != len(names):
        raise VerifyError(f"{graph.name}: two parameters have the same name: {names}")
    for parameter in graph.parameters:
        if not isinstance(parameter.type, TensorType):
            raise VerifyError(f"{graph.name}: the parameter {parameter.attrs['name']} is a tuple, {parameter.type}")
    known: set[Node] = set(graph.parameters)
    for node in graph.nodes:
        if not known.issuperset(node.operands):
            _refuse_operands(graph, node, known)
        if not node.verified:
            _verify_node(graph, node)
        known.add(node)
    for root in (*graph.results, *(value for _, value in graph.updates)):
        if root not in known:
            raise VerifyError(f"{graph.name}: it returns {root}, a parameter of another graph")
        if not isinstance(root.type, TensorType):
            raise VerifyError(f"{graph.name}: it returns a tuple, {root}")
    updated = [parameter for parameter, _ in graph.updates]
    if len(set(updated)) != len(updated):
        raise VerifyError(f"{graph.name}: a parameter is updated twice")
    parameters = set(graph.parameters)
    for parameter, value in graph.updates:
        if parameter not in parameters:
            raise VerifyError(f"{graph.name}: it updates {parameter}, which is no parameter of it")
        if value.type is not parameter.type:
            name = parameter.attrs["name"]
            raise VerifyError(f"{graph.name}: {name} is {parameter.type}, its update {value.type}")
    return graph


def _where(graph: Graph, node: Node) -> str:
    return f"{graph.name}: {node}" + (f" at {node.location}" if node.location else "")


def _refuse_operands(graph: Graph, node: Node, known: set[Node]) -> NoReturn:
    operand = next(operand for operand in node.operands if operand not in known)
    what = "a parameter of another graph" if operand.op.name == "parameter" else "not made before it"
    raise VerifyError(f"{_where(graph, node)}: the operand {operand} is {what}")


def _verify_node(graph: Graph, node: Node) -> None:
    """The rules that a node keeps in every graph. Nothing in a node can change: it keeps them for good."""
    if OPS.get(node.op.name) is not node.op:
        raise VerifyError(f"{_where(graph, node)}: the op is not the registered one")
    for name, value in node.attrs.items():
        _verify_attr(graph, node, name, value)
    try:
        inferred = node.op.infer(*[operand.type for operand in node.operands], **node.attrs)
    except Exception as error:
        raise VerifyError(f"{_where(graph, node)}: its op refuses it: {error}") from error
    if inferred is not node.type:
        raise VerifyError(f"{_where(graph, node)}: its op infers {inferred}")
    object.__setattr__(node, "verified", True)


def _verify_attr(graph: Graph, node: Node, name: str, value: Any) -> None:
    if type(value) is tuple:
        for index, item in enumerate(value):
            if type(item) is not int:
                _verify_attr(graph, node, f"{name}[{index}]", item)
    elif type(value) is np.ndarray:
        if value.flags.writeable:
            raise VerifyError(f"{_where(graph, node)}: the array {name} can be written to")
        if not has_dtype(value):
            raise VerifyError(f"{_where(graph, node)}: the array {name} is {value.dtype}, which tracejit does not have")
    elif type(value) not in _ATTR_TYPES:
        kind = type(value).__name__
        raise VerifyError(f"{_where(graph, node)}: the attribute {name} is a {kind}, which has no text form")
    elif type(value) is Graph:
        verify(value)
