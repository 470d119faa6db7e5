"""What users write beside tensors, and in their place: the forms that are taken, and what is said of all others.

Every public function is called with wrong values in each of its arguments. Whatever comes, it is a result or an error of a
documented class, whose text begins with a function's name and holds the value or the argument: never NumPy's or Python's own.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tracejit.errors import DtypeError, InvalidArgumentError, ResourceExhaustedError, TracingError
from tracejit.tracing.trace import Trace, trace

C = tj.constant
MATRIX = C([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
CUBE = C(np.arange(24.0, dtype=np.float32).reshape(2, 3, 4))
IMAGE, FILTERS = np.ones((1, 4, 4, 2), np.float32), np.ones((2, 2, 2, 3), np.float32)

# -- a call of every function


def _binary(x: Any = MATRIX) -> dict[str, Any]:
    return {"x": x, "y": x}


BOOLS = C([True, False])
# The arguments of a call that is right, by the function's public name; where a function is not here, it takes one tensor.
CALLS: dict[str, dict[str, Any]] = {
    "add_n": {"inputs": [MATRIX, MATRIX]},
    "broadcast_to": {"input": MATRIX, "shape": [2, 2, 3]},
    "cast": {"x": MATRIX, "dtype": tj.float64},
    "clip_by_value": {"t": MATRIX, "clip_value_min": 2.0, "clip_value_max": 3.0},
    "concat": {"values": [MATRIX, MATRIX], "axis": 0},
    "constant": {"value": [1.0, 2.0], "dtype": tj.float32, "shape": [2]},
    "convert_to_tensor": {"value": [1.0, 2.0], "dtype": tj.float32, "dtype_hint": None},
    "expand_dims": {"input": MATRIX, "axis": 0},
    "eye": {"num_rows": 2, "num_columns": 3, "batch_shape": [2], "dtype": tj.float32},
    "fill": {"dims": [2], "value": 1.0},
    "gather": {"params": MATRIX, "indices": [0, 1], "axis": 1, "batch_dims": 0},
    "linspace": {"start": 0.0, "stop": 1.0, "num": 3, "axis": 0},
    "matmul": {"a": MATRIX, "b": MATRIX, "transpose_a": False, "transpose_b": True},
    "matrix_transpose": {"a": MATRIX},
    "norm": {"tensor": MATRIX, "ord": "euclidean", "axis": 0, "keepdims": True},
    "one_hot": {"indices": [0, 1], "depth": 3, "on_value": 1.0, "off_value": 0.0, "axis": 0, "dtype": tj.float32},
    "ones": {"shape": [2], "dtype": tj.float32},
    "ones_like": {"input": MATRIX, "dtype": tj.float32},
    "pad": {"tensor": MATRIX, "paddings": [[1, 0], [0, 1]], "mode": "CONSTANT", "constant_values": 1.0},
    "pow": {"x": MATRIX, "y": 2.5},
    "range": {"start": 0, "limit": 3, "delta": 1, "dtype": tj.int64},
    "reshape": {"tensor": MATRIX, "shape": [3, -1]},
    "reverse": {"tensor": MATRIX, "axis": [0]},
    "shape": {"input": MATRIX, "out_type": tj.int64},
    "size": {"input": MATRIX, "out_type": tj.int64},
    "split": {"value": MATRIX, "num_or_size_splits": 3, "axis": 1, "num": 3},
    "squeeze": {"input": [[1.0]], "axis": [0]},
    "stack": {"values": [MATRIX, MATRIX], "axis": 0},
    "tile": {"input": MATRIX, "multiples": [2, 1]},
    "transpose": {"a": MATRIX, "perm": [1, 0], "conjugate": False},
    "unstack": {"value": MATRIX, "num": 2, "axis": 0},
    "where": {"condition": [[True], [False]], "x": MATRIX, "y": 0.0},
    "zeros": {"shape": [2], "dtype": tj.float32},
    "zeros_like": {"input": MATRIX, "dtype": tj.float32},
    "Variable": {"initial_value": [1.0, 2.0], "trainable": True, "name": "w", "dtype": tj.float32, "shape": [2]},
    "nn.avg_pool2d": {"input": IMAGE, "ksize": 2, "strides": 2, "padding": "SAME", "data_format": "NHWC"},
    "nn.bias_add": {"value": MATRIX, "bias": [1.0, 2.0, 3.0], "data_format": "N..C"},
    "nn.conv2d": {"input": IMAGE, "filters": FILTERS, "strides": 1, "padding": "SAME", "data_format": "NHWC", "dilations": 1},
    "nn.conv2d_transpose": {"input": np.ones((1, 4, 4, 3), np.float32), "filters": FILTERS, "output_shape": [1, 4, 4, 2],
                            "strides": 1, "padding": "SAME", "data_format": "NHWC", "dilations": 1},
    "nn.depthwise_conv2d": {"input": IMAGE, "filter": FILTERS, "strides": 1, "padding": "SAME", "data_format": "NHWC", "dilations": 1},
    "nn.gelu": {"features": MATRIX, "approximate": True},
    "nn.leaky_relu": {"features": MATRIX, "alpha": 0.3},
    "nn.log_softmax": {"logits": MATRIX, "axis": -1},
    "nn.moments": {"x": MATRIX, "axes": [0], "keepdims": False},
    "nn.sigmoid_cross_entropy_with_logits": {"labels": MATRIX, "logits": MATRIX},
    "nn.silu": {"features": MATRIX, "beta": 1.0},
    "nn.softmax": {"logits": MATRIX, "axis": -1},
    "nn.softmax_cross_entropy_with_logits": {"labels": MATRIX, "logits": MATRIX, "axis": -1},
    "nn.sparse_softmax_cross_entropy_with_logits": {"labels": [0, 1], "logits": MATRIX},
    "random.normal": {"shape": [2], "mean": 0.0, "stddev": 1.0, "dtype": tj.float32, "seed": 1},
    "random.set_seed": {"seed": 1},
    "random.uniform": {"shape": [2], "minval": 0.0, "maxval": 1.0, "dtype": tj.float32, "seed": 1},
}  # fmt: skip
CALLS["nn.max_pool2d"] = CALLS["nn.max_pool"] = CALLS["nn.avg_pool"] = CALLS["nn.avg_pool2d"]
CALLS["nn.swish"] = CALLS["nn.silu"]
for _name in ("matmul", "matrix_transpose", "norm"):
    CALLS[f"linalg.{_name}"] = CALLS[_name]
for _name in ("mean", "sum", "prod", "max", "min", "variance", "std", "logsumexp"):
    CALLS[f"reduce_{_name}"] = {"input_tensor": MATRIX, "axis": 0, "keepdims": False}
for _name in ("any", "all"):
    CALLS[f"reduce_{_name}"] = {"input_tensor": BOOLS, "axis": 0, "keepdims": False}
for _name in ("argmax", "argmin"):
    CALLS[_name] = {"input": MATRIX, "axis": 0, "output_type": tj.int64}
for _name in ("logical_and", "logical_or", "math.logical_xor"):
    CALLS[_name] = _binary(BOOLS)
CALLS["logical_not"] = {"x": BOOLS}

# Not called by a table: they take functions, make objects that tests of their own call, or read what was made before.
ELSEWHERE = {"GradientTape", "Tensor", "TensorShape", "UnconnectedGradients", "DType", "custom_gradient", "function",
             "run_functions_eagerly", "is_tensor", "as_dtype"}  # fmt: skip


def _public() -> Iterator[tuple[str, Callable[..., Any]]]:
    for prefix, module in (("", tj), ("math.", tj.math), ("nn.", tj.nn), ("linalg.", tj.linalg), ("random.", tj.random)):
        for name in sorted(getattr(module, "__all__", None) or vars(module)):
            value = getattr(module, name)
            own = getattr(value, "__module__", None) or type(value).__module__
            if name.startswith("_") or not callable(value) or not str(own).startswith("tracejit") or name in ELSEWHERE:
                continue
            if isinstance(value, type) and name != "Variable":
                continue
            if prefix in ("nn.", "random.") and getattr(value, "__module__", "") not in (
                "tracejit.functions.nn", "tracejit.functions.convolution", "tracejit.random",
            ):  # fmt: skip
                continue
            yield prefix + name, value


FUNCTIONS = dict(_public())


def right_call(name: str) -> dict[str, Any]:
    """The arguments of a right call of a function."""
    base = name.rpartition(".")[2]
    found = CALLS.get(name) or CALLS.get(base) or CALLS.get(f"nn.{base}")
    if found is not None:
        return dict(found)
    parameters = [p for p in inspect.signature(FUNCTIONS[name]).parameters if p != "name"]
    wanted = C([0.5, 0.25]) if base != "acosh" else C([1.5, 2.0])
    return dict.fromkeys(parameters, wanted)


# -- wrong values


class Opaque:
    """An object of nobody's."""


class Broken:
    """An object whose every look fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __index__(self) -> int:
        raise RuntimeError("no index")

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise RuntimeError("no array")


def _cycle() -> list[Any]:
    circle: list[Any] = [1]
    circle.append(circle)
    return circle


WRONG: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "a str": lambda: "a",
    "bytes": lambda: b"a",
    "a float": lambda: 1.5,
    "a whole float": lambda: 2.0,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "NumPy's float": lambda: np.float64(1.5),
    "a bool": lambda: True,
    "NumPy's bool": lambda: np.True_,
    "a list of bools": lambda: [True, False],
    "a mixed list": lambda: [True, 1],
    "a complex": lambda: 1 + 2j,
    "a complex array": lambda: np.array([1j]),
    "a datetime": lambda: np.datetime64(1, "s"),
    "datetimes": lambda: np.array([1], "datetime64[s]"),
    "an object": Opaque,
    "a broken object": Broken,
    "a list of objects": lambda: [Opaque(), None],
    "a class": lambda: Opaque,
    "a function": lambda: len,
    "a set": lambda: {1, 2},
    "a dict": lambda: {"a": 1},
    "a generator": lambda: (i for i in "ab"),
    "an iterator of ints": lambda: iter([1, 2]),
    "a cyclic list": _cycle,
    "a deep list": lambda: [[[[[1]]]]],
    "a ragged list": lambda: [[1], [2, 3]],
    "an empty list": list,
    "a list of None": lambda: [None],
    "a list of str": lambda: ["a", 1],
    "a list of floats": lambda: [1.5, 0.5],
    "huge": lambda: 2**40,
    "over int64": lambda: 2**72,
    "beyond digits": lambda: 10**5000,
    "most of int64": lambda: 2**63 - 1,
    "least of int64": lambda: -(2**63),
    "negative": lambda: -7,
    "a list of huge": lambda: [2**40, 2**40],
    "a list over int64": lambda: [2**72, 2],
    "a list of negatives": lambda: [-7, -8],
    "many axes": lambda: [1] * 70,
    "a matrix of ints": lambda: [[0, 1], [1, 0]],
    "an array of 2 axes": lambda: np.array([[0, 1]]),
    "an array of floats": lambda: np.array([0.5, 1.5]),
    "an array of objects": lambda: np.array([None, "a"], object),
    "an array of str": lambda: np.array(["a"]),
    "a uint8 array": lambda: np.array([1, 0], np.uint8),
    "a structured array": lambda: np.zeros(2, [("a", "i4"), ("b", "f4")]),
    "a masked array": lambda: np.ma.array([1.0, 2.0], mask=[True, False]),
    "a longdouble": lambda: np.longdouble(1.5),
    "a tensor of floats": lambda: C([1.5, 0.5]),
    "a tensor of bools": lambda: BOOLS,
    "a float64 tensor": lambda: C([1.5, 0.5], tj.float64),
    "a tensor of ints": lambda: C([1, 0]),
    "an empty tensor": lambda: tj.zeros([0, 3]),
    "a list with a tensor": lambda: [C(1.5), None],
    "a list of tensors of other shapes": lambda: [C(1.5), C([1.5])],
    "a list of tensors of other dtypes": lambda: [C(1.5), C(1)],
    "a dtype": lambda: tj.int32,
    "NumPy's dtype": lambda: np.dtype("c16"),
    "a slice": lambda: slice(2),
    "Ellipsis": lambda: ...,
}  # fmt: skip

DOCUMENTED = (InvalidArgumentError, TracingError, ResourceExhaustedError)
# Where an error says another name than the public one: the op's, or that of the function which this one is.
NAMES = {"multiply": "mul", "subtract": "sub", "negative": "neg", "divide": "div", "floormod": "mod|floordiv", "swish": "silu",
         "avg_pool": "avg_pool2d", "max_pool": "max_pool2d", "mod": "mod|floordiv"}  # fmt: skip
FOREIGN = (
    "interpreted as an integer", "object is not", "has no attribute", "unhashable", "truth value", "could not be broadcast",
    "cannot be cast", "setting an array element", "maximum recursion", "inhomogeneous", "out of bounds for", "not subscriptable",
    "argument must be", "unsupported operand", "not supported between", "Unable to allocate", "Python integer", "expected str",
)  # fmt: skip


def check_error(function: str, error: BaseException) -> None:
    text = str(error)
    assert isinstance(error, DOCUMENTED), f"{type(error).__name__}: {text}"
    base = function.rpartition(".")[2]
    assert re.match(rf"(random\.)?({NAMES.get(base, base)})\(", text) or isinstance(error, TracingError), text
    assert not any(phrase in text for phrase in FOREIGN), text
    assert "\n  at " in text and "test_arguments.py" in text, text


def test_every_public_function_has_a_right_call() -> None:
    assert len(FUNCTIONS) > 100
    for name, function in FUNCTIONS.items():
        function(**right_call(name))


def _traced(function: Callable[..., Any], call: dict[str, Any]) -> None:
    """The call in a function that is being traced; nothing is compiled."""
    trace(lambda: (function(**call), None)[1], Trace("traced", True), (), {})


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("how", [lambda function, call: function(**call), _traced], ids=["eager", "traced"])
def test_wrong_arguments(name: str, how: Callable[..., None]) -> None:
    function = FUNCTIONS[name]
    for argument in right_call(name):
        for what, make in WRONG.items():
            call = right_call(name)
            call[argument] = make()
            if argument == "initial_value" and callable(call[argument]):
                continue  # what it raises is the user's
            try:
                how(function, call)
            except Exception as error:
                try:
                    check_error(name, error)
                except AssertionError as wrong:
                    raise AssertionError(f"{name}({argument}={what}): {type(error).__name__}: {wrong}") from error


@pytest.mark.parametrize("what", WRONG)
def test_wrong_keys(what: str) -> None:
    for key in (WRONG[what](), (0, WRONG[what]()), slice(WRONG[what](), None), slice(None, None, WRONG[what]())):
        try:
            MATRIX[key]
        except Exception as error:
            check_error("getitem", error)


# -- what TensorFlow takes, with its answers


class ArrayLike:
    def __init__(self, array: np.ndarray):
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.array if dtype is None else self.array.astype(dtype)


def same(found: Any, dtype: Any, value: Any) -> None:
    expected = np.array(value, dtype.numpy)
    assert found.dtype is dtype and found.shape == expected.shape, found
    np.testing.assert_array_equal(found.numpy(), expected)


f32, f64, i32, i64, f16 = tj.float32, tj.float64, tj.int32, tj.int64, tj.float16
# (value, dtype asked for, dtype that comes, value that comes)
CONVERTED: list[tuple[Any, Any, Any, Any]] = [
    ([np.float64(0.1)], None, f64, [0.1]),
    ([np.float64(0.1), 1.0], None, f64, [0.1, 1]),
    ([1.0, np.float64(0.1)], None, f32, [1, 0.1]),
    ([np.float32(0.1), 1], None, f32, [0.1, 1]),
    ([np.int64(1), 2], None, i32, [1, 2]),
    ([np.int8(1)], None, i32, [1]),
    ([np.float16(1), 2.0], None, f16, [1, 2]),
    ([np.array([0.1]), np.array([0.2])], None, f64, [[0.1], [0.2]]),
    ([np.array([1]), [2]], None, i32, [[1], [2]]),
    ([[1.0], np.array([2])], None, f32, [[1], [2]]),
    ([np.array([2]), np.array([1.0])], None, f32, [[2], [1]]),
    ([np.array(0.1), 2], None, f64, [0.1, 2]),
    (ArrayLike(np.array([0.1])), None, f64, [0.1]),
    ([ArrayLike(np.array([0.1]))], None, f64, [[0.1]]),
    ([1, True], None, i32, [1, 1]),
    ([1, 2.5], None, f32, [1, 2.5]),
    ([1, 2**31], None, i64, [1, 2**31]),
    ([2**31, 1.0], None, f32, [2.0**31, 1]),
    ([np.uint64(1), np.int64(-1)], None, i32, [1, -1]),
    ([[], []], None, f32, [[], []]),
    ([], i32, i32, []),
    (range(3), None, i32, [0, 1, 2]),
    ([range(2), range(2)], None, i32, [[0, 1], [0, 1]]),
    (C([1.0]).shape, None, i32, [1]),
    (C(1.0).shape, None, i32, []),
    (2**72, f32, f32, 2.0**72),
    (True, f32, f32, 1),
    ([True], i32, i32, [1]),
    (np.array([1, 2]), f32, f32, [1, 2]),
    (np.array([3], np.uint8), f32, f32, [3]),
    (np.array([1, 2], ">i4"), None, i32, [1, 2]),
    (np.ones((1, 2)).view(np.recarray), None, f64, [[1, 1]]),
    ([1, C(2.0)], None, f32, [1, 2]),
    ([1.0, C(2.0)], f64, f64, [1, 2]),
    ([[1.0, C(2.0)], [3, 4]], None, f32, [[1, 2], [3, 4]]),
    ([np.float64(1), C(2.0)], None, f32, [1, 2]),
    ([C([1, 2]), np.array([3, 4])], None, i32, [[1, 2], [3, 4]]),
    ([True, C(2.0)], None, f32, [1, 2]),
    ([C(1), 2], i64, i64, [1, 2]),
    ([True, 1.5], f32, f32, [1, 1.5]),
]  # fmt: skip


@pytest.mark.parametrize("case", CONVERTED, ids=lambda case: f"{str(case[0])[:40]} {case[1]}")
def test_what_becomes_a_tensor(case: tuple[Any, Any, Any, Any]) -> None:
    value, asked, dtype, expected = case
    same(tj.convert_to_tensor(value, asked), dtype, expected)
    same(tj.constant(value, asked), dtype, expected)
    same(tj.Variable(value, dtype=asked).read_value(), dtype, expected)
    same(tj.function(lambda: tj.convert_to_tensor(value, asked))(), dtype, expected)


@pytest.mark.parametrize(
    ("value", "dtype", "error"),
    [
        (2**63, None, ValueError), (2**72, None, ValueError), ([2**72], None, ValueError), (-(2**63) - 1, None, ValueError),
        ([2**63, -1], None, ValueError), (2**1100, f32, ValueError), (2**31, i32, ValueError), (np.int64(2**40), i32, ValueError),
        (np.array([2**63], np.uint64), i64, ValueError),
        ([True, 1], None, ValueError), ([True, 1.0], None, ValueError), ([[1], [2, 3]], None, ValueError), ([1, [2]], None, ValueError),
        (None, None, ValueError), ([None, 1.0], None, ValueError), pytest.param(object(), None, ValueError, id="an object"), ({"a": 1}, None, ValueError),
        (_cycle(), None, ValueError), (1, tj.bool, TypeError), (1.5, i32, TypeError), ([1, 2.5], i32, TypeError), ("a", f32, TypeError),
        (1j, f32, TypeError), (np.array([1j]), f32, TypeError), (np.array([1.5]), i32, TypeError), ([np.float32(1.5)], i32, TypeError),
        (np.array([1], "datetime64[s]"), i64, TypeError), (np.ma.array([1.0, 2.0], mask=[True, False]), None, TypeError),
        ([C(1), 2.0], None, TypeError), ([C(1), C(2.0)], None, InvalidArgumentError), ([C([1, 2]), C([3])], None, InvalidArgumentError),
        (C(1.0), f64, ValueError), ([C(1.5)], i32, TypeError),
    ],
    ids=str,
)  # fmt: skip
def test_what_becomes_no_tensor(value: Any, dtype: Any, error: type[Exception]) -> None:
    for function in (tj.convert_to_tensor, tj.constant, lambda value, dtype: tj.Variable(value, dtype=dtype)):
        with pytest.raises(error) as caught:
            function(value, dtype)
        assert re.match(r"(convert_to_tensor|constant|Variable)\(", str(caught.value)), caught.value
    if str(value) not in ("[True, 1]", "[True, 1.0]"):  # which beside a tensor takes its dtype
        with pytest.raises(error, match=r"add\("):
            tj.add(tj.constant([1], dtype or i32), value)


def test_dtypes() -> None:
    for value, dtype in (
        (float, f32),
        ("float", f32),
        ("double", f64),
        ("half", f16),
        (bool, tj.bool),
        (np.int64, i64),
        ("int32", i32),
    ):
        assert tj.as_dtype(value) is dtype
    for value in (None, int, "int", "a", 1.5, 3, [1], {"a": 1}, object, np.dtype("c16"), C(1.0), "f4,f4", 10**5000, _cycle()):
        with pytest.raises(TypeError, match="is not a dtype that tracejit has"):
            tj.as_dtype(value)
        assert tj.float64 != value
    with pytest.raises(DtypeError, match=r"cast\(\): dtype: None is not a dtype"):
        tj.cast([1.5], None)


def test_shape_of_a_constant() -> None:
    same(tj.constant([1, 2, 3, 4], shape=C([2, 2])), i32, [[1, 2], [3, 4]])
    same(tj.constant(1, shape=2), i32, [1, 1])
    assert tj.constant([], shape=[0, 2]).shape == (0, 2) and tj.constant(1, shape=[0]).shape == (0,)
    for value, shape in (([1, 2, 3], [2]), ([1, 2, 3], [4]), ([], [2]), ([1, 2], [1.5]), ([1, 2], ["a"]), ([1, 2], [None])):
        with pytest.raises(TypeError, match=r"constant\("):
            tj.constant(value, shape=shape)
    with pytest.raises(ValueError, match=r"constant\(i32\[2\]\): shape \[-1\] has a negative size"):
        tj.constant([1, 2], shape=[-1])


RANGES: list[tuple[tuple[Any, ...], dict[str, Any], Any, Any]] = [
    ((3,), {}, i32, [0, 1, 2]),
    ((3.0,), {}, f32, [0, 1, 2]),
    ((0, 1, 0.3), {}, f32, [0, 0.3, 0.6, np.float32(3) * np.float32(0.3)]),
    ((C(3, i64),), {}, i64, [0, 1, 2]),
    ((C(0), C(3, i64)), {}, i64, [0, 1, 2]),
    ((np.int64(3),), {}, i64, [0, 1, 2]),
    ((0, np.float64(3)), {}, f64, [0, 1, 2]),
    ((C(0.0, f64), 1, 0.25), {}, f64, [0, 0.25, 0.5, 0.75]),
    ((2**31, 2**31 + 3), {}, i64, [2**31, 2**31 + 1, 2**31 + 2]),
    ((0, 2**33, 2**31), {}, i64, [0, 2**31, 2**32, 3 * 2**31]),
    ((2**31 - 2, 2**31 - 1, 5), {}, i32, [2**31 - 2]),
    ((3, 0, -1), {}, i32, [3, 2, 1]),
    ((3, 3, -1), {}, i32, []),
    ((0.0, 0.7, 0.1), {}, f32, np.arange(7, dtype=np.float32) * np.float32(0.1)),
    ((1, 2.2, 0.1), {}, f32, np.float32(1) + np.arange(12, dtype=np.float32) * np.float32(0.1)),
    ((3,), {"dtype": f16}, f16, [0, 1, 2]),
    ((C(3.0),), {"dtype": i32}, i32, [0, 1, 2]),
    (([3],), {}, i32, [0, 1, 2]),
    ((5,), {"delta": 2}, i32, [0, 2, 4]),
]


@pytest.mark.parametrize("case", RANGES, ids=str)
def test_range(case: tuple[Any, ...]) -> None:
    args, kwargs, dtype, expected = case
    same(tj.range(*args, **kwargs), dtype, expected)
    same(tj.function(lambda: tj.range(*args, **kwargs))(), dtype, expected)


def test_what_range_and_linspace_refuse() -> None:
    for args in ((3, 0), (0, 3, -1), (0, 3, 0), (0.0, 3.0, 0.0), (-5,), (float("nan"),), (float("inf"),)):
        with pytest.raises(InvalidArgumentError, match=r"range\("):
            tj.range(*args)
    for args in ((3.5, None, 1, i32), (3, None, 1, tj.bool), ("a",), (None,), (True,), ([3, 4],), (0, 2**72)):
        with pytest.raises(ValueError, match=r"range\("):
            tj.range(*args)
    for args in (
        (0, 1.0, 3),
        ("a", 1.0, 3),
        (0.0, 1.0, 2.5),
        (0.0, 1.0, True),
        (None, 1.0, 3),
        (True, True, 3),
        (0.0, 1.0, -1),
    ):
        with pytest.raises(ValueError, match=r"linspace\("):
            tj.linspace(*args)


@pytest.mark.parametrize(
    ("args", "dtype", "expected"),
    [
        ((0.0, 1.0, 3), f32, [0, 0.5, 1]), ((0, 1, 3), f64, [0, 0.5, 1]), ((C(0.0, f64), 1.0, 3), f64, [0, 0.5, 1]),
        ((np.float64(0), 1, 3), f64, [0, 0.5, 1]), ((0.0, 1.0, 1), f32, [0]), ((0.0, 1.0, 0), f32, []), ((0.0, 1.0, C(2)), f32, [0, 1]),
        ((0.0, 10.0, 4), f32, [0, 3.3333332538604736, 6.666666507720947, 10]), ((C(1, i64), 10, 4), f64, [1, 4, 7, 10]),
        (([0.0, 1.0], [1.0, 2.0], 3), f32, [[0, 1], [0.5, 1.5], [1, 2]]),
        (([0.0, 1.0], [1.0, 2.0], 3, None, -1), f32, [[0, 0.5, 1], [1, 1.5, 2]]), ((C(0.0, f16), 1.0, 3), f16, [0, 0.5, 1]),
    ],
)  # fmt: skip
def test_linspace(args: tuple[Any, ...], dtype: Any, expected: Any) -> None:
    same(tj.linspace(*args), dtype, expected)
    same(tj.function(lambda: tj.linspace(*args))(), dtype, expected)


def test_linspace_has_a_gradient() -> None:
    a, b = C(0.0), C(1.0)
    with tj.GradientTape() as tape:
        tape.watch([a, b])
        y = tj.linspace(a, b, 5)
    assert [float(g) for g in tape.gradient(y, [a, b])] == [2.5, 2.5]


TAKEN: dict[str, tuple[Callable[[], Any], Any, Any]] = {
    "concat of a tensor": (lambda: tj.concat(tj.zeros([2, 3]), 0), f32, np.zeros((2, 3))),
    "concat of an array": (lambda: tj.concat(np.zeros([2, 3]), 1), f64, np.zeros((2, 3))),
    "concat along [0]": (lambda: tj.concat([[1.0], [2.0]], [0]), f32, [1, 2]),
    "concat along a tensor": (lambda: tj.concat([[1.0], [2.0]], C(0, i64)), f32, [1, 2]),
    "stack of a tensor": (lambda: tj.stack(C([[1, 2], [3, 4]])), i32, [[1, 2], [3, 4]]),
    "unstack along a tensor": (lambda: tj.stack(tj.unstack([[1, 2]], 2, C(1))), i32, [[1], [2]]),
    "split by a tensor": (lambda: tj.split(C([1, 2, 3]), C([1, 2]))[1], i32, [2, 3]),
    "split by tensors": (lambda: tj.split(C([1, 2, 3]), [C(1), 2])[1], i32, [2, 3]),
    "split by an array": (lambda: tj.split(C([1, 2, 3]), np.array([1, 2]), num=2)[1], i32, [2, 3]),
    "split by NumPy's int": (lambda: tj.split(C([1, 2]), np.int64(2))[1], i32, [2]),
    "split of nothing": (lambda: tj.split(tj.zeros([0, 2]), 2)[1], f32, np.zeros((0, 2))),
    "pad of a scalar": (lambda: tj.pad(C(1.0), tj.zeros([0, 2], i32)), f32, 1),
    "pad by tensors": (lambda: tj.pad([1.0], [[C(1), 0]]), f32, [0, 1]),
    "pad by a tensor": (lambda: tj.pad([1.0], C([[1, 0]], i64), constant_values=C(3.0)), f32, [3, 1]),
    "pad of bools": (lambda: tj.pad([True], [[1, 0]]), tj.bool, [False, True]),
    "expand_dims at [0]": (lambda: tj.expand_dims([1, 2], [0]), i32, [[1, 2]]),
    "expand_dims at a tensor": (lambda: tj.expand_dims([1, 2], C([0])), i32, [[1, 2]]),
    "squeeze ()": (lambda: tj.squeeze([[1]], ()), i32, 1),
    "squeeze twice": (lambda: tj.squeeze([[1]], [0, 0]), i32, [1]),
    "transpose from the end": (lambda: tj.shape(tj.transpose(CUBE, perm=[-1, 0, 1])), i32, [4, 2, 3]),
    "transpose by tensors": (lambda: tj.transpose([[1, 2]], [C(1), 0]), i32, [[1], [2]]),
    "reshape of nothing": (lambda: tj.shape(tj.reshape(tj.zeros([0, 6]), [0, -1, 3])), i32, [0, 2, 3]),
    "reshape of nothing to nothing": (lambda: tj.shape(tj.reshape(tj.zeros([0, 6]), [-1, 0])), i32, [6, 0]),
    "reshape of nothing at last": (lambda: tj.shape(tj.reshape(tj.zeros([0, 6]), [0, -1, 3, 0])), i32, [0, 2, 3, 0]),
    "reshape to a shape": (lambda: tj.reshape([1, 2], [*C([1]).shape[:1], 2]), i32, [[1, 2]]),
    "reshape to tensors": (lambda: tj.reshape([1, 2], [C(2), 1]), i32, [[1], [2]]),
    "gather batch_dims=-1": (lambda: tj.gather(CUBE, [[0], [1]], batch_dims=-1), f32, [[[0], [4], [8]], [[13], [17], [21]]]),
    "gather batch_dims=-1 of one axis": (lambda: tj.gather([1, 2, 3], [0], batch_dims=-1), i32, [1]),
    "gather along a tensor": (lambda: tj.gather([1, 2, 3], [0], axis=C(0), batch_dims=C(0)), i32, [1]),
    "a slice by tensors": (lambda: C([1, 2, 3])[C(1) :], i32, [2, 3]),
    "a slice of a huge step": (lambda: C([1, 2, 3])[:: 2**72], i32, [1]),
    "an array of one as key": (lambda: C([1, 2, 3])[np.array(1)], i32, 2),
    "keepdims 1": (lambda: tj.reduce_sum([[1, 2]], 0, keepdims=1), i32, [[1, 2]]),
    "keepdims None": (lambda: tj.reduce_sum([[1, 2]], 0, keepdims=None), i32, [1, 2]),
    "keepdims a tensor": (lambda: tj.reduce_sum([[1, 2]], range(1), keepdims=C(True)), i32, [[1, 2]]),
    "reduce over nothing": (lambda: tj.reduce_sum([[1, 2]], []), i32, [[1, 2]]),
    "argmax along None": (lambda: tj.argmax([[1, 2]], output_type=None), i64, [0, 0]),
    "add_n of a generator": (lambda: tj.add_n(C(x) for x in (1.0, 2.0)), f32, 3),
    "add_n of a tensor": (lambda: tj.add_n(C([1.0, 2.0])), f32, 3),
    "add_n of an array": (lambda: tj.add_n(np.array([1.0, 2.0])), f64, 3),
    "one_hot axis=0": (lambda: tj.one_hot([0, 1], 3, axis=0), f32, [[1, 0], [0, 1], [0, 0]]),
    "one_hot axis=1": (lambda: tj.one_hot([[0, 1], [2, 0]], 3, axis=1)[0], f32, [[1, 0], [0, 1], [0, 0]]),
    "one_hot of ints": (lambda: tj.one_hot([0, 1], 2, on_value=5), i32, [[5, 0], [0, 5]]),
    "one_hot off": (lambda: tj.one_hot([0], C(2), off_value=C(5.0, f64)), f64, [[1, 5]]),
    "one_hot of bools": (lambda: tj.one_hot([0], np.int64(2), True, False), tj.bool, [[True, False]]),
    "eye": (lambda: tj.eye(C(1), np.int64(2), batch_shape=[2], dtype=tj.bool), tj.bool, [[[True, False]]] * 2),
    "cast of uint8": (lambda: tj.cast(np.array([200], np.uint8), f32), f32, [200]),
    "cast of int8": (lambda: tj.cast(np.int8(-3), i64), i64, -3),
    "cast of uint64": (lambda: tj.cast(np.array([2**63], np.uint64), f64), f64, [2.0**63]),
    "cast of float128": (lambda: tj.cast(np.array([1.5], np.longdouble), f32), f32, [1.5]),
    "relu of a list": (lambda: tj.nn.relu([-1.0, 2.0]), f32, [0, 2]),
    "relu of ints": (lambda: tj.nn.relu([-1, 2]), i32, [0, 2]),
    "relu of an array": (lambda: tj.nn.relu(np.array([-1.0, 2.0])), f64, [0, 2]),
    "relu6 of a list": (lambda: tj.nn.relu6([-1.0, 9.0]), f32, [0, 6]),
    "labels of ints": (lambda: tj.nn.softmax_cross_entropy_with_logits(C([0, 0]), [1.0, 2.0]), f32, 0),
    "clip with bounds": (lambda: tj.clip_by_value([[1.0, 5.0]], [2.0], 3), f32, [[2, 3]]),
    "size as a float": (lambda: tj.size(MATRIX, f32), f32, 6),
    "moments of ints": (lambda: tj.nn.moments([1, 4], [0])[0], i32, 2),
    "bias along N...C": (lambda: tj.nn.bias_add([[1.0, 2.0]], [1.0, 2.0], data_format="NC"), f32, [[2, 4]]),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_taken(name: str) -> None:
    call, dtype, expected = TAKEN[name]
    same(call(), dtype, expected)
    if name not in ("add_n of a generator",):
        same(tj.function(call)(), dtype, expected)


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "pad by a vector": (lambda: tj.pad([1.0], [1, 2]), InvalidArgumentError, r"pad\(f32\[1\]\): paddings must be pairs"),
    "pad by floats": (lambda: tj.pad([1.0], [[1.9, 0]]), InvalidArgumentError, "paddings must be pairs of whole numbers"),
    "two Ellipsis": (lambda: C([[1]])[1, ..., ...], InvalidArgumentError, "only one Ellipsis"),
    "a bool as key": (lambda: C([1])[True], ValueError, "a tensor must be indexed by"),
    "batch_dims None": (lambda: tj.gather([1], [0], batch_dims=None), ValueError, "batch_dims must be a whole number, not None"),
    "perm of 2 axes": (lambda: tj.transpose([[1]], [[0, 1]]), InvalidArgumentError, "perm must be a list of whole numbers"),
    "perm of floats": (lambda: tj.transpose([[1]], [1.7, 0.2]), InvalidArgumentError, r"perm must be .*, not \[1.7, 0.2\] \(list\)"),
    "add_n of a dict": (lambda: tj.add_n({"a": 1}), TypeError, "inputs must be a list of tensors, not {'a': 1}"),
    "add_n of other shapes": (lambda: tj.add_n([[1.0], [[2.0]]]), InvalidArgumentError, "differ in shape"),
    "split by a huge number": (lambda: tj.split(C([1, 2]), 10**30), InvalidArgumentError, "does not divide"),
    "split into many": (lambda: tj.split(tj.zeros([2, 2]), 2**30, 1), InvalidArgumentError, "does not divide"),
    "split of nothing into many": (lambda: tj.split(tj.zeros([0]), 2**40), ResourceExhaustedError, "do not fit into memory"),
    "split by a float": (lambda: tj.split(C([1, 2]), 1.5), ValueError, "num_or_size_splits must be"),
    "unstack of another number": (lambda: tj.unstack([1, 2], num=5), InvalidArgumentError, "has 2 slices, not num=5"),
    "an axis twice": (lambda: tj.reduce_sum([[1]], [0, -2]), InvalidArgumentError, "names an axis twice"),
    "depth 1.9": (lambda: tj.one_hot([0], 1.9), TypeError, "depth must be a whole number, not 1.9"),
    "a bound that grows": (lambda: tj.clip_by_value([1.0, 2.0], [[0.0], [1.0]], 5.0), ValueError, "more elements"),
    "labels that grow": (
        lambda: tj.nn.softmax_cross_entropy_with_logits(tj.ones([2, 3]), tj.ones([3])), InvalidArgumentError, "more elements than the logits"),
    "a seed of a half": (lambda: tj.random.set_seed(1.5), TypeError, "seed must be a whole number"),
    "matmul of 3 and 2 axes": (
        lambda: tj.matmul(tj.zeros([2, 3, 4]), tj.zeros([5, 6])), InvalidArgumentError, r"matmul\(f32\[2,3,4\], f32\[5,6\]\): the inner sizes"),
    "linspace of a str": (lambda: tj.linspace("a", 1.0, 3), TypeError, r"linspace\('a'\): 'a' \(str\) cannot"),
    "a matrix's norm": (lambda: tj.norm(tj.ones([2, 2]), 2, [0, 1]), InvalidArgumentError, "the largest singular value, is not supported"),
    "complex cut": (lambda: tj.cast(np.array([1j]), f32), TypeError, "complex128"),
    "zeros of 2**40": (lambda: tj.zeros([2**40]), ResourceExhaustedError, r"zeros\(\): the shape .* GiB"),
    "range of 2**40": (lambda: tj.range(2**40), ResourceExhaustedError, r"range\("),
    "one_hot of 2**40": (lambda: tj.one_hot([0], 2**40), ResourceExhaustedError, r"one_hot\("),
    "eye of 2**20": (lambda: tj.eye(2**20), ResourceExhaustedError, r"eye\("),
    "tile 2**40 times": (lambda: tj.tile([1], [2**40]), ResourceExhaustedError, r"tile\("),
    "broadcast to 2**40": (lambda: tj.broadcast_to(1, [2**40]), ResourceExhaustedError, r"broadcast_to\("),
    "pad by 2**40": (lambda: tj.pad([1], [[2**40, 0]]), ResourceExhaustedError, r"pad\("),
    "uniform of 2**40": (lambda: tj.random.uniform([2**40]), ResourceExhaustedError, r"random.uniform\("),
    "linspace of 2**40": (lambda: tj.linspace(0.0, 1.0, 2**40), ResourceExhaustedError, r"linspace\("),
    "more than int64 counts": (lambda: tj.zeros([2**40, 2**40]), InvalidArgumentError, r"more than 2\*\*63 - 1 elements"),
    "an outer product of 2**40": (
        lambda: tj.zeros([2**20, 1, 1]) + tj.zeros([2**22]) + tj.zeros([2**20, 1]), ResourceExhaustedError, r"add\("),
    "axes over 64": (lambda: tj.expand_dims(tj.ones([1] * 64), 0), InvalidArgumentError, "at most 64 axes"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()
    if name != "an outer product of 2**40":
        with pytest.raises(error, match=message):
            _traced(call, {})


def test_numbers_that_follow_from_shapes_are_known_while_tracing() -> None:
    @tj.function
    def use(x: Any, n: Any) -> Any:
        with pytest.raises(TracingError, match="zeros needs shape to be known while tracing"):
            tj.zeros([n, 2])
        rows = tj.shape(x)[0]
        return tj.reshape(x, tj.shape(x)[::-1]), tj.zeros([rows * 2, 3]), tj.range(rows)

    assert [part.shape for part in use(MATRIX, C(3))] == [(3, 2), (4, 3), (2,)]


def test_seeds() -> None:
    for seed in (-1, 2**70, None, np.int64(5)):
        tj.random.set_seed(seed)
        tj.random.uniform([2], seed=seed)
    tj.random.set_seed(-1)
    first = tj.random.uniform([2]).numpy().tolist()
    tj.random.set_seed(-1)
    assert tj.random.uniform([2]).numpy().tolist() == first


def test_texts_name_the_function_that_was_called() -> None:
    x = tj.zeros([1, 4, 4, 3])
    with pytest.raises(tj.errors.DtypeError, match=r"bias_add\(.*the value and the bias differ in dtype"):
        tj.nn.bias_add(x, tj.constant([1, 2, 3]))
    with pytest.raises(
        tj.errors.InvalidArgumentError, match=r"broadcast_to\(.*more axes than the shape \[9223372036854775808\]"
    ):
        tj.broadcast_to(x, 2**63)
    with pytest.raises(tj.errors.DtypeError, match=r"pow\(bool\[\]\): it takes numbers"):
        tj.pow(tj.constant(True), 0)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: tj.gather([[1.0]], tj.constant([0.0]), batch_dims=1), r"gather\(f32\[1\]\): indices must be int32 or int64"),
        (lambda: tj.gather([[1.0]], [[2]], batch_dims=1), r"gather\(i32\[1,1\]\): (index 2|one index) is not in \[0, 1\)"),
        (lambda: tj.pow(tj.constant([2]), tj.constant([-1])), r"pow\(i32\[1\]\): (exponent -1|one exponent) is not in"),
        (
            lambda: tj.nn.sparse_softmax_cross_entropy_with_logits([3], [[0.0, 1.0]]),
            r"sparse_softmax_cross_entropy_with_logits\(i32\[1\]\): (label 3|one label) is not in \[0, 2\)",
        ),
    ],
)
@pytest.mark.parametrize("how", [lambda call: call(), lambda call: tj.function(call)()], ids=["eager", "compiled"])
def test_what_is_out_of_range_is_told_of_the_function_that_was_called(how: Any, call: Any, text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=text):
        how(call)
