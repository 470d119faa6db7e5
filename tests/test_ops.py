"""The tests that come with an op: generated from the registry, for every sample of every op that is registered."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from graphs import Case, all_cases, assert_same, cases_of, parameters_for, parts_of, sample_graph

import tracejit as tj
from tracejit import ops
from tracejit.ir import OPS, Graph, Node, TensorType, TupleType, interpret, make
from tracejit.ir.errors import DtypeError, IndexOutOfRangeError, InvalidArgumentError
from tracejit.ir.types import DTYPES, array_type, bfloat16, bool_, float16, float32, float64, int32, int64

# Ops without samples, and what tests them instead.
NOT_SAMPLED = {
    "parameter": "it has no value of its own; every graph has some",
    "element": "its operand is a tuple; every graph of an op with several results has some",
    "gradient": "it stands for other nodes: test_interpret.py, and test_gradient here",
    "custom_gradient": "it is a record of a tape or a trace and never a node: test_traced_tape.py",
    "fusion": "it takes a graph: test_fusion_* here",
    "call": "it is a record of a tape, made by tracejit.function, and never a node: the tests of function",
}

CASES = all_cases()
DIVISOR = {"function": "floordiv", "message": "an integer is divided by zero"}
each_case = pytest.mark.parametrize("case", CASES, ids=str)


def test_every_op_is_sampled_or_has_a_reason() -> None:
    unsampled = {name for name in OPS if not cases_of(name)}
    assert unsampled == set(NOT_SAMPLED)


# -- a sample, evaluated. A check of another executor goes here as well: `@each_case`, compared with `expected(case)`.


def expected(case: Case) -> Any:
    """What the op's `evaluate` gives for the case."""
    with np.errstate(all="ignore"):
        assert case.op.evaluate is not None
        return case.op.evaluate(*case.arrays, **case.attrs)


@each_case
def test_interpreted(case: Case) -> None:
    (result,), updates = interpret(sample_graph(case.op, case.arrays, case.attrs), case.arrays)
    assert_same(result, expected(case))
    assert updates == []


@each_case
def test_inferred_type_is_the_value_s(case: Case) -> None:
    assert case.op.infer(*case.types(), **case.attrs) is array_type(expected(case))


@each_case
def test_operands_are_not_changed(case: Case) -> None:
    before = [array.copy() for array in case.arrays]
    expected(case)
    for array, copy in zip(case.arrays, before, strict=True):
        assert_same(array, copy)


# -- against an oracle that shares no code with the op


def _truncated(x: Any, dtype: Any) -> Any:
    """C's cast of a Python number, where it has one; out of range the integer's minimum, but integers wrap around."""
    if dtype.is_bool:
        return bool(x)  # a NaN is not 0
    if dtype.is_floating:
        return x
    if isinstance(x, float):
        whole = int(x) if math.isfinite(x) else dtype.min
        return whole if dtype.min <= whole <= dtype.max else dtype.min
    span = 2 ** (8 * dtype.size)
    return (int(x) - dtype.min) % span + dtype.min


def _bits(counter: int, key: int) -> int:
    """SplitMix64 in Python's integers: the golden ratio times the counter, then its output function."""
    mask = 2**64 - 1
    z = (counter * 0x9E3779B97F4A7C15 + key) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def _mix(counter: int, key: int, dtype: Any) -> float:
    bits = 24 if dtype.size == 4 else 53
    return (_bits(counter, key) >> (64 - bits)) / 2**bits


# Of one element of each operand, as Python numbers.
SCALAR: dict[str, Callable[..., Any]] = {
    "neg": operator.neg, "abs": operator.abs, "sign": lambda x: (x > 0) - (x < 0), "floor": math.floor, "round": round,
    "sqrt": math.sqrt, "rsqrt": lambda x: 1 / math.sqrt(x), "reciprocal": lambda x: 1 / x, "exp": math.exp, "expm1": math.expm1, "log": math.log,
    "log1p": math.log1p, "sin": math.sin, "cos": math.cos, "tan": math.tan, "tanh": math.tanh, "erf": math.erf,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)), "erfc": math.erfc, "is_finite": math.isfinite, "logical_not": operator.not_,
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv,
    "floordiv": operator.floordiv, "mod": operator.mod, "pow": operator.pow, "maximum": max, "minimum": min,
    "mul_or_zero": operator.mul, "div_or_zero": operator.truediv, "equal": operator.eq, "not_equal": operator.ne,
    "less": operator.lt, "less_equal": operator.le, "greater": operator.gt, "greater_equal": operator.ge,
    "logical_and": lambda x, y: x and y, "logical_or": lambda x, y: x or y, "logical_xor": operator.ne,
    "select": lambda condition, x, y: x if condition else y, "cast": _truncated, "random_uniform": _mix,
    "identity": lambda x: x, "stop_gradient": lambda x: x,
    "check_range": lambda x, low, high, what, function: x, "check_nonzero": lambda x, function, message: x,
    "relu": lambda x: max(0, x), "if_positive": lambda x, a, b: a if x > 0 else b, "depending": lambda y, x: y,
    "silu": lambda x, beta: x / (1 + math.exp(-beta * x)),
    "leaky_relu": lambda x, alpha: x if x > 0 else alpha * x, "softplus": lambda x: math.log1p(math.exp(x)),
    "power": lambda x, exponent: x**exponent, "one_minus_square": lambda x: 1 - x * x,
    "bitwise_and": operator.and_, "bitwise_or": operator.or_, "bitwise_xor": operator.xor, "invert": operator.invert,
    "random_integers": lambda counter, key, low, high: low + _bits(counter, key) % (high - low),
}  # fmt: skip


def _reduced(combine: Callable[[Any, Any], Any], start: Any) -> Callable[..., Any]:
    def reduce(x: np.ndarray, axes: tuple[int, ...]) -> Any:
        kept = [axis for axis in range(x.ndim) if axis not in axes]
        result = np.full([x.shape[axis] for axis in kept], start, object)
        for index in np.ndindex(x.shape):
            place = tuple(index[axis] for axis in kept)
            result[place] = combine(result[place], x[index].item())
        return result

    return reduce


def _extreme(combine: Callable[[Any, Any], Any], which: str) -> Callable[..., Any]:
    """`which`, "min" or "max", is the limit of the dtype with which it begins."""

    def reduce(x: np.ndarray, axes: tuple[int, ...]) -> Any:
        dtype = array_type(x).dtype
        limit = {"max": math.inf, "min": -math.inf}[which] if dtype.is_floating else getattr(dtype, which)
        return _reduced(combine, limit)(x, axes)

    return reduce


def _first_best(better: Callable[[Any, Any], bool]) -> Callable[..., Any]:
    def arg(x: np.ndarray, axis: int) -> np.ndarray:
        result = np.zeros(x.shape[:axis] + x.shape[axis + 1 :], object)
        for index in np.ndindex(result.shape):
            row = [x[(*index[:axis], k, *index[axis:])] for k in range(x.shape[axis])]
            numbers = [k for k, value in enumerate(row) if value == value]
            best = [k for k in numbers if not any(better(row[other], row[k]) for other in numbers)]
            # What is no better than infinitely bad is as good as a NaN.
            result[index] = best[0] if best and any(better(row[best[0]], bad) for bad in (math.inf, -math.inf)) else 0
        return result

    return arg


def _by_index(shape: Any, element: Callable[[tuple[int, ...]], Any]) -> np.ndarray:
    result = np.zeros(shape, object)
    for index in np.ndindex(*result.shape):
        result[index] = element(index)
    return result


def _broadcast(x: np.ndarray, shape: Any, axes: Any) -> np.ndarray:
    return _by_index(shape, lambda at: x[tuple(0 if x.shape[k] == 1 else at[axis] for k, axis in enumerate(axes))])


def _reshape(x: np.ndarray, shape: Any) -> np.ndarray:
    flat = iter([x[index] for index in np.ndindex(x.shape)])
    return _by_index(shape, lambda at: next(flat))


def _transpose(x: np.ndarray, permutation: Any) -> np.ndarray:
    return _by_index([x.shape[k] for k in permutation], lambda at: x[tuple(at[permutation.index(k)] for k in range(x.ndim))])


def _reverse(x: np.ndarray, axes: Any) -> np.ndarray:
    return _by_index(x.shape, lambda at: x[tuple(x.shape[k] - 1 - i if k in axes else i for k, i in enumerate(at))])


def _slice(x: np.ndarray, starts: Any, sizes: Any, strides: Any) -> np.ndarray:
    return _by_index(sizes, lambda at: x[tuple(start + i * step for start, i, step in zip(starts, at, strides, strict=True))])


def _pad(x: np.ndarray, low: Any, high: Any, interior: Any, value: float) -> np.ndarray:
    for axis in range(x.ndim):
        rows = [np.full_like(x.take(0, axis) if x.shape[axis] else np.zeros(np.delete(x.shape, axis), x.dtype), value)]
        spread: list[np.ndarray] = rows * low[axis]
        for k in range(x.shape[axis]):
            spread += [x.take(k, axis)] + rows * (interior[axis] if k < x.shape[axis] - 1 else 0)
        x = np.stack(spread + rows * high[axis], axis)
    return x


def _concat(*arrays: np.ndarray, axis: int) -> np.ndarray:
    rows = [(array, k) for array in arrays for k in range(array.shape[axis])]
    shape = [*arrays[0].shape[:axis], len(rows), *arrays[0].shape[axis + 1 :]]
    return _by_index(shape, lambda at: rows[at[axis]][0][(*at[:axis], rows[at[axis]][1], *at[axis + 1 :])])


def _gather(params: np.ndarray, indices: np.ndarray, axis: int) -> np.ndarray:
    end = axis + indices.ndim
    shape = params.shape[:axis] + indices.shape + params.shape[axis + 1 :]
    return _by_index(shape, lambda at: params[(*at[:axis], int(indices[at[axis:end]]), *at[end:])])


def _scatter_add(updates: np.ndarray, indices: np.ndarray, axis: int, size: int) -> np.ndarray:
    end = axis + indices.ndim
    result = np.zeros((*updates.shape[:axis], size, *updates.shape[end:]), object)
    for at in np.ndindex(updates.shape):
        result[(*at[:axis], int(indices[at[axis:end]]), *at[end:])] += updates[at].item()
    return result


def _matmul(x: np.ndarray, y: np.ndarray, transpose_a: bool, transpose_b: bool) -> np.ndarray:
    left, right = "...ki" if transpose_a else "...ik", "...jk" if transpose_b else "...kj"
    wide = np.int64 if x.dtype.kind == "i" else np.float64
    return np.einsum(f"{left},{right}->...ij", x.astype(wide), y.astype(wide))


def _convolution(x: np.ndarray, filters: np.ndarray, strides: Any, dilations: Any) -> np.ndarray:
    sizes = [
        (size - (extent - 1) * dilation - 1) // stride + 1
        for size, extent, dilation, stride in zip(x.shape[1:3], filters.shape[:2], dilations, strides, strict=True)
    ]
    result = np.zeros((x.shape[0], *sizes, x.shape[3], filters.shape[4]), np.int64 if x.dtype.kind == "i" else np.float64)
    for (i, j, k, m), (n, p, q, g) in itertools.product(
        np.ndindex(*filters.shape[:2], *filters.shape[3:]), list(np.ndindex(*result.shape[:4]))
    ):
        place = n, p * strides[0] + i * dilations[0], q * strides[1] + j * dilations[1], g, k
        result[n, p, q, g, m] += x[place].item() * filters[i, j, g, k, m].item()
    return result


def _max_windows(x: np.ndarray, window: Any, strides: Any) -> np.ndarray:
    sizes = [(size - extent) // stride + 1 for size, extent, stride in zip(x.shape[1:3], window, strides, strict=True)]
    places = list(np.ndindex(*window))
    return _by_index(
        (x.shape[0], *sizes, x.shape[3]),
        lambda at: max(x[at[0], at[1] * strides[0] + i, at[2] * strides[1] + j, at[3]].item() for i, j in places),
    )


WHOLE: dict[str, Callable[..., Any]] = {
    "reduce_sum": _reduced(operator.add, 0), "reduce_prod": _reduced(operator.mul, 1),
    "reduce_max": _extreme(max, "min"), "reduce_min": _extreme(min, "max"),
    "reduce_any": _reduced(lambda x, y: x or y, False), "reduce_all": _reduced(lambda x, y: x and y, True),
    "argmax": _first_best(operator.gt), "argmin": _first_best(operator.lt), "broadcast": _broadcast,
    "reshape": _reshape, "transpose": _transpose, "reverse": _reverse, "slice": _slice, "pad": _pad, "concat": _concat,
    "gather": _gather, "scatter_add": _scatter_add, "matmul": _matmul, "convolution": _convolution,
    "max_windows": _max_windows,
    "iota": lambda shape, axis, dtype: _by_index(shape, lambda at: at[axis]),
    "constant": lambda value: np.array(value.tolist()),
}  # fmt: skip

# A sum in another order is another sum, and math's functions are not NumPy's to the last bit: some 8 ULP of the result,
# and as much of 20 for a sum, which has up to 67 terms between -2 and 2 that may cancel.
# A half dtype's oracle is rounded once, as the result is: they differ by a unit in the last place where they lie near the
# middle between two numbers.
TOLERANCE = {float32: 1e-6, float64: 2e-15, float16: 2.0**-10, bfloat16: 2.0**-7}


# An op whose `evaluate` is NumPy's own function needs no second opinion: a new op may leave the two tables alone.
ORACLE_CASES = [case for case in CASES if case.op.name in SCALAR or case.op.name in WHOLE]


@pytest.mark.parametrize("case", ORACLE_CASES, ids=str)
def test_oracle(case: Case) -> None:
    result = np.asarray(expected(case))
    if case.op.name in SCALAR:
        rule = SCALAR[case.op.name]
        lanes = zip(*[array.reshape(-1).tolist() for array in case.arrays], strict=True)
        oracle = np.array([rule(*lane, **case.attrs) for lane in lanes], object).reshape(result.shape)
    else:
        oracle = np.asarray(WHOLE[case.op.name](*case.arrays, **case.attrs))
    dtype = array_type(result).dtype
    assert oracle.shape == result.shape
    oracle = oracle.astype(result.dtype)
    if dtype.is_floating:
        wide = (each.astype(np.float32) if dtype.is_half else each for each in (result, oracle))
        atol = 0 if dtype.is_half else 20 * TOLERANCE[dtype]
        np.testing.assert_allclose(*wide, rtol=TOLERANCE[dtype], atol=atol)
    else:
        np.testing.assert_array_equal(result, oracle)


# -- the values that samples keep away from

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize("dtype", [float32, float64])
@pytest.mark.parametrize(
    ("op", "operands", "attrs", "result"),
    [
        (ops.floordiv, ([7, -7, 7, -7, 0.5, -0.5], [2, 2, -2, -2, INF, INF]), {}, [3, -4, -4, 3, 0, -0.0]),
        (ops.floordiv, ([INF, -INF, INF, INF, 1, -1, 0], [2, 2, INF, 0, 0, 0, 0]), {}, [INF, -INF, NAN, INF, INF, -INF, NAN]),
        (ops.mod, ([7, -7, 7, -7, 0.5, 3.0], [4, 4, -4, -4, INF, 0.0]), {}, [3, 1, -1, -3, 0.5, NAN]),
        (ops.div, ([1, -1, 0, 0], [0, 0, 0, -0.0]), {}, [INF, -INF, NAN, NAN]),
        (ops.mul_or_zero, ([0, 0, -0.0, 2, NAN], [INF, NAN, 3, INF, 1]), {}, [0, 0, -0.0, INF, NAN]),
        (ops.div_or_zero, ([0, 0, 2, NAN], [0, NAN, 0, 1]), {}, [0, 0, INF, NAN]),
        (ops.maximum, ([NAN, 1, INF, -INF], [1, NAN, 3, 3]), {}, [NAN, NAN, INF, 3]),
        (ops.minimum, ([NAN, 1, INF, -INF], [1, NAN, 3, 3]), {}, [NAN, NAN, 3, -INF]),
        (ops.pow, ([0, 0, -2, NAN, 1, 4], [0, -1, 3, 0, NAN, 0.5]), {}, [1, INF, -8, 1, 1, 2]),
        (ops.pow, ([-INF, -0.0, 0, 4], [0.5] * 4), {}, [INF, 0, 0, 2]),
        (ops.round, ([0.5, 1.5, 2.5, -0.5, -1.5, INF],), {}, [0, 2, 2, -0.0, -2, INF]),
        (ops.floor, ([-0.5, 0.5, -INF, NAN],), {}, [-1, 0, -INF, NAN]),
        (ops.sign, ([-3, 0, 3, NAN, -INF],), {}, [-1, 0, 1, NAN, -1]),
        (ops.sqrt, ([0, 4, -1, INF],), {}, [0, 2, NAN, INF]),
        (ops.rsqrt, ([0, 4, -1, INF],), {}, [INF, 0.5, NAN, 0]),
        (ops.log, ([0, 1, -1, INF],), {}, [-INF, 0, NAN, INF]),
        (ops.exp, ([-INF, 0, 1000, -1000, NAN],), {}, [0, 1, INF, 0, NAN]),
        (ops.expm1, ([-INF, 0, 1000, 1e-20],), {}, [-1, 0, INF, 1e-20]),
        (ops.log1p, ([-1, 0, -2, 1e-20],), {}, [-INF, 0, NAN, 1e-20]),
        (ops.sigmoid, ([-INF, -1000, 0, 1000, INF, NAN],), {}, [0, 0, 0.5, 1, 1, NAN]),
        (ops.tanh, ([-INF, -1000, 0, INF],), {}, [-1, -1, 0, 1]),
        (ops.erf, ([-INF, 0, INF, NAN, 30],), {}, [-1, 0, 1, NAN, 1]),
        (ops.erfc, ([-INF, 0, INF, NAN, 30, -30],), {}, [2, 1, 0, NAN, 0, 2]),
        (ops.asin, ([-0.0, 2, -1.5, NAN],), {}, [-0.0, NAN, NAN, NAN]),
        (ops.acos, ([1, 2, NAN],), {}, [0, NAN, NAN]),
        (ops.atan, ([-0.0, NAN],), {}, [-0.0, NAN]),
        (ops.atan2, ([0, -0.0, NAN, 1, -1], [2, INF, 1, INF, INF]), {}, [0, -0.0, NAN, 0, -0.0]),
        (ops.sinh, ([-0.0, INF, -INF, 1000],), {}, [-0.0, INF, -INF, INF]),
        (ops.cosh, ([-0.0, -INF, 1000],), {}, [1, INF, INF]),
        (ops.asinh, ([-0.0, -INF, NAN],), {}, [-0.0, -INF, NAN]),
        (ops.acosh, ([1, 0.5, INF],), {}, [0, NAN, INF]),
        (ops.atanh, ([-0.0, 1, -1, 2],), {}, [-0.0, INF, -INF, NAN]),
        (ops.cbrt, ([-0.0, -8, INF],), {}, [-0.0, -2, INF]),
        (ops.ceil, ([-0.5, 0.5, -INF, NAN],), {}, [-0.0, 1, -INF, NAN]),
        (ops.reduce_max, ([[1, NAN], [-INF, -INF]],), {"axes": (1,)}, [NAN, -INF]),
        (ops.reduce_min, ([[1, NAN], [INF, INF]],), {"axes": (1,)}, [NAN, INF]),
        (ops.reduce_max, (np.zeros((2, 0)),), {"axes": (1,)}, [-INF, -INF]),
        (ops.reduce_prod, (np.zeros((2, 0)),), {"axes": (1,)}, [1, 1]),
        (ops.gather, ([[1, NAN], [3, 4]], np.array([1, 1], np.int32)), {"axis": 0}, [[3, 4], [3, 4]]),
        (ops.scatter_add, ([1, 2, 4], np.array([2, 0, 2], np.int32)), {"axis": 0, "size": 4}, [2, 0, 5, 0]),
        (ops.pad, ([1, 2],), {"low": (1,), "high": (0,), "interior": (1,), "value": -INF}, [-INF, 1, -INF, 2]),
        (ops.broadcast, (np.zeros(3),), {"shape": (0, 3), "axes": (1,)}, np.zeros((0, 3))),
        (ops.broadcast, (np.zeros((0, 1)),), {"shape": (0, 4), "axes": (0, 1)}, np.zeros((0, 4))),
        (ops.broadcast, (np.ones((2, 3)).T,), {"shape": (3, 2, 2), "axes": (0, 2)}, np.ones((3, 2, 2))),
        (ops.select, (np.array([True, False]), [1, NAN], [NAN, 2]), {}, [1, 2]),
    ],
    ids=lambda value: value.name if hasattr(value, "evaluate") else None,
)  # fmt: skip
def test_special_values(dtype: Any, op: Any, operands: Any, attrs: Any, result: Any) -> None:
    arrays = [x if isinstance(x, np.ndarray) and x.dtype.kind != "f" else np.array(x, dtype.numpy) for x in operands]
    (found,), _ = interpret(sample_graph(op, arrays, attrs), arrays)
    wanted = np.array(result, dtype.numpy)
    assert_same(found, wanted)
    numbers = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(found)[numbers], np.signbit(wanted)[numbers])


@pytest.mark.parametrize("dtype", [int32, int64])
def test_integers_wrap_around(dtype: Any) -> None:
    least, most = (np.array([limit], dtype.numpy) for limit in (dtype.min, dtype.max))
    one = np.ones(1, dtype.numpy)
    for op, arrays, result in (
        (ops.add, (most, one), least), (ops.sub, (least, one), most),
        (ops.neg, (least,), least), (ops.abs, (least,), least), (ops.mul, (most, most), one),
    ):  # fmt: skip
        assert_same(interpret(sample_graph(op, arrays, {}), arrays)[0][0], result, op)


@pytest.mark.parametrize("dtype", [int32, int64])
def test_integer_division_rounds_down(dtype: Any) -> None:
    pairs = [(x, y) for x in range(-5, 6) for y in (-3, -2, -1, 1, 2, 3)]
    x, y = (np.array(side, dtype.numpy) for side in zip(*pairs, strict=True))
    for op, rule in ((ops.floordiv, operator.floordiv), (ops.mod, operator.mod)):
        assert_same(interpret(sample_graph(op, (x, y), {}), (x, y))[0][0], np.array([rule(*p) for p in pairs], dtype.numpy), op)


@pytest.mark.parametrize("source", [float32, float64])
@pytest.mark.parametrize("target", [int32, int64])
def test_cast_outside_of_the_range_is_the_minimum(source: Any, target: Any) -> None:
    edge = 2.0 ** (8 * target.size - 1)
    below = float(np.nextafter(source.numpy.type(edge), source.numpy.type(0)))
    x = np.array([NAN, INF, -INF, edge, -edge, 2 * edge, below, -0.9, 1.9], source.numpy)
    found = interpret(sample_graph(ops.cast, (x,), {"dtype": target}), (x,))[0][0]
    least = target.min
    assert found.tolist() == [least] * 6 + [int(below), 0, 1]


def test_argmax_passes_over_nan_and_takes_the_first_of_equals() -> None:
    """TensorFlow's answers."""
    rows = [[1, 3, 3], [NAN, 5, NAN], [2, NAN, 9], [-INF] * 3, [NAN] * 3, [NAN, INF, -INF], [NAN, -INF, 1], [-INF, NAN, -INF]]
    x = np.array(rows)
    for op, result in ((ops.argmax, [1, 1, 2, 0, 0, 1, 2, 0]), (ops.argmin, [0, 1, 0, 0, 0, 2, 1, 0])):
        assert_same(interpret(sample_graph(op, (x,), {"axis": 1}), (x,))[0][0], np.array(result, np.int64), op)


def test_random_uniform_depends_on_counter_and_key_alone() -> None:
    counter = np.arange(10_000)
    key = np.full_like(counter, 12345)
    draw = ops.random_uniform.evaluate
    assert draw is not None
    drawn = draw(counter, key, dtype=float64)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    # 4 standard deviations of the mean of 10000 numbers
    assert abs(drawn.mean() - 0.5) < 4 / math.sqrt(12 * 10_000)
    assert_same(draw(counter[500:], key[500:], dtype=float64), drawn[500:])
    other = draw(counter, key + 1, dtype=float64)
    assert abs(np.corrcoef(drawn, other)[0, 1]) < 0.05


@pytest.mark.parametrize(
    ("op", "arrays", "attrs", "message"),
    [
        (ops.gather, (np.zeros(3), np.array([0, 3])), {"axis": 0}, r"index 3 is not in \[0, 3\), the size of axis 0"),
        (
            ops.gather,
            (np.zeros((2, 3)), np.array([-1])),
            {"axis": 1},
            r"index -1 is not in \[0, 3\), the size of axis 1",
        ),
        (ops.scatter_add, (np.zeros(2), np.array([0, 4])), {"axis": 0, "size": 4}, r"index 4 is not in \[0, 4\)"),
        (
            ops.check_range,
            (np.array([0, 7]),),
            {"low": 0, "high": 7, "what": "label", "function": "f"},
            r"label 7 is not in \[0, 7\)",
        ),
        (ops.check_nonzero, (np.array([1, 0]),), DIVISOR, "floordiv.*divided by zero"),
    ],
)
def test_ops_that_fail(op: Any, arrays: Any, attrs: Any, message: str) -> None:
    error = InvalidArgumentError if op is ops.check_nonzero else IndexOutOfRangeError
    assert op.runtime_error
    with pytest.raises(error, match=message):
        interpret(sample_graph(op, arrays, attrs), arrays)


# -- gradients


def differentiable(case: Case) -> list[int]:
    """The operands of the case to differentiate: the op has a rule for them, and all floats are finite float64."""
    floats = [array for array in case.arrays if array.dtype.kind == "f"]
    if not isinstance(case.op.vjp, tuple):
        rules = list(range(len(case.arrays)))
    else:
        rules = [index for index, rule in enumerate(case.op.vjp) if rule is not None]
    exact = all(
        array.dtype == np.float64 and np.isfinite(array).all()
        for array in [*floats, np.asarray(expected(case))]
        if array.dtype.kind == "f"
    )
    return [index for index in rules if index < len(case.arrays) and case.arrays[index].dtype == np.float64 and exact]


GRADIENT_CASES = [case for case in CASES if differentiable(case) and np.asarray(expected(case)).dtype == np.float64]

# Operands on the other side of a kink from those of the samples, where the rules take their other branch.
OTHER_SIDE = [
    Case(ops.maximum, -1, (np.array([1.5, -0.3]), np.array([0.2, 0.9])), {}),
    Case(ops.minimum, -1, (np.array([1.5, -0.3]), np.array([0.2, 0.9])), {}),
    Case(ops.abs, -1, (np.array([-1.5, -0.3]),), {}),
    Case(ops.sign, -1, (np.array([-1.5, -0.3]),), {}),
    Case(ops.mod, -1, (np.array([5.3, -4.1, 5.3, -4.1]), np.array([2.0, 1.7, -2.0, -1.7])), {}),
    Case(ops.pow, -1, (np.array([1.5, 0.7]), np.array([-1.3, -2.0])), {}),
    Case(ops.div, -1, (np.array([1.5, -0.7]), np.array([-1.3, -0.6])), {}),
    Case(ops.rsqrt, -1, (np.array([20.0, 0.3]),), {}),
    Case(ops.sigmoid, -1, (np.array([-9.0, 9.0]),), {}),
    Case(ops.tanh, -1, (np.array([-5.0, 5.0]),), {}),
    Case(ops.reduce_prod, -1, (np.array([[0.0, 2.0, 3.0], [0.0, 0.0, 1.0]]),), {"axes": (1,)}),
    Case(ops.reduce_prod, -2, (np.array([[0.5, 2.0, -3.0], [0.7, 1.1, 1.0]]),), {"axes": ()}),
    Case(ops.broadcast, -1, (np.array([[[1.0, -2.0]]]),), {"shape": (2, 3, 4, 2), "axes": (0, 1, 3)}),
    Case(ops.slice, -1, (np.arange(12.0).reshape(3, 4),), {"starts": (3, 1), "sizes": (0, 2), "strides": (1, 2)}),
    Case(ops.scatter_add, -1, (np.arange(6.0).reshape(3, 2), np.array([1, 1, 0])), {"axis": 0, "size": 4}),
]  # fmt: skip

# A central difference of step h in float64 is wrong by about h**2 |f'''| / 6 + 2**-53 |f| / h: at h = 6e-6, the
# cube root of 2**-52, by 6e-12 |f'''| and 2e-11 |f|. The third order is a difference of second derivatives, so f'''
# is there a fifth derivative. Relative to the sum of the terms' magnitudes the worst sample is wrong by 1e-9.
STEP = 6e-6
GRADIENT_TOLERANCE = 1e-7


def check_gradient(outputs: list[Node], inputs: list[Node], values: dict[Node, np.ndarray], order: int, rng: Any) -> None:
    """Compare the cotangents of `inputs` with central differences of `outputs` along a random direction, for random
    cotangents of `outputs`; then do so with the cotangents themselves, as functions of both. (As HIPS autograd's
    check_grads.)"""
    parameters = list(values)

    def run(roots: list[Node], at: dict[Node, np.ndarray]) -> list[np.ndarray]:
        return interpret(Graph("checked", parameters, roots), [at[parameter] for parameter in parameters])[0]

    seeds = [make(ops.parameter, type=output.type, name=f"ct{order}_{index}") for index, output in enumerate(outputs)]
    count = len(outputs)
    node = make(ops.gradient, *outputs, *seeds, *inputs, targets=count, sources=len(inputs), seeded=True)
    cotangents = list(ops.expand_gradient(node))
    parameters += seeds
    values = {**values, **{seed: rng.normal(size=seed.shape) for seed in seeds}}
    direction = {node: rng.normal(size=node.shape) for node in inputs}

    def moved(step: float) -> dict[Node, np.ndarray]:
        return {node: value + step * direction[node] if node in direction else value for node, value in values.items()}

    difference = [
        (high - low) / (2 * STEP) for high, low in zip(run(outputs, moved(STEP)), run(outputs, moved(-STEP)), strict=True)
    ]
    terms = [(values[seed] * change).reshape(-1) for seed, change in zip(seeds, difference, strict=True)]
    numeric = sum(float(term.sum()) for term in terms)
    scale = 1 + sum(float(np.abs(term).sum()) for term in terms)
    found = run(cotangents, values)
    for cotangent, source in zip(found, inputs, strict=True):
        assert (cotangent.shape, cotangent.dtype) == (source.shape, source.dtype.numpy)
    exact = sum(float((cotangent * direction[node]).sum()) for cotangent, node in zip(found, inputs, strict=True))
    assert abs(exact - numeric) <= GRADIENT_TOLERANCE * scale, f"order {4 - order}: {exact} but differences give {numeric}"
    if order > 1:
        check_gradient(cotangents, [*inputs, *seeds], values, order - 1, rng)


@pytest.mark.parametrize("case", [*GRADIENT_CASES, *OTHER_SIDE], ids=str)
def test_gradient(case: Case, rng: np.random.Generator) -> None:
    """To third order."""
    parameters = parameters_for(case.arrays)
    outputs = parts_of(make(case.op, *parameters, **case.attrs))
    inputs = [parameters[index] for index in differentiable(case)]
    check_gradient(outputs, inputs, dict(zip(parameters, case.arrays, strict=True)), 3, rng)


def test_every_differentiable_op_has_its_gradient_checked() -> None:
    rules = {name for name, op in OPS.items() if callable(op.vjp) or any(rule is not None for rule in op.vjp)}
    assert rules - {case.op.name for case in GRADIENT_CASES} == {"custom_gradient", "call"}


@pytest.mark.parametrize("case", [case for case in GRADIENT_CASES if case.op is not ops.constant_op], ids=str)
def test_tape_gives_the_graph_s_gradient(case: Case) -> None:
    """Eager mode and the graph have one reverse mode: the same rules in the same order, so the same bits. But a matmul, and a
    convolution, adds in an order that depends on how its operands lie in memory, which eager tensors decide for themselves."""
    tensors = [tj.constant(array) for array in case.arrays]
    sources = differentiable(case)
    with tj.GradientTape() as tape:
        tape.watch(tensors)
        result = case.op(*tensors, **case.attrs)
    found = tape.gradient(result, [tensors[index] for index in sources])
    parameters = parameters_for(case.arrays)
    target = make(case.op, *parameters, **case.attrs)
    node = make(ops.gradient, target, *[parameters[i] for i in sources], targets=1, sources=len(sources), seeded=False)
    expanded, _ = interpret(Graph("gradient", parameters, parts_of(node)), case.arrays)
    for tensor, array in zip(found, expanded, strict=True):
        if case.op in (ops.matmul, ops.convolution):
            np.testing.assert_allclose(tensor.numpy(), array, rtol=1e-13, atol=1e-13, strict=True)
        else:
            assert_same(tensor.numpy(), array)


@pytest.mark.parametrize(("source", "target"), list(itertools.product([float32, float64], repeat=2)))
def test_cast_gives_the_cotangent_in_the_operand_s_dtype(source: Any, target: Any) -> None:
    x = tj.constant(np.array([1.5, -2.0], source.numpy))
    with tj.GradientTape() as tape:
        tape.watch(x)
        y = ops.mul(ops.cast(x, dtype=target), 3.0)
    assert_same(tape.gradient(y, x).numpy(), np.array([3, 3], source.numpy))


@pytest.mark.parametrize("dtype", [int32, int64, bool_])
def test_cast_to_what_has_no_gradient_is_not_connected(dtype: Any) -> None:
    x = tj.constant([1.5, -2.0])
    with tj.GradientTape() as tape:
        tape.watch(x)
        y = ops.cast(ops.cast(x, dtype=dtype), dtype=float32)
    assert tape.gradient(y, x) is None


@pytest.mark.parametrize(
    ("op", "x", "gradient"),
    [
        (ops.sqrt, [0.0, 4.0], [INF, 0.25]), (ops.log, [0.0, 2.0], [INF, 0.5]),
        (lambda x: ops.mul(ops.sqrt(x), 0.0), [0.0, 4.0], [0.0, 0.0]),
        (lambda x: ops.select(ops.greater(x, 0.0), ops.log(x), ops.zeros_like(x)), [0.0, 2.0], [0.0, 0.5]),
        (lambda x: ops.select(ops.greater(x, 0.0), ops.div(1.0, x), ops.zeros_like(x)), [0.0, 2.0], [0.0, -0.25]),
        (lambda x: ops.pow(x, 2.0), [0.0, -3.0], [0.0, -6.0]),
        (lambda x: ops.pow(2.0, x), [0.0, 1.0], [math.log(2), 2 * math.log(2)]),
        (lambda x: ops.pow(0.0, x), [0.0, 1.0], [0.0, 0.0]),
        (lambda x: ops.maximum(x, x), [1.0, -1.0], [1.0, 1.0]), (lambda x: ops.maximum(x, 1.0), [1.0, 0.0], [1.0, 0.0]),
        (lambda x: ops.minimum(1.0, x), [1.0, 0.0], [0.0, 1.0]), (ops.abs, [0.0, -2.0], [0.0, -1.0]),
        (lambda x: ops.reduce_max(x, axes=(0,)), [3.0, 3.0], [0.5, 0.5]),
        (lambda x: ops.stop_gradient(x), [1.0, 2.0], None),
        (ops.floor, [0.5, 1.5], None), (ops.sign, [0.5, -1.5], [0.0, 0.0]),
    ],
)  # fmt: skip
def test_gradient_at_a_kink_or_a_pole(op: Any, x: Any, gradient: Any) -> None:
    """The conventions: TensorFlow's, but that a cotangent of 0 stays 0 however infinite the derivative is."""
    tensor = tj.constant(x, tj.float64)
    with tj.GradientTape() as tape:
        tape.watch(tensor)
        y = op(tensor)
    found = tape.gradient(y, tensor)
    assert (None if found is None else found.numpy().tolist()) == gradient


# -- ops that take a graph


def _twice() -> Graph:
    x = make(ops.parameter, type=TensorType((2,), float64), name="x")
    return Graph("body", [x], [ops.add(x, x), ops.exp(x)])


def test_fusion_is_its_body() -> None:
    x = np.array([1.0, -2.0])
    body = _twice()
    results, _ = interpret(sample_graph(OPS["fusion"], [x], {"body": body, "space": (2,), "rows": 1}), [x])
    assert_same(results[0], x + x)
    assert_same(results[1], np.exp(x))
    one = Graph("one", body.parameters, body.results[:1])
    (result,), _ = interpret(sample_graph(OPS["fusion"], [x], {"body": one, "space": (2,), "rows": 1}), [x])
    assert_same(result, x + x)


# -- errors of infer

F32, F64, I32, I64, BOOL = (TensorType((2, 3), dtype) for dtype in DTYPES)
VECTOR, SCALAR_TYPE = TensorType((3,), float32), TensorType((), float32)
INDEX = TensorType((2,), int32)
IMAGE = TensorType((1, 4, 4, 1, 3), float32)
STEPS, WINDOW = {"strides": (1, 1), "dilations": (1, 1)}, {"window": (2, 2), "strides": (2, 2)}

ErrorCase = tuple[str, tuple[Any, ...], dict[str, Any], type[Exception], str]


def _elementwise_errors() -> Iterator[ErrorCase]:
    for name, op in OPS.items():
        if not hasattr(op, "dtypes"):
            continue
        arity = len(cases_of(name)[0].arrays)
        good = TensorType((2, 3), op.dtypes[0])
        for dtype in DTYPES:
            if dtype not in op.dtypes:
                yield name, (TensorType((2,), dtype),) * arity, {}, DtypeError, f"not {dtype.name}"
        yield name, (good,) * (arity + 1), {}, InvalidArgumentError, f"it takes {arity} operand"
        if arity == 2:
            other = next(dtype for dtype in DTYPES if dtype is not op.dtypes[0])
            yield name, (good, TensorType((2, 3), other)), {}, DtypeError, "the operands' dtypes differ"
            yield name, (good, TensorType((3,), op.dtypes[0])), {}, InvalidArgumentError, "the operands' shapes differ"


def _reduce_errors() -> Iterator[ErrorCase]:
    for name in ("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_any", "reduce_all"):
        logical = name in ("reduce_any", "reduce_all")
        good, bad = (BOOL, F32) if logical else (F32, BOOL)
        yield name, (bad,), {"axes": (0,)}, DtypeError, f"not {bad.dtype.name}"
        for axes in ((2,), (-1,), (1, 0), (0, 0)):
            yield name, (good,), {"axes": axes}, InvalidArgumentError, f"axes {list(axes)} are not distinct ascending"
    for name in ("argmax", "argmin"):
        yield name, (BOOL,), {"axis": 0}, DtypeError, "not bool"
        yield name, (F32,), {"axis": 2}, InvalidArgumentError, "below 2"
        yield name, (TensorType((0,), float32),), {"axis": 0}, InvalidArgumentError, "axis 0 has no elements"


ERRORS: list[ErrorCase] = [
    *_elementwise_errors(),
    *_reduce_errors(),
    ("select", (F32, F32, F32), {}, DtypeError, "the condition must be bool"),
    ("select", (BOOL, F32, F64), {}, DtypeError, "the operands' dtypes differ"),
    ("select", (BOOL, VECTOR, VECTOR), {}, InvalidArgumentError, "the operands' shapes differ"),
    ("cast", (F32,), {"dtype": 3}, DtypeError, "3 is no dtype"),
    ("leaky_relu", (I32,), {"alpha": 0.5}, DtypeError, "not int32"),
    ("leaky_relu", (F32,), {"alpha": 1}, InvalidArgumentError, "alpha must be a float, not 1"),
    ("power", (F32,), {"exponent": 5}, InvalidArgumentError, "the exponent is 5"),
    ("power", (I32,), {"exponent": 0.5}, DtypeError, "not int32"),
    ("random_integers", (I32, I32, I64, I64), {}, DtypeError, "must be int64"),
    ("random_integers", (I64, I64, I64, TensorType((3,), int64)), {}, InvalidArgumentError, "one shape"),
    ("random_uniform", (I32, I32), {"dtype": float32}, DtypeError, "must be int64"),
    ("random_uniform", (I64, TensorType((3,), int64)), {"dtype": float32}, InvalidArgumentError, "one shape"),
    ("random_uniform", (I64, I64), {"dtype": int32}, DtypeError, "not int32"),
    ("broadcast", (VECTOR,), {"shape": (2, 4), "axes": (1,)}, InvalidArgumentError, "it does not fit [2, 4]"),
    ("broadcast", (VECTOR,), {"shape": (2, 3), "axes": ()}, InvalidArgumentError, "do not place each axis"),
    ("broadcast", (F32,), {"shape": (3, 2), "axes": (1, 0)}, InvalidArgumentError, "do not place each axis"),
    ("broadcast", (VECTOR,), {"shape": (3,), "axes": (1,)}, InvalidArgumentError, "it does not fit [3]"),
    ("broadcast", (SCALAR_TYPE,), {"shape": (-1,), "axes": ()}, InvalidArgumentError, "it does not fit [-1]"),
    ("reshape", (F32,), {"shape": (4,)}, InvalidArgumentError, "6 elements do not fill the shape [4]"),
    ("reshape", (F32,), {"shape": (-2, -3)}, InvalidArgumentError, "6 elements do not fill the shape [-2, -3]"),
    ("transpose", (F32,), {"permutation": (0, 0)}, InvalidArgumentError, "[0, 0] is no permutation of its 2 axes"),
    ("transpose", (F32,), {"permutation": (0,)}, InvalidArgumentError, "[0] is no permutation"),
    ("reverse", (F32,), {"axes": (2,)}, InvalidArgumentError, "axes [2] are not distinct axes below 2"),
    ("reverse", (F32,), {"axes": (1, 1)}, InvalidArgumentError, "axes [1, 1] are not distinct"),
    (
        "slice",
        (VECTOR,),
        {"starts": (1,), "sizes": (3,), "strides": (1,)},
        InvalidArgumentError,
        "3 elements from 1 by 1 do not lie in axis 0, which has 3",
    ),
    (
        "slice",
        (VECTOR,),
        {"starts": (0,), "sizes": (2,), "strides": (3,)},
        InvalidArgumentError,
        "do not lie in axis 0",
    ),
    (
        "slice",
        (VECTOR,),
        {"starts": (-1,), "sizes": (1,), "strides": (1,)},
        InvalidArgumentError,
        "do not lie in axis 0",
    ),
    (
        "slice",
        (VECTOR,),
        {"starts": (0,), "sizes": (1,), "strides": (0,)},
        InvalidArgumentError,
        "do not lie in axis 0",
    ),
    (
        "slice",
        (VECTOR,),
        {"starts": (4,), "sizes": (0,), "strides": (1,)},
        InvalidArgumentError,
        "do not lie in axis 0",
    ),
    ("slice", (F32,), {"starts": (0,), "sizes": (1,), "strides": (1,)}, InvalidArgumentError, "it needs 2 starts"),
    (
        "pad",
        (VECTOR,),
        {"low": (-1,), "high": (0,), "interior": (0,), "value": 0.0},
        InvalidArgumentError,
        "must not be negative",
    ),
    (
        "pad",
        (F32,),
        {"low": (0,), "high": (0,), "interior": (0,), "value": 0.0},
        InvalidArgumentError,
        "it needs 2 paddings",
    ),
    ("concat", (F32, F64), {"axis": 0}, DtypeError, "the operands' dtypes differ"),
    ("concat", (F32, VECTOR), {"axis": 0}, InvalidArgumentError, "differ in size outside of axis 0"),
    ("concat", (VECTOR, SCALAR_TYPE), {"axis": 0}, InvalidArgumentError, "differ in size outside of axis 0"),
    ("concat", (F32, F32), {"axis": 2}, InvalidArgumentError, "axis 2 is not below"),
    ("concat", (), {"axis": 0}, InvalidArgumentError, "axis 0 is not below"),
    ("gather", (F32, F32), {"axis": 0}, DtypeError, "indices must be int32 or int64, not float32"),
    ("gather", (F32, INDEX), {"axis": 2}, InvalidArgumentError, "axis 2 is not below 2"),
    ("scatter_add", (BOOL, INDEX), {"axis": 0, "size": 3}, DtypeError, "not bool"),
    ("scatter_add", (F32, VECTOR), {"axis": 0, "size": 3}, DtypeError, "not float32"),
    (
        "scatter_add",
        (F32, INDEX),
        {"axis": 1, "size": 3},
        InvalidArgumentError,
        "the updates' axes 1 to 2 are not the indices'",
    ),
    ("scatter_add", (F32, TensorType((), int32)), {"axis": -1, "size": 3}, InvalidArgumentError, "axis -1"),
    ("scatter_add", (F32, TensorType((), int32)), {"axis": 3, "size": 3}, InvalidArgumentError, "axis 3"),
    ("scatter_add", (F32, INDEX), {"axis": 0, "size": -1}, InvalidArgumentError, "size -1"),
    ("check_range", (F32,), {"low": 0, "high": 3, "what": "index", "function": "check_range"}, DtypeError, "not float32"),
    ("check_nonzero", (F32,), DIVISOR, DtypeError, "it takes integers"),
    (
        "matmul",
        (F32, F64),
        {"transpose_a": False, "transpose_b": True},
        DtypeError,
        "the dtypes float32 and float64 differ",
    ),
    ("matmul", (BOOL, BOOL), {"transpose_a": False, "transpose_b": True}, DtypeError, "not bool"),
    (
        "matmul",
        (F32, F32),
        {"transpose_a": False, "transpose_b": False},
        InvalidArgumentError,
        "the inner sizes differ: 3 and 2",
    ),
    ("matmul", (F32, VECTOR), {"transpose_a": False, "transpose_b": False}, InvalidArgumentError, "at least 2 axes"),
    (
        "matmul",
        (F32, TensorType((1, 3, 2), float32)),
        {"transpose_a": False, "transpose_b": False},
        InvalidArgumentError,
        "the batch axes differ",
    ),
    ("convolution", (IMAGE, F32), STEPS, InvalidArgumentError, "both operands need 5 axes"),
    ("convolution", (IMAGE, TensorType((2, 2, 1, 3, 2), float64)), STEPS, DtypeError, "the dtypes float32 and float64 differ"),
    ("convolution", (TensorType((1, 4, 4, 1, 3), bool_),) * 2, STEPS, DtypeError, "not bool"),
    (
        "convolution",
        (IMAGE, TensorType((2, 2, 1, 2, 2), float32)),
        STEPS,
        InvalidArgumentError,
        "the filters are for 1 groups of 2 channels, not for 1 of 3",
    ),
    (
        "convolution",
        (IMAGE, TensorType((2, 3, 1, 3, 2), float32)),
        {"strides": (1, 1), "dilations": (1, 2)},
        InvalidArgumentError,
        "a window of [2, 5] elements does not fit into [4, 4]",
    ),
    (
        "convolution",
        (IMAGE, TensorType((2, 2, 1, 3, 2), float32)),
        {"strides": (1, 0), "dilations": (1, 1)},
        InvalidArgumentError,
        "strides [1, 0] are not two positive numbers",
    ),
    ("max_windows", (F32,), WINDOW, InvalidArgumentError, "it needs 4 axes"),
    ("max_windows", (TensorType((1, 4, 4, 2), bool_),), WINDOW, DtypeError, "not bool"),
    (
        "max_windows",
        (TensorType((1, 4, 1, 2), float32),),
        WINDOW,
        InvalidArgumentError,
        "a window of [2, 2] elements does not fit into [4, 1]",
    ),
    (
        "max_windows",
        (TensorType((1, 4, 4, 2), float32),),
        {"window": (2,), "strides": (1, 1)},
        InvalidArgumentError,
        "window [2] are not two positive numbers",
    ),
    ("constant", (), {"value": np.zeros(2, np.uint8)}, DtypeError, "uint8"),
    ("iota", (), {"shape": (3,), "axis": 1, "dtype": int32}, InvalidArgumentError, "axis 1 is not below 1"),
    ("iota", (), {"shape": (3,), "axis": 0, "dtype": bool_}, DtypeError, "not bool"),
    ("iota", (), {"shape": (-3,), "axis": 0, "dtype": int32}, InvalidArgumentError, "negative"),
    ("element", (F32,), {"index": 0}, InvalidArgumentError, "it has no result 0"),
    ("element", (TupleType([F32]),), {"index": 1}, InvalidArgumentError, "it has no result 1"),
    ("gradient", (F32,), {"targets": 1, "sources": 1, "seeded": False}, InvalidArgumentError, "fewer operands"),
    (
        "gradient",
        (F32, F64, F32),
        {"targets": 1, "sources": 1, "seeded": True},
        InvalidArgumentError,
        "a seed is f64[2,3], its target f32[2,3]",
    ),
    ("fusion", (F32,), {"body": _twice(), "space": (2,), "rows": 1}, InvalidArgumentError, "its body takes f64[2]"),
    (
        "fusion",
        (TensorType((2,), float64),),
        {"body": _twice(), "space": (2,), "rows": 2},
        InvalidArgumentError,
        "2 is no number of leading axes of [2]",
    ),
]

# Ops that take a value of any type; a call and a custom gradient are no nodes.
TAKES_ANY = {"parameter", "identity", "stop_gradient", "call", "custom_gradient"}


@pytest.mark.parametrize(
    ("name", "types", "attrs", "error", "message"),
    ERRORS,
    ids=[f"{each[0]}-{number}" for number, each in enumerate(ERRORS)],
)
def test_infer_refuses(name: str, types: Any, attrs: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        OPS[name].infer(*types, **attrs)
    text = str(caught.value)
    told = attrs["function"] if name == "check_range" else name  # the function that was called
    assert f"{told}({', '.join(map(str, types))}" in text or not types
    assert text.startswith(f"{told}(")
    assert message in text
    assert type(caught.value) is error


def test_every_op_has_its_errors_tested() -> None:
    assert {case[0] for case in ERRORS} | TAKES_ANY == set(OPS)


def test_type_of_knows_attributes_by_their_names() -> None:
    """The remembered type of one call is not another's whose attributes have the same values in another order."""
    x = make(ops.parameter, type=TensorType((9,), float32), name="x")
    assert make(ops.slice, x, starts=(1,), sizes=(3,), strides=(2,)).shape == (3,)
    assert make(ops.slice, x, sizes=(1,), starts=(3,), strides=(2,)).shape == (1,)


def test_an_op_is_registered_once() -> None:
    with pytest.raises(ValueError, match="registered twice"):
        type(ops.reshape)("add", infer=lambda x: x)
    with pytest.raises(KeyError, match=r"near: .*reduce_sum"):
        tj.ir.find_op("reduce_sun")
