"""Compiles units, texts of functions that stand alone, into blobs.

Units are compiled in groups, a module each, since a module costs as much as a small function: an object is split into the blobs
of its units afterwards. Each function and each variable is a comdat of its own, which gives it a section of its own, and one to
its tables of jumps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tracejit.llvm.machine import mapping
from tracejit.llvm.machine.blob import CODE, Blob, Place
from tracejit.llvm.machine.codegen import CODEGEN_LEVEL, objects_of
from tracejit.llvm.machine.elf import Object, Unread

_GROUPS_A_THREAD = 3
# Letters: what another group costs, and the least that is worth one.
_GROUP_COSTS, _LEAST_OF_A_GROUP = 2_000, 20_000
# A line that begins a function's definition, or is a variable's that is not external. To look for the ends of lines is ten
# times as fast as for `^`.
_DEFINITION = re.compile(r'\n(?P<define>define [^@\n]*)?(?!@[^=\n]* = external )@(?P<name>"[^"\n]*"|[-\w.$]+)[^\n]*')


class Unit(NamedTuple):
    """Functions and variables that are compiled, kept and loaded as one.

    exports   the names of what others may call or refer to, without quotes, at least one; no other unit that is compiled or
              loaded with it exports one of them
    text      LLVM's assembly of all functions and variables that it defines, each `define` up to its brace, and each variable,
              in one line, without a section or a comdat. Their names are unique in what is compiled together: those of a unit
              begin best with the unit's own
    shared    what units have in common, such as declarations, attributes and functions that are internal: a module has each of
              them once
    """

    exports: tuple[str, ...]
    text: str
    shared: frozenset[str] = frozenset()


def compile_units(units: Sequence[Unit], level: int = CODEGEN_LEVEL, threads: int = 1) -> list[Blob]:
    """The blob of each unit, in their order, for this processor, compiled in up to so many threads. A blob does not depend on
    which units are compiled together, but for bytes that nothing reads.

    `level` 0 takes a third of the time; it is for code that is seldom run and has no vectors. RuntimeError where LLVM does not
    understand a text or a unit does not define what it exports, MemoryError where there is no room to compile.
    """
    if not mapping.is_known():
        return _objects(units, level, threads)
    groups = _groups([len(unit.text) for unit in units], _GROUPS_A_THREAD * threads)
    objects = objects_of([_module(units[number] for number in group) for group in groups], level, threads)
    blobs: dict[int, Blob] = {}
    for group, contents in zip(groups, objects, strict=True):
        try:
            found = Object(contents)
            blobs |= {number: found.blob(units[number].exports) for number in group}
        except Unread:
            blobs |= dict(zip(group, _objects([units[number] for number in group], level, threads), strict=True))
    return [blobs[number] for number in range(len(units))]


def _objects(units: Sequence[Unit], level: int, threads: int) -> list[Blob]:
    """The blobs of units that LLVM has to link."""
    objects = objects_of([_text([unit]) for unit in units], level, threads)
    return [
        Blob(code, 1, b"", 0, 1, {name: Place(CODE, 0) for name in unit.exports}, (), is_object=True)
        for code, unit in zip(objects, units, strict=True)
    ]


def _groups(sizes: Sequence[int], most: int) -> list[list[int]]:
    """The numbers of what has these sizes in groups that are about equally large, the largest first."""
    count = max(1, min(most, len(sizes), sum(sizes) // _LEAST_OF_A_GROUP))
    groups: list[tuple[int, list[int]]] = [(0, [])] * count
    for number in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        smallest = min(range(count), key=lambda place: groups[place][0])
        size, group = groups[smallest]
        groups[smallest] = (size + sizes[number] + _GROUP_COSTS, [*group, number])
    return [sorted(group) for _, group in sorted(groups, key=lambda each: -each[0]) if group]


def _text(units: Iterable[Unit]) -> str:
    units = list(units)
    shared = sorted(set().union(*(unit.shared for unit in units)))
    return "\n".join([*shared, *(unit.text for unit in units), ""])


def _module(units: Iterable[Unit]) -> str:
    """The module of a group."""
    names: list[str] = []

    def with_comdat(found: re.Match[str]) -> str:
        names.append(found["name"])
        return f"{found[0][:-2]} comdat {{" if found["define"] else f"{found[0]}, comdat"

    text = _DEFINITION.sub(with_comdat, "\n" + _text(units))
    return "".join([*(f"${name} = comdat any\n" for name in names), text])
