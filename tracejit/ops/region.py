"""Regions: graphs that a node holds, such as the body of a fusion, made of nodes from outside.

What a region takes from outside becomes a parameter of it, called p0, p1 and so on as it is first asked for, and an operand of
the node that holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tracejit.ir.graph import Graph, Node, make
from tracejit.ir.location import Location
from tracejit.ops.control import element, fusion, parameter


class Region:
    """A region in the making."""

    def __init__(self) -> None:
        self._parameters: dict[Node, Node] = {}  # by the value from outside

    def take(self, value: Node) -> Node:
        """The parameter that stands for `value`, which is made outside."""
        if value not in self._parameters:
            name = f"p{len(self._parameters)}"
            self._parameters[value] = make(parameter, location=value.location, type=value.type, name=name)
        return self._parameters[value]

    def copy(self, node: Node, operands: Iterable[Node]) -> Node:
        """`node` in the region, on operands in the region."""
        return make(node.op, *operands, location=node.location, **node.attrs)

    def copy_all(self, nodes: Iterable[Node], inner: dict[Node, Node]) -> None:
        """Copies of `nodes`, which are in order of evaluation; `inner` is what stands for others in the region, and for these
        afterwards."""
        for node in nodes:
            inner[node] = self.copy(node, [inner[operand] for operand in node.operands])

    def fusion(self, results: Iterable[Node], space: tuple[int, ...], rows: int, location: Location | None) -> Node:
        """The fusion that the region is the body of."""
        body = Graph("body", self._parameters.values(), results)
        return make(fusion, *self._parameters, location=location, body=body, space=space, rows=rows)


def outline(
    nodes: Sequence[Node],
    results: Iterable[Node],
    outside: Callable[[Node], Node],
    is_free: Callable[[Node], bool],
    space: tuple[int, ...],
    rows: int,
    location: Location | None,
) -> Node:
    """A fusion of `nodes`, which are in order of evaluation. Of what they use besides one another it has its own where that
    `is_free`, and takes what `outside` gives for the rest."""
    region, inner = Region(), dict[Node, Node]()
    inside = set(nodes)

    def value(node: Node) -> Node:
        if node not in inner:
            own = node in inside or is_free(node)
            inner[node] = region.copy(node, map(value, node.operands)) if own else region.take(outside(node))
        return inner[node]

    # In order, so that none recurses deeper than its free operands.
    for node in nodes:
        value(node)
    return region.fusion([value(result) for result in results], space, rows, location)


def elements(node: Node, locations: Sequence[Location | None]) -> list[Node]:
    """The results of a node that holds a region, each at its line: the node itself where it has one, else elements of it."""
    if len(locations) == 1:
        return [node]
    return [make(element, node, location=location, index=index) for index, location in enumerate(locations)]
