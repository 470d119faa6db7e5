"""Arrays inside of a kernel: how the elements lie, behind which pointer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from tracejit.ir.strided import Strided


@dataclass(frozen=True)
class Array(Strided):
    """An array behind `pointer`. What is `nontemporal` is written past the caches; it begins where a register does."""

    pointer: str
    nontemporal: bool = False

    def with_layout(self, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> Self:
        """Other elements behind the same pointer, which need not begin where a register does."""
        return replace(super().with_layout(shape, strides, offset), nontemporal=False)
