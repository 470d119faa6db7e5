"""How many threads the libraries may use: what the variable of OpenMP says, which the command sets for all of them."""

from __future__ import annotations

import os

THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))
