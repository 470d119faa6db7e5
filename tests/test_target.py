"""The machine as one value: what its numbers rest on, and plans and text for machines other than this one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import random_graph
from machines import fits_host, use_target

import tracejit as tj
from tracejit import ops, passes
from tracejit.errors import InvalidArgumentError
from tracejit.ir import Graph, TensorType, interpret, make
from tracejit.ir.types import float32
from tracejit.llvm import target as module
from tracejit.llvm.emit import emit
from tracejit.llvm.machine.host import host_target
from tracejit.llvm.plan.plan import Plan, plan
from tracejit.llvm.target import AVX2, AVX512, NEON, SSE, Machine, Target
from tracejit.memory import ALIGNMENT
from tracejit.runtime.compiled_function import CompiledFunction, run_graph

MACHINES = (AVX512, AVX2, SSE, NEON)
ROOT = Path(__file__).resolve().parent.parent
SOURCE = Path(module.__file__).read_text("utf-8")


# -- the numbers


@pytest.mark.parametrize("field", [field for field in Machine._fields if field != "name"])
def test_a_number_says_what_it_rests_on(field: str) -> None:
    comment = re.search(rf"((?:^    #.*\n)+)    {field}: ", SOURCE, re.MULTILINE)
    assert comment is not None, "the field has no comment"
    text = comment[1].replace("\n    #", "")
    assert re.search(r"[Ff]rom the (processor's )?manual|Not measured|benchmarks\.\w+", text), text
    for name in re.findall(r"benchmarks\.\w+", text):
        assert (ROOT / name.replace(".", "/")).with_suffix(".py").is_file(), name


def test_arrays_begin_where_registers_of_every_machine_do() -> None:
    assert all(ALIGNMENT % machine.width == 0 for machine in MACHINES)


def test_this_machine_is_one_of_them() -> None:
    host = host_target().machine
    (base,) = [machine for machine in MACHINES if machine.name == host.name]
    assert host._replace(fma=base.fma, float16=base.float16) == base


# -- for other machines


def mlp() -> tuple[Callable[..., Any], list[Any]]:
    rng = np.random.default_rng(0)
    weights = [tj.Variable(rng.uniform(-0.1, 0.1, shape).astype(np.float32)) for shape in ((70, 50), (50,), (50, 10), (10,))]

    @tj.function
    def step(x: Any, y: Any) -> Any:
        with tj.GradientTape() as tape:
            hidden = tj.tanh(x @ weights[0] + weights[1])
            logits = hidden @ weights[2] + weights[3]
            loss = tj.reduce_mean(tj.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
        for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
            weight.assign_sub(0.1 * gradient)
        return loss

    return step, [tj.constant(rng.uniform(-1, 1, (33, 70)).astype(np.float32)), tj.constant(np.arange(33, dtype=np.int32) % 10)]


def convolutional() -> tuple[Callable[..., Any], list[Any]]:
    rng = np.random.default_rng(1)
    arrays = [rng.uniform(-1, 1, shape).astype(np.float32) for shape in ((2, 12, 12, 3), (3, 3, 3, 20))]

    @tj.function
    def loss(x: Any, w: Any) -> Any:
        with tj.GradientTape() as tape:
            tape.watch(w)
            total = tj.reduce_sum(tj.nn.max_pool(tj.nn.relu(tj.nn.conv2d(x, w, 1, "SAME")), 2, 2, "VALID"))
        return total, tape.gradient(total, w)

    return loss, [tj.constant(array) for array in arrays]


def norm() -> tuple[Callable[..., Any], list[Any]]:
    @tj.function
    def f(x: Any) -> Any:
        mean, variance = tj.nn.moments(x, axes=[1], keepdims=True)
        return tj.nn.gelu((x - mean) * tj.math.rsqrt(variance + 1e-5)), tj.transpose(x), tj.argmax(x, axis=1)

    return f, [tj.constant(np.random.default_rng(2).uniform(-1, 1, (37, 131)).astype(np.float32))]


PROGRAMS = {"mlp": mlp, "convolutional": convolutional, "norm": norm}


def graph_of(name: str) -> tuple[Graph, list[np.ndarray]]:
    """The optimized graph of a program, and arguments for all of its parameters."""
    function, arguments = PROGRAMS[name]()
    return function.graph(*arguments), [np.array(array) for array in function.arrays(*arguments)]  # type: ignore[attr-defined]


def widest(text: str) -> int:
    """The bytes of the widest vector of float32 that is multiplied and added."""
    return max(4 * int(lanes) for lanes in re.findall(r"@llvm\.fma\.v(\d+)f32\(<", text))


def made(graph: Graph, machine: Machine) -> tuple[Plan, str]:
    target = Target(machine)
    planned = plan(graph, target)
    return planned, emit(planned, target).text


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_planned_and_written_for_every_machine(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without asking the processor that the test runs on."""
    graph, _ = graph_of(name)
    monkeypatch.setattr("tracejit.llvm.machine.host.facts", lambda: pytest.fail("the processor was asked"))
    texts = {machine.name: made(graph, machine)[1] for machine in MACHINES}
    for machine in MACHINES:
        assert f'"prefer-vector-width"="{8 * machine.width}"' in texts[machine.name]
    assert len(set(texts.values())) == len(MACHINES)


def test_tiles_are_the_machine_s() -> None:
    """A product's tile takes the vectors that a machine's registers have room for."""
    kinds = [TensorType(shape, float32) for shape in ((240, 300), (300, 960))]
    x, y = (make(ops.parameter, type=kind, name=name) for kind, name in zip(kinds, "xy", strict=True))
    graph = passes.run(Graph("g", [x, y], [ops.matmul(x, y, transpose_a=False, transpose_b=False)]))
    sums = {}
    for machine in MACHINES[:2] + MACHINES[3:]:
        text = made(graph, machine)[1]
        lanes = machine.width // 4
        assert widest(text) == machine.width
        # The sums that the loop along the depth carries on: its tile.
        loops = re.split(r"^\w+:$", text, flags=re.MULTILINE)
        sums[machine.name] = max(len(re.findall(rf"= phi <{lanes} x float>", block)) for block in loops)
        assert machine.in_flight < sums[machine.name] < machine.registers
    assert sums["avx512"] > sums["neon"] > sums["avx2"]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_written_for_another_machine_is_right(name: str, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fits_host(Target(machine)):
        pytest.skip("this processor has not what the machine has")
    graph, arrays = graph_of(name)
    expected, updates = interpret(graph, [np.array(array) for array in arrays])
    use_target(monkeypatch, Target(machine))
    step = CompiledFunction(graph)
    assert f'"prefer-vector-width"="{8 * machine.width}"' in step.module.text
    found = run_graph(step, arrays)
    for result, value in zip(found, expected, strict=True):
        np.testing.assert_allclose(result.value, value, rtol=1e-4, atol=1e-5)
    for (parameter, _), value in zip(graph.updates, updates, strict=True):
        np.testing.assert_allclose(arrays[graph.parameters.index(parameter)], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_random_graphs_for_avx2(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(AVX2)
    if not fits_host(target):
        pytest.skip("this processor has not what the machine has")
    graph, arguments = random_graph(np.random.default_rng(seed))
    optimized = passes.run(graph)
    use_target(monkeypatch, target)
    try:
        expected, _ = interpret(optimized, [np.array(each) for each in arguments])
    except InvalidArgumentError:
        return
    for result, value in zip(
        run_graph(CompiledFunction(optimized), [np.array(each) for each in arguments]), expected, strict=True
    ):
        np.testing.assert_allclose(result.value.astype(np.float64), value.astype(np.float64), rtol=1e-3, atol=1e-4)


# -- how much text, which is what LLVM has to compile


def ones(*shape: int) -> Any:
    return tj.constant(np.ones(shape, np.float32))


def dense() -> tuple[Callable[..., Any], list[Any]]:
    return tj.function(lambda x, w, b: tj.nn.relu(x @ w + b)), [ones(32, 784), ones(784, 128), ones(128)]


def adam() -> tuple[Callable[..., Any], list[Any]]:
    w, m, v = (tj.Variable(ones(128, 384)) for _ in range(3))

    @tj.function
    def update(x: Any, d: Any) -> None:
        gradient = tj.matmul(x, d, transpose_a=True)
        m.assign(0.9 * m + 0.1 * gradient)
        v.assign(0.999 * v + 0.001 * gradient * gradient)
        w.assign_sub(0.001 * m / (tj.sqrt(v) + 1e-8))

    return update, [ones(256, 128), ones(256, 384)]


def moments() -> tuple[Callable[..., Any], list[Any]]:
    @tj.function
    def f(x: Any) -> Any:
        mean, variance = tj.nn.moments(x, axes=[1], keepdims=True)
        return (x - mean) * tj.math.rsqrt(variance + 1e-5)

    return f, [ones(64, 128)]


def turned() -> tuple[Callable[..., Any], list[Any]]:
    return tj.function(tj.transpose), [ones(300, 200)]


def pieces() -> tuple[Callable[..., Any], list[Any]]:
    return tj.function(lambda x: tj.stack(tj.unstack(x)[::-1])), [ones(1000)]


def written(program: Callable[[], tuple[Any, list[Any]]], machine: Machine) -> str:
    function, arguments = program()
    return made(function.graph(*arguments), machine)[1]


@pytest.mark.parametrize(
    ("program", "avx512", "avx2"),
    [(dense, 760, 260), (adam, 940, 410), (moments, 210, 200), (turned, 250, 155), (pieces, 60, 60)],
)
def test_a_program_has_at_most_so_many_lines(program: Any, avx512: int, avx2: int) -> None:
    assert len(written(program, AVX512).splitlines()) <= avx512
    assert len(written(program, AVX2).splitlines()) <= avx2


def test_what_follows_a_product_is_written_once_for_all_rows_of_a_tile() -> None:
    """A tile of all its rows and one of those that are left, each of two vectors."""
    assert 0 < written(adam, AVX512).count("@llvm.sqrt.v16f32(<16 x float> %") <= 4
