"""Which products are the business of the BLAS, for who asks for that (TRACEJIT_MATMUL=blas), and how it takes matrices."""

from __future__ import annotations

from tracejit.ir.strided import Strided
from tracejit.llvm.machine.blas import GEMM, find_blas
from tracejit.llvm.target import Target

_PLAIN, _TRANSPOSED = 111, 112


def is_for_blas(target: Target, x: Strided, y: Strided) -> bool:
    """Whether x @ y is large enough for the BLAS, lies as it takes it, and was asked of it."""
    if not target.blas or x.dtype not in GEMM or find_blas() is None:
        return False
    return x.shape[-2] * x.shape[-1] * y.shape[-1] >= target.machine.blas_product and None not in (leading(x), leading(y))


def leading(matrix: Strided) -> tuple[int, int] | None:
    """(transposition, leading dimension) as the BLAS takes it; None where neither axis is contiguous."""
    (rows, columns), (down, along) = matrix.shape[-2:], matrix.strides[-2:]
    if (along == 1 or columns == 1) and (down >= columns or rows == 1):
        return _PLAIN, max(down, columns, 1)
    if (down == 1 or rows == 1) and (along >= rows or columns == 1):
        return _TRANSPOSED, max(along, rows, 1)
    return None
