"""`python -m benchmarks`, from the checkout's root, times tracejit, eager and compiled, against NumPy by hand."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# What is measured is the installed package, and not the folder of the checkout, which has no passes in it. This package
# is found already, so its own modules need no entry of sys.path.
_asked_for = {Path(entry).resolve() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry}
if ROOT not in _asked_for:
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]
