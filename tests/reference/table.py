"""The table of cases: for each public function the calls that TensorFlow was asked."""

from __future__ import annotations

import functools
import hashlib

from reference import arrays, elementwise, making, neural, programs, reductions
from reference.cases import Case

# Names of one function: the row is that of the second.
ALIASES = {
    **{f"math.{name}": name for name in (
        "abs", "acos", "acosh", "add", "add_n", "argmax", "argmin", "asin", "asinh", "atan", "atan2", "atanh", "cos", "cosh", "divide",
        "equal", "exp", "floor", "greater", "greater_equal", "less", "less_equal", "logical_and", "logical_not", "logical_or", "maximum",
        "minimum", "multiply", "negative", "not_equal", "pow", "reduce_all", "reduce_any", "reduce_logsumexp", "reduce_max",
        "reduce_mean", "reduce_min", "reduce_prod", "reduce_sum", "round", "sigmoid", "sign", "sin", "sinh", "sqrt", "square", "subtract",
        "tan", "tanh",
    )},
    "nn.sigmoid": "sigmoid", "nn.tanh": "tanh", "nn.swish": "nn.silu", "math.softplus": "nn.softplus", "math.softmax": "nn.softmax",
    "math.log_softmax": "nn.log_softmax", "linalg.matmul": "matmul", "linalg.norm": "norm", "math.mod": "math.floormod",
}  # fmt: skip

FAMILIES = (elementwise, reductions, arrays, making, neural, programs)


@functools.cache
def table() -> dict[str, list[Case]]:
    """The cases of each function."""
    rows: dict[str, list[Case]] = {}
    for family in FAMILIES:
        for name, calls in family.rows():
            if name in ALIASES:
                continue
            assert name not in rows, f"{name} has two rows"
            rows[name] = [Case(name, args, kwargs) for args, kwargs in calls]
    return rows


def digest(cases: list[Case]) -> str:
    """What changes when a row's cases do."""
    text = "\n".join(repr((each.args, each.kwargs, [leaf.array().tobytes() for leaf in each.leaves()])) for each in cases)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
