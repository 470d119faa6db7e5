"""The plan: how much memory a step takes and where it lies, how long it may take, which steps share a kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from graphs import RandomGraph, random_graphs
from hypothesis import given, settings
from hypothesis import strategies as st

import tracejit as tj
from tracejit import ops, passes
from tracejit.ir import Graph, Node, TensorType, interpret, make
from tracejit.ir.types import float32
from tracejit.llvm.emit import emit
from tracejit.llvm.plan import arena as packing
from tracejit.llvm.plan import layout as layouts
from tracejit.llvm.plan import schedule as schedules
from tracejit.llvm.plan.arena import LiveRange, live_ranges_of
from tracejit.llvm.plan.plan import Plan, plan
from tracejit.llvm.plan.views import Buffer
from tracejit.llvm.target import AVX2, Target
from tracejit.memory import ALIGNMENT
from tracejit.runtime.compiled_function import CompiledFunction, run_graph

TARGET = Target(AVX2)

PACKINGS = (packing.pack_by_size, packing.pack_in_order)


def check_layout(lives: Mapping[Buffer, LiveRange], offsets: Mapping[Buffer, int], arena: int) -> None:
    """Aligned, inside of the arena, and apart where both are alive."""
    assert offsets.keys() == lives.keys()
    placed = sorted(lives.items(), key=lambda item: offsets[item[0]])
    for number, (buffer, life) in enumerate(placed):
        offset = offsets[buffer]
        assert offset % ALIGNMENT == 0
        assert offset + max(buffer.nbytes, 1) <= offset + life.size <= arena
        for other, (_, first, last) in placed[number + 1 :]:
            if first <= life.last and life.first <= last:
                assert offset + life.size <= offsets[other]


def end(lives: Mapping[Buffer, LiveRange], offsets: Mapping[Buffer, int]) -> int:
    return max((offset + lives[buffer].size for buffer, offset in offsets.items()), default=0)


def check_arena(found: Plan) -> None:
    lives = live_ranges_of(found.calls)
    rounded = sum(life.size for life in lives.values())
    peak = max(
        (sum(s for s, first, last in lives.values() if first <= step <= last) for step in range(len(found.calls))), default=0
    )
    assert found.temporaries_bytes >= sum(buffer.nbytes for buffer in lives)
    assert found.peak_bytes == peak <= found.arena_bytes <= rounded
    assert found.arena.lives == lives
    check_layout(lives, found.arena.offsets, found.arena_bytes)


# -- the arena


@settings(deadline=None)
@given(random_graphs(gradients=True), st.sampled_from([0, 1024]))
def test_the_arena_of_a_random_graph(case: RandomGraph, by_size: int) -> None:
    before, packing._PACKED_BY_SIZE = packing._PACKED_BY_SIZE, by_size
    try:
        check_arena(plan(passes.run(case[0]), TARGET))
    finally:
        packing._PACKED_BY_SIZE = before


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 12), st.integers(0, 12)), max_size=40), st.sampled_from(PACKINGS)
)
def test_packing(drawn: list[tuple[int, int, int]], pack: Any) -> None:
    lives = {}
    for nbytes, first, length in sorted(drawn, key=lambda each: each[1]):
        size = max(-(-nbytes // ALIGNMENT), 1) * ALIGNMENT
        lives[Buffer("arena", 0, nbytes)] = LiveRange(size, first, first + length)
    offsets = pack(lives)
    arena = end(lives, offsets)
    check_layout(lives, offsets, arena)
    alive = [sum(size for size, first, last in lives.values() if first <= step <= last) for step in range(25)]
    assert max(alive) <= arena <= sum(life.size for life in lives.values())


def test_places_that_are_free_again_are_joined() -> None:
    sizes = {"a": (64, 0, 1), "b": (64, 0, 1), "c": (128, 2, 2)}
    lives = {Buffer("arena", 0, size): LiveRange(size, first, last) for size, first, last in sizes.values()}
    assert end(lives, packing.pack_in_order(lives)) == 128


def test_the_last_free_place_grows() -> None:
    lives = {Buffer("arena", 0, size): LiveRange(size, step, step) for step, size in enumerate((64, 128, 192))}
    assert end(lives, packing.pack_in_order(lives)) == 192


# -- variables


def test_a_new_value_that_is_reshaped_is_written_in_place() -> None:
    x = make(ops.parameter, type=TensorType((6,), float32), name="x")
    new = ops.reshape(ops.concat(ops.reshape(x, shape=(2, 3)), ops.reshape(x, shape=(2, 3)), axis=0), shape=(12,))
    y = make(ops.parameter, type=TensorType((12,), float32), name="y")
    found = plan(passes.run(Graph("g", [x, y], [], [(y, new)])), TARGET)
    assert found.in_place == {y}
    assert len(found.calls) == 1


def test_two_variables_that_get_one_value_are_both_written() -> None:
    x, y, z = (make(ops.parameter, type=TensorType((6,), float32), name=name) for name in "xyz")
    new = ops.exp(x)
    step = CompiledFunction(passes.run(Graph("g", [x, y, z], [], [(y, new), (z, new)])))
    arrays = [np.full(6, value, np.float32) for value in (1, 2, 3)]
    run_graph(step, arrays)
    np.testing.assert_allclose(arrays[1], np.exp(arrays[0]), rtol=1e-6)
    np.testing.assert_array_equal(arrays[1], arrays[2])


# -- one kernel for steps that compute alike


def two_layers(second: int = 8) -> tuple[Graph, list[np.ndarray]]:
    shapes = [(4, 8), (8, 8), (8,), (8, second), (second,)]
    x, w1, b1, w2, b2 = (make(ops.parameter, type=TensorType(shape, float32), name=f"p{i}") for i, shape in enumerate(shapes))

    def layer(x: Any, w: Any, b: Any) -> Any:
        return ops.tanh(ops.add(ops.matmul(x, w, transpose_a=False, transpose_b=False), b))

    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-1, 1, shape).astype(np.float32) for shape in shapes]
    return Graph("layers", [x, w1, b1, w2, b2], [layer(layer(x, w1, b1), w2, b2)]), arrays


def test_layers_of_one_shape_share_their_kernels() -> None:
    graph, arrays = two_layers()
    step = CompiledFunction(passes.run(graph))
    keys = [each.key for each in step.plan.calls]
    assert keys[0] == keys[2] != keys[1] == keys[3]
    assert step.module.text.count('\ndefine i32 @"') == 3  # and the entry
    np.testing.assert_allclose(run_graph(step, arrays)[0].value, interpret(graph, arrays)[0][0], rtol=1e-5, atol=1e-6)


def test_layers_of_other_shapes_do_not() -> None:
    graph, arrays = two_layers(second=7)
    step = CompiledFunction(passes.run(graph))
    assert len({each.key for each in step.plan.calls}) == 4
    np.testing.assert_allclose(run_graph(step, arrays)[0].value, interpret(graph, arrays)[0][0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("one", "other"), [(0.0, -0.0), (1.5, 2.5)])
def test_a_kernel_s_constants_tell_it_apart(one: float, other: float) -> None:
    x = make(ops.parameter, type=TensorType((4, 4), float32), name="x")
    first = ops.mul(x, ops.broadcast_to(ops.constant(np.float32(one)), (4, 4)))
    product = ops.matmul(x, x, transpose_a=False, transpose_b=False)
    second = ops.mul(product, ops.broadcast_to(ops.constant(np.float32(other)), (4, 4)))
    graph = Graph("g", [x], [first, second, product])
    step = CompiledFunction(passes.run(graph))
    assert len({each.key for each in step.plan.calls}) == len(step.plan.calls) == 3
    argument = np.full((4, 4), 2, np.float32)
    for found, expected in zip(run_graph(step, [argument]), interpret(graph, [argument])[0], strict=True):
        np.testing.assert_array_equal(np.copysign(1, found.value), np.copysign(1, expected))
        np.testing.assert_array_equal(found.value, expected)


def test_a_step_writes_over_what_it_is_the_last_to_read() -> None:
    """A fusion, and one on the tiles of a product; not over what is read again, or elsewhere than where it is written."""
    kind = TensorType((64, 64), float32)
    x, y = (make(ops.parameter, type=kind, name=name) for name in "xy")

    def product(a: Node, b: Node) -> Node:
        return ops.matmul(a, b, transpose_a=False, transpose_b=False)

    first = product(x, y)
    second = ops.exp(first)
    third = ops.sub(product(y, x), first)
    step = CompiledFunction(passes.run(Graph("g", [x, y], [product(third, third)])))
    assert len(step.plan.calls) == 3
    assert step.plan.arena_bytes == kind.nbytes and step.plan.temporaries_bytes == 2 * kind.nbytes
    arguments = [np.random.default_rng(0).uniform(-0.1, 0.1, (64, 64)).astype(np.float32) for _ in range(2)]
    expected = interpret(step.graph, arguments)[0][0]
    np.testing.assert_allclose(run_graph(step, arguments)[0].value, expected, rtol=0, atol=1e-5)
    again = CompiledFunction(passes.run(Graph("g", [x, y], [product(ops.add(second, first), second)])))
    assert again.plan.arena_bytes == 2 * kind.nbytes
    spread = ops.add(first, ops.broadcast(ops.reduce_sum(first, axes=(0,)), shape=(64, 64), axes=(1,)))
    found = CompiledFunction(passes.run(Graph("g", [x, y], [product(spread, x)])))
    np.testing.assert_allclose(run_graph(found, arguments)[0].value, interpret(found.graph, arguments)[0][0], rtol=0, atol=1e-5)


# -- units


def test_what_is_summed_over_many_rows_is_combined_from_parts() -> None:
    x = make(ops.parameter, type=TensorType((4096, 64), float32), name="x")
    y = ops.exp(x)
    found = plan(passes.run(Graph("g", [x], [ops.reduce_sum(y, axes=(0,)), ops.reduce_sum(y, axes=(1,))])), TARGET)
    first, second = found.calls
    assert first.schedule is not None and second.schedule is not None
    assert (first.schedule.chunks, second.schedule.chunks) == (8, 1)
    assert sorted(view.shape for view in first.outputs) == [(8, 64), (4096,)]
    assert [view.shape for view in (*second.operands, *second.outputs)] == [(8, 64), (64,)]


def test_the_loops_of_a_fusion_are_decided_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """They stand on the plan's call, and the kernel is written by them alone."""
    x = make(ops.parameter, type=TensorType((4096, 64), float32), name="x")
    y = ops.exp(x)
    found = plan(passes.run(Graph("g", [x], [ops.reduce_sum(y, axes=(0,)), ops.reduce_sum(y, axes=(1,)), y])), TARGET)
    layout = found.calls[0].layout
    assert layout is not None and (layout.row_shape, layout.lane_shape) == ((4096,), (64,))
    assert {access.argument for access in layout.access.values()} == set(range(len(found.calls[0].views)))

    def decide(*_: Any) -> Any:
        raise AssertionError("decided again")

    for module, name in ((layouts, "collapse"), (layouts, "fusion_layout"), (schedules, "schedule")):
        monkeypatch.setattr(module, name, decide)
    assert emit(found, TARGET).text


@pytest.mark.parametrize(("size", "steps"), [(1 << 16, 1), (1 << 17, 2)])
def test_the_sum_of_a_long_vector_is_combined_from_parts(size: int, steps: int) -> None:
    x = make(ops.parameter, type=TensorType((size,), float32), name="x")
    assert len(plan(passes.run(Graph("g", [x], [ops.reduce_sum(x, axes=(0,))])), TARGET).calls) == steps


# -- how long it takes


def seconds(function: Any, *arrays: np.ndarray) -> float:
    compiled = tj.function(function)
    return compiled.compiled(*[tj.constant(array) for array in arrays]).plan.seconds


def test_seconds_have_the_right_order_of_magnitude() -> None:
    def regression(x: Any, y: Any, w: Any, b: Any) -> Any:
        with tj.GradientTape() as tape:
            tape.watch([w, b])
            loss = tj.reduce_mean(tj.square(w * x + b - y))
        return loss, tape.gradient(loss, [w, b])

    def norm(x: Any) -> Any:
        mean, variance = tj.nn.moments(x, axes=[1], keepdims=True)
        return (x - mean) * tj.rsqrt(variance + 1e-5)

    def product(x: Any, y: Any) -> Any:
        return x @ y

    four, scalar = np.ones(4, np.float32), np.float32(1)
    assert 0 < seconds(regression, four, four, scalar, scalar) < 1e-6
    assert 1e-4 < seconds(product, np.ones((32, 784), np.float32), np.ones((784, 128), np.float32)) < 1e-3
    assert 5e-4 < seconds(norm, np.ones((1024, 1024), np.float32)) < 5e-3
    assert seconds(tj.exp, np.ones(4096, np.float32)) > 1.4 * seconds(tj.negative, np.ones(4096, np.float32))


def test_a_graph_without_steps_takes_no_time() -> None:
    found = plan(Graph("g", [], []), TARGET)
    assert (found.seconds, found.arena_bytes, found.peak_bytes) == (0, 0, 0)
