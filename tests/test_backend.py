"""The machine code: where values lie, what the module's text holds, and that nothing outside of the arrays is touched."""

from __future__ import annotations

import ctypes
import dataclasses
import importlib
import mmap
import pkgutil
import re
import sys
from typing import Any

import numpy as np
import pytest
from fenced import run_at, run_fenced
from graphs import all_cases, cases_of, random_graph, sample_graph
from machines import compiled_text, fits_host, use_target

import tracejit as tj
import tracejit.llvm
from tracejit import ops, passes
from tracejit.errors import InvalidArgumentError
from tracejit.ir import OPS, Graph, TensorType, interpret, make, parse, reachable
from tracejit.ir.op import Kernel
from tracejit.ir.types import DTYPES, array_type, bool_, float32, int32, int64
from tracejit.llvm.emit import emit
from tracejit.llvm.kernels import body, loop_pass, nest
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.register_block import RegisterBlock
from tracejit.llvm.kernels.table import KERNELS
from tracejit.llvm.plan.blocking import Blocking
from tracejit.llvm.plan.contraction import Contraction
from tracejit.llvm.plan.layout import Layout
from tracejit.llvm.plan.plan import Plan, plan
from tracejit.llvm.plan.schedule import Schedule
from tracejit.llvm.target import AVX2, AVX512, NEON, SSE, Target
from tracejit.memory import ALIGNMENT
from tracejit.runtime.compiled_function import CompiledFunction, run_graph

TARGET = Target(AVX2)

# A few ULP of the vector math, and sums in another order; a half dtype's result is rounded once, to one of two neighbours.
TOLERANCE = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2e-5, "float64": 1e-12}
LANE_SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65)


def assert_near(found: np.ndarray, expected: np.ndarray, where: object = "") -> None:
    """The same type; integers and bools equal, floats within TOLERANCE of the largest element."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), where
    if expected.dtype.name not in TOLERANCE:
        np.testing.assert_array_equal(found, expected, err_msg=str(where))
        return
    bound = TOLERANCE[expected.dtype.name]
    if expected.dtype.itemsize == 2:
        found, expected = found.astype(np.float32), expected.astype(np.float32)
    scale = float(np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected)))
    np.testing.assert_allclose(found, expected, rtol=bound, atol=bound * scale, equal_nan=True, err_msg=str(where))


def train_step_graph() -> Graph:
    """Two layers with their gradients and updates."""
    w1, b1 = tj.Variable(np.full((64, 48), 0.01, np.float32)), tj.Variable(np.zeros(48, np.float32))
    w2, b2 = tj.Variable(np.full((48, 10), 0.02, np.float32)), tj.Variable(np.zeros(10, np.float32))

    @tj.function
    def step(x: Any, labels: Any) -> Any:
        with tj.GradientTape() as tape:
            hidden = tj.tanh(tj.tanh(x @ w1 + b1) * 1.5)
            losses = tj.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=hidden @ w2 + b2)
            loss = tj.reduce_mean(losses)
        variables = [w1, b1, w2, b2]
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(0.1 * gradient)
        return loss

    return parse(step.ir(np.ones((32, 64), np.float32), np.zeros(32, np.int32)))


# -- the plan


def _lives(plan: Plan) -> dict[Any, tuple[int, int]]:
    """The first and the last step that touches each buffer of the arena."""
    lives: dict[Any, tuple[int, int]] = {}
    for index, step in enumerate(plan.calls):
        for view in (*step.outputs, *step.operands, *step.scratch):
            if view.buffer.kind == "arena":
                first, _ = lives.get(view.buffer, (index, index))
                lives[view.buffer] = (first, index)
    return lives


def assert_arena_is_sound(plan: Plan) -> None:
    """Buffers that live at the same time do not overlap, lie inside of the arena, and are aligned."""
    lives = list(_lives(plan).items())
    for number, (buffer, (born, dead)) in enumerate(lives):
        offset = plan.arena.offsets[buffer]
        assert offset % ALIGNMENT == 0
        assert 0 <= offset <= offset + buffer.nbytes <= plan.arena_bytes
        for other, (other_born, other_dead) in lives[:number]:
            start = plan.arena.offsets[other]
            apart = offset + buffer.nbytes <= start or start + other.nbytes <= offset
            assert apart or dead < other_born or other_dead < born or not buffer.nbytes or not other.nbytes


def test_the_arena_is_smaller_than_the_temporaries() -> None:
    found = plan(train_step_graph(), TARGET)
    assert_arena_is_sound(found)
    assert 0 < found.arena_bytes < found.temporaries_bytes


def test_a_chain_of_temporaries_takes_two_of_them() -> None:
    kind = TensorType((64, 64), float32)
    x = node = make(ops.parameter, type=kind, name="x")
    for _ in range(6):
        node = ops.matmul(node, x, transpose_a=False, transpose_b=False)
    found = plan(Graph("chain", [x], [node]), TARGET)
    assert found.temporaries_bytes == 5 * kind.nbytes
    assert found.arena_bytes == 2 * kind.nbytes
    assert_arena_is_sound(found)


def test_the_arena_of_random_graphs() -> None:
    for seed in range(60):
        graph, _ = random_graph(np.random.default_rng(seed), gradients=seed % 3 == 0)
        assert_arena_is_sound(plan(passes.run(graph), TARGET))


def test_nothing_is_written_before_all_that_may_fail() -> None:
    """A step that writes to a parameter stands behind every step that can fail."""
    for seed in range(120):
        graph, _ = random_graph(np.random.default_rng(seed))
        steps = plan(passes.run(graph), TARGET).calls
        written = [index for index, step in enumerate(steps) for view in step.outputs if view.buffer.kind == "parameter"]
        failing = [index for index, step in enumerate(steps) if step.can_fail]
        assert not written or not failing or min(written) > max(failing), seed


def test_variables_are_updated_in_place() -> None:
    graph = train_step_graph()
    assert len(plan(graph, TARGET).in_place) == len(graph.updates) == 4


# -- the text


def test_no_allocation_inside_and_one_entry() -> None:
    text = emit(plan(train_step_graph(), TARGET), TARGET).text
    declared = set(re.findall(r"^declare .*@([\w.]+)\(", text, re.MULTILINE))
    assert all(name.startswith(("llvm.", "tracejit_sgemm", "tracejit_dgemm", "tracejit_parallel")) for name in declared), (
        declared
    )
    called = set(re.findall(r'call [^@\n]*@("[^"]+"|[\w.]+)\(', text))
    defined = set(re.findall(r'^define [^@\n]*@("[^"]+"|[\w.]+)\(', text, re.MULTILINE))
    assert called <= declared | defined
    assert not re.search(r"malloc|calloc|realloc|\bfree\b|\bPy", text)
    assert set(re.findall(r"(%\w+) = alloca", text)) <= {"%pointers", "%stack"}  # of a call, and of a tile


@pytest.mark.parametrize(("width", "lanes"), [(16, 4), (32, 8), (64, 16)])
def test_a_fused_loop_has_the_target_s_vectors(width: int, lanes: int) -> None:
    x = make(ops.parameter, type=TensorType((1000,), float32), name="x")
    target = Target({64: AVX512, 32: AVX2, 16: NEON}[width])
    text = emit(plan(passes.run(Graph("g", [x], [ops.add(ops.exp(x), x)])), target), target).text
    # A piece of eight registers, which LLVM takes apart.
    assert f"load <{lanes * 8} x float>" in text
    assert f"store <{lanes * 8} x float>" in text
    assert f"<{lanes * 16} x float>" not in text


def test_kernels_name_the_user_s_line() -> None:
    f = tj.function(lambda x: tj.exp(x) @ x)
    f(tj.ones([4, 4]))
    assert re.search(r"^; tests/test_backend\.py:\d+$", f.ir(stage="llvm"), re.MULTILINE)


def _run_for(graph: Graph, target: Target, arguments: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    with monkeypatch.context() as patch:
        use_target(patch, target)
        step = CompiledFunction(graph)
    return [result.value for result in run_graph(step, arguments)]


TARGETS = [Target(SSE), Target(AVX2), Target(AVX2._replace(fma=False)), Target(NEON)]


@pytest.mark.thin(5)
@pytest.mark.parametrize(
    "target", TARGETS, ids=lambda target: f"{target.machine.name}-{'fma' if target.machine.fma else 'plain'}"
)
@pytest.mark.parametrize("name", sorted({case.op.name for case in all_cases()}))
def test_samples_for_other_targets(name: str, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of an op's samples for targets that this machine can stand in for."""
    if not fits_host(target):
        pytest.skip("this machine has not what the target has")
    parameters, arguments, results = [], [], []
    for case in cases_of(name)[::3]:
        names = [
            make(ops.parameter, type=array_type(array), name=f"x{len(parameters) + i}") for i, array in enumerate(case.arrays)
        ]
        parameters += names
        arguments += [np.asarray(array) for array in case.arrays]
        results.append(make(case.op, *names, **case.attrs))
    graph = Graph("samples", parameters, results)
    expected, _ = interpret(graph, arguments)
    for found, wanted in zip(_run_for(passes.run(graph), target, arguments, monkeypatch), expected, strict=True):
        assert_near(found, wanted, name)


# -- nothing outside is touched


@pytest.mark.skipif(not hasattr(mmap, "PROT_READ"), reason="it protects pages as Unix does")
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_masked_tails_touch_nothing_outside(dtype: Any, fence: Any, rng: np.random.Generator) -> None:
    """Elementwise ops, copies, reductions along both axes, matmul by the loop, at sizes around the lanes."""
    for size in LANE_SIZES:
        kind, flat = TensorType((3, size), dtype), TensorType((size,), dtype)
        x, y, z = (make(ops.parameter, type=each, name=name) for each, name in ((kind, "x"), (kind, "y"), (flat, "z")))
        results = [
            ops.select(ops.equal(x, y), x, y),
            ops.concat(x, y, axis=1),
            ops.transpose(x, permutation=(1, 0)),
            ops.concat(z, z, axis=0),
        ]
        results += [ops.equal(x, y), ops.reverse_axes(x, axes=(1,))]
        if dtype is bool_:
            results += [ops.reduce_any(x, axes=(0,)), ops.reduce_all(x, axes=(1,)), ops.logical_xor(x, y)]
        else:
            spread = ops.broadcast(z, shape=(3, size), axes=(1,))
            results += [
                ops.add(x, ops.mul(y, spread)),
                ops.reduce_sum(x, axes=(1,)),
                ops.reduce_max(y, axes=(0,)),
                ops.reduce_sum(z, axes=(0,)),
            ]
            results += [
                ops.matmul(x, y, transpose_a=True, transpose_b=False),
                ops.matmul(x, y, transpose_a=False, transpose_b=True),
            ]
        graph = Graph("fenced", [x, y, z], results)
        arguments = [np.asarray(rng.integers(0, 2, each.shape)).astype(dtype.numpy) for each in (kind, kind, flat)]
        expected, _ = interpret(graph, arguments)
        for found, wanted in zip(run_fenced(graph, arguments, fence), expected, strict=True):
            assert_near(found, wanted, size)


@pytest.mark.skipif(not hasattr(mmap, "PROT_READ"), reason="it protects pages as Unix does")
@pytest.mark.parametrize("name", sorted({case.op.name for case in all_cases()}))
def test_samples_touch_nothing_outside(name: str, fence: Any) -> None:
    for case in cases_of(name)[::4]:
        graph = sample_graph(case.op, case.arrays, case.attrs)
        arguments = [np.asarray(array) for array in case.arrays]
        for found, wanted in zip(run_fenced(graph, arguments, fence), interpret(graph, arguments)[0], strict=True):
            assert_near(found, wanted, case)


def test_the_arena_is_not_overrun() -> None:
    """Bytes behind the arena are as they were, and what lay in it before does not matter."""
    for seed in range(40):
        graph, arguments = random_graph(np.random.default_rng(seed))
        try:
            expected, _ = interpret(graph, arguments)
        except InvalidArgumentError:
            continue
        step = CompiledFunction(passes.run(graph))
        size = step.plan.arena_bytes
        memory = np.full(size + 2 * ALIGNMENT + 4096, 0xA5, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        found = [np.empty(result.shape, result.dtype.numpy) for result in graph.results]
        assert run_at(step, [*(np.array(each) for each in arguments), *found], memory.ctypes.data + start) == 0
        assert (memory[start + size :] == 0xA5).all()
        assert (memory[:start] == 0xA5).all()
        for result, one, wanted in zip(graph.results, found, expected, strict=True):
            if not result.dtype.is_floating or any(
                not hasattr(n.type, "shape") or n.dtype is bool_ for n in reachable([result])
            ):
                continue  # it may depend on a comparison, which rounding may turn
            # 0xA5A5... as an element would be far from it; a chain of ops magnifies what each rounds.
            scale = float(np.max(np.abs(wanted), initial=1.0, where=np.isfinite(wanted))) if wanted.dtype.kind == "f" else 0.0
            np.testing.assert_allclose(one, wanted, rtol=1e-3, atol=1e-3 * scale, equal_nan=True)


def test_an_end_reduction_of_the_last_lane_axis_alone() -> None:
    """space=(8, 5), rows=0: the sum over axis 1 is an end, and the lanes' axes are both."""
    x = make(ops.parameter, type=TensorType((8, 5), float32), name="p0")
    body = Graph("body", [x], [ops.reduce_sum(x, axes=(1,))])
    outer = make(ops.parameter, type=TensorType((8, 5), float32), name="x")
    graph = Graph("g", [outer], [make(ops.fusion, outer, body=body, space=(8, 5), rows=0)])
    argument = np.arange(40, dtype=np.float32).reshape(8, 5)
    assert_near(run_graph(CompiledFunction(graph), [argument])[0].value, argument.sum(1))


# -- how a body is written


def test_the_nodes_of_a_body_are_written_once_and_behind_their_operands() -> None:
    x, y = (make(ops.parameter, type=TensorType((), float32), name=name) for name in "xy")
    two = make(ops.constant_op, value=np.float32(2))
    square = ops.mul(x, x)
    root = ops.add(ops.mul(square, two), ops.add(square, y))
    order = body.operands_first([root, square], lambda node: [each for each in node.operands if each is not two])
    places = {node: place for place, node in enumerate(order)}
    assert set(places) == {x, y, square, root, *root.operands} and len(order) == len(places)
    assert all(places[operand] < places[node] for node in order for operand in node.operands if operand is not two)
    b = KernelBuilder('"k"', [], TARGET)
    known = {x: b.const(3, float32)}
    values = body.emit_nodes(b, order, known, lambda node: b.const(5, float32) if node is y else None, lanes=4)
    assert values.keys() == places.keys() and known.keys() == {x}
    assert (values[x], values[y]) == (b.const(3, float32), b.const(5, float32))
    assert [line.split()[2] for line in b.lines if "= f" in line] == ["fmul", "fadd", "fmul", "fadd"]
    assert values[root].lanes == 4
    with pytest.raises(KeyError):
        body.emit_nodes(b, [root], known)


def test_a_long_body_needs_no_deep_stack() -> None:
    root = x = make(ops.parameter, type=TensorType((), float32), name="x")
    for _ in range(3 * sys.getrecursionlimit()):
        root = ops.neg(root)
    assert body.operands_first([root], lambda node: node.operands)[0] is x


def test_what_is_planned_and_written_with_is_never_changed() -> None:
    names = [found.name for found in pkgutil.walk_packages(tracejit.llvm.__path__, "tracejit.llvm.")]
    classes = [kind for name in names for kind in vars(importlib.import_module(name)).values() if isinstance(kind, type)]
    values = {
        kind for kind in classes if dataclasses.is_dataclass(kind) or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
    }
    assert values >= {
        nest.Nest,
        nest.RowBlock,
        loop_pass.PassContext,
        loop_pass.Line,
        RegisterBlock,
        Blocking,
        Contraction,
        Layout,
        Schedule,
    }
    assert not [kind for kind in values if not (issubclass(kind, tuple) or kind.__dataclass_params__.frozen)]  # type: ignore[attr-defined]


def test_every_kernel_has_one_writer() -> None:
    assert {*KERNELS, ops.convolution, ops.matmul} == {op for op in OPS.values() if isinstance(op.lower, Kernel)}


@pytest.mark.parametrize("source", [int64, int32])
@pytest.mark.parametrize("active", range(1, 9))
def test_a_masked_store_of_what_is_narrowed_writes_its_lanes_only(source: Any, active: int) -> None:
    """LLVM 22 makes of one lane that is narrowed and stored a store of the wide number."""
    target = int32 if source is int64 else bool_
    b = KernelBuilder('"k"', ["out", "x"], Target(AVX512))
    value = b.load_at("%x", source, 8, 3, active)
    b.store_at(b.cast(value, target), "%out", 1, active)
    text = b.text() + "\nattributes #0 = { nounwind }"
    functions, _library = compiled_text("\n".join([*sorted(b.declarations), text]), ["k"])
    x, out = np.arange(1, 25).astype(source.numpy), np.full(16, 7).astype(target.numpy.str.replace("b1", "i1"))
    ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(functions["k"])((ctypes.c_void_p * 2)(out.ctypes.data, x.ctypes.data))
    assert out.tolist() == x[::3].astype(target.numpy)[:active].tolist() + [7] * (16 - active)


@pytest.mark.parametrize("shape", [(3, 1 << 22), (9_000_016,), (9_000_001,), (3001, 3001)], ids=str)
def test_what_no_cache_holds_is_written_past_them(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)

    def fused(x: tj.Tensor) -> tuple[tj.Tensor, tj.Tensor]:
        y = x * 2.0 + 1.0
        return y, tj.reduce_sum(y, axis=-1)

    f = tj.function(fused)
    found, total = f(tj.constant(x))
    expected = x * np.float32(2) + np.float32(1)
    np.testing.assert_array_equal(found.numpy(), expected)
    np.testing.assert_allclose(total.numpy(), np.sum(expected, axis=-1), rtol=1e-5)
    # Rows of 3001 do not begin where registers do.
    assert ("!nontemporal" in f.ir(stage="llvm")) == (shape != (3001, 3001))
