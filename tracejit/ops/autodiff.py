"""Reverse mode, once: over the entries of an eager tape or over the nodes of a graph, by the same rules.

A value is a tensor or a node; rules are written in ops, so what comes out is again values, and every order of
derivative exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tracejit.ir.graph import InOrder, Node, reachable, rebuild
from tracejit.ir.location import Location, SourcePosition, at, location_of
from tracejit.ir.op import PURE, Op
from tracejit.ir.op import registered as ops
from tracejit.ir.types import TupleType
from tracejit.ops.cotangents import Gapped, Scale, Slot, dense
from tracejit.ops.operands import ones_like, zeros_like
from tracejit.ops.slots import assembled


class TapeEntry(NamedTuple):
    """An op that was applied: what a node is for a graph."""

    op: Op
    operands: tuple[Any, ...]
    attrs: Mapping[str, Any]
    results: tuple[Any, ...]
    position: SourcePosition | None

    @property
    def location(self) -> Location | None:
        """The user's line that applied the op."""
        return location_of(self.position)


def differentiable_operands(entry: TapeEntry) -> list[int]:
    """The indices of the operands that the op has a gradient for."""
    vjp = entry.op.vjp
    return [index for index in range(len(entry.operands)) if callable(vjp) or vjp[index] is not None]


def reached_from(entries: Iterable[TapeEntry], sources: Iterable[Any]) -> set[int]:
    """The ids of the sources and of all floating-point results that have a gradient with respect to one of them."""
    return _path_from(entries, sources)[0]


def _path_from(entries: Iterable[TapeEntry], sources: Iterable[Any]) -> tuple[set[int], list[tuple[TapeEntry, list[int]]]]:
    """What `reached_from` gives; and the entries on the way, each with the indices of the operands that a cotangent has to get
    to."""
    reached = {id(source) for source in sources if source.type.dtype.is_floating}
    path = []
    for entry in entries:
        vjp, needed = entry.op.vjp, []
        for index, operand in enumerate(entry.operands):
            if id(operand) in reached and (type(vjp) is not tuple or vjp[index] is not None):
                needed.append(index)
        if needed:
            path.append((entry, needed))
            for result in entry.results:
                if result.type.dtype.is_floating:
                    reached.add(id(result))
    return reached, path


def reverse(entries: Sequence[TapeEntry], targets: Sequence[Any], seeds: Sequence[Any], sources: Sequence[Any]) -> list[Any]:
    """The cotangent of each source, None where no target depends on it.

    `entries` are in order of execution; `seeds` are the targets' cotangents.
    """
    return [dense(cotangent) for cotangent in gapped_reverse(entries, targets, seeds, sources)]


def gapped_reverse(
    entries: Sequence[TapeEntry], targets: Sequence[Any], seeds: Sequence[Any], sources: Sequence[Any]
) -> list[Any]:
    """What `reverse` gives, `Gapped` where it may have gaps."""
    reached, path = _path_from(entries, sources)
    kept = {id(source) for source in sources}
    cotangents: dict[int, Any] = {}
    slots: dict[int, list[Slot]] = {}  # what has arrived of slices, which is put together when all has
    for target, seed in zip(targets, seeds, strict=True):
        if id(target) in reached:
            _add(cotangents, id(target), seed)
    line = at(None)
    with line:
        for (op, operands, attrs, results, position), needed in reversed(path):
            arrived, gapped = [], False
            for result in results:
                key = id(result)
                if key in slots:
                    _add_slots(cotangents, result, slots.pop(key), line)
                cotangent = cotangents.get(key) if key in kept else cotangents.pop(key, None)
                if type(cotangent) is Gapped:
                    cotangent, gapped = cotangent.cotangent, True
                arrived.append(cotangent)
            if not arrived or (arrived[0] is None and all(cotangent is None for cotangent in arrived)):
                continue
            line.move(position)
            vjp = op.vjp
            if type(vjp) is not tuple:
                gapped = gapped or any(cotangent is None for cotangent in arrived)
                given = _cotangents_of_several(vjp, needed, arrived, results, operands, attrs, gapped)
            for index in needed:
                rule = vjp[index] if type(vjp) is tuple else None
                if rule is None:
                    cotangent = given[index]
                elif type(rule) is Scale:
                    cotangent = rule.cotangent(gapped, arrived[0], results[0], *operands, **attrs)
                else:
                    cotangent = rule(arrived[0], results[0], *operands, **attrs)
                if type(cotangent) is Slot:
                    slots.setdefault(id(operands[index]), []).append(cotangent._replace(gapped=gapped, position=position))
                elif cotangent is not None:
                    if gapped and type(cotangent) is not Gapped:
                        cotangent = Gapped(cotangent)
                    _add(cotangents, id(operands[index]), cotangent)
        _add_left(cotangents, sources, slots, line)
    return [cotangents.get(id(source)) if source.type.dtype.is_floating else None for source in sources]


def _add_left(cotangents: dict[int, Any], sources: Sequence[Any], slots: dict[int, list[Slot]], line: at) -> None:
    """Add what slices of the sources have got. Not written out where it is called: an interrupt at the end of a loop that ends
    a `with` block leaves the block without its exit in Python 3.13."""
    for source in sources:
        if id(source) in slots:
            _add_slots(cotangents, source, slots.pop(id(source)), line)


def _add_slots(cotangents: dict[int, Any], value: Any, slots: list[Slot], line: at) -> None:
    """Add the cotangent that slices of `value` have got."""
    line.move(slots[-1].position)
    cotangent, gapped = assembled(slots, value.type.shape)
    _add(cotangents, id(value), Gapped(cotangent) if gapped else cotangent)


def _add(cotangents: dict[int, Any], key: int, cotangent: Any) -> None:
    before = cotangents.get(key)
    if before is None:
        cotangents[key] = cotangent
    elif type(before) is Gapped or type(cotangent) is Gapped:
        cotangents[key] = Gapped(ops.add(dense(before), dense(cotangent)))
    else:
        cotangents[key] = ops.add(before, cotangent)


def _cotangents_of_several(
    vjp: Any, needed: list[int], arrived: list[Any], results: Any, operands: Any, attrs: Any, gapped: bool
) -> Any:
    """What the rule of an op with any number of operands and results gives, one an operand."""
    cts = [zeros_like(result) if cotangent is None else cotangent for cotangent, result in zip(arrived, results, strict=True)]
    return vjp(needed, cts, results, operands, attrs, gapped)


def differentiated(roots: Iterable[Node], rules: Sequence[TapeEntry]) -> list[Node]:
    """The nodes that `roots` depend on, in order of evaluation, and those that get a cotangent by one of the `rules`, which are
    in the order in which they were applied."""
    nodes = set(reachable(roots))
    for rule in reversed(rules):
        if not nodes.isdisjoint(rule.results):
            nodes.update(reachable(rule.operands))
    return sorted(nodes, key=lambda node: node.serial)


def entries_of(nodes: Iterable[Node], rules: Iterable[TapeEntry] = ()) -> list[TapeEntry]:
    """The entries that nodes are: an op with several results is one entry, its elements the results. `rules` are the entries
    of custom gradients, which stand for the nodes that are their results."""
    entries: list[TapeEntry] = []
    several: dict[Node, list[Any]] = {}
    ruled = {result: rule for rule in rules for result in rule.results}
    seen: set[int] = set()
    for node in nodes:
        if node in ruled:
            if id(ruled[node]) not in seen:
                seen.add(id(ruled[node]))
                entries.append(ruled[node])
            continue
        if node.op is ops.element:
            several[node.operands[0]][node.attrs["index"]] = node
            continue
        results: Any = (node,)
        if type(node.type) is TupleType:
            # Filled while the elements come by; a result that is in no graph gets a node, so that it has a type.
            results = several[node] = [None] * len(node.type.items)
        entries.append(TapeEntry(node.op, node.operands, node.attrs, results, node.location))
    for node, results in several.items():
        for index, result in enumerate(results):
            if result is None:
                results[index] = ops.element(node, index=index)
    return entries


def expand_gradient(node: Node) -> tuple[Node, ...]:
    """The nodes that the `gradient` node stands for, one a source."""
    cone = reachable(node.operands)
    replaced = expand_gradients(cone)
    return _derive(rebuild(node, tuple(replaced.get(operand, operand) for operand in node.operands)))


def expand_gradients(nodes: Sequence[Node]) -> dict[Node, Node]:
    """Put the generated nodes in the place of every `gradient` among `nodes`, innermost first; gives old -> new."""
    replaced: dict[Node, Node] = {}
    parts: dict[Node, tuple[Node, ...]] = {}
    in_order = InOrder()
    for node in nodes:
        if node.op is ops.element and node.operands[0] in parts:
            replaced[node] = parts[node.operands[0]][node.attrs["index"]]
            continue
        operands = tuple(replaced.get(operand, operand) for operand in node.operands)
        new = (rebuild if node.op.effects is PURE else in_order.rebuild)(node, operands)
        if node.op is ops.gradient:
            parts[node] = _derive(new)
        elif new is not node:
            replaced[node] = new
    return replaced


def _derive(node: Node) -> tuple[Node, ...]:
    count, sources_count, seeded = node.attrs["targets"], node.attrs["sources"], node.attrs["seeded"]
    first = count * (2 if seeded else 1)
    targets, sources = node.operands[:count], node.operands[first : first + sources_count]
    constant = set(node.operands[first + sources_count :])
    cone = reachable(targets, stop=lambda node: node in constant)
    entries = entries_of([each for each in cone if each not in constant])
    with at(node.location):
        seeds = [*map(Gapped, node.operands[count:first])] if seeded else [ones_like(target) for target in targets]
        cotangents = reverse(entries, targets, seeds, sources)
        return tuple(
            zeros_like(source) if cotangent is None else cotangent
            for source, cotangent in zip(sources, cotangents, strict=True)
        )
