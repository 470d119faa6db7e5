"""Compiles units, each the text of functions that stand alone, into blobs that can be kept and loaded one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tracejit.llvm.machine import elf, engine
from tracejit.llvm.machine.blob import CODE, Blob, Place


class Unit(NamedTuple):
    """Functions and variables that are compiled, kept and loaded as one.

    exports   the names of what others may call or refer to, without quotes, at least one; no other unit that is compiled or
              loaded with it exports one of them
    text      LLVM's assembly of all functions and variables that it defines, each `define` up to its brace, and each variable,
              in one line, without a section or a comdat. Their names are unique in what is compiled together: those of a unit
              begin best with the unit's own
    shared    lines that units have in common, such as declarations and attributes: a module has each once
    """

    exports: tuple[str, ...]
    text: str
    shared: frozenset[str] = frozenset()


def compile_units(units: Sequence[Unit], level: int = engine.CODEGEN_LEVEL) -> list[Blob]:
    """The blob of each unit, in their order, for this processor; it does not depend on which units are compiled together.

    `level` 0 takes a third of the time; it is for code that is seldom run and has no vectors. RuntimeError where LLVM does not
    understand a text, MemoryError where there is no room to compile.
    """
    return [_alone(unit, level) for unit in units]


def _alone(unit: Unit, level: int) -> Blob:
    code = engine.compile_text("\n".join([*sorted(unit.shared), unit.text, ""]), level)
    try:
        return elf.Object(code).blob(unit.exports)
    except elf.Unread:
        return Blob(code, 1, b"", 0, 1, {name: Place(CODE, 0) for name in unit.exports}, (), is_object=True)
