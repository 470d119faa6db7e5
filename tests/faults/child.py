"""One try, in this process: `python -m tests.faults.child KIND SEED` prints as JSON how often it did what."""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import random
import sys
import tempfile
from pathlib import Path

KINDS = ("forks", "interrupts", "signals", "cache", "kills", "memory", "exits")
# Seconds. Whatever hangs says where.
HANGS_AFTER = 90.0


def main(kind: str, seed: str) -> None:
    faulthandler.enable()
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
    with tempfile.TemporaryDirectory(prefix="tracejit-fault-") as folder:
        if "TRACEJIT_CACHE_DIR" not in os.environ:
            os.environ["TRACEJIT_CACHE_DIR"] = os.path.join(folder, "cache")
        counts = importlib.import_module(f"tests.faults.{kind}").run(random.Random(int(seed)), Path(folder))
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
