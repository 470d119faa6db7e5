"""Reductions, argmax and argmin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reference.cases import A, D, K, S, T, V
from reference.data import ALL, FLOATS, INTS, MAIN, ordinary, same, special
from reference.elementwise import Calls

NUMBERS = ("sum", "prod", "max", "min", "mean", "variance", "std", "logsumexp")
SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (4,), (2, 3), (0, 3), (3, 0), (2, 1, 3))


def reduction_calls(boolean: bool) -> Calls:
    calls: Calls = []
    for dtype in ALL:
        for shape in SHAPES:
            x = ordinary(shape, dtype)
            calls += [((x,), {}), ((x, 0), {}), ((x, -1), {}), ((x, None, True), {}), ((x, [], False), {})]
            if len(shape) > 1:
                calls += [((x, 1), {}), ((x, [0, 1]), {}), ((x,), {"axis": 0, "keepdims": True}), ((x, -2), {})]
    x, y = ordinary((2, 3), "bool" if boolean else "float32"), ordinary((2, 3, 2), "bool" if boolean else "float64", seed=3)
    axes: list[Any] = [
        2, -3, 5, [0], (0,), (0, 1), [1, 0], [-1, 0], [0, 0], [0, -2], [0, 2], [[0, 1]], K("int32", 0), K("int64", 1), K("int32", [0, 1]),
        K("int32", [-1]), K("float32", 0.0), A("int64", [0, 1]), A("int32", 1), A("float64", [0.0]), S("int64", 1), S("int32", -1), S("float32", 1.0),
        1.0, 0.5, "text", True, False, [0.0], [None], [True], {}, {0}, range(2), 2**31, 2**63, -(2**31) - 1, [[0], [1]], V("int32", 0), b"0", 1j, slice(1),
    ]  # fmt: skip
    calls += [((data, axis), {}) for data in (x, y) for axis in axes]
    calls += [((y, axis, True), {}) for axis in (0, 1, 2, -1, -3, [0, 2], (1, 2), [], None, [2, 0, 1])]
    calls += [((x,), {"keepdims": value}) for value in (1, 0, None, "text", S("bool", True), K("bool", True), 1.0)]
    calls += [
        ((), {"input_tensor": x, "axis": 1, "keepdims": False, "name": "named"}),
        ((x, 0, False, "named"), {}),
        ((), {}),
        ((x,), {"dim": 0}),
    ]
    calls += [
        ((value,), {})
        for value in (
            1.5,
            2,
            True,
            [1.0, 2.0],
            [[1, 2], [3, 4]],
            (1.0, 2.0),
            [],
            [[]],
            None,
            "text",
            [True, False],
            [[1.0], [1.0, 2.0]],
        )
    ]
    calls += [
        ((same(x, A),), {}),
        ((same(x, V), 0), {}),
        ((A("float64", [1.0, 2.0]),), {}),
        ((S("float64", 1.5),), {}),
        ((A("uint8", [1, 2]),), {}),
    ]
    calls += [(([T("float32", 1.0), T("float32", 3.0)],), {}), (([T("float32", [1.0, 2.0]), [3.0, 4.0]], 0), {})]
    return calls


def special_calls() -> Calls:
    inf, nan = float("inf"), float("nan")
    rows = [[1.0, inf], [inf, -inf], [-inf, -inf], [nan, 1.0], [1.0, nan], [inf, inf], [0.0, -0.0], [-0.0, 0.0], [2.0, 2.0], [0.0, 0.0],
            [0.0, 3.0], [-1.0, 0.0], [1e-30, 1e-30], [1e30, 1e30], [-0.0, -0.0], [3.0, 3.0], [1e4, -1e4], [-1e4, -1e4]]  # fmt: skip
    calls: Calls = []
    for dtype in MAIN:
        calls += [((T(dtype, row),), {}) for row in rows] + [
            ((T(dtype, rows), -1), {}),
            ((T(dtype, rows), 0), {}),
            ((T(dtype, special(dtype)),), {}),
        ]
        calls += [((T(dtype, [[1.0, 2.0, 2.0], [2.0, 2.0, 1.0]]), axis), {}) for axis in (None, 0, 1)]
        calls += [
            ((T(dtype, values),), {})
            for values in ([0.0, 2.0, 3.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0], [5.0], [-5.0], [1.0, 2.0, 2.0, 2.0])
        ]
        calls += [((ordinary((100,), dtype),), {}), ((ordinary((5, 40), dtype), 1), {}), ((ordinary((40, 5), dtype), 0), {})]
    for dtype in ("float16", "bfloat16"):
        calls += [((T(dtype, row),), {}) for row in rows[:10]] + [((ordinary((40,), dtype),), {})]
    for dtype in INTS:
        calls += [
            ((T(dtype, values),), {}) for values in (special(dtype), [7, -8], [-7, 8], [-7, 2], [5, 5, 2], [2**31 - 1, 1])
        ]
    return calls


def arg_calls() -> Calls:
    nan, inf = float("nan"), float("inf")
    calls: Calls = []
    for dtype in ALL:
        for shape in SHAPES:
            x = ordinary(shape, dtype)
            calls += [((x,), {}), ((x, 0), {}), ((x, -1), {}), ((x, 1), {}), ((x, -2, D("int32")), {})]
    for dtype in FLOATS:
        for values in (
            [1.0, nan, 2.0],
            [nan, 1.0],
            [1.0, nan],
            [nan, nan],
            [inf, inf],
            [-inf, -inf],
            [0.0, -0.0],
            [-0.0, 0.0],
            [2.0, 2.0],
            [nan, inf],
            [-inf, nan],
        ):
            calls.append(((T(dtype, values),), {}))
        calls.append(((T(dtype, [[nan, 1.0, 3.0], [2.0, nan, 3.0]]), 1), {}))
        calls.append(((T(dtype, [[nan, 1.0, 3.0], [2.0, nan, 3.0]]), 0), {}))
    for dtype in INTS:
        calls += [((T(dtype, special(dtype)),), {}), ((T(dtype, [3, 3, 1, 1]),), {})]
    x = ordinary((2, 3))
    axes: list[Any] = [
        2,
        -3,
        [0],
        [0, 1],
        (1,),
        K("int32", 1),
        K("int64", 0),
        K("int32", [0]),
        S("int64", 1),
        A("int32", 1),
        1.0,
        "text",
        True,
        None,
        [],
    ]
    calls += [((x, axis), {}) for axis in axes]
    kinds: list[Any] = [
        D("int32"),
        D("int64"),
        D("float32"),
        D("bool"),
        "int32",
        "int64",
        None,
        "text",
        S("int32", 1),
        D("float64"),
    ]
    calls += [((x, 1, kind), {}) for kind in kinds] + [((x,), {"output_type": kind, "axis": 0}) for kind in kinds[:2]]
    calls += [
        ((), {"input": x, "axis": 1, "name": "named"}),
        (([1.0, 3.0, 2.0],), {}),
        (([[1, 2], [3, 4]], 1), {}),
        ((3.0,), {}),
        ((same(x, A),), {}),
        ((same(x, V),), {}),
    ]
    calls += [((value,), {}) for value in (None, "text", [], [[]], [True, False])]
    return calls


def norm_calls() -> Calls:
    calls: Calls = []
    x, y = ordinary((2, 3)), ordinary((2, 3, 2), "float64")
    for ord in ("euclidean", 2, 1, float("inf"), "fro", 2.0, 3, 0.5, -1, "text", None):
        calls += [((x, ord), {}), ((x, ord, 0), {}), ((x,), {"ord": ord, "axis": -1, "keepdims": True}), ((x, ord, [0, 1]), {})]
    calls += [
        ((y, "euclidean", axis), {})
        for axis in (0, -1, [0, 1], (1, 2), 3, -4, None, [0, 1, 2], [0, 0], [1, 0], 1.0, "text", [], K("int32", 1))
    ]
    return calls


def rows() -> Iterator[tuple[str, Calls]]:
    for space in ("", "math."):
        for kind in NUMBERS:
            if kind in ("variance", "std") and not space:
                continue  # TensorFlow has no such name
            yield f"{space}reduce_{kind}", reduction_calls(False) + special_calls()
        for kind in ("any", "all"):
            yield f"{space}reduce_{kind}", reduction_calls(True)
        for kind in ("argmax", "argmin"):
            yield f"{space}{kind}", arg_calls()
    for name in ("norm", "linalg.norm"):
        plain = [(args, kwargs) for args, kwargs in reduction_calls(False) if "input_tensor" not in kwargs and len(args) < 2]
        yield name, norm_calls() + plain + [call for call in special_calls() if len(call[0]) == 1]
