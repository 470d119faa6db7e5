"""The kernels in tracejit."""

from __future__ import annotations

import functools

import tracejit as tj
from benchmarks.libraries import Cases, tape_kernels

CASES: Cases = {name: {"tracejit": functools.partial(make, tj, tj.function)} for name, make in tape_kernels.KERNELS.items()}
