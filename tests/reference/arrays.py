"""Functions that rearrange, select and index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reference.cases import A, D, K, S, T, V, program
from reference.data import ALL, FLOATS, INTS, MAIN, kinks, ordinary, same, special
from reference.elementwise import Calls

SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (4,), (2, 3), (0, 3), (1, 2, 1), (2, 1, 3))
X, Y = ordinary((2, 3)), ordinary((2, 3, 4), "float64")
BAD_AXES: list[Any] = [3, -4, 7, 1.0, 0.5, "text", None, True, [0], (1,), [0, 1], [], [0.0], K("int32", 1), K("int64", 0), K("int32", [1]), K("float32", 1.0),
                       S("int64", 1), A("int32", 1), A("int64", [0]), 2**31, 2**63, {}, 1j, V("int32", 1)]  # fmt: skip


def over(calls_of: Any, dtypes: tuple[str, ...] = ALL, shapes: tuple[tuple[int, ...], ...] = SHAPES) -> Calls:
    """Calls on tensors of every dtype and shape."""
    return [call for dtype in dtypes for shape in shapes for call in calls_of(ordinary(shape, dtype))]


def reshapes() -> Calls:
    shapes: list[Any] = [
        [6], [3, 2], [-1], [2, -1], [-1, 2], [1, 6], [6, 1, 1], (3, 2), [2, 3], 6, -1, [4], [7, -1], [-1, -1], [-2, 3], [], [0, -1], [0], [2.0, 3.0],
        K("int32", [3, 2]), K("int64", [6]), K("int32", 6), K("float32", [6.0]), A("int64", [3, 2]), A("float32", [6.0]), [S("int64", 3), 2], [K("int32", 3), 2],
        "text", None, [None, 2], [True, 6], [[3, 2]], [3, "2"], 6.0, (6,), range(2, 4), {}, [2**31, 1], [2**63], True, [1.5, 4], V("int32", [3, 2]),
    ]  # fmt: skip
    calls = over(lambda x: [((x, [-1]), {}), ((x, [1, -1]), {}), ((x, []), {}), ((x, [2, 3]), {})])
    calls += [((X, shape), {}) for shape in shapes]
    calls += [((ordinary((0, 6)), shape), {}) for shape in ([0, -1, 3], [-1, 3], [6, 0], [0], [-1], [2, 0, -1], [3])]
    calls += [
        ((), {"tensor": X, "shape": [6], "name": "named"}),
        (([1.0, 2.0], [2, 1]), {}),
        ((1, [1, 1]), {}),
        ((A("float64", [1.0, 2.0]), [2, 1]), {}),
    ]
    calls += [((same(X, V), [6]), {}), ((X,), {}), ((X, X), {}), (("text", [1]), {}), ((None, [1]), {}), (([X], [6]), {})]
    return calls


def squeezes() -> Calls:
    calls = over(lambda x: [((x,), {}), ((x, 0), {}), ((x, [0]), {}), ((x, -1), {}), ((x, [0, 2]), {}), ((x, [-1]), {})])
    x = ordinary((1, 2, 1))
    calls += [((x, axis), {}) for axis in BAD_AXES] + [((x, axis), {}) for axis in ([0, -3], [2, 0], (0, 2), 1, [0, 1, 2])]
    calls += [
        ((), {"input": x, "axis": 0, "name": "named"}),
        (([[1.0]],), {}),
        ((1.5,), {}),
        ((None,), {}),
        ((same(x, V),), {}),
    ]
    return calls


def expansions() -> Calls:
    calls = over(lambda x: [((x, 0), {}), ((x, -1), {}), ((x, 1), {}), ((x, -2), {}), ((x, 2), {})])
    calls += [((X, axis), {}) for axis in BAD_AXES]
    calls += [
        ((), {"input": X, "axis": 0, "name": "named"}),
        (([1.0, 2.0], 0), {}),
        ((1, 0), {}),
        ((same(X, V), 1), {}),
        ((X,), {}),
    ]
    return calls


def transposes() -> Calls:
    calls = over(lambda x: [((x,), {}), ((x, [0]), {}), ((x, [1, 0]), {}), ((x, [2, 0, 1]), {}), ((x, []), {})])
    perms: list[Any] = [
        [-1, 0, 1], [0, -1, -2], [0, 0, 1], [0, 1], [0, 1, 2, 3], [0, 1, 3], (2, 1, 0), K("int32", [2, 1, 0]), K("int64", [1, 0, 2]), A("int64", [0, 2, 1]),
        [1.7, 0.2, 2.0], [1.0, 0.0, 2.0], A("float32", [1.0, 0.0, 2.0]), "text", 0, [[0, 1, 2]], [None, 0, 1], [True, 0, 2], ["0", 1, 2], {}, range(3), [K("int32", 2), 1, 0], 1.5,
        [2**31, 0, 1],
    ]  # fmt: skip
    calls += [((Y, perm), {}) for perm in perms] + [((X,), {"perm": [1, 0], "conjugate": True}), ((), {"a": X, "perm": [1, 0]})]
    calls += [
        (([[1, 2], [3, 4]],), {}),
        ((1.0,), {}),
        ((same(X, V),), {}),
        ((A("float64", [[1.0, 2.0]]),), {}),
        ((None,), {}),
        ((T("float32", special("float32")),), {}),
    ]
    return calls


def broadcasts() -> Calls:
    calls = over(lambda x: [((x, shape), {}) for shape in ([2, 3], [2, 2, 3], [4], [0, 3], [])])
    shapes: list[Any] = [3, [1, 2, 3], [2, 3], [3, 3], [2, -1], [-1, 3], K("int32", [4, 2, 3]), A("int64", [1, 2, 3]), [2.0, 3.0], None, "text", [None, 3], (2, 3), [[2, 3]],
                         [1, 3], [0, 3], [True, 2, 3], [2**40], {}, [1.5, 2, 3], V("int32", [2, 3])]  # fmt: skip
    calls += [((X, shape), {}) for shape in shapes]
    calls += [
        ((), {"input": X, "shape": [1, 2, 3]}),
        ((1, [2]), {}),
        ((True, [2]), {}),
        (([1.0, 2.0], [2, 2]), {}),
        ((same(X, V), [2, 2, 3]), {}),
    ]
    return calls


def concats() -> Calls:
    calls = over(lambda x: [(([x, x], 0), {}), (([x, x], -1), {}), (([x, x, x], 1), {}), (([x], 0), {})])
    calls += [(([X, ordinary((2, 3), seed=1)], axis), {}) for axis in BAD_AXES]
    calls += [((values, 0), {}) for values in (
        X, [], (), [X, ordinary((3, 3))], [X, ordinary((2, 2))], [X, ordinary((3,))], [X, ordinary((2, 3), "float64")], [X, ordinary((2, 3), "int32")], None, "text",
        [[1.0, 2.0], [3.0]], [[1, 2], [3.5]], [X, [[1.0, 2.0, 3.0]]], [[[1.0, 2.0, 3.0]], X], [X, A("float64", [[1.0, 2.0, 3.0]])], [1.0, 2.0], [X, None], (X, X), [same(X, V), X],
        [T("float32", 1.0), T("float32", 2.0)], A("float32", [[1.0], [2.0]]), {"a": X}, [ordinary((0, 3)), X], [T("float32", [], (0,)), X], [[True], [False]],
    )]  # fmt: skip
    calls += [
        (([X, ordinary((2, 2))], 1), {}),
        ((), {"values": [X, X], "axis": 1, "name": "named"}),
        (([X, X],), {}),
        ((0, [X, X]), {}),
        ((X,), {"axis": 0}),
        ((X, 1), {}),
    ]
    return calls


def stacks() -> Calls:
    calls = over(lambda x: [(([x, x],), {}), (([x, x, x], 1), {}), (([x], -1), {}), (([x, x], -2), {})])
    calls += [(([X, ordinary((2, 3), seed=1)], axis), {}) for axis in BAD_AXES]
    calls += [((values,), {}) for values in (
        X, [], [X, ordinary((3, 3))], [X, ordinary((2, 3), "float64")], None, "text", [[1.0, 2.0], [3.0]], [[1, 2], [3.5, 1.0]], [X, [[1.0, 2.0, 3.0]] * 2], [1.0, 2], [1, 2.0], (X, X),
        [same(X, V), X], [T("float32", 1.0), 2.0], [2.0, T("float64", 1.0)], [X, None], A("float32", [[1.0], [2.0]]), {"a": X}, [1, T("float32", 1.0)], [True, 1], [T("int32", 1), 2.5],
    )]  # fmt: skip
    calls += [((), {"values": [X, X], "axis": 1, "name": "named"})]
    return calls


def unstacks() -> Calls:
    calls = over(lambda x: [((x,), {}), ((x, None, 1), {}), ((x, None, -1), {}), ((x, 2), {})])
    calls += [((X, None, axis), {}) for axis in BAD_AXES] + [
        ((X, num), {}) for num in (2, 3, 5, 0, -1, 2.0, "text", True, K("int32", 2), S("int64", 2), None, [2], 1.5)
    ]
    calls += [((), {"value": X, "num": 3, "axis": 1}), (([1.0, 2.0],), {}), ((1.0,), {}), ((same(X, V),), {}), ((None,), {})]
    return calls


def splits() -> Calls:
    calls = over(
        lambda x: [((x, 1), {}), ((x, 2), {}), ((x, 3, 1), {}), ((x, 1, -1), {}), ((x, [1, 1], 0), {}), ((x, [1, 2], 1), {})]
    )
    sizes: list[Any] = [1, 3, 2, 0, -1, 7, 1.5, 1.0, "text", None, True, [3], [1, 2], [2, 1], [1, 1], [2, 2], [-1, 1], [1, -1], [-1, -1], [-2, 5], [0, 3], [], [1.5, 1.5], [1.0, 2.0],
                        (1, 2), K("int32", [2, 1]), K("int64", [2, 1]), K("int32", 3), A("int64", [1, 2]), [K("int32", 1), 2], [[1, 2]], [None, 1], {}, ["1", 2], [S("int64", 1), 2], V("int32", [1, 2]),
                        [True, 2], [4, -1], 1j]  # fmt: skip
    calls += (
        [((X, size, 1), {}) for size in sizes]
        + [((X, 1, axis), {}) for axis in BAD_AXES]
        + [((X, [1, 2], axis), {}) for axis in BAD_AXES]
    )
    calls += [((X, [1, 2], 1, num), {}) for num in (2, 3, 1, None)] + [
        ((), {"value": X, "num_or_size_splits": 3, "axis": 1}),
        (([1.0, 2.0], 2), {}),
        ((1.0, 1), {}),
        ((same(X, V), 2), {}),
    ]
    return calls


def pads() -> Calls:
    calls = over(
        lambda x: [
            ((x, [[1, 2]] * len(x.array().shape)), {}),
            ((x, [[0, 1]] * len(x.array().shape)), {"constant_values": 1}),
            ((x, [[1, 1]]), {}),
        ]
    )
    paddings: list[Any] = [
        [[0, 0], [0, 0]], [[1, 0], [0, 2]], [[-1, 0], [0, 0]], [[1, 2]], [1, 2], 1, [[1, 0, 2], [0, 2, 1]], [[1], [2]], None, "text", [[1.9, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]], ((1, 1), (0, 2)),
        K("int32", [[1, 1], [2, 0]]), K("int64", [[1, 1], [2, 0]]), A("int64", [[1, 1], [2, 0]]), A("float32", [[1.0, 1.0], [0.0, 0.0]]), K("int32", [], (0, 2)), [], [[1, 0], [0]], [[None, 0], [0, 0]],
        [[True, False], [0, 1]], [[K("int32", 1), 0], [0, 1]], {}, [["1", 0], [0, 0]], [[[1, 0], [0, 2]]], V("int32", [[1, 1], [2, 0]]),
    ]  # fmt: skip
    calls += [((X, padding), {}) for padding in paddings] + [
        ((T("float32", 1.0), padding), {}) for padding in (K("int32", [], (0, 2)), [], [[0, 0]])
    ]
    ones = [[1, 0], [0, 1]]
    for x, values in (
        (X, (0, 1.5, -1, float("nan"), float("inf"), S("float64", 2.5), K("float32", 2.5), K("float64", 2.5), "text", None, [1.0], True, K("float32", [1.0]), T("float32", 3.0), V("float32", 3.0), 1j)),
        (ordinary((2, 3), "int32"), (0, 5, 1.5, 1.0, 2**31, -(2**31), S("int64", 7), True, S("float64", 1.0))),
        (ordinary((2, 3), "int64"), (2**53 + 1, -(2**63), 2**63 - 1, 1.0)), (ordinary((2, 3), "bool"), (True, False, 1, 0, 0.0)), (ordinary((2, 3), "float64"), (0.1, 1e300, 2**53 + 1)),
    ):  # fmt: skip
        calls += [((x, ones), {"constant_values": value}) for value in values]
    for mode in ("CONSTANT", "constant", "Constant", "text", None, 1):
        calls += [((X, ones, mode), {})]
    calls += [
        ((), {"tensor": X, "paddings": ones, "mode": "CONSTANT", "constant_values": 2.0, "name": "named"}),
        (([1.0], [[1, 1]]), {}),
        ((same(X, V), ones), {}),
        ((None, [[1, 1]]), {}),
    ]
    return calls


def tiles() -> Calls:
    calls = over(lambda x: [((x, [2] * len(x.array().shape)), {}), ((x, [1, 2]), {}), ((x, [0] * len(x.array().shape)), {})])
    counts: list[Any] = [[2, 1], [1, 3], [0, 1], [-1, 1], [2], [2, 1, 1], 2, [2.0, 1.0], [1.5, 1], K("int32", [2, 2]), K("int64", [2, 2]), A("int64", [1, 2]), (2, 1), None, "text", [None, 1],
                         [[2, 1]], [True, 2], [], {}, K("float32", [1.0, 2.0]), ["2", 1], V("int32", [2, 1])]  # fmt: skip
    calls += [((X, count), {}) for count in counts] + [
        ((), {"input": X, "multiples": [1, 2]}),
        (([1, 2], [2]), {}),
        ((1.5, []), {}),
        ((same(X, V), [2, 1]), {}),
    ]
    return calls


def reverses() -> Calls:
    calls = over(lambda x: [((x, [0]), {}), ((x, [-1]), {}), ((x, [0, 1]), {}), ((x, []), {})])
    calls += [((X, axis), {}) for axis in BAD_AXES] + [
        ((X, axis), {}) for axis in (0, [0, 0], [0, -2], [1, 0], (0,), [True], K("int32", [0, 1]), ["0"], [None])
    ]
    calls += [((), {"tensor": X, "axis": [1]}), (([1.0, 2.0], [0]), {}), ((same(X, V), [0]), {})]
    return calls


def gathers() -> Calls:
    calls: Calls = []
    for dtype in ALL:
        for shape in SHAPES:
            x = ordinary(shape, dtype)
            calls += [((x, T("int32", [0, 0])), {}), ((x, T("int64", 0)), {}), ((x, T("int32", [[0, 0]])), {"axis": -1})]
    indices: list[Any] = [
        [1, 0, 1], [0], 0, 1, -1, 2, [0, 2], [-1], [[0, 1], [1, 0]], [], T("int32", [], (0,)), T("int64", [1, 1]), T("float32", [0.0]), [0.0], [1.5], True, [True, False], "text", None, A("int64", [1]),
        S("int64", 1), A("uint8", [1]), V("int32", [1]), (1, 0), [2**31], 2**63, T("int32", [[1, 0, 1]]), T("bool", [True]), 1.0, {},
    ]  # fmt: skip
    calls += [((X, index), {}) for index in indices] + [((X, [0, 1]), {"axis": axis}) for axis in BAD_AXES]
    z, index = ordinary((2, 3, 2), seed=1), T("int32", [[0, 2], [1, 1]])
    for batch in (0, 1, -1, 2, 3, -2, None, True, 1.0, "text", [1], K("int32", 1)):
        calls += [
            ((z, index), {"batch_dims": batch}),
            ((z, index), {"batch_dims": batch, "axis": 1}),
            ((z, index), {"batch_dims": batch, "axis": 2}),
            ((z, index), {"batch_dims": batch, "axis": -1}),
        ]
    calls += [
        ((z, T("int32", [[0, 3], [1, 1]])), {"batch_dims": 1}),
        ((z, T("int32", [[0, 1]])), {"batch_dims": 1}),
        ((z, T("int32", [0, 1])), {"batch_dims": 1}),
        ((X, [0]), {"validate_indices": True}),
    ]
    calls += [
        ((), {"params": X, "indices": [1], "axis": 1, "name": "named"}),
        (([1.0, 2.0], [1]), {}),
        ((same(X, V), [1, 1]), {}),
        ((same(X, V), [1, 1]), {"axis": 1}),
        ((X,), {}),
        ((1.0, 0), {}),
    ]
    return calls


def wheres() -> Calls:
    inf, nan = float("inf"), float("nan")
    calls: Calls = []
    for dtype in ALL:
        for shape in SHAPES:
            calls.append(((ordinary(shape, "bool"), ordinary(shape, dtype), ordinary(shape, dtype, seed=1)), {}))
        calls += [
            ((T("bool", [True, False]), ordinary((), dtype), ordinary((3, 2), dtype)), {}),
            ((True, ordinary((2,), dtype), ordinary((2,), dtype, seed=1)), {}),
        ]
    x, y = T("float32", [1.0, nan, inf]), T("float32", [nan, 2.0, -inf])
    c = T("bool", [True, False, True])
    calls += [
        ((c, x, y), {}),
        ((c, x, 0.0), {}),
        ((c, 0.0, y), {}),
        ((c, 1, 2), {}),
        ((c, 1.5, 2), {}),
        ((c, 1, 2.5), {}),
        ((c, x, 0), {}),
        ((c, 0, y), {}),
        ((c, x, [1.0, 2.0, 3.0]), {}),
    ]
    calls += [
        ((c, x, ordinary((3,), "float64")), {}),
        ((c, x, ordinary((3,), "int32")), {}),
        ((c, x, ordinary((2,))), {}),
        ((ordinary((3,)), x, y), {}),
        (([1, 0, 1], x, y), {}),
        (([True, False, True], x, y), {}),
    ]
    calls += [
        ((A("bool", [True, False, True]), x, y), {}),
        ((V("bool", [True, False, True]), x, y), {}),
        ((c, V("float32", [1.0, 2.0, 3.0]), x), {}),
        ((), {"condition": c, "x": x, "y": y, "name": "named"}),
    ]
    calls += [
        ((None, x, y), {}),
        (("text", x, y), {}),
        ((c, None, y), {}),
        ((c, x, None), {}),
        ((c, x), {}),
        ((T("int32", [1, 0, 1]), x, y), {}),
        ((c, True, False), {}),
        ((c, A("float64", [1.0, 2.0, 3.0]), x), {}),
    ]
    calls += [
        ((c, x, A("float64", [1.0, 2.0, 3.0])), {}),
        ((c, x, S("float64", 2.0)), {}),
        ((c, S("float64", 2.0), x), {}),
        ((1, x, y), {}),
        ((c, [1, 2, 3], [4, 5, 6]), {}),
        ((c, x, True), {}),
        ((c, x, "text"), {}),
    ]
    return calls


def clips() -> Calls:
    calls: Calls = []
    for dtype in ALL:
        calls += [((ordinary(shape, dtype), low, high), {}) for shape in SHAPES for low, high in ((-1, 1),)]
        calls += [
            ((T(dtype, special(dtype)), -1, 1), {}),
            ((T(dtype, kinks(dtype)), 0, 1), {}),
            ((T(dtype, kinks(dtype)), T(dtype, 0), T(dtype, 3)), {}),
        ]
    x = T("float32", [-2.0, -1.0, 0.0, 1.0, 2.0])
    for low, high in ((1.0, -1.0), (0.0, 0.0), (float("nan"), 1.0), (-1.0, float("inf")), ([0.0] * 5, 1.0), (0.0, [1.0] * 5), ([[0.0]], 1.0), ([0.0, 1.0], 2.0), (T("float32", 0.0), 1.0), (None, 1.0), (0.0, None),
                      ("text", 1.0), (T("float64", 0.0), 1.0), (0, 1), (0.5, 1), (T("int32", 0), 1), (S("float64", 0.5), 1.0), ([[0.0] * 5] * 2, 1.0), (T("float32", [-1.0, -1.0, 0.0, 1.0, 2.0]), T("float32", [1.0, 1.0, 1.0, 1.0, 2.0])),
                      (V("float32", 0.0), 1.0), (True, 1.0), (-1.0, 1.0)):  # fmt: skip
        calls.append(((x, low, high), {}))
    calls += [
        ((T("int32", [-5, 0, 5]), -1.5, 2), {}),
        ((T("int32", [-5, 0, 5]), -1, 2.0), {}),
        ((1.5, 0.0, 1.0), {}),
        (([1.0, 5.0], 0.0, 2.0), {}),
        (([1, 5], 0, 2), {}),
        ((5, 0, 2), {}),
        ((1.0, [0.0, 2.0], 3.0), {}),
    ]
    calls += [
        ((), {"t": x, "clip_value_min": 0.0, "clip_value_max": 1.0, "name": "named"}),
        ((same(x, V), -1.0, 1.0), {}),
        ((T("float32", 1.0), [0.0, 2.0], 3.0), {}),
    ]
    return calls


def sums() -> Calls:
    calls = over(lambda x: [(([x, x],), {}), (([x],), {}), (([x, x, x],), {})])
    calls += [((values,), {}) for values in (
        [], X, [X, ordinary((3,))], [X, ordinary((2, 3), "float64")], [X, 1.0], [1.0, 2.0], [1, 2], {"a": X}, None, "text", (X, X), [same(X, V), X], [X, None], [same(X, A), X], [[1.0], [2.0]], [T("float32", 1.0), T("float32", [1.0])],
        [X, "text"], 1.0, [T("float32", [float("inf"), 1.0]), T("float32", [float("-inf"), 2.0])], [ordinary((0,)), ordinary((1,))], [[1.0, 2.0], T("float32", [1.0, 1.0])], A("float32", [[1.0], [2.0]]),
    )]  # fmt: skip
    calls += [((), {"inputs": [X, X], "name": "named"})]
    return calls


def products() -> Calls:
    calls: Calls = []
    shapes = [((2, 3), (3, 2)), ((1, 1), (1, 1)), ((2, 0), (0, 3)), ((0, 2), (2, 3)), ((2, 2, 3), (2, 3, 1)), ((2, 2, 3), (3, 2)), ((3, 2), (2, 2, 1)), ((1, 2, 3), (4, 3, 2)), ((2, 1, 2, 2), (3, 2, 2)), ((17, 9), (9, 5)),
              ((2, 3), (2, 3)), ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((), (2, 2)), ((2, 2, 3), (3, 3, 2)), ((2, 3, 4), (5, 6)), ((0, 2, 3), (0, 3, 2)), ((2, 1), (1, 4))]  # fmt: skip
    for dtype in ALL:
        calls += [((ordinary(a, dtype), ordinary(b, dtype, seed=1)), {}) for a, b in shapes]
        x, y = ordinary((2, 3), dtype), ordinary((2, 3), dtype, seed=1)
        calls += [
            ((x, y), {"transpose_a": True}),
            ((x, y), {"transpose_b": True}),
            ((x, ordinary((3, 2), dtype), True, True), {}),
            ((x, y, 1, 0), {}),
            ((ordinary((2, 2, 3), dtype), ordinary((2, 2, 3), dtype)), {"transpose_b": True}),
        ]
        calls += [
            ((ordinary((2, 2, 3), dtype), ordinary((2, 3), dtype)), {"transpose_b": True}),
            ((ordinary((2, 2, 3), dtype), ordinary((2, 2), dtype)), {"transpose_a": True}),
        ]
    inf, nan = float("inf"), float("nan")
    for dtype in MAIN:
        calls += [
            ((T(dtype, [[1.0, inf], [nan, 0.0]]), T(dtype, [[1.0, 0.0], [0.0, 1.0]])), {}),
            ((T(dtype, [[0.0, 0.0]]), T(dtype, [[inf], [1.0]])), {}),
        ]
    calls += [((X, ordinary((3, 2), other)), {}) for other in ("float64", "int32", "bool", "float16")]
    b = ordinary((3, 2))
    calls += [
        ((X, [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), {}),
        (([[1.0, 2.0, 3.0]], b), {}),
        (([[1.0]], [[2.0]]), {}),
        (([[1]], [[2]]), {}),
        ((A("float64", [[1.0]]), A("float64", [[1.0]])), {}),
        ((X, A("float64", [[1.0], [2.0], [3.0]])), {}),
    ]
    calls += [
        ((same(X, V), b), {}),
        ((X, same(b, V)), {}),
        ((X, 2.0), {}),
        ((2.0, X), {}),
        ((X, None), {}),
        ((X, "text"), {}),
        ((), {"a": X, "b": b, "name": "named"}),
        ((X,), {}),
        ((X, [1.0, 2.0, 3.0]), {}),
        ((X, b, "text"), {}),
        ((X, b, None), {}),
    ]
    calls += [
        ((X, same(X, T)), {"transpose_a": True, "transpose_b": True}),
        ((X, b), {"adjoint_a": False}),
        ((X, X), {"adjoint_b": True}),
        ((T("bool", [[True]]), T("bool", [[True]])), {}),
    ]
    return calls


def likes(out: str | None) -> Calls:
    """zeros_like, ones_like, shape, size, identity."""
    calls = over(lambda x: [((x,), {})])
    kinds: list[Any] = [D(name) for name in (*ALL,)] + ["float64", "int64", "text", None, S("float32", 1.0), 1, "float"]
    name = out or "dtype"
    calls += [((X, kind), {}) for kind in kinds] + [((X,), {name: kind}) for kind in kinds[:4]]
    calls += [
        ((value,), {}) for value in (1.5, 2, True, [1.0, 2.0], [[1, 2], [3, 4]], [], None, "text", [[1.0], [1.0, 2.0]], (1, 2))
    ] + [((same(X, A),), {}), ((same(X, V),), {}), ((A("float64", [1.0]),), {}), ((), {"input": X})]
    return calls


@program("getitem")
def getitem(lib: Any, x: Any, key: Any) -> Any:
    return x[key]


def indexings() -> Calls:
    s = slice
    keys: list[Any] = [
        0, 1, -1, -2, 2, -3, (0, 0), (0, -1), (1, 2), (0, 3), (0, 0, 0), s(None), s(0, 1), s(1, None), s(None, -1), s(None, None, -1), s(5, 9), s(2, 0), s(0, 2, 2), s(None, None, 2), s(None, None, 0), s(-1, None), s(-5, 1), s(1, 0, -1),
        (s(None), 0), (s(None), s(None, None, -1)), (s(None), s(0, 2)), (..., 0), (0, ...), ..., (...,), (..., ...), (1, ..., ...), None, (None, 0), (0, None), (s(None), None), (None, ..., None), (), (s(None), s(None)), (s(None), s(None), s(None)),
        [0, 1], [0], [True, False], True, False, 0.0, 1.5, "text", "0", A("int64", [0, 1]), A("int64", 1), A("bool", [True, False]), S("int64", 1), S("int32", -1), S("float32", 0.0), K("int32", 1), K("int64", 0), K("int32", [1, 0]), K("float32", 0.0),
        K("bool", [True, False]), K("bool", True), T("int32", 1), T("int32", -1), T("int32", 5), (K("int32", 0), 1), (0, K("int32", 1)), (s(None), K("int32", 2)), (s(K("int32", 0), K("int32", 1)),), s(K("int32", 1), None), s(S("int64", 0), S("int64", 2)),
        s(0.0, 1.0), s("a", None), s(0, 1.5), (s(None, None, -2), s(None, None, -1)), (0, s(None, None, -1)), {}, 2**31, 2**63, -(2**31), s(None, 2**40), ([0, 1], [0, 1]), (0, [0, 1]), 1j, b"0", V("int32", 1), s(True, None), (True, 0), s(None, None, 1.0),
    ]  # fmt: skip
    calls: Calls = [((X, key), {}) for key in keys] + [((same(X, V), key), {}) for key in keys[:40]]
    for dtype in ALL:
        for shape in SHAPES:
            x = ordinary(shape, dtype)
            calls += [((x, key), {}) for key in (0, -1, s(None, None, 2), ..., (..., None), s(1, None), (s(None), 0), ())]
    for dtype in FLOATS:
        calls += [
            ((ordinary((4, 3, 2), dtype), key), {})
            for key in (
                (s(0, 4, 2), 1),
                (..., s(None, None, -1)),
                (s(3, 0, -2), None, s(1, None), 0),
                (1, s(None), None, 1),
                s(4, None),
            )
        ]
    calls += [
        ((Y, key), {})
        for key in (
            (0, ..., 1),
            (s(None), 1, s(1, 3)),
            (..., 0, s(None, None, 3)),
            (-1, -1, -1),
            (0, 1, 2, 3),
            (s(None), ..., s(None), 0),
        )
    ]
    return calls


def rows() -> Iterator[tuple[str, Calls]]:
    yield "reshape", reshapes()
    yield "squeeze", squeezes()
    yield "expand_dims", expansions()
    yield "transpose", transposes()
    yield (
        "linalg.matrix_transpose",
        [
            *over(lambda x: [((x,), {})]),
            ((), {"a": X}),
            (([[1, 2]],), {}),
            ((1.0,), {}),
            ((None,), {}),
            ((same(X, V),), {}),
            ((X, "named"), {}),
        ],
    )
    yield "broadcast_to", broadcasts()
    yield "concat", concats()
    yield "stack", stacks()
    yield "unstack", unstacks()
    yield "split", splits()
    yield "pad", pads()
    yield "tile", tiles()
    yield "reverse", reverses()
    yield "gather", gathers()
    yield "where", wheres()
    yield "clip_by_value", clips()
    for name in ("add_n", "math.add_n"):
        yield name, sums()
    for name in ("matmul", "linalg.matmul"):
        yield name, products()
    yield "operator.matmul", [call for call in products() if not call[1] and len(call[0]) == 2]
    for name, out in (("zeros_like", None), ("ones_like", None), ("shape", "out_type"), ("size", "out_type")):
        yield name, likes(out)
    yield "getitem", indexings()
    assert INTS
