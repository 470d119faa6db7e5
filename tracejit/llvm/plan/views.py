"""Where values lie: a buffer, and a view of it as an array (offset and strides, in elements)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tracejit.ir.types import DType
from tracejit.llvm.kernels.kernel import collapse
from tracejit.ops import contiguous_strides


@dataclass(frozen=True, eq=False)
class Buffer:
    """Memory of one call. `kind` is parameter, result, arena, or constant; `index` its number among its kind; `data` is a
    constant's array."""

    kind: str
    index: int
    nbytes: int
    data: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class View:
    """An array that lies in `buffer`."""

    buffer: Buffer
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    dtype: DType

    def with_layout(self, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> View:
        """Other elements of the same buffer; `offset` counts from this view's own first element."""
        return replace(self, shape=tuple(shape), strides=tuple(strides), offset=self.offset + offset)

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie in order without gaps; axes of size 1 may have any stride."""
        pairs = zip(self.shape, self.strides, contiguous_strides(self.shape), strict=True)
        return 0 in self.shape or all(size == 1 or stride == expected for size, stride, expected in pairs)

    @property
    def whole(self) -> bool:
        """Whether it is its whole buffer, in order."""
        return self.contiguous and self.offset == 0 and self.buffer.nbytes == self.nbytes

    @property
    def nbytes(self) -> int:
        size = self.dtype.size
        for extent in self.shape:
            size *= extent
        return size

    def reshaped(self, shape: tuple[int, ...]) -> View | None:
        """The same elements in another shape; None where they would have to move."""
        if self.contiguous:
            return self.with_layout(shape, contiguous_strides(shape))
        sizes, (own,) = collapse(self.shape, [self.strides])
        strides: list[int] = []
        for size, stride in zip(sizes, own, strict=True):
            first = end = len(strides)
            while math.prod(shape[first:end]) < size:
                end += 1
            if math.prod(shape[first:end]) > size:
                return None
            strides += [each * stride for each in contiguous_strides(shape[first:end])]
        return self.with_layout(shape, strides + [1] * (len(shape) - len(strides)))
