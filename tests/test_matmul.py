"""Products of matrices as machine code: every blocking, dtype, transposition and edge against NumPy, for this processor and for
those that it can stand in for; the BLAS as the judge; nothing spilled in the loop that counts."""

from __future__ import annotations

import itertools
import re
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from machines import fits_host, use_target

from tracejit import ops, passes
from tracejit.ir import Graph, TensorType, interpret, make
from tracejit.ir.strided import Strided
from tracejit.ir.types import DType, array_type, as_dtype, float16, float32, float64
from tracejit.llvm.emit import emit
from tracejit.llvm.machine.blas import find_blas
from tracejit.llvm.machine.host import host_target
from tracejit.llvm.plan import blocking as blocking_module
from tracejit.llvm.plan.blocking import blocking
from tracejit.llvm.plan.plan import plan
from tracejit.llvm.plan.tiles import choose_tile, rows_in_cache
from tracejit.llvm.plan.views import Buffer, View
from tracejit.llvm.target import AVX2, AVX512, NEON, SSE, Machine, Target
from tracejit.runtime.compiled_function import CompiledFunction, run_graph

DTYPES = ("float32", "float64", "int32", "int64")
TARGETS = [Target(SSE), Target(AVX2), Target(AVX512), Target(NEON)]
# Around the edges of tiles and vectors; 0 and 1.
SIZES = (0, 1, 2, 3, 5, 8, 13, 15, 16, 17, 31, 33, 49, 65)


def matrices(rng: np.random.Generator, dtype: str, batch: tuple[int, ...], rows: int, columns: int, depth: int) -> list[Any]:
    shapes = (*batch, rows, depth), (*batch, depth, columns)
    if as_dtype(dtype).is_integer:
        return [rng.integers(-(2**20), 2**20, shape).astype(dtype) for shape in shapes]
    return [rng.uniform(-1, 1, shape).astype(dtype) for shape in shapes]


def product_step(given: list[Any], transpose_a: bool, transpose_b: bool) -> CompiledFunction:
    x, y = (make(ops.parameter, type=array_type(each), name=name) for each, name in zip(given, "xy", strict=True))
    product = ops.matmul(x, y, transpose_a=transpose_a, transpose_b=transpose_b)
    return CompiledFunction(passes.run(Graph("product", [x, y], [product])))


def check(a: Any, b: Any, transpose_a: bool, transpose_b: bool) -> CompiledFunction:
    """The compiled product of a and b, as stored, against NumPy's. Each sum of k products of numbers below 1 is rounded k
    times: within k units in the last place of k, in whatever order."""
    flips = (transpose_a, transpose_b)
    given = [
        np.ascontiguousarray(np.swapaxes(each, -1, -2)) if flip else each for each, flip in zip((a, b), flips, strict=True)
    ]
    step = product_step(given, transpose_a, transpose_b)
    found = run_graph(step, given)[0].value
    depth = a.shape[-1]
    bound = depth * np.finfo(a.dtype).eps * max(depth, 1) ** 0.5 if a.dtype.kind == "f" else 0
    np.testing.assert_allclose(found, np.matmul(a, b), rtol=0, atol=bound)
    return step


@pytest.mark.thin(5)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_random_shapes(target: Target, dtype: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fits_host(target):
        pytest.skip("this machine has not what the target has")
    use_target(monkeypatch, target)
    for number in range(24):
        rows, columns, depth = (int(each) for each in rng.choice(SIZES, 3))
        batch = ((), (2,), (2, 3), (0,))[number % 4] if number % 3 == 0 else ()
        check(*matrices(rng, dtype, batch, rows, columns, depth), *map(bool, rng.integers(0, 2, 2)))


FLIPS = list(itertools.product((False, True), repeat=2))


@pytest.mark.parametrize("flips", FLIPS, ids=str)
@pytest.mark.parametrize(
    ("rows", "columns", "depth"),
    [(50, 600, 20), (133, 70, 4200), (133, 70, 60), (2, 130, 9000), (1, 200, 100), (200, 1, 100), (1, 1, 999), (100, 3, 2100)],
)
def test_blocks(rows: int, columns: int, depth: int, flips: tuple[bool, bool], rng: np.random.Generator) -> None:
    """Packed panels, several blocks of the depth, products along the depth, products of the transposes."""
    check(*matrices(rng, "float32", (), rows, columns, depth), *flips)


def layout(*shape: int, dtype: DType = float32) -> View:
    return View.whole_of(Buffer("arena", 0, 0), TensorType(shape, dtype))


def transposed(view: View) -> View:
    return view.transpose((1, 0))


def test_blockings_are_what_the_tests_above_are_for() -> None:
    wide = TARGETS[2]
    assert blocking(layout(50, 20), layout(20, 600), wide).packed_y
    assert blocking(layout(50, 20), transposed(layout(60, 20)), wide).packed_y
    assert not blocking(layout(50, 20), layout(20, 60), wide).packed_y
    assert blocking(transposed(layout(4200, 133)), layout(4200, 70), wide).packed_x
    assert not blocking(transposed(layout(20, 133)), layout(20, 70), wide).packed_x
    deep = blocking(layout(33, 4200), layout(4200, 70), wide)
    assert deep.kc < deep.depth and deep.depth_blocks > 1
    assert blocking(layout(200, 100), layout(100, 1), wide).dot
    assert blocking(layout(1, 100), transposed(layout(200, 100)), wide).dot
    assert blocking(transposed(layout(100, 200)), layout(100, 1), wide).swapped


def test_what_a_product_has_for_itself_has_names() -> None:
    x, y, wide = transposed(layout(4200, 133)), layout(4200, 70), TARGETS[2]
    assert list(blocking(x, y, wide).scratch) == ["packed_x"]
    both = blocking(x, y, wide, fused=True)
    assert list(both.scratch) == ["packed_x", "sums"]
    assert both.scratch["packed_x"].shape == (both.chunks, both.tiles_per_chunk, both.kc, both.mr)
    assert both.scratch["sums"].shape == (133, 70)
    assert not blocking(layout(50, 20), layout(20, 60), wide, fused=True).scratch


@pytest.mark.parametrize("flips", FLIPS, ids=str)
@pytest.mark.parametrize("target", [*TARGETS, TARGETS[2]._replace(blas=True)], ids=str)
def test_a_blocking_is_decided_once(target: Target, flips: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands on the plan's call, and the kernel is written by it alone."""
    x, y = (make(ops.parameter, type=TensorType((700, 700), float32), name=name) for name in "xy")
    product = ops.matmul(x, y, transpose_a=flips[0], transpose_b=flips[1])
    planned = plan(passes.run(Graph("product", [x, y], [ops.sqrt(product)])), target)
    (step,) = [step for step in planned.calls if step.product is not None]
    assert step.blocking is not None
    assert [view.shape for view in step.scratch] == [kind.shape for kind in step.blocking.scratch.values()]

    def decide(*_: Any) -> Any:
        raise AssertionError("decided again")

    for name in ("blocking", "choose_tile", "is_for_blas"):
        monkeypatch.setattr(blocking_module, name, decide)
    assert emit(planned, target).text


@pytest.mark.parametrize(("machine", "lanes"), [(AVX2, 8), (AVX512, 16), (AVX512, 4)])
def test_a_tile_leaves_a_register(machine: Machine, lanes: int) -> None:
    for rows, columns, depth in itertools.product((1, 7, 32, 1000), repeat=3):
        high, wide = choose_tile(rows, -(-columns // lanes), depth, machine)
        assert 1 <= high <= rows and wide >= 1
        assert high * wide + wide + 1 < machine.registers


def test_the_rows_of_a_tile_lie_in_the_cache_at_one_time() -> None:
    ways = AVX512.l1_ways
    assert rows_in_cache(4096, AVX512) == rows_in_cache(16384, AVX512) == ways
    assert rows_in_cache(2048, AVX512) == 2 * ways
    assert rows_in_cache(4000, AVX512) == rows_in_cache(64, AVX512) == rows_in_cache(4, AVX512) == AVX512.registers

    def tile_rows(size: int, dtype: DType, transposed: bool = False) -> int:
        x = Strided((size, size), (1, size) if transposed else (size, 1), 0, dtype)
        return blocking(x, Strided((size, size), (size, 1), 0, dtype), Target(AVX512)).mr

    assert tile_rows(512, float64) <= ways >= tile_rows(2048, float32)
    assert min(tile_rows(512, float32), tile_rows(2048, float32, transposed=True)) > ways


def test_a_short_tile_has_few_sums() -> None:
    for depth in (8, 64, AVX512.short_depth, AVX512.short_depth + 1):
        high, wide = choose_tile(64, 8, depth, AVX512)
        assert (high * wide <= 2 * AVX512.in_flight) == (depth <= AVX512.short_depth)


@pytest.mark.parametrize("dtype", [float32, float16], ids=str)
def test_steps_with_the_same_weights_share_their_panels(dtype: DType, rng: np.random.Generator) -> None:
    """Those of one matrix, transposed alike, for tiles of the same width; a recurrence has them once."""
    h, w, v = (make(ops.parameter, type=TensorType((64, 64), dtype), name=name) for name in "hwv")
    given = [h, w, v]
    for number in range(3):
        h = ops.matmul(h, w, transpose_a=False, transpose_b=True)
        h = ops.matmul(h, v, transpose_a=number == 1, transpose_b=True)
    graph = Graph("steps", given, [h])
    copied = [call.operands[0].buffer for call in plan(graph, Target(AVX512)).calls if call.purpose == "panels"]
    assert len(copied) == len(set(copied)) == 2
    numbers = [(rng.integers(-1, 2, (64, 64)) / 4).astype(dtype.numpy) for _ in given]
    found = run_graph(CompiledFunction(graph), numbers)[0].value
    (expected,), _ = interpret(graph, numbers)
    np.testing.assert_allclose(found, expected, rtol=1e-2 if dtype.is_half else 1e-5, atol=1e-3)


def test_nan_and_infinity_spread_as_in_numpy(rng: np.random.Generator) -> None:
    a, b = matrices(rng, "float32", (), 20, 37, 23)
    a[3, 5], a[7, 22], b[0, 36], b[9, 0] = np.nan, np.inf, -np.inf, np.nan
    for flips in FLIPS:
        given = [np.ascontiguousarray(each.T) if flip else each for each, flip in zip((a, b), flips, strict=True)]
        with np.errstate(invalid="ignore"):
            expected = a @ b
        found = run_graph(product_step(given, *flips), given)[0].value
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_integers_wrap_around(rng: np.random.Generator) -> None:
    for dtype in ("int32", "int64"):
        info = np.iinfo(dtype)
        given = [rng.integers(info.min, info.max, (33, 33), dtype=dtype) for _ in range(2)]
        np.testing.assert_array_equal(run_graph(product_step(given, False, True), given)[0].value, given[0] @ given[1].T)


def test_the_same_product_has_the_same_bits(rng: np.random.Generator) -> None:
    given = matrices(rng, "float32", (), 70, 90, 300)
    step = product_step(given, False, False)
    first = run_graph(step, given)[0].value.copy()
    for _ in range(5):
        np.testing.assert_array_equal(run_graph(step, given)[0].value, first)


# Processors for which the code is looked at (without fused multiply-add the scheduler does spill a sum or two): the target, LLVM's names, the multiply-add, how the stack is written.
PROCESSORS = {
    "avx512": (Target(AVX512), "x86_64-unknown-linux-gnu", "znver5", r"vfmadd\w+\t.*%zmm", r"\(%rsp"),
    "avx2": (Target(AVX2), "x86_64-unknown-linux-gnu", "znver3", r"vfmadd\w+\t.*%ymm", r"\(%rsp"),
    "neon": (Target(NEON), "aarch64-unknown-linux-gnu", "neoverse-n1", r"fmla\tv\d+\.4s", r"\[sp"),
}


def assembly_for(processor: str, rows: int, columns: int, depth: int) -> str:
    """The assembly of a product for a processor, this machine's or not."""
    target, triple, cpu, *_ = PROCESSORS[processor]
    shapes = {"x": (rows, depth), "y": (depth, columns)}
    x, y = (make(ops.parameter, type=TensorType(shape, float32), name=name) for name, shape in shapes.items())
    graph = passes.run(Graph("product", [x, y], [ops.matmul(x, y, transpose_a=False, transpose_b=False)]))
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = llvm.parse_assembly(emit(plan(graph, target), target).text)
    module.triple = triple
    return llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=2).emit_assembly(module)


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize(("rows", "columns", "depth"), [(64, 64, 64), (32, 128, 784), (256, 512, 784), (128, 10, 32)])
def test_the_inner_loop_spills_nothing(processor: str, rows: int, columns: int, depth: int) -> None:
    """Between the label and the branch of a loop with the multiply-adds of a tile nothing is read from or put on the stack."""
    *_, multiply_add, stack = PROCESSORS[processor]
    branch = re.compile(r"\t(?:j\w+|b\.\w+|cbnz)\t")
    blocks = re.split(r"^\.L\w+:", assembly_for(processor, rows, columns, depth), flags=re.MULTILINE)
    loops = [branch.split(block)[0] for block in blocks if branch.search(block)]
    hot = [loop for loop in loops if len(re.findall(multiply_add, loop)) >= 8]
    assert hot
    for loop in hot:
        assert not re.search(stack, loop), loop


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_blas_where_it_is_asked_for(dtype: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEJIT_MATMUL", "blas")
    for flips in FLIPS:
        step = check(*matrices(rng, dtype, (2,), 40, 50, 60), *flips)
        assert ("gemm" in step.module.text) == (find_blas() is not None)
    monkeypatch.setenv("TRACEJIT_MATMUL", "generated")
    assert "gemm" not in check(*matrices(rng, dtype, (2,), 40, 50, 60), False, False).module.text


def test_a_lowering_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEJIT_MATMUL", "mkl")
    with pytest.raises(ValueError, match="TRACEJIT_MATMUL is generated or blas, not 'mkl'"):
        host_target()


# -- what a tile is used for while it is in registers


def epilogue_graph(rng: np.random.Generator, dtype: str, *, updates: bool) -> tuple[Graph, list[np.ndarray]]:
    """A product with a random chain of cheap ops behind it, of operands that lie in every way over it."""
    batch = ((), (), (2,))[int(rng.integers(3))]
    rows, columns, depth = (int(each) for each in rng.choice([1, 2, 7, 15, 16, 17, 33, 50], 3))
    if not batch and rng.integers(4) == 0:
        depth = 4200
    a, b = matrices(rng, dtype, batch, rows, columns, depth)
    flips = [bool(each) for each in rng.integers(0, 2, 2)]
    given = [
        np.ascontiguousarray(np.swapaxes(each, -1, -2)) if flip else each for each, flip in zip((a, b), flips, strict=True)
    ]
    shape = (*batch, rows, columns)
    extra = [rng.uniform(-1, 1, each).astype(dtype) for each in (shape, shape[-1:], (*shape[:-1], 1), shape, shape[1:], ())]
    arguments = [*given, *extra]
    parameters = [make(ops.parameter, type=array_type(each), name=f"x{place}") for place, each in enumerate(arguments)]
    x, y, residual, bias, scale, old, part, number = parameters
    value = ops.matmul(x, y, transpose_a=flips[0], transpose_b=flips[1])
    chain = [
        lambda value: ops.add(value, bias),
        lambda value: ops.maximum(value, 0.0),
        lambda value: ops.mul(value, scale),
        lambda value: ops.add(residual, value),
        lambda value: ops.sub(part, value),
        lambda value: ops.div(value, ops.add(ops.sqrt(ops.abs(residual)), 2.0)),
        lambda value: ops.select(ops.greater(value, bias), value, ops.mul(value, number)),
    ]
    for each in rng.choice(len(chain), int(rng.integers(1, 5))):
        value = chain[int(each)](value)
    new = ops.sub(old, ops.mul(value, 0.125))
    results = [value, ops.neg(value)][: int(rng.integers(1, 3))]
    return Graph("g", parameters, [] if updates else results, [(old, new)] if updates else []), arguments


@pytest.mark.thin(3)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("blas", ["generated", "blas"])
def test_random_epilogues(blas: str, dtype: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEJIT_MATMUL", blas)
    merged = 0
    for number in range(40):
        graph, arguments = epilogue_graph(rng, dtype, updates=number % 3 == 0)
        step = CompiledFunction(passes.run(graph))
        merged += any(each.product is not None for each in step.plan.calls)
        results, updates = interpret(graph, arguments)
        held = [each.copy() for each in arguments]
        found = [*(each.value for each in run_graph(step, held)), *(held[5] for _ in graph.updates)]
        depth = 4200
        for mine, wanted in zip(found, [*results, *updates], strict=True):
            scale = float(np.max(np.abs(wanted), initial=1.0))
            np.testing.assert_allclose(
                mine, wanted, rtol=0, atol=scale * depth**0.5 * 4 * np.finfo(dtype).eps, err_msg=str(number)
            )
        assert len(step.plan.in_place) == len(graph.updates)
    assert merged > 35


def test_a_variable_is_updated_where_its_gradient_is_computed() -> None:
    """No buffer for the gradient: the sums of a tile, the old values and the new ones pass through registers."""
    types = ((32, 784), (32, 128), (784, 128))
    x, ct, w = (
        make(ops.parameter, type=TensorType(shape, float32), name=name) for shape, name in zip(types, "xcw", strict=True)
    )
    gradient = ops.matmul(x, ct, transpose_a=True, transpose_b=False)
    step = CompiledFunction(passes.run(Graph("g", [x, ct, w], [], [(w, ops.sub(w, ops.mul(gradient, 0.5)))])))
    assert len(step.plan.calls) == 1 and len(step.plan.in_place) == 1 and step.plan.arena_bytes == 0
