"""Where values lie: a buffer, and a view of it as an array."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tracejit.ir.strided import Strided, contiguous_strides
from tracejit.ir.types import TensorType


@dataclass(frozen=True, eq=False)
class Buffer:
    """Memory of one call. `kind` is parameter, result, arena, or constant; `index` its number among its kind; `data` is a
    constant's array."""

    kind: str
    index: int
    nbytes: int
    data: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class View(Strided):
    """An array that lies in `buffer`."""

    buffer: Buffer

    @classmethod
    def whole_of(cls, buffer: Buffer, kind: TensorType) -> View:
        """The buffer, of the size of an array of this type, as one in row-major order."""
        return cls(kind.shape, contiguous_strides(kind.shape), 0, kind.dtype, buffer)

    @property
    def whole(self) -> bool:
        """Whether it is its whole buffer, in order."""
        return self.contiguous and self.offset == 0 and self.buffer.nbytes == self.nbytes
