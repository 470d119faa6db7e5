"""Functions of neural networks: softmax and losses, convolutions, pools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reference.cases import A, D, K, S, T, V
from reference.data import ALL, MAIN, ordinary, same, special
from reference.elementwise import Calls

SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (4,), (2, 3), (0, 3), (2, 0), (2, 1, 3))
X = ordinary((2, 3))
INF, NAN = float("inf"), float("nan")
LOGITS = [
    [1.0, 2.0, 3.0],
    [1000.0, 0.0, -1000.0],
    [INF, 1.0, 2.0],
    [-INF, 1.0, 2.0],
    [INF, INF, 0.0],
    [-INF, -INF, -INF],
    [NAN, 1.0, 2.0],
    [0.0, 0.0, 0.0],
    [88.0, -88.0, 0.0],
]
AXES: list[Any] = [
    0,
    1,
    -1,
    -2,
    2,
    -3,
    None,
    [0],
    (1,),
    [0, 1],
    [],
    1.0,
    0.5,
    "text",
    True,
    K("int32", 1),
    K("int64", 0),
    S("int64", 1),
    A("int32", 1),
    2**31,
    2**63,
    {},
    K("float32", 1.0),
]


def softmaxes() -> Calls:
    calls: Calls = []
    for dtype in ALL:
        for shape in SHAPES:
            x = ordinary(shape, dtype)
            calls += [((x,), {}), ((x, 0), {}), ((x, -1), {})] + ([((x, 1), {}), ((x, -2), {})] if len(shape) > 1 else [])
    for dtype in MAIN:
        calls += [((T(dtype, row),), {}) for row in LOGITS] + [
            ((T(dtype, LOGITS),), {}),
            ((T(dtype, LOGITS), 0), {}),
            ((T(dtype, special(dtype)),), {}),
            ((T(dtype, [-1.0, 0.5, 2.0, 3.0]),), {}),
        ]
    calls += [((X, axis), {}) for axis in AXES]
    calls += [((value,), {}) for value in (1.5, [1.0, 2.0], [1, 2], [[1.0, 2.0], [3.0, 4.0]], [], None, "text", [True])] + [
        ((same(X, A),), {}),
        ((same(X, V),), {}),
        ((A("float64", [1.0, 2.0]),), {}),
        ((), {"logits": X, "axis": 0, "name": "named"}),
        ((), {}),
    ]
    return calls


def cross_entropies(sparse: bool) -> Calls:
    calls: Calls = []
    for dtype in ALL:
        for shape in ((3,), (1,), (2, 3), (0, 3), (2, 2, 3), (2, 0), (0,), ()):
            logits = ordinary(shape, dtype)
            labels = (
                ordinary(shape, dtype, 0.05, 0.9, seed=1)
                if not sparse
                else T(
                    "int32",
                    [0, 2, 1, 0][: shape[0]] if len(shape) == 2 else [[0, 2], [1, 0]] if len(shape) == 3 else 0,
                    (0,) if shape == (0, 3) else None,
                )
            )
            calls += [((labels, logits), {}), ((), {"labels": labels, "logits": logits})]
    for dtype in MAIN:
        for row in LOGITS:
            calls.append(((T(dtype, [0.2, 0.3, 0.5]) if not sparse else T("int64", 1), T(dtype, row)), {}))
    if sparse:
        for labels in (
            [0, 3],
            [-1, 0],
            [0, 1],
            T("int32", [0, 5]),
            T("int64", [-1, 0]),
            T("int32", [2, 1]),
            T("float32", [0.0, 1.0]),
            T("int32", [[0, 1]]),
            T("int32", [0]),
            T("int32", 0),
            T("bool", [True, False]),
            A("int64", [0, 1]),
            A("uint8", [0, 1]),
            V("int32", [0, 1]),
            None,
            "text",
            [0.0, 1.0],
            S("int64", 1),
            [0, None],
        ):
            calls += [((labels, X), {}), ((labels, same(X, V)), {}), ((labels, ordinary((2, 3), "float64")), {})]
        calls += [
            ((T("int32", [0, 1]), value), {})
            for value in (
                None,
                "text",
                [[1.0, 2.0], [3.0, 4.0]],
                [[1, 2], [3, 4]],
                A("float64", [[1.0, 2.0], [3.0, 4.0]]),
                1.0,
                [1.0, 2.0],
            )
        ]
    else:
        labels = T("float32", [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
        for other in (
            T("float32", [0.2, 0.3, 0.5]),
            T("float32", [[0.2, 0.3, 0.5]]),
            T("float64", [[0.2, 0.3, 0.5]] * 2),
            T("int32", [[0, 1, 0]] * 2),
            T("float32", [[0.5, 0.5]] * 2),
            [[0.0, 1.0, 0.0]] * 2,
            [[0, 1, 0]] * 2,
            A("float64", [[0.2, 0.3, 0.5]] * 2),
            V("float32", [[0.2, 0.3, 0.5]] * 2),
            None,
            "text",
            1.0,
            T("float32", 1.0),
        ):
            calls += [((other, X), {}), ((X, other), {})]
        calls += [((labels, X, axis), {}) for axis in AXES] + [
            ((ordinary((2, 3, 2), low=0.1, high=0.9), ordinary((2, 3, 2), seed=2)), {"axis": axis})
            for axis in (0, 1, 2, -1, -2, -3)
        ]
        calls += [
            ((T("float32", [2.0, 1.0, 0.0]), T("float32", [1.0, 2.0, 3.0])), {}),
            ((T("float32", [0.0, 0.0, 1.0]), T("float32", [-INF, 0.0, 0.0])), {}),
            ((T("float32", [NAN, 0.0, 1.0]), T("float32", [1.0, 2.0, 3.0])), {}),
        ]
    return calls


def sigmoid_losses() -> Calls:
    calls: Calls = []
    for dtype in ALL:
        calls += [((ordinary(shape, dtype, 0.05, 0.95), ordinary(shape, dtype, -4, 4, seed=1)), {}) for shape in SHAPES]
    for dtype in MAIN:
        for label in (0.0, 0.5, 1.0, 0.3, INF, NAN):
            values = [0.0, -0.0, INF, -INF, NAN, 1.0, -1.0, 100.0, -100.0, 1000.0, -1000.0, 1e-40]
            calls.append(((T(dtype, [label] * len(values)), T(dtype, values)), {}))
    for labels in (
        T("float32", [0.0, 1.0, 1.0]),
        T("float32", 0.5),
        T("float64", [[0.0, 1.0, 0.5]] * 2),
        T("int32", [[0, 1, 0]] * 2),
        [[0.0, 1.0, 0.5]] * 2,
        [[0, 1, 0]] * 2,
        None,
        "text",
        0.5,
        A("float64", [[0.0, 1.0, 0.5]] * 2),
        V("float32", [[0.0, 1.0, 0.5]] * 2),
        T("bool", [[True, False, True]] * 2),
    ):
        calls += [((labels, X), {}), ((X, labels), {}), ((), {"logits": X, "labels": labels})]
    return [*calls, ((), {"labels": X, "logits": X, "name": "named"}), ((X,), {}), ((), {})]


def biases() -> Calls:
    calls: Calls = []
    for dtype in ALL:
        for shape, size in (
            ((2, 3), 3),
            ((2, 2, 3), 3),
            ((1, 2, 2, 3), 3),
            ((0, 3), 3),
            ((3,), 3),
            ((2, 3), 1),
            ((2, 3), 2),
            ((2, 0), 0),
            ((2, 1, 2, 2, 3), 3),
        ):
            x, b = ordinary(shape, dtype), ordinary((size,), dtype, seed=1)
            calls += [((x, b), {}), ((x, b, "NCHW"), {}), ((x, b), {"data_format": "NHWC"}), ((x, b, "NC"), {})]
    b = ordinary((3,))
    calls += [((X, b, form), {}) for form in (None, "NHWC", "NCHW", "N...C", "NC...", "NCDHW", "text", 1, "nhwc", "NWC")] + [
        ((X, other), {})
        for other in (
            1.0,
            [1.0, 2.0, 3.0],
            [1, 2, 3],
            ordinary((2, 3)),
            ordinary((1, 3)),
            ordinary(()),
            ordinary((3,), "float64"),
            T("int32", [1, 2, 3]),
            None,
            "text",
            A("float64", [1.0, 2.0, 3.0]),
            same(b, V),
        )
    ]
    return [
        *calls,
        (([[1.0, 2.0, 3.0]], b), {}),
        ((), {"value": X, "bias": b, "name": "named"}),
        ((same(X, V), b), {}),
        ((b, b), {}),
        ((1.0, b), {}),
    ]


def moments() -> Calls:
    calls: Calls = []
    for dtype in ALL:
        for shape in SHAPES:
            x = ordinary(shape, dtype)
            calls += [((x, axes), {}) for axes in ([0], [-1], [0, 1], [])] + [((x, [0]), {"keepdims": True})]
    calls += [((X, axes), {}) for axes in (*AXES, [0, 0], [0, -2], [5], "01", [0.0])] + [
        ((X, [0], None, keep), {}) for keep in (True, False, 1, None)
    ]
    calls += [
        ((T(dtype, values), [0]), {})
        for dtype in MAIN
        for values in (special(dtype), [INF, 1.0], [1e30, 1e30], [2.0, 2.0], [0.0])
    ]
    return [
        *calls,
        (([1.0, 2.0], [0]), {}),
        (([1, 2], [0]), {}),
        ((same(X, V), [0]), {}),
        ((), {"x": X, "axes": [1], "keepdims": True, "name": "named"}),
        ((X,), {}),
        ((X, [0], 1.0), {}),
        ((X, [0], T("float32", 1.0)), {}),
    ]


def l2_losses() -> Calls:
    calls: Calls = [((ordinary(shape, dtype),), {}) for dtype in ALL for shape in SHAPES]
    calls += [((T(dtype, values),), {}) for dtype in MAIN for values in (special(dtype), [1e30], [INF], [3.0, 4.0])]
    return [
        *calls,
        (([1.0, 2.0],), {}),
        (([1, 2],), {}),
        ((1.5,), {}),
        ((same(X, V),), {}),
        ((None,), {}),
        (("text",), {}),
        ((), {"t": X, "name": "named"}),
        ((), {}),
    ]


def images() -> list[tuple[Any, Any]]:
    return [(ordinary((1, 4, 5, 2), dtype), ordinary((2, 3, 2, 3), dtype, seed=1)) for dtype in MAIN]


STRIDES: list[Any] = [
    1,
    2,
    [1],
    [2],
    [1, 2],
    (2, 1),
    [1, 2, 2, 1],
    [1, 1, 2, 1],
    [2, 1, 1, 1],
    [1, 1, 1, 2],
    [1, 2, 3],
    0,
    -1,
    [0, 1],
    1.0,
    1.5,
    "text",
    None,
    True,
    [],
    [[1, 1]],
    [1.0, 2.0],
    K("int32", 2),
    K("int32", [1, 2, 2, 1]),
    A("int64", [1, 2]),
    S("int64", 2),
    7,
    {},
]
PADDINGS: list[Any] = [
    "SAME",
    "VALID",
    "same",
    "valid",
    "text",
    None,
    0,
    1,
    [[0, 0], [1, 1], [0, 2], [0, 0]],
    [[0, 0], [0, 0], [0, 0], [0, 0]],
    [[1, 0], [1, 1], [0, 0], [0, 0]],
    [[0, 0], [1, 1]],
    [[0, 0], [-1, 1], [0, 0], [0, 0]],
    "EXPLICIT",
    ((0, 0), (1, 0), (0, 1), (0, 0)),
    [[0, 0], [1.0, 1], [0, 0], [0, 0]],
]


def convolutions(name: str) -> Calls:
    calls: Calls = []
    for x, w in images():
        strides = [[1, 1, 1, 1], [1, 2, 2, 1]] if name == "nn.depthwise_conv2d" else [1, 2, [2, 1]]
        calls += [((x, w, stride, padding), {}) for stride in strides for padding in ("SAME", "VALID")]
        calls += [((x, w, strides[0], padding), {}) for padding in PADDINGS]
        calls += [
            ((x, w), {"strides": strides[0], "padding": "SAME", "dilations": dilation})
            for dilation in (1, 2, [1, 2], [1, 2, 2, 1], None, 0, 1.5, "text")
        ]
    x, w = images()[0]
    calls += [((x, w, stride, "SAME"), {}) for stride in STRIDES]
    calls += [((x, w, [1, 1, 1, 1], "SAME"), {"data_format": form}) for form in ("NHWC", None, "text", "NCHW", 1)]
    one = [1, 1, 1, 1]
    for a, b in (((1, 3, 3, 1), (1, 1, 1, 1)), ((0, 3, 3, 2), (2, 2, 2, 1)), ((1, 1, 1, 2), (2, 2, 2, 1)), ((2, 5, 5, 4), (3, 3, 4, 2)), ((1, 4, 4, 4), (2, 2, 2, 4)), ((1, 4, 4, 3), (2, 2, 2, 4)), ((4, 4, 2), (2, 2, 2, 1)), ((1, 4, 4, 2), (2, 2, 2)), ((1, 4, 4, 2), (5, 5, 2, 1)), ((1, 0, 4, 2), (2, 2, 2, 1)),
                 ((1, 4, 4, 2), (2, 2, 2, 0)), ((1, 4, 4, 0), (2, 2, 0, 1)), ((1, 4, 4, 2), (0, 2, 2, 1)), ((1, 1, 4, 4, 2), (2, 2, 2, 1))):  # fmt: skip
        calls += [((ordinary(a), ordinary(b, seed=1), one, padding), {}) for padding in ("SAME", "VALID")]
    for dtype in ALL:
        calls.append(((ordinary((1, 3, 3, 1), dtype), ordinary((2, 2, 1, 1), dtype), one, "SAME"), {}))
    calls += [
        ((x, ordinary((2, 3, 2, 3), "float64"), one, "SAME"), {}),
        ((same(x, V), same(w, V), one, "VALID"), {}),
        ((same(x, A), w, one, "VALID"), {}),
        ((None, w, one, "SAME"), {}),
        ((x, None, one, "SAME"), {}),
        ((x, w), {}),
        ((x, 1.0, one, "SAME"), {}),
    ]
    return calls


def transposed() -> Calls:
    calls: Calls = []
    for dtype in MAIN:
        x, w = ordinary((1, 3, 3, 2), dtype), ordinary((2, 2, 3, 2), dtype, seed=1)
        for shape, stride, padding in (
            ([1, 3, 3, 3], 1, "SAME"),
            ([1, 6, 6, 3], 2, "SAME"),
            ([1, 5, 6, 3], 2, "SAME"),
            ([1, 4, 4, 3], 1, "VALID"),
            ([1, 6, 6, 3], 2, "VALID"),
            ([1, 7, 7, 3], 2, "VALID"),
            ([1, 4, 4, 2], 1, "VALID"),
            ([2, 4, 4, 3], 1, "VALID"),
            ([1, 9, 9, 3], 2, "SAME"),
            ([1, 4, 4], 1, "VALID"),
            (None, 1, "VALID"),
            ([4, 4], 1, "VALID"),
            ("text", 1, "VALID"),
            ([1.0, 4, 4, 3], 1, "VALID"),
            ([1, -1, 4, 3], 1, "VALID"),
            (K("int32", [1, 4, 4, 3]), 1, "VALID"),
            (A("int64", [1, 4, 4, 3]), [1, 1, 1, 1], "VALID"),
            ((1, 4, 4, 3), (1, 1), "VALID"),
            ([1, 4, 4, 3], 1, [[0, 0]] * 4),
        ):
            calls += [
                ((x, w, shape, stride, padding), {}),
                ((), {"input": x, "filters": w, "output_shape": shape, "strides": stride, "padding": padding}),
            ]
        calls += [((x, w, [1, 6, 6, 3], stride), {}) for stride in STRIDES] + [
            ((x, w, [1, 3, 3, 3], 1, "SAME"), {"dilations": d}) for d in (1, 2, None, [1, 1])
        ]
    return calls


def pools(two: bool) -> Calls:
    calls: Calls = []
    for dtype in ALL:
        x = ordinary((1, 4, 5, 2), dtype)
        calls += [
            ((x, size, stride, padding), {})
            for size, stride in ((2, 2), (2, 1), (3, 2), ([1, 2], [2, 1]))
            for padding in ("SAME", "VALID")
        ]
    x = ordinary((1, 4, 5, 2))
    calls += (
        [((x, size, 1, "SAME"), {}) for size in STRIDES]
        + [((x, 2, stride, "SAME"), {}) for stride in STRIDES]
        + [((x, 2, 2, padding), {}) for padding in PADDINGS]
    )
    calls += [((x, 2, 2, "SAME"), {"data_format": form}) for form in ("NHWC", None, "text", "NCHW", 1)]
    for shape in (
        (0, 4, 4, 1),
        (1, 1, 1, 1),
        (1, 2, 2, 3),
        (4, 4, 1),
        (1, 4, 4, 4, 1),
        (1, 0, 4, 1),
        (1, 3, 3, 0),
        (4, 4),
        (1, 8, 2),
    ):
        calls += [((ordinary(shape), 2, 2, padding), {}) for padding in ("SAME", "VALID")] + [
            ((ordinary(shape), 9, 1, "VALID"), {})
        ]
    for dtype in MAIN:
        for values in (
            [[1.0, 1.0], [1.0, 1.0]],
            [[NAN, 1.0], [2.0, 3.0]],
            [[1.0, NAN], [2.0, 3.0]],
            [[INF, 1.0], [INF, 0.0]],
            [[-INF, -INF], [-INF, -INF]],
            [[0.0, -0.0], [-0.0, 0.0]],
            [[-1.0, -2.0], [-3.0, -4.0]],
        ):
            calls += [
                ((T(dtype, [[[[v] for v in row] for row in values]]), 2, 2, padding), {}) for padding in ("SAME", "VALID")
            ]
            calls += [((T(dtype, [[[[v] for v in row] for row in values]]), 2, 1, "SAME"), {})]
    calls += [
        ((same(x, V), 2, 2, "VALID"), {}),
        ((None, 2, 2, "VALID"), {}),
        ((), {"input": x, "ksize": 2, "strides": 2, "padding": "VALID", "name": "named"}),
        ((x,), {}),
        ((1.0, 2, 2, "SAME"), {}),
    ]
    assert D
    return calls


def rows() -> Iterator[tuple[str, Calls]]:
    for name in ("nn.softmax", "nn.log_softmax", "math.softmax", "math.log_softmax"):
        yield name, softmaxes()
    yield "nn.softmax_cross_entropy_with_logits", cross_entropies(False)
    yield "nn.sparse_softmax_cross_entropy_with_logits", cross_entropies(True)
    yield "nn.sigmoid_cross_entropy_with_logits", sigmoid_losses()
    yield "nn.bias_add", biases()
    yield "nn.moments", moments()
    yield "nn.l2_loss", l2_losses()
    for name in ("nn.conv2d", "nn.depthwise_conv2d"):
        yield name, convolutions(name)
    yield "nn.conv2d_transpose", transposed()
    for name in ("nn.max_pool", "nn.max_pool2d", "nn.avg_pool", "nn.avg_pool2d"):
        yield name, pools(name.endswith("2d"))
