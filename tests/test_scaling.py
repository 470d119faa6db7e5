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
    ("build", "count"), [(chain, 50), (kernels, 50), (perceptron, 50), (results, 200), (apart, 50), (skips, 50)]
)
def test_work_grows_with_the_graph(build: Callable[[int], Callable[[], Any]], count: int) -> None:
    count_calls(build(10))  # what is done once
    assert count_calls(build(10 * count)) < 13 * count_calls(build(count))


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
    assert len({step.key for step in found.calls}) < 20
    assert emit(found, TARGET).text.count("define internal ") < 200
