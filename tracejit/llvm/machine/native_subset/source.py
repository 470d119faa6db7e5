"""Sources in the native subset: texts of modules.

They are read where nothing is compiled too, being part of a key of the object cache.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple


class Source(NamedTuple):
    """A text with the names that it has as a module of Python: those that it imports and defines."""

    file: str
    text: str
    names: Mapping[str, Any]


def source_of(module: ModuleType) -> Source:
    """The source of a module. OSError where Python does not have it."""
    return Source(module.__file__ or module.__name__, inspect.getsource(module), vars(module))
