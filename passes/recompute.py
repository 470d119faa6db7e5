"""Lets a fusion compute again what is cheap, instead of reading what another one kept for it.

    %0 = fusion(%x) {body=graph body(%p0: f32[8]) {
        %0 = tanh(%p0) : f32[8]
        %1 = mul(%0, %0) : f32[8]
        %2 = neg(%0) : f32[8]
        return %1, %2
      }, space=(8,), rows=1} : (f32[8], f32[8])
    ...
    %4 = fusion(%3, %1, %2) {body=graph body(%p0: f32[8], %p1: f32[8], %p2: f32[8]) {
        %0 = add(%p1, %p2) : f32[8]
        ...
  =>
    %0 = fusion(%x) {body=graph body(%p0: f32[8]) {
        %0 = tanh(%p0) : f32[8]
        return %0
      }, space=(8,), rows=1} : f32[8]
    ...
    %2 = fusion(%1, %0) {body=graph body(%p0: f32[8], %p1: f32[8]) {
        %0 = mul(%p1, %p1) : f32[8]
        %1 = neg(%p1) : f32[8]
        %2 = add(%0, %1) : f32[8]
        ...

A gradient reads many values of the forward computation, most of which are an op or two away from a few that were costly, or
from what the forward computation itself has read. It is done where fewer bytes are then written and read, each value for its
own part, and never for what would be computed from such a value in turn: a recurrence would carry all of its steps into the
next one. So a fusion grows by at most LIMIT ops for each value that it reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tracejit import ops
from tracejit.ir import Graph, Node, rebuild
from tracejit.ir.op import Scalar
from tracejit.ops.region import Region, elements

# More ops than this for one value take longer than to read it.
LIMIT = 6


class Source(NamedTuple):
    """A result of a fusion, as others use it: node `inner` of its body."""

    fusion: Node
    inner: Node


def run(graph: Graph) -> Graph:
    """`graph` with cheap values computed where they are used."""
    dropped: set[Source] = set()
    exported: dict[Node, list[Node]] = {}  # by a fusion, the nodes of its body that become results
    sources = {node: source for node in graph.nodes if (source := _source(node)) is not None}
    for fusion, readers in _readers(graph, sources).items():
        chosen = _chosen(fusion, readers, sources, dropped)
        if chosen:
            dropped.update(Source(fusion, result) for result in chosen)
            leaves = dict.fromkeys(
                leaf for result in chosen for leaf in _leaves(fusion, result) or () if leaf.op is not ops.parameter
            )
            kept = [result for result in fusion.attrs["body"].results if result not in chosen]
            exported[fusion] = [*kept, *(leaf for leaf in leaves if leaf not in kept)]
    if not dropped:
        return graph
    return _Rewriter(graph, sources, dropped, exported).run()


def _source(node: Node) -> Source | None:
    """The result of a fusion that `node` is, None where it is none."""
    if node.op is ops.element and node.operands[0].op is ops.fusion:
        fusion = node.operands[0]
        return Source(fusion, fusion.attrs["body"].results[node.attrs["index"]])
    if node.op is ops.fusion and len(node.attrs["body"].results) == 1:
        return Source(node, node.attrs["body"].results[0])
    return None


def _readers(graph: Graph, sources: dict[Node, Source]) -> dict[Node, dict[Node, list[Node]]]:
    """By fusion, its results that are read by nothing but fusions over the same space, with those."""
    readers: dict[Node, list[Node]] = {}
    for node in graph.nodes:
        if node.op is not ops.element or node.operands[0].op is not ops.fusion:
            for operand in dict.fromkeys(node.operands):
                readers.setdefault(operand, []).append(node)
    roots = set(graph.roots())
    found: dict[Node, dict[Node, list[Node]]] = {}
    for node, (fusion, inner) in sources.items():
        users = readers.get(node, [])
        space = fusion.attrs["space"]
        if node not in roots and users and inner.shape == space and all(_reads_in_place(user, node, space) for user in users):
            found.setdefault(fusion, {}).setdefault(inner, []).extend(users)
    return found


def _reads_in_place(user: Node, value: Node, space: tuple[int, ...]) -> bool:
    if user.op is not ops.fusion or user.attrs["space"] != space:
        return False
    body = user.attrs["body"]
    parameters = {parameter for parameter, operand in zip(body.parameters, user.operands, strict=True) if operand is value}
    return parameters.isdisjoint(
        each for node in body.nodes if node.op is ops.broadcast or node.op.is_product for each in node.operands
    )


def _leaves(fusion: Node, result: Node) -> list[Node] | None:
    """What a result is computed from by a few cheap ops: parameters of the body, and nodes that are not cheap. None where it
    is not cheap itself."""
    space = fusion.attrs["space"]
    leaves: dict[Node, None] = {}
    seen: set[Node] = set()
    work = 0
    stack = [result]
    while stack:
        node = stack.pop()
        if node in seen or node.op is ops.constant_op:
            continue
        seen.add(node)
        if node.op is ops.broadcast:
            if node.operands[0].op is not ops.constant_op:
                leaves[node.operands[0]] = None
        elif node.op is not ops.parameter and node.shape == space and _is_cheap(node):
            work += 1
            stack.extend(node.operands)
        else:
            leaves[node] = None
    return list(leaves) if result not in leaves and work <= LIMIT else None


def _is_cheap(node: Node) -> bool:
    return isinstance(node.op.lower, Scalar) and not node.op.lower.costly and node.op is not ops.iota


def _chosen(fusion: Node, readers: dict[Node, list[Node]], sources: dict[Node, Source], dropped: set[Source]) -> list[Node]:
    """The results that are better computed again by who reads them."""
    parameters = zip(fusion.attrs["body"].parameters, fusion.operands, strict=True)
    again = {parameter for parameter, operand in parameters if sources.get(operand) in dropped}
    cheap = {
        result: leaves for result in readers if (leaves := _leaves(fusion, result)) is not None and again.isdisjoint(leaves)
    }
    together = list(cheap)
    saved = _saved(fusion, together, cheap, readers, sources)
    for result in cheap:
        rest = [other for other in together if other is not result]
        without = _saved(fusion, rest, cheap, readers, sources)
        if without >= saved:
            together, saved = rest, without
    return together if saved > 0 else []


def _saved(
    fusion: Node,
    results: list[Node],
    leaves: dict[Node, list[Node]],
    readers: dict[Node, list[Node]],
    sources: dict[Node, Source],
) -> int:
    """How many bytes less are written and read where `results` are computed again."""
    body = fusion.attrs["body"]
    outer = dict(zip(body.parameters, fusion.operands, strict=True))
    kept = {result for result in body.results if result not in results}
    saved = sum(_bytes(result) * (1 + len(set(readers[result]))) for result in results)
    saved -= sum(map(_bytes, {leaf for result in results for leaf in leaves[result] if leaf not in outer and leaf not in kept}))
    wanted: dict[Node, set[Node]] = {}
    for result in results:
        for reader in readers[result]:
            wanted.setdefault(reader, set()).update(leaves[result])
    for reader, needed in wanted.items():
        reads = set(reader.operands)
        inner = {sources[operand].inner for operand in reads if operand in sources and sources[operand].fusion is fusion}
        saved -= sum(_bytes(leaf) for leaf in needed if outer.get(leaf) not in reads and leaf not in inner - set(results))
    return saved


def _bytes(node: Node) -> int:
    return node.type.nbytes  # type: ignore[union-attr]


class _Rewriter:
    def __init__(self, graph: Graph, sources: dict[Node, Source], dropped: set[Source], exported: dict[Node, list[Node]]):
        self.graph, self.sources, self.dropped, self.exported = graph, sources, dropped, exported
        self.values: dict[Source, Node] = {}  # what stands for the results of fusions whose results have changed
        self.operands: dict[Node, tuple[Node, ...]] = {}  # what stands for the operands of those

    def run(self) -> Graph:
        return self.graph.rewrite(self._rule)

    def _rule(self, node: Node, operands: tuple[Node, ...]) -> Node:
        if node.op is ops.element and node.operands[0] in self.exported:
            return self.values.get(self.sources[node], operands[0])
        if node.op is not ops.fusion:
            return rebuild(node, operands)
        recomputed = [self.sources[each] for each in node.operands if self.sources.get(each) in self.dropped]
        if node not in self.exported and not recomputed:
            return rebuild(node, operands)
        results = self.exported.get(node, list(node.attrs["body"].results))
        new = self._fusion(node, operands, results)
        if node in self.exported:
            self.operands[node] = operands
            values = elements(new, [node.location] * len(results))
            self.values |= {Source(node, result): value for result, value in zip(results, values, strict=True)}
            return self.values.get(Source(node, node.attrs["body"].results[0]), new)
        return new

    def _fusion(self, fusion: Node, operands: Iterable[Node], results: list[Node]) -> Node:
        """A fusion with the dropped values that it reads computed in its body, and other results."""
        body = fusion.attrs["body"]
        region = Region()
        inner: dict[Node, Node] = {}  # of this body
        copies: dict[Source, Node] = {}  # of the bodies of others

        def copied(source: Source) -> Node:
            node, other = source.inner, source.fusion
            if source in self.values:
                return region.take(self.values[source])
            if node.op is ops.parameter:
                number = other.attrs["body"].parameters.index(node)
                origin = self.sources.get(other.operands[number])
                return copied(origin) if origin in self.dropped and origin else region.take(self.operands[other][number])
            if source not in copies:
                copies[source] = region.copy(node, [copied(Source(other, operand)) for operand in node.operands])
            return copies[source]

        for own, old, new in zip(body.parameters, fusion.operands, operands, strict=True):
            origin = self.sources.get(old)
            inner[own] = copied(origin) if origin in self.dropped and origin else region.take(new)
        region.copy_all(body.nodes, inner)
        space, rows = fusion.attrs["space"], fusion.attrs["rows"]
        return region.fusion([inner[result] for result in results], space, rows, fusion.location)
