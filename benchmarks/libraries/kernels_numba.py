"""No kernels in Numba."""

from __future__ import annotations

from benchmarks.libraries import Cases

CASES: Cases = {}
