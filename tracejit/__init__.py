"""tracejit: TensorFlow 2's way of writing gradients as a graph-tracing JIT compiler for CPUs.

    import tracejit as tj

Names, arguments and results are TensorFlow 2's. What is particular to tracejit: `function(...).ir()` shows the graph and the
code that a function became, `.explain()` why it was traced, `tape.why_none()` why a gradient is None.
"""

import builtins as _builtins
import os as _os
import types as _types
import typing as _typing

_folder = _os.path.dirname(_os.path.abspath(__file__))
if not _os.path.isdir(_os.path.join(_folder, "passes")):
    # Imported from a checkout, as `python -m tracejit` does in its root: there the passes lie beside the package.
    __path__.append(_os.path.dirname(_folder))

from tracejit import errors, functions as _functions, ir, ops as _ops, random
from tracejit.function import function
from tracejit.runtime.eagerly import run_functions_eagerly
from tracejit.functions import (
    add_n, argmax, argmin, broadcast_to, cast, clip_by_value, concat, expand_dims, eye, fill, gather, linspace, matmul,
    nn, norm, one_hot, ones, ones_like, pad, pow, range, reduce_all, reduce_any, reduce_logsumexp, reduce_max,
    reduce_mean, reduce_min, reduce_prod, reduce_std, reduce_sum, reduce_variance, reshape, reverse, shape, size, split,
    square, squared_difference, squeeze, stack, tile, transpose, unstack, where, zeros, zeros_like,
)  # fmt: skip
from tracejit.ir.types import DType, as_dtype, bool_ as bool, float16, float32, float64, int32, int64
from tracejit.ops import (
    abs, acos, acosh, add, asin, asinh, atan, atan2, atanh, cos, cosh, equal, erf, exp, expm1, floor, greater,
    greater_equal, less, less_equal, log, log1p, logical_and, logical_not, logical_or, maximum, minimum, not_equal, round,
    rsqrt, sigmoid, sign, sin, sinh, sqrt, tan, tanh,
)  # fmt: skip
from tracejit.custom import custom_gradient, stop_gradient
from tracejit.tape import GradientTape, UnconnectedGradients
from tracejit.operators import TensorShape
from tracejit.tensor import Tensor, constant, convert_to_tensor
from tracejit.variable import Variable
from tracejit import bitwise, config, inspect, linalg, math  # isort: skip  (they take their names from above)

half = float16
subtract, multiply, divide, negative = _ops.sub, _ops.mul, _functions.divide, _ops.neg
floordiv = _functions.floordiv
matrix_transpose = linalg.matrix_transpose
newaxis = None
__version__ = "0.1.0"


def identity(input: object, name: str | None = None) -> Tensor:
    """The tensor `input`, as another tensor."""
    return _ops.identity(*_ops.lift("identity", (input,)))


if _typing.TYPE_CHECKING:
    bfloat16: DType
else:

    def __getattr__(name: str) -> DType:
        """tj.bfloat16, which is there where the package ml_dtypes is."""
        if name != "bfloat16":
            raise AttributeError(f"module 'tracejit' has no attribute {name!r}")
        try:
            return as_dtype(name)
        except ImportError as error:
            raise AttributeError(f"tj.bfloat16: {error}") from None


def is_tensor(x: object) -> _builtins.bool:
    """Whether `x` is a tensor or a variable."""
    return isinstance(x, (Tensor, Variable))


# What users see: of the modules in the package these, and all other public names.
_MODULES = ("bitwise", "config", "errors", "inspect", "ir", "linalg", "math", "nn", "random")
__all__ = [
    name
    for name, value in list(globals().items())
    if name in _MODULES or not (name.startswith("_") or isinstance(value, _types.ModuleType))
]


def __dir__() -> list[str]:
    return __all__
