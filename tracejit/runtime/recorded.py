"""A compiled call as one op on a tape that was opened outside of it: recorded with its graph, differentiated as a graph, and
the gradient compiled in turn, to any order."""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tracejit import ops
from tracejit.ir import Graph, make, verify
from tracejit.ir.op import Op
from tracejit.ir.types import TupleType
from tracejit.ops import Gapped, gapped_reverse, reached_from, records_of
from tracejit.runtime.step import Step, run_graph
from tracejit.tensor import Tensor, context


class Callee(NamedTuple):
    """A graph without updates, and its machine code."""

    graph: Graph
    step: Callable[[], Step]


def _call_vjp(needed: list[int], cts: Any, outs: Any, operands: Any, attrs: Any, gapped: bool) -> list[Any]:
    places, given = attrs["places"], list(attrs["given"])
    for place, operand in zip(places, operands, strict=True):
        given[place] = operand
    callee, kinds = _backward_of(attrs["callee"], tuple([places[index] for index in needed]), gapped)
    found = iter(_call(callee, [*given, *cts]) if callee is not None else [])
    cotangents: list[Any] = [None] * len(operands)
    for index, kind in zip(needed, kinds, strict=True):
        if kind is not None:
            cotangents[index] = kind(next(found))
    return cotangents


# A call as a tape records it: `operands` are those of the graph's parameters (`places`) on which the results depend, `given`
# holds all of them.
call_op = Op("call", infer=lambda *types, callee, **_: TupleType([result.type for result in callee.results]), vjp=_call_vjp)


def _call(callee: Callee, operands: Sequence[Tensor]) -> list[Tensor]:
    """Run a callee on tensors; the active tapes record it."""
    results = run_graph(callee.step(), operands)
    record_call(callee, operands, results)
    return results


def record_call(callee: Callee, operands: Sequence[Tensor], results: Sequence[Tensor]) -> None:
    """Note a call on the active tapes: an op for all results that depend on the same operands, so that a result and an
    operand between which nothing lies give None, as they do in eager mode."""
    if not context.tapes:
        return
    for part, numbers, places in _parts_of(callee.graph):
        attrs = {"callee": part, "places": places, "given": tuple(operands)}
        for tape in context.tapes:
            tape.record(call_op, [operands[place] for place in places], attrs, [results[number] for number in numbers])


_parts: weakref.WeakKeyDictionary[Graph, list[tuple[Graph, list[int], tuple[int, ...]]]] = weakref.WeakKeyDictionary()


def _parts_of(graph: Graph) -> list[tuple[Graph, list[int], tuple[int, ...]]]:
    """(the graph for some of the results, their numbers, the numbers of the parameters that have a gradient of them)."""
    if graph not in _parts:
        replaced = ops.expand_gradients(graph.nodes)
        results = [replaced.get(result, result) for result in graph.results]
        records = records_of(Graph(graph.name, graph.parameters, results).nodes)
        reached = [reached_from(records, [parameter]) for parameter in graph.parameters]
        groups: dict[tuple[int, ...], list[int]] = {}
        for number, result in enumerate(results):
            groups.setdefault(tuple([place for place, ids in enumerate(reached) if id(result) in ids]), []).append(number)
        _parts[graph] = [
            (Graph(graph.name, graph.parameters, [results[number] for number in numbers]), numbers, places)
            for places, numbers in groups.items()
            if places
        ]
    return _parts[graph]


_backwards: weakref.WeakKeyDictionary[Graph, dict[Any, Any]] = weakref.WeakKeyDictionary()


def _backward_of(graph: Graph, needed: tuple[int, ...], gapped: bool) -> tuple[Callee | None, list[Any]]:
    """The compiled gradient of a graph with respect to the operands `needed`: it takes the operands and the cotangents of
    the results, which have gaps if `gapped`, and computes the forward values that it needs again. With it, for each operand,
    what makes a cotangent of its result: Gapped, or a function that gives it as it is; None where nothing is connected."""
    known = _backwards.setdefault(graph, {})
    if (needed, gapped) not in known:
        known[needed, gapped] = _derive(graph, needed, gapped)
    return known[needed, gapped]


def _dense(cotangent: Any) -> Any:
    return cotangent


def _derive(graph: Graph, needed: tuple[int, ...], gapped: bool) -> tuple[Callee | None, list[Any]]:
    results = graph.results
    taken = {parameter.attrs["name"] for parameter in graph.parameters}
    free = (name for name in (f"cotangent{number}" for number in itertools.count()) if name not in taken)
    cotangents = [make(ops.parameter, type=result.type, name=name) for result, name in zip(results, free, strict=False)]
    sources = [graph.parameters[index] for index in needed]
    records = records_of(graph.nodes)
    reached = reached_from(records, sources)
    ends = [(result, seed) for result, seed in zip(results, cotangents, strict=True) if id(result) in reached]
    seeds = [Gapped(seed) if gapped else seed for _, seed in ends]
    found = gapped_reverse(records, [result for result, _ in ends], seeds, sources)
    kinds = [None if each is None else Gapped if type(each) is Gapped else _dense for each in found]
    given = [each.cotangent if type(each) is Gapped else each for each in found if each is not None]
    if not given:
        return None, kinds
    backward = verify(Graph(f"{graph.name}_gradient", [*graph.parameters, *cotangents], given))

    @functools.cache
    def step() -> Step:
        return Step.of_traced(backward)

    return Callee(backward, step), kinds
