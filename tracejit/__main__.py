"""`python -m tracejit demo` and `python -m tracejit cache`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tracejit import demo
from tracejit.llvm.machine import cache


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    return number


def _folder(text: str) -> Path:
    folder = Path(text).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder and cannot be made one: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"no file can be written to the folder {text!r}")
    return folder


def _show_cache() -> None:
    found = cache.state()
    print(f"folder:  {found.folder}")
    print(f"state:   {found.problem or 'usable'}")
    print(f"entries: {found.entries}, {found.bytes:,d} bytes of at most {found.limit:,d}")


def _clear_cache() -> None:
    removed = cache.clear()
    print(f"{removed} entr{'y' if removed == 1 else 'ies'} removed")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status of the command line `arguments`."""
    parser = argparse.ArgumentParser(prog="python -m tracejit", description="TensorFlow 2's gradients, compiled.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add = commands.add_parser("demo", help="train a network on handwritten digits and compare the ways to run a step")
    add.add_argument("--epochs", type=_at_least(1), default=20, help="passes over the data (default: %(default)s)")
    where = f"where {demo.DUMP} goes (default: the current directory)"
    add.add_argument("--output", type=_folder, default=Path(), metavar="FOLDER", help=where)
    of_what = "of the split and the weights (default: %(default)s)"
    add.add_argument("--seed", type=_at_least(0), default=0, help=of_what)
    keep = commands.add_parser("cache", help="show the compiled code that is kept on disk, or remove it")
    keep.add_argument("action", nargs="?", choices=["clear"], help="remove the entries")
    given = parser.parse_args(arguments)
    if given.command == "cache":
        try:
            (_clear_cache if given.action else _show_cache)()
        except (OSError, cache.Unusable) as error:
            print(f"python -m tracejit cache: {error}", file=sys.stderr)
            return 1
        return 0
    return demo.run(given.epochs, given.output, given.seed)


if __name__ == "__main__":
    sys.exit(main())
