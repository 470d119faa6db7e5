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
from tracejit.errors import InvalidArgumentError, ResourceExhaustedError, TracingError
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
# An op says its own name, where that is another than the public one.
BEGINNING = re.compile(r"[a-zA-Z_][\w.]*\(")
FOREIGN = (
    "interpreted as an integer", "object is not", "has no attribute", "unhashable", "truth value", "could not be broadcast",
    "cannot be cast", "setting an array element", "maximum recursion", "inhomogeneous", "out of bounds for", "not subscriptable",
    "argument must be", "unsupported operand", "not supported between", "Unable to allocate", "Python integer", "expected str",
)  # fmt: skip


def check_error(function: str, error: BaseException) -> None:
    text = str(error)
    assert isinstance(error, DOCUMENTED), f"{type(error).__name__}: {text}"
    assert BEGINNING.match(text) or isinstance(error, TracingError), text
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
