"""The one structure: an immutable graph of immutable nodes.

A node can refer only to nodes that exist already, so there is no cycle and no dangling use; a node that nothing refers to
is not in the graph. `serial` counts nodes as they are made: sorting by it gives an order of evaluation that is also the
order of the user's program.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from tracejit.ir.location import Location, here
from tracejit.ir.op import Op
from tracejit.ir.types import Type

_serial = itertools.count()
_NO_ATTRS: Mapping[str, Any] = MappingProxyType({})


class _Frozen:
    __slots__ = ()

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable: make a new one instead of setting {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable: {name!r} cannot be deleted")


class Node(_Frozen):
    """One SSA value: an op applied to operands. Compares by identity. Made by `make` only."""

    __slots__ = ("__weakref__", "attrs", "location", "op", "operands", "serial", "sound", "type")
    op: Op
    operands: tuple[Node, ...]
    attrs: Mapping[str, Any]
    type: Type
    location: Location | None
    serial: int
    sound: bool  # the verifier has looked at it, and as nothing in it can change does not look again

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape  # type: ignore[union-attr]

    @property
    def dtype(self) -> Any:
        return self.type.dtype  # type: ignore[union-attr]

    def __repr__(self) -> str:
        return f"<{self.op.name} : {self.type}>"


_set = object.__setattr__


def make(op: Op, *operands: Node, location: Location | None = None, **attrs: Any) -> Node:
    """The only constructor of a node: asks the op for the type, and never simplifies."""
    node = object.__new__(Node)
    _set(node, "op", op)
    _set(node, "operands", operands)
    _set(node, "attrs", MappingProxyType(attrs) if attrs else _NO_ATTRS)
    _set(node, "type", op.type_of(tuple([operand.type for operand in operands]), attrs))
    _set(node, "location", location or here())
    _set(node, "serial", next(_serial))
    _set(node, "sound", False)
    return node


Op.node_type, Op.make = Node, staticmethod(make)


class Graph(_Frozen):
    """A pure function: parameters in, results and `updates` out.

    `updates` holds (parameter, new value): what a call does to the variable behind that parameter.
    `nodes` are the nodes reachable from results and updates, parameters left out, in order of evaluation.
    """

    __slots__ = ("__weakref__", "_text", "name", "nodes", "parameters", "results", "updates")
    name: str
    parameters: tuple[Node, ...]
    results: tuple[Node, ...]
    updates: tuple[tuple[Node, Node], ...]
    nodes: tuple[Node, ...]
    _text: str | None

    def __init__(
        self,
        name: str,
        parameters: Iterable[Node],
        results: Iterable[Node],
        updates: Iterable[tuple[Node, Node]] = (),
    ):
        _set(self, "name", name)
        _set(self, "parameters", tuple(parameters))
        _set(self, "results", tuple(results))
        _set(self, "updates", tuple(updates))
        roots = [*self.results, *(value for _, value in self.updates)]
        _set(self, "nodes", tuple(node for node in reachable(roots) if node.op.name != "parameter"))
        _set(self, "_text", None)

    def text(self) -> str:
        """The graph as text; `tracejit.ir.parse` reads it back to an equal graph."""
        if self._text is None:
            from tracejit.ir.text import print_graph

            _set(self, "_text", print_graph(self))
        return str(self._text)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<graph {self.name}: {len(self.nodes)} nodes>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and (self is other or self.text() == other.text())

    def __hash__(self) -> int:
        return hash(self.text())

    def with_roots(self, replaced: Mapping[Node, Node]) -> Graph:
        """The same graph with results and updates replaced as `replaced` says."""
        return Graph(
            self.name,
            self.parameters,
            [replaced.get(result, result) for result in self.results],
            [(parameter, replaced.get(value, value)) for parameter, value in self.updates],
        )

    def rewrite(self, rule: Callable[[Node, tuple[Node, ...]], Node]) -> Graph:
        """Rebuild in order of evaluation; `rule(node, operands)` gives what stands for `node`, whose operands are now
        `operands`. The graph itself comes back where nothing changed."""
        replaced: dict[Node, Node] = {}
        for node in self.nodes:
            operands = tuple(map(replaced.get, node.operands, node.operands)) if replaced else node.operands
            new = rule(node, operands)
            if new is not node:
                replaced[node] = new
        return self.with_roots(replaced) if replaced else self


def rebuild(node: Node, operands: tuple[Node, ...]) -> Node:
    """`node` on `operands`: itself where they are its own. The rule of a rewrite that changes nothing."""
    if operands == node.operands:  # nodes compare by identity
        return node
    return make(node.op, *operands, location=node.location, **node.attrs)


def reachable(roots: Iterable[Node], stop: Callable[[Node], bool] | None = None) -> list[Node]:
    """The nodes that `roots` depend on, roots included, in order of evaluation; not past a node for which `stop` holds."""
    seen: set[Node] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            if stop is None or not stop(node):
                stack.extend(node.operands)
    return sorted(seen, key=operator.attrgetter("serial"))


def attr_key(value: Any) -> Any:
    """A hashable key of an attribute's value, exact to the bit and to the type."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, tuple):
        return tuple(map(attr_key, value))
    if isinstance(value, float):
        return (float, value.hex())
    return structure(value) if isinstance(value, Graph) else (type(value), value)


def structure(graph: Graph) -> Any:
    """A hashable key of what `graph` computes: equal for graphs that differ in names and lines only."""
    numbers = {parameter: number for number, parameter in enumerate(graph.parameters)}
    nodes = []
    for number, node in enumerate(graph.nodes, len(numbers)):
        numbers[node] = number
        attrs = tuple([(name, attr_key(value)) for name, value in node.attrs.items()])
        nodes.append((node.op.name, attrs, *[numbers[operand] for operand in node.operands]))
    results = [numbers[result] for result in graph.results]
    updates = [(numbers[parameter], numbers[value]) for parameter, value in graph.updates]
    return tuple([parameter.type for parameter in graph.parameters]), tuple(nodes), tuple(results), tuple(updates)
