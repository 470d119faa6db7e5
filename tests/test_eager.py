"""Eager tensors: making them, printing them, operators, dtypes, indexing, errors, random numbers."""

import copy
import inspect
import math
import operator
import os
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracejit as tj

NUMBERS = (tj.float32, tj.float64, tj.int32, tj.int64)
ALL = (*NUMBERS, tj.bool)


def this_line(offset=0):
    """`file:line` of the caller's line, as an error names it."""
    return f"{os.path.basename(__file__)}:{inspect.currentframe().f_back.f_lineno + offset}"


# -- making


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1, tj.int32), (1.5, tj.float32), (True, tj.bool), (2**31 - 1, tj.int32), (2**31, tj.int64),
        (-(2**31), tj.int32),
        (-(2**31) - 1, tj.int64), ([1, 2.5], tj.float32), ([1, 2**31], tj.int64), ([], tj.float32),
        (np.float64(1), tj.float64),
        (np.arange(3), tj.int64), (np.zeros(2), tj.float64), ([True, False], tj.bool), ((1, 2), tj.int32),
        (np.float32(1), tj.float32), ([[1], [2]], tj.int32),
    ],
)  # fmt: skip
def test_dtype_of_a_constant(value, dtype):
    tensor = tj.constant(value)
    assert tensor.dtype == dtype and tensor.shape == np.shape(value)
    np.testing.assert_array_equal(tensor.numpy(), np.asarray(value, dtype.as_numpy_dtype))


@pytest.mark.parametrize(
    ("value", "dtype", "error"),
    [
        (1.5, tj.int32, TypeError), (2**63, None, (ValueError, TypeError)), ([True, 1], None, ValueError),
        ([[1, 2], [3]], None, ValueError), ("x", None, TypeError), (None, None, TypeError), (object(), None, TypeError),
        (1j, None, TypeError), (2**31, tj.int32, ValueError), (1, tj.bool, TypeError),
        (1e40, None, ValueError), ([1.0, -1e40], None, ValueError), ([1, 1e40], None, ValueError), (3.4028236e38, None, ValueError),
        (np.float64(1.5), tj.int32, TypeError),
        (1, "uint16", TypeError), (np.zeros(2, np.uint8), None, TypeError),
    ],
)  # fmt: skip
def test_what_is_no_constant(value, dtype, error):
    with pytest.raises(error):
        tj.constant(value, dtype)


def test_a_float_that_its_dtype_cannot_hold_is_infinite_where_the_dtype_is_asked_for():
    for tensor in (tj.constant(1e40, tj.float32), tj.constant([1e40], "float32")[0], tj.constant([1.0]) + 1e40):
        assert tensor.numpy() == np.inf
    assert tj.constant(math.inf).numpy() == np.inf and tj.constant(1e40, tj.float64).numpy() == 1e40
    for call in (lambda: tj.fill([2], 1e40), lambda: tj.Variable(1e40), lambda: tj.cast(1e40, tj.float32)):
        with pytest.raises(ValueError, match=r"1e\+40 does not fit into float32: say dtype"):
            call()


def test_constant_with_a_dtype_and_a_shape():
    assert tj.constant(1, tj.float64).dtype == tj.float64
    assert tj.constant(1, "float32").dtype == tj.constant(1, np.float32).dtype == tj.float32
    assert tj.constant(3, shape=[2, 2]).numpy().tolist() == [[3, 3], [3, 3]]
    assert tj.constant([1, 2, 3, 4], shape=(2, 2)).numpy().tolist() == [[1, 2], [3, 4]]
    with pytest.raises(tj.errors.InvalidArgumentError):
        tj.constant([1, 2, 3], shape=(2, 2))


def test_constant_of_tensors():
    a = tj.constant(1.0)
    assert tj.constant(a) is a
    assert tj.constant([a, 2.0, [3.0][0]]).numpy().tolist() == [1, 2, 3]
    assert tj.constant([[a, a], [a, 5.0]]).numpy().tolist() == [[1, 1], [1, 5]]
    with pytest.raises(tj.errors.DtypeError):
        tj.constant(a, tj.float64)


def test_makers():
    assert tj.zeros((2, 1)).numpy().tolist() == [[0], [0]] and tj.zeros(3, tj.int64).dtype == tj.int64
    assert tj.ones([2], "bool").numpy().tolist() == [True, True]
    assert tj.fill([2], 7).numpy().tolist() == [7, 7] and tj.fill([2], 7).dtype == tj.int32
    assert tj.zeros_like([1, 2]).dtype == tj.int32 and tj.ones_like([1.0], tj.int64).numpy().tolist() == [1]
    assert tj.eye(2, 3).numpy().tolist() == [[1, 0, 0], [0, 1, 0]]
    assert tj.range(5).numpy().tolist() == [0, 1, 2, 3, 4] and tj.range(5).dtype == tj.int32
    assert tj.range(1.0, 2.0, 0.25).numpy().tolist() == [1, 1.25, 1.5, 1.75] and tj.range(3.0).dtype == tj.float32
    assert tj.range(5, 1, -2, dtype=tj.float64).numpy().tolist() == [5, 3]
    assert tj.linspace(0.0, 1.0, 5).numpy().tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert tj.shape(tj.zeros((2, 3))).numpy().tolist() == [2, 3] and tj.shape([1]).dtype == tj.int32
    assert int(tj.size(tj.zeros((2, 3)))) == 6 and tj.size([1]).dtype == tj.int32


# -- printing


def test_repr_str_and_format():
    assert repr(tj.constant(3.0)) == "<tj.Tensor: shape=(), dtype=float32, numpy=3.0>"
    assert repr(tj.constant([1, 2])) == "<tj.Tensor: shape=(2,), dtype=int32, numpy=array([1, 2], dtype=int32)>"
    assert str(tj.constant(3.0)) == "tj.Tensor(3.0, shape=(), dtype=float32)"
    assert str(tj.constant([1.0, 2.0])) == "tj.Tensor([1. 2.], shape=(2,), dtype=float32)"
    assert str(tj.constant([[1], [2]])) == "tj.Tensor(\n[[1]\n [2]], shape=(2, 1), dtype=int32)"
    assert f"{tj.constant(2.0):.2f}" == "2.00" and f"{tj.constant(2)}" == "2" and f"{tj.constant(True)}" == "True"
    assert f"{tj.constant([1, 2])}" == "[1 2]"
    assert repr(tj.float32) == "tj.float32" and str(tj.float32) == "<dtype: 'float32'>"


# -- Python's protocols


def test_conversions():
    assert (float(tj.constant(1.5)), int(tj.constant(3)), bool(tj.constant(0.0))) == (1.5, 3, False)
    assert [10, 20, 30][tj.constant(1)] == 20 and list(range(tj.constant(2))) == [0, 1]
    assert [int(each) for each in tj.constant([1, 2])] == [1, 2] and len(tj.zeros((3, 2))) == 3
    with pytest.raises(TypeError):
        len(tj.constant(1))
    with pytest.raises(TypeError):
        iter(tj.constant(1))
    with pytest.raises(ValueError, match="ambiguous"):
        bool(tj.constant([1, 2]))
    with pytest.raises(TypeError):
        [1][tj.constant(0.0)]


def test_numpy_gives_a_copy_and_asarray_a_view_that_is_read_only():
    tensor = tj.constant([1.0, 2.0])
    tensor.numpy()[0] = 9
    assert tensor.numpy().tolist() == [1, 2]
    assert type(tj.constant(1.0).numpy()) is np.float32
    view = np.asarray(tensor)
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 9
    assert np.asarray(tensor, np.float64).dtype == np.float64
    spread = tj.broadcast_to(tj.constant(1.0), (3,)).numpy()
    spread[0] = 5
    assert spread.tolist() == [5, 1, 1]


def test_numpy_functions_take_tensors():
    assert np.sin(tj.constant([0.0])).tolist() == [0] and np.sum(tj.constant([1, 2])) == 3


def test_hash_copy_and_pickle():
    tensor = tj.constant([1.0, 2.0])
    with pytest.raises(TypeError, match="unhashable"):
        hash(tensor)
    assert tensor.ref() == tensor.ref() and tensor.ref().deref() is tensor and tensor.ref() != tj.constant([1.0]).ref()
    assert copy.deepcopy(tensor) is tensor
    loaded = pickle.loads(pickle.dumps(tensor))
    assert loaded.dtype == tj.float32 and loaded.numpy().tolist() == [1, 2]
    with pytest.raises(TypeError):
        tensor[0] = 1.0


# -- dtypes

BINARY = [lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y, lambda x, y: x / y, lambda x, y: x // y,
          lambda x, y: x % y, lambda x, y: x**y, tj.maximum, lambda x, y: x < y, lambda x, y: x == y]  # fmt: skip


@pytest.mark.parametrize("first", ALL)
@pytest.mark.parametrize("second", ALL)
def test_mixed_dtypes_raise(first, second):
    if first is second:
        return
    x, y = tj.cast([1, 1], first), tj.cast([1, 1], second)
    for function in (*BINARY, lambda x, y: tj.concat([x, y], 0), lambda x, y: tj.where([True, False], x, y)):
        with pytest.raises(tj.errors.DtypeError) as caught:
            function(x, y)
        text = str(caught.value)
        assert isinstance(caught.value, TypeError) and f"{os.path.basename(__file__)}:" in text
        assert str(x.type) in text and str(y.type) in text


def test_python_and_numpy_operands_take_the_tensors_dtype():
    x = tj.constant([1.0, 2.0])
    for other in (np.float64(2), np.full(2, 2.0), 2, 2.0, [2, 2], np.int32(2), np.array([2, 2])):
        assert (x * other).dtype == (other * x if not isinstance(other, list) else x).dtype == tj.float32
        assert (x * other).numpy().tolist() == [2, 4]
    n = tj.constant([1, 2])
    assert (n + 2).dtype == (2 + n).dtype == (n + np.int64(2)).dtype == tj.int32
    assert (tj.constant(1, tj.float64) + 0.1).numpy() == 1.1


def test_operands_that_are_no_tensors_take_the_dtype_of_the_first():
    assert tj.maximum(1.5, 2).numpy() == 2 and tj.add(1, 2).dtype == tj.int32
    assert tj.where(True, 1.5, 2).dtype == tj.float32
    with pytest.raises(tj.errors.DtypeError):
        tj.add(1, 2.5)


def test_nothing_is_truncated():
    n = tj.constant([1, 2])
    for other in (1.5, np.float64(1.5), np.float32(1), np.array([1.5, 1.5]), [1.5, 2.5]):
        with pytest.raises(TypeError, match=r"i32\[2\]") as caught:
            n + other
        assert this_line(-1) in str(caught.value)
        with pytest.raises(TypeError):
            other + n
    with pytest.raises(ValueError):
        n + 2**31


def test_bools_have_no_arithmetic():
    t = tj.constant([True, False])
    for function in (lambda: t + t, lambda: t * t, lambda: -t, lambda: t / t, lambda: tj.reduce_sum(t), lambda: t < t):
        with pytest.raises(tj.errors.DtypeError, match=r"bool\[2\]"):
            function()
    assert (t & True).numpy().tolist() == [True, False] and (t | True).numpy().tolist() == [True, True]
    assert (t ^ t).numpy().tolist() == [False, False] and (~t).numpy().tolist() == [False, True]


def test_ints_have_no_transcendental_functions():
    for function in (tj.sin, tj.sqrt, tj.exp, tj.nn.softmax, tj.sigmoid, tj.tanh, tj.math.log):
        with pytest.raises(tj.errors.DtypeError, match=r"\(i32\[2\]\): it takes float32") as caught:
            function(tj.constant([1, 2]))
        assert this_line(-1) in str(caught.value)


def test_division():
    assert (tj.constant(7) / 2).dtype == tj.float64 and (tj.constant(7) / 2).numpy() == 3.5
    assert (7 / tj.constant(2, tj.int64)).numpy() == 3.5
    a, b = [7, -7, 7, -7], [2, 2, -2, -2]
    for dtype in NUMBERS:
        x, y = tj.constant(a, dtype), tj.constant(b, dtype)
        assert (x // y).numpy().tolist() == [3, -4, -4, 3] and (x // y).dtype == dtype
        assert (x % y).numpy().tolist() == [1, 1, -1, -1] and (x % y).dtype == dtype
    assert (tj.constant(1.0) / 0.0).numpy() == np.inf and np.isnan((tj.constant(0.0) / 0.0).numpy())
    for function in (lambda: tj.constant(1) // 0, lambda: tj.constant([1, 2]) % tj.constant([1, 0])):
        with pytest.raises(tj.errors.InvalidArgumentError, match="divided by zero"):
            function()


def test_no_warnings_of_numpys():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = tj.constant([0.0, -1.0, 1e38])
        (
            1.0 / x,
            tj.math.log(x),
            x * x,
            tj.exp(x),
            tj.sqrt(x),
            x * 1e300,
            tj.reduce_sum(x * x),
            tj.reduce_mean(tj.zeros(0)),
        )
        tj.constant(2**31 - 1) + 1, -tj.constant(-(2**31)), tj.cast(x * x, tj.int32), tj.constant([2**31 - 1] * 2) * 3
        tj.reduce_variance(x), tj.pow(x, 0.3), tj.constant(1e300, tj.float32)


def test_ints_wrap():
    assert (tj.constant(2**31 - 1) + 1).numpy() == -(2**31)
    assert (tj.constant([2**63 - 1]) + 1).numpy().tolist() == [-(2**63)]
    assert tj.reduce_sum(tj.constant([2**31 - 1, 1])).numpy() == -(2**31)


def test_means_casts_and_rounding():
    assert tj.reduce_mean([1, 2]).numpy() == 1 and tj.reduce_mean([-1, -2]).numpy() == -1
    assert tj.cast([1.9, -1.9, np.nan, 1e20, -1e20], tj.int32).numpy().tolist() == [1, -1] + [-(2**31)] * 3
    assert tj.cast([1.9, np.inf], tj.int64).numpy().tolist() == [1, -(2**63)]
    assert tj.cast([0.0, -2.0, np.nan], tj.bool).numpy().tolist() == [False, True, True]
    assert tj.round([0.5, 1.5, 2.5, -0.5]).numpy().tolist() == [0, 2, 2, 0]
    assert tj.argmax([1, 3, 3]).numpy() == 1 and tj.argmax([1, 3]).dtype == tj.int64
    assert tj.argmax([1, 3], output_type=tj.int32).dtype == tj.int32
    same = tj.constant(1.0)
    assert tj.cast(same, tj.float32) is same


def test_equality():
    x = tj.constant([1, 2])
    assert (x == [1, 3]).numpy().tolist() == [True, False] and (x != [1, 3]).numpy().tolist() == [False, True]
    assert (x == tj.constant([1, 2, 3])) is False and (x != tj.constant([1, 2, 3])) is True
    for other in (None, "x", object()):
        assert (x == other) is False and (x != other) is True
    assert (x == x).dtype == tj.bool
    with pytest.raises(tj.errors.DtypeError):
        _ = x == tj.constant([1.0, 2.0])


# -- arithmetic, against NumPy

shapes = st.sampled_from([(), (1,), (3,), (2, 3), (2, 1), (1, 3), (4, 1, 3), (0,), (2, 0)])
OPERATORS = {
    "add": (lambda x, y: x + y, np.add), "sub": (lambda x, y: x - y, np.subtract),
    "mul": (lambda x, y: x * y, np.multiply),
    "div": (lambda x, y: x / y, np.true_divide), "floordiv": (lambda x, y: x // y, np.floor_divide),
    "mod": (lambda x, y: x % y, np.mod), "max": (tj.maximum, np.maximum), "min": (tj.minimum, np.minimum),
    "lt": (lambda x, y: x < y, np.less), "ge": (lambda x, y: x >= y, np.greater_equal),
    "ne": (lambda x, y: x != y, np.not_equal), "sqd": (tj.math.squared_difference, lambda x, y: (x - y) * (x - y)),
}  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(sorted(OPERATORS)), shapes, shapes, st.sampled_from(NUMBERS), st.integers(0, 99))
def test_binary_operators_broadcast_as_numpy(name, first, second, dtype, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(-9, 9, first).astype(dtype.as_numpy_dtype)
    y = (rng.integers(1, 9, second) * rng.choice([-1, 1], second)).astype(dtype.as_numpy_dtype)
    function, reference = OPERATORS[name]
    try:
        expected = reference(x, y)
    except ValueError:
        if name != "ne":
            with pytest.raises(tj.errors.InvalidArgumentError, match="do not broadcast"):
                function(tj.constant(x), tj.constant(y))
        return
    found = function(tj.constant(x), tj.constant(y))
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_powers(dtype):
    x = tj.constant([1, 2, 3], dtype)
    for exponent in (0, 1, 2, 3, 4, 5):
        assert (x**exponent).dtype == dtype and (x**exponent).numpy().tolist() == [1, 2**exponent, 3**exponent]
    assert (2**x).numpy().tolist() == [2, 4, 8] and (x**x).numpy().tolist() == [1, 4, 27]
    if dtype.is_integer:
        with pytest.raises(tj.errors.InvalidArgumentError):
            x**-1
        with pytest.raises(TypeError):
            x**2.0
    else:
        np.testing.assert_allclose((x**-1).numpy(), [1, 0.5, 1 / 3], rtol=1e-7)


def test_unary_operators_and_numpy_on_the_left():
    x = tj.constant([-1.0, 2.0])
    assert (-x).numpy().tolist() == [1, -2] and (+x).numpy().tolist() == [-1, 2] and abs(x).numpy().tolist() == [1, 2]
    found = np.array([1.0, 1.0], np.float32) - x
    assert isinstance(found, tj.Tensor) and found.numpy().tolist() == [2, -1]
    assert isinstance(np.ones((2, 2), np.float32) @ tj.ones((2, 1)), tj.Tensor)


# -- indexing


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_indexing_as_numpy(data):
    shape = tuple(data.draw(st.lists(st.integers(0, 4), min_size=0, max_size=3)))
    array = np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape)
    bound = st.none() | st.integers(-6, 6)
    part = st.builds(slice, bound, bound, st.none() | st.sampled_from([1, 2, 3, -1, -2, -3]))
    key = [data.draw(part | st.integers(-5, 5)) for _ in range(data.draw(st.integers(0, len(shape))))]
    for _ in range(data.draw(st.integers(0, 2))):
        key.insert(data.draw(st.integers(0, len(key))), None)
    if data.draw(st.booleans()):
        key.insert(data.draw(st.integers(0, len(key))), Ellipsis)
    key = key[0] if len(key) == 1 and data.draw(st.booleans()) else tuple(key)
    try:
        expected = array[key]
    except IndexError:
        with pytest.raises(IndexError) as caught:
            tj.constant(array)[key]
        assert isinstance(caught.value, tj.errors.IndexOutOfRangeError)
        return
    found = tj.constant(array)[key]
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found.numpy(), expected)


def test_indexing_by_tensors():
    x = tj.constant(np.arange(12).reshape(3, 4))
    array = x.numpy()
    index = tj.constant([2, 0])
    np.testing.assert_array_equal(x[index], array[[2, 0]])
    np.testing.assert_array_equal(x[:, index], array[:, [2, 0]])
    np.testing.assert_array_equal(x[1:, tj.constant(2)], array[1:, 2])
    np.testing.assert_array_equal(x[np.int64(1)], array[1])
    np.testing.assert_array_equal(x[tj.constant(1), tj.constant(-2)], array[1, 2])
    np.testing.assert_array_equal(x[tj.Variable(-1), ::-1], array[-1, ::-1])
    np.testing.assert_array_equal(x[None, index, 1:, None], array[None, [2, 0], 1:, None])
    np.testing.assert_array_equal(x[index, tj.constant(1)], array[[2, 0], 1])
    with pytest.raises(tj.errors.DtypeError, match="one tensor that is no scalar may index"):
        x[index, index]


def test_errors_of_indexing():
    x = tj.zeros((3, 4))
    with pytest.raises(IndexError, match=r"getitem\(f32\[3,4\]\): index 3 is out of range for axis 0 of size 3") as caught:
        x[3]
    assert this_line(-1) in str(caught.value)
    with pytest.raises(tj.errors.InvalidArgumentError, match="3 indices for 2 axes"):
        x[0, 0, 0]
    for key in ([0, 1], "x", 1.5):
        with pytest.raises(TypeError, match="a tensor must be indexed by"):
            x[key]
    with pytest.raises(TypeError):
        x[tj.constant([0.5])]
    for index in (7, -4):
        with pytest.raises(IndexError, match=r"index -?\d is not in \[0, 3\), the size of axis 0"):
            x[tj.constant([index])]
    with pytest.raises(TypeError, match="Ellipsis"):
        x[..., ..., 0]
    with pytest.raises(ValueError):
        x[::0]


# -- errors name the line and the types


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda a, b: a + b,
            tj.errors.InvalidArgumentError,
            r"add(f32[2,3], f32[2]): the shapes [2, 3] and [2] do not broadcast",
        ),
        (
            lambda a, b: tj.matmul(a, a),
            tj.errors.InvalidArgumentError,
            "matmul(f32[2,3], f32[2,3]): the inner sizes differ: 3 and 2",
        ),
        (
            lambda a, b: a @ b,
            tj.errors.InvalidArgumentError,
            "matmul(f32[2,3], f32[2]): both operands need at least 2 axes",
        ),
        (lambda a, b: tj.reshape(a, [4]), tj.errors.InvalidArgumentError, "reshape(f32[2,3]"),
        (
            lambda a, b: tj.reshape(a, [-1, 4]),
            tj.errors.InvalidArgumentError,
            "reshape(f32[2,3]): 6 elements do not fill",
        ),
        (lambda a, b: tj.concat([a, b], 0), tj.errors.InvalidArgumentError, "concat(f32[2,3], f32[2])"),
        (
            lambda a, b: tj.stack([a, b]),
            tj.errors.InvalidArgumentError,
            "stack(f32[2,3], f32[2]): the tensors differ in shape",
        ),
        (lambda a, b: tj.reduce_sum(a, 2), tj.errors.InvalidArgumentError, "reduce_sum(f32[2,3]): axis 2"),
        (
            lambda a, b: tj.transpose(a, [0, 0]),
            tj.errors.InvalidArgumentError,
            "transpose(f32[2,3]): [0, 0] is no permutation",
        ),
        (lambda a, b: tj.squeeze(a, 0), tj.errors.InvalidArgumentError, "squeeze(f32[2,3]): axis 0 has the size 2"),
        (lambda a, b: tj.split(a, 2, 1), tj.errors.InvalidArgumentError, "split(f32[2,3]): axis 1 has 3 elements"),
        (lambda a, b: tj.gather(b, [0, 5]), tj.errors.IndexOutOfRangeError, "index 5 is not in [0, 2)"),
        (lambda a, b: tj.broadcast_to(a, [3, 3]), tj.errors.InvalidArgumentError, "f32[2,3]"),
        (
            lambda a, b: tj.where(a, a, a),
            tj.errors.DtypeError,
            "where(f32[2,3], f32[2,3], f32[2,3]): the condition must be bool",
        ),
        (lambda a, b: tj.expand_dims(a, 4), tj.errors.InvalidArgumentError, "expand_dims(f32[2,3]): axis 4"),
        (lambda a, b: tj.tile(a, [2]), tj.errors.InvalidArgumentError, "tile(f32[2,3]): multiples [2] needs 2 numbers"),
        (lambda a, b: tj.one_hot(a, 3), tj.errors.DtypeError, "one_hot(f32[2,3]): indices must be int32 or int64"),
        (lambda a, b: a + "x", tj.errors.DtypeError, "add(f32[2,3], 'x')"),
        (lambda a, b: a + None, TypeError, "None"),
        (lambda a, b: tj.add(a, [[1.0], [2.0, 3.0]]), tj.errors.InvalidArgumentError, "not rectangular"),
    ],
)
def test_errors_name_line_and_types(call, error, message):
    with pytest.raises(error) as caught:
        call(tj.zeros((2, 3)), tj.zeros(2))
    text = str(caught.value)
    assert message in text
    assert f"{os.path.basename(__file__)}:{call.__code__.co_firstlineno}: " in text and "lambda a, b: " in text


def test_a_location_is_the_users_own_frame(tmp_path):
    source = tmp_path / "user_program.py"
    source.write_text("import tracejit as tj\n\ndef run():\n    return tj.zeros(2) + tj.zeros(3)\n")
    scope = {}
    exec(compile(source.read_text(), str(source), "exec"), scope)
    with pytest.raises(ValueError) as caught:
        scope["run"]()
    assert f"{source}:4: return tj.zeros(2) + tj.zeros(3)" in str(caught.value)


# -- random numbers


def test_seeds_repeat():
    tj.random.set_seed(7)
    first = [tj.random.normal((3,)).numpy().tolist(), tj.random.uniform((2,), seed=5).numpy().tolist()]
    more = tj.random.normal((3,)).numpy().tolist()
    tj.random.set_seed(7)
    assert [tj.random.normal((3,)).numpy().tolist(), tj.random.uniform((2,), seed=5).numpy().tolist()] == first
    assert tj.random.normal((3,)).numpy().tolist() == more != first[0]
    tj.random.set_seed(8)
    assert tj.random.normal((3,)).numpy().tolist() != first[0]


def test_streams_of_op_seeds_are_independent():
    tj.random.set_seed(1)
    a = [tj.random.uniform((4,), seed=seed).numpy().tolist() for seed in (1, 2)]
    assert a[0] != a[1]
    tj.random.set_seed(1)
    tj.random.uniform((9,))
    assert tj.random.uniform((4,), seed=2).numpy().tolist() == a[1]
    assert tj.random.uniform((4,), seed=2).numpy().tolist() != a[1]


def test_a_draw_continues_the_stream():
    tj.random.set_seed(3)
    whole = tj.random.uniform((6,)).numpy().tolist()
    tj.random.set_seed(3)
    assert tj.random.uniform((2,)).numpy().tolist() + tj.random.uniform((2, 2)).numpy().reshape(-1).tolist() == whole


@pytest.mark.parametrize("dtype", [tj.float32, tj.float64])
def test_moments_of_random_numbers(dtype):
    tj.random.set_seed(11)
    n = 200_000
    drawn = tj.random.normal((n // 2, 2), mean=3.0, stddev=2.0, dtype=dtype).numpy()
    assert drawn.dtype == dtype and drawn.shape == (n // 2, 2) and np.isfinite(drawn).all()
    z = (drawn.astype(np.float64) - 3) / 2
    assert (
        abs(z.mean()) < 5 / n**0.5
        and abs((z**2).mean() - 1) < 5 * (2 / n) ** 0.5
        and abs((z**4).mean() - 3) < 5 * (96 / n) ** 0.5
    )
    assert abs((z[:, 0] * z[:, 1]).mean()) < 5 / (n / 2) ** 0.5
    u = tj.random.uniform((n,), -1.0, 3.0, dtype=dtype).numpy().astype(np.float64)
    assert u.min() >= -1 and u.max() < 3
    assert abs(u.mean() - 1) < 5 * (16 / 12 / n) ** 0.5
    counts = np.histogram(u, 16, (-1, 3))[0]
    assert ((counts - n / 16) ** 2 / (n / 16)).sum() < 50


def test_random_numbers_are_no_gradient_and_take_odd_shapes():
    assert tj.random.normal(()).shape == () and tj.random.uniform((0, 3)).shape == (0, 3)
    assert tj.random.normal([2, 3]).shape == (2, 3) and tj.random.uniform(4).shape == (4,)
    x = tj.Variable([1.0, 2.0])
    with tj.GradientTape() as tape:
        y = x * tj.random.normal((2,))
    found = tape.gradient(y, x)
    np.testing.assert_allclose(found, y.numpy() / [1, 2], rtol=1e-6)
    assert [each is x for each in tape.watched_variables()] == [True]


# -- shapes


def test_a_shape_compares_and_concatenates_as_tensorflow_s() -> None:
    shape = tj.zeros([2, 3, 4]).shape
    for same in ([2, 3, 4], (2, 3, 4), range(2, 5), np.array([2, 3, 4]), tj.constant([2, 3, 4]), tj.zeros([2, 3, 4]).shape):
        assert (operator.eq(shape, same), operator.ne(shape, same)) == (True, False)
    for other in ([2, 3], [2, 3, 5], [2, 3, 4.0], [[2], 3, 4], [None, 3, 4], [-2, 3, 4], "234", None, 2, {2, 3, 4}, object()):
        assert (operator.eq(shape, other), operator.ne(shape, other)) == (False, True)
    assert operator.eq([2, 3, 4], shape) and operator.eq((2, 3, 4), shape) and operator.ne([2], shape)
    assert tj.constant([1.0]).shape == [1] and tj.constant([1.0]).shape == 1 and tj.constant(1.0).shape == []
    assert hash(shape) == hash((2, 3, 4)) and {shape: 1}[(2, 3, 4)] == 1
    first, one, pair = shape[:1], [3], (1,)
    for made, expected in [
        (first + one, [2, 3]), (one + first, [3, 2]), (pair + first, [1, 2]), (first + pair, [2, 1]), (shape + first, [2, 3, 4, 2]),
        (first + 5, [2, 5]), (shape[::2], [2, 4]), (first + np.array([5]), [2, 5]), (shape[:0] + tj.constant([7]), [7]),
        (first.concatenate([5]), [2, 5]),
    ]:  # fmt: skip
        assert type(made) is type(shape) and made == expected and made.as_list() == expected
        assert tj.zeros(made).shape == expected
    assert [type(shape[0]), shape[-1]] == [int, 4]
    for wrong in ("a", [2.5], None, [None], ["a"]):
        with pytest.raises(TypeError, match="a shape is made of integers"):
            shape + wrong
    with pytest.raises(ValueError, match="a size is negative"):
        shape.concatenate([-1])
    with pytest.raises(TypeError):
        _ = shape < [3]


def test_a_shape_goes_through_a_traced_function() -> None:
    x, one = tj.constant([1.0, 2.0]), [1]
    f = tj.function(lambda x, shape: tj.reshape(x, shape[:1] + one))
    for _ in range(3):
        np.testing.assert_array_equal(f(x, tj.zeros([2, 5]).shape), [[1.0], [2.0]])
    assert f.experimental_get_tracing_count() == 1
    found = tj.function(lambda x: {"shape": x.shape})(tj.zeros([3, 2]))["shape"]
    assert (found.dtype, found.numpy().tolist()) == (tj.int32, [3, 2])  # a tensor, as in TensorFlow


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int32", "int64", "bool"])
@pytest.mark.parametrize("shape", [(), (0, 2), (3, 4)])
def test_no_view_of_a_tensor_can_be_made_writable(dtype: str, shape: tuple[int, ...]) -> None:
    tensor = tj.cast(tj.ones(shape), dtype)
    for of in (tensor, tj.transpose(tensor), tj.broadcast_to(tensor, (2, *shape))):
        array = np.asarray(of)
        assert (array.dtype, array.shape) == (of.type.dtype.numpy, of.type.shape)
        assert (array.astype(np.float64) == 1).all()
        for view in (array, array.view(), array[...], array.T):
            with pytest.raises(ValueError, match="WRITEABLE"):
                view.flags.writeable = True
