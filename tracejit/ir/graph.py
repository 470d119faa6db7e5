"""The one structure: an immutable graph of immutable nodes.

A node can refer only to nodes that exist already, so there is no cycle and no dangling use; a node that nothing refers to
is not in the graph. `serial` counts nodes as they are made: sorting by it gives an order of evaluation that is also the
order of the user's program.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tracejit.ir.op import PURE, Frozen, Node, frozen_set, make
from tracejit.ir.printing import print_graph


class Graph(Frozen):
    """A function: parameters in, results and `updates` out, and, where it is not pure, `effects`.

    `updates` holds (parameter, new value): what a call does to the variable behind that parameter.
    `effects` are the nodes that are computed though nobody reads them, in order: those that are given, and what else of `nodes`
    has an effect.
    `nodes` are the nodes reachable from results, updates and effects, parameters left out, in order of evaluation.
    """

    __slots__ = ("__weakref__", "_text", "effects", "name", "nodes", "parameters", "results", "updates")
    name: str
    parameters: tuple[Node, ...]
    results: tuple[Node, ...]
    updates: tuple[tuple[Node, Node], ...]
    effects: tuple[Node, ...]
    nodes: tuple[Node, ...]
    _text: str | None

    def __init__(
        self,
        name: str,
        parameters: Iterable[Node],
        results: Iterable[Node],
        updates: Iterable[tuple[Node, Node]] = (),
        effects: Iterable[Node] = (),
    ):
        frozen_set(self, "name", name)
        frozen_set(self, "parameters", tuple(parameters))
        frozen_set(self, "results", tuple(results))
        frozen_set(self, "updates", tuple(updates))
        nodes = reachable([*self.roots(), *filter(stays, effects)])
        frozen_set(self, "nodes", tuple(node for node in nodes if node.op.name != "parameter"))
        frozen_set(self, "effects", tuple(filter(stays, self.nodes)))
        frozen_set(self, "_text", None)

    def roots(self) -> list[Node]:
        """The results, and the values of the updates."""
        return [*self.results, *(value for _, value in self.updates)]

    def text(self) -> str:
        """The graph as text; `tracejit.ir.parse` reads it back to an equal graph."""
        if self._text is None:
            frozen_set(self, "_text", print_graph(self))
        return str(self._text)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<graph {self.name}: {len(self.nodes)} nodes>"

    def __eq__(self, other: object) -> bool:
        """Whether both compute the same: names and lines do not count."""
        return isinstance(other, Graph) and (self is other or structure(self) == structure(other))

    def __hash__(self) -> int:
        return hash(structure(self))

    def with_roots(self, replaced: Mapping[Node, Node]) -> Graph:
        """The same graph with results and updates replaced as `replaced` says."""
        return Graph(
            self.name,
            self.parameters,
            [replaced.get(result, result) for result in self.results],
            [(parameter, replaced.get(value, value)) for parameter, value in self.updates],
            [replaced.get(node, node) for node in self.effects],
        )

    def rewrite(self, rule: Callable[[Node, tuple[Node, ...]], Node]) -> Graph:
        """Rebuild in order of evaluation; `rule(node, operands)` gives what stands for `node`, whose operands are now
        `operands`. It is not asked about nodes with effects, which stay as they are and in order. The graph itself comes back
        where nothing changed."""
        replaced: dict[Node, Node] = {}
        in_order = InOrder()
        for node in self.nodes:
            operands = tuple(map(replaced.get, node.operands, node.operands)) if replaced else node.operands
            new = (rule if node.op.effects is PURE else in_order.rebuild)(node, operands)
            if new is not node:
                replaced[node] = new
        return self.with_roots(replaced) if replaced else self


def stays(node: Node) -> bool:
    """Whether `node` is computed though nobody reads it."""
    return node.op.effects is not PURE and node.op.effects.stay


def rebuild(node: Node, operands: tuple[Node, ...]) -> Node:
    """`node` on `operands`: itself where they are its own. The rule of a rewrite that changes nothing."""
    if operands == node.operands:  # nodes compare by identity
        return node
    return make(node.op, *operands, location=node.location, **node.attrs)


class InOrder:
    """Rebuilds nodes with effects: each comes after those that were rebuilt before it, as serials count."""

    def __init__(self) -> None:
        self._moved = False  # one has a new serial, so that all that follow need one

    def rebuild(self, node: Node, operands: tuple[Node, ...]) -> Node:
        """`node` on `operands`."""
        if self._moved or operands != node.operands:
            self._moved = True
            return make(node.op, *operands, location=node.location, **node.attrs)
        return node


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
    """A hashable key of what `graph` computes: equal for graphs that differ in names and lines only. A value of another graph,
    which the verifier refuses, is number None."""
    numbers = {parameter: number for number, parameter in enumerate(graph.parameters)}
    nodes = []
    for number, node in enumerate(graph.nodes, len(numbers)):
        numbers[node] = number
        attrs = tuple([(name, attr_key(value)) for name, value in node.attrs.items()])
        nodes.append((node.op.name, attrs, *map(numbers.get, node.operands)))
    results = list(map(numbers.get, graph.results))
    updates = [(numbers.get(parameter), numbers.get(value)) for parameter, value in graph.updates]
    effects = list(map(numbers.get, graph.effects))
    return (
        tuple([parameter.type for parameter in graph.parameters]),
        tuple(nodes),
        tuple(results),
        tuple(updates),
        tuple(effects),
    )
