"""What the functions of a source can refer to."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tracejit.llvm.machine.native_subset.language import Memory


class Signature(NamedTuple):
    """A function that can be called: the name that it is linked by, its types, and its definition, None where it is declared
    only; and where that stands, with the names that are known there."""

    name: str
    symbol: str
    parameters: tuple[tuple[str, Any], ...]
    variadic: bool
    result: Any
    definition: ast.FunctionDef | None
    file: str
    names: Mapping[str, Any]

    @property
    def type(self) -> Any:
        """Its type as a value."""
        return Callable[[kind for _, kind in self.parameters], self.result]


class Scope(NamedTuple):
    """What a source's functions can refer to; `used` and `memories` gather what they did."""

    file: str
    names: Mapping[str, Any]
    functions: Mapping[str, Signature]
    offsets: Mapping[str, int]
    used: dict[str, Signature]
    memories: dict[str, Memory]
