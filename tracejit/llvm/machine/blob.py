"""What became of a unit: code and data that stand alone, read back with all checks.

A blob is an image: code, with the constants it reads behind it, and data that is written to. Or, where nobody here can read
what the compiler gives, an object: a file that LLVM links.

As bytes, numbers little-endian: a head (what the blob is; log2 of its alignments, how many exports, relocations and names, the
sizes of its code, of what its data begins with, of its data, of its names), the exports, the relocations, the names, each ended
by a zero, the code, and what the data begins with.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

_HEAD = struct.Struct("<4sBBBxIII4Q")
_MAGIC = b"TJB1"
_EXPORT = struct.Struct("<IIQ")
_RELOCATION = struct.Struct("<BBxxIQq")
_MOST_BYTES = 1 << 28
_MOST_ALIGNMENT = 4096
# Where something is, or is looked for: in the blob's own code, in its own data, or elsewhere, under a name.
CODE, DATA, ELSEWHERE = range(3)
# An address takes so many bytes.
WORD = 8


class BadBlob(ValueError):
    """These are not the bytes of a blob; the text says why."""


class Place(NamedTuple):
    """A byte of a blob: `section` is CODE or DATA."""

    section: int
    offset: int


class Relocation(NamedTuple):
    """At an `offset` of a `section`, CODE or DATA, the address of what is `addend` bytes behind the beginning of something is
    to be written: of the blob's own CODE or DATA (`target`, with `name` ""), or of what has a name ELSEWHERE."""

    section: int
    target: int
    name: str
    offset: int
    addend: int


class Blob(NamedTuple):
    """What became of a unit.

    code           the machine code and its constants; or, where `is_object`, a file that LLVM links, and no more
    alignment      of the code's first byte
    data           what the writable data begins with; zeros up to `data_size` follow
    exports        where the names are that the unit gives (all at offset 0 where `is_object`)
    relocations    in order of their places, which do not overlap
    """

    code: bytes
    alignment: int
    data: bytes
    data_size: int
    data_alignment: int
    exports: Mapping[str, Place]
    relocations: tuple[Relocation, ...]
    is_object: bool = False

    def to_bytes(self) -> bytes:
        """The blob as bytes, the same for equal blobs."""
        names: dict[str, int] = {}
        for name in (*self.exports, *(each.name for each in self.relocations if each.target == ELSEWHERE)):
            names.setdefault(name, len(names))
        texts = b"".join(name.encode() + b"\0" for name in names)
        head = _HEAD.pack(
            _MAGIC, self.is_object, self.alignment.bit_length() - 1, self.data_alignment.bit_length() - 1,
            len(self.exports), len(self.relocations), len(names),
            len(self.code), len(self.data), self.data_size, len(texts),
        )  # fmt: skip
        exports = [_EXPORT.pack(names[name], place.section, place.offset) for name, place in self.exports.items()]
        relocations = [
            _RELOCATION.pack(each.section, each.target, names.get(each.name, 0), each.offset, each.addend)
            for each in self.relocations
        ]
        return b"".join([head, *exports, *relocations, texts, self.code, self.data])

    @staticmethod
    def from_bytes(contents: bytes) -> Blob:
        """The blob of which these are the bytes. BadBlob where it is none, or would be read or written outside of itself."""
        return _read(contents)


def _require(condition: object, what: str) -> None:
    if not condition:
        raise BadBlob(f"the code's {what} is wrong")


def _read(contents: bytes) -> Blob:
    _require(len(contents) >= _HEAD.size, "size")
    (magic, kind, log_alignment, log_data, exported, relocated, named, code_size, filled, data_size, names_size) = (
        _HEAD.unpack_from(contents)
    )
    _require(magic == _MAGIC and kind in (0, 1), "format")
    at_relocations = _HEAD.size + exported * _EXPORT.size
    at_names = at_relocations + relocated * _RELOCATION.size
    at_code = at_names + names_size
    at_data = at_code + code_size
    _require(at_data + filled == len(contents), "size")
    _require(code_size <= _MOST_BYTES and filled <= data_size <= _MOST_BYTES, "size")
    alignment, data_alignment = 1 << log_alignment, 1 << log_data
    _require(alignment <= _MOST_ALIGNMENT and data_alignment <= _MOST_ALIGNMENT, "alignment")
    names = _names(contents[at_names:at_code], named)
    exports = _exports(contents[_HEAD.size : at_relocations], names, (code_size, data_size))
    relocations = _relocations(contents[at_relocations:at_names], names, (code_size, data_size), (code_size, filled))
    if kind == 1:
        _require(data_size == 0 and alignment == data_alignment == 1 and not relocations, "format")
        _require(not any(offset for _, offset in exports.values()), "list of exports")
    code, data = contents[at_code:at_data], contents[at_data:]
    return Blob(code, alignment, data, data_size, data_alignment, exports, relocations, kind == 1)


def _names(texts: bytes, count: int) -> list[str]:
    try:
        names = texts.decode().split("\0")
    except UnicodeDecodeError:
        names = []
    _require(len(names) == count + 1 and "" not in names[:count] and not names[count], "list of names")
    return names[:-1]


def _exports(written: bytes, names: list[str], sizes: tuple[int, int]) -> dict[str, Place]:
    exports = {}
    for name, section, offset in _EXPORT.iter_unpack(written):
        _require(name < len(names) and section <= DATA and offset < sizes[section], "list of exports")
        exports[names[name]] = Place(section, offset)
    _require(exports and len(exports) * _EXPORT.size == len(written), "list of exports")
    return exports


def _relocations(written: bytes, names: list[str], sizes: tuple[int, int], filled: tuple[int, int]) -> tuple[Relocation, ...]:
    relocations = []
    free = [0, 0]
    for section, target, number, offset, addend in _RELOCATION.iter_unpack(written):
        if section > DATA or not free[section] <= offset <= filled[section] - WORD:
            raise BadBlob("the code's list of relocations is wrong")
        free[section] = offset + WORD
        name = ""
        if target == ELSEWHERE and number < len(names):
            name = names[number]
        elif target > DATA or not 0 <= addend <= sizes[target]:
            raise BadBlob("the code's list of relocations is wrong")
        relocations.append(Relocation(section, target, name, offset, addend))
    return tuple(relocations)
