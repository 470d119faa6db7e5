"""Where in the user's program a node comes from.

A location is the innermost frame that is not tracejit's own. A pass that makes nodes on behalf of another node says so
with `at(location)`.
"""

from __future__ import annotations

import bisect
import linecache
import os
import sys
import threading
from collections.abc import Callable
from types import CodeType
from typing import NamedTuple

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# The demo is a user's program that happens to be shipped in the package.
_USER_FILES = (os.path.join(_PACKAGE, "demo.py"),)
_library_roots = [_PACKAGE + os.sep]
_is_library: dict[str, bool] = {}


class Location(NamedTuple):
    """A line of the user's program. `file` is relative to the working directory where it lies below it."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def describe(self) -> str:
        """`file:line: source text`, the text left out where it cannot be had."""
        source = linecache.getline(self.file, self.line).strip()
        return f"{self}: {source}" if source else str(self)


# A location, or what one can be made of: a code object and an offset into it.
SourcePosition = Location | tuple[CodeType, int]


class _Override(threading.local):
    innermost: at | None = None


_override = _Override()


def register_library(folder: str) -> None:
    """Count the files below `folder` as tracejit's own: no location points into them."""
    _library_roots.append(os.path.abspath(folder) + os.sep)
    _is_library.clear()


def _library(file: str) -> bool:
    inside = any(file.startswith(root) for root in _library_roots) and file not in _USER_FILES
    _is_library[file] = inside
    return inside


def short_path(file: str) -> str:
    """`file` relative to the working directory where it lies below it, else as it is."""
    prefix = os.getcwd() + os.sep
    return file[len(prefix) :] if file.startswith(prefix) else file


def here() -> Location | None:
    """The location given by `at`, else the innermost line of the user's; None outside of any."""
    return location_of(source_position())


def location_of(position: SourcePosition | None) -> Location | None:
    """The location that `source_position` found."""
    if position is None or isinstance(position, Location):
        return position
    code, offset = position
    _, starts, lines = _lines.get(id(code)) or _lines_of(code)
    return Location(short_path(code.co_filename), lines[bisect.bisect_right(starts, offset) - 1])


# The lines of code objects by their ids: where each begins. Looking through a function's lines for each of its ops would
# take the square of its length. The code object is kept, so that its id stays its own.
_lines: dict[int, tuple[CodeType, list[int], list[int]]] = {}


def _lines_of(code: CodeType) -> tuple[CodeType, list[int], list[int]]:
    if len(_lines) >= 256:
        _lines.clear()
    table = [(start, line or code.co_firstlineno) for start, _, line in code.co_lines()]
    found = _lines[id(code)] = code, [start for start, _ in table], [line for _, line in table]
    return found


def source_position(skip: int = 1) -> SourcePosition | None:
    """`here`, for a caller that seldom needs it: `location_of` makes the location of it. The first `skip` frames are known to
    be tracejit's own."""
    if _override.innermost is not None:
        override = _innermost()
        if override is not None and override.position is not None:
            return override.position
    frame = sys._getframe(skip)
    while frame is not None:
        file = frame.f_code.co_filename
        inside = _is_library.get(file)
        if inside is None:
            inside = _library(file)
        if not inside:
            return frame.f_code, frame.f_lasti
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _innermost() -> at | None:
    """The innermost `at` whose block has not been left."""
    override = _override.innermost
    while override is not None and not override.block.locked():
        override = _override.innermost = override.before
    return override


class at:
    """Nodes made inside carry `location`; those made inside of `at(None)` the user's line.

    Its end is the release of a lock, one call that no interrupt comes between; `_innermost` goes back to the one around it.
    """

    __slots__ = ("before", "block", "position")
    before: at | None

    def __init__(self, location: SourcePosition | None):
        self.position, self.block = location, threading.Lock()

    def __enter__(self) -> None:
        self.block.acquire()
        self.before = _innermost()
        _override.innermost = self

    @property
    def __exit__(self) -> Callable[..., None]:
        return self.block.__exit__

    def move(self, location: SourcePosition | None) -> None:
        """Carry on with another location."""
        self.position = location
