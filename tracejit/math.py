"""TensorFlow's tj.math: the same functions once more, under the names they have there."""

from tracejit.functions import (
    argmax, argmin, add_n, divide, floordiv, floormod, norm, pow, reciprocal, reduce_all, reduce_any,
    reduce_logsumexp, reduce_max, reduce_mean, reduce_min, reduce_prod, reduce_std, reduce_sum, reduce_variance, square,
    squared_difference,
)  # fmt: skip
from tracejit.functions.nn import log_sigmoid, log_softmax, softmax, softplus
from tracejit.ops import (
    abs, add, ceil, equal, floor, greater, greater_equal, is_finite, less, less_equal, logical_and, logical_not,
    logical_or, logical_xor, maximum, minimum, mul as multiply, neg as negative, not_equal, round, sign, sqrt,
    sub as subtract,
)  # fmt: skip
from tracejit.ops.elementary import *  # noqa: F403  # all of them

mod = floormod

__all__ = [name for name in list(globals()) if not name.startswith("_")]


def __dir__() -> list[str]:
    return __all__
