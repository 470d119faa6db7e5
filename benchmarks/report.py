"""What the commands have in common: options, tables, the line of progress, the file of figures."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def count(text: str) -> int:
    """An option's value: a whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def cores() -> int | None:
    """How many this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def table(rows: Sequence[Sequence[str]], markdown: bool, left: int = 1, numbers_last: bool = False) -> str:
    """The rows in columns, the first row as their heads; the first `left` stand on the left, and the last where it
    has no `numbers_last`."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        cells = [cell.rjust(width) if left <= i < len(row) - (not numbers_last) else cell.ljust(width)
                 for i, (cell, width) in enumerate(zip(row, widths, strict=True))]  # fmt: skip
        return f"| {' | '.join(cells)} |" if markdown else "  ".join(cells).rstrip()

    dashes = ["-" * width for width in widths]
    return "\n".join(line(row) for row in [rows[0], dashes, *rows[1:]])


def progress(text: str) -> None:
    """Replace the line that says what is being done, where there is someone to see it."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def write(figures: dict[str, Any], file: Path | None) -> None:
    """The figures as JSON, where a file was asked for."""
    if file:
        file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
