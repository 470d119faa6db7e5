"""Tapes, Variables, custom gradients and what tensors themselves have: each row a small program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from reference.cases import PROGRAMS, A, D, K, S, T, V, program
from reference.data import ALL, FLOATS, MAIN, kinks, ordinary, same, special
from reference.elementwise import Calls

ROWS: dict[str, Calls] = {}
X, Y = ordinary((3,)), ordinary((3,), seed=1)
SCALARS: Calls = [
    ((T(dtype, value), T(dtype, other)), {}) for dtype in MAIN for value, other in ((3.0, 2.0), (0.0, -1.0), (-2.5, 0.5))
]
PAIRS: Calls = [
    ((X, Y), {}),
    ((ordinary((2, 2), "float64"), ordinary((2, 2), "float64", seed=1)), {}),
    ((ordinary((0,)), ordinary((0,))), {}),
    ((ordinary((2, 1)), ordinary((2, 1))), {}),
    *SCALARS,
]


def entry(name: str, calls: Calls) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A program and its calls."""
    ROWS[name] = calls
    return program(name)


# -- what tensors have


@entry("Tensor.shape", [((x,), {}) for x in (ordinary(()), ordinary((0, 2)), X, V("float32", [1.0]), ordinary((2, 1, 3)))])
def tensor_shape(lib: Any, x: Any) -> Any:
    shape = x.shape
    return [
        str(tuple(shape)),
        str(shape.as_list()),
        shape.rank,
        shape.ndims,
        shape.num_elements(),
        len(shape),
        shape == tuple(shape),
        shape == list(shape),
        str(tuple(x.get_shape())),
        x.dtype.name,
    ]


@entry("Tensor.ndim", [((x,), {}) for x in (ordinary(()), X, ordinary((2, 1)))])
def tensor_ndim(lib: Any, x: Any) -> Any:
    return x.ndim


@entry("Tensor.len", [((x,), {}) for x in (ordinary(()), X, ordinary((0, 2)), V("float32", [[1.0, 2.0]]), V("float32", 1.0))])
def tensor_len(lib: Any, x: Any) -> Any:
    return len(x)


@entry("Tensor.iter", [((x,), {}) for x in (ordinary(()), X, ordinary((0, 2)), ordinary((2, 3)), V("float32", [1.0, 2.0]))])
def tensor_iter(lib: Any, x: Any) -> Any:
    return [each * 2.0 for each in x]


@entry("Tensor.hash", [((X,), {}), ((V("float32", [1.0]),), {})])
def tensor_hash(lib: Any, x: Any) -> Any:
    return hash(x)


@entry("Tensor.ref", [((X,), {}), ((V("float32", [1.0]),), {})])
def tensor_ref(lib: Any, x: Any) -> Any:
    return [x.ref().deref() is x, x.ref() == x.ref(), {x.ref(): 1}[x.ref()]]


@entry("Tensor.setitem", [((X,), {}), ((V("float32", [1.0]),), {})])
def tensor_setitem(lib: Any, x: Any) -> Any:
    x[0] = 1.0


@entry(
    "Tensor.equality",
    [
        ((x, y), {})
        for x in (X, T("int32", [1, 2]), V("float32", [1.0, 2.0]))
        for y in (
            None,
            "text",
            1.0,
            1,
            [1.0],
            [1.0, 2.0],
            T("float32", [1.0, 2.0]),
            object,
            (),
            {},
            [1, 2],
            T("int32", [1, 2, 3]),
            True,
        )
    ],
)
def tensor_equality(lib: Any, x: Any, y: Any) -> Any:
    return [x == y, x != y]


@entry("Tensor.in_place", [((X, 2.0), {}), ((X, Y), {}), ((T("int32", [1, 2]), 2), {})])
def tensor_in_place(lib: Any, x: Any, y: Any) -> Any:
    z = x
    z += y
    z *= y
    z -= 1
    return [z, x]


# -- Variables


VALUES: list[Any] = [
    1.5,
    2,
    True,
    [1.0, 2.0],
    [1, 2],
    A("float64", [1.0, 2.0]),
    A("int64", [1, 2]),
    A("int32", [1, 2]),
    S("float64", 1.5),
    T("float64", [1.0]),
    V("float32", [1.0]),
    [],
    None,
    "text",
    [[1.0], [2.0, 3.0]],
    [True, 1],
    2**40,
    [S("float64", 0.1)],
    [A("float64", [0.1]), A("float64", [0.2])],
    1j,
    (1.0, 2.0),
    [T("float32", 1.0), 2.0],
]


@entry(
    "Variable",
    [((value,), {}) for value in VALUES]
    + [((value,), {"dtype": D(name)}) for value in VALUES for name in ("float32", "float64", "int32", "int64")]
    + [
        ((1.0,), {"trainable": False}),
        ((1.0,), {"shape": []}),
        (([1.0, 2.0],), {"shape": [2]}),
        (([1.0, 2.0],), {"shape": [3]}),
        ((1.0,), {"name": "v"}),
        ((), {}),
    ],
)
def variable(lib: Any, *args: Any, **kwargs: Any) -> Any:
    v = lib.Variable(*args, **kwargs)
    return [v.read_value(), v.dtype.name, str(tuple(v.shape)), v.trainable, v * 1]


ASSIGNED: list[Any] = [
    5.0,
    5,
    True,
    [5.0, 6.0],
    [5, 6],
    [5.5, 6.5],
    T("float32", [5.0, 6.0]),
    T("float64", [5.0, 6.0]),
    T("int32", [5, 6]),
    T("float32", 5.0),
    T("float32", [5.0]),
    T("float32", [[5.0, 6.0]]),
    V("float32", [5.0, 6.0]),
    V("float64", [5.0, 6.0]),
    A("float64", [5.0, 6.0]),
    A("int64", [5, 6]),
    A("float32", [5.0, 6.0, 7.0]),
    S("float64", 5.0),
    None,
    "text",
    [1.0],
    [[1.0, 2.0]],
    (5.0, 6.0),
    [],
    [T("float32", 1.0), 2.0],
    2**40,
    1j,
]
TARGETS = [
    V("float32", [1.0, 2.0]),
    V("float64", [1.0, 2.0]),
    V("int32", [1, 2]),
    V("int64", [1, 2]),
    V("bool", [True, False]),
    V("float32", 1.0),
    V("float16", [1.0, 2.0]),
]

for _method in ("assign", "assign_add", "assign_sub"):

    @entry(
        f"Variable.{_method}",
        [((v, value), {}) for v in TARGETS for value in ASSIGNED]
        + [((TARGETS[0], [5.0, 6.0]), {"read_value": value}) for value in (True, False)]
        + [((TARGETS[0], [5.0, 6.0]), {"use_locking": True, "name": "named"})],
    )
    def assigned(lib: Any, v: Any, value: Any, method: str = _method, **kwargs: Any) -> Any:
        result = getattr(v, method)(value, **kwargs)
        return [result is None, v.read_value(), v * 1 if v.dtype.name != "bool" else v.read_value()]


@entry("Variable.chain", [((v, 2.0), {}) for v in TARGETS[:2]])
def assign_chain(lib: Any, v: Any, value: Any) -> Any:
    return [v.assign_add([value, value]).assign_sub([1.0, 1.0]) + 0.0, v + 0.0]


@entry("Variable.in_place", [((v, which), {}) for v in TARGETS[:1] for which in range(4)])
def variable_in_place(lib: Any, v: Any, which: int) -> Any:
    if which == 0:
        v += 1.0
    elif which == 1:
        v -= 1.0
    elif which == 2:
        v *= 2.0
    else:
        v /= 2.0
    return v


@entry("Variable.trainable set", [((V("float32", 1.0),), {})])
def set_trainable(lib: Any, v: Any) -> Any:
    v.trainable = False


@entry("Variable.read_value gradient", [((V(dtype, [1.0, 2.0]),), {}) for dtype in MAIN])
def read_value_gradient(lib: Any, v: Any) -> Any:
    with lib.GradientTape() as tape:
        r = v.read_value()
        y = r * r
    return tape.gradient(y, [v])


@entry("Variable.read gradient", [((V(dtype, [1.0, 2.0]),), {}) for dtype in MAIN])
def read_as_source(lib: Any, v: Any) -> Any:
    with lib.GradientTape() as tape:
        y = v * v
    return tape.gradient(y, [v.read_value(), v])


@entry("Variable.changed", [((V(dtype, 3.0),), {}) for dtype in MAIN])
def changed(lib: Any, v: Any) -> Any:
    with lib.GradientTape() as tape:
        y = v * v
        v.assign_add(1.0)
        z = y * v
    return [z, tape.gradient(z, v)]


@entry("Variable.cut", [((V(dtype, 3.0), V(dtype, 1.0)), {}) for dtype in MAIN])
def cut(lib: Any, v: Any, w: Any) -> Any:
    with lib.GradientTape() as tape:
        w.assign(v * v)
        z = w * 2.0
    return [z, tape.gradient(z, [v, w])]


@entry("Variable.not trainable", [((3.0,), {})])
def not_trainable(lib: Any, value: Any) -> Any:
    v = lib.Variable(value, trainable=False)
    with lib.GradientTape(persistent=True) as tape:
        y = v * v
    seen = [tape.gradient(y, v), len(tape.watched_variables())]
    with lib.GradientTape() as tape:
        tape.watch(v)
        y = v * v
    return [seen, tape.gradient(y, v), len(tape.watched_variables())]


# -- tapes


def two(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A program of two tensors."""
    return entry(f"tape {name}", PAIRS)


@two("unconnected")
def unconnected(lib: Any, x: Any, y: Any) -> Any:
    with lib.GradientTape(persistent=True) as tape:
        tape.watch([x, y])
        z = x * x
    return [
        tape.gradient(z, [x, y]),
        tape.gradient(z, [x, y], unconnected_gradients="zero"),
        tape.gradient(z, y, unconnected_gradients=lib.UnconnectedGradients.ZERO),
    ]


@two("bad unconnected")
def bad_unconnected(lib: Any, x: Any, y: Any) -> Any:
    with lib.GradientTape() as tape:
        tape.watch(x)
        z = x * y
    return tape.gradient(z, x, unconnected_gradients="bogus")


@two("nests")
def nests(lib: Any, x: Any, y: Any) -> Any:
    with lib.GradientTape(persistent=True) as tape:
        tape.watch([x, y])
        z = [x * y, {"a": x + y}]
    return [tape.gradient(z, {"x": x, "y": (y, x)}), tape.gradient(z[0], (x,)), tape.gradient(z, [[x], [y]])]


@two("twice")
def twice(lib: Any, x: Any, y: Any) -> Any:
    with lib.GradientTape() as tape:
        tape.watch(x)
        z = x * y
    return [tape.gradient(z, x), tape.gradient(z, x)]


@two("inside")
def inside(lib: Any, x: Any, y: Any) -> Any:
    with lib.GradientTape(persistent=True) as tape:
        tape.watch(x)
        z = x * x * x * y
        g = tape.gradient(z, x)
    return [g, tape.gradient(g, x)]


@two("output gradients")
def output_gradients(lib: Any, x: Any, y: Any) -> Any:
    with lib.GradientTape() as tape:
        tape.watch([x, y])
        z = x * y
    return tape.gradient(z, [x, y], output_gradients=y)


@two("intermediate")
def intermediate(lib: Any, x: Any, y: Any) -> Any:
    with lib.GradientTape() as tape:
        tape.watch(x)
        h = x * y
        z = h * h
    return tape.gradient(z, [h, x, z])


@two("same source twice")
def same_source(lib: Any, x: Any, y: Any) -> Any:
    with lib.GradientTape() as tape:
        tape.watch(x)
        z = x * y
    return tape.gradient([z, x, z], [x, x])


@two("before")
def before(lib: Any, x: Any, y: Any) -> Any:
    h = x * 5.0
    with lib.GradientTape() as tape:
        tape.watch([x, h])
        z = x * 2.0 + h * 3.0 * y
    return tape.gradient(z, [x, h, y])


@two("before nested")
def before_nested(lib: Any, x: Any, y: Any) -> Any:
    with lib.GradientTape() as outer:
        outer.watch(x)
        h = x * x
        with lib.GradientTape() as inner:
            inner.watch([x, h])
            z = h * x * y
        g = inner.gradient(z, [x, h])
    return [g, outer.gradient(g, x)]


@two("third order")
def third_order(lib: Any, x: Any, y: Any) -> Any:
    with lib.GradientTape() as a:
        a.watch(x)
        with lib.GradientTape() as b:
            b.watch(x)
            with lib.GradientTape() as c:
                c.watch(x)
                z = lib.sin(x) * x * x * y
            first = c.gradient(z, x)
        second = b.gradient(first, x)
    return [first, second, a.gradient(second, x)]


@entry("integers that wrap around", [((T("int32", value), T("int64", value)), {}) for value in (2, -1)])
def wrapping(lib: Any, x: Any, y: Any) -> Any:
    """Of constants, which are computed before the program runs, and with what comes at the call."""
    found = []
    for least, value in ((-(2**31), x), (-(2**63), y)):
        low, high = lib.constant(least, value.dtype), lib.constant(-(least + 1), value.dtype)
        found += [
            high + 1,
            low - 1,
            high * 2,
            high * high,
            -low,
            lib.abs(low),
            lib.square(high),
            high + value,
            low - value,
            high * value,
        ]
    return found


@two("re-entry")
def re_entry(lib: Any, x: Any, y: Any) -> Any:
    tape = lib.GradientTape()
    with tape:
        tape.watch(x)
        z = x * x
    with tape:
        w = z * x * y
    return tape.gradient(w, x)


@two("entered twice")
def entered_twice(lib: Any, x: Any, y: Any) -> Any:
    with lib.GradientTape() as tape, tape:
        tape.watch(x)
        return x * y


@two("never entered")
def never_entered(lib: Any, x: Any, y: Any) -> Any:
    return lib.GradientTape().gradient(y, x)


@two("watch after")
def watch_after(lib: Any, x: Any, y: Any) -> Any:
    with lib.GradientTape() as tape:
        z = x * y
        tape.watch(x)
        w = x * z
    return tape.gradient(w, [x, y, z])


@two("stop recording")
def stop_recording(lib: Any, x: Any, y: Any) -> Any:
    with lib.GradientTape() as tape:
        tape.watch(x)
        z = x * y
        with tape.stop_recording():
            w = z * x
        u = z + w
    return tape.gradient(u, [x, z, w])


@two("reset")
def reset(lib: Any, x: Any, y: Any) -> Any:
    with lib.GradientTape() as tape:
        tape.watch(x)
        z = x * y
        tape.reset()
        tape.watch(x)
        z = z * x
    return tape.gradient(z, [x, y])


@two("stop gradient")
def stopped(lib: Any, x: Any, y: Any) -> Any:
    with lib.GradientTape(persistent=True) as tape:
        tape.watch([x, y])
        h = lib.stop_gradient(x * x)
        z = h * 3.0 + x * y
    return [tape.gradient(z, [x, y, h])]


VIEWS: list[tuple[str, Callable[[Any, Any], Any]]] = [
    ("x[:]", lambda lib, x: x[:]), ("x[...]", lambda lib, x: x[...]), ("reshape", lambda lib, x: lib.reshape(x, x.shape)), ("broadcast_to", lambda lib, x: lib.broadcast_to(x, x.shape)), ("x**1", lambda lib, x: x**1), ("identity", lambda lib, x: lib.identity(x)),
    ("cast", lambda lib, x: lib.cast(x, x.dtype)), ("+x", lambda lib, x: +x), ("squeeze", lambda lib, x: lib.squeeze(x, [])), ("convert_to_tensor", lambda lib, x: lib.convert_to_tensor(x)), ("transpose", lambda lib, x: lib.transpose(x, list(range(len(x.shape))))), ("tile", lambda lib, x: lib.tile(x, [1] * len(x.shape))),
    ("pad", lambda lib, x: lib.pad(x, [[0, 0]] * len(x.shape))), ("concat", lambda lib, x: lib.concat([x], 0)), ("reverse", lambda lib, x: lib.reverse(x, [])), ("split", lambda lib, x: lib.split(x, 1)[0]), ("reduce_sum", lambda lib, x: lib.reduce_sum(x, [])), ("x()", lambda lib, x: x[()]), ("constant", lambda lib, x: lib.constant(x)),
    ("add_n", lambda lib, x: lib.add_n([x])), ("expand", lambda lib, x: lib.expand_dims(x, 0)[0]), ("reduce_max", lambda lib, x: lib.reduce_max(x, [])), ("x*1", lambda lib, x: x * 1), ("x+0", lambda lib, x: x + 0),
]  # fmt: skip


@entry(
    "tape views",
    [((X, which), {}) for which in range(len(VIEWS))]
    + [((ordinary((2, 2), "float64"), which), {}) for which in range(len(VIEWS))]
    + [((V("float32", [1.0, 2.0]), which), {}) for which in range(len(VIEWS))],
)
def views(lib: Any, x: Any, which: int) -> Any:
    """The gradients of x * y, where y is x once more."""
    with lib.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = VIEWS[which][1](lib, x)
        z = x * y
    with lib.GradientTape() as other:
        other.watch(y)
        w = x * 2.0
    return [tape.gradient(z, [x, y]), other.gradient(w, y), tape.gradient(y, x)]


@entry("tape integers", [((T(dtype, [1, 2]),), {}) for dtype in ("int32", "int64")])
def integers(lib: Any, x: Any) -> Any:
    with lib.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x
        z = lib.cast(x, lib.float32) * 2.0
    return [tape.gradient(y, x), tape.gradient(z, x), tape.gradient(y, x, unconnected_gradients="zero")]


ZERO_GRADIENTS: list[tuple[str, Callable[[Any, Any], Any]]] = [
    ("floor", lambda lib, x: lib.floor(x)), ("round", lambda lib, x: lib.round(x)), ("sign", lambda lib, x: lib.sign(x)), ("ceil", lambda lib, x: lib.math.ceil(x)), ("argmax", lambda lib, x: lib.argmax(x)), ("cast", lambda lib, x: lib.cast(x, lib.int32)), ("cast back", lambda lib, x: lib.cast(lib.cast(x, lib.int32), x.dtype)),
    ("less", lambda lib, x: x < 1.0), ("zeros_like", lambda lib, x: lib.zeros_like(x)), ("ones_like", lambda lib, x: lib.ones_like(x)), ("x*0", lambda lib, x: x * 0.0), ("floordiv", lambda lib, x: x // 2.0), ("mod", lambda lib, x: x % 2.0), ("shape", lambda lib, x: lib.shape(x)), ("stop", lambda lib, x: lib.stop_gradient(x)), ("x-x", lambda lib, x: x - x),
    ("clip", lambda lib, x: lib.clip_by_value(x, 5.0, 6.0)), ("x**0", lambda lib, x: x**0), ("relu", lambda lib, x: lib.nn.relu(x - 10.0)), ("where", lambda lib, x: lib.where(x > 100.0, x, 0.0)), ("2nd x*x", lambda lib, x: x * 3.0), ("maximum", lambda lib, x: lib.maximum(x, 10.0)),
]  # fmt: skip


@entry(
    "tape zero gradients",
    [
        ((x, which), {})
        for which in range(len(ZERO_GRADIENTS))
        for x in (X, ordinary((3,), "float64"), V("float32", [1.5, 2.5]))
    ],
)
def zero_gradients(lib: Any, x: Any, which: int) -> Any:
    """None or zeros: first and second order."""
    with lib.GradientTape() as outer:
        outer.watch(x)
        with lib.GradientTape() as inner:
            inner.watch(x)
            y = ZERO_GRADIENTS[which][1](lib, x)
        g = inner.gradient(y, x)
    return [g, None if g is None else outer.gradient(g, x)]


@entry(
    "tape watch",
    [
        ((value,), {})
        for value in (
            1.0,
            A("float32", [1.0]),
            None,
            "text",
            [X],
            {"a": X},
            V("float32", [1.0]),
            T("int32", [1]),
            [1.0],
            [X, A("float32", 1.0)],
            (),
            object,
        )
    ],
)
def watch(lib: Any, value: Any) -> Any:
    with lib.GradientTape() as tape:
        tape.watch(value)
    return len(tape.watched_variables())


@entry(
    "tape target",
    [
        ((value, X), {})
        for value in (1.0, A("float32", [1.0]), None, "text", [], {}, V("float32", [1.0]), T("int32", [1]), X, [X, 1.0], object)
    ],
)
def target(lib: Any, value: Any, x: Any) -> Any:
    with lib.GradientTape() as tape:
        tape.watch(x)
    return tape.gradient(value, x)


@entry(
    "tape source",
    [
        ((X, value), {})
        for value in (
            1.0,
            A("float32", [1.0]),
            None,
            "text",
            [],
            {},
            V("float32", [1.0]),
            T("int32", [1]),
            Y,
            [Y, 1.0],
            object,
            [None],
        )
    ],
)
def source(lib: Any, x: Any, value: Any) -> Any:
    with lib.GradientTape() as tape:
        tape.watch(x)
        y = x * x
    return tape.gradient(y, value)


@entry(
    "tape seed",
    [
        ((X, seed), {})
        for seed in (
            1.0,
            [1.0, 2.0, 3.0],
            T("float32", 1.0),
            T("float32", [1.0, 2.0]),
            T("float64", [1.0, 2.0, 3.0]),
            [T("float32", [1.0, 2.0, 3.0])],
            [None],
            [],
            None,
            "text",
            A("float32", [1.0, 2.0, 3.0]),
            T("int32", [1, 2, 3]),
            T("float32", [[1.0, 2.0, 3.0]]),
            V("float32", [1.0, 2.0, 3.0]),
        )
    ],
)
def seed(lib: Any, x: Any, seeds: Any) -> Any:
    with lib.GradientTape() as tape:
        tape.watch(x)
        y = x * x
    return tape.gradient(y, x, output_gradients=seeds)


@entry("tape watch_accessed_variables", [((V("float32", [1.0, 2.0]), flag), {}) for flag in (True, False)])
def watch_accessed(lib: Any, v: Any, flag: bool) -> Any:
    with lib.GradientTape(watch_accessed_variables=flag) as tape:
        y = v * v
    return [tape.gradient(y, v), len(tape.watched_variables())]


@entry("tape variables", [((V("float32", 1.0), V("float32", 2.0)), {})])
def watched_variables(lib: Any, v: Any, w: Any) -> Any:
    with lib.GradientTape() as tape:
        y = w * v
    seen = [len(tape.watched_variables()), tape.watched_variables()[0] is v]
    return [seen, tape.gradient(y, [v, w]), tape.gradient(y, v) if False else None]


# -- custom gradients


def custom(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A program with a custom gradient of two tensors."""
    return entry(f"custom_gradient {name}", PAIRS)


@custom("closes over the argument")
def closes_over_argument(lib: Any, x: Any, y: Any) -> Any:
    @lib.custom_gradient
    def f(a: Any) -> Any:
        return a * a, lambda dy: dy * 10.0 * a

    return f(x) * y


@custom("closes over the result")
def closes_over_result(lib: Any, x: Any, y: Any) -> Any:
    @lib.custom_gradient
    def f(a: Any) -> Any:
        s = lib.exp(a)
        return s, lambda dy: dy * 10.0 * s

    return f(x) * y


@custom("constant")
def constant_gradient(lib: Any, x: Any, y: Any) -> Any:
    @lib.custom_gradient
    def f(a: Any) -> Any:
        return a * a, lambda dy: dy * 3.0

    return f(x) + y


@custom("None")
def none_gradient(lib: Any, x: Any, y: Any) -> Any:
    @lib.custom_gradient
    def f(a: Any, b: Any) -> Any:
        return a * b, lambda dy: (dy * b, None)

    return f(x, y)


@custom("all None")
def all_none(lib: Any, x: Any, y: Any) -> Any:
    @lib.custom_gradient
    def f(a: Any) -> Any:
        return a * 2.0, lambda dy: None

    return f(x)


@custom("two results")
def two_results(lib: Any, x: Any, y: Any) -> Any:
    @lib.custom_gradient
    def f(a: Any, b: Any) -> Any:
        def grad(da: Any, db: Any) -> Any:
            return da * b + db, db * a

        return (a * b, a + b), grad

    p, q = f(x, y)
    return [p, q * 2.0]


@custom("one of two results")
def one_result(lib: Any, x: Any, y: Any) -> Any:
    @lib.custom_gradient
    def f(a: Any, b: Any) -> Any:
        def grad(da: Any, db: Any) -> Any:
            return da * b + db, db * a + da

        return (a * b, a + b), grad

    return f(x, y)[0]


@custom("too few")
def too_few(lib: Any, x: Any, y: Any) -> Any:
    @lib.custom_gradient
    def f(a: Any, b: Any) -> Any:
        return a * b, lambda dy: dy * b

    return f(x, y)


@custom("tape in the rule")
def tape_in_rule(lib: Any, x: Any, y: Any) -> Any:
    @lib.custom_gradient
    def f(a: Any) -> Any:
        def grad(dy: Any) -> Any:
            with lib.GradientTape() as tape:
                tape.watch(a)
                z = a * a * a
            return dy * tape.gradient(z, a)

        return a * a * a, grad

    return f(x) * y


@custom("raises")
def raising_rule(lib: Any, x: Any, y: Any) -> Any:
    @lib.custom_gradient
    def f(a: Any) -> Any:
        def grad(dy: Any) -> Any:
            raise ZeroDivisionError("rule")

        return a * 2.0, grad

    return f(lib.stop_gradient(x)) + y


@custom("stop gradient of a product")
def stop_of_product(lib: Any, x: Any, y: Any) -> Any:
    with lib.GradientTape() as tape:
        tape.watch(x)
        h = lib.stop_gradient(x * y)
        z = h * 3.0
    return tape.gradient(z, [h, x])


@custom("method")
def method(lib: Any, x: Any, y: Any) -> Any:
    class Layer:
        @lib.custom_gradient
        def f(self, a: Any) -> Any:
            return a * 2.0, lambda dy: dy * 7.0

    return Layer().f(x) * y


# -- zero cotangents and infinite factors


COMPOSED: list[tuple[str, Callable[[Any, Any], Any]]] = [
    ("where sqrt", lambda lib, x: lib.where(x > 0.0, lib.sqrt(x), lib.zeros_like(x))), ("where log", lambda lib, x: lib.where(x > 0.0, lib.math.log(x), x)), ("where 1/x", lambda lib, x: lib.where(x == 0.0, x, 1.0 / x)), ("log1p exp", lambda lib, x: lib.math.log(1.0 + lib.exp(x))), ("sqrt of square", lambda lib, x: lib.sqrt(x * x)),
    ("x log x", lambda lib, x: x * lib.math.log(x)), ("norm", lambda lib, x: lib.norm(x)), ("logsumexp", lambda lib, x: lib.reduce_logsumexp(x)), ("x / norm", lambda lib, x: x / lib.norm(x)), ("sqrt relu", lambda lib, x: lib.sqrt(lib.nn.relu(x))), ("abs pow", lambda lib, x: lib.abs(x) ** 0.5), ("exp relu", lambda lib, x: lib.exp(lib.nn.relu(x))),
    ("max of two", lambda lib, x: lib.maximum(lib.exp(x), lib.math.log(x))), ("min of two", lambda lib, x: lib.minimum(lib.exp(x), 1.0 / x)), ("prod", lambda lib, x: lib.reduce_prod(x)), ("x * inf", lambda lib, x: x * float("inf")), ("0 * 1/x", lambda lib, x: 0.0 * (1.0 / x)), ("0 * sqrt", lambda lib, x: 0.0 * lib.sqrt(x)), ("sigmoid by hand", lambda lib, x: 1.0 / (1.0 + lib.exp(-x))),
    ("tanh by hand", lambda lib, x: (lib.exp(x) - lib.exp(-x)) / (lib.exp(x) + lib.exp(-x))), ("softmax sum", lambda lib, x: lib.reduce_sum(lib.nn.softmax(x) * x)), ("variance", lambda lib, x: lib.math.reduce_variance(x)), ("std", lambda lib, x: lib.math.reduce_std(x)), ("sum of max", lambda lib, x: lib.reduce_sum(lib.reduce_max(x) * x)), ("clip log", lambda lib, x: lib.math.log(lib.clip_by_value(x, 1e-7, 1.0))),
    ("acosh", lambda lib, x: lib.acosh(x)), ("asin", lambda lib, x: lib.asin(x)), ("atanh", lambda lib, x: lib.atanh(x)), ("log1p", lambda lib, x: lib.math.log1p(x)), ("rsqrt", lambda lib, x: lib.math.rsqrt(x)), ("pow x x", lambda lib, x: x**x), ("pow 2 x", lambda lib, x: 2.0**x), ("pow x 3", lambda lib, x: x**3), ("pow x 1.5", lambda lib, x: x**1.5), ("floordiv", lambda lib, x: x // 2.0), ("mod", lambda lib, x: x % 3.0),
]  # fmt: skip


@entry(
    "composed",
    [
        ((T(dtype, values), which), {})
        for which in range(len(COMPOSED))
        for dtype in MAIN
        for values in (
            [0.0],
            [-1.0],
            [2.0],
            [float("inf")],
            [float("-inf")],
            [float("nan")],
            [800.0],
            [1.0, 0.0, 2.0],
            [0.5, -0.0, 3.0],
            [2.0, 2.0],
        )
    ],
)
def composed(lib: Any, x: Any, which: int) -> Any:
    return COMPOSED[which][1](lib, x)


def rows() -> Iterator[tuple[str, Calls]]:
    yield from ROWS.items()
    assert all((ALL, FLOATS, K, S, kinks, same, special, PROGRAMS))
