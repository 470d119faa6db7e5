"""Tracing, passes, planning and emission take time that grows with the graph's size, not with its square; and no recursion that
grows with it. Counted are calls, of Python functions and of built-in ones, which are the same at every run."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tracejit.passes.fuse import LIMIT

import tracejit as tj
from tracejit import ops, passes
from tracejit.ir import Graph, TensorType, interpret, make
from tracejit.ir.types import float32
from tracejit.llvm.emit import emit
from tracejit.llvm.plan.plan import plan
from tracejit.llvm.target import AVX2, Target

TARGET = Target(AVX2)


def chain(count: int) -> Callable[[], Any]:
    """Elementwise ops, one after another."""
    x = tj.ones([64])

    def f() -> Any:
        y = x
        for number in range(count):
            y = tj.tanh(y) if number % 4 == 0 else y * 1.01 if number % 4 == 1 else y + x if number % 4 == 2 else -y
        return y

    return f


def kernels(count: int) -> Callable[[], Any]:
    """Matmuls and reductions with elementwise ops between them."""
    x = tj.ones([16, 16])

    def f() -> Any:
        y = x
        for number in range(count // 4):
            y = (y @ x) * 1.01 + float(number)
            y = y - tj.reduce_mean(y, axis=0)
        return y

    return f


def perceptron(count: int) -> Callable[[], Any]:
    """Layers, about ten ops each, with gradient and update of two variables a layer."""
    layers = [(tj.Variable(np.eye(16, dtype=np.float32)), tj.Variable(np.zeros(16, np.float32))) for _ in range(count // 10)]
    variables = [variable for layer in layers for variable in layer]
    x = tj.ones([8, 16])

    def f() -> Any:
        with tj.GradientTape() as tape:
            y = x
            for w, b in layers:
                y = tj.nn.relu(y @ w + b)
            loss = tj.reduce_mean(y)
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(0.01 * gradient)
        return loss

    return f


def results(count: int) -> Callable[[], Any]:
    """Many results of one value."""
    x, factors = tj.ones([64]), [tj.ones([64]) for _ in range(count)]
    return lambda: [tj.exp(x) * factor for factor in factors]


def apart(count: int) -> Callable[[], Any]:
    """Many computations that have nothing to do with each other."""
    inputs = [tj.ones([number % 7 + 3]) for number in range(count // 3)]
    return lambda: [tj.exp(x) * 2.0 + 1.0 for x in inputs]


def skips(count: int) -> Callable[[], Any]:
    """Every value meets the first one again, past matmuls: nothing can be fused with it."""
    x = tj.ones([8, 8])

    def f() -> Any:
        first = y = tj.exp(x)
        for _ in range(count // 3):
            y = tj.sin(y @ x) + first
        return y

    return f


def lstm(steps: int, gates: Callable[[Any], Any] | None = None) -> Callable[[], Any]:
    """A recurrence written as a loop, with gradient and update."""
    rng = np.random.default_rng(0)
    variables = [tj.Variable(rng.standard_normal(shape).astype(np.float32)) for shape in ((8, 32), (8, 32), (32,), (8, 1))]
    wx, wh, b, out = variables
    x = tj.ones([2, steps, 8])

    def f() -> Any:
        with tj.GradientTape() as tape:
            h = c = tj.zeros([2, 8])
            for t in range(steps):
                z = x[:, t] @ wx + h @ wh + b
                i, forget, g, o = gates(z) if gates else tj.split(z, 4, axis=1)
                c = tj.sigmoid(forget) * c + tj.sigmoid(i) * tj.tanh(g)
                h = tj.sigmoid(o) * tj.tanh(c)
            loss = tj.reduce_mean((h @ out) ** 2)
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(0.01 * gradient)
        return loss

    return f


def sliced_lstm(steps: int) -> Callable[[], Any]:
    """Gates by slicing."""
    return lstm(steps, lambda z: [z[:, first : first + 8] for first in range(0, 32, 8)])


def recurrence(steps: int) -> Callable[[], Any]:
    """The gradient of what the steps read, of which each has a part."""
    w, x = tj.ones([8, 8]), tj.ones([steps, 4, 8])

    def f() -> Any:
        with tj.GradientTape() as tape:
            tape.watch([w, x])
            h = tj.zeros([4, 8])
            for each in tj.unstack(x):
                h = tj.tanh(each + h @ w)
            loss = tj.reduce_mean(h)
        return tape.gradient(loss, [w, x])

    return f


def residual(count: int) -> Callable[[], Any]:
    """What cannot be fused with what it is added to, and its gradient: each step reads what all before have added."""
    w = tj.Variable(np.eye(8, dtype=np.float32))

    def f() -> Any:
        with tj.GradientTape() as tape:
            y = tj.ones([4, 8])
            for _ in range(count // 3):
                y = y + tj.tanh(y * 2.0) @ w
            loss = tj.reduce_mean(y)
        return tape.gradient(loss, w)

    return f


def fan(count: int) -> Callable[[], Any]:
    """A value that many read, apart from each other, and its gradient."""
    x, w = tj.ones([4, 8]), tj.ones([8, 8])

    def f() -> Any:
        with tj.GradientTape() as tape:
            tape.watch(x)
            y = tj.tanh(x) * 2.0
            total = sum(tj.reduce_sum(tj.sin((y + float(number)) @ w) * y) for number in range(count // 5))
        return tape.gradient(total, x)

    return f


def transformer(layers: int) -> Callable[[], Any]:
    """Layers of attention and a feed-forward network, each normalized, with gradients."""
    weights = [
        [tj.Variable(np.ones(shape, np.float32)) for shape in ((8, 24), (8, 8), (8, 16), (16, 8))] for _ in range(layers)
    ]
    x = tj.ones([2, 4, 8])

    def norm(x: Any) -> Any:
        mean, variance = tj.nn.moments(x, axes=[-1], keepdims=True)
        return (x - mean) * tj.math.rsqrt(variance + 1e-5)

    def f() -> Any:
        with tj.GradientTape() as tape:
            y = x
            for qkv, out, up, down in weights:
                q, k, v = tj.split(norm(y) @ qkv, 3, axis=-1)
                y = y + tj.nn.softmax(tj.matmul(q, k, transpose_b=True)) @ v @ out
                y = y + tj.nn.gelu(norm(y) @ up, approximate=True) @ down
            loss = tj.reduce_mean(y * y)
        return tape.gradient(loss, weights)

    return f


def optimizer(count: int) -> Callable[[], Any]:
    """Adam for many variables of a few shapes."""
    variables = [[tj.Variable(np.ones([4, number % 3 + 2], np.float32)) for number in range(count)] for _ in range(3)]
    steps = tj.Variable(0.0)

    def f() -> Any:
        steps.assign_add(1.0)
        unbias = 1 / (1 - tj.pow(0.9, steps))
        for weight, m, v in zip(*variables, strict=True):
            gradient = weight * 2.0
            m.assign(0.9 * m + 0.1 * gradient)
            v.assign(0.999 * v + 0.001 * gradient * gradient)
            weight.assign_sub(0.001 * m * unbias / (tj.sqrt(v * unbias) + 1e-8))

    return f


def sweeps(count: int) -> Callable[[], Any]:
    """Passes over the same rows, each of which needs what the one before has found."""
    x = tj.ones([16, 16])

    def f() -> Any:
        y = x
        for _ in range(count // 4):
            z = y - tj.reduce_max(y, axis=-1, keepdims=True)
            y = z * z + z
        return y

    return f


def count_calls(function: Callable[[], Any]) -> int:
    """How many calls are made from `function` to the module's text."""
    compiled = tj.function(function)
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    gc.disable()  # what it finalizes calls too
    sys.setprofile(note)
    try:
        compiled.ir(stage="llvm")
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


# The smaller graph's size: more results than one fusion holds.
@pytest.mark.thin(2)
@pytest.mark.parametrize(
    ("build", "count"),
    [
        (chain, 50), (lstm, 4), (kernels, 50), (perceptron, 50), (results, 200), (apart, 50), (skips, 50), (sliced_lstm, 4),
        (recurrence, 4), (residual, 30), (fan, 50), (transformer, 2), (optimizer, 30), (sweeps, 40),
    ],
)  # fmt: skip
def test_work_grows_with_the_graph(build: Callable[[int], Callable[[], Any]], count: int) -> None:
    count_calls(build(count // 2))  # what is done once
    assert count_calls(build(10 * count)) < 13 * count_calls(build(count))


def nodes(graph: Graph) -> int:
    """How many there are, those of bodies included."""
    return sum(1 + (len(node.attrs["body"].nodes) if node.op is ops.fusion else 0) for node in graph.nodes)


BUDGETS = [
    (lstm, 30), (sliced_lstm, 30), (recurrence, 60), (residual, 200), (fan, 200), (transformer, 20), (optimizer, 300),
    (sweeps, 200), (perceptron, 200), (results, 200), (skips, 200),
]  # fmt: skip


# A fusion is a node and its members are nodes, so that one of a single op counts twice; and each has its own constants.
@pytest.mark.parametrize(("build", "count"), BUDGETS)
def test_a_pass_adds_no_more_than_a_part_of_the_graph(build: Callable[[int], Callable[[], Any]], count: int) -> None:
    traced = tj.function(build(count))._concrete((), {}).traced.graph
    before = first = None
    for name, graph in passes.stages(traced):
        if before is None:
            first = nodes(graph)
        else:
            assert nodes(graph) <= (2.2 if name == "fuse" else 1.25) * before, name
        before = nodes(graph)
    assert before is not None and first is not None and before <= 2 * first


def kernels(graph: Graph) -> int:
    """How many different ones there are."""
    return len({call.key for call in plan(graph, TARGET).calls})


@pytest.mark.parametrize(("build", "count"), [(lstm, 12), (sliced_lstm, 12), (recurrence, 12), (residual, 30)])
def test_equal_steps_have_equal_kernels(build: Callable[[int], Callable[[], Any]], count: int) -> None:
    few, many = (kernels(tj.function(build(each)).graph()) for each in (count, 2 * count))
    assert many == few < 30


def test_ten_thousand_ops_need_no_recursion() -> None:
    x = make(ops.parameter, type=TensorType((16,), float32), name="x")
    y = x
    for number in range(10_000):
        y = ops.sin(y) if number % 2 else ops.add(y, x)
    graph = Graph("chain", [x], [y])
    after = passes.run(graph)
    found = plan(after, TARGET)
    assert len(found.calls) > 10_000 / LIMIT
    assert emit(found, TARGET).text.count("define ") > 1
    argument = np.linspace(-1, 1, 16, dtype=np.float32)
    np.testing.assert_array_equal(interpret(after, [argument])[0][0], interpret(graph, [argument])[0][0])


@pytest.mark.slow
def test_two_thousand_layers_need_no_recursion() -> None:
    x, w = (make(ops.parameter, type=TensorType((4, 4), float32), name=name) for name in "xw")
    y = x
    for _ in range(2000):
        y = ops.tanh(ops.matmul(y, w, transpose_a=False, transpose_b=False))
    gradient = make(ops.gradient, ops.reduce_sum(y, axes=(0, 1)), w, targets=1, sources=1, seeded=False)
    after = passes.run(Graph("layers", [x, w], [y], [(w, make(ops.element, gradient, index=0))]))
    found = plan(after, TARGET)
    assert len(found.calls) > 6000
    assert kernels(after) < 20
    assert emit(found, TARGET).text.count("define ") > 1
