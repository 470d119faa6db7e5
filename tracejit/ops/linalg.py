"""Matrix multiplication."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tracejit.ir.errors import DtypeError
from tracejit.ir.op import Kernel, Op, require
from tracejit.ir.types import BY_NUMPY, TensorType
from tracejit.ops.elementwise import ALL_NUMBERS, require_dtype, sample_array


def _swap(array: Any, transposed: bool) -> Any:
    return np.swapaxes(array, -1, -2) if transposed else array


def _infer(x: TensorType, y: TensorType, transpose_a: bool, transpose_b: bool) -> TensorType:
    types = (x, y)
    require(x.rank >= 2 and y.rank >= 2, "matmul", types, "both operands need at least 2 axes")
    require(x.dtype is y.dtype, "matmul", types, f"the dtypes {x.dtype.name} and {y.dtype.name} differ", DtypeError)
    require_dtype("matmul", types, x.dtype, ALL_NUMBERS)
    require(x.shape[:-2] == y.shape[:-2], "matmul", types, "the batch axes differ")
    rows, inner = x.shape[-2:][:: -1 if transpose_a else 1]
    depth, columns = y.shape[-2:][:: -1 if transpose_b else 1]
    require(inner == depth, "matmul", types, f"the inner sizes differ: {inner} and {depth}")
    return TensorType((*x.shape[:-2], rows, columns), x.dtype)


def _evaluate(x: Any, y: Any, transpose_a: bool, transpose_b: bool) -> Any:
    """Of a half dtype the sums are float32, and each is rounded once."""
    x, y = _swap(x, transpose_a), _swap(y, transpose_b)
    if BY_NUMPY[x.dtype].is_half:
        return np.matmul(x.astype(np.float32), y.astype(np.float32)).astype(x.dtype)
    return np.matmul(x, y)


def _vjp_x(ct: Any, out: Any, x: Any, y: Any, transpose_a: bool, transpose_b: bool) -> Any:
    if transpose_a:
        return matmul(y, ct, transpose_a=transpose_b, transpose_b=True)
    return matmul(ct, y, transpose_a=False, transpose_b=not transpose_b)


def _vjp_y(ct: Any, out: Any, x: Any, y: Any, transpose_a: bool, transpose_b: bool) -> Any:
    if transpose_b:
        return matmul(ct, x, transpose_a=True, transpose_b=transpose_a)
    return matmul(x, ct, transpose_a=not transpose_a, transpose_b=False)


def _samples(rng: np.random.Generator) -> Iterator[tuple[tuple[np.ndarray, np.ndarray], dict[str, Any]]]:
    shapes = (((), 3, 5, 2), ((), 17, 33, 35), ((2, 3), 2, 4, 3), ((), 2, 0, 3), ((0,), 2, 1, 3))
    for dtype in ALL_NUMBERS:
        for batch, rows, inner, columns in shapes[: 2 if dtype.is_half else None]:
            for transpose_a in (False, True):
                for transpose_b in (False, True):
                    x = sample_array(rng, (*batch, rows, inner), dtype)
                    y = sample_array(rng, (*batch, inner, columns), dtype)
                    attrs = {"transpose_a": transpose_a, "transpose_b": transpose_b}
                    yield (_swap(x, transpose_a).copy(), _swap(y, transpose_b).copy()), attrs


def _flops(node: Any) -> int:
    depth = node.operands[0].shape[-2 if node.attrs["transpose_a"] else -1]
    return 2 * node.type.size * depth


matmul: Op = Op(
    "matmul",
    infer=_infer,
    evaluate=_evaluate,
    vjp=(_vjp_x, _vjp_y),
    lower=Kernel(product_flops=_flops),
    samples=_samples,
)
