"""The native call path: a call that is known runs no Python, and one that differs in anything is seen to."""

from __future__ import annotations

import collections
import gc
import itertools
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tracejit.errors import SignatureError
from tracejit.runtime.native import loader as native

NATIVE = native.unusable() is None
Pair = collections.namedtuple("Pair", "first second")
x = tj.constant([1.0, 2.0, 3.0])
factor = 2.0


def python_calls(call: Callable[[], Any]) -> list[str]:
    """The Python functions that run when `call` does, other than itself."""
    seen: list[str] = []
    collecting = gc.isenabled()
    gc.disable()  # a collection may run anybody's finalizers
    sys.setprofile(lambda frame, event, _: seen.append(frame.f_code.co_name) if event == "call" else None)
    try:
        call()
    finally:
        sys.setprofile(None)
        if collecting:
            gc.enable()
    return seen[1:]


def assert_same(found: Any, expected: Any) -> None:
    """Equal to the bit, in structures of the same types."""
    if isinstance(expected, (tuple, list)):
        assert type(found) is type(expected) and len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, dict):
        assert type(found) is dict and list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif expected is None:
        assert found is None
    else:
        expected = tj.convert_to_tensor(expected)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def hits(f: Any, *args: Any, **kwargs: Any) -> None:
    """The call gives what plain Python gives, and runs no Python once it is known."""
    expected = f.python_function(*args, **kwargs)
    for _ in range(3):
        assert_same(f(*args, **kwargs), expected)
    traces = f.experimental_get_tracing_count()
    seen = python_calls(lambda: f(*args, **kwargs))
    assert not NATIVE or seen == [], f.explain()
    assert_same(f(*args, **kwargs), expected)
    assert f.experimental_get_tracing_count() == traces


def weigh(value: Any) -> Any:
    """A number that tells structures, types and constants apart."""
    if isinstance(value, dict):
        return sum((len(str(key)) * weigh(value[key]) for key in sorted(value)), tj.constant(7.0))
    if isinstance(value, (tuple, list)):
        start = tj.constant(3.0 if isinstance(value, tuple) else 5.0)
        return sum((place * weigh(item) for place, item in enumerate(value, 2)), start)
    if isinstance(value, (int, float, str, bytes, type(None))) and not isinstance(value, np.generic):
        return tj.constant(float(sum(repr(value).encode())))
    return tj.reduce_sum(tj.cast(value, tj.float32)) + 1.0


def weighing() -> Any:
    return tj.function(lambda *args, **kwargs: weigh(args) * 2.0 + weigh(kwargs))


# -- what hits


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.bool_])
def test_tensors_arrays_and_scalars_of_every_dtype_and_rank_hit(dtype: Any) -> None:
    f = tj.function(lambda x: (x, tj.cast(x, tj.float64) + 1.0))
    for shape in [(), (0,), (3,), (2, 3), (1, 2, 1, 2, 3)]:
        array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
        hits(f, tj.constant(array))
        hits(f, array)
    hits(f, dtype(1))
    assert f.experimental_get_tracing_count() == 5


_CONSTANTS = [
    None, True, False, 0, 1, -5, 10**12, 10**30, 0.0, -0.0, 1.5, float("nan"), float("inf"), "", "a", "é" * 100, b"", b"abc", (), [], {},
]  # fmt: skip


@pytest.mark.parametrize("constant", _CONSTANTS, ids=lambda value: f"{type(value).__name__} {str(value)[:8]}")
def test_constants_hit(constant: Any) -> None:
    f = weighing()
    hits(f, x, constant)
    hits(f, x, key=constant)


def test_constants_that_are_equal_and_not_the_same_object_hit() -> None:
    f = weighing()
    for make in (lambda: int("1" + "0" * 20), lambda: float("2.5"), lambda: "".join(["a", "b"]), lambda: bytes([7, 8])):
        hits(f, x, make())
        again = make()
        seen = python_calls(lambda again=again: f(x, again))  # type: ignore[misc]
        assert not NATIVE or seen == []
    assert f.experimental_get_tracing_count() == 4


_STRUCTURES = [
    (x, x), [x, x], {"a": x, "b": 2.0}, Pair(x, 1), Pair(x, Pair(None, [x])), {"b": [x, {"c": (x, None)}], "a": "text", "d": {}},
    ((((x,),),), [[[]]]), {1: x, 2: x}, [np.ones(2), np.float64(3), {"deep": Pair([x], {"k": np.ones((2, 2), np.int64)})}],
]  # fmt: skip


@pytest.mark.parametrize("structure", _STRUCTURES, ids=range(len(_STRUCTURES)))
def test_structures_hit(structure: Any) -> None:
    f = weighing()
    hits(f, structure)
    hits(f, x, named=structure)


def test_a_dict_in_another_order_hits() -> None:
    f = weighing()
    for order in itertools.permutations([("a", x), ("bb", 2.0), ("ccc", np.ones(2))]):
        hits(f, dict(order))
    assert f.experimental_get_tracing_count() == 1


def _written(a: Any, b: Any = 2.0, *rest: Any, c: Any = 3.0, d: Any = x, **named: Any) -> Any:
    return a * b + c * d + weigh(rest) * 10.0 + weigh(named)


def test_every_way_to_write_a_call_hits() -> None:
    f = tj.function(_written)
    y = tj.constant([5.0, 6.0, 7.0])
    for order in itertools.permutations({"a": x, "b": y, "c": 1.0, "d": y}.items()):
        hits(f, **dict(order))
    calls: list[Any] = [
        ((x,), {}), ((x, y), {}), ((x,), {"d": y}), ((x, y), {"d": y, "c": 1.0}), ((x, y, x), {}), ((x, y, 1, (x,)), {"c": y}),
        ((x,), {"other": y}), ((x, 2.0), {"zz": 1, "c": 3.0, "aa": [x]}), ((), {"b": 2.0, "a": x}),
    ]  # fmt: skip
    for args, kwargs in [*calls, *calls]:
        hits(f, *args, **kwargs)


_RESULTS: list[Callable[[Any], Any]] = [
    lambda x: None, lambda x: x, lambda x: (), lambda x: (x * 2.0, x), lambda x: [x + 1.0, None], lambda x: {"b": x, "a": [x, (x * 3.0,)]},
    lambda x: Pair(x, Pair(None, {"k": x - 1.0})), lambda x: [[], {}, (x, [x, {"z": None, 3: x}])], lambda x: tj.reduce_sum(x),
]  # fmt: skip


@pytest.mark.parametrize("function", _RESULTS, ids=range(len(_RESULTS)))
def test_results_of_every_structure_hit(function: Callable[[Any], Any]) -> None:
    hits(tj.function(function), x)


def test_variables_hit() -> None:
    v, w = tj.Variable([1.0, 2.0, 3.0]), tj.Variable([4.0, 5.0, 6.0], trainable=False)
    f = tj.function(lambda a, b, x: (a * x, b + x, v * 2.0))
    for a, b in [(w, w), (v, w), (w, v), (v, v), (tj.Variable(x), tj.Variable(x))]:
        hits_or_is_general = f.python_function(a, b, x)
        for _ in range(4):
            assert_same(f(a, b, x), hits_or_is_general)
    hits(tj.function(lambda a, b: a * 2.0 + b), v, v)
    hits(tj.function(lambda a, b: a * 2.0 + b), v, w)
    hits(tj.function(lambda many: weigh(many)), [v, {"w": w, "v": v}])

    @tj.function
    def step(a: Any, delta: Any) -> Any:
        a.assign_add(delta)
        w.assign_sub(delta)
        return a + w

    for _ in range(3):
        step(v, x)
    seen = python_calls(lambda: step(v, x))
    assert not NATIVE or seen == []
    np.testing.assert_array_equal(v, [5.0, 10.0, 15.0])
    np.testing.assert_array_equal(w, [0.0, -3.0, -6.0])


class Thing:
    """An object with attributes."""

    def __init__(self, **attributes: Any):
        vars(self).update(attributes)


class Model:
    """Everything that a method can read."""

    def __init__(self, scale: float):
        self.scale = scale
        self.w = tj.Variable([scale] * 3)
        self.layers = [lambda x: x + self.scale, self.shift]
        self.table = {"k": np.ones(3, np.float32), "t": tj.constant(scale)}

    def shift(self, x: Any) -> Any:
        return x * self.table["t"] + self.table["k"]

    @property
    def shown(self) -> float:
        return self.scale * factor

    @tj.function
    def step(self, x: Any, times: int = 2) -> Any:
        for layer in self.layers * times:
            x = layer(x)
        return x * self.w + self.shown


def test_methods_hit_also_when_they_are_stored_and_of_several_instances_in_turn() -> None:
    models = [Model(float(scale)) for scale in range(1, 21)]
    stored = [model.step for model in models]
    for _ in range(3):
        for model, step in zip(models, stored, strict=True):
            expected = Model.step.python_function(model, x)
            assert_same(step(x), expected)
            assert_same(model.step(x), expected)
            assert_same(model.step(times=2, x=x), expected)
    for model, step in zip(models, stored, strict=True):
        assert not NATIVE or python_calls(lambda step=step: step(x)) == []  # type: ignore[misc]
        model.step(x)  # among many, an instance's own function is found again by its last user
        assert not NATIVE or python_calls(lambda model=model: model.step(x)) == []  # type: ignore[misc]
    assert {model.step.experimental_get_tracing_count() for model in models} == {1}


# -- what misses


def _layouts() -> list[np.ndarray]:
    """[0, 1, 2] as float64 in every way that an array can lie in memory."""
    array = np.arange(3.0)
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    unaligned = np.frombuffer(b"-" + array.tobytes(), np.uint8)[1:].view(np.float64)
    return [array, np.arange(0.0, 6.0)[::2] / 2, np.repeat(array, 2)[::2], array[::-1][::-1], frozen, unaligned]


def test_every_layout_of_an_array_is_one_trace() -> None:
    f = tj.function(lambda x: x * 2.0)
    layouts = _layouts()
    for each in [*layouts, *reversed(layouts), *layouts]:
        np.testing.assert_array_equal(f(each), [0.0, 2.0, 4.0])
        np.testing.assert_array_equal(f(tj.constant(each)), [0.0, 2.0, 4.0])
    assert f.experimental_get_tracing_count() == 1


def test_eager_results_of_any_layout_are_one_trace() -> None:
    f = tj.function(lambda x: x * 2.0)
    square, number = tj.constant([[1.0, 2.0], [3.0, 4.0]]), tj.constant([2.0])
    for value in [square, tj.transpose(square), square[::-1], tj.transpose(square * 2.0), square] * 2:
        np.testing.assert_array_equal(f(value), np.asarray(value) * 2.0)
    for value in [tj.constant(2.0), tj.reduce_sum(number), number[0], tj.reduce_sum(square), tj.constant(3.0)] * 2:
        np.testing.assert_array_equal(f(value), np.asarray(value) * 2.0)
    assert f.experimental_get_tracing_count() == 2


def test_what_no_trace_is_for_is_refused_after_hits_as_before() -> None:
    f = tj.function(lambda x: x)
    array = np.ones(3, np.float32)
    hits(f, array)
    with pytest.raises(SignatureError, match="a masked array"):
        f(np.ma.array(array))
    for dtype in (np.complex64, ">f4", np.int8):
        with pytest.raises(TypeError, match="not a dtype"):
            f(array.astype(dtype))
    with pytest.raises(TypeError, match="missing a required argument"):
        f()
    with pytest.raises(TypeError, match="unexpected keyword"):
        f(array, y=1)
    hits(f, array)


_v, _w, _short, _still = tj.Variable(x), tj.Variable(x * 2.0), tj.Variable([1.0]), tj.Variable(x, trainable=False)
_DIFFERENT: list[tuple[Any, ...]] = [
    (x, tj.cast(x, tj.float64), tj.cast(x, tj.int32), x[:2], x[:, None], tj.zeros([0]), tj.constant(1.0)),
    (np.ones(3, np.float32), np.ones(3), np.ones(3, np.int32), np.ones((3, 1), np.float32), np.ones(2, np.float32)),
    (np.float32(1), np.float64(1), np.int32(1), np.int64(1), np.bool_(True), 1, 1.0, True),
    (0.0, -0.0, 0, False, None, "0", b"0"),
    (float("nan"), float("inf"), -float("inf")),
    ([x, x], (x, x), Pair(x, x), [x], [x, x, x], [], (), [[x, x]], {}),
    ({"a": x}, {"b": x}, {"a": x, "b": x}, {}, {"a": {"a": x}}, {"aa": x}, {1: x}, {"a": 1.0}, {"a": 1}),
    (_v, x, _short, _still, np.asarray(x)),
    ("a", "b", "ab", b"a"),
    (2**62, 2**63, 2**64, -(2**62), 2.0**62),
]


@pytest.mark.filterwarnings("ignore:.* was traced:UserWarning")
@pytest.mark.parametrize("values", _DIFFERENT, ids=range(len(_DIFFERENT)))
def test_every_difference_of_an_argument_is_seen(values: tuple[Any, ...]) -> None:
    f = weighing()
    calls: list[Any] = [((value,), {}) for value in values] + [((), {"k": value}) for value in values[:3]]
    calls += [((values[0],), {"k": x}), ((values[0],), {"kk": x}), ((x, values[0]), {}), ((x, [values[0]]), {}), ((), {})]
    expected = [f.python_function(*args, **kwargs) for args, kwargs in calls]
    for _ in range(3):
        for (args, kwargs), right in zip(calls, expected, strict=True):
            assert_same(f(*args, **kwargs), right)
    traces = f.experimental_get_tracing_count()
    for (args, kwargs), right in zip(reversed(calls), reversed(expected), strict=True):
        assert_same(f(*args, **kwargs), right)
    assert f.experimental_get_tracing_count() == traces


def test_another_object_is_seen() -> None:
    f = tj.function(lambda model, x: x * model.k)
    models = [Thing(k=float(k)) for k in range(4)]
    for model in models * 3:
        assert_same(f(model, x), x * model.k)
    for model in models:
        hits(f, model, x)


def test_variables_that_are_the_same_or_captured_are_seen() -> None:
    v, w, u = variables = [tj.Variable(x), tj.Variable(x * 2.0), tj.Variable(x * 3.0)]

    @tj.function
    def f(a: Any, b: Any, x: Any) -> Any:
        a.assign_add(x)
        b.assign(b * 2.0)
        return a - v

    def run(step: Callable[..., Any], a: Any, b: Any) -> Any:
        for number, variable in enumerate(variables):
            variable.assign(x * float(number))
        return step(a, b, x), v.read_value(), w.read_value(), u.read_value()

    for a, b in [*itertools.product(variables, repeat=2)] * 4:
        assert_same(run(f, a, b), run(f.python_function, a, b))


def test_a_variable_that_is_a_default_is_another_than_the_argument() -> None:
    v, w = tj.Variable(1.0), tj.Variable(10.0)
    f = tj.function(lambda a, b=v: a * 100.0 + b)
    found = [float(f(each)) for each in (w, v, v, v, w, w, v, tj.Variable(3.0))]
    assert found == [1001.0, 101.0, 101.0, 101.0, 1001.0, 1001.0, 101.0, 301.0]


def test_a_key_whose_comparison_raises_does_as_in_python() -> None:
    class Key:
        def __hash__(self) -> int:
            return hash("a")

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("no comparison")

    f = tj.function(lambda d: d["a"] * 2.0)
    hits(f, {"a": x})
    with pytest.raises(RuntimeError, match="no comparison"):
        f({Key(): x})
    hits(f, {"a": x})


# -- what was captured

other_name = 0
_NAMES: dict[str, Any] = {"tj": tj, "np": np, "Thing": Thing, "factor": 2.0, "settings": {"scale": 2.0}, "types": types}

# What there is, what the function returns, how it changes.
_CHANGES = {
    "a cell": ("k = 2.0", "x * k", "nonlocal k; k = 3.0"),
    "a cell, to another type": ("k = 1.0", "x * weigh(k)", "nonlocal k; k = True"),
    "a cell, to another zero": ("k = 0.0", "x * k", "nonlocal k; k = -0.0"),
    "a cell, emptied": ("k = 2.0", "x * k", "nonlocal k; del k"),
    "a tensor": ("k = tj.constant(2.0)", "x * k", "nonlocal k; k = tj.constant(3.0)"),
    "a variable": ("k = tj.Variable(2.0)", "x * k", "nonlocal k; k = tj.Variable(3.0)"),
    "a variable's value": ("k = tj.Variable(2.0)", "x * k", "k.assign(3.0)"),
    "an array": ("k = np.ones(3, np.float32)", "x * k", "nonlocal k; k = np.zeros(3, np.float32)"),
    "an array's content": ("k = np.ones(3, np.float32)", "x * k", "k[1] = 5.0"),
    "an array without axes": ("k = np.ones((), np.float32)", "x * k", "k[()] = 5.0"),
    "a global": ("pass", "x * factor", "globals()['factor'] = 3.0"),
    "a global, deleted": ("pass", "x * factor", "del globals()['factor']"),
    "a global, that is a dict": ("pass", "x * settings['scale']", "settings['scale'] = 3.0"),
    "a list's item": ("k = [2.0, 4.0]", "x * k[1]", "k[1] = 3.0"),
    "a list's length": ("k = [2.0]", "x * float(len(k))", "k.append(2.0)"),
    "a list, nested": ("k = ({'a': [2.0]},)", "x * k[0]['a'][0]", "k[0]['a'][0] = 3.0"),
    "a list's object, for another": ("k = [Thing(a=2.0)]; m = k[0]", "x * k[0].a * m.a", "nonlocal m; m = Thing(a=3.0); k[0] = m"),
    "a dict's item": ("k = {'a': 2.0}", "x * k['a']", "k['a'] = 3.0"),
    "a dict's key": ("k = {'a': 2.0}", "x * float(len(k))", "k['b'] = 3.0"),
    "a dict, one key for another": ("k = {'a': 2.0}", "x * weigh(k)", "k['bb'] = k.pop('a')"),
    "a dict's order": ("k = {'a': 2.0, 'b': 3.0}", "x * list(k.values())[0]", "k['a'] = k.pop('a')"),
    "an attribute": ("k = Thing(a=2.0)", "x * k.a", "k.a = 3.0"),
    "an attribute, deleted": ("k = Thing(a=2.0)", "x * k.a", "del k.a"),
    "an attribute of an attribute": ("k = Thing(a=Thing(b=2.0))", "x * k.a.b", "k.a.b = 3.0"),
    "an attribute, for another object": ("k = Thing(a=Thing(b=2.0))", "x * k.a.b", "k.a = Thing(b=3.0)"),
    "an attribute, by __dict__": ("k = Thing(a=2.0)", "x * k.a", "k.__dict__['a'] = 3.0"),
    "another __dict__": ("k = Thing(a=2.0)", "x * k.a", "k.__dict__ = {'a': 3.0}"),
    "an attribute, over a class's": ("C = type('C', (), {'a': 2.0}); k = C()", "x * k.a", "k.a = 3.0"),
    "a class's attribute": ("C = type('C', (), {'a': 2.0}); k = C()", "x * k.a", "C.a = 3.0"),
    "a class's attribute, read from it": ("C = type('C', (), {'a': 2.0})", "x * C.a", "C.a = 3.0"),
    "a base's attribute": ("C = type('C', (), {'a': 2.0}); k = type('D', (C,), {})()", "x * k.a", "C.a = 3.0"),
    "an attribute, over a base's": ("C = type('C', (), {'a': 2.0}); D = type('D', (C,), {}); k = D()", "x * k.a", "D.a = 3.0"),
    "a class, deleted from": ("C = type('C', (), {'a': 2.0}); D = type('D', (C,), {'a': 1.0}); k = D()", "x * k.a", "del D.a"),
    "another base": ("B, C = [type('C', (), {'a': a}) for a in (2.0, 3.0)]; D = type('D', (B,), {}); k = type('E', (D,), {})()",
        "x * k.a", "D.__bases__ = (C,)"),
    "another class": ("C, D = [type('C', (), {'a': a}) for a in (2.0, 3.0)]; k = C()", "x * k.a", "k.__class__ = D"),
    "a property's value": ("C = type('C', (), {'a': property(lambda s: s.b * 2.0)}); k = C(); k.b = 1.0", "x * k.a", "k.b = 3.0"),
    "another property": ("C = type('C', (), {'a': property(lambda s: 2.0)}); k = C()", "x * k.a", "C.a = property(lambda s: 3.0)"),
    "a property that raises": ("C = type('C', (), {'a': property(lambda s: 1.0 / s.b)}); k = C(); k.b = 1.0", "x * k.a", "k.b = 0.0"),
    "a property over an attribute": ("C = type('C', (), {}); k = C(); k.a = 2.0", "x * k.a", "C.a = property(lambda s: 3.0)"),
    "__getattr__": ("C = type('C', (), {'__getattr__': lambda s, n: s.__dict__['b'] * 2.0}); k = C(); k.b = 1.0", "x * k.a", "k.b = 3.0"),
    "__getattr__ that raises": ("C = type('C', (), {'__getattr__': lambda s, n: 1.0 / s.__dict__['b']}); k = C(); k.b = 1.0", "x * k.a",
        "k.b = 0.0"),
    "a slot": ("C = type('C', (), {'__slots__': ('a',)}); k = C(); k.a = 2.0", "x * k.a", "k.a = 3.0"),
    "a method": ("C = type('C', (), {'a': lambda s, x: x * 2.0}); k = C()", "k.a(x)", "C.a = lambda s, x: x * 3.0"),
    "a method, on the object": ("C = type('C', (), {'a': lambda s, x: x * 2.0}); k = C()", "k.a(x)", "k.a = lambda x: x * 3.0"),
    "a method's attribute": ("C = type('C', (), {'a': lambda s, x: x * s.b}); k = C(); k.b = 2.0", "k.a(x)", "k.b = 3.0"),
    "a bound method": ("C = type('C', (), {'a': lambda s, x: x * s.b}); k = C(); k.b = 2.0; m = k.a", "m(x)",
        "nonlocal k, m; k = C(); k.b = 3.0; m = k.a"),
    "a helper": ("def h(x): return x * 2.0", "h(x)", "nonlocal h; h = lambda x: x * 3.0"),
    "a helper's cell": ("k = 2.0\n    def h(x): return x * k", "h(x)", "nonlocal k; k = 3.0"),
    "a module's name": ("m = types.ModuleType('m'); m.a = 2.0", "x * m.a", "m.a = 3.0"),
    "a long list": ("C = type('C', (list,), {}); k = C([2.0] * 1001)", "x * k[0]", "nonlocal k; del k; k = C([3.0] * 1001)"),
}  # fmt: skip


def outcome(function: Callable[..., Any], *args: Any) -> Any:
    """What it returns, or what it raises."""
    try:
        return function(*args)
    except Exception as error:
        return type(error)


def assert_same_outcome(found: Any, expected: Any) -> None:
    if isinstance(expected, type):
        assert found is expected
    else:
        assert_same(found, expected)


@pytest.mark.parametrize("change", _CHANGES)
def test_a_change_of_what_was_captured_is_seen_at_once(change: str) -> None:
    setup, body, statement = _CHANGES[change]
    names = {**_NAMES, "weigh": weigh, "settings": {"scale": 2.0}}
    source = f"def case():\n    {setup}\n    def change():\n        {statement}\n    return (lambda x: {body}), change\n"
    exec(compile(source, "case", "exec"), names)
    plain, alter = names["case"]()
    f = tj.function(plain)
    for number in range(5):
        assert_same(f(x), plain(x))
        names[f"unrelated {number}"] = number
    if f.explain().count("general path") == 0:
        hits(f, x)
    alter()
    for _ in range(4):
        assert_same_outcome(outcome(f, x), outcome(plain, x))


def test_a_value_at_the_address_of_the_one_before_is_seen() -> None:
    values = ["1.5", "2.5", "3.5", "4.5"]
    k: Any = 0.0
    holder = Thing(a=0.0, inner=Thing(b=0.0), many=[0.0], named={"k": 0.0})
    functions = [
        tj.function(lambda x: x * k), tj.function(lambda x: x * holder.a), tj.function(lambda x: x * holder.many[0]),
        tj.function(lambda x: x * holder.named["k"]),
    ]  # fmt: skip
    one = tj.constant(1.0)
    for number in range(1000):
        k = holder.a = holder.many[0] = holder.named["k"] = None  # so that the float is freed, and the next one lies there
        k, holder.a, holder.many[0], holder.named["k"] = [float(values[number * place % 4]) for place in (1, 1, 1, 3)]
        right = [k, holder.a, holder.many[0], holder.named["k"]]
        assert [float(f(one)) for f in functions] == right
        assert [float(f(one)) for f in functions] == right


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* was traced:UserWarning")
def test_an_object_at_the_address_of_the_one_before_is_seen() -> None:
    one, holder = tj.constant(1.0), Thing(inner=Thing(b=0.0), many=[[0.0]])
    f, g = tj.function(lambda x: x * holder.inner.b), tj.function(lambda x: x * holder.many[0][0])
    for number in range(40):
        holder.inner = holder.many[0] = None  # type: ignore[call-overload]
        holder.inner, holder.many[0] = Thing(b=float(number)), [float(number)]
        for _ in range(3):
            assert float(f(one)) == float(g(one)) == number


def test_other_names_of_a_module_may_change() -> None:
    f = tj.function(lambda x: x * factor)
    hits(f, x)
    for number in range(50):
        globals()["other_name"] = number
        globals()[f"other_{number}"] = number
        assert not NATIVE or python_calls(lambda: f(x)) == []
        del globals()[f"other_{number}"]


def test_a_traced_object_is_collected() -> None:
    class Layer:
        def __init__(self, parent: Any):
            self.parent, self.w = parent, tj.Variable(2.0)

    class Cyclic(Model):
        def __init__(self, scale: float):
            super().__init__(scale)
            self.layers = [lambda x: x * self.children[0].w, self.shift]
            self.children = [Layer(self), Layer(self)]
            self.f = lambda: self
            self.mine = tj.function(lambda x: x * self.scale)
            self.stored = self.step

    references = []
    for scale in range(5):
        model: Any = Cyclic(float(scale))
        for _ in range(4):
            assert_same(model.step(x), Model.step.python_function(model, x))
            assert_same(model.stored(x), model.step(x))
            model.mine(x)
        references += [weakref.ref(each) for each in (model, model.children[0], model.w, model.mine, model.step)]
    del model
    gc.collect()
    assert [reference() for reference in references] == [None] * len(references)
