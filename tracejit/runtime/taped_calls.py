"""A compiled call as one op on a tape that was opened outside of it.

It is recorded with its graph, differentiated as a graph, and the gradient compiled in turn, to any order.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tracejit import ops
from tracejit.compilation import Compilation
from tracejit.context import context
from tracejit.ir import Graph, Node, make, verify
from tracejit.ir.errors import TracingError
from tracejit.ir.op import Op
from tracejit.ir.types import TensorType, TupleType
from tracejit.llvm.machine.host import host_target
from tracejit.ops import Gapped, TapeEntry, dense, differentiated, entries_of, gapped_reverse, reached_from
from tracejit.runtime.compiled_function import CompiledFunction, buffer_of, run_graph
from tracejit.tensor import Tensor
from tracejit.tracing.trace import Binding, Trace, within
from tracejit.variable import Variable


class Callee:
    """A graph without updates, and its machine code. `rules` stand for nodes of it: custom gradients, which are
    traced in `trace`, and the values that variables were assigned."""

    def __init__(
        self,
        graph: Graph,
        compiled: Callable[[], CompiledFunction],
        rules: Sequence[TapeEntry] = (),
        trace: Trace | None = None,
    ) -> None:
        self.graph, self.compiled, self.rules, self.trace = graph, compiled, rules, trace
        self._parts: list[Part] | None = None
        # By the operands whose gradient is needed, and whether the cotangents of the results are gapped.
        self.backwards: dict[tuple[tuple[int, ...], bool], Backward] = {}

    def parts(self) -> list[Part]:
        """What depends on the same operands, each by itself."""
        if self._parts is None:
            self._parts = _split(self)
        return self._parts


class Part(NamedTuple):
    """The callee for some of the results, their numbers, the numbers of the parameters that have a gradient of them."""

    callee: Callee
    numbers: list[int]
    places: tuple[int, ...]


class Group(NamedTuple):
    """Results that a tape records as one op: their numbers, the operands and the rules that they depend on, and which of these
    rules are the user's."""

    numbers: list[int]
    places: set[int]
    rules: set[int]
    custom: set[int]

    def joined(self, other: Group) -> Group:
        """Both as one."""
        return Group(
            self.numbers + other.numbers, self.places | other.places, self.rules | other.rules, self.custom | other.custom
        )


def _split(callee: Callee) -> list[Part]:
    graph = callee.graph
    replaced = ops.expand_gradients(differentiated(graph.results, callee.rules))
    results = [replaced.get(result, result) for result in graph.results]
    moved = [_moved(rule, replaced) for rule in callee.rules]
    # A rule may refer to what has been replaced: those that it was made for are kept as well.
    rules = [*callee.rules, *[new for new, old in zip(moved, callee.rules, strict=True) if new is not old]]
    entries = entries_of(differentiated(results, rules), rules)
    reached = [reached_from(entries, [parameter]) for parameter in graph.parameters]
    groups: list[Group] = []
    for number, result in enumerate(results):
        places = {place for place, ids in enumerate(reached) if id(result) in ids}
        behind = _rules_behind(result, rules)
        new = Group([number], places, behind, {index for index in behind if rules[index].op is ops.custom_gradient})
        # A rule of the user's need not be linear: it runs once, for the whole cotangent that arrives at it.
        same = [g for g in groups if (g.places, g.rules) == (new.places, new.rules) or not g.custom.isdisjoint(new.custom)]
        for group in same:
            groups.remove(group)
            new = group.joined(new)
        groups.append(new)
    parts = []
    for numbers, places, _, _ in groups:
        part = Graph(graph.name, graph.parameters, [results[number] for number in numbers])
        parts.append(Part(Callee(part, callee.compiled, rules, callee.trace), numbers, tuple(sorted(places))))
    return parts


def _rules_behind(result: Node, rules: Sequence[TapeEntry]) -> set[int]:
    """The numbers of the rules that its gradient runs: a rule is not run for the sake of another result."""
    nodes = set(differentiated([result], rules)) if rules else set()
    return {number for number, rule in enumerate(rules) if not nodes.isdisjoint(rule.results)}


def _moved(rule: TapeEntry, replaced: dict[Node, Node]) -> TapeEntry:
    """A rule for the nodes that stand for its own."""
    operands, results = (tuple([replaced.get(node, node) for node in nodes]) for nodes in (rule.operands, rule.results))
    return rule if operands == rule.operands and results == rule.results else rule._replace(operands=operands, results=results)


class Backward(NamedTuple):
    """The gradient of a callee with respect to some operands. `callee` takes the operands, the cotangents of the results,
    and what the rules captured, and computes the forward values that it needs again; it is None where nothing is connected.
    `kinds` has, for each operand, what makes a cotangent of its result: Gapped, or dense; None where it is not connected."""

    callee: Callee | None
    kinds: Sequence[Callable[[Any], Any] | None]
    captured: Sequence[tuple[Binding, Any]] = ()


def _call_vjp(needed: list[int], cts: Any, outs: Any, operands: Any, attrs: Any, gapped: bool) -> list[Any]:
    places, given = attrs["places"], list(attrs["given"])
    for place, operand in zip(places, operands, strict=True):
        given[place] = operand
    backward = _backward_of(attrs["callee"], tuple([places[index] for index in needed]), gapped)
    results: list[Tensor] = []
    if backward.callee is not None:
        captured = [operand_of(binding.source, kind) for binding, kind in backward.captured]
        results = _call(backward.callee, [*given, *cts, *captured])
    remaining = iter(results)
    cotangents: list[Any] = [None] * len(operands)
    for index, kind in zip(needed, backward.kinds, strict=True):
        if kind is not None:
            cotangents[index] = kind(next(remaining))
    return cotangents


# A call as a tape records it: `operands` are those of the graph's parameters (`places`) on which the results depend, `given`
# holds all of them.
call_op = Op(
    "call", infer=lambda *types, callee, **_: TupleType([result.type for result in callee.graph.results]), vjp=_call_vjp
)


def operand_of(value: Any, kind: TensorType) -> Tensor:
    """What a parameter is in a call, as a tensor; a variable's is noted by the active tapes."""
    if isinstance(value, Variable):
        return value.read()
    return value if isinstance(value, Tensor) else Tensor(buffer_of(np.array(value), kind), kind)


def _call(callee: Callee, operands: Sequence[Tensor]) -> list[Tensor]:
    """Run a callee on tensors; the active tapes record it."""
    results = run_graph(callee.compiled(), operands)
    record_call(callee, operands, results)
    return results


def record_call(callee: Callee, operands: Sequence[Tensor], results: Sequence[Tensor]) -> None:
    """Note a call on the active tapes: an op for all results that depend on the same operands, so that a result and an
    operand between which nothing lies give None, as they do in eager mode."""
    if not context.tapes:
        return
    for part, numbers, places in callee.parts():
        made = [results[number] for number in numbers]
        if not places:
            # Of no operand a gradient goes there; but it is computed from them, and a gradient with respect to it exists.
            for tape, operand in itertools.product(context.tapes, operands):
                tape.record(ops.stop_gradient, (operand,), {}, made)
            continue
        attrs = {"callee": part, "places": places, "given": tuple(operands)}
        for tape in context.tapes:
            tape.record(call_op, [operands[place] for place in places], attrs, made)


def _backward_of(callee: Callee, needed: tuple[int, ...], gapped: bool) -> Backward:
    key = (needed, gapped)
    if key not in callee.backwards:
        callee.backwards[key] = _derive(callee, needed, gapped)
    return callee.backwards[key]


def _derive(callee: Callee, needed: tuple[int, ...], gapped: bool) -> Backward:
    graph = callee.graph
    taken = {parameter.attrs["name"] for parameter in graph.parameters}
    free = (name for name in (f"cotangent{number}" for number in itertools.count()) if name not in taken)
    cotangents = [make(ops.parameter, type=result.type, name=name) for result, name in zip(graph.results, free, strict=False)]
    sources = [graph.parameters[index] for index in needed]
    entries = entries_of(differentiated(graph.results, callee.rules), callee.rules)
    reached = reached_from(entries, sources)
    ends = [(result, seed) for result, seed in zip(graph.results, cotangents, strict=True) if id(result) in reached]
    targets, seeds = [result for result, _ in ends], [Gapped(seed) if gapped else seed for _, seed in ends]
    inner: Trace | None = None
    if callee.trace is None:
        derived = gapped_reverse(entries, targets, seeds, sources)
    else:
        inner = callee.trace.of_gradient([*graph.parameters, *cotangents])
        derived = within(inner, functools.partial(_run_rules, inner, entries, targets, seeds, sources))
    kinds: list[Callable[[Any], Any] | None] = [
        None if each is None else Gapped if type(each) is Gapped else dense for each in derived
    ]
    kept = [dense(each) for each in derived if each is not None]
    if not kept:
        return Backward(None, kinds)
    captured = inner.parameters if inner is not None else []
    backward = verify(Graph(f"{graph.name}_gradient", [*graph.parameters, *cotangents, *captured], kept))

    @functools.cache
    def compiled() -> CompiledFunction:
        return CompiledFunction.of_traced(Compilation(backward, host_target()))

    if inner is None:
        return Backward(Callee(backward, compiled, callee.rules), kinds)
    bindings = [(binding, node.type) for binding, node in zip(inner.bindings, captured, strict=True)]
    return Backward(Callee(backward, compiled, [*callee.rules, *inner.rules], inner), kinds, bindings)


def _run_rules(trace: Trace, entries: list[TapeEntry], targets: list[Node], seeds: list[Any], sources: list[Node]) -> list[Any]:
    """The cotangent of each source as a node, `Gapped` where its seed is, or None."""
    given = [_same_kind(seed, trace.tensor(dense(seed))) for seed in seeds]
    derived = trace.differentiate(entries, targets, given, sources)
    if trace.updates():
        raise TracingError(f"{trace.name}: the rule of a custom gradient assigned a variable; only the function itself can")
    return [None if each is None else _same_kind(each, trace.node(dense(each))) for each in derived]


def _same_kind(cotangent: Any, value: Any) -> Any:
    return Gapped(value) if type(cotangent) is Gapped else value
