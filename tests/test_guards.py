"""What a traced function read from outside of its arguments is live: when it changes, the function traces anew."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tracejit as tj

x = tj.constant(1.0)
factor = 2.0
settings = {"scale": 2.0, "deep": [1.0, {"offset": 0.0}]}


def count_of(f: Any) -> int:
    return f.experimental_get_tracing_count()


def test_a_closure_cell() -> None:
    k = 2.0
    f = tj.function(lambda x: x * k)
    assert [float(f(x)), float(f(x)), count_of(f)] == [2.0, 2.0, 1]
    k = 5.0
    assert [float(f(x)), float(f(x)), count_of(f)] == [5.0, 5.0, 2]
    k = 2.0
    assert [float(f(x)), count_of(f)] == [2.0, 2]  # the first trace is right again
    k = 2
    assert [float(f(x)), count_of(f)] == [2.0, 3]


def test_a_global(monkeypatch: pytest.MonkeyPatch) -> None:
    f = tj.function(lambda x: x * factor)
    assert float(f(x)) == 2.0
    monkeypatch.setitem(globals(), "factor", 3.0)
    assert [float(f(x)), count_of(f)] == [3.0, 2]


def test_the_contents_of_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    f = tj.function(lambda x: x * settings["scale"] + settings["deep"][1]["offset"])  # type: ignore[index,call-overload]
    assert float(f(x)) == 2.0
    monkeypatch.setitem(settings, "scale", 3.0)
    assert [float(f(x)), count_of(f)] == [3.0, 2]
    monkeypatch.setitem(settings["deep"][1], "offset", 0.5)  # type: ignore[index,call-overload]
    assert [float(f(x)), count_of(f)] == [3.5, 3]


class Inner:
    def __init__(self) -> None:
        self.b = 3.0


class Model:
    """Attributes, nested ones, a property, and a plain method that reads one."""

    def __init__(self) -> None:
        self.k = 2.0
        self.a = Inner()
        self.hidden = 1.0
        self.active = True
        self.sizes = [1.0, 2.0]

    @property
    def shown(self) -> float:
        return self.hidden * 10

    def helper(self, x: Any) -> Any:
        return x * self.hidden

    @tj.function
    def direct(self, x: Any) -> Any:
        return x * self.k

    @tj.function
    def nested(self, x: Any) -> Any:
        return x * self.a.b

    @tj.function
    def by_property(self, x: Any) -> Any:
        return x * self.shown

    @tj.function
    def by_method(self, x: Any) -> Any:
        return self.helper(x)

    @tj.function
    def by_list(self, x: Any) -> Any:
        for size in self.sizes:
            x = x * size
        return x

    @tj.function
    def by_branch(self, x: Any) -> Any:
        return x if self.active else -x


@pytest.mark.parametrize(
    ("method", "name", "value", "before", "after"),
    [
        ("direct", "k", 5.0, 2.0, 5.0),
        ("nested", "a.b", 4.0, 3.0, 4.0),
        ("by_property", "hidden", 2.0, 10.0, 20.0),
        ("by_method", "hidden", 7.0, 1.0, 7.0),
        ("by_list", "sizes", [3.0], 2.0, 3.0),
        ("by_branch", "active", False, 1.0, -1.0),
    ],
)
def test_an_attribute(method: str, name: str, value: Any, before: float, after: float) -> None:
    model = Model()
    f = getattr(model, method)
    assert [float(f(x)), float(f(x)), count_of(f)] == [before, before, 1]
    owner = model.a if "." in name else model
    setattr(owner, name.rpartition(".")[2], value)
    assert [float(f(x)), float(f(x)), count_of(f)] == [after, after, 2]


def test_another_object_in_the_attribute_s_place() -> None:
    model = Model()
    model.nested(x)
    model.a = Inner()
    model.a.b = 8.0
    assert float(model.nested(x)) == 8.0


def test_an_attribute_that_is_a_list_changed_in_place() -> None:
    model = Model()
    assert float(model.by_list(x)) == 2.0
    model.sizes.append(10.0)
    assert float(model.by_list(x)) == 20.0
    model.sizes[0] = 0.5
    assert float(model.by_list(x)) == 10.0


def test_an_attribute_of_an_argument() -> None:
    f = tj.function(lambda model, x: x * model.k)
    model = Model()
    assert float(f(model, x)) == 2.0
    model.k = 6.0
    assert float(f(model, x)) == 6.0


def test_an_attribute_of_a_captured_object() -> None:
    model = Model()
    f = tj.function(lambda x: model.helper(x) * model.a.b)
    assert float(f(x)) == 3.0
    model.hidden, model.a.b = 2.0, 5.0
    assert float(f(x)) == 10.0


@pytest.mark.parametrize("calls", [1, 4])
def test_an_attribute_of_a_simple_namespace(calls: int) -> None:
    config = types.SimpleNamespace(scale=2.0, inner=types.SimpleNamespace(offset=1.0))
    f = tj.function(lambda x: x * config.scale + config.inner.offset)
    for _ in range(calls):
        assert float(f(x)) == 3.0
    config.inner.offset = 5.0
    assert float(f(x)) == 7.0
    config.scale = 4.0
    assert [float(f(x)) for _ in range(3)] == [9.0] * 3


def test_the_contents_of_a_default() -> None:
    scales = [2.0, 3.0]

    @tj.function
    def f(x: Any, by: Any = scales) -> Any:
        return x * by[0]

    assert float(f(x)) == 2.0
    scales[0] = 7.0
    assert float(f(x)) == 7.0


@pytest.fixture
def module() -> Iterator[types.ModuleType]:
    made = types.ModuleType("guarded_module")
    exec(compile("offset = 1.0\ndef shift(x):\n    return x + offset\n", "guarded_module.py", "exec"), made.__dict__)
    sys.modules["guarded_module"] = made
    yield made
    del sys.modules["guarded_module"]


def test_an_attribute_of_a_module(module: types.ModuleType) -> None:
    f = tj.function(lambda x: x + module.offset)
    assert float(f(x)) == 2.0
    module.offset = 4.0  # type: ignore[attr-defined]
    assert [float(f(x)), count_of(f)] == [5.0, 2]


def test_the_globals_of_a_helper(module: types.ModuleType) -> None:
    shift = module.shift
    f, g = tj.function(lambda x: shift(x)), tj.function(lambda x: module.shift(x))
    assert [float(f(x)), float(g(x))] == [2.0, 2.0]
    module.offset = 4.0  # type: ignore[attr-defined]
    assert [float(f(x)), float(g(x))] == [5.0, 5.0]


def test_the_globals_of_a_helper_of_a_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    f = tj.function(lambda x: _outer(x))
    assert float(f(x)) == 2.0
    monkeypatch.setitem(globals(), "factor", 6.0)
    assert float(f(x)) == 6.0


def _outer(x: Any) -> Any:
    return _inner(x)


def _inner(x: Any) -> Any:
    return x * factor


def test_a_helper_that_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    f = tj.function(lambda x: _outer(x))
    assert float(f(x)) == 2.0
    monkeypatch.setitem(globals(), "_inner", lambda x: x + 10.0)
    assert float(f(x)) == 11.0


def test_a_nested_traced_function_s_captures(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tj.function(lambda x: x * factor)
    f = tj.function(lambda x: inner(x) + 1.0)
    assert float(f(x)) == 3.0
    monkeypatch.setitem(globals(), "factor", 6.0)
    assert float(f(x)) == 7.0


def test_a_comprehension_and_a_nested_function_read_too() -> None:
    scales, shift = [1.0, 2.0], 0.0

    @tj.function
    def f(x: Any) -> Any:
        def inner(y: Any) -> Any:
            return y + shift

        return tj.add_n([inner(x * scale) for scale in scales])

    assert float(f(x)) == 3.0
    shift = 10.0
    assert float(f(x)) == 23.0
    scales.append(3.0)
    assert float(f(x)) == 36.0


def test_a_function_called_through_a_list() -> None:
    strength = 2.0
    layers = [lambda x: x * strength, lambda x: x + strength]

    @tj.function
    def f(x: Any) -> Any:
        for layer in layers:
            x = layer(x)
        return x

    assert float(f(x)) == 4.0
    strength = 3.0
    assert float(f(x)) == 6.0


def test_a_callable_object_of_the_user_s() -> None:
    class Layer:
        def __init__(self) -> None:
            self.scale = 2.0

        def __call__(self, x: Any) -> Any:
            return x * self.scale

    layer = Layer()
    f = tj.function(lambda x: layer(x))
    assert float(f(x)) == 2.0
    layer.scale = 9.0
    assert float(f(x)) == 9.0


def test_another_variable_in_the_cell() -> None:
    v = tj.Variable(2.0)
    f = tj.function(lambda x: x * v)
    assert float(f(x)) == 2.0
    v.assign(3.0)
    assert [float(f(x)), count_of(f)] == [3.0, 1]
    v = tj.Variable(5.0)
    assert [float(f(x)), count_of(f)] == [5.0, 2]


def test_another_tensor_in_the_cell() -> None:
    k = tj.constant(2.0)
    f = tj.function(lambda x: x * k)
    assert float(f(x)) == 2.0
    k = tj.constant(3.0)
    assert float(f(x)) == 3.0


def test_a_list_that_the_function_appends_to() -> None:
    seen: list[Any] = []

    @tj.function
    def f(x: Any) -> Any:
        seen.append(len(seen))
        return x * 2.0

    for _ in range(5):
        assert float(f(x)) == 2.0
    assert count_of(f) <= 2
    assert seen == list(range(count_of(f)))


def test_a_counter_in_the_function_counts_once_a_trace() -> None:
    calls = 0

    @tj.function
    def f(x: Any) -> Any:
        nonlocal calls
        calls += 1
        return x * 2.0

    for _ in range(4):
        f(x)
    assert [calls, count_of(f)] == [1, 1]
    f(tj.ones([2]))
    assert [calls, count_of(f)] == [2, 2]


def test_a_counter_in_an_attribute_counts_once() -> None:
    class Counting:
        def __init__(self) -> None:
            self.calls = 0

        @tj.function
        def f(self, x: Any) -> Any:
            self.calls += 1
            return x * 2.0

    each = Counting()
    for _ in range(4):
        each.f(x)
    assert [each.calls, count_of(each.f)] == [1, 1]


def test_a_cache_that_the_function_fills() -> None:
    class Lazy:
        def __init__(self) -> None:
            self.w: Any = None

        @tj.function
        def f(self, x: Any) -> Any:
            if self.w is None:
                self.w = tj.Variable(2.0)
            self.w.assign_add(x)
            return self.w * 1.0

    lazy = Lazy()
    assert [float(lazy.f(x)) for _ in range(3)] == [3.0, 4.0, 5.0]
    assert count_of(lazy.f) <= 2


def test_the_content_of_a_captured_array_is_live() -> None:
    table = np.array([1.0, 2.0], np.float32)
    f = tj.function(lambda x: x * table)
    np.testing.assert_array_equal(f(x), [1.0, 2.0])
    table[:] = [5.0, 6.0]
    np.testing.assert_array_equal(f(x), [5.0, 6.0])
    assert count_of(f) == 1
    table = np.array([7.0, 8.0, 9.0], np.float32)
    np.testing.assert_array_equal(f(x), [7.0, 8.0, 9.0])
    assert count_of(f) == 2


def test_a_captured_array_of_another_layout_or_dtype_is_live() -> None:
    table = np.arange(6.0).reshape(2, 3)  # float64, where the tensor is float32
    turned = table.T
    f = tj.function(lambda: tj.ones([3, 2]) * tj.constant(turned, tj.float32))
    np.testing.assert_array_equal(f(), turned)
    table += 10.0
    np.testing.assert_array_equal(f(), turned)


def test_a_captured_array_without_axes_is_guarded() -> None:
    k = np.array(2.0, np.float32)
    f = tj.function(lambda x: x * k)
    assert float(f(x)) == 2.0
    k[...] = 4.0
    assert float(f(x)) == 4.0


def test_a_python_effect_happens_once_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    @tj.function
    def f(x: Any) -> Any:
        print("traced")
        return x

    for _ in range(3):
        f(x)
    assert capsys.readouterr().out == "traced\n"


def test_a_failed_trace_leaves_nothing() -> None:
    broken = True

    @tj.function
    def f(x: Any) -> Any:
        if broken:
            raise RuntimeError("not yet")
        return x * 2.0

    with pytest.raises(RuntimeError, match="not yet"):
        f(x)
    assert count_of(f) == 0
    broken = False
    assert [float(f(x)), count_of(f)] == [2.0, 1]
    assert float(x * 3.0) == 3.0  # eager mode is back


def test_a_function_that_retraces_for_what_it_captured_says_so_once_and_keeps_a_bounded_number_of_steps() -> None:
    state = {"k": 0.0}

    @tj.function
    def f(x):
        return x * state["k"]

    def step(k: float) -> float:
        state["k"] = k
        return float(f(tj.constant(2.0)))

    assert [step(float(k)) for k in range(4)] == [0, 2, 4, 6]
    with pytest.warns(UserWarning, match=r"f was traced 5 times, lately for state has changed\. .* Variable"):
        assert step(4.0) == 8
    assert [step(float(k)) for k in range(5, 12)] == [2.0 * k for k in range(5, 12)]
    lines = f.explain().splitlines()
    assert lines[0] == "f: 12 traces"
    assert sum("dropped since" in line for line in lines) == 4
    assert step(11.0) == 22 and f.experimental_get_tracing_count() == 12
    assert step(0.0) == 0 and f.experimental_get_tracing_count() == 13  # its trace is one of the dropped
