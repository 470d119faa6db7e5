"""TensorFlow's tj.linalg, as far as tracejit has it."""

from typing import Any

from tracejit.functions import matmul, norm
from tracejit.functions.arrays import transpose as _transpose
from tracejit.functions.math import tensor as _tensor

__all__ = ["matmul", "matrix_transpose", "norm"]


def matrix_transpose(a: Any, name: str | None = None) -> Any:
    """`a` with its last two axes exchanged."""
    x = _tensor("matrix_transpose", a)
    rank = len(x.type.shape)
    return _transpose(x, [*range(rank - 2), rank - 1, rank - 2])
