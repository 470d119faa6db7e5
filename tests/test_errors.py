"""Bad input is refused at once, in eager mode and while tracing alike: by its class, naming the user's line, the op and the
types; and no variable has changed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import tracejit as tj
from tracejit.errors import (
    DtypeError,
    IndexOutOfRangeError,
    InvalidArgumentError,
    NumpyConversionError,
    SignatureError,
    TracingError,
)  # fmt: skip

F32 = tj.constant([1.0, 2.0, 3.0])
F64 = tj.constant(np.ones(3))
I32 = tj.constant([1, 2, 3])
WIDE = tj.ones([2, 4])
MATRIX = tj.ones([2, 3])


class Row(NamedTuple):
    """`use(a, b)` raises `error`, whose text holds `says`."""

    use: Callable[[Any, Any], Any]
    a: Any
    b: Any
    error: type[Exception]
    also: type[Exception]
    says: str


ROWS = {
    "add of two dtypes": Row(lambda a, b: a + b, F32, I32, DtypeError, TypeError, r"add\(f32\[3\], i32\[3\]\): "),
    "mul of two floats": Row(lambda a, b: a * b, F32, F64, DtypeError, TypeError, r"mul\(f32\[3\], f64\[3\]\): "),
    "compare two dtypes": Row(lambda a, b: a < b, F32, I32, DtypeError, ValueError, r"less\(f32\[3\], i32\[3\]\): "),
    "matmul of two dtypes": Row(lambda a, b: a @ tj.transpose(b, [1, 0]), MATRIX, tj.cast(MATRIX, "float64"), DtypeError, TypeError, r"matmul\("),
    "where of two dtypes": Row(lambda a, b: tj.where(a > 0, a, b), F32, I32, DtypeError, TypeError, r"where\(.*f32\[3\], i32\[3\]\)"),
    "a float for integers": Row(lambda a, b: b + 1.5, F32, I32, DtypeError, TypeError, r"add\(i32\[3\], 1\.5\): .*cast"),
    "NumPy's float64 for integers": Row(lambda a, b: b + np.float64(1.5), F32, I32, DtypeError, TypeError, r"add\(i32\[3\], "),
    "exp of integers": Row(lambda a, b: tj.exp(b), F32, I32, DtypeError, TypeError, r"exp\(i32\[3\]\): "),
    "shapes that do not broadcast": Row(lambda a, b: a + b, F32, WIDE, InvalidArgumentError, ValueError, r"add\(f32\[3\], f32\[2,4\]\): "),
    "where that does not broadcast": Row(
        lambda a, b: tj.where(a > 0, a, b), F32, WIDE, InvalidArgumentError, ValueError, r"where\(.*f32\[2,4\]\): "
    ),
    "matmul of other inner sizes": Row(lambda a, b: a @ b, MATRIX, WIDE, InvalidArgumentError, ValueError, r"matmul\(f32\[2,3\], f32\[2,4\]\): "),
    "matmul of a vector": Row(lambda a, b: a @ b, MATRIX, F32, InvalidArgumentError, ValueError, r"matmul\(f32\[2,3\], f32\[3\]\): "),
    "concat of other shapes": Row(lambda a, b: tj.concat([a, b], 0), MATRIX, WIDE, InvalidArgumentError, ValueError, r"concat\(f32\[2,3\], f32\[2,4\]\): "),
    "stack of other shapes": Row(lambda a, b: tj.stack([a, b]), MATRIX, WIDE, InvalidArgumentError, ValueError, r"stack\(f32\[2,3\], f32\[2,4\]\): "),
    "reshape to another size": Row(lambda a, b: tj.reshape(a, [7]), MATRIX, WIDE, InvalidArgumentError, ValueError, r"reshape\(f32\[2,3\]\): "),
    "an axis outside": Row(lambda a, b: tj.reduce_sum(a, 2), MATRIX, WIDE, InvalidArgumentError, ValueError, r"reduce_sum\(f32\[2,3\]\): axis 2"),
    "a Python index outside": Row(lambda a, b: a[3], F32, I32, IndexOutOfRangeError, IndexError, r"getitem\(f32\[3\]\): index 3"),
    "too many indices": Row(lambda a, b: a[0, 0], F32, I32, InvalidArgumentError, ValueError, r"getitem\(f32\[3\]\): 2 indices"),
    "an index that is a float": Row(lambda a, b: a[b], I32, F32, DtypeError, TypeError, r"getitem\(i32\[3\], f32\[3\]\): "),
    "a target that is no tensor": Row(lambda a, b: _gradient(a, lambda t: t.gradient(2.0, a)), F32, F32, TypeError, TypeError, r"gradient\(2\.0\): the target"),
    "a source that is no tensor": Row(
        lambda a, b: _gradient(a, lambda t: t.gradient(a * a, [a, "w"])), F32, F32, TypeError, TypeError, r"gradient\('w'\): a source"
    ),
    "a source that is an array": Row(
        lambda a, b: _gradient(a, lambda t: t.gradient(a * a, np.ones(3))), F32, F32, TypeError, TypeError, r"gradient\(.*\): a source"
    ),
    "watch of a number": Row(lambda a, b: _gradient(a, lambda t: t.watch(3.0)), F32, F32, TypeError, ValueError, r"watch\(3\.0\): "),
    "a cotangent of another shape": Row(
        lambda a, b: _gradient(a, lambda t: t.gradient(a, a, output_gradients=b)), F32, WIDE, InvalidArgumentError, ValueError,
        r"gradient\(f32\[3\]\): output_gradients\[0\] is f32\[2,4\], its target f32\[3\]",
    ),
    "assign of another shape": Row(lambda a, b: _variable.assign(b), F32, WIDE, InvalidArgumentError, ValueError, r"assign\(f32\[2,4\]\): the variable 'state:0'"),
    "assign of a scalar": Row(lambda a, b: _variable.assign_add(1.0), F32, WIDE, InvalidArgumentError, ValueError, r"assign_add\(f32\[\]\): .*nothing is broadcast"),
    "assign of another dtype": Row(lambda a, b: _variable.assign(b), F32, I32, DtypeError, TypeError, r"assign\(i32\[3\]\): .*float32"),
}  # fmt: skip

# These are known when the function runs, and raise when it runs.
RUN_ROWS = {
    "gather outside": Row(lambda a, b: tj.gather(a, b), F32, I32, IndexOutOfRangeError, IndexError, r"gather\(.*\): .*not in \[0, 3\)"),
    "a tensor index outside": Row(lambda a, b: a[b], F32, tj.constant(7), IndexOutOfRangeError, IndexError, r"gather\(.*\): .*not in \[0, 3\)"),
    "an integer divided by zero": Row(
        lambda a, b: a // (b - b), I32, I32, InvalidArgumentError, ValueError, r"floordiv\(.*\): an integer is divided by zero"
    ),
    "an integer modulo zero": Row(lambda a, b: a % (b - b), I32, I32, InvalidArgumentError, ValueError, "an integer is divided by zero"),
}  # fmt: skip


_variable = tj.Variable([1.0, 2.0, 3.0], name="state")


def _gradient(x: Any, use: Callable[[Any], Any]) -> Any:
    with tj.GradientTape() as tape:
        tape.watch(x)
        return use(tape)


def _check(row: Row, call: Callable[[], Any], types: bool = True) -> None:
    _variable.assign([1.0, 2.0, 3.0])
    with pytest.raises(row.error) as caught:
        call()
    assert isinstance(caught.value, row.also)
    text = str(caught.value)
    assert re.search(row.says, text), text
    line = row.use.__code__.co_firstlineno
    found = re.search(r"\n  at tests/test_errors\.py:(\d+): (.+)", text)
    assert found, text
    # A lambda that stands in a row of its own, or the line below it.
    assert line <= int(found[1]) <= line + 1 or "_gradient" in row.use.__code__.co_names, text
    assert found[2].strip() == Path(__file__).read_text().splitlines()[int(found[1]) - 1].strip()
    np.testing.assert_array_equal(_variable, [1.0, 2.0, 3.0])


@pytest.mark.parametrize("name", ROWS)
def test_eager(name: str) -> None:
    row = ROWS[name]
    _check(row, lambda: row.use(row.a, row.b))


@pytest.mark.parametrize("name", ROWS)
def test_while_tracing(name: str) -> None:
    """It is raised while tracing, so that the update before it is not made."""
    row = ROWS[name]

    def f(a: Any, b: Any) -> Any:
        _variable.assign_add([1.0, 1.0, 1.0])
        row.use(a, b)

    traced = tj.function(f)
    _check(row, lambda: traced(row.a, row.b))
    assert traced.experimental_get_tracing_count() == 0


@pytest.mark.parametrize("name", RUN_ROWS)
def test_eager_values(name: str) -> None:
    row = RUN_ROWS[name]
    _check(row, lambda: row.use(row.a, row.b))


@pytest.mark.parametrize("name", RUN_ROWS)
def test_compiled_values(name: str) -> None:
    row = RUN_ROWS[name]

    def f(a: Any, b: Any) -> Any:
        _variable.assign_add([1.0, 1.0, 1.0])
        return row.use(a, b)

    traced = tj.function(f)
    for _ in range(2):
        _check(row, lambda: traced(row.a, row.b))
    assert traced.experimental_get_tracing_count() == 1


def test_a_second_gradient_of_a_consumed_tape() -> None:
    def f(x: Any) -> Any:
        _variable.assign_add([1.0, 1.0, 1.0])
        with tj.GradientTape() as tape:
            tape.watch(x)
            y = x * x
        return tape.gradient(y, x), tape.gradient(y, x)

    _variable.assign([1.0, 2.0, 3.0])
    with pytest.raises(RuntimeError, match=r"can only be used to compute one set of gradients.*persistent=True"):
        tj.function(f)(F32)
    np.testing.assert_array_equal(_variable, [1.0, 2.0, 3.0])
    with pytest.raises(RuntimeError, match=r"can only be used to compute one set of gradients.*persistent=True"):
        f(F32)


@pytest.mark.parametrize(
    ("use", "error"),
    [
        (lambda a: np.exp(a), NumpyConversionError),
        (lambda a: 1 if a[0] > 0 else 2, TracingError),
        (lambda a: a.numpy(), AttributeError),
    ],
    ids=["NumPy", "bool", "numpy()"],
)
def test_a_traced_tensor_has_no_value(use: Callable[[Any], Any], error: type[Exception]) -> None:
    """Eager mode has one, so there nothing is raised."""
    use(F32)
    _variable.assign([1.0, 2.0, 3.0])

    def f(a: Any) -> Any:
        _variable.assign_add([1.0, 1.0, 1.0])
        return use(a)

    with pytest.raises(error, match=rf"is a traced tensor[\s\S]*used at tests/test_errors\.py:{use.__code__.co_firstlineno}: "):
        tj.function(f)(F32)
    np.testing.assert_array_equal(_variable, [1.0, 2.0, 3.0])


def test_an_argument_that_cannot_be_hashed() -> None:
    with pytest.raises(SignatureError, match="the argument a is a set, which cannot be hashed"):
        tj.function(lambda a: a)({1})


def test_an_array_argument_of_a_dtype_that_is_not_there() -> None:
    with pytest.raises(
        SignatureError, match=r"the argument a_0: dtype\('uint8'\) is not a dtype that tracejit has.*convert it with cast"
    ):
        tj.function(lambda a: a[0])([np.zeros(2, np.uint8)])


def test_an_error_while_tracing_leaves_eager_mode_as_it_was() -> None:
    with tj.GradientTape() as tape:
        tape.watch(F32)
        with pytest.raises(InvalidArgumentError):
            tj.function(lambda a: a + WIDE)(F32)
        y = F32 * F32
    np.testing.assert_array_equal(tape.gradient(y, F32), [2.0, 4.0, 6.0])


def test_an_assignment_in_eager_mode_that_fails_keeps_the_value() -> None:
    v = tj.Variable([1.0, 2.0])
    held = v.read_value()
    for bad in ([1.0, 2.0, 3.0], 5.0, [[1.0, 2.0]]):
        with pytest.raises(InvalidArgumentError):
            v.assign(bad)
    with pytest.raises(TypeError):
        v.assign("text")
    np.testing.assert_array_equal(v, held)
