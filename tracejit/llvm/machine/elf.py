"""Reads x86-64 objects in ELF: the blob of a unit is what can be reached from what it exports.

Reached by relocations: those of what is in the blob, to what has to be in it too. A section is taken as a whole; of one whose
entries the linker may merge (constants of one size) only the entries that are read, so that a function's blob is the same
whatever else was compiled with it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from tracejit.llvm.machine.blob import CODE, DATA, ELSEWHERE, WORD, Blob, Place, Relocation

_HEADER = struct.Struct("<4sBBBBB7xHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELA = struct.Struct("<QIIq")
_START = (b"\x7fELF", 2, 1, 1)  # 64 bits, little-endian, version 1
_RELOCATABLE, _X86_64 = 1, 62
_PROGBITS, _SYMTAB, _RELAS, _NOBITS = 1, 2, 4, 8
_WRITE, _ALLOC, _EXECUTE, _MERGE, _GROUP, _TLS = 1, 2, 4, 16, 512, 1024
# A constant of a register's size; smaller ones do not lie across its multiples.
_MOST_OF_A_CONSTANT = 64
_MOST_BYTES = 1 << 28
_UNDEFINED, _FIRST_RESERVED = 0, 0xFF00
# The address of a symbol and an addend, in 8 bytes: the large code model has no other.
R_X86_64_64 = 1
KNOWN = frozenset({R_X86_64_64})


# What comes of numbers that lead out of the object.
_DAMAGED = (struct.error, ValueError, IndexError, OverflowError)


class Unread(Exception):
    """The object has something that nobody here knows how to load; the text says what."""


class _Section(NamedTuple):
    kind: int
    flags: int
    start: int
    size: int
    alignment: int
    entry_size: int


class _Symbol(NamedTuple):
    name: str
    section: int
    value: int


class _Reference(NamedTuple):
    """At an offset of a section something is to be written that is computed from the address of a symbol and from `addend`."""

    offset: int
    kind: int
    symbol: int
    addend: int


class _Piece(NamedTuple):
    """A part of a section that a blob has: where it begins there, and its size."""

    section: int
    start: int
    size: int


class Object:
    """An object: its sections, its symbols, and which refer to which. Unread where it has what is not known here."""

    def __init__(self, contents: bytes):
        try:
            self._read(contents)
        except _DAMAGED as error:
            raise Unread(f"the object cannot be read: {error}") from None

    def _read(self, contents: bytes) -> None:
        head = _HEADER.unpack_from(contents)
        if head[:4] != _START or head[6:8] != (_RELOCATABLE, _X86_64):
            raise Unread("the object is not one for x86-64 in ELF")
        first, size, count = head[11], head[16], head[17]
        if size != _SECTION.size or count == 0:
            raise Unread("the object's sections have another form")
        read = [_SECTION.unpack_from(contents, first + number * size) for number in range(count)]
        self.contents = contents
        self.sections = [_Section(each[1], each[2], each[4], each[5], max(1, each[8]), each[9]) for each in read]
        self.symbols: list[_Symbol] = []
        self.references: dict[int, list[_Reference]] = {}
        for each in read:
            kind, start, length, link, about = each[1], each[4], each[5], each[6], each[7]
            if kind == _SYMTAB:
                self.symbols = [
                    self._symbol(raw, read[link][4]) for raw in _SYMBOL.iter_unpack(contents[start : start + length])
                ]
            elif kind == _RELAS and read[about][2] & _ALLOC:
                self.references[about] = [_Reference(*raw) for raw in _RELA.iter_unpack(contents[start : start + length])]

    def _symbol(self, raw: tuple[int, ...], texts: int) -> _Symbol:
        name, info, section, value = raw[0], raw[1], raw[3], raw[4]
        end = self.contents.index(0, texts + name)
        text = self.contents[texts + name : end].decode()
        if info & 15 == 6:
            raise Unread(f"{text} is local to a thread")
        return _Symbol(text, section, value)

    def blob(self, exports: Sequence[str]) -> Blob:
        """What is reached from these names. Unread where that cannot be told, RuntimeError where one is not defined."""
        defined = {each.name: each for each in self.symbols if _UNDEFINED != each.section < _FIRST_RESERVED and each.name}
        for name in exports:
            if name not in defined:
                raise RuntimeError(f"{name} is not defined where it is exported")
        try:
            return _Gathering(self, {name: defined[name] for name in exports}).blob()
        except _DAMAGED as error:
            raise Unread(f"the object cannot be read: {error}") from None

    def piece(self, section: int, offset: int) -> _Piece:
        """The piece that has the byte at an offset of a section, or ends with it."""
        found = self.sections[section]
        if not found.flags & _ALLOC or found.flags & _TLS or found.kind not in (_PROGBITS, _NOBITS):
            raise Unread("something refers to a section of another kind")
        if found.size > (len(self.contents) - found.start if found.kind == _PROGBITS else _MOST_BYTES):
            raise Unread("a section ends outside of the object")
        if not 0 <= offset <= found.size:
            raise Unread("something refers to what is outside of its section")
        if found.flags & (_WRITE | _EXECUTE | _GROUP) or section in self.references or offset == found.size:
            return _Piece(section, 0, found.size)
        entry = found.entry_size if found.flags & _MERGE and found.entry_size else _MOST_OF_A_CONSTANT
        start = offset - offset % entry
        return _Piece(section, start, min(entry, found.size - start))


class _Gathering:
    """The pieces of a blob, as they are found; each lies where the ones before it end."""

    def __init__(self, source: Object, exports: dict[str, _Symbol]):
        self._source, self._exports = source, exports
        self._offsets: dict[_Piece, Place] = {}
        self._found: list[_Piece] = []
        self._sizes, self._alignments, self._filled = [0, 0], [1, 1], 0
        self._relocations: list[Relocation] = []

    def blob(self) -> Blob:
        exports = {name: self._place(symbol.section, symbol.value) for name, symbol in self._exports.items()}
        for piece in self._found:  # which grows on the way
            own = self._offsets[piece]
            for reference in self._source.references.get(piece.section, ()):
                if reference.offset + WORD > piece.size:
                    raise Unread("a relocation is outside of its section")
                target, name, addend = self._target(reference)
                self._relocations.append(Relocation(own.section, target, name, own.offset + reference.offset, addend))
        images = bytearray(self._sizes[CODE]), bytearray(self._sizes[DATA])
        for piece, (section, offset) in self._offsets.items():
            found = self._source.sections[piece.section]
            if found.kind == _PROGBITS:
                start = found.start + piece.start
                images[section][offset : offset + piece.size] = self._source.contents[start : start + piece.size]
        self._relocations.sort(key=lambda each: (each.section, each.offset))
        return Blob(
            bytes(images[CODE]), self._alignments[CODE], bytes(images[DATA][: self._filled]), len(images[DATA]),
            self._alignments[DATA], exports, tuple(self._relocations),
        )  # fmt: skip

    def _target(self, reference: _Reference) -> tuple[int, str, int]:
        if reference.kind not in KNOWN:
            raise Unread(f"relocation {reference.kind} of x86-64 is not known")
        symbol = self._source.symbols[reference.symbol]
        if symbol.section == _UNDEFINED:
            return ELSEWHERE, symbol.name, reference.addend
        if symbol.section >= _FIRST_RESERVED:
            raise Unread(f"{symbol.name} is in no section")
        place = self._place(symbol.section, symbol.value + reference.addend)
        return place.section, "", place.offset

    def _place(self, section: int, offset: int) -> Place:
        """Where in the blob the byte at an offset of a section is; it is taken in where it is not yet there."""
        piece = self._source.piece(section, offset)
        if piece not in self._offsets:
            self._offsets[piece] = self._taken(piece)
            self._found.append(piece)
        taken = self._offsets[piece]
        return Place(taken.section, taken.offset + offset - piece.start)

    def _taken(self, piece: _Piece) -> Place:
        found = self._source.sections[piece.section]
        section = DATA if found.flags & _WRITE else CODE
        alignment = found.alignment
        self._alignments[section] = max(self._alignments[section], alignment)
        start = -(-self._sizes[section] // alignment) * alignment
        self._sizes[section] = start + piece.size
        if section == DATA and found.kind == _PROGBITS:
            self._filled = self._sizes[DATA]
        return Place(section, start)
