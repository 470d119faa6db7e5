"""float16 and bfloat16: every number converted, products summed in float32 and rounded once, and a step in mixed precision."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from machines import use_target
from test_dispatch import NATIVE, python_calls

import tracejit as tj
from tracejit import ops, passes
from tracejit.errors import DtypeError
from tracejit.ir import Graph, Node, interpret, make
from tracejit.ir.types import BY_SHORT, HALVES, DType, array_type, bfloat16, float16, float32, float64, int32
from tracejit.llvm.machine.host import host_target
from tracejit.llvm.target import SSE, Target
from tracejit.runtime.compiled_function import CompiledFunction, run_graph

each_half = pytest.mark.parametrize("dtype", HALVES, ids=lambda dtype: dtype.name)
# This processor, and those without an instruction for float16.
HOST = host_target()
TARGETS = (HOST, Target(SSE), Target(HOST.machine._replace(float16=False)))


def machine_code(
    of: Callable[..., list[Node]], arrays: list[np.ndarray], target: Target, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[np.ndarray], list[np.ndarray], CompiledFunction]:
    """What `of` gives for `arrays` by machine code for `target`, by the interpreter, and the step."""
    use_target(monkeypatch, target)
    parameters = [make(ops.parameter, type=array_type(array), name=f"x{place}") for place, array in enumerate(arrays)]
    graph = Graph("half", parameters, of(*parameters))
    step = CompiledFunction(passes.run(graph))
    found = [result.value for result in run_graph(step, arrays)]
    with np.errstate(all="ignore"):
        expected, _ = interpret(graph, arrays)
    return found, expected, step


def assert_same_bits(found: Any, expected: Any) -> None:
    """The same dtype and bits, but that any NaN is as good as another, and any zero."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    bits = f"u{found.itemsize}"
    with np.errstate(invalid="ignore"):
        alike = ((found != found) & (expected != expected)) | ((found == 0) & (expected == 0))
    wrong = (found.view(bits) != expected.view(bits)) & ~alike
    assert not wrong.any(), (found[wrong][:5], expected[wrong][:5])


def all_numbers(dtype: DType) -> np.ndarray:
    return np.arange(1 << 16, dtype=np.uint16).view(dtype.numpy)


# -- the dtypes


def test_names() -> None:
    assert tj.half is tj.float16 is float16 and tj.bfloat16 is bfloat16
    for dtype in HALVES:
        assert tj.as_dtype(dtype.name) is tj.as_dtype(dtype.numpy) is tj.as_dtype(dtype.as_numpy_dtype) is dtype
        assert dtype.is_floating and not dtype.is_integer and dtype.size == dtype.numpy.itemsize == 2
    assert tj.as_dtype("half") is float16
    assert (float(float16.max), float(bfloat16.min)) == (65504.0, -3.3895313892515355e38)
    assert repr(tj.constant([0.1, 2], tj.bfloat16)) == (
        "<tj.Tensor: shape=(2,), dtype=bfloat16, numpy=array([0.100098, 2], dtype=bfloat16)>"
    )
    with pytest.raises(AttributeError, match="no attribute 'float8'"):
        tj.float8  # noqa: B018


SOURCE = """
import sys
import tracejit as tj
import numpy as np
tj.cast(tj.constant([1.0]), tj.float16)
assert "ml_dtypes" not in sys.modules
if {blocked}:
    sys.modules["ml_dtypes"] = None
    for use in (lambda: tj.bfloat16, lambda: tj.constant(1.0, "bfloat16"), lambda: tj.zeros((2,), "bfloat16")):
        try:
            use()
        except (AttributeError, ImportError) as error:
            assert "pip install 'tracejit[bfloat16]'" in str(error), error
        else:
            raise AssertionError("nothing was raised")
    assert not hasattr(tj, "bfloat16")
else:
    from tracejit import bfloat16
    assert tj.constant([1.0], bfloat16).numpy().dtype == np.dtype("bfloat16")
"""


@pytest.mark.parametrize("blocked", [False, True])
def test_ml_dtypes_is_imported_when_it_is_needed(blocked: bool) -> None:
    subprocess.run([sys.executable, "-c", SOURCE.format(blocked=blocked)], check=True)


# -- conversions and arithmetic


@pytest.mark.parametrize("target", TARGETS, ids=str)
@each_half
def test_conversions(dtype: DType, target: Target, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """All numbers of the dtype; and to it, what lies half-way between two neighbours, beside that, and anything."""
    found, expected, step = machine_code(
        lambda x: [*(ops.cast(x, dtype=each) for each in (float32, float64, int32, tj.bool, *HALVES)), ops.is_finite(x)],
        [all_numbers(dtype)], target, monkeypatch,
    )  # fmt: skip
    for one, wanted in zip(found, expected, strict=True):
        assert_same_bits(one, wanted)
    # LLVM would call a function for it, which need not be there.
    assert target.machine.float16 or " half" not in step.module.text
    with np.errstate(invalid="ignore"):
        sorted_numbers = np.unique(all_numbers(dtype).astype(np.float32))
    finite = sorted_numbers[np.isfinite(sorted_numbers)]
    middles = ((finite[1:].astype(np.float64) + finite[:-1]) / 2).astype(np.float32)
    anything = rng.integers(0, 1 << 32, 1 << 16, dtype=np.uint32).view(np.float32)
    beside = [np.nextafter(middles, np.float32(way)) for way in (np.inf, -np.inf)]
    special = np.array([65519.99, 65520, 3.4e38, np.inf, -np.inf, np.nan], np.float32)
    numbers = np.concatenate([middles, *beside, anything, special])
    integers = rng.integers(-(2**40), 2**40, 1001)
    found, expected, _ = machine_code(
        lambda x, y: [ops.cast(x, dtype=dtype), ops.cast(ops.cast(x, dtype=float64), dtype=dtype), ops.cast(y, dtype=dtype)],
        [numbers, integers], target, monkeypatch,
    )  # fmt: skip
    for one, wanted in zip(found, expected, strict=True):
        assert_same_bits(one, wanted)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@each_half
def test_arithmetic_is_correctly_rounded(
    dtype: DType, target: Target, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = (rng.permutation(all_numbers(dtype)) for _ in range(2))
    two = (ops.add, ops.sub, ops.mul, ops.div, ops.maximum, ops.minimum, ops.less, ops.equal, ops.greater_equal)
    found, expected, _ = machine_code(
        lambda x, y: [*(op(x, y) for op in two), ops.neg(x), ops.abs(x), ops.select(ops.less(x, y), x, y)],
        [x, y], target, monkeypatch,
    )  # fmt: skip
    for one, wanted in zip(found, expected, strict=True):
        assert_same_bits(one, wanted)
    with np.errstate(all="ignore"):
        exact = x.astype(np.float64) * y.astype(np.float64)  # all its bits fit; to float32 and then to a half is to round once
        assert_same_bits(found[2], exact.astype(np.float32).astype(dtype.numpy))


# -- products


FLIPS = list(itertools.product((False, True), repeat=2))
SIZES = [(3, 5, 2), (17, 33, 35), (50, 70, 64), (64, 1100, 96), (1, 300, 70), (70, 300, 1), (2, 4200, 130), (100, 9000, 60)]


@pytest.mark.thin(2)
@pytest.mark.parametrize(("dtype", "target"), [(float16, TARGETS[0]), (float16, TARGETS[1]), (bfloat16, TARGETS[0])], ids=str)
def test_products_are_rounded_once(
    dtype: DType, target: Target, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of small integers, whose sums float32 can hold in any order and the dtype cannot: any rounding on the way would show."""
    for number, (rows, depth, columns) in enumerate(SIZES):
        for flips in FLIPS[number % 4 :: 2]:
            batch = (2,) if number % 3 == 1 else ()
            a, b = (rng.integers(-15, 16, (*batch, *shape)).astype(np.float32) for shape in ((rows, depth), (depth, columns)))
            exact = np.matmul(a, b)
            given = [
                np.ascontiguousarray(np.swapaxes(each, -1, -2) if flip else each).astype(dtype.numpy)
                for each, flip in zip((a, b), flips, strict=True)
            ]
            bias = rng.integers(-15, 16, columns).astype(dtype.numpy)

            def products(x: Node, y: Node, bias: Node, flips: tuple[bool, bool] = flips) -> list[Node]:
                # The second one is taken by the ops behind it; it is not the same as the first, which is a result as well.
                alone, taken = (ops.matmul(x, each, transpose_a=flips[0], transpose_b=flips[1]) for each in (y, ops.neg(y)))
                return [alone, ops.maximum(ops.add(taken, bias), 0.0)]

            found, expected, step = machine_code(products, [*given, bias], target, monkeypatch)
            assert any(each.product is not None and each.product is not each.node for each in step.plan.calls)
            assert_same_bits(found[0], exact.astype(dtype.numpy))
            for one, wanted in zip(found, expected, strict=True):
                assert_same_bits(one, wanted)


def test_products_with_the_blas(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    target = host_target()._replace(blas=True)
    given = [rng.integers(-15, 16, (64, 64)).astype(np.float16) for _ in range(2)]
    found, expected, _ = machine_code(
        lambda x, y: [ops.matmul(x, y, transpose_a=False, transpose_b=True)], given, target, monkeypatch
    )
    assert_same_bits(found[0], expected[0])


@each_half
def test_sums_are_float32(dtype: DType) -> None:
    """In float16 a sum of ones would stop at 2048, in bfloat16 at 256."""
    ones = tj.ones((3, 8192), dtype)
    for run in (lambda f: f, tj.function):
        assert run(lambda x: tj.reduce_sum(x, 1))(ones).numpy().tolist() == [8192] * 3
        assert run(lambda x: tj.reduce_mean(x))(ones).numpy() == 1
        assert run(lambda x: tj.matmul(x, x, transpose_b=True))(ones).numpy().tolist() == [[8192] * 3] * 3


# -- programs


def _moves(x: Any, indices: Any) -> list[Any]:
    return [
        tj.reshape(x, [-1]), tj.transpose(x), x[1:, ::2], tj.concat([x, x], 1), tj.pad(x, [[1, 1], [2, 0]], constant_values=7.0),
        tj.gather(x, indices, axis=1), tj.broadcast_to(x[0], [4, 8]), tj.reverse(x, [1]), tj.where(x > 0, x, x * 2),
        tj.stack([x, -x]), tj.split(x, 2, axis=1)[1], tj.tile(x, [2, 1]), tj.reduce_max(x, 0), tj.reduce_min(x), tj.zeros_like(x),
        tj.nn.relu(x), tj.clip_by_value(x, -0.5, 0.5), tj.cast(x, tj.int32), tj.reduce_sum(x, 0), tj.square(x) / 3, tj.ones_like(x),
    ]  # fmt: skip


def _gradient(x: Any, indices: Any) -> Any:
    with tj.GradientTape() as tape:
        tape.watch(x)
        value = tj.reduce_sum(tj.gather(x, indices, axis=1) * tj.reverse(x, [1])[:, :4] / tj.abs(x[:, :4]))
        value += tj.reduce_max(x) + tj.reduce_sum(tj.concat([x, x], 0)[2:]) + tj.reduce_mean(tj.pad(x, [[1, 0], [0, 1]]))
        value += tj.reduce_sum(tj.broadcast_to(x[0], [40, 8]) * 1.5) + tj.reduce_sum(tj.minimum(x, 0.25))
    return tape.gradient(value, x)


@each_half
def test_compiled_is_eager(dtype: DType, rng: np.random.Generator) -> None:
    x, indices = tj.constant(rng.uniform(-2, 2, (4, 8)), dtype), tj.constant([0, 3, 3, 7])
    compiled = tj.function(lambda x, indices: [*_moves(x, indices), _gradient(x, indices)])
    expected = [*_moves(x, indices), _gradient(x, indices)]
    for _ in range(3):
        for one, wanted in zip(compiled(x, indices), expected, strict=True):
            assert one.dtype == wanted.dtype
            np.testing.assert_array_equal(one.numpy(), wanted.numpy())
    # The last one of each row that a broadcast gave to 40 rows, and all else of it, is summed in float32.
    assert expected[-1].dtype is dtype


@each_half
def test_a_step_in_mixed_precision(dtype: DType, rng: np.random.Generator) -> None:
    """Variables and their gradients are float32, products of a half dtype: compiled = eager, and close to float32 alone."""
    x, y = (tj.constant(rng.uniform(-1, 1, shape).astype(np.float32)) for shape in ((64, 80), (64, 10)))
    begin = [rng.uniform(-0.2, 0.2, shape).astype(np.float32) for shape in ((80, 96), (96,), (96, 10), (10,))]

    def train(variables: list[Any], x: Any, y: Any, dtype: Any) -> Any:
        with tj.GradientTape() as tape:
            w1, b1, w2, b2 = (tj.cast(variable, dtype) for variable in variables)
            hidden = tj.maximum(tj.cast(x, dtype) @ w1 + b1, 0)
            loss = tj.reduce_mean(tj.square(tj.cast(hidden @ w2 + b2, tj.float32) - y))
        gradients = tape.gradient(loss, variables)
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.assign_sub(0.1 * gradient)
        return loss, gradients

    eager, compiled, whole = ([tj.Variable(each) for each in begin] for _ in range(3))
    step = tj.function(train)
    # A sum in another order may fall to the other side of a middle between two numbers of the dtype.
    unit = 2.0**-10 if dtype is float16 else 2.0**-7
    for _ in range(4):
        loss, gradients = train(eager, x, y, dtype)
        found_loss, found = step(compiled, x, y, dtype)
        true_loss, _ = train(whole, x, y, float32)
        assert float(found_loss) == pytest.approx(float(loss), rel=unit)
        assert float(found_loss) == pytest.approx(float(true_loss), rel=4 * unit)
        for one, wanted in zip(found, gradients, strict=True):
            assert one.dtype is wanted.dtype is float32
            np.testing.assert_allclose(one.numpy(), wanted.numpy(), rtol=0, atol=2 * unit * np.abs(wanted.numpy()).max())


@each_half
def test_variables_of_a_half_dtype(dtype: DType) -> None:
    variable = tj.Variable([1.0, 2.0], dtype=dtype)

    @tj.function
    def double() -> Any:
        variable.assign(variable * 2)
        return variable + 0.5

    assert [double().numpy().tolist() for _ in range(3)] == [[2.5, 4.5], [4.5, 8.5], [8.5, 16.5]]
    assert variable.dtype is dtype and variable.numpy().tolist() == [8, 16]
    with pytest.raises(DtypeError, match="convert the value with cast"):
        variable.assign(tj.constant([1.0, 2.0]))


@pytest.mark.skipif(not NATIVE, reason="calls go through Python here")
@each_half
def test_calls_are_native(dtype: DType) -> None:
    f = tj.function(lambda x: x * 2)
    for argument in (np.ones(3, dtype.numpy), tj.ones((3,), dtype), dtype.numpy.type(1.0)):
        for _ in range(4):
            found = f(argument)
        assert python_calls(lambda argument=argument: f(argument)) == []
        np.testing.assert_array_equal(found.numpy(), np.asarray(argument) * dtype.numpy.type(2))
    np.testing.assert_array_equal(f(np.ones(3, np.float32)).numpy(), np.full(3, 2, np.float32))


@pytest.mark.parametrize(
    "op",
    [tj.exp, tj.sqrt, tj.nn.softmax, tj.argmax, tj.floor, lambda x: x // x],
    ids=["exp", "sqrt", "softmax", "argmax", "floor", "floordiv"],
)
@each_half
def test_what_is_not_there_says_to_cast(dtype: DType, op: Any) -> None:
    with pytest.raises(DtypeError, match=f"not {dtype.name}; convert it with cast"):
        op(tj.ones((3,), dtype))


@each_half
def test_dtypes_are_not_mixed(dtype: DType) -> None:
    x = tj.ones((2, 2), dtype)
    for mix in (lambda: x + tj.ones((2, 2)), lambda: x @ tj.ones((2, 2)), lambda: tj.concat([x, tj.ones((2, 2))], 0)):
        with pytest.raises(DtypeError):
            mix()


@pytest.mark.parametrize("dtype", BY_SHORT.values(), ids=lambda dtype: dtype.name)
def test_the_facts_of_a_dtype_are_numpys(dtype: DType) -> None:
    kinds = (dtype.is_floating, dtype.is_integer, dtype.is_bool)
    assert sum(kinds) == 1
    assert kinds == ("float" in dtype.name, "int" in dtype.name, dtype.name == "bool")
    assert (dtype.size, dtype.bits) == (dtype.numpy.itemsize, 8 * dtype.numpy.itemsize)
    assert dtype.is_half == (dtype in HALVES)
    assert dtype.accumulator is (float32 if dtype.is_half else dtype)
    assert dtype.digits == (dtype.limits.nmant + 1 if dtype.is_floating else 0)
