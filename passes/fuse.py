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
from collections.abc import Iterable

from tracejit.passes.simplify import composed

from tracejit import ops
from tracejit.ir import Graph, Node, make, reachable, rebuild
from tracejit.ir.graph import InOrder
from tracejit.ir.op import PURE, Reduction, Scalar
from tracejit.ops.region import elements, outline

# More members than this make a loop body whose values no longer fit into registers.
LIMIT = 160
# Who waits for whom is known among the last so many nodes, up to twice as many. A cluster that begins before them is closed: it
# takes in no more members.
WINDOW = 8192
# A vector of more elements does not stay in the cache, so that to sweep over it again in the same loop nest saves nothing.
LONG = 1 << 16


class Cluster:
    """Nodes that run at one time: those that will be one fusion, or one node that is in none."""

    def __init__(self, places: dict[Node, str]):
        self.places = places
        self.bits = self.behind = 0  # its nodes, and the nodes that it waits for, a bit each of those in the window
        self.closed = False


class FusionCluster(Cluster):
    """Nodes that will be one fusion."""

    def __init__(self, space: tuple[int, ...], rows: int | None, places: dict[Node, str]):
        super().__init__(places)
        self.space, self.rows = space, rows
        self.sources: set[Node] = set()  # what its members take from other clusters

    @classmethod
    def of(cls, node: Node) -> FusionCluster:
        """The cluster of `node` alone."""
        if not isinstance(node.op.lower, Reduction):
            return cls(node.shape, None, {node: "full"})
        space, kept = node.operands[0].shape, _trailing(node)
        # Over all axes of a matrix it is complete at the end only, so that rows can still be told apart. So it is over a long
        # vector, which can be divided then.
        if kept is not None and (kept or (len(space) == 1 and space[0] <= LONG)):
            return cls(space, kept, {node: "row"})
        return cls(space, None, {node: "end"})

    @property
    def lead(self) -> tuple[int, ...] | None:
        return None if self.rows is None else self.space[: self.rows]

    def copy(self) -> FusionCluster:
        return FusionCluster(self.space, self.rows, dict(self.places))


def _trailing(node: Node) -> int | None:
    """How many leading axes a reduction keeps, where it reduces all others."""
    rank, axes = len(node.operands[0].shape), node.attrs["axes"]
    return rank - len(axes) if axes == tuple(range(rank - len(axes), rank)) else None


def is_free(node: Node) -> bool:
    """Whether a fusion has its own copy of `node`."""
    if node.op is ops.constant_op:
        return node.shape == ()
    return node.op is ops.broadcast or node.op is ops.iota


def _producer(operand: Node) -> Node:
    return operand.operands[0] if operand.op is ops.broadcast else operand


def sources(node: Node) -> list[Node]:
    """What a member takes from outside of itself: its operands, the source of a broadcast in its place."""
    return [source for source in map(_producer, node.operands) if not is_free(source)]


def _is_member(node: Node) -> bool:
    return isinstance(node.op.lower, (Scalar, Reduction)) and node.op is not ops.iota and node.op.effects is PURE


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
        self.of: dict[Node, FusionCluster] = {}
        self.clusters: dict[Node, Cluster] = {}
        self.users: dict[Node, list[Node]] = {}
        self.recent: dict[Cluster, None] = {}  # the clusters with a bit in the window, or that wait for one
        self.count = 0
        self.before = _chain(graph.nodes)
        for node in graph.nodes:
            if _is_member(node):
                self._place(node)
            else:
                self._enter(node, Cluster({node: "alone"}), self._needs(node))

    def _needs(self, node: Node) -> tuple[Node, ...]:
        """What a node that is in no cluster waits for."""
        return (*node.operands, self.before[node]) if node in self.before else node.operands

    # -- forming clusters

    def _place(self, node: Node) -> None:
        cluster = FusionCluster.of(node)
        found = sources(node)
        self._enter(node, cluster, found)
        cluster.sources.update(source for source in found if source.op is not ops.parameter)
        self.of[node] = cluster
        for operand in node.operands:
            other = self.of.get(_producer(operand))
            if other is None or other is cluster or other.closed or len(other.places) + len(cluster.places) > LIMIT:
                continue
            merged = self._union(cluster, other)
            if merged is not None and not self._has_outer_path(cluster, other):
                self._join(merged, cluster, other)
                cluster = merged

    def _union(self, new: FusionCluster, old: FusionCluster) -> FusionCluster | None:
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
        # The old members' links among themselves hold as they did.
        users = [user for node in new.places for user in self.users.get(node, ()) if user in old.places]
        return merged if self._links_hold(merged, (*new.places, *users)) else None

    def _links_hold(self, cluster: FusionCluster, members: Iterable[Node]) -> bool:
        """Whether each of `members` finds its operands where they are when it needs them."""
        for node in members:
            for operand in node.operands:
                is_broadcast = operand.op is ops.broadcast
                place = cluster.places.get(_producer(operand))
                if place is None:
                    continue
                wanted = "row" if is_broadcast else self._place_of_operands(cluster, node)
                if place != wanted:
                    return False
                if is_broadcast and operand.attrs["axes"] != tuple(range(cluster.rows or 0)):
                    return False
                if is_broadcast and operand.shape != cluster.space:
                    return False
        return True

    def _place_of_operands(self, cluster: FusionCluster, node: Node) -> str:
        shape = node.operands[0].shape if isinstance(node.op.lower, Reduction) else node.shape
        return "full" if shape == cluster.space else "row"

    def _has_outer_path(self, cluster: FusionCluster, other: FusionCluster) -> bool:
        """Whether a node outside of both lies between them, so that as one they would wait for themselves."""
        inside = cluster.bits | other.bits
        outer = (self.clusters[source] for source in (*cluster.sources, *other.sources))
        return any(third.behind & inside and third is not cluster and third is not other for third in outer)

    # -- who waits for whom

    def _enter(self, node: Node, cluster: Cluster, needs: Iterable[Node]) -> None:
        """Note that `node`, the one node of `cluster` so far, waits for `needs` and what they wait for."""
        if self.count == 2 * WINDOW:
            self._move_window()
        cluster.bits = 1 << self.count
        self.count += 1
        for source in needs:
            if source.op is not ops.parameter:
                cluster.behind |= self.clusters[source].behind | self.clusters[source].bits
                self.users.setdefault(source, []).append(node)
        self.clusters[node] = cluster
        self.recent[cluster] = None

    def _move_window(self) -> None:
        for cluster in self.recent:
            cluster.closed = cluster.closed or cluster.bits & ((1 << WINDOW) - 1) != 0
            cluster.bits >>= WINDOW
            cluster.behind >>= WINDOW
        self.recent = {cluster: None for cluster in self.recent if cluster.bits or cluster.behind}
        self.count -= WINDOW

    def _join(self, merged: FusionCluster, cluster: FusionCluster, other: FusionCluster) -> None:
        """`merged` stands for both from now on: who waits for one of them waits for what both wait for."""
        merged.bits = cluster.bits | other.bits
        merged.behind = (cluster.behind | other.behind) & ~merged.bits
        merged.sources = (cluster.sources | other.sources) - merged.places.keys()
        for member in merged.places:
            self.clusters[member] = self.of[member] = merged
        for part in (cluster, other):
            self.recent.pop(part, None)
        self.recent[merged] = None
        # Nobody waits for the node that has just been entered: its own bit always comes with one of an older member.
        everything = (merged.behind | merged.bits) & ~(1 << self.count - 1)
        stack = [member for part in (cluster, other) if everything & ~(part.behind | part.bits) for member in part.places]
        while stack:
            for user in self.users.get(stack.pop(), ()):
                reader = self.clusters[user]
                if reader is not merged and everything & ~reader.behind:
                    reader.behind |= everything
                    self.recent[reader] = None
                    stack.extend(reader.places)

    # -- rebuilding the graph

    def fused(self) -> Graph:
        self.new: dict[Node, Node] = {parameter: parameter for parameter in self.graph.parameters}
        roots = self.graph.roots()
        in_order = InOrder()
        outside = [node for node in self.graph.nodes if node not in self.of and not is_free(node)]
        # What nodes outside of clusters use, free nodes included, and what one cluster uses of another.
        plain = reachable([*roots, *(operand for node in outside for operand in node.operands)], stop=lambda n: not is_free(n))
        used = set(plain)
        for node in self.of:
            used.update(source for source in sources(node) if self.of.get(source) is not self.of[node])
        units: list[FusionCluster | Node] = [
            *dict.fromkeys(self.of.values()),
            *outside,
            *(node for node in plain if is_free(node)),
        ]
        for unit in self._order(units):
            if isinstance(unit, FusionCluster):
                self._build(unit, [node for node in sorted(unit.places, key=_serial) if node in used])
            elif unit.op is ops.iota:
                self.new[unit] = self._fusion_of([unit], unit.shape, None, {})
            else:
                operands = tuple([self.new[operand] for operand in unit.operands])
                self.new[unit] = (rebuild if unit.op.effects is PURE else in_order.rebuild)(unit, operands)
        return self.graph.with_roots(self.new)

    def _order(self, units: list[FusionCluster | Node]) -> list[FusionCluster | Node]:
        """`units`, each after what it uses; by the program's order where that leaves a choice."""
        members = [list(unit.places) if isinstance(unit, FusionCluster) else [unit] for unit in units]
        keys = {node: index for index, nodes in enumerate(members) for node in nodes}
        waits: list[set[int]] = []
        users: list[list[int]] = [[] for _ in units]
        for index, unit in enumerate(units):
            if isinstance(unit, FusionCluster):
                needs = tuple([source for node in unit.places for source in sources(node)])
            else:
                needs = self._needs(unit)
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

    def _build(self, cluster: FusionCluster, results: list[Node]) -> None:
        node = self._fusion_of(results, cluster.space, cluster.rows, cluster.places)
        self.new.update(zip(results, elements(node, [result.location for result in results]), strict=True))

    def _fusion_of(self, results: list[Node], space: tuple[int, ...], rows: int | None, members: dict[Node, str]) -> Node:
        rows = len(space) if rows is None else rows
        nodes = sorted(members, key=_serial)
        return outline(nodes, results, self.new.__getitem__, is_free, space, rows, results[-1].location)


def _chain(nodes: Iterable[Node]) -> dict[Node, Node]:
    """By a node with effects, the one that it comes after."""
    ordered = [node for node in nodes if node.op.effects is not PURE]
    return dict(zip(ordered[1:], ordered, strict=False))


def _serial(node: Node) -> int:
    return node.serial


def _rank(unit: FusionCluster | Node) -> int:
    return max(node.serial for node in unit.places) if isinstance(unit, FusionCluster) else unit.serial
