"""Finds the BLAS that NumPy was built with.

Its symbols are in NumPy's own extension module, or in what that loads.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
from typing import NamedTuple

from tracejit.ir.types import DType, float32, float64

# What the generated code calls; bound to the library's own names when the code is loaded.
GEMM: dict[DType, str] = {float32: "tracejit_sgemm", float64: "tracejit_dgemm"}

# (prefix, suffix, bits of an integer) of the names under which wheels and distributions carry CBLAS.
_SPELLINGS = (
    ("scipy_cblas_", "64_", 64),
    ("cblas_", "64_", 64),
    ("cblas_", "$NEWLAPACK$ILP64", 64),
    ("cblas_", "$NEWLAPACK", 32),
    ("cblas_", "", 32),
)


class Blas(NamedTuple):
    """A BLAS: the addresses of its gemm functions by the name that generated code calls, and its integers' size."""

    symbols: dict[str, int]
    integer_bits: int
    spelling: str


@functools.cache
def find_blas() -> Blas | None:
    """NumPy's BLAS, None where it has none whose functions can be found."""
    library = ctypes.CDLL(importlib.import_module("numpy._core._multiarray_umath").__file__)
    for prefix, suffix, bits in _SPELLINGS:
        names = {GEMM[float32]: f"{prefix}sgemm{suffix}", GEMM[float64]: f"{prefix}dgemm{suffix}"}
        try:
            symbols = {ours: ctypes.cast(getattr(library, theirs), ctypes.c_void_p).value for ours, theirs in names.items()}
        except AttributeError:
            continue
        return Blas({name: int(address or 0) for name, address in symbols.items()}, bits, names[GEMM[float32]])
    return None


def blas_symbols() -> dict[str, int]:
    """The names under which generated code calls NumPy's BLAS, and their addresses here."""
    blas = find_blas()
    return blas.symbols if blas is not None else {}
