"""TensorFlow's tj.linalg, as far as tracejit has it."""

from typing import Any

from tracejit.functions import matmul, norm
from tracejit.functions.arrays import transpose as _transpose
from tracejit.functions.math import tensor as _tensor
from tracejit.ir.errors import InvalidArgumentError as _InvalidArgumentError
from tracejit.ir.errors import fail as _fail

__all__ = ["matmul", "matrix_transpose", "norm"]


def __dir__() -> list[str]:
    return __all__


def matrix_transpose(a: Any, name: str | None = None) -> Any:
    """`a` with its last two axes exchanged. InvalidArgumentError where it has fewer."""
    x = _tensor("matrix_transpose", a)
    rank = len(x.type.shape)
    if rank < 2:
        _fail(_InvalidArgumentError, "matrix_transpose", (x,), "it needs at least 2 axes")
    return _transpose(x, [*range(rank - 2), rank - 1, rank - 2])
