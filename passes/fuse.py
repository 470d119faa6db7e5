"""Gathers elementwise ops and reductions into `fusion` nodes, each one loop nest, across the forward/backward line.

    %1 = exp(%x) : f32[8,4]
    %2 = reduce_sum(%1) {axes=(1,)} : f32[8]
  =>
    %1 = fusion(%x) {body=graph body(%p0: f32[8,4]) {...}, space=(8, 4,), rows=1} : f32[8]

A fusion runs over a `space`; its first `rows` axes count rows. A member's value is
  full  of the shape of the space,
  row   of the shape of the rows: a reduction over all other axes, or computed from such; usable in the same row,
  end   a reduction over other axes, complete only when the whole space has been run through: a result, never an operand.
Broadcasts, iotas and scalar constants cost nothing inside: each fusion that uses one has its own.
"""

from __future__ import annotations

import heapq

from tracejit.passes.simplify import composed

from tracejit import ops
from tracejit.ir import Graph, Node, make, reachable, rebuild
from tracejit.ir.op import Reduction, Scalar

# More members than this make a loop body whose values no longer fit into registers.
LIMIT = 160


class Cluster:
    """Nodes that will be one fusion."""

    def __init__(self, node: Node):
        self.space: tuple[int, ...] = node.shape
        self.rows: int | None = None
        self.places: dict[Node, str] = {node: "full"}
        self.bits = self.behind = 0  # its members, and the nodes that it waits for, a bit each
        if isinstance(node.op.lower, Reduction):
            self.space = node.operands[0].shape
            self.places[node] = "end"
            kept = _trailing(node)
            # Over all axes of a matrix it is complete at the end only, so that rows can still be told apart.
            if kept is not None and (kept or len(self.space) == 1):
                self.rows, self.places[node] = kept, "row"

    @property
    def lead(self) -> tuple[int, ...] | None:
        return None if self.rows is None else self.space[: self.rows]

    def copy(self) -> Cluster:
        other = object.__new__(Cluster)
        other.space, other.rows, other.places = self.space, self.rows, dict(self.places)
        other.bits = other.behind = 0
        return other


def _trailing(node: Node) -> int | None:
    """How many leading axes a reduction keeps, where it reduces all others."""
    rank, axes = len(node.operands[0].shape), node.attrs["axes"]
    return rank - len(axes) if axes == tuple(range(rank - len(axes), rank)) else None


def is_free(node: Node) -> bool:
    """Whether a fusion has its own copy of `node`."""
    if node.op is ops.constant_op:
        return node.shape == ()
    return node.op is ops.broadcast or node.op is ops.iota


def sources(node: Node) -> list[Node]:
    """What a member takes from outside of itself: its operands, the source of a broadcast in its place."""
    found = [operand.operands[0] if operand.op is ops.broadcast else operand for operand in node.operands]
    return [source for source in found if not is_free(source)]


def _is_member(node: Node) -> bool:
    return isinstance(node.op.lower, (Scalar, Reduction)) and node.op is not ops.iota


def run(graph: Graph) -> Graph:
    """`graph` with every elementwise op and reduction inside of a fusion."""
    return _Fuser(graph.rewrite(_composed)).fused()


def _composed(node: Node, operands: tuple[Node, ...]) -> Node:
    """A broadcast of a broadcast or of an iota as one node: what a member has for free is one step away from it."""
    new = rebuild(node, operands)
    if new.op is not ops.broadcast:
        return new
    (x,), shape, axes = new.operands, new.attrs["shape"], new.attrs["axes"]
    if x.op is ops.broadcast:
        return composed(new)
    if x.op is ops.iota:
        axis = x.attrs["axis"]
        if x.shape[axis] == shape[axes[axis]]:
            return make(ops.iota, location=new.location, shape=shape, axis=axes[axis], dtype=x.dtype)
        zero = make(ops.constant_op, location=x.location, value=ops.frozen(x.dtype.numpy.type(0)))
        return make(ops.broadcast, zero, location=new.location, shape=shape, axes=())
    return new


class _Fuser:
    def __init__(self, graph: Graph):
        self.graph = graph
        self.of: dict[Node, Cluster] = {}
        self.clusters: list[Cluster] = []
        self.bits: dict[Node, int] = {}
        self.alone: dict[Node, int] = {}  # what a node in no cluster waits for
        for node in graph.nodes:
            if _is_member(node):
                self._place(node)
            else:
                self.alone[node] = self._enter(node)

    # -- forming clusters

    def _place(self, node: Node) -> None:
        cluster = Cluster(node)
        cluster.behind, cluster.bits = self._enter(node), self.bits[node]
        self.of[node] = cluster
        self.clusters.append(cluster)
        for operand in node.operands:
            producer = operand.operands[0] if operand.op is ops.broadcast else operand
            other = self.of.get(producer)
            if other is None or other is cluster or len(other.places) + len(cluster.places) > LIMIT:
                continue
            merged = self._union(cluster, other)
            if merged is not None and not self._has_outer_path(cluster, other):
                self._joined(merged, cluster, other)
                cluster = merged

    def _union(self, new: Cluster, old: Cluster) -> Cluster | None:
        """Both in one space, where their members' places allow it."""
        merged = old.copy()
        if new.space == old.space:
            if new.rows is not None:
                if merged.rows is None:
                    merged.rows = new.rows
                elif merged.rows != new.rows:
                    if any(place == "row" and not isinstance(node.op.lower, Reduction) for node, place in new.places.items()):
                        return None
                    new = new.copy()
                    new.places = {node: "end" if place == "row" else place for node, place in new.places.items()}
            merged.places.update(new.places)
        elif new.space == old.lead:
            rank_one = new.rows == 0 and all(isinstance(node.op.lower, Reduction) for node in new.places)
            if new.rows is not None and not rank_one:
                return None
            merged.places.update({node: "row" if place == "full" else "end" for node, place in new.places.items()})
        elif old.rows is None and set(old.places.values()) == {"full"}:
            rows = len(old.space)
            if new.space[:rows] != old.space or new.rows not in (None, rows) or rows >= len(new.space):
                return None
            merged = new.copy()
            merged.rows = rows
            merged.places.update(dict.fromkeys(old.places, "row"))
        else:
            return None
        return merged if self._links_hold(merged) else None

    def _links_hold(self, cluster: Cluster) -> bool:
        """Whether every member finds its operands where they are when it needs them."""
        for node in cluster.places:
            for operand in node.operands:
                spread = operand.op is ops.broadcast
                producer = operand.operands[0] if spread else operand
                place = cluster.places.get(producer)
                if place is None:
                    continue
                wanted = "row" if spread else self._place_of_operands(cluster, node)
                if place != wanted:
                    return False
                if spread and operand.attrs["axes"] != tuple(range(cluster.rows or 0)):
                    return False
                if spread and operand.shape != cluster.space:
                    return False
        return True

    def _place_of_operands(self, cluster: Cluster, node: Node) -> str:
        shape = node.operands[0].shape if isinstance(node.op.lower, Reduction) else node.shape
        return "full" if shape == cluster.space else "row"

    def _has_outer_path(self, cluster: Cluster, other: Cluster) -> bool:
        """Whether a node outside of both lies between them, so that as one they would wait for themselves."""
        inside = cluster.bits | other.bits
        for node in (*cluster.places, *other.places):
            for source in sources(node):
                if source.op is not ops.parameter and not self.bits[source] & inside and self._behind(source) & inside:
                    return True
        return False

    def _behind(self, node: Node) -> int:
        """The nodes that `node`'s unit waits for: a bit each. One member of a cluster waits for what all of them wait for."""
        cluster = self.of.get(node)
        return self.alone[node] if cluster is None else cluster.behind

    def _enter(self, node: Node) -> int:
        """Give `node` its bit; gives what it waits for."""
        self.bits[node] = 1 << len(self.bits)
        behind = 0
        for source in node.operands if is_free(node) or not _is_member(node) else sources(node):
            if source.op is not ops.parameter:
                cluster = self.of.get(source)
                behind |= self._behind(source) | (self.bits[source] if cluster is None else cluster.bits)
        return behind

    def _joined(self, merged: Cluster, cluster: Cluster, other: Cluster) -> None:
        """`merged` stands for both from now on: who waits for one of them waits for what both wait for."""
        merged.bits = cluster.bits | other.bits
        merged.behind = (cluster.behind | other.behind) & ~merged.bits
        for member in merged.places:
            self.of[member] = merged
        self.clusters = [each for each in self.clusters if each is not cluster and each is not other]
        everything = merged.behind | merged.bits
        for each in self.clusters:
            if each.behind & merged.bits:
                each.behind |= everything
        for node, behind in self.alone.items():
            if behind & merged.bits:
                self.alone[node] = behind | everything
        self.clusters.append(merged)

    # -- rebuilding the graph

    def fused(self) -> Graph:
        self.new: dict[Node, Node] = {parameter: parameter for parameter in self.graph.parameters}
        roots = [*self.graph.results, *(value for _, value in self.graph.updates)]
        outside = [node for node in self.graph.nodes if node not in self.of and not is_free(node)]
        # What nodes outside of clusters use, free nodes included, and what one cluster uses of another.
        plain = reachable([*roots, *(operand for node in outside for operand in node.operands)], stop=lambda n: not is_free(n))
        used = set(plain)
        for node in self.of:
            used.update(source for source in sources(node) if self.of.get(source) is not self.of[node])
        units: list[Cluster | Node] = [*dict.fromkeys(self.of.values()), *outside, *(node for node in plain if is_free(node))]
        for unit in self._order(units):
            if isinstance(unit, Cluster):
                self._build(unit, [node for node in sorted(unit.places, key=_serial) if node in used])
            elif unit.op is ops.iota:
                self.new[unit] = self._fusion_of([unit], unit.shape, None, {})
            else:
                self.new[unit] = rebuild(unit, tuple([self.new[operand] for operand in unit.operands]))
        return self.graph.with_roots(self.new)

    def _order(self, units: list[Cluster | Node]) -> list[Cluster | Node]:
        """`units`, each after what it uses; by the program's order where that leaves a choice."""
        members = [list(unit.places) if isinstance(unit, Cluster) else [unit] for unit in units]
        keys = {node: index for index, nodes in enumerate(members) for node in nodes}
        waits: list[set[int]] = []
        users: list[list[int]] = [[] for _ in units]
        for index, unit in enumerate(units):
            needs = [source for node in unit.places for source in sources(node)] if isinstance(unit, Cluster) else unit.operands
            waits.append({keys[need] for need in needs if need in keys} - {index})
            for need in waits[index]:
                users[need].append(index)
        ranks = [_rank(unit) for unit in units]
        ready = [(ranks[index], index) for index in range(len(units)) if not waits[index]]
        heapq.heapify(ready)
        order = []
        while ready:
            _, index = heapq.heappop(ready)
            order.append(units[index])
            for user in users[index]:
                waits[user].discard(index)
                if not waits[user]:
                    heapq.heappush(ready, (ranks[user], user))
        assert len(order) == len(units), "a cluster waits for itself"
        return order

    def _build(self, cluster: Cluster, results: list[Node]) -> None:
        node = self._fusion_of(results, cluster.space, cluster.rows, cluster.places)
        for index, result in enumerate(results):
            self.new[result] = node if len(results) == 1 else make(ops.element, node, location=result.location, index=index)

    def _fusion_of(self, results: list[Node], space: tuple[int, ...], rows: int | None, members: dict[Node, str]) -> Node:
        operands: list[Node] = []
        parameters: list[Node] = []
        inner: dict[Node, Node] = {}

        def value(node: Node) -> Node:
            if node in inner:
                return inner[node]
            if node in members or is_free(node):
                copies = [value(operand) for operand in node.operands]
                inner[node] = make(node.op, *copies, location=node.location, **node.attrs)
            else:
                outer = self.new[node]
                if outer not in operands:
                    operands.append(outer)
                    parameters.append(make(ops.parameter, location=outer.location, type=outer.type, name=f"p{len(parameters)}"))
                inner[node] = parameters[operands.index(outer)]
            return inner[node]

        # In the program's order, so that no member recurses deeper than its free operands.
        for member in sorted(members, key=_serial):
            value(member)
        body = Graph("body", parameters, [value(result) for result in results])
        unused = [p for p in parameters if not any(p in node.operands for node in body.nodes) and p not in body.results]
        assert not unused, unused
        rank = len(space)
        return make(
            ops.fusion, *operands, location=results[-1].location, body=body, space=space, rows=rank if rows is None else rows
        )


def _serial(node: Node) -> int:
    return node.serial


def _rank(unit: Cluster | Node) -> int:
    return max(node.serial for node in unit.places) if isinstance(unit, Cluster) else unit.serial
