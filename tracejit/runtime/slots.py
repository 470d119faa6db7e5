"""Memory that machine code reads and Python fills: i64 slots."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any


class Slots:
    """i64 slots at a fixed address. What they point to has to be kept alive as long: `keep` holds it."""

    __slots__ = ("__weakref__", "address", "keep", "values")

    def __init__(self, values: Sequence[int], keep: Any = None):
        self.values = (ctypes.c_int64 * len(values))(*values)
        self.address = ctypes.addressof(self.values)
        self.keep = keep

    @property
    def end(self) -> int:
        return self.address + ctypes.sizeof(self.values)
