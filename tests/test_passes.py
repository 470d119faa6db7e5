"""The passes: golden files, and that none of them changes a value.

A file `tests/ir/<pass>/<case>.ir` holds a graph, a line `// after`, and the graph that the pass makes of it. With
TRACEJIT_BLESS=1 in the environment the second half is written anew.
"""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import random_graph
from tracejit.passes import fuse, simplify

import tracejit as tj
from tracejit import ops, passes
from tracejit.errors import InvalidArgumentError, VerifyError
from tracejit.ir import Graph, Node, TensorType, interpret, make, parse, verify
from tracejit.ir.types import DType, float16, float32
from tracejit.ops.elementwise import ALL_NUMBERS

FOLDER = Path(__file__).parent / "ir"
FILES = sorted(FOLDER.glob("*/*.ir"))
AFTER = "// after\n"


def arguments_for(graph: Graph, seed: int = 0) -> list[np.ndarray]:
    """Random arrays for the parameters: integers from 0 to 2, so that they can be indices."""
    rng = np.random.default_rng(seed)
    drawn = []
    for parameter in graph.parameters:
        kind = parameter.dtype.numpy
        array = rng.uniform(0.2, 1.8, parameter.shape) if kind.kind == "f" else rng.integers(0, 3, parameter.shape)
        drawn.append(np.asarray(array).astype(kind))
    return drawn


def assert_same_values(before: Graph, after: Graph, arguments: list[np.ndarray], where: object) -> None:
    """To the bit, but for what a rewrite may round otherwise: 1e-6 relative to the largest element. What fails, fails alike."""
    try:
        interpret(before, arguments)
    except InvalidArgumentError as error:
        with pytest.raises(type(error)):
            interpret(after, arguments)
        return
    (results, updates), (wanted, wanted_updates) = interpret(after, arguments), interpret(before, arguments)
    for found, expected in zip([*results, *updates], [*wanted, *wanted_updates], strict=True):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), where
        if expected.dtype.kind == "f":
            scale = float(np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected)))
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * scale, equal_nan=True, err_msg=str(where))
        else:
            np.testing.assert_array_equal(found, expected, err_msg=str(where))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_golden(file: Path) -> None:
    given, mark, expected = file.read_text().partition(AFTER)
    assert mark, f"{file} has no line {AFTER!r}"
    before = verify(parse(given))
    after = passes.apply(file.parent.name, before)
    if os.environ.get("TRACEJIT_BLESS") == "1":
        file.write_text(f"{given}{AFTER}{after.text()}\n")
        expected = after.text()
    assert after.text().strip() == expected.strip()
    assert_same_values(before, verify(parse(expected)), arguments_for(before), file)
    again = passes.apply(file.parent.name, after)
    if file.parent.name != "fuse":
        assert again.text() == after.text(), "the pass is not done after one run"


def test_every_pass_has_golden_files() -> None:
    count = {name: sum(file.parent.name == name for file in FILES) for name in passes.PIPELINE}
    assert min(count.values()) >= 3, count
    assert {file.parent.name for file in FILES} == set(passes.PIPELINE)


@pytest.mark.parametrize("name", passes.PIPELINE)
def test_a_pass_alone_changes_no_value(name: str) -> None:
    for seed in range(120):
        graph, arguments = random_graph(np.random.default_rng(seed), gradients=seed % 2 == 0)
        if name != "backward":
            # They all stand behind it: a gradient is not for them to see, and simplify drops what stops one.
            graph = passes.apply("backward", graph)
        after = passes.apply(name, graph)
        assert_same_values(graph, after, arguments, seed)


@pytest.mark.parametrize("name", passes.PIPELINE)
def test_a_pass_keeps_parameters_updates_and_name(name: str) -> None:
    for seed in range(30):
        graph, _ = random_graph(np.random.default_rng(seed))
        after = passes.apply(name, graph)
        assert after.name == graph.name
        assert after.parameters == graph.parameters
        assert [parameter for parameter, _ in after.updates] == [parameter for parameter, _ in graph.updates]
        assert [result.type for result in after.results] == [result.type for result in graph.results]


@pytest.mark.parametrize("name", ["backward", "simplify", "cse"])
def test_a_pass_is_done_after_one_run(name: str) -> None:
    for seed in range(120):
        graph, _ = random_graph(np.random.default_rng(seed), gradients=seed % 2 == 0)
        after = passes.apply(name, graph)
        assert passes.apply(name, after).text() == after.text(), seed


def test_the_pipeline_leaves_no_op_that_cannot_be_compiled() -> None:
    for seed in range(60):
        graph, _ = random_graph(np.random.default_rng(seed), gradients=True)
        for node in passes.run(graph).nodes:
            assert node.op.lower is not None or node.op in (ops.fusion, ops.element, ops.constant_op), node


def test_after_fusing_no_elementwise_op_is_alone() -> None:
    for seed in range(60):
        graph, _ = random_graph(np.random.default_rng(seed))
        for node in passes.run(graph).nodes:
            assert node.op in (ops.fusion, ops.element, ops.constant_op) or type(node.op.lower).__name__ in (
                "Alias",
                "Kernel",
            ), node


def test_stages_are_the_pipeline_s() -> None:
    graph, _ = random_graph(np.random.default_rng(1))
    found = list(passes.stages(graph))
    assert [name for name, _ in found] == list(passes.PIPELINE)
    assert found[-1][1].text() == passes.run(graph).text()


def _train_step() -> tuple[Graph, list[np.ndarray]]:
    w, b = tj.Variable(np.full((4, 3), 0.1, np.float32)), tj.Variable(np.zeros(3, np.float32))

    @tj.function
    def step(x: object, labels: object) -> object:
        with tj.GradientTape() as tape:
            losses = tj.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=tj.tanh(x @ w + b))  # type: ignore[operator]
            loss = tj.reduce_mean(losses)
        for variable, gradient in zip((w, b), tape.gradient(loss, [w, b]), strict=True):
            variable.assign_sub(0.1 * gradient)
        return loss

    graph = parse(step.ir(np.ones((8, 4), np.float32), np.zeros(8, np.int32), stage="traced"))
    return graph, arguments_for(graph)


def test_a_train_step_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEJIT_CHECK", "1")
    graph, arguments = _train_step()
    after = graph
    for name, after in passes.stages(graph):
        assert_same_values(graph, after, arguments, name)
    assert len(after.nodes) < len(graph.nodes) * 3


@pytest.fixture
def wrong_pass(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A pass `wrong` at the end of the pipeline; a test gives it its `run`."""
    module = types.ModuleType("tracejit.passes.wrong")
    monkeypatch.setitem(sys.modules, "tracejit.passes.wrong", module)
    monkeypatch.setattr(passes, "PIPELINE", (*passes.PIPELINE, "wrong"))
    return module


def _negated() -> Graph:
    x = make(ops.parameter, type=TensorType((3,), float32), name="x")
    return Graph("g", [x], [ops.exp(x)])


def test_a_pass_that_changes_a_value_is_named(wrong_pass: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_pass.run = lambda graph: graph.with_roots({result: ops.neg(result) for result in graph.results})  # type: ignore[attr-defined]
    passes.run(_negated())  # nobody looks
    monkeypatch.setenv("TRACEJIT_CHECK", "1")
    with pytest.raises(VerifyError, match="the pass wrong is at fault: it changed a value of g"):
        passes.run(_negated())


def test_a_pass_that_changes_an_update_is_named(wrong_pass: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEJIT_CHECK", "1")
    wrong_pass.run = lambda graph: Graph(
        graph.name, graph.parameters, graph.results, [(p, ops.neg(v)) for p, v in graph.updates]
    )  # type: ignore[attr-defined]
    x = make(ops.parameter, type=TensorType((3,), float32), name="x")
    with pytest.raises(VerifyError, match="the pass wrong is at fault: it changed a value of g"):
        passes.run(Graph("g", [x], [], [(x, ops.exp(x))]))


def test_a_pass_that_breaks_the_graph_is_named(wrong_pass: types.ModuleType) -> None:
    other = make(ops.parameter, type=TensorType((3,), float32), name="y")
    wrong_pass.run = lambda graph: Graph(graph.name, graph.parameters, [ops.neg(other)])  # type: ignore[attr-defined]
    with pytest.raises(VerifyError, match="the pass wrong is at fault: g"):
        passes.run(_negated())


# -- what fusing makes of graphs that are met


def _bodies(graph: Graph) -> list[set[str]]:
    return [{node.op.name for node in each.attrs["body"].nodes} for each in passes.run(graph).nodes if each.op is ops.fusion]


def test_forward_and_backward_are_fused() -> None:
    """tanh of the forward computation and 1 - tanh * tanh of the backward one run in one loop nest."""
    x = make(ops.parameter, type=TensorType((8, 4), float32), name="x")
    y = ops.tanh(x)
    gradient = make(ops.gradient, y, x, targets=1, sources=1, seeded=False)
    (body,) = _bodies(Graph("g", [x], [y, make(ops.element, gradient, index=0)]))
    assert {"tanh", "sub", "mul"} <= body


def test_a_softmax_is_one_fusion() -> None:
    x = make(ops.parameter, type=TensorType((8, 40), float32), name="x")
    top = ops.broadcast(ops.reduce_max(x, axes=(1,)), shape=(8, 40), axes=(0,))
    exps = ops.exp(ops.sub(x, top))
    total = ops.broadcast(ops.reduce_sum(exps, axes=(1,)), shape=(8, 40), axes=(0,))
    (body,) = _bodies(Graph("softmax", [x], [ops.div(exps, total)]))
    assert {"reduce_max", "exp", "reduce_sum", "div"} <= body


def test_fusing_avoids_a_cycle_through_a_matmul() -> None:
    """exp(x) feeds a matmul whose result meets exp(x) again: the addition cannot run where exp does."""
    x = make(ops.parameter, type=TensorType((4, 4), float32), name="x")
    early = ops.exp(x)
    product = ops.matmul(early, early, transpose_a=False, transpose_b=False)
    graph = Graph("g", [x], [ops.add(early, product)])
    assert len(_bodies(graph)) == 2
    assert_same_values(graph, passes.run(graph), arguments_for(graph), "cycle")


def test_fusing_avoids_a_cycle_through_two_clusters() -> None:
    """Of two clusters each holds a node that the other waits for, by way of matmuls."""
    x = make(ops.parameter, type=TensorType((4, 4), float32), name="x")

    def product(node: object) -> object:
        return ops.matmul(node, node, transpose_a=False, transpose_b=False)

    a, b = ops.sin(x), ops.cos(x)
    late_a, late_b = ops.add(a, product(b)), ops.add(b, product(a))
    graph = Graph("g", [x], [late_a, late_b, ops.mul(late_a, b), ops.mul(late_b, a)])
    assert_same_values(graph, passes.run(graph), arguments_for(graph), "cycle")


@pytest.mark.parametrize("window", [1, 2, 5, 16])
def test_fusing_with_a_window_smaller_than_the_graph(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less is fused, and nothing waits for itself."""
    monkeypatch.setattr(fuse, "WINDOW", window)
    for seed in range(120):
        graph, arguments = random_graph(np.random.default_rng(seed), gradients=seed % 2 == 0)
        assert_same_values(graph, passes.run(graph), arguments, seed)
    test_fusing_avoids_a_cycle_through_a_matmul()
    test_fusing_avoids_a_cycle_through_two_clusters()


def test_an_iota_and_a_broadcast_that_are_broadcast_are_fused() -> None:
    """Without simplify before it."""
    x = make(ops.parameter, type=TensorType((3, 5), float32), name="x")
    row = make(ops.iota, shape=(5,), axis=0, dtype=float32)
    one = make(ops.iota, shape=(1,), axis=0, dtype=float32)
    scalar = ops.constant(np.float32(2))
    parts = [
        ops.broadcast(row, shape=(3, 5), axes=(1,)),
        ops.broadcast(one, shape=(3, 5), axes=(0,)),
        ops.broadcast(ops.broadcast(scalar, shape=(5,), axes=()), shape=(3, 5), axes=(1,)),
    ]
    total = x
    for part in parts:
        total = ops.add(total, part)
    graph = Graph("g", [x], [total])
    after = passes.apply("fuse", graph)
    assert [node.op.name for node in after.nodes] == ["fusion"]
    assert_same_values(graph, after, arguments_for(graph), "iota")


# -- rules of arithmetic are exact: interpreted before and after, to the bit, on all that a dtype has to offer


def _specials(dtype: DType) -> np.ndarray:
    """All numbers of a half dtype; of another both signs of special numbers, powers of two, their neighbours, and random bits."""
    kind = dtype.numpy.type
    if dtype.is_half:
        return np.arange(2**16, dtype=np.uint16).view(kind)
    rng = np.random.default_rng(0)
    if dtype.is_integer:
        edges = [0, 1, 2, 3, dtype.max, dtype.max - 1, -1, -2, dtype.min, dtype.min + 1]
        return np.concatenate([np.array(edges, kind), rng.integers(dtype.min, dtype.max, 500, kind)])
    limits = np.finfo(kind)
    powers = 2.0 ** np.arange(limits.minexp - limits.nmant, limits.maxexp)
    near = [np.nextafter(powers.astype(kind), kind(to)) for to in (0, np.inf)]
    edges = np.array([0, np.inf, np.nan, limits.max, 0.1, 1 / 3], kind)
    positive = np.concatenate([edges, powers.astype(kind), *near])
    bits = rng.integers(0, 2**63, 2000, np.uint64).view(kind)
    return np.concatenate([positive, -positive, bits])


def _constants(dtype: DType) -> list[Any]:
    """Numbers that rules look for, and those beside them."""
    if dtype.is_integer:
        return [0, 1, -1, 2, dtype.min, dtype.max]
    limits = dtype.limits
    exponents = range(int(limits.minexp) - int(limits.nmant), int(limits.maxexp), 1 if dtype.is_half else 37)
    powers = [2.0**exponent for exponent in exponents]
    return [0.0, -0.0, np.inf, -np.inf, np.nan, 3.0, float(limits.max), *powers, *(-power for power in powers)]


@pytest.mark.thin(5)
@pytest.mark.parametrize("dtype", ALL_NUMBERS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("op", [ops.sub, ops.add, ops.mul, ops.div, ops.mul_or_zero, ops.div_or_zero], ids=lambda op: op.name)
def test_arithmetic_with_a_constant_is_exact(op: Any, dtype: DType) -> None:
    if dtype not in op.dtypes:
        return
    x = make(ops.parameter, type=TensorType(_specials(dtype).shape, dtype), name="x")
    with np.errstate(all="ignore"):
        constants = [np.array(value).astype(dtype.numpy) for value in _constants(dtype)]
    for constant in constants:
        number = make(ops.broadcast, make(ops.constant_op, value=ops.frozen(constant)), shape=x.shape, axes=())
        _assert_exact(Graph("g", [x], [make(op, x, number), make(op, number, x)]), _specials(dtype), constant)


@pytest.mark.parametrize("dtype", ALL_NUMBERS, ids=lambda dtype: dtype.name)
def test_rules_of_one_operand_are_exact(dtype: DType) -> None:
    numbers = _specials(dtype)
    x = make(ops.parameter, type=TensorType(numbers.shape, dtype), name="x")
    results = [make(ops.neg, make(ops.neg, x)), make(ops.cast, x, dtype=dtype)]
    if not dtype.is_half:
        results += [make(ops.power, x, exponent=exponent) for exponent in range(5)]
        column = make(ops.reshape, x, shape=(len(numbers), 1))
        results += [make(reduction, column, axes=(1,)) for reduction in (ops.reduce_prod, ops.reduce_max, ops.reduce_min)]
        # NumPy's sum of -0 alone is of either sign.
        results.append(make(ops.abs, make(ops.reduce_sum, column, axes=(1,))))
    if dtype.is_floating and not dtype.is_half:
        results.append(make(ops.power, x, exponent=0.5))
    _assert_exact(Graph("g", [x], results), numbers, dtype)


def _assert_exact(graph: Graph, numbers: np.ndarray, where: object) -> None:
    after = passes.apply("fold", passes.apply("simplify", graph))
    for found, expected in zip(interpret(after, [numbers])[0], interpret(graph, [numbers])[0], strict=True):
        same = found.view(f"u{found.itemsize}") == expected.view(f"u{found.itemsize}")
        with np.errstate(invalid="ignore"):
            wrong = ~(same | ((found != found) & (expected != expected)))
        shown = [(numbers[at], found[at], expected[at]) for at in np.flatnonzero(wrong)[:5]]
        assert not shown, f"{where}: (operand, after, before) {shown}"


def test_a_rule_that_is_wrong_at_one_end_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """x / 2**-16 is not x * inf, which is what the reciprocal is in float16."""
    monkeypatch.setattr(simplify, "_simplest", lambda node: _through_reciprocal(node) if node.op is ops.div else node)
    monkeypatch.setenv("TRACEJIT_CHECK", "1")
    for shape in ((), (1,), (7,)):
        x = make(ops.parameter, type=TensorType(shape, float16), name="x")
        small = make(ops.constant_op, value=ops.frozen(np.full(shape, 2.0**-16, np.float16)))
        with pytest.raises(VerifyError, match="the pass simplify is at fault: it changed a value"):
            passes.apply("simplify", Graph("g", [x], [make(ops.div, x, small)]))


def _through_reciprocal(node: Node) -> Node:
    x, y = node.operands
    with np.errstate(all="ignore"):
        return make(ops.mul, x, make(ops.constant_op, value=ops.frozen(1 / y.attrs["value"])))
