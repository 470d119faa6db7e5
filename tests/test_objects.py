"""Objects that make it hard to be looked at: a traced function captures them, takes them and finds them behind its arguments, and
none of their code runs but what the function itself calls."""

from __future__ import annotations

import collections
import copy
import functools
import importlib.util
import pickle
import subprocess
import sys
import threading
import types
import unittest.mock
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tracejit import nest, objects
from tracejit.errors import SignatureError

x = tj.constant([1.0, 2.0])


class Looked(BaseException):
    """Code of a user's class ran. Not an Exception, so that nobody takes it for one."""


def _refuse(*args: Any, **kwargs: Any) -> Any:
    raise Looked


def _refusing(*names: str, **others: Any) -> type:
    return type("Refusing", (), {**dict.fromkeys(names, _refuse), **others})


class Permissive:
    """It has slots, and any attribute that it is asked for."""

    __slots__ = ("__weakref__", "inner")

    def __getattr__(self, name: str) -> Any:
        return types.SimpleNamespace(values=3)


class AttrDict(dict):
    __getattr__ = dict.__getitem__  # type: ignore[assignment]


class ItsOwnDict(dict):
    """Its attributes are its items."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.__dict__ = self


class Proxy:
    """What wrapt, werkzeug and Django have: it looks like something that it has yet to make."""

    def __init__(self, make: Callable[[], Any]):
        object.__setattr__(self, "_make", make)

    def __getattribute__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_make")(), name)

    __class__ = property(lambda self: type(object.__getattribute__(self, "_make")()))  # type: ignore[assignment]


class Meta(type):
    """A metaclass whose classes cannot be asked for anything, nor compared."""

    def __getattribute__(cls, name: str) -> Any:
        raise Looked

    __eq__ = __ne__ = __instancecheck__ = __subclasscheck__ = _refuse  # type: ignore[assignment]
    __hash__ = type.__hash__


def _of_meta() -> type:
    return Meta("OfMeta", (), {})


class RefusingList(list):
    __len__ = __iter__ = __getitem__ = __eq__ = __bool__ = __contains__ = _refuse  # type: ignore[assignment]


class RefusingDict(dict):
    __len__ = __iter__ = __getitem__ = __eq__ = __bool__ = __contains__ = keys = values = items = get = _refuse  # type: ignore[assignment]


class RefusingTuple(tuple):
    __len__ = __iter__ = __getitem__ = __eq__ = __bool__ = __contains__ = _refuse  # type: ignore[assignment]
    __hash__ = tuple.__hash__


def _mock_of_a_variable() -> Any:
    return unittest.mock.MagicMock(spec=tj.Variable)


def _lazy_module() -> Any:
    """A module that is run when an attribute of it is read."""
    spec = importlib.util.find_spec("antigravity")
    assert spec is not None and spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_HOSTILE: dict[str, Callable[[], Any]] = {
    "slots and a permissive __getattr__": Permissive,
    "a __getattr__ that raises": _refusing("__getattr__"),
    "a __getattribute__ that raises": _refusing("__getattribute__"),
    "a __class__ that raises": _refusing(__class__=property(_refuse)),
    "a __class__ that lies": _refusing(__class__=property(lambda self: tj.Variable)),
    "a __class__ that is a list": _refusing(__class__=property(lambda self: list)),
    "a __dict__ that raises": _refusing(__dict__=property(_refuse)),
    "a __dict__ that lies": _refusing(__dict__=property(lambda self: 3)),
    "a __module__ that is no text": _refusing(__module__=3),
    "a __call__": _refusing("__call__"),
    "a python_function": _refusing(python_function=property(_refuse)),
    "__eq__, __len__, __iter__, __bool__": _refusing(
        "__eq__", "__ne__", "__len__", "__iter__", "__bool__", __hash__=object.__hash__
    ),
    "__repr__ and __str__": _refusing("__repr__", "__str__", "__format__"),
    "everything": _refusing(
        "__getattribute__",
        "__getattr__",
        "__eq__",
        "__ne__",
        "__len__",
        "__iter__",
        "__bool__",
        "__repr__",
        "__call__",
        "__get__",
        "__set__",
        "__enter__",
        "__index__",
        "__float__",
        "__getitem__",
        "__contains__",
        "__reduce_ex__",
        __class__=property(_refuse),
        __dict__=property(_refuse),
        __hash__=object.__hash__,
    ),
    "a metaclass": lambda: object.__new__(_of_meta()),
    "a class of a metaclass": _of_meta,
    "a lazy proxy": lambda: Proxy(_refuse),
    "a proxy of a variable": lambda: Proxy(lambda: tj.Variable(1.0)),
    "a mock": unittest.mock.Mock,
    "a mock with everything": unittest.mock.MagicMock,
    "a mock of a variable": _mock_of_a_variable,
    "a lazy module": _lazy_module,
    "a dict with items as attributes": lambda: AttrDict(a=1.0),
    "a dict that is its own __dict__": lambda: ItsOwnDict(a=1.0),
    "a list": lambda: RefusingList([1.0, [2.0]]),
    "a tuple": lambda: RefusingTuple((1.0, [2.0])),
    "a dict": lambda: RefusingDict(a=1.0),
    "a lock": threading.Lock,
    "a generator": lambda: (i for i in range(3)),
}
hostile = pytest.mark.parametrize("make", list(_HOSTILE.values()), ids=_HOSTILE)


def thrice(f: Any, *args: Any) -> None:
    """It gives x * 2 each time, by one trace."""
    for _ in range(3):
        np.testing.assert_array_equal(f(*args), [2.0, 4.0])
    assert f.experimental_get_tracing_count() == 1
    f.explain()


@hostile
def test_captured(make: Callable[[], Any]) -> None:
    each = make()
    two = tj.Variable(2.0)

    @tj.function
    def f(v: Any, x: Any) -> Any:
        kept = each  # noqa: F841
        return x * v

    thrice(f, two, x)
    assert f.graph(two, x)


@hostile
def test_an_attribute_that_the_function_does_not_get_to(make: Callable[[], Any]) -> None:
    each, holder = make(), types.SimpleNamespace(inner=make())

    @tj.function
    def f(v: Any, x: Any) -> Any:
        if x is None:
            return each.values, each.scale.deep, each(x), each.python_function(x), holder.inner.k
        return x * v

    thrice(f, tj.Variable(2.0), x)


@hostile
def test_behind_what_is_captured(make: Callable[[], Any]) -> None:
    holder = types.SimpleNamespace(each=make(), many=[make(), {"k": (make(),)}], w=tj.Variable(2.0))

    class Model:
        def __init__(self) -> None:
            self.each, self.holder = make(), holder

        @tj.function
        def f(self, v: Any, x: Any) -> Any:
            return x * self.holder.w if self.each is not None else v

    thrice(Model().f, tj.Variable(2.0), x)


@hostile
def test_as_an_argument_and_behind_one(make: Callable[[], Any]) -> None:
    each = make()
    for given in (each, [each], {"k": (each, x)}):
        f = tj.function(lambda v, x, given: x * v)
        thrice(f, tj.Variable(2.0), x, given)
    behind = type("Behind", (), {})
    holder: Any = behind()
    holder.each, holder.k = each, 2.0
    f = tj.function(lambda v, x, holder: x * holder.k if holder.each is not None else v)
    thrice(f, tj.Variable(2.0), x, holder)


@hostile
def test_two_of_them_are_told_apart(make: Callable[[], Any]) -> None:
    one, other = make(), make()
    f = tj.function(lambda x, which, flag: x * 2.0)
    for which in (one, other):
        np.testing.assert_array_equal(f(x, which, True), [2.0, 4.0])
    f(x, other, False)
    f.explain()
    assert f.experimental_get_tracing_count() <= 3


@hostile
def test_a_method_of_one(make: Callable[[], Any]) -> None:
    kind = type(make())
    f = tj.function(lambda self, v, x: x * v)
    each = make()
    try:
        weakref.ref(each)
    except TypeError:
        with pytest.raises(SignatureError, match=r"is a method of a \w+, which cannot be weakly referred to"):
            f.__get__(each, kind)
        return
    thrice(f.__get__(each, kind), tj.Variable(2.0), x)


def test_helpers_that_are_decorated_and_read_variables() -> None:
    w = tj.Variable(2.0)

    @tj.function
    def loss(w: Any, x: Any) -> Any:
        return tj.reduce_sum(w * x)

    @tj.function
    def step(w: Any, x: Any) -> Any:
        with tj.GradientTape() as tape:
            value = loss(w, x)
        return tape.gradient(value, w)

    assert float(loss(w, x)) == 6.0
    for _ in range(3):
        assert float(step(w, x)) == 3.0

    class Model:
        def __init__(self) -> None:
            self.w = tj.Variable(3.0)

        @tj.function
        def __call__(self, v: Any, x: Any) -> Any:
            return tj.reduce_sum(self.w * v * x)

    model = Model()
    stored = model.__call__
    outer = tj.function(lambda v, x: model(v, x) + stored(v, x) + loss(v, x) + loss(model.w, x))
    v = tj.Variable(1.0)
    for _ in range(3):
        assert [float(model(v, x)), float(outer(v, x)), float(outer(model.w, x))] == [9.0, 30.0, 72.0]


def test_a_class_with_a_getattr_is_read_by_the_function_alone() -> None:
    asked: list[str] = []

    class Config:
        def __init__(self) -> None:
            self.values = {"scale": 2.0}

        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            return self.values[name]

    config = Config()
    f = tj.function(lambda x: x * config.scale)
    thrice(f, x)
    assert asked == ["scale"]
    config.values["scale"] = 3.0  # seen, since the code of __getattr__ reads it
    np.testing.assert_array_equal(f(x), [3.0, 6.0])
    assert asked == ["scale", "scale"]


def test_a_property_runs_once_a_trace() -> None:
    class Model:
        runs = 0
        k = 1.0

        @property
        def scale(self) -> float:
            Model.runs += 1
            return self.k * 2.0

    model = Model()
    f = tj.function(lambda x: x * model.scale)
    thrice(f, x)
    assert Model.runs == 1
    model.k = 3.0
    np.testing.assert_array_equal(f(x), [6.0, 12.0])


def test_a_cached_property_is_computed_by_the_function_and_guarded() -> None:
    class Model:
        @functools.cached_property
        def scale(self) -> float:
            return 2.0

    model = Model()
    f = tj.function(lambda x: x * model.scale)
    thrice(f, x)
    model.scale = 5.0  # type: ignore[misc]
    np.testing.assert_array_equal(f(x), [5.0, 10.0])


def test_a_method_of_a_library_s_object_is_no_reason_to_trace_anew() -> None:
    lock = threading.Lock()
    f = tj.function(lambda x: [lock.acquire(), lock.release(), x * 2.0][2])
    thrice(f, x)


def test_a_slot_is_guarded_without_asking() -> None:
    class Slotted:
        __slots__ = ("__weakref__", "k")
        __getattr__ = _refuse

    each: Any = Slotted()
    each.k = 2.0
    f = tj.function(lambda x: x * each.k)
    thrice(f, x)
    each.k = 3.0
    np.testing.assert_array_equal(f(x), [3.0, 6.0])


def test_variables_behind_slots_are_known() -> None:
    class Slotted:
        __slots__ = ("__weakref__", "w")

    holder: Any = Slotted()
    holder.w = tj.Variable(2.0)
    f = tj.function(lambda v, x: [v.assign_add(1.0), x * holder.w][1])
    v = tj.Variable(10.0)
    np.testing.assert_array_equal(f(v, x), [2.0, 4.0])
    np.testing.assert_array_equal(f(holder.w, x), [3.0, 6.0])
    np.testing.assert_array_equal(f(v, x), [3.0, 6.0])


def test_a_hash_that_raises_is_said_of_the_argument() -> None:
    class Unhashable:
        def __hash__(self) -> int:
            raise RuntimeError("no")

    with pytest.raises(SignatureError, match="the argument given is a Unhashable, which cannot be hashed") as caught:
        tj.function(lambda x, given: x)(x, Unhashable())
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_the_attributes_of_a_callable_object_are_its_own() -> None:
    class Layer:
        """What it does."""

        def __init__(self) -> None:
            self.name, self._calls, self._traces, self._bound, self.k = "layer", 3, 4, 5, 2.0

        def __call__(self, x: Any) -> Any:
            return x * self.k

    layer = Layer()
    f = tj.function(layer)
    thrice(f, x)
    layer.k = 3.0
    np.testing.assert_array_equal(f(x), [3.0, 6.0])
    assert (f.name, f.__doc__) == ("Layer", "What it does.")
    assert not hasattr(f, "k")


def test_what_is_decorated_may_be_any_callable() -> None:
    kind = _refusing(
        "__getattribute__", "__getattr__", "__eq__", "__len__", "__iter__", "__bool__", "__repr__", "__reduce_ex__",
        __class__=property(_refuse), __dict__=property(_refuse), __hash__=object.__hash__,
        __call__=lambda self, x, k=2.0: x * k,
    )  # fmt: skip
    f = tj.function(kind())
    thrice(f, x)
    np.testing.assert_array_equal(f(k=3.0, x=x), [3.0, 6.0])
    assert f.name == "Refusing"
    thrice(tj.function(functools.partial(lambda k, x: x * k, 2.0)), x)
    thrice(tj.function(f), x)
    with pytest.raises(TypeError, match="function takes a callable, not a Refusing"):
        tj.function(_refusing("__getattribute__", "__repr__")())


def test_reading_statically() -> None:
    class Base:
        a = 1

        def method(self) -> None: ...

        @classmethod
        def of_class(cls) -> None: ...

        @staticmethod
        def static() -> None: ...

    class Derived(Base):
        __slots__ = ("s",)

    each = Derived()
    each.b = 2  # type: ignore[attr-defined]
    for name in ("a", "b", "method", "of_class", "static", "__dict__", "__class__"):
        assert objects.attribute(each, name) == getattr(each, name), name
        if name not in ("b", "__dict__", "__class__"):
            assert objects.attribute(Derived, name) == getattr(Derived, name), name
    assert objects.attribute(each, "s") is objects.attribute(each, "nothing") is objects.MISSING
    each.s = 3
    assert objects.attribute(each, "s") == 3
    assert list(objects.slots(each)) == [3]
    assert objects.attribute(np, "pi") == np.pi


# -- arrays that are not NumPy's own


class Foreign:
    """As torch's tensors: an array that hashes by identity and changes in place."""

    def __init__(self) -> None:
        self.data = np.ones(2, np.float32)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.data


def _interface() -> Any:
    each = type("Interface", (), {})()
    each.__array_interface__ = np.ones(2).__array_interface__
    return each


def _foreign() -> Iterator[Any]:
    import array
    import ctypes
    import mmap

    yield Foreign()
    yield _interface()
    yield type("Capsule", (), {"__dlpack__": lambda self: None})()
    yield mmap.mmap(-1, 16)
    yield (ctypes.c_float * 2)()
    yield array.array("f", [1.0])
    yield bytearray(b"abc")
    yield memoryview(b"abc")


@pytest.mark.parametrize("given", list(_foreign()), ids=lambda value: type(value).__name__)
def test_another_library_s_array_is_refused(given: Any) -> None:
    f = tj.function(lambda x: tj.constant(x) * 2.0)
    name = type(given).__name__
    with pytest.raises(
        SignatureError, match=rf"the argument x is a {name}, an array of another library: pass tj\.constant\(x\)"
    ):
        f(given)
    with pytest.raises(SignatureError, match="the argument x_0_k is a"):
        f([{"k": given}])
    assert f.experimental_get_tracing_count() == 0


@pytest.mark.parametrize("as_what", ["memmap", "matrix", "subclass", "strided subclass", "recarray of floats"])
def test_a_subclass_of_ndarray_is_taken_by_value(as_what: str, tmp_path: Path) -> None:
    values: Any = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    if as_what == "memmap":
        array: Any = np.memmap(tmp_path / "array", np.float32, "w+", shape=(2, 2))
        array[:] = values
    elif as_what == "matrix":
        with pytest.warns(PendingDeprecationWarning):
            array = np.asmatrix(values)
    elif as_what == "recarray of floats":
        array = values.view(np.recarray)
    else:
        kind: Any = type("Array", (np.ndarray,), {"shape": property(_refuse), "__array_finalize__": lambda self, of: None})
        array = (values if as_what == "subclass" else np.repeat(values, 2, 1)[:, ::2]).view(kind)
    f = tj.function(lambda x, y: x * 2.0 + y["k"])
    for _ in range(3):
        np.testing.assert_array_equal(f(array, {"k": array}), values * 3.0)
        np.testing.assert_array_equal(f(values, {"k": values}), values * 3.0)
    assert f.experimental_get_tracing_count() == 1
    array[0, 0] = 7.0
    np.testing.assert_array_equal(f(array, {"k": values}), [[14.0 + values[0, 0], 6.0], [9.0, 12.0]])
    with tj.GradientTape() as tape:
        w = tj.Variable(values)
        y = f(w * 1.0, {"k": array})
    np.testing.assert_array_equal(tape.gradient(y, w), 2.0 * np.ones((2, 2)))


@pytest.mark.parametrize(
    "use",
    [
        tj.constant,
        tj.Variable,
        tj.sin,
        lambda m: x + tj.cast(m, tj.float32),
        tj.function(lambda m: m),
        tj.function(lambda m: [m]),
    ],
)
def test_a_masked_array_is_refused(use: Callable[[Any], Any]) -> None:
    masked = np.ma.array([1.0, 2.0], mask=[False, True])
    for given in (masked, [masked], [[1.0, 2.0], masked]):
        with pytest.raises(TypeError, match=r"masked array.*filled"):
            use(given)


# -- containers of classes of their own


class Settings(AttrDict):
    """With attributes beside its items, and an __init__ of its own."""

    def __init__(self, path: str, **items: Any):
        super().__init__(items)
        object.__setattr__(self, "path", path)


class Rows(list):
    __slots__ = ("label",)


class Point(tuple):
    pass


Pair = collections.namedtuple("Pair", "first second")


class Named(Pair):
    """A namedtuple with a __new__ of its own."""

    def __new__(cls, one: Any) -> Named:
        return super().__new__(cls, one, one)


_CONTAINERS: dict[str, Callable[[], Any]] = {
    "OrderedDict": lambda: collections.OrderedDict(b=x, a=2.0),
    "defaultdict": lambda: collections.defaultdict(list, b=x, a=2.0),
    "Counter": lambda: collections.Counter({"b": x, "a": 2.0}),
    "AttrDict": lambda: AttrDict(b=x, a=2.0),
    "ItsOwnDict": lambda: ItsOwnDict(b=x, a=2.0),
    "Settings": lambda: Settings("here", b=x, a=2.0),
    "Rows": lambda: Rows([x, 2.0]),
    "Point": lambda: Point([x, 2.0]),
    "Named": lambda: Named(x),
    "nested": lambda: AttrDict(b=collections.OrderedDict(k=[x]), a=Rows([Point([x])])),
}  # fmt: skip


@pytest.mark.parametrize("make", list(_CONTAINERS.values()), ids=_CONTAINERS)
def test_a_container_keeps_its_class_through_a_trace(make: Callable[[], Any]) -> None:
    seen: list[Any] = []

    @tj.function
    def f(given: Any) -> Any:
        seen.append(given)
        return given

    given = make()
    for _ in range(3):
        found = f(given)
        for each in (found, seen[0]):
            assert _types(each) == _types(given)
            assert nest.same_structure(each, given)
            if isinstance(given, dict):
                assert list(each) == list(given)
    leaves = [leaf for leaf in nest.flatten(seen[0]) if not isinstance(leaf, float)]
    assert leaves and all("traced" in str(leaf) for leaf in leaves)
    for leaf, expected in zip(nest.flatten(found), nest.flatten(given), strict=True):
        np.testing.assert_array_equal(leaf, expected)
    f(make())
    assert f.experimental_get_tracing_count() == 1


def _types(value: Any) -> Any:
    if isinstance(value, dict):
        return (type(value), [_types(item) for _, item in sorted(dict.items(value))])
    return (type(value), list(map(_types, value))) if isinstance(value, (list, tuple)) else None


def test_what_a_container_has_beside_its_items() -> None:
    f = tj.function(lambda given: given.b * (2.0 if given.path == "here" else 3.0) + float(len(given.__dict__)))
    with_attributes = Settings("here", b=x)
    for _ in range(3):
        np.testing.assert_array_equal(f(with_attributes), [3.0, 5.0])
        np.testing.assert_array_equal(f(Settings("there", b=x)), [4.0, 7.0])
    own = tj.function(lambda given: given.b + given["b"] + given.__dict__["b"])
    np.testing.assert_array_equal(own(ItsOwnDict(b=x)), [3.0, 6.0])
    np.testing.assert_array_equal(own(ItsOwnDict(b=x * 2.0)), [6.0, 12.0])
    rows, others = Rows([x]), Rows([x])
    rows.label, others.label = 2.0, 3.0  # type: ignore[attr-defined]
    by_label = tj.function(lambda rows: rows[0] * rows.label)
    for _ in range(3):
        np.testing.assert_array_equal(by_label(rows), [2.0, 4.0])
        np.testing.assert_array_equal(by_label(others), [3.0, 6.0])
    made = tj.function(lambda given: given["new" if False else "a"] + float(given.default_factory() == []))
    np.testing.assert_array_equal(made(collections.defaultdict(list, a=x)), [2.0, 3.0])
    np.testing.assert_array_equal(made(collections.defaultdict(dict, a=x)), [1.0, 2.0])


def test_a_number_with_attributes() -> None:
    class Meters(float):
        unit = 1.0

    one, other = Meters(2.0), Meters(2.0)
    other.unit = 5.0
    f = tj.function(lambda x, k: x * float(k) * k.unit)
    for _ in range(3):
        np.testing.assert_array_equal(f(x, one), [2.0, 4.0])
        np.testing.assert_array_equal(f(x, other), [10.0, 20.0])


def test_a_range_is_a_range() -> None:
    f = tj.function(lambda x, places: x[places.start] * float(len(places)) if type(places) is range else None)
    for places, expected in ((range(2), 2.0), (range(1, 4), 6.0), (range(2), 2.0), (range(1, 4), 6.0)):
        assert float(f(x, places)) == expected
    assert f.experimental_get_tracing_count() == 2


def test_the_order_of_an_ordered_dict() -> None:
    f = tj.function(lambda given: next(iter(given.values())) * 2.0)
    for _ in range(3):
        np.testing.assert_array_equal(f(collections.OrderedDict(a=x, b=x * 5.0)), [2.0, 4.0])
        np.testing.assert_array_equal(f(collections.OrderedDict(b=x * 5.0, a=x)), [10.0, 20.0])
    assert f.experimental_get_tracing_count() == 2


def test_the_order_of_an_ordered_dict_that_is_captured() -> None:
    table = collections.OrderedDict(a=2.0, b=3.0)
    f = tj.function(lambda x: x * next(iter(table.values())))
    thrice(f, x)
    table.move_to_end("a")
    np.testing.assert_array_equal(f(x), [3.0, 6.0])


@pytest.mark.parametrize(
    ("change", "given"),
    [
        (lambda a: a.append(x), [x]),
        (lambda a: a.pop(), [x]),
        (lambda a: a.reverse(), [x, x]),
        (lambda a: a.__setitem__(0, x), [x]),
        (lambda a: a[1]["k"].append(1), (x, {"k": []})),
        (lambda a: a.update(b=x), {"a": x}),
        (lambda a: a.pop("a"), {"a": x}),
        (lambda a: a["new"], collections.defaultdict(list, a=x)),
    ],
)
def test_a_container_that_the_function_changes_is_an_error(change: Callable[[Any], Any], given: Any) -> None:
    @tj.function
    def f(y: Any, many: Any) -> Any:
        change(many)
        return y

    before = copy.copy(given)
    with pytest.raises(ValueError, match=r"f changes its argument many: .* change a copy"):
        f(x, given)
    with pytest.raises(ValueError, match="f changes its argument many"):
        f(many=given, y=x)
    assert len(given) == len(before)
    assert f.experimental_get_tracing_count() == 0
    tj.function(lambda y, many: [change(copy.deepcopy(many)), y][1])(x, given)


_inside: list[Any] = [1.0]
_inside.append(_inside)
_inside_dict: dict[str, Any] = {"k": 1.0}
_inside_dict["d"] = (_inside_dict,)


@pytest.mark.parametrize("cyclic", [_inside, _inside_dict], ids=["list", "dict"])
def test_what_contains_itself_is_an_error_that_says_where(cyclic: Any) -> None:
    f = tj.function(lambda y, *rest, deep=None: y)
    for args, kwargs, name in [((cyclic,), {}, "y"), ((x, 1, [cyclic]), {}, "rest_1"), ((x,), {"deep": {"a": cyclic}}, "deep")]:
        with pytest.raises(ValueError, match=f"the argument {name} has a .* that contains itself"):
            f(*args, **kwargs)
    with pytest.raises(ValueError, match=r"what _lambda_ returned has a .* that contains itself"):
        tj.function(lambda: cyclic)()
    with tj.GradientTape(persistent=True) as tape:
        with pytest.raises(ValueError, match="watch: what to watch has a"):
            tape.watch(cyclic)
        v = tj.Variable(1.0)
        y = v * v
    with pytest.raises(ValueError, match=r"gradient: the sources has a .* that contains itself"):
        tape.gradient(y, cyclic)
    with pytest.raises((ValueError, TypeError)):
        tape.gradient(cyclic, v)
    with pytest.raises(ValueError, match=r"custom_gradient: an argument has a .* that contains itself"):
        tj.custom_gradient(lambda x: (x, lambda dy: dy))(cyclic)
    with pytest.raises(ValueError, match="contains itself"):
        nest.flatten(cyclic)
    f = tj.function(lambda y: y * 2.0 if cyclic else y)  # captured, it is looked at as far as it goes
    thrice(f, x)


@pytest.mark.parametrize(
    "use",
    [tj.constant, tj.convert_to_tensor, tj.add_n, tj.stack, tj.sin, tj.Variable, tj.Variable(1.0).assign, lambda a: x + a],
)
def test_a_list_that_contains_itself_is_no_tensor(use: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match="a list that contains itself"):
        use(_inside)


# -- copies and pickles


@tj.function
def doubled(x: Any) -> Any:
    return x * 2.0


def _tripled(x: Any) -> Any:
    return x * 3.0


tripled_otherwise = tj.function(_tripled)


class Scaled:
    def __init__(self, k: float):
        self.k = tj.Variable(k)
        self.own = tj.function(self._plain)
        self.stored = self.step

    def _plain(self, x: Any) -> Any:
        return x * self.k

    @tj.function
    def step(self, x: Any) -> Any:
        return x * self.k


def test_functions_are_copied_and_pickled_as_python_s_are() -> None:
    doubled(x)
    assert copy.copy(doubled) is doubled
    assert copy.deepcopy(doubled) is doubled
    assert copy.deepcopy([doubled])[0] is doubled
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(doubled, protocol)) is doubled
    assert pickle.loads(pickle.dumps(Scaled.step)) is Scaled.step
    again = pickle.loads(pickle.dumps(tripled_otherwise))  # of a function that goes by its own name
    np.testing.assert_array_equal(again(x), [3.0, 6.0])


def test_what_python_cannot_pickle_is_its_error() -> None:
    def inner(x: Any) -> Any:
        return x

    for function in (lambda x: x, inner):
        messages = []
        for each in (function, tj.function(function)):
            with pytest.raises((pickle.PicklingError, AttributeError)) as caught:
                pickle.dumps(each)
            messages.append((type(caught.value), str(caught.value)))
        assert messages[0] == messages[1]
        assert copy.deepcopy(each) is each


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))], ids=["deepcopy", "pickle"])
def test_a_method_goes_with_its_object(copied: Callable[[Any], Any]) -> None:
    model = Scaled(2.0)
    for f in (model.step, model.own, model.stored):
        thrice(f, x)
    other = copied(model)
    other.k.assign(5.0)
    for f in (other.step, other.own, other.stored):
        for _ in range(3):
            np.testing.assert_array_equal(f(x), [5.0, 10.0])
    for f in (model.step, model.own, model.stored):
        np.testing.assert_array_equal(f(x), [2.0, 4.0])
    step = copied(model.step)
    assert step.__self__ is not model
    np.testing.assert_array_equal(step(x), [2.0, 4.0])
    assert copy.copy(model.step) is model.step


def test_a_function_is_pickled_into_another_process(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text("import tracejit as tj\n@tj.function\ndef step(x):\n    return x * 2.0\n")
    program = "import pickle, sys; sys.stdout.buffer.write(pickle.dumps(__import__('steps').step))"
    made = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=True).stdout
    program = "import pickle, sys, tracejit as tj; print(float(pickle.loads(sys.stdin.buffer.read())(tj.constant(3.0))))"
    found = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, input=made, capture_output=True, check=True).stdout
    assert found == b"6.0\n"
