"""What moves elements: copies of every layout, gather, scatter_add, pad, concat, argmax, at sizes around vectors and blocks."""

from __future__ import annotations

import ctypes
import math
import mmap
from functools import partial
from typing import Any

import numpy as np
import pytest
from fenced import run_at, run_fenced
from graphs import assert_same, parameters_for
from machines import change_machine, compiled_text

from tracejit import ops
from tracejit.ir import Graph, Node, TensorType, interpret, make
from tracejit.ir.strided import contiguous_strides
from tracejit.ir.types import DTYPES, DType, float32, int32, int64
from tracejit.llvm.kernels import movement
from tracejit.llvm.kernels.indexed import emit_gather
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.machine.host import host_target
from tracejit.llvm.plan.plan import plan
from tracejit.llvm.text.arrays import Array
from tracejit.runtime.compiled_function import CompiledFunction

SIZES = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 18, 31, 32, 33, 63, 64, 65, 70)
SMALL = SIZES[:12]

pytestmark = pytest.mark.skipif(not hasattr(mmap, "PROT_READ"), reason="it protects pages as Unix does")


@pytest.fixture(params=[16, 32, 64], ids=lambda width: f"{width} bytes")
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Registers of so many bytes."""
    if request.param > host_target().machine.width:
        pytest.skip("this machine has no registers as wide")
    change_machine(monkeypatch, width=request.param)
    return request.param


def random_shape(rng: np.random.Generator) -> tuple[int, ...]:
    rank = int(rng.integers(1, 5))
    return tuple(int(size) for size in rng.choice(SIZES if rank < 3 else SMALL[: 15 - 2 * rank], rank))


def random_array(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
    return np.asarray(rng.integers(0, 2 if dtype.is_bool else 100, shape)).astype(dtype.numpy)


def random_view(rng: np.random.Generator, node: Node) -> Node:
    """Up to three transpositions, reversals and slices of it."""
    rank = len(node.shape)
    for kind in rng.integers(0, 3, rng.integers(0, 4)):
        if kind == 0:
            node = ops.transpose(node, permutation=tuple(rng.permutation(rank).tolist()))
        elif kind == 1:
            some = rng.choice(rank, rng.integers(1, rank + 1), replace=False)
            node = ops.reverse_axes(node, axes=tuple(sorted(some.tolist())))
        else:
            strides = tuple(rng.integers(1, 6, rank).tolist())
            starts = tuple(int(rng.integers(0, min(size, 3) + 1)) for size in node.shape)
            parts = zip(node.shape, starts, strides, strict=True)
            sizes = tuple(max(-(-(size - start) // stride), 0) for size, start, stride in parts)
            node = ops.slice(node, starts=starts, sizes=sizes, strides=strides)
    return node


def check(graph: Graph, arguments: list[np.ndarray], fence: Any, at_start: bool) -> None:
    """Compiled, between pages that must not be touched, it gives what the interpreter does, to the bit."""
    expected, _ = interpret(graph, arguments)
    found = run_fenced(graph, arguments, fence, at_start)
    for result, one, wanted in zip(graph.results, found, expected, strict=True):
        assert_same(one, wanted, result)


@pytest.mark.thin(3)
@pytest.mark.parametrize("seed", range(12))
def test_copies_of_random_views(seed: int, width: int, fence: Any) -> None:
    rng = np.random.default_rng(seed)
    arguments = [random_array(rng, random_shape(rng), DTYPES[rng.integers(len(DTYPES))]) for _ in range(8)]
    parameters = parameters_for(arguments)
    results = []
    for parameter in parameters:
        view = random_view(rng, parameter)
        rank = len(view.shape)
        low, high, interior = (tuple(rng.integers(0, 3, rank).tolist()) for _ in range(3))
        interior = interior if rng.random() < 0.5 else (0,) * rank
        axis = int(rng.integers(rank))
        results += [
            view,
            ops.reshape(view, shape=(view.type.size,)),
            ops.pad(view, low=low, high=high, interior=interior, value=1.0),
            ops.concat(view, view, axis=axis),
            ops.pad(random_view(rng, ops.concat(view, view, axis=axis)), low=low, high=high, interior=interior, value=0.0),
        ]
    check(Graph("views", parameters, results), arguments, fence, at_start=seed % 2 == 0)


@pytest.mark.thin(7)
@pytest.mark.parametrize("nontemporal", [False, True], ids=["through the caches", "nontemporal"])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_transpositions_of_several_tiles(
    dtype: DType, nontemporal: bool, width: int, fence: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the target does not lie at a multiple of a register, and where stores go through the caches."""
    last_cache = 2 if nontemporal else 1 << 30
    change_machine(monkeypatch, width=width, transposed_tile=max(128, 16 * dtype.size), l3=last_cache)
    for shape in ((200, 272), (64, 130), (2, 96, 96), (35, 2, 33)):
        argument = random_array(rng, shape, dtype)
        (x,) = parameters_for([argument])
        permutation = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
        turned = ops.transpose(x, permutation=permutation)
        results = [turned, ops.transpose(ops.reverse_axes(x, axes=(len(shape) - 1,)), permutation=permutation)]
        for at_start in (False, True):
            check(Graph("turned", [x], results), [argument], fence, at_start)


@pytest.mark.thin(3)
@pytest.mark.parametrize("seed", range(12))
def test_gather_and_scatter_add_at_random(seed: int, width: int, fence: Any) -> None:
    """Sums are equal to the bit: slices are added in the order of their indices."""
    rng = np.random.default_rng(seed)
    arguments: list[np.ndarray] = []
    cases = []
    for _ in range(6):
        dtype, index_dtype = DTYPES[rng.integers(len(DTYPES))], (int32, int64)[rng.integers(2)]
        shape = random_shape(rng)
        axis = int(rng.integers(len(shape)))
        count = tuple(int(size) for size in rng.choice(SMALL, rng.integers(0, 3))) if shape[axis] else (0,)
        indices = np.asarray(rng.integers(0, max(shape[axis], 1), count)).astype(index_dtype.numpy)
        updates = random_array(rng, shape[:axis] + count + shape[axis + 1 :], dtype)
        if dtype.is_floating:
            updates = (updates * np.pi).astype(dtype.numpy)
        cases.append((axis, shape[axis], len(arguments)))
        arguments += [random_array(rng, shape, dtype), indices, updates]
    parameters = parameters_for(arguments)
    results = []
    for axis, size, first in cases:
        params, indices, updates = parameters[first : first + 3]
        results += [
            ops.gather(params, indices, axis=axis),
            ops.check_range(indices, low=0, high=size, what="index", function="gather"),
        ]
        order = tuple(range(len(params.shape)))[::-1]
        results.append(ops.gather(ops.transpose(params, permutation=order), indices, axis=order[axis]))
        if not params.dtype.is_bool:
            results.append(ops.scatter_add(updates, indices, axis=axis, size=size))
    check(Graph("indexed", parameters, results), arguments, fence, at_start=seed % 2 == 0)


@pytest.mark.parametrize("dtype", [int32, int64], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 33])
def test_an_index_outside_is_found_wherever_it_stands(count: int, dtype: DType, width: int) -> None:
    """Before anything of the result is written."""
    x = make(ops.parameter, type=TensorType((7, 3), float32), name="x")
    indices = make(ops.parameter, type=TensorType((count,), dtype), name="indices")
    step = CompiledFunction(Graph("g", [x, indices], [ops.gather(x, indices, axis=0)]))
    params, out = np.ones((7, 3), np.float32), np.full((count, 3), -1, np.float32)
    for place in {0, count // 2, count - 1}:
        for wrong in (-1, 7, dtype.min, dtype.max):
            given = np.full(count, 6, dtype.numpy)
            given[place] = wrong
            assert run_at(step, [params, given, out], 0) == 1
            assert (out == -1).all()
    assert run_at(step, [params, np.full(count, 6, dtype.numpy), out], 0) == 0
    assert (out == 1).all()


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-3, 5), (0, 2**31), (-(2**31), 2**31), (2**40, 2**41), (-(2**63), 2**63), (3, 3)]
)
@pytest.mark.parametrize("dtype", [int32, int64], ids=lambda dtype: dtype.name)
def test_ranges_up_to_all_there_is(low: int, high: int, dtype: DType) -> None:
    x = make(ops.parameter, type=TensorType((20,), dtype), name="x")
    step = CompiledFunction(Graph("g", [x], [ops.check_range(x, low=low, high=high, what="it", function="gather")]))
    out = np.zeros(20, dtype.numpy)
    for value in (low - 1, low, high - 1, high, 0, dtype.min, dtype.max):
        if dtype.min <= value <= dtype.max:
            given = np.full(20, value, dtype.numpy)
            assert run_at(step, [given, out], 0) == (0 if low <= value < high else 1), value


@pytest.mark.thin(3)
@pytest.mark.parametrize("seed", range(12))
def test_argmax_and_argmin_at_random(seed: int, width: int, fence: Any) -> None:
    """Few different values, so that many are equal; infinities, zeros of both signs, NaNs here and there or everywhere."""
    rng = np.random.default_rng(seed)
    arguments = []
    for _ in range(5):
        shape = tuple(max(size, 1) for size in random_shape(rng))
        argument = np.asarray(rng.integers(-3, 4, shape)).astype(DTYPES[rng.integers(4)].numpy)
        if argument.dtype.kind == "f":
            argument[(argument == 0) & (rng.random(shape) < 0.5)] = -0.0
            argument[argument == rng.choice([-3, 3, 5])] = rng.choice([-math.inf, math.inf])
            argument[rng.random(shape) < rng.choice([0, 0, 0.02, 0.3, 1])] = math.nan
        arguments.append(argument)
    parameters = parameters_for(arguments)
    results = []
    for parameter in parameters:
        view = random_view(rng, parameter)
        view = view if view.type.size else parameter
        for axis in range(len(view.shape)):
            results += [ops.argmax(view, axis=axis), ops.argmin(view, axis=axis)]
    check(Graph("extremes", parameters, results), arguments, fence, at_start=seed % 2 == 0)


# -- divided among threads


def emit_transpose(b: KernelBuilder, out: Array, x: Array, indices: Array) -> None:
    movement.emit_copy(b, out, x.transpose(range(len(x.shape))[::-1]), divided=True)


def emit_transpose_of_pairs(b: KernelBuilder, out: Array, x: Array, indices: Array) -> None:
    movement.emit_copy(b, out, x.transpose((1, 2, 0)), divided=True)


def emit_gather_along(axis: int, b: KernelBuilder, out: Array, params: Array, indices: Array) -> None:
    operands = [make(ops.parameter, type=TensorType(each.shape, each.dtype), name="p") for each in (params, indices)]
    emit_gather(b, make(ops.gather, *operands, axis=axis), out, params, indices)


DIVIDED = [
    (emit_transpose, (300, 600), (600, 300), lambda x, indices: x.T),
    (emit_transpose, (500, 3), (3, 500), lambda x, indices: x.T),
    (emit_transpose, (40, 3, 50), (50, 3, 40), lambda x, indices: x.T),
    (partial(emit_gather_along, 0), (9, 20), (30, 20), lambda x, indices: x[indices]),
    (partial(emit_gather_along, 1), (8, 9), (8, 30), lambda x, indices: x[:, indices]),
]


@pytest.mark.parametrize(("emit", "shape", "out_shape", "wanted"), DIVIDED)
def test_shares_make_a_whole(emit: Any, shape: Any, out_shape: Any, wanted: Any, rng: np.random.Generator) -> None:
    """The units that come later first, and nothing but the share's own is written before."""
    x, indices = random_array(rng, shape, float32) + 1, rng.integers(0, 9, 30)
    b = KernelBuilder('"k"', ["out", "x", "indices"], host_target(), parallel=True)
    arrays = [
        Array(each, contiguous_strides(each), 0, dtype, f"%{name}")
        for name, each, dtype in (("out", out_shape, float32), ("x", shape, float32), ("indices", (30,), int64))
    ]
    emit(b, *arrays)
    assert b.chunks is not None
    text = "\n".join([*b.declarations, b.text(), "attributes #0 = { nounwind }"])
    functions, _library = compiled_text(text, ["k"])
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(functions["k"])
    out = np.zeros(out_shape, np.float32)
    pointers = (ctypes.c_void_p * 3)(*[array.ctypes.data for array in (out, x, indices)])
    half = b.chunks // 2
    assert call(pointers, half, b.chunks) == 0
    assert (out == 0).any()
    assert call(pointers, 0, half) == 0
    np.testing.assert_array_equal(out, wanted(x, indices))


# -- what moves nothing


def copies(node: Node, of: Node) -> int:
    """How many copies a kernel that reads `node` costs."""
    graph = Graph("g", [of], [ops.argmax(node, axis=0)])
    return sum(step.node is None for step in plan(graph, host_target()).calls)


def test_a_reshape_that_only_splits_axes_is_a_view() -> None:
    x = make(ops.parameter, type=TensorType((6, 8), float32), name="x")
    turned = ops.transpose(x, permutation=(1, 0))
    assert copies(ops.reshape(turned, shape=(2, 1, 4, 3, 2)), of=x) == 0
    assert copies(ops.reshape(turned, shape=(8, 6, 1)), of=x) == 0
    some = ops.slice(x, starts=(0, 0), sizes=(3, 8), strides=(2, 1))
    assert copies(ops.reshape(some, shape=(3, 2, 4)), of=x) == 0
    assert copies(ops.reshape(turned, shape=(48,)), of=x) == 1


def test_reshaped_views_are_numpy_s(rng: np.random.Generator) -> None:
    """A view exactly where NumPy needs no copy."""
    for _ in range(300):
        rank = int(rng.integers(1, 5))
        shape = tuple(rng.choice([1, 2, 3, 4, 6], rank).tolist())
        argument = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
        (x,) = parameters_for([argument])
        view = random_view(rng, x)
        size = view.type.size
        if not size:
            continue
        first = int(rng.choice([each for each in range(1, size + 1) if size % each == 0]))
        reshaped = ops.reshape(view, shape=(first, 1, size // first))
        numpy_view = interpret(Graph("g", [x], [view]), [argument])[0][0]
        needed = not np.shares_memory(np.reshape(numpy_view, reshaped.shape), argument)
        assert copies(reshaped, of=x) == needed, (view, reshaped)
