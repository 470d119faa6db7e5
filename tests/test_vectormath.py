"""The vector code of tracejit.llvm.math.vectormath, and tracejit.ops.special, against NumPy and the C library."""

from __future__ import annotations

import ctypes
import importlib
import math
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest

import tracejit as tj
from tracejit import ops
from tracejit.ir import OPS
from tracejit.ir.types import DType, as_dtype, float32, float64, int32, int64
from tracejit.llvm.math.registry import elementary
from tracejit.llvm.math.trigonometry import TWO_OVER_PI
from tracejit.llvm.math.vectormath import FUNCTIONS, ULP
from tracejit.llvm.math.vectorparts import number
from tracejit.llvm.text.builder import Builder
from tracejit.llvm.text.types import MEMORY_TYPES, Lanes
from tracejit.ops import elementary as elementary_ops
from tracejit.ops import special
from tracejit.ops.cotangents import Scale
from tracejit.ops.elementary import Elementary

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()

WITHOUT_FMA = 2.0  # How much more than the table says is allowed where a multiply-add is rounded twice.
ROUNDED = ("erf", "erfc")  # float64's reference is the C library's, which is wrong by up to a unit itself
NUMPY_NAMES = {
    "pow": "power", "asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2", "asinh": "arcsinh",
    "acosh": "arccosh", "atanh": "arctanh",
}  # fmt: skip
BINARY = ("pow", "atan2")
POINTS = 1 << 21
LANES = {float32: 16, float64: 8, int32: 16, int64: 8}
_kept: list[Any] = []


def kernel(function: str, dtype: DType, lanes: int, operands: int = 1, fma: bool = True) -> Callable[..., np.ndarray]:
    """A compiled loop over arrays: kernel(x...) is an array."""
    names = [f"x{number}" for number in range(operands)]
    b = Builder("kernel", [*names, "result", "size"], width=64, fma=fma)
    size = Lanes("%n", int64)
    b.line("%n = load i64, ptr %size")
    b.line("br label %again")
    b.start_block("again")
    phi = len(b.lines)
    b.lines.append("")
    memory = MEMORY_TYPES[dtype]
    values = []
    for name in names:
        address = b.emit(int64, 1, f"getelementptr {memory}, ptr %{name}, i64 %i").ref
        kind = Lanes("", dtype, lanes).type
        values.append(b.emit(dtype, lanes, f"load {kind}, ptr {address}, align {dtype.size}"))
    result = FUNCTIONS[function](b, *values)
    address = b.emit(int64, 1, f"getelementptr {memory}, ptr %result, i64 %i").ref
    b.line(f"store {result}, ptr {address}, align {dtype.size}")
    b.line(f"%following = add i64 %i, {lanes}")
    b.lines[phi] = f"  %i = phi i64 [ 0, %start ], [ %following, %{b.block} ]"
    b.line(f"%more = icmp slt i64 %following, {size.ref}")
    b.line("br i1 %more, label %again, label %done")
    b.start_block("done")
    attributes = 'attributes #0 = { nounwind "prefer-vector-width"="512" }'
    text = "\n".join([*sorted(b.declarations), b.text(), attributes])
    address = _compile(text)
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(address)

    def run(*arrays: np.ndarray) -> np.ndarray:
        count = len(arrays[0])
        assert count % lanes == 0 and all(array.dtype == dtype.numpy for array in arrays)
        result, size = np.empty_like(arrays[0]), np.array(count, np.int64)
        assert call((ctypes.c_void_p * (operands + 2))(*[array.ctypes.data for array in (*arrays, result, size)])) == 0
        return result

    return run


def _compile(text: str) -> int:
    features = llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=2, jit=True)
    module = llvm.parse_assembly(text)
    module.verify()
    jit = llvm.create_lljit_compiler(machine)
    library = llvm.JITLibraryBuilder().add_ir(module).add_current_process().export_symbol("kernel")
    tracker = library.link(jit, f"library{len(_kept)}")
    _kept.append((machine, jit, tracker))
    return tracker["kernel"]


def special_values(dtype: DType) -> np.ndarray:
    info = np.finfo(dtype.numpy)
    some = [
        0,
        info.smallest_subnormal,
        7 * info.smallest_subnormal,
        info.tiny,
        1,
        math.inf,
        info.max,
        info.eps,
        0.5,
        2,
        3,
    ]
    some += [
        np.nextafter(info.tiny, 0, dtype=dtype.numpy),
        1e-3,
        2.5,
        1e6,
        16777216,
        9.5,
        100,
        88.5,
        89,
        104,
        709.7,
        746,
    ]
    return np.array([*some, *(-value for value in some), math.nan, math.nan], dtype.numpy)


def points(dtype: DType, count: int = POINTS) -> np.ndarray:
    """All exponents and both signs; then numbers of ordinary size, and near 1; and the special values."""
    random = np.random.default_rng(7)
    bits = random.integers(0, 1 << 8 * dtype.size, count // 4, dtype=f"uint{8 * dtype.size}").view(dtype.numpy)
    ordinary = random.uniform(-12, 12, count // 4)
    wide = random.uniform(-1, 1, count // 8) * (104 if dtype is float32 else 750)
    near_one = random.uniform(0.4, 2.5, count // 8)
    close = np.exp(random.uniform(-12, 16, count // 8)) * random.choice([-1, 1], count // 8)
    left = count - count // 4 * 2 - count // 8 * 3 - len(special_values(dtype))
    parts = [bits, ordinary, wide, near_one, close, random.uniform(-1, 1, left), special_values(dtype)]
    result = np.concatenate([part.astype(dtype.numpy) for part in parts])
    result[np.isnan(result)] = math.nan  # A signaling NaN among the random bits: pow of the C library has its own view.
    return result


def exact(function: str, *x: np.ndarray) -> np.ndarray:
    """The values in a wider dtype: float64 for float32, and what the machine has as long double for float64."""
    with np.errstate(all="ignore"):
        wide = [value.astype(np.float64 if value.dtype == np.float32 else np.longdouble) for value in x]
        if function == "sigmoid":
            z = np.exp(-abs(wide[0]))
            return np.where(wide[0] < 0, z, 1) / (1 + z)
        if function == "erf":
            return np.frompyfunc(math.erf, 1, 1)(x[0].astype(np.float64)).astype(wide[0].dtype)
        if function == "erfc":
            return np.frompyfunc(math.erfc, 1, 1)(x[0].astype(np.float64)).astype(wide[0].dtype)
        if function == "rsqrt":
            return 1 / np.sqrt(wide[0])
        return getattr(np, NUMPY_NAMES.get(function, function))(*wide)


def ulps(result: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The distance in units in the last place; what must be equal (NaN, infinities, signs of zeros) is asserted."""
    info = np.finfo(result.dtype)
    with np.errstate(all="ignore"):
        rounded = expected.astype(result.dtype)
        np.testing.assert_array_equal(np.isnan(result), np.isnan(rounded))
        number = ~np.isnan(rounded)
        np.testing.assert_array_equal(np.signbit(result)[number], np.signbit(rounded)[number])
        # An error of one unit may cross the border to infinity: infinity counts as the next number would.
        border = np.ldexp(expected.dtype.type(1), info.maxexp)
        unit = np.ldexp(expected.dtype.type(1), np.frexp(np.maximum(abs(expected), info.tiny))[1] - info.nmant - 1)
        clipped = np.clip(expected, -border, border)
        distance = abs(np.clip(result.astype(expected.dtype), -border, border) - clipped) / np.minimum(
            unit, np.ldexp(expected.dtype.type(1), info.maxexp - info.nmant - 1)
        )
    return np.where(number, distance, 0)


def operands(function: str, dtype: DType, count: int = POINTS) -> list[np.ndarray]:
    x = points(dtype, count)
    if function not in BINARY:
        return [x]
    random = np.random.default_rng(8)
    y = (random.uniform(-20, 20, count)).astype(dtype.numpy)
    y[::3] = np.round(y[::3])
    x[: count // 2 : 2] = abs(x[: count // 2 : 2])
    some = special_values(dtype)
    pairs = np.array(np.meshgrid(some, some), dtype.numpy).reshape(2, -1)
    x[: pairs.shape[1]], y[: pairs.shape[1]] = pairs
    return [x, y]


def stated(function: str, dtype: DType) -> float:
    """What the table says; that is measured on more points, and for float64 against mpmath, by `python -m benchmarks.ulp`."""
    return ULP[function][dtype is float64] + (function in ROUNDED and dtype is float64)


def worst(function: str, dtype: DType, lanes: int, fma: bool = True, count: int = POINTS) -> float:
    x = operands(function, dtype, count)
    result = kernel(function, dtype, lanes, len(x), fma)(*x)
    return float(ulps(result, exact(function, *x)).max())


@pytest.mark.parametrize("dtype", [float32, float64], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_error(function: str, dtype: DType) -> None:
    # The references are slower here: long double functions, and math.erf, which is called for each element.
    count = POINTS // 8 if function in ROUNDED else POINTS if dtype is float32 else POINTS // 2
    assert worst(function, dtype, LANES[dtype], count=count) <= stated(function, dtype)


@pytest.mark.parametrize("dtype", [float32, float64], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_error_without_fma(function: str, dtype: DType) -> None:
    bound = stated(function, dtype) + WITHOUT_FMA
    assert worst(function, dtype, LANES[dtype], fma=False, count=POINTS // 16) <= bound


@pytest.mark.parametrize("dtype", [float32, float64], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_scalar_is_a_lane(function: str, dtype: DType) -> None:
    x = operands(function, dtype, POINTS // 16)
    vector = kernel(function, dtype, LANES[dtype], len(x))(*x)
    np.testing.assert_array_equal(kernel(function, dtype, 1, len(x))(*x), vector)


@pytest.mark.parametrize("dtype", [float32, float64], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_special_values(function: str, dtype: DType) -> None:
    """What is infinite, zero or NaN is exactly what NumPy has, with its sign."""
    some = special_values(dtype)
    some = [some, *([some] if function in BINARY else [])]
    x = [grid.ravel() for grid in np.meshgrid(*some)] if len(some) > 1 else some
    x = [np.resize(value, (len(value) // 16 + 1) * 16) for value in x]
    result = kernel(function, dtype, LANES[dtype], len(x))(*x)
    with np.errstate(all="ignore"):
        expected = exact(function, *x).astype(dtype.numpy)
    exactly = ~np.isfinite(expected) | (expected == 0)
    np.testing.assert_array_equal(result[exactly], expected[exactly])
    np.testing.assert_array_equal(np.isfinite(result), np.isfinite(expected))
    signs = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(result)[signs], np.signbit(expected)[signs])


@pytest.mark.parametrize("fma", [True, False])
def test_large_operands_are_reduced(fma: bool) -> None:
    # The float64 number that is nearest to a multiple of pi / 2, relatively; the cosine is known to 20 digits.
    x = np.full(8, math.ldexp(6381956970095103, 797))
    x[1::2] = 1.5
    found = kernel("cos", float64, 8, fma=fma)(x)
    np.testing.assert_allclose(found[::2], -4.68716592425462761112e-19, rtol=3e-16)
    np.testing.assert_array_equal(found[1::2], kernel("cos", float64, 8, fma=fma)(np.full(8, 1.5))[1::2])


def test_bits_of_two_over_pi() -> None:
    # Machin's formula in integers with 200 bits to spare.
    one = 1 << 1358

    def inverse_tangent(n: int) -> int:
        terms = (one // (n ** (2 * k + 1) * (2 * k + 1)) * (-1) ** k for k in range(700))
        return sum(terms)

    pi = 16 * inverse_tangent(5) - 4 * inverse_tangent(239)
    assert (2 << 1358 + 1158) // pi == TWO_OVER_PI


def test_the_table_has_all_functions() -> None:
    assert list(ULP) == list(FUNCTIONS)


@pytest.mark.parametrize("lanes", [1, None])
@pytest.mark.parametrize("dtype", [int32, int64], ids=lambda dtype: dtype.name)
def test_integer_power(dtype: DType, lanes: int | None) -> None:
    random = np.random.default_rng(9)
    x = random.integers(-50, 50, 100_000).astype(dtype.numpy)
    y = random.integers(0, 80, 100_000).astype(dtype.numpy)
    y[:16] = [0, 1, 2, 3, dtype.max, 31, 32, 63, 64, 5, 7, 9, dtype.max - 1, 0, 0, 1]
    x[:16] = [0, 0, dtype.min, dtype.max, 3, -1, -1, 2, 2, 3, dtype.min, dtype.max, -1, -5, dtype.min, dtype.min]
    result = kernel("pow", dtype, lanes or LANES[dtype], 2)(x, y)
    np.testing.assert_array_equal(result, np.power(x, y))


@pytest.mark.parametrize("name", ["erf", "erfc"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("error")
def test_functions_of_numpy(dtype: type, name: str) -> None:
    function = getattr(special, name)
    x = points(as_dtype(dtype), 1 << 18)
    result = function(x)
    assert result.dtype == dtype and result.shape == x.shape
    assert ulps(result, exact(name, x)).max() <= (2 if name == "erf" else 8)
    assert function(x.reshape(8, -1)).tobytes() == result.tobytes()
    scalar = function(dtype(0.5))
    assert scalar.dtype == dtype and np.ndim(scalar) == 0
    assert abs(scalar - getattr(math, name)(0.5)) < 1e-7
    assert function(np.zeros((0, 3), dtype)).shape == (0, 3)


def test_the_command_measures(benchmarks: ModuleType) -> None:
    ulp = importlib.import_module("benchmarks.ulp")
    assert 0.5 < ulp.single("exp", 100_003) <= ULP["exp"][0]
    found = np.array([1, 1 + 2.0**-23, math.inf, math.nan, -0.0, 2.0**-149], np.float32)
    exact = np.array([1 + 2.0**-24, 1, 2.0**128, math.nan, -0.0, 2.0**-149])
    assert ulp.worst_of_single(found, exact) == 1
    assert ulp.worst_of_single(-found, exact) == math.inf
    assert ulp.worst_of_single(np.ones(6, np.float32), exact) == math.inf


def test_the_command_measures_float64(benchmarks: ModuleType) -> None:
    pytest.importorskip("mpmath")
    ulp = importlib.import_module("benchmarks.ulp")
    assert 0.5 < ulp.double("cos", 500) <= ULP["cos"][1]
    assert 0.5 < ulp.double("pow", 500) <= ULP["pow"][1]


# -- what a function is made of


def test_every_elementary_op_has_a_writer_and_is_public() -> None:
    names = elementary_ops.__all__
    assert {*names, "pow"} == set(FUNCTIONS) == set(ULP)
    for name in names:
        assert getattr(tj.math, name) is getattr(ops, name) is OPS[name]
        assert name in tj.math.__all__


@pytest.fixture
def double_exp() -> Iterator[Elementary]:
    """A function that is an entry and a writer, and nothing else."""

    @elementary("double_exp", ulp=(2.2, 1.8))
    def write(b: Builder, x: Lanes) -> Lanes:
        return b.mul(number(b, 2, x), FUNCTIONS["exp"](b, x))

    yield Elementary("double_exp", lambda x: 2 * np.exp(x), vjp=(Scale(lambda out, x: out),))
    del OPS["double_exp"], FUNCTIONS["double_exp"], ULP["double_exp"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_entry_and_a_writer_are_all_that_a_function_takes(double_exp: Elementary, dtype: str) -> None:
    def slope(x: tj.Tensor) -> tj.Tensor:
        with tj.GradientTape() as tape:
            tape.watch(x)
            y = double_exp(x)
        return tape.gradient(y, x)

    x = tj.constant(np.linspace(-3, 3, 1001).astype(dtype))
    compiled = tj.function(slope)
    np.testing.assert_allclose(compiled(x).numpy(), 2 * np.exp(x.numpy()), rtol=3 * np.finfo(dtype).eps)
    np.testing.assert_allclose(slope(x).numpy(), 2 * np.exp(x.numpy()), rtol=3 * np.finfo(dtype).eps)
    with pytest.raises(tj.errors.DtypeError, match="double_exp"):
        double_exp(tj.constant(1))


def test_a_function_is_written_once() -> None:
    with pytest.raises(ValueError, match="'exp' is written twice"):
        elementary("exp", ulp=(1, 1))(FUNCTIONS["exp"])
