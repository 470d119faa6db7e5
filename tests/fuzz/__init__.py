"""`python -m tests.fuzz`, from the checkout's root, runs random programs and random calls until the time is up.

program.py    a program as lines of Python, which can be run, printed and made smaller
generate.py   random programs: each line is run as it is drawn, so that the next one knows the values
lines.py      what kinds of lines there are
arguments.py  from a parameter's name to an argument, for every public function
rounding.py   how far two right answers may lie apart: the program again, with every rounding another one
check.py      a program in every way in which it can run
gradients.py  gradients against differences
wrong.py      public functions with wrong arguments
shrink.py     a program of a few lines that still shows the difference
worker.py     the process that does it, which may crash
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# What is tested is the installed package, and not the folder of the checkout, which has no passes in it. This package is
# found already, so its own modules need no entry of sys.path.
_asked_for = {Path(entry).resolve() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry}
if ROOT not in _asked_for:
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]
