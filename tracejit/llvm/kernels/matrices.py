"""Arrays of matrices, where they are planned and where they are written: what both look at."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, TypeVar

from tracejit.ir.types import DType
from tracejit.llvm.plan.views import View
from tracejit.llvm.text.arrays import Array


class Matrices(Protocol):
    """An array of matrices, in its last two axes."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> DType: ...


M = TypeVar("M", Array, View)


def oriented(matrices: M, transposed: bool) -> M:
    """The matrices, or their transposes."""
    if not transposed:
        return matrices
    shape, strides = list(matrices.shape), list(matrices.strides)
    shape[-2:], strides[-2:] = shape[:-3:-1], strides[:-3:-1]
    return replace(matrices, shape=tuple(shape), strides=tuple(strides))
