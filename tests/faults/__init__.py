"""`python -m tests.faults`, from the checkout's root: does tracejit survive what happens to processes?

Each try is a process of its own that does things to itself, or to its children, at random moments, and then looks whether all
is still right. A try that ends with another status than 0, or that does not end, is a finding.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# What is tried is the installed package; this one is found already (see benchmarks/__init__.py).
_asked_for = {Path(entry).resolve() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry}
if ROOT not in _asked_for:
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]
