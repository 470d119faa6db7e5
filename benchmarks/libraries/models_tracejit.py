"""The models in tracejit."""

from __future__ import annotations

import functools

import tracejit as tj
from benchmarks.libraries import Cases, tape

CASES: Cases = {
    "mlp": {"tracejit": functools.partial(tape.mlp, tj)},
    "transformer": {"tracejit": functools.partial(tape.transformer, tj)},
}
