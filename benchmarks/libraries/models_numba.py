"""No models in Numba."""

from __future__ import annotations

from benchmarks.libraries import Cases

CASES: Cases = {}
