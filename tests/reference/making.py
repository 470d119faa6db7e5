"""Functions that make and convert tensors, and random numbers (shape and dtype only)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reference.cases import DTYPES, A, D, K, S, T, V, program
from reference.data import ALL, FLOATS, INTS, kinks, ordinary, same, special
from reference.elementwise import Calls

SIZES: list[Any] = [
    [], [0], [1], [2, 3], 3, 0, (2,), [2, 0, 1], -1, [-1], [2, -1], [2.0], [1.5, 2], 2.0, None, "text", [None], [True], True, [[2, 3]], K("int32", [2, 1]), K("int64", [2]), K("int32", 2), K("float32", [2.0]), A("int64", [2, 1]), A("int32", 3),
    A("float32", [2.0]), S("int64", 2), [S("int64", 2), 1], [K("int32", 2), 1], range(1, 3), {}, ["2"], 2**63, [2**63], 1j, V("int32", [2, 1]), (), ((2,),), b"2",
]  # fmt: skip
KINDS: list[Any] = [*(D(name) for name in ALL), "float32", "int64", "bool", "text", "float", None, 1, "uint8", "complex64"]
VALUES: list[Any] = [
    0, 1, -1, 1.5, 0.1, True, False, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**53 + 1, 2**63 - 1, 2**63, 2**72, -(2**63), float("nan"), float("inf"), -0.0, 1e40, 1e-46, 1e400, [], [[]], [[], []], (), [1, 2], [1.5, 2], [1, 2.5], [True, False], [True, 1],
    [True, 1.5], [1, 2**31], [1.0, 2**31], [[1, 2], [3, 4]], [[1, 2], [3]], [[1], 2], [1, None], None, "text", ["text"], b"0", {"a": 1}, {1, 2}, 1j, [1j], range(3), object, slice(1), [[[1.0]]], (1, 2), [(1, 2), (3, 4)], [[1.0], (2.0,)],
    *(A(dtype, [0, 1]) for dtype in (*ALL, "uint8", "complex64")), *(S(dtype, 1) for dtype in (*ALL, "uint8", "complex64")), A("float64", 0.1), A("float64", []), A("int32", [[1], [2]]), [S("float64", 0.1)], [S("float32", 0.1), S("float32", 0.2)], [S("int64", 1)],
    [A("float64", [0.1]), A("float64", [0.2])], [A("float32", [0.1]), [0.2]], [A("int64", [1]), A("int64", [2])], [S("float64", 0.1), 1.0], [S("float16", 1.0)], [S("bool", True)], [S("int32", 1), 2.5], [A("float64", [1.0]), A("float64", [1.0, 2.0])],
    *(T(dtype, [0, 1]) for dtype in ALL), T("float32", 1.5), [T("float32", 1.0), 2.0], [1.0, T("float64", 2.0)], [T("float32", 1.0), T("float64", 2.0)], [T("int32", 1), 2], [T("int32", 1), 2.5], [[T("float32", 1.0)], [2.0]], V("float32", [1.0, 2.0]), [V("float32", 1.0), 2.0],
    [T("float32", [1.0, 2.0]), [3.0, 4.0]], [T("float32", [1.0, 2.0]), 3.0], (T("float32", 1.0),), A("float64", [1e40, 1e-46]), A("int64", [2**40, -1]), A("uint8", [200]), S("int64", 2**40),
]  # fmt: skip


def constants() -> Calls:
    calls: Calls = [((value,), {}) for value in VALUES]
    calls += [
        ((value, kind), {}) for value in VALUES for kind in (D("float32"), D("float64"), D("int32"), D("int64"), D("bool"))
    ]
    calls += [((value, D(name)), {}) for value in VALUES[:36] for name in ("float16", "bfloat16")]
    calls += [((1, kind), {}) for kind in KINDS] + [(([1.0, 0.0],), {"dtype": kind}) for kind in KINDS]
    return calls


def shaped() -> Calls:
    calls: Calls = [((1.5,), {"shape": size}) for size in SIZES] + [((2, D("float32"), size), {}) for size in SIZES[:6]]
    for value, shape in (([1, 2, 3], [3]), ([1, 2, 3], [2]), ([1, 2, 3], [3, 1]), ([1, 2, 3, 4], [2, 2]), ([1, 2, 3], [4]), ([[1, 2], [3, 4]], [4]), ([1], [2]), ([1], [2, 2]), ([], [0]), ([], [0, 3]), ([], [2]), (1, []), ([1], []), (A("float64", [1.0]), [2]),
                         (T("float32", [1.0, 2.0]), [2, 1]), (T("float32", 1.0), [2]), ([1, 2], [-1]), ([[1.0]], [3])):  # fmt: skip
        calls.append(((value,), {"shape": shape}))
    return [*calls, ((), {"value": 1, "dtype": D("int64"), "shape": [2], "name": "named"})]


def casts() -> Calls:
    calls: Calls = []
    for dtype in ALL:
        for name in ALL:
            values = [*special(dtype), *kinks(dtype)]
            if name in INTS and dtype in FLOATS:  # what does not fit is undefined
                values = [0.0, -0.0, 0.5, -0.5, 1.5, -1.9, 2.5, 100.7, -100.7]
            calls.append(((T(dtype, values), D(name)), {}))
            calls += [((ordinary(shape, dtype), D(name)), {}) for shape in ((), (0,), (2, 1))]
    calls += [((ordinary((3,)), kind), {}) for kind in KINDS] + [
        ((value, D(name)), {}) for value in VALUES for name in ("float32", "int32", "bool")
    ]
    return [
        *calls,
        ((), {"x": 1, "dtype": D("int64"), "name": "named"}),
        ((V("float32", [1.5]), D("int32")), {}),
        ((V("float32", [1.5]), D("float64")), {}),
    ]


def ranges() -> Calls:
    inf, nan = float("inf"), float("nan")
    sets: list[tuple[Any, ...]] = [
        (5,), (0,), (-3,), (1,), (3.0,), (2.5,), (0.0,), (2, 5), (5, 2), (3, 0), (2, 2), (0, 10, 3), (0, 10, -1), (10, 0, -3), (0, 1, 0), (0.0, 1.0, 0.25), (0.0, 1.0, 0.1), (0, 1, 0.1), (1, 2, 0.1), (0.0, 2.0, 0.3), (5.0, 0.0, -1.5), (0, 5.0), (1.0, 4), (0, 1, -0.5), (3, 0, 1),
        (True,), ("text",), (None,), (0, None, 1), (None, 5), (1, 5, None), ([1],), ([1, 2],), (inf,), (nan,), (0, inf), (2**31, 2**31 + 3), (0, 2**33, 2**31), (2**31 - 2, 2**31 + 1), (2**31 - 3, 2**31 - 1), (S("int64", 3),), (S("float64", 3.0),), (S("int32", 3),), (S("float32", 3.0),), (S("float16", 3.0),),
        (A("int64", 3),), (A("int64", [3]),), (K("int64", 3),), (K("int32", 3),), (K("float64", 3.0),), (K("float32", 2.5),), (K("int64", 0), 3), (0, K("int64", 3)), (0, K("float64", 1.0), 0.25), (S("float64", 0.0), 1.0, 0.25), (S("int64", 1), 4), (K("int32", 0), K("int64", 4)), (K("int32", 0), 2.5),
        (K("float32", [1.0]),), (1j,), (0, 1.0, 1 / 3), (0, 3, S("float64", 0.5)), (0.1, 1.0, 0.1), (0.0, 0.7, 0.1), (S("float64", 0.0), S("float64", 0.7), S("float64", 0.1)), (1e10, 1e10 + 3), (V("int32", 3),), (-5, -1), (-5, -1, 2), (0, 7, 7), (0, 8, 7), (),
    ]  # fmt: skip
    calls: Calls = [(each, {}) for each in sets]
    for each in ((5,), (0, 4, 2), (2.5,), (0.0, 1.0, 0.25), (3.0,), (S("float64", 3.0),)):
        calls += [(each, {"dtype": kind}) for kind in KINDS]
    return [
        *calls,
        ((), {"start": 1, "limit": 4, "delta": 1, "dtype": D("int64"), "name": "named"}),
        ((5,), {"delta": 2}),
        ((), {"limit": 5}),
        ((1, 4, 1, D("float32")), {}),
    ]


def linspaces() -> Calls:
    ends = [(0.0, 1.0), (1.0, 0.0), (2.0, 2.0), (-1.0, 1.0), (0, 1), (1, 10), (0, 10), (0.0, 1), (0.1, 0.7), (S("float64", 0.0), S("float64", 1.0)), (K("float64", 0.0), K("float64", 1.0)), (K("float32", 0.0), K("float32", 1.0)), (K("float64", 0.0), 1.0), (float("nan"), 1.0),
            (0.0, float("inf")), (K("int32", 0), K("int32", 9)), (1e30, -1e30), (S("float32", 0.0), 1.0), (K("float16", 0.0), K("float16", 1.0)), (T("float32", 0.5), T("float32", 2.0)), (T("float64", 0.5), T("float64", 2.0))]  # fmt: skip
    calls: Calls = [((start, stop, num), {}) for start, stop in ends for num in (1, 2, 3, 5, 10, 11)]
    odd: list[Any] = [
        0,
        -1,
        2.0,
        2.5,
        "text",
        None,
        True,
        [3],
        K("int32", 3),
        K("int64", 3),
        S("int64", 3),
        A("int64", 3),
        K("float32", 3.0),
        [],
        1j,
    ]
    calls += [((0.0, 1.0, num), {}) for num in odd] + [
        (("a", 1.0, 3), {}),
        ((None, 1.0, 3), {}),
        ((0.0, "b", 3), {}),
        ((1j, 1.0, 3), {}),
        ((0.0, 1.0), {}),
    ]
    return [
        *calls,
        ((), {"start": 0.0, "stop": 1.0, "num": 3, "name": "named"}),
        ((K("float32", 0.0), K("float64", 1.0), 3), {}),
        ((0.0, 1.0, 3), {"name": "n"}),
        ((True, False, 3), {}),
    ]


def hots() -> Calls:
    calls: Calls = []
    indices: list[Any] = [
        T("int32", [0, 2, 1]),
        T("int64", [0, 2, 1]),
        T("int32", 1),
        T("int32", [[0, 1], [2, 5]]),
        T("int32", [-1, 3, 0]),
        T("int32", [], (0,)),
        [0, 1],
        1,
        T("float32", [0.0]),
        [0.0],
        1.5,
        None,
        "text",
        True,
        A("int64", [1]),
        A("uint8", [1, 2]),
        V("int32", [1, 0]),
        T("bool", [True]),
    ]
    for index in indices:
        calls += [((index, 3), {}), ((index, 3), {"axis": 0}), ((index, 3, 5.0, -1.0), {}), ((index, 3), {"axis": 1})]
    x = T("int32", [0, 2])
    calls += [
        ((x, depth), {})
        for depth in (
            0,
            1,
            -1,
            1.9,
            3.0,
            None,
            "text",
            True,
            [3],
            K("int32", 3),
            K("int64", 3),
            S("int64", 3),
            A("int32", 3),
            K("float32", 3.0),
            2**63,
        )
    ]
    calls += [((x, 3), {"axis": axis}) for axis in (-1, 0, 1, 2, -2, -3, None, 1.0, "text", [0], True, K("int32", 0))]
    calls += [((x, 3), {"dtype": kind}) for kind in KINDS]
    for on, off in (
        (1, 0),
        (5.0, None),
        (None, 3.0),
        (True, False),
        (1, 0.0),
        (1.0, 0),
        (S("float64", 2.0), S("float64", 1.0)),
        (K("float64", 2.0), K("float64", 1.0)),
        (K("int32", 2), 0),
        ("a", "b"),
        ([1.0], 0.0),
        (K("float32", 1.0), K("int32", 0)),
        (float("nan"), float("inf")),
        (2**40, 0),
    ):
        calls += [
            ((x, 3, on, off), {}),
            ((x, 3, on, off), {"dtype": D("float32")}),
            ((x, 3), {"on_value": on, "off_value": off, "dtype": D("int32")}),
            ((x, 3, on, off), {"dtype": D("float64")}),
        ]
    calls += [
        ((x, 3, T("float32", 2.0), T("float32", 0.5)), {}),
        ((), {"indices": x, "depth": 3, "on_value": 1.0, "off_value": 0.0, "axis": -1, "dtype": D("float32"), "name": "named"}),
    ]
    return calls


def filled(value: bool) -> Calls:
    calls: Calls = []
    if not value:
        calls += (
            [((size,), {}) for size in SIZES]
            + [(([2],), {"dtype": kind}) for kind in KINDS]
            + [(([2, 0], kind), {}) for kind in KINDS]
        )
        return [*calls, ((), {"shape": [2], "dtype": D("int32"), "name": "named"}), ((), {})]
    calls += [((size, 1.5), {}) for size in SIZES]
    calls += [(([2], each), {}) for each in VALUES]
    return [*calls, ((), {"dims": [2], "value": 1, "name": "named"}), (([2],), {})]


def eyes() -> Calls:
    counts: list[Any] = [
        0,
        1,
        3,
        -1,
        2.0,
        1.5,
        "text",
        None,
        True,
        [2],
        K("int32", 2),
        S("int64", 2),
        A("int32", 2),
        K("float32", 2.0),
    ]
    calls: Calls = (
        [((count,), {}) for count in counts]
        + [((2, count), {}) for count in counts]
        + [((2,), {"dtype": kind}) for kind in KINDS]
        + [((2,), {"num_columns": 3, "dtype": kind}) for kind in KINDS]
    )
    return [*calls, ((), {"num_rows": 2, "num_columns": 1, "name": "named"}), ((0, 3), {}), ((3, 0), {})]


@program("random.uniform form")
def uniform_form(lib: Any, *args: Any, **kwargs: Any) -> Any:
    """Shape, dtype and bounds of what is drawn."""
    x = lib.random.uniform(*args, **kwargs)
    return [str(tuple(x.shape)), x.dtype.name]


@program("random.normal form")
def normal_form(lib: Any, *args: Any, **kwargs: Any) -> Any:
    """Shape and dtype of what is drawn."""
    x = lib.random.normal(*args, **kwargs)
    return [str(tuple(x.shape)), x.dtype.name]


@program("random.set_seed twice")
def set_seed(lib: Any, seed: Any) -> Any:
    """Whether the same seed gives the same numbers."""
    lib.random.set_seed(seed)
    first = lib.random.uniform([3])
    lib.random.set_seed(seed)
    return bool((first.numpy() == lib.random.uniform([3]).numpy()).all())


@program("is_tensor")
def is_tensor(lib: Any, value: Any) -> Any:
    return lib.is_tensor(value)


@program("as_dtype")
def as_dtype(lib: Any, value: Any) -> Any:
    """The properties of a dtype."""
    dtype = lib.as_dtype(value)
    return [
        dtype.name,
        dtype.is_floating,
        dtype.is_integer,
        dtype.is_bool,
        dtype.size,
        str(dtype.as_numpy_dtype),
        dtype == value,
    ]


def draws(uniform: bool) -> Calls:
    calls: Calls = [((size,), {}) for size in SIZES] + [(([2],), {"dtype": kind}) for kind in KINDS]
    bounds: list[Any] = [
        0,
        1,
        -1.5,
        2,
        None,
        "text",
        [0.0, 1.0],
        K("float32", 2.0),
        K("float64", 2.0),
        S("float64", 0.5),
        True,
        T("float32", [1.0, 2.0]),
        float("inf"),
    ]
    names = ("minval", "maxval") if uniform else ("mean", "stddev")
    calls += [(([2],), {name: bound}) for name in names for bound in bounds] + [(([2], bound), {}) for bound in bounds]
    calls += [(([2],), {"seed": seed}) for seed in (1, 0, None, -1, 2**40, "text", 1.5, True)]
    if uniform:
        for low, high in ((0, 5), (5, 0), (0, 0), (-3, 3), (0, 2**31 - 1), (0, 2.5), (None, 3), (0, None)):
            calls += [(([2], low, high), {"dtype": D(name)}) for name in ("int32", "int64", "float32", "float64", "float16")]
    return calls


def rows() -> Iterator[tuple[str, Calls]]:
    yield "constant", constants() + shaped()
    conversion = [
        *constants(),
        ((1.0, None, D("float64")), {}),
        ((1,), {"dtype_hint": D("float32")}),
        ((), {"value": 1, "dtype": D("int64"), "name": "named"}),
        ((1, D("int32"), D("float32")), {}),
    ]
    yield "convert_to_tensor", conversion
    yield "cast", casts()
    yield "range", ranges()
    yield "linspace", linspaces()
    yield "one_hot", hots()
    yield "zeros", filled(False)
    yield "ones", filled(False)
    yield "fill", filled(True)
    yield "eye", eyes()
    yield "random.uniform form", draws(True)
    yield "random.normal form", draws(False)
    yield (
        "random.set_seed twice",
        [((seed,), {}) for seed in (0, 1, -1, 2**31, 1.5, 1.0, "text", True, S("int64", 3), [1], K("int32", 2))],
    )
    yield (
        "is_tensor",
        [
            ((value,), {})
            for value in (
                1,
                None,
                "text",
                [T("float32", 1.0)],
                T("float32", 1.0),
                V("float32", 1.0),
                A("float32", [1.0]),
                D("float32"),
            )
        ],
    )
    yield (
        "as_dtype",
        [
            ((value,), {})
            for value in (
                *KINDS,
                *DTYPES,
                "half",
                "double",
                "int",
                "float",
                float,
                int,
                bool,
                A("float32", 1.0),
                1.5,
                object,
                "int8",
            )
        ],
    )
    assert same
