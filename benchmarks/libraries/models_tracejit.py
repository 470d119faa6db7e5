"""The models in tracejit."""

from __future__ import annotations

import functools

import tracejit as tj
from benchmarks.libraries import Cases, tape

CASES: Cases = {name: {"tracejit": functools.partial(make, tj)} for name, make in tape.MODELS.items()}
