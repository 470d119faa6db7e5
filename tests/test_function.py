"""@function: when it traces, what it gives back, and that eager mode and compiled code are one language."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import gc
import os
import re
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tracejit import passes
from tracejit.errors import NumpyConversionError, SignatureError, TracingError
from tracejit.ir import parse


def count_of(f: Any) -> int:
    return f.experimental_get_tracing_count()


def counts(f: Any, *calls: Any) -> list[int]:
    """The number of traces after each call; a call is a tuple of arguments."""
    found = []
    for call in calls:
        f(*call)
        found.append(count_of(f))
    return found


def line_of(text: str) -> int:
    """The number of the one line of this file that ends with the comment `# text`."""
    lines = Path(__file__).read_text().splitlines()
    (number,) = [number for number, line in enumerate(lines, 1) if line.endswith(f"# {text}")]
    return number


def double() -> Any:
    return tj.function(lambda x: tj.convert_to_tensor(x) * 2)


# -- retracing


def test_numbers_are_constants_by_type_and_value() -> None:
    f = tj.function(lambda x: tj.constant(x))
    assert counts(f, (1,), (1,), (2,), (1.0,), (True,), (1,), (2,)) == [1, 1, 2, 3, 4, 4, 4]
    f = tj.function(lambda x: tj.constant(x))
    assert counts(f, (0,), (False,), (0.0,), (-0.0,), (0,)) == [1, 2, 3, 4, 4]
    f = tj.function(lambda x: tj.constant(x))
    assert [f(x).dtype.name for x in (1, 1.0, True)] == ["int32", "float32", "bool"]


def test_nan_is_one_signature() -> None:
    assert counts(double(), (float("nan"),), (float("nan"),)) == [1, 1]


def test_tensors_arrays_and_numpy_scalars_share_by_dtype_and_shape() -> None:
    f = double()
    calls = [
        tj.constant(1.0),
        np.float32(2),
        np.array(3, np.float32),
        np.float64(1),
        tj.constant([1.0]),
        np.ones(1, np.float32),
        np.ones(1),
    ]
    assert counts(f, *[(each,) for each in calls]) == [1, 1, 1, 2, 3, 3, 4]
    assert count_of(f) == 4
    np.testing.assert_array_equal(f(np.float32(7)), 14.0)


def test_every_shape_is_a_trace() -> None:
    assert counts(double(), *[(tj.ones([size]),) for size in (1, 2, 3, 2, 1)]) == [1, 2, 3, 3, 3]


def test_structures() -> None:
    f = tj.function(lambda x: tj.constant(0))
    a, b = tj.constant(1.0), tj.constant(2.0)
    Pair = collections.namedtuple("Pair", "first second")
    calls: list[Any] = [[a, b], (a, b), {"x": a, "y": b}, {"y": a, "x": b}, [a], [b, a], Pair(a, b), {"x": a, "z": b}, [[a], b]]
    assert counts(f, *[(each,) for each in calls]) == [1, 2, 3, 3, 4, 4, 5, 6, 7]


def test_none_and_strings_by_value() -> None:
    f = tj.function(lambda x: tj.constant(0))
    assert counts(f, (None,), (None,), ("a",), ("a",), ("b",), (b"a",)) == [1, 1, 2, 2, 3, 4]


def test_variables_by_spec_and_by_which_are_the_same() -> None:
    f = tj.function(lambda x, y: x + y)
    v, w, wide = tj.Variable(1.0), tj.Variable(2.0), tj.Variable([1.0, 2.0])
    assert counts(f, (v, w), (w, v), (v, v), (w, w), (v, wide), (w, wide), (v, 1.0)) == [1, 1, 2, 2, 3, 3, 4]
    assert float(f(v, w)) == 3.0
    assert float(f(w, w)) == 4.0


def test_aliased_variables_are_one() -> None:
    @tj.function
    def f(x: Any, y: Any) -> Any:
        x.assign_add(1.0)
        return y + 0.0

    v, w = tj.Variable(1.0), tj.Variable(10.0)
    assert [float(f(v, w)), float(f(v, v)), float(v)] == [10.0, 3.0, 3.0]


def test_objects_count_by_equality() -> None:
    @dataclasses.dataclass(frozen=True)
    class Config:
        scale: float

    f = tj.function(lambda config, x: x * config.scale)
    x = tj.constant(2.0)
    assert counts(f, (Config(1.0), x), (Config(1.0), x), (Config(2.0), x)) == [1, 1, 2]
    assert float(f(Config(2.0), x)) == 4.0


def test_every_way_to_write_a_call_is_one_trace() -> None:
    @tj.function
    def f(x: Any, y: Any = 2.0, *, z: Any = 3.0) -> Any:
        return x + y * z

    x = tj.constant(1.0)
    found = [f(x), f(x, 2.0), f(x=x), f(y=2.0, x=x), f(x, z=3.0), f(z=3.0, y=2.0, x=x)]
    assert [float(each) for each in found] == [7.0] * 6
    assert count_of(f) == 1
    assert float(f(x, z=1.0)) == 3.0
    assert count_of(f) == 2


def test_star_arguments() -> None:
    @tj.function
    def f(*args: Any, **kwargs: Any) -> Any:
        return tj.add_n(list(args)) + kwargs["scale"] * len(args)

    x = tj.constant(1.0)
    assert [float(f(x, x, scale=2.0)), float(f(x, scale=x)), float(f(x, x, x, scale=x))] == [6.0, 2.0, 6.0]
    assert count_of(f) == 3


def test_a_call_that_does_not_bind_raises_as_python_does() -> None:
    f = tj.function(lambda x: x * 2)
    with pytest.raises(TypeError, match="too many positional"):
        f(tj.constant(1.0), 2)
    with pytest.raises(TypeError, match="missing a required argument"):
        f()


class Counter:
    """A class with a traced method."""

    def __init__(self, scale: float):
        self.scale = scale

    @tj.function
    def f(self, x: Any) -> Any:
        return x * self.scale


def test_methods_trace_once_an_instance() -> None:
    a, b = Counter(2.0), Counter(3.0)
    x = tj.constant(1.0)
    assert a.f is a.f
    assert a.f is not b.f
    assert [float(a.f(x)), float(b.f(x)), float(a.f(x))] == [2.0, 3.0, 2.0]
    assert (count_of(a.f), count_of(b.f), count_of(Counter.f)) == (1, 1, 0)


def test_an_instance_is_collected_with_its_traces() -> None:
    a = Counter(2.0)
    a.f(tj.constant(1.0))
    reference = weakref.ref(a)
    del a
    gc.collect()
    assert reference() is None


def test_a_bound_method_can_be_wrapped() -> None:
    class Plain:
        def __init__(self) -> None:
            self.w = tj.Variable(2.0)

        def f(self, x: Any) -> Any:
            return self.w * x

    f = tj.function(Plain().f)
    assert float(f(tj.constant(3.0))) == 6.0


def test_an_argument_that_cannot_be_hashed() -> None:
    f = tj.function(lambda x: x)

    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

    for argument in ({1, 2}, Unhashable()):
        with pytest.raises(SignatureError, match=f"the argument x is a {type(argument).__name__}, which cannot be hashed"):
            f(argument)
    assert count_of(f) == 0


def test_a_function_that_retraces_for_numbers_says_so_once() -> None:
    f = tj.function(lambda x, rate: x * rate)
    with pytest.warns(UserWarning, match=r"rate: the float 0\.\d+ instead of the float 0\.\d+.*tj\.constant") as caught:
        for step in range(1, 9):
            f(tj.constant(1.0), step / 16)
    assert len(caught) == 1
    assert caught[0].filename == __file__


# -- results


def test_results_of_any_structure() -> None:
    Pair = collections.namedtuple("Pair", "first second")

    @tj.function
    def f(x: Any, v: Any) -> Any:
        return {"b": (x, [x * 2, None]), "a": Pair(1, v), "c": np.float64(2.5), "d": (), "e": x}

    v = tj.Variable(3.0)
    found = f(tj.constant(1.0), v)
    assert list(found) == ["b", "a", "c", "d", "e"]
    assert isinstance(found["a"], Pair)
    assert found["b"][1][1] is None
    assert found["d"] == ()
    assert isinstance(found["a"].second, tj.Tensor)
    assert [float(found["b"][0]), float(found["b"][1][0]), int(found["a"].first), float(found["a"].second)] == [
        1.0,
        2.0,
        1,
        3.0,
    ]
    assert (found["c"].dtype.name, found["a"].first.dtype.name) == ("float64", "int32")


def test_nothing_is_a_result() -> None:
    v = tj.Variable(1.0)
    assert tj.function(lambda: None)() is None
    f = tj.function(lambda: [v.assign_add(1.0), None][1])
    assert f() is None
    assert float(v) == 2.0


def test_results_are_new_tensors() -> None:
    f = tj.function(lambda x: (x, x + 1, x))
    x = tj.constant([1.0, 2.0])
    first, second = f(x), f(x)
    arrays = [np.asarray(each) for each in (*first, *second, x)]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


def test_a_result_that_is_no_tensor() -> None:
    with pytest.raises(TracingError, match="f returned <object object"):

        @tj.function
        def f() -> Any:
            return object()

        f()


# -- functions of functions


def test_a_nested_function_is_inlined() -> None:
    inner = tj.function(lambda x: tj.sin(x))

    @tj.function
    def outer(x: Any) -> Any:
        return inner(x) + inner(x * 2)

    x = tj.constant(0.5)
    assert float(outer(x)) == pytest.approx(np.sin(0.5) + np.sin(1.0), rel=1e-6)
    assert count_of(inner) == 0
    assert outer.ir(stage="traced").count("sin(") == 2
    assert "call" not in outer.ir(stage="traced")


def test_recursion_on_a_python_number() -> None:
    @tj.function
    def power(x: Any, n: int) -> Any:
        return tj.ones_like(x) if n == 0 else x * power(x, n - 1)

    assert float(power(tj.constant(2.0), 5)) == 32.0
    assert count_of(power) == 1


def test_run_functions_eagerly() -> None:
    seen: list[Any] = []
    f = tj.function(lambda x: [seen.append(type(x)), x * 2][1])
    tj.run_functions_eagerly(True)
    try:
        assert float(f(tj.constant(2.0))) == 4.0
    finally:
        tj.run_functions_eagerly(False)
    assert seen == [tj.Tensor]
    assert count_of(f) == 0


# -- variables


def test_variables_captured_and_passed() -> None:
    captured = tj.Variable([1.0, 2.0], name="captured")

    @tj.function
    def f(passed: Any, x: Any) -> Any:
        captured.assign_add(x)
        passed.assign_sub(x)
        return captured * passed

    v, w = tj.Variable([10.0, 20.0]), tj.Variable([0.0, 0.0])
    x = tj.constant([1.0, 1.0])
    np.testing.assert_array_equal(f(v, x), [2 * 9, 3 * 19])
    np.testing.assert_array_equal(f(w, x), [3 * -1, 4 * -1])
    assert count_of(f) == 1
    np.testing.assert_array_equal(captured, [3.0, 4.0])
    np.testing.assert_array_equal(v, [9.0, 19.0])
    assert "%captured: f32[2]" in f.ir(v, x, stage="traced")


def test_a_captured_variable_that_is_passed_as_well() -> None:
    v, w = tj.Variable(1.0), tj.Variable(5.0)

    @tj.function
    def f(passed: Any) -> Any:
        passed.assign_add(1.0)
        return v + 0.0

    assert [float(f(w)), float(f(v)), float(f(w)), float(f(v))] == [1.0, 2.0, 2.0, 3.0]
    assert count_of(f) == 2


def test_an_assignment_outside_is_seen_and_does_not_retrace() -> None:
    v = tj.Variable([1.0, 2.0])
    f = tj.function(lambda: v * 10.0)
    f()
    v.assign([3.0, 4.0])
    np.testing.assert_array_equal(f(), [30.0, 40.0])
    v.assign_add([1.0, 1.0])
    np.testing.assert_array_equal(f(), [40.0, 50.0])
    assert count_of(f) == 1


def test_an_integer_and_a_bool_variable() -> None:
    step, flag = tj.Variable(0, trainable=False), tj.Variable(False)

    @tj.function
    def f() -> Any:
        step.assign_add(1)
        flag.assign(step > 2)
        return step + 0

    assert [int(f()) for _ in range(3)] == [1, 2, 3]
    assert bool(flag) is True


def test_a_variable_is_created_by_the_first_call_only() -> None:
    kept: list[Any] = []

    @tj.function
    def f(x: Any) -> Any:
        if not kept:
            kept.append(tj.Variable(tj.ones([2]) * 3.0))
        kept[0].assign_add(x)
        return kept[0] * 1.0

    np.testing.assert_array_equal(f(tj.constant([1.0, 2.0])), [4.0, 5.0])
    np.testing.assert_array_equal(f(tj.constant([1.0, 2.0])), [5.0, 7.0])
    np.testing.assert_array_equal(kept[0], [5.0, 7.0])

    @tj.function
    def always(x: Any) -> Any:
        return tj.Variable(1.0) * x

    for argument in (1.0, 1.0, [1.0]):
        with pytest.raises(ValueError, match=r"created in each call[\s\S]*test_function\.py:\d+"):
            always(tj.constant(argument))
    assert float(always.python_function(tj.constant(2.0))) == 2

    @tj.function
    def other_shape(x: Any) -> Any:
        return x * 1.0 if not x.shape else tj.Variable(1.0) * x

    other_shape(tj.constant(1.0))
    with pytest.raises(ValueError, match="created in each call"):
        other_shape(tj.constant([1.0]))


def test_a_function_called_inside_and_a_method_keep_what_their_first_call_creates() -> None:
    class Layer:
        w: Any = None

        @tj.function
        def __call__(self, x: Any) -> Any:
            if self.w is None:
                self.w = tj.Variable(2.0)
            return self.w * x

    layers = [Layer(), Layer()]
    model = tj.function(lambda x: layers[1](layers[0](x)))
    for _ in range(3):
        assert float(model(tj.constant(3.0))) == 12
    layers[0].w.assign(5.0)
    assert [float(f(tj.constant(3.0))) for f in (model, *layers)] == [30, 15, 6]


def test_an_initial_value_may_not_depend_on_an_argument() -> None:
    f = tj.function(lambda x: tj.Variable(x * 2) * 1.0)
    with pytest.raises(TracingError, match="may not depend on the function's arguments"):
        f(tj.constant(1.0))


# -- what was read stays what it was


def test_an_update_in_place_changes_nothing_that_was_read() -> None:
    w = tj.Variable(np.arange(5, dtype=np.float32))
    f = tj.function(lambda: [w.assign(w * 2.0 + 1.0), None][1])
    f()
    expected = w.numpy().copy()
    on_tape = tj.constant([1.0] * 5)
    with tj.GradientTape() as tape:
        tape.watch(on_tape)
        product = w * on_tape
    held = [w.read_value(), w.numpy(), np.asarray(w), w.value(), tj.convert_to_tensor(w), np.asarray(w.read_value()), w + 0.0]
    for _ in range(3):
        f()
    for each in held:
        np.testing.assert_array_equal(each, expected)
    np.testing.assert_array_equal(tape.gradient(product, on_tape), expected)
    assert not np.array_equal(w.numpy(), expected)


def test_a_view_of_what_was_read_stays() -> None:
    w = tj.Variable(np.zeros((3, 4), np.float32))
    f = tj.function(lambda: [w.assign_add(tj.ones([3, 4])), None][1])
    f()
    row, turned = w[0], tj.transpose(w, [1, 0])
    array = np.asarray(w.value())[1]
    f()
    f()
    for each in (row, turned, array):
        np.testing.assert_array_equal(each, np.ones(each.shape))


def test_a_variable_made_of_another_s_value_has_its_own() -> None:
    v = tj.Variable([1.0, 2.0])
    f = tj.function(lambda: [v.assign_add([1.0, 1.0]), None][1])
    f()
    copies = [tj.Variable(v), tj.Variable(v.value())]
    other = tj.Variable([0.0, 0.0])
    other.assign(v)
    f()
    for each in (*copies, other):
        np.testing.assert_array_equal(each, [2.0, 3.0])


def test_the_array_a_variable_was_made_of_is_the_user_s() -> None:
    array = np.ones(3, np.float32)
    v = tj.Variable(array)
    f = tj.function(lambda: [v.assign_add([1.0, 1.0, 1.0]), None][1])
    f()
    np.testing.assert_array_equal(array, 1.0)
    array[:] = 7.0
    np.testing.assert_array_equal(v, 2.0)


# -- tapes


def test_a_tape_inside() -> None:
    w = tj.Variable([[1.0, 2.0], [3.0, 4.0]])

    def f(x: Any) -> Any:
        with tj.GradientTape() as tape:
            loss = tj.reduce_sum(tj.tanh(x @ w) ** 2)
        return loss, tape.gradient(loss, {"w": w, "none": x})

    x = tj.constant([[0.1, 0.2]])
    (loss, gradient), (expected_loss, expected) = tj.function(f)(x), f(x)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-6)
    np.testing.assert_allclose(gradient["w"], expected["w"], rtol=1e-5)
    assert gradient["none"] is None
    assert expected["none"] is None


def test_a_tape_outside() -> None:
    f = tj.function(lambda x, y: tj.reduce_sum(tj.sin(x) * y))
    x, y = tj.constant([0.5, 1.0]), tj.constant([2.0, 3.0])
    with tj.GradientTape() as tape:
        tape.watch([x, y])
        z = f(x, y) * 2.0
    by_x, by_y = tape.gradient(z, [x, y])
    np.testing.assert_allclose(by_x, 2 * np.cos([0.5, 1.0]) * [2.0, 3.0], rtol=1e-6)
    np.testing.assert_allclose(by_y, 2 * np.sin([0.5, 1.0]), rtol=1e-6)
    f(x, y)
    assert count_of(f) == 1


def test_a_tape_outside_and_a_non_float_result() -> None:
    f = tj.function(lambda x: (tj.argmax(x), x * x, tj.constant(3.0)))
    x = tj.constant([1.0, 5.0, 2.0])
    with tj.GradientTape(persistent=True) as tape:
        tape.watch(x)
        index, square, constant = f(x)
    assert int(index) == 1
    np.testing.assert_array_equal(tape.gradient(square, x), [2.0, 10.0, 4.0])
    assert tape.gradient(index, x) is None
    assert tape.gradient(constant, x) is None


def test_a_function_is_collected_though_tapes_recorded_it() -> None:
    v = tj.Variable(2.0)
    f = tj.function(lambda x: x * v)
    with tj.GradientTape() as tape:
        y = f(tj.constant(3.0))
    assert float(tape.gradient(y, v)) == 3.0
    entries = [weakref.ref(f), weakref.ref(f.python_function)]
    del f, tape, y
    gc.collect()
    assert [entry() for entry in entries] == [None, None]


def test_each_result_has_the_gradients_that_eager_mode_gives() -> None:
    def f(x: Any, y: Any) -> Any:
        return x * y, x * 2.0, tj.stop_gradient(x) * y, x

    x, y = tj.constant(3.0), tj.constant(5.0)
    found = []
    for g in (f, tj.function(f)):
        with tj.GradientTape(persistent=True) as tape:
            tape.watch([x, y])
            results = g(x, y)
        found.append([tape.gradient(result, [x, y]) for result in results] + [tape.gradient(results, [x, y])])
    eager, compiled = ([[None if each is None else float(each) for each in pair] for pair in one] for one in found)
    assert compiled == eager == [[5.0, 3.0], [2.0, None], [None, 3.0], [1.0, None], [8.0, 6.0]]


def test_second_order_through_a_compiled_call() -> None:
    f = tj.function(lambda x: x**3)
    x = tj.constant(2.0)
    with tj.GradientTape() as outer:
        outer.watch(x)
        with tj.GradientTape() as inner:
            y = f(x)
        first = inner.gradient(y, x)
    assert float(first) == 12.0
    assert float(outer.gradient(first, x)) == 12.0


def test_third_order_through_a_compiled_call() -> None:
    f = tj.function(lambda x: tj.exp(2.0 * x))
    x = tj.constant(0.25)
    with tj.GradientTape() as t3:
        t3.watch(x)
        with tj.GradientTape() as t2:
            with tj.GradientTape() as t1:
                y = f(x)
            first = t1.gradient(y, x)
        second = t2.gradient(first, x)
    third = t3.gradient(second, x)
    e = np.exp(0.5)
    np.testing.assert_allclose([float(first), float(second), float(third)], [2 * e, 4 * e, 8 * e], rtol=1e-5)


def test_variables_are_sources_of_a_tape_outside() -> None:
    captured, passed = tj.Variable([1.0, 2.0]), tj.Variable([3.0, 4.0])
    frozen = tj.Variable([1.0, 1.0], trainable=False)
    f = tj.function(lambda v: tj.reduce_sum(captured * captured * v + frozen))
    with tj.GradientTape() as tape:
        y = f(passed)
    assert {id(each) for each in tape.watched_variables()} == {id(captured), id(passed)}
    by_captured, by_passed, by_frozen = tape.gradient(y, [captured, passed, frozen])
    np.testing.assert_array_equal(by_captured, [6.0, 16.0])
    np.testing.assert_array_equal(by_passed, [1.0, 4.0])
    assert by_frozen is None


def test_a_tape_outside_of_a_call_that_updates() -> None:
    v = tj.Variable(3.0)

    @tj.function
    def f() -> Any:
        y = v * v
        v.assign_add(1.0)
        return y

    with tj.GradientTape() as tape:
        y = f()
        z = v * 10.0
        total = y + z
    assert float(v) == 4.0
    assert float(tape.gradient(total, v)) == 6.0 + 10.0


def test_the_value_at_the_call_is_the_one_differentiated() -> None:
    v = tj.Variable([1.0, 2.0])
    square = tj.function(lambda: tj.reduce_sum(v * v))
    bump = tj.function(lambda: [v.assign_add([10.0, 10.0]), None][1])
    bump()
    with tj.GradientTape() as tape:
        y = square()
    bump()
    np.testing.assert_array_equal(tape.gradient(y, v), [22.0, 24.0])


def test_a_persistent_tape_inside() -> None:
    @tj.function
    def f(x: Any) -> Any:
        with tj.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = x * x
            z = y * y
        return tape.gradient(y, x), tape.gradient(z, x), tape.gradient(z, y)

    assert [float(each) for each in f(tj.constant(3.0))] == [6.0, 108.0, 18.0]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_nested_tapes_inside(order: int) -> None:
    def derivative(g: Callable[[Any], Any], times: int, x: Any) -> Any:
        if times == 0:
            return g(x)
        with tj.GradientTape() as tape:
            tape.watch(x)
            y = derivative(g, times - 1, x)
        return tape.gradient(y, x)

    def f(x: Any) -> Any:
        return derivative(lambda each: tj.sin(each) * tj.exp(each * 0.5), order, x)

    x = tj.constant([0.3, -1.2, 2.0])
    np.testing.assert_allclose(tj.function(f)(x), f(x), rtol=2e-5, atol=1e-6)


def test_gradient_of_a_gradient_by_a_variable() -> None:
    w = tj.Variable([0.3, 0.7])

    def f(x: Any) -> Any:
        with tj.GradientTape() as outer:
            with tj.GradientTape() as inner:
                inner.watch(x)
                y = tj.reduce_sum(tj.tanh(x * w))
            slope = tj.reduce_sum(tj.square(inner.gradient(y, x)))
        return slope, outer.gradient(slope, w)

    x = tj.constant([1.0, -2.0])
    for found, expected in zip(tj.function(f)(x), f(x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_unconnected_and_output_gradients_inside() -> None:
    def f(x: Any, y: Any) -> Any:
        with tj.GradientTape(persistent=True) as tape:
            tape.watch([x, y])
            z = x * x
        return (
            tape.gradient(z, [x, y]),
            tape.gradient(z, y, unconnected_gradients="zero"),
            tape.gradient(z, x, output_gradients=tj.constant([1.0, 10.0])),
        )

    x, y = tj.constant([1.0, 2.0]), tj.constant([3.0])
    (by_x, by_y), zero, seeded = tj.function(f)(x, y)
    np.testing.assert_array_equal(by_x, [2.0, 4.0])
    assert by_y is None
    np.testing.assert_array_equal(zero, [0.0])
    np.testing.assert_array_equal(seeded, [2.0, 40.0])


def test_none_inside_is_none_outside() -> None:
    """A constant's derivative, an integer, a stopped gradient, a variable that was not read: each None in both modes."""
    v = tj.Variable(1.0)

    def f(x: Any) -> Any:
        found = []
        with tj.GradientTape(persistent=True) as outer:
            outer.watch(x)
            with tj.GradientTape(persistent=True) as tape:
                tape.watch(x)
                linear = 3.0 * x
                stopped = tj.stop_gradient(x) * 2.0
                whole = tj.cast(x, tj.int32)
                rounded = tj.round(x) * 1.0
            slope = tape.gradient(linear, x)
        for target, source in ((slope, x), (linear, v)):
            found.append(outer.gradient(target, source))
        found += [tape.gradient(each, x) for each in (stopped, whole, rounded)]
        return found

    x = tj.constant(2.0)
    outside, inside = f(x), tj.function(f)(x)
    assert [each is None for each in inside] == [each is None for each in outside]
    assert outside[0] is None
    assert outside[1] is None


def test_custom_gradient_and_stop_gradient_inside() -> None:
    w = tj.Variable(2.0)

    @tj.custom_gradient
    def clipped(x: Any) -> Any:
        return x * x, lambda ct: tj.clip_by_value(ct * 2.0 * x, -1.0, 1.0)

    @tj.custom_gradient
    def scaled(x: Any) -> Any:
        def grad(ct: Any, variables: Any = None) -> Any:
            return ct * 100.0, [ct * 7.0]

        return x * w, grad

    def f(x: Any) -> Any:
        with tj.GradientTape() as tape:
            tape.watch(x)
            y = clipped(x) + scaled(x) + tj.stop_gradient(x) * x
        return y, tape.gradient(y, [x, w])

    x = tj.constant(3.0)
    found, expected = tj.function(f)(x), f(x)
    assert float(found[0]) == float(expected[0]) == 24.0
    assert [float(each) for each in found[1]] == [float(each) for each in expected[1]] == [1.0 + 100.0 + 3.0, 7.0]


def test_second_order_of_a_custom_gradient_inside() -> None:
    @tj.custom_gradient
    def cube(x: Any) -> Any:
        return x * x * x, lambda ct: ct * 3.0 * x * x

    def f(x: Any) -> Any:
        with tj.GradientTape() as outer:
            outer.watch(x)
            with tj.GradientTape() as inner:
                inner.watch(x)
                y = cube(x)
            first = inner.gradient(y, x)
        return first, outer.gradient(first, x)

    x = tj.constant(2.0)
    assert [float(each) for each in tj.function(f)(x)] == [float(each) for each in f(x)] == [12.0, 12.0]


def test_a_custom_gradient_under_a_tape_outside() -> None:
    @tj.custom_gradient
    def f(x: Any) -> Any:
        return x * 2.0, lambda ct: ct * 50.0

    g = tj.function(lambda x: f(x) + x)
    x = tj.constant(1.0)
    with tj.GradientTape() as tape:
        tape.watch(x)
        y = g(x)
    assert float(tape.gradient(y, x)) == 51.0


def test_a_tape_of_outside_cannot_be_asked_inside() -> None:
    x = tj.constant(1.0)
    with tj.GradientTape() as tape:
        tape.watch(x)
        y = x * x
    with pytest.raises(RuntimeError, match="recorded outside of this traced function"):
        tj.function(lambda: tape.gradient(y, x))()
    assert float(tape.gradient(y, x)) == 2.0


# -- random numbers


def test_random_numbers_are_new_at_every_call_and_eager_s() -> None:
    def draw() -> Any:
        return tj.random.uniform([3, 4]), tj.random.normal([5], seed=7)

    f = tj.function(draw)
    tj.random.set_seed(1)
    compiled = [f() for _ in range(3)]
    tj.random.set_seed(1)
    again = [f() for _ in range(3)]
    tj.random.set_seed(1)
    eager = [draw() for _ in range(3)]
    for number in range(3):
        for part in range(2):
            np.testing.assert_array_equal(compiled[number][part], again[number][part])
            np.testing.assert_allclose(compiled[number][part], eager[number][part], rtol=1e-5, atol=1e-6)
    assert not np.array_equal(compiled[0][0], compiled[1][0])
    assert count_of(f) == 1


def test_two_draws_in_one_function_differ() -> None:
    first, second = tj.function(lambda: (tj.random.uniform([8]), tj.random.uniform([8])))()
    assert not np.array_equal(first, second)


# -- traced tensors where a value is needed


def test_a_leaked_tensor_names_both_lines() -> None:
    leaked: list[Any] = []

    @tj.function
    def f(x: Any) -> Any:
        leaked.append(x * 2)  # it leaks
        return x

    f(tj.constant(1.0))
    v = tj.Variable(1.0)
    made, here = line_of("it leaks"), "test_function.py"
    uses: list[Callable[[], Any]] = [
        lambda: leaked[0] + 1,
        lambda: float(leaked[0]),
        lambda: tj.sin(leaked[0]),
        lambda: f(leaked[0]),
        lambda: v.assign(leaked[0]),
        lambda: v.assign_add(leaked[0]),
        lambda: tj.Variable(leaked[0]),
    ]
    for use in uses:
        with pytest.raises(TracingError) as caught:
            use()
        text = str(caught.value)
        assert f"made at tests/{here}:{made}: leaked.append(x * 2)" in text
        assert f"used at tests/{here}:{use.__code__.co_firstlineno}:" in text
        assert "outside of the traced function that made it" in text
    with pytest.raises(TracingError, match="outside of the traced function that made it"):
        tj.function(lambda: leaked[0] * 1.0)()


@pytest.mark.parametrize(
    ("use", "error", "advice"),
    [
        (np.sin, NumpyConversionError, "use the function of that name in tracejit"),
        (lambda x: np.asarray(x), NumpyConversionError, "NumPy function"),
        (lambda x: np.concatenate([x, x]), NumpyConversionError, "NumPy function"),
        (lambda x: x.numpy(), AttributeError, r"\.numpy\(\) needs a value"),
        (lambda x: float(x[0]), TracingError, r"float\(\) needs a value"),
        (lambda x: int(x[0]), TracingError, r"int\(\) needs a value"),
        (lambda x: [1, 2, 3][x[0]], TracingError, "an index or a size in Python needs a value"),
        (lambda x: bool(x[0] > 0), TracingError, "use tj.where to choose between tensors"),
        (lambda x: 1 if x[0] > 0 else 2, TracingError, "as in `if` or `while`"),
        (lambda x: tj.reshape(x, tj.cast(x, "int32")), TracingError, "a shape that is known while tracing"),
        (lambda x: tj.range(x[0]), TracingError, "known while tracing"),
    ],
    ids=["np.sin", "asarray", "concatenate", "numpy", "float", "int", "index", "bool", "if", "reshape", "range"],
)
def test_a_value_is_needed(use: Callable[[Any], Any], error: type[Exception], advice: str) -> None:
    f = tj.function(lambda x: use(x))
    with pytest.raises(error, match=r"^(f32|i32|bool)\[2?\] is a traced tensor, it has no value: ") as caught:
        f(tj.constant([1.0, 2.0]))
    assert re.search(advice, str(caught.value))
    assert re.search(r"used at tests/test_function\.py:\d+: ", str(caught.value))


def test_len_shape_and_loops_over_rows_need_no_value() -> None:
    @tj.function
    def f(x: Any) -> Any:
        total = tj.zeros([x.shape[1]])
        for row in x:
            total = total + row * len(x)
        return total

    np.testing.assert_array_equal(f(tj.constant([[1.0, 2.0], [3.0, 4.0]])), [8.0, 12.0])


def test_printing_a_traced_tensor_needs_no_value() -> None:
    seen: list[str] = []
    tj.function(lambda x: [seen.extend([str(x), repr(x), f"{x}"]), x][1])(tj.ones([2, 3]))
    assert all("traced" in each and "(2, 3)" in each and "float32" in each for each in seen)


# -- a train step


def _model() -> tuple[list[Any], Callable[[Any, Any], Any]]:
    rng = np.random.default_rng(5)
    shapes = [(6, 16), (16,), (16, 3), (3,)]
    variables = [tj.Variable(rng.normal(0, 0.5, shape).astype(np.float32)) for shape in shapes]
    moments = [tj.Variable(tj.zeros(v.shape), trainable=False) for v in variables]

    def step(x: Any, labels: Any) -> Any:
        w1, b1, w2, b2 = variables
        with tj.GradientTape() as tape:
            hidden = tj.tanh(x @ w1 + b1)
            losses = tj.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=hidden @ w2 + b2)
            loss = tj.reduce_mean(losses) + 1e-3 * tj.add_n([tj.nn.l2_loss(w1), tj.nn.l2_loss(w2)])
        for v, m, g in zip(variables, moments, tape.gradient(loss, variables), strict=True):
            m.assign(0.9 * m + g)
            v.assign_sub(0.05 * m)
        return loss

    return variables, step


def _data() -> tuple[Any, Any]:
    rng = np.random.default_rng(6)
    return tj.constant(rng.normal(0, 1, (20, 6)).astype(np.float32)), tj.constant(rng.integers(0, 3, 20).astype(np.int32))


def test_a_hundred_steps_of_training() -> None:
    """Compiled and eager stay together within 1e-5 of the largest weight: sums in another order, vector math of a few ULP."""
    x, labels = _data()
    (eager, step), (compiled, traced) = _model(), _model()
    traced = tj.function(traced)
    for _ in range(100):
        expected, found = float(step(x, labels)), float(traced(x, labels))
        assert found == pytest.approx(expected, rel=1e-5)
    for one, wanted in zip(compiled, eager, strict=True):
        np.testing.assert_allclose(one, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted.numpy()).max())
    assert expected < 0.5
    assert count_of(traced) == 1


def test_a_step_checked_after_every_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEJIT_CHECK", "1")
    _, step = _model()
    assert np.isfinite(float(tj.function(step)(*_data())))


# -- looking at it


def test_explain_names_what_differed() -> None:
    scale = 2.0

    @tj.function
    def f(x: Any, mode: Any = "a") -> Any:
        return x * scale

    f(tj.ones([3]))
    f(tj.ones([4]))
    f(tj.ones([4]), mode="b")
    scale = 3.0
    f(tj.ones([4]), mode="b")
    lines = f.explain().splitlines()
    assert lines[0] == "f: 4 traces"
    assert "0: first call; " in lines[1]
    assert "1: x: f32[4] instead of f32[3]; " in lines[2]
    assert "2: mode: the str 'b' instead of the str 'a'; " in lines[3]
    assert "3: scale has changed; " in lines[4]
    assert all(
        re.search(r"\d+ nodes traced, \d+ optimized; \d+\.\d ms to trace, \d+\.\d ms to compile; 1 kernel: 1 \w+", line)
        for line in lines[1:5]
    )


def test_every_stage_can_be_seen_and_parsed() -> None:
    variables, step = _model()
    traced = tj.function(step)
    x, labels = _data()
    before = [v.numpy() for v in variables]
    for stage in ("traced", *passes.PIPELINE, "optimized"):
        text = traced.ir(x, labels, stage=stage)
        graph = parse(text)
        assert graph.text() == text
        assert (stage == "traced") == (" gradient(" in text), stage
        assert len(graph.updates) == 8
    assert traced.ir(x, labels, stage="optimized") == traced.ir(x, labels, stage=passes.PIPELINE[-1]) == traced.ir()
    assert traced.graph(x, labels).text() == traced.ir()
    text = traced.ir(stage="llvm")
    assert text.startswith("; tracejit_step\n") and 'define i32 @"fusion.' in text
    assert "fusion." in traced.ir(stage="asm")
    with pytest.raises(ValueError, match=r"there is no stage 'nonsense'; the stages are traced, backward, simplify"):
        traced.ir(stage="nonsense")
    assert count_of(traced) == 1
    for v, old in zip(variables, before, strict=True):  # nothing was run
        np.testing.assert_array_equal(v, old)


def test_every_node_names_the_user_s_line() -> None:
    _, step = _model()
    traced = tj.function(step)
    traced(*_data())
    code = step.__code__
    lines = range(code.co_firstlineno, code.co_firstlineno + 12)
    for stage in ("traced", *passes.PIPELINE):
        # Of a fusion's body as well; a cast has no other form.
        nodes = [line for line in traced.ir(stage=stage).splitlines() if re.match(r"\s*%\d+ = (?!fusion)", line)]
        assert nodes
        for line in nodes:
            found = re.search(r'@ "tests/test_function\.py" (\d+)$', line)
            assert found is not None, (stage, line)
            assert int(found[1]) in lines, (stage, line)


def test_the_wrapped_function_is_known() -> None:
    @tj.function
    def documented(x: Any) -> Any:
        """What it does."""
        return x

    assert (documented.__name__, documented.__doc__, documented.name) == ("documented", "What it does.", "documented")
    assert documented.python_function(3) == 3
    assert tj.function(jit_compile=True)(lambda x: x)(tj.constant(1)).dtype is tj.int32
    with pytest.raises(NotImplementedError, match="input_signature"):
        tj.function(lambda x: x, input_signature=[])
    with pytest.raises(TypeError, match="takes a callable"):
        tj.function(3)


# -- threads and memory


def test_four_threads_update_one_variable() -> None:
    total, count = tj.Variable(np.zeros(33, np.float32)), tj.Variable(0)

    @tj.function
    def step(x: Any) -> Any:
        total.assign_add(x)
        count.assign_add(1)
        return total + x

    errors: list[BaseException] = []
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        try:
            barrier.wait()
            for _ in range(250):
                step(tj.constant(np.full(33, number, np.float32)))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    np.testing.assert_array_equal(total, np.full(33, 250.0 * 10))
    assert int(count) == 1000
    assert count_of(step) == 1


def test_threads_trace_their_own_signatures() -> None:
    f = tj.function(lambda x: tj.reduce_sum(x * 2.0))
    found: dict[int, float] = {}

    def work(size: int) -> None:
        for _ in range(5):
            found[size] = float(f(tj.ones([size])))

    threads = [threading.Thread(target=work, args=(size,)) for size in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {size: 2.0 * size for size in (1, 2, 3, 4)}


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="it reads Linux's /proc")
def test_calls_do_not_leak() -> None:
    """20,000 calls, each of which makes 64 KiB of results and cotangents, in all over a GB, leave less than 32 MiB behind."""
    w = tj.Variable(np.ones((64, 64), np.float32))

    @tj.function
    def step(x: Any) -> Any:
        with tj.GradientTape() as tape:
            loss = tj.reduce_sum(w * x)
        w.assign_sub(tape.gradient(loss, w) * 1e-6)
        return loss, w * 2.0, x * w, w + x, w - x

    x = tj.ones([64, 64])
    for _ in range(200):
        step(x)
    gc.collect()
    before = _resident()
    for _ in range(20_000):
        step(x)
    gc.collect()
    assert _resident() - before < 32 * 2**20


def test_a_variable_of_the_first_call_may_begin_with_random_numbers() -> None:
    class Dense:
        def __init__(self) -> None:
            self.w = None

        @tj.function
        def __call__(self, x):
            if self.w is None:
                self.w = tj.Variable(tj.random.normal([3, 2], seed=5) * SCALE)
            return x @ self.w

    layer = Dense()
    x = tj.ones([1, 3])
    first = layer(x)
    assert layer.w.shape == (3, 2) and np.abs(layer.w.numpy()).min() > 0
    np.testing.assert_allclose(first, np.ones((1, 3)) @ layer.w.numpy(), rtol=1e-5)
    np.testing.assert_array_equal(layer(x), first)
    with pytest.raises(tj.errors.TracingError, match="may not depend on the function's arguments"):
        tj.function(lambda y: tj.Variable(y * 2.0))(x)


SCALE = tj.constant(2.0)


def test_a_known_call_inside_of_a_trace_is_a_part_of_it() -> None:
    v = tj.Variable(0.0)

    @tj.function
    def inner() -> Any:
        v.assign_add(1.0)
        return v * 2.0

    for _ in range(4):  # so that it is called natively
        inner()
    outer = tj.function(lambda x: x + inner())
    assert [float(outer(tj.constant(1.0))) for _ in range(4)] == [11.0, 13.0, 15.0, 17.0]
    assert [v.numpy(), inner.experimental_get_tracing_count()] == [8.0, 1]


def test_a_known_call_is_recorded_by_a_tape() -> None:
    v = tj.Variable(3.0)
    square = tj.function(lambda: v * v)
    for _ in range(4):
        square()
    for _ in range(2):
        with tj.GradientTape() as tape:
            y = square()
        assert [float(y), float(tape.gradient(y, v))] == [9.0, 6.0]


def test_looking_before_a_call_or_among_several_traces_says_what_to_do() -> None:
    f = tj.function(lambda x, y=1.0: x * y)
    for look in (f.ir, f.graph, f.compiled, f.memory):
        with pytest.raises(
            TypeError, match=r"<lambda> has no trace yet .*: say which by .* as in <lambda>\.ir\(x\), or call it"
        ):
            look()
    f(tj.constant(1.0))
    assert f.ir() == f.ir(tj.constant(2.0))
    f(tj.constant([1.0]))
    with pytest.raises(TypeError, match=r"<lambda> has 2 traces .*'x'.*: say which by the arguments.*explain\(\) lists them"):
        f.ir()
    assert "f32[1]" in f.ir(tj.constant([2.0]))
    assert tj.function(lambda y=2.0: tj.constant(y)).ir()
    assert tj.function(lambda: tj.constant(1.0)).ir()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* was traced:UserWarning")
def test_what_is_dropped_is_freed_and_what_is_told_of_it_bounded() -> None:
    state = {"k": 0.0}
    f = tj.function(lambda x: x * state["k"])
    graphs: list[Any] = []
    x = tj.constant(1.0)
    for number in range(120):
        state["k"] = float(number)
        assert float(f(x)) == number
        graphs.append(weakref.ref(f._traces.kept[-1]))
    gc.collect()
    assert sum(graph() is not None for graph in graphs) == len(f._traces.kept) == 8
    lines = f.explain().splitlines()
    assert [lines[0], lines[1]] == ["<lambda>: 120 traces", "  62 of the oldest, dropped since"]
    lines = [line for line in lines if "through Python" not in line]
    assert len(lines) == 2 + 58
    assert re.match(r"  62: state has changed; .* dropped since", lines[2])
    assert re.match(r"  119: state has changed; .* optimized", lines[-1])
    assert count_of(f) == 120


def test_objects_in_the_explanation_are_not_asked() -> None:
    @dataclasses.dataclass(frozen=True)
    class Config:
        scale: float

        def __repr__(self) -> str:
            raise RuntimeError("no text")

    f = tj.function(lambda config, x: x * config.scale)
    x = tj.constant(1.0)
    for argument in (Config(1.0), Config(2.0), 3, (Config(1.0),)):
        f.python_function(argument, x) if isinstance(argument, Config) else None
        with pytest.raises(AttributeError) if not isinstance(argument, Config) else contextlib.nullcontext():
            f(argument, x)
    assert "config: a Config instead of another" in f.explain()
