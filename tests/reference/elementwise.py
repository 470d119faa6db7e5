"""Functions of one and of two operands, element by element."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reference.cases import A, Leaf, S, T, V
from reference.data import ALL, FLOATS, INTS, MAIN, SHAPES, far, kinks, ordinary, same, special, tiny

Calls = list[tuple[tuple[Any, ...], dict[str, Any]]]

# name: (TensorFlow's name of the operand, the interval of ordinary values)
UNARY: dict[str, tuple[str, float, float]] = {
    **dict.fromkeys(
        (
            "abs",
            "asinh",
            "atan",
            "cos",
            "cosh",
            "exp",
            "floor",
            "negative",
            "round",
            "sigmoid",
            "sign",
            "sin",
            "sinh",
            "square",
            "tan",
            "tanh",
            "math.abs",
            "math.asinh",
            "math.atan",
            "math.cos",
            "math.cosh",
            "math.erf",
            "math.erfc",
            "math.exp",
            "math.expm1",
            "math.floor",
            "math.ceil",
            "math.negative",
            "math.round",
            "math.sigmoid",
            "math.sign",
            "math.sin",
            "math.sinh",
            "math.square",
            "math.tan",
            "math.tanh",
            "math.is_finite",
            "math.log_sigmoid",
            "math.reciprocal",
            "nn.sigmoid",
            "nn.tanh",
        ),
        ("x", -2, 2),
    ),
    **dict.fromkeys(("sqrt", "math.log", "math.sqrt", "math.rsqrt"), ("x", 0.1, 3)),
    **dict.fromkeys(("math.log1p",), ("x", -0.9, 3)),
    **dict.fromkeys(("acos", "asin", "atanh", "math.acos", "math.asin", "math.atanh"), ("x", -0.95, 0.95)),
    **dict.fromkeys(("acosh", "math.acosh"), ("x", 1.05, 4)),
    **dict.fromkeys(("logical_not", "math.logical_not"), ("x", -1, 1)),
    **dict.fromkeys(
        ("nn.relu", "nn.relu6", "nn.leaky_relu", "nn.elu", "nn.gelu", "nn.silu", "nn.swish", "nn.softplus", "math.softplus"),
        ("features", -3, 8),
    ),
    "identity": ("input", -2, 2),
    "stop_gradient": ("input", -2, 2),
}

BINARY: dict[str, tuple[str, str]] = dict.fromkeys(("add", "subtract", "multiply", "divide", "maximum", "minimum", "pow", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or", "math.add", "math.subtract", "math.multiply", "math.divide", "math.maximum", "math.minimum", "math.pow", "math.equal", "math.not_equal", "math.less", "math.less_equal", "math.greater", "math.greater_equal", "math.logical_and", "math.logical_or", "math.logical_xor", "math.floordiv", "math.floormod", "math.mod", "math.squared_difference"), ("x", "y"))  # fmt: skip
BINARY.update({"atan2": ("y", "x"), "math.atan2": ("y", "x")})

OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lt", "le", "gt", "ge", "eq", "ne", "and_", "or_", "xor")

PAIRS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((), ()), ((3,), (3,)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((0,), ()), ((0, 3), (1, 3)), ((1,), (0,)), ((1, 1), (2, 3)),
    ((2, 3), (2,)), ((2, 0), (0, 2)), ((2, 2, 2), (3,)),
)  # fmt: skip


def unary_calls(name: str, operand: str, low: float, high: float) -> Calls:
    calls: Calls = []
    for dtype in ALL:
        calls += [((T(dtype, values),), {}) for values in (special(dtype), kinks(dtype), far(dtype)) if dtype != "bool"]
        calls += [((ordinary(shape, dtype, low, high),), {}) for shape in SHAPES]
    calls += [((T(dtype, tiny(dtype)),), {}) for dtype in FLOATS]
    for dtype in MAIN:  # one by one: a sum of gradients hides nothing here
        calls += [((T(dtype, value),), {}) for value in (0.0, -0.0, float("inf"), float("nan"), 6.0)]
        calls += [((V(dtype, kinks(dtype)),), {}), ((same(ordinary((2, 3), dtype, low, high), V),), {})]
    x = ordinary((3,), "float32", low, high)
    calls += [((), {operand: x}), ((x,), {"name": "named"})]
    for dtype in ALL:
        calls += [((same(ordinary((3,), dtype, low, high), A),), {}), ((S(dtype, high),), {})]
    number = round(high / 2, 2) if high else 0.5
    calls += [
        ((value,), {})
        for value in (number, 1, 0, True, [number, 1.0], (number, 1.0), [[1, 2], [0, 1]], [], [[]], [True, False])
    ]
    calls += [((value,), {}) for value in (None, "text", [1.0, "text"], [[1.0], [2.0, 3.0]], 1j, {"a": 1.0})]
    calls += [
        (([T("float32", number), 1.0],), {}),
        (([V("float32", number), T("float32", number)],), {}),
        ((A("uint8", [1, 2]),), {}),
        ((), {}),
    ]
    return calls


def grid(values: list[Any], others: list[Any]) -> tuple[list[Any], list[Any]]:
    """Each value with each of the others."""
    pairs = [(x, y) for x in values for y in others]
    return [x for x, _ in pairs], [y for _, y in pairs]


INTEGER_DIVISION = ("math.floordiv", "math.floormod", "math.mod", "operator.floordiv", "operator.mod")


def binary_calls(name: str, operands: tuple[str, str] | None) -> Calls:
    calls: Calls = []
    divides, powers = name in INTEGER_DIVISION, name.endswith("pow")
    kept = [0, 1, 2, 3, 31] if powers else [1, -1, 2, -3, 7]
    for dtype in ALL:
        x, y = grid(special(dtype), kept if dtype in INTS and (divides or powers) else special(dtype))
        calls.append(((T(dtype, x), T(dtype, y)), {}))
        if dtype in FLOATS:
            x, y = grid(tiny(dtype), [0.0, 1.0, -2.5, float("inf"), float("nan"), *tiny(dtype)])
            calls += [((T(dtype, x), T(dtype, y)), {}), ((T(dtype, y), T(dtype, x)), {})]
        calls += [((ordinary(a, dtype, 0.1, 3), ordinary(b, dtype, 0.1, 3, seed=1)), {}) for a, b in PAIRS]
    for dtype in FLOATS[:2]:
        values = [-1.5, -1.0, 0.0, -0.0, 0.5, 1.0, 2.0]
        calls += [((T(dtype, a), T(dtype, b)), {}) for a in values for b in values]
        calls += [
            ((ordinary((2, 3), dtype), ordinary((2, 3), dtype, seed=2)), {}),
            ((ordinary((3,), dtype), T(dtype, [0.0, 2.0, 3.0])), {}),
        ]
    calls += [((T("int32", [6, -7]), T("int32", [0, 2])), {}), ((T("int64", [6, -7]), T("int64", [-2, 0])), {})]
    calls += [((ordinary((2,), a, 0.1, 3), ordinary((2,), b, 0.1, 3)), {}) for a in ALL for b in ALL if a != b]
    partners: list[Any] = [
        2,
        2.5,
        0,
        1.0,
        -1,
        True,
        [1.0, 2.0, 3.0],
        [1, 2, 3],
        (1.0,),
        2**31,
        2**53 + 1,
        float("nan"),
        None,
        "text",
        1j,
        [],
    ]
    partners += [S("float32", 2.5), S("float64", 2.0), S("int32", 2), S("int64", 2), S("bool", True), S("float16", 2.0)]
    partners += [
        A("float64", [1.0, 2.0, 3.0]),
        A("int64", [1, 2, 3]),
        A("float32", [[1.0], [2.0]]),
        A("bool", [True, False, True]),
    ]
    for dtype in ("float32", "float64", "int32", "int64", "bool", "float16", "bfloat16"):
        x = ordinary((3,), dtype, 0.1, 3)
        for partner in partners:
            calls.append(((x, partner), {}))
            if dtype in ("float32", "int32", "bool", "float64"):
                calls.append(((partner, x), {}))
    v = V("float32", [1.0, 2.0, -3.0])
    x = T("float32", [2.0, 2.0, 2.0])
    calls += [
        ((v, x), {}),
        ((x, v), {}),
        ((v, v), {}),
        ((v, 2.0), {}),
        ((2.0, v), {}),
        ((v, [1.0, 2.0, 3.0]), {}),
        ((V("int32", [1, 2]), 2), {}),
    ]
    if operands:
        first, second = operands
        calls += [
            ((x,), {second: x}),
            ((), {first: x, second: v}),
            ((x, x), {"name": "named"}),
            ((x, x, "named"), {}),
            ((x,), {}),
            ((), {}),
        ]
        calls += [
            ((1.0, 2.0), {}),
            ((1, 2), {}),
            ((1, 2.5), {}),
            (([1.0, 2.0], [3.0, 4.0]), {}),
            ((A("float64", [1.0]), A("float64", [2.0])), {}),
        ]
        calls += [
            ((A("float32", [1.0]), A("float64", [2.0])), {}),
            ((1.5, 2), {}),
            ((True, False), {}),
            (([T("float32", 1.0), 2.0], 3.0), {}),
        ]
    if powers:
        for exponent in (0, 1, 2, 3, 4, 5, -1, -2, 0.5, 1.5, -0.5, 1.0, 2.0, 3.0):
            calls += [((T(dtype, kinks(dtype)), exponent), {}) for dtype in ALL if dtype != "bool"]
            calls += [((T(dtype, special(dtype)), exponent), {}) for dtype in MAIN]
    return calls


def rows() -> Iterator[tuple[str, Calls]]:
    for name, (operand, low, high) in UNARY.items():
        yield name, unary_calls(name, operand, low, high) + more(name)
    for name, operands in BINARY.items():
        yield name, binary_calls(name, operands)
    for name in OPERATORS:
        yield f"operator.{name}", binary_calls(f"operator.{name}", None)
    for name in ("neg", "pos", "abs", "invert"):
        calls: Calls = [((leaf,), {}) for dtype in ALL for leaf in operands_of(dtype)]
        yield f"operator.{name}", calls


def operands_of(dtype: str) -> list[Leaf]:
    return [
        T(dtype, special(dtype)),
        V(dtype, special(dtype)),
        T(dtype, kinks(dtype)),
        ordinary((), dtype),
        ordinary((0, 2), dtype),
    ]


def more(name: str) -> Calls:
    """Arguments that only this function has."""
    calls: Calls = []
    values = [T(dtype, [*kinks(dtype), *special(dtype)]) for dtype in MAIN]
    if name == "nn.leaky_relu":
        for x in (*values, T("int32", [-5, 0, 5])):
            calls += [((x, alpha), {}) for alpha in (0.0, 0.1, 1.0, 1.5, -0.5, 2)] + [((), {"features": x, "alpha": 0.3})]
        calls += [((values[0], alpha), {}) for alpha in (None, "text", [0.1], T("float32", 0.1), S("float64", 0.1), True)]
    if name == "nn.gelu":
        for dtype in MAIN:
            calls += [
                ((T(dtype, v), approximate), {})
                for v in (special(dtype), far(dtype), kinks(dtype))
                for approximate in (True, False)
            ]
            calls += [((), {"features": ordinary(shape, dtype), "approximate": True}) for shape in SHAPES]
    if name in ("nn.silu", "nn.swish"):
        for x in values:
            calls += [((x, beta), {}) for beta in (0.0, 0.5, 2.0, -1.0, 2)] + [((), {"features": x, "beta": 1.5})]
    return calls
