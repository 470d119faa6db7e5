"""Ops with effects: made up here, since there are none so far. They stay, once each, in the order of the program."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest

import tracejit as tj
from tracejit import ops, passes
from tracejit.context import context
from tracejit.ir import OPS, Effects, Graph, Node, Op, dispatch, interpret, make, parse, verify
from tracejit.ir.errors import ParseError, VerifyError
from tracejit.ir.op import Scalar
from tracejit.ir.types import TensorType, float32
from tracejit.tracing.trace import Trace, within

DONE: list[tuple[str, list[float]]] = []
CELL = [0.0]
KIND = TensorType((4,), float32)


def _say(x, mark):
    DONE.append((mark, np.ravel(x).tolist()))
    return x


def _store(x, mark):
    DONE.append((mark, np.ravel(x).tolist()))
    CELL[0] = float(np.ravel(x)[0])
    return x


def _fetch(x, mark):
    DONE.append((mark, [CELL[0]]))
    return np.full_like(x, CELL[0])


def _op(name: str, evaluate, effects: Effects) -> Op:
    # A lowering as elementwise ops have it, so that nothing but the effects keeps an op out of fusions.
    return Op(
        name, infer=lambda x, mark: x, evaluate=evaluate, vjp=(None,), lower=Scalar(lambda b, x, mark: x), effects=effects
    )


@pytest.fixture
def made_up() -> Iterator[dict[str, Op]]:
    new = [("say", _say, Effects.ORDERED), ("store", _store, Effects.WRITES), ("fetch", _fetch, Effects.READS)]
    DONE.clear()
    yield {name: _op(name, evaluate, effects) for name, evaluate, effects in new}
    for name, _, _ in new:
        del OPS[name]


def parameter(name: str = "x") -> Node:
    return make(ops.parameter, type=KIND, name=name)


def order(graph: Graph) -> list[str]:
    """The marks of the nodes with effects, in order of evaluation."""
    return [node.attrs["mark"] for node in graph.nodes if node.op.effects is not Effects.PURE]


def test_every_op_says_what_it_does():
    assert {op.effects for op in OPS.values()} == {Effects.PURE}
    assert not Effects.PURE.stay
    assert not Effects.READS.stay
    assert Effects.WRITES.stay
    assert Effects.ORDERED.stay
    assert (Effects.READS | Effects.WRITES).stay


def test_a_node_with_an_effect_stays_though_nobody_reads_it(made_up):
    x = parameter()
    said = made_up["say"](ops.exp(x), mark="a")
    assert Graph("g", [x], [ops.neg(x)]).effects == ()
    graph = Graph("g", [x], [ops.neg(x)], effects=[said])
    assert graph.effects == (said,)
    after = passes.run(graph)
    assert [node.op.name for node in after.effects] == ["say"]
    interpret(after, [np.zeros(4, np.float32)])
    assert DONE == [("a", [1.0] * 4)]


def test_a_read_goes_with_its_readers(made_up):
    x = parameter()
    graph = Graph("g", [x], [ops.mul(made_up["fetch"](x, mark="a"), 2.0)])
    assert order(passes.run(graph)) == ["a"]
    dead = Graph("g", [x], [ops.mul(ops.sub(made_up["fetch"](x, mark="a"), 0.0), 2.0)], effects=[])
    assert order(dead) == ["a"]
    assert Graph("g", [x], [x], effects=[made_up["fetch"](x, mark="a")]).effects == ()


@pytest.mark.parametrize("name", ["say", "store", "fetch"])
def test_it_is_not_merged_folded_or_fused(made_up, name):
    x = parameter()
    constant = ops.constant(np.ones(4, np.float32))
    twice = [made_up[name](operand, mark="m") for operand in (x, x, constant, constant)]
    graph = Graph("g", [x], [ops.exp(ops.add(ops.add(twice[0], twice[1]), ops.add(twice[2], twice[3])))])
    for stage, after in passes.stages(graph):
        assert order(after) == ["m"] * 4, stage
        bodies = [node.attrs["body"] for node in after.nodes if node.op is ops.fusion]
        assert all(order(body) == [] for body in bodies), stage


def test_pure_ops_between_them_are_still_merged(made_up):
    x = parameter()
    first, second = ops.exp(x), ops.exp(x)
    graph = Graph(
        "g", [x], [ops.add(first, second)], effects=[made_up["say"](first, mark="a"), made_up["say"](second, mark="b")]
    )
    after = passes.run(graph)
    assert order(after) == ["a", "b"]
    bodies = [node.attrs["body"] for node in after.nodes if node.op is ops.fusion]
    assert sum(node.op is ops.exp for body in bodies for node in body.nodes) == 1


def test_what_is_rebuilt_first_does_not_come_last(made_up):
    """The first one's operand changes in a pass, which gives it a new serial, the second one's does not."""
    x = parameter()
    late = made_up["say"](ops.mul(ops.exp(x), 1.0), mark="a")
    graph = Graph("g", [x], [], effects=[late, made_up["say"](x, mark="b"), made_up["fetch"](x, mark="unread")])
    assert order(graph) == ["a", "b"]
    for stage, after in passes.stages(graph):
        assert order(after) == ["a", "b"], stage


def test_a_gradient_before_it_leaves_it_in_order(made_up):
    x = parameter()
    y = ops.reduce_sum(ops.mul(x, x), axes=(0,))
    slope = make(ops.element, make(ops.gradient, y, x, targets=1, sources=1, seeded=False), index=0)
    graph = Graph("g", [x], [slope], effects=[made_up["say"](slope, mark="a"), made_up["store"](x, mark="b")])
    assert order(passes.run(graph)) == ["a", "b"]


def test_a_fusion_does_not_reach_around_an_effect(made_up):
    """As one loop nest, what the first takes and what is made of the second would wait for themselves."""
    x = parameter()
    before = ops.exp(x)
    made_up_say = made_up["say"](before, mark="a")
    read = made_up["fetch"](x, mark="b")
    graph = Graph("g", [x], [ops.add(ops.mul(read, before), 1.0)], effects=[made_up_say])
    after = passes.run(graph)
    assert order(after) == ["a", "b"]


def random_graph(seed: int, made_up: dict[str, Op]) -> Graph:
    rng = random.Random(seed)
    x = parameter()
    values, effects = [x, ops.exp(x), ops.constant(np.ones(4, np.float32))], []
    for number in range(rng.randrange(4, 14)):
        kind = rng.choice(["say", "store", "fetch", "add", "mul", "neg", "exp"])
        operand, other = rng.choice(values), rng.choice(values)
        if kind in made_up:
            values.append(made_up[kind](operand, mark=str(number)))
            effects.append(values[-1])
        else:
            values.append(getattr(ops, kind)(operand, *([other] if kind in ("add", "mul") else [])))
    return verify(Graph("g", [x], rng.sample(values, 2), effects=effects))


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_do_the_same_things(made_up, seed):
    graph = random_graph(seed, made_up)
    ran = []
    for each in (graph, passes.run(graph), parse(graph.text())):
        DONE.clear()
        CELL[0] = 0.25
        results, _ = interpret(each, [np.full(4, 0.5, np.float32)])
        ran.append((list(DONE), [result.tolist() for result in results]))
    assert ran[0] == ran[1] == ran[2]


def test_the_text_says_so(made_up):
    x = parameter()
    graph = Graph("g", [x], [], effects=[made_up["say"](x, mark="a")])
    assert graph.text().splitlines()[-2:] == ["  effect %0", "}"]
    assert parse(graph.text()) == graph
    assert Graph("g", [x], []) != graph
    with pytest.raises(ParseError, match="neg has no effect"):
        parse("graph g(%x: f32[2]) {\n  %0 = neg(%x) : f32[2]\n  return\n  effect %0\n}")


@pytest.mark.parametrize("wrong", ["gone", "turned", "twice"])
def test_a_pass_that_changes_effects_is_at_fault(made_up, monkeypatch, wrong):
    x = parameter()
    marks = {"gone": "a", "turned": "ba", "twice": "aab"}[wrong]
    graph = Graph("g", [x], [x], effects=[made_up["say"](x, mark=mark) for mark in "ab"])
    changed = Graph("g", [x], [x], effects=[made_up["say"](x, mark=mark) for mark in marks])
    monkeypatch.setattr("tracejit.passes.cse.run", lambda graph: changed)
    with pytest.raises(VerifyError, match="the pass cse is at fault: it changed the effects of g"):
        passes.run(graph)


def test_the_check_does_not_do_it(made_up, monkeypatch):
    monkeypatch.setenv("TRACEJIT_CHECK", "1")
    x = parameter()
    passes.run(Graph("g", [x], [x], effects=[made_up["say"](x, mark="a")]))
    assert DONE == []


def test_a_trace_keeps_it(made_up):
    trace = Trace("f", variables_may_be_created=False)

    def traced():
        x = trace.tensor(trace.parameter("x", KIND, None))
        dispatch.interpreter.apply(made_up["say"], (x,), {"mark": "a"})
        dispatch.interpreter.apply(made_up["fetch"], (x,), {"mark": "b"})
        assert context.trace is trace
        return trace.finish([tj.exp(x)])

    graph = within(trace, traced)
    assert order(graph) == ["a"]
    assert len(graph.parameters) == 1


def test_an_error_of_what_nobody_reads_is_none_in_a_traced_function() -> None:
    def f(x):
        1 // x
        tj.gather([1.0], x)
        return x + 1

    x = tj.constant([0, 5])
    with pytest.raises(tj.errors.InvalidArgumentError, match="divided by zero"):
        f(x)
    for _ in range(3):
        np.testing.assert_array_equal(tj.function(f)(x).numpy(), [1, 6])
