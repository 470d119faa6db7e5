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

_HEAD = struct.Struct("<4sBBBBIII4Q")
_MAGIC = b"TJB1"
_EXPORT = struct.Struct("<IBxxxQ")
_RELOCATION = struct.Struct("<QBBxxIq")
_MOST_BYTES = 1 << 30
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
    """At `place` the address of what is `addend` bytes behind the beginning of something is to be written: of the blob's own
    CODE or DATA (`target`, with `name` ""), or of what has a name ELSEWHERE."""

    place: Place
    target: int
    name: str
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
            _MAGIC, self.is_object, self.alignment.bit_length() - 1, self.data_alignment.bit_length() - 1, 0,
            len(self.exports), len(self.relocations), len(names),
            len(self.code), len(self.data), self.data_size, len(texts),
        )  # fmt: skip
        exports = [_EXPORT.pack(names[name], place.section, place.offset) for name, place in self.exports.items()]
        relocations = [
            _RELOCATION.pack(each.place.offset, each.place.section, each.target, names.get(each.name, 0), each.addend)
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
    (magic, kind, log_alignment, log_data, zero, exported, relocated, named, code_size, filled, data_size, names_size) = (
        _HEAD.unpack_from(contents)
    )
    _require(magic == _MAGIC and kind in (0, 1) and zero == 0, "format")
    sizes = (exported * _EXPORT.size, relocated * _RELOCATION.size, names_size, code_size, filled)
    _require(_HEAD.size + sum(sizes) == len(contents) and filled <= data_size <= _MOST_BYTES, "size")
    parts = []
    start = _HEAD.size
    for size in sizes:
        parts.append(contents[start : start + size])
        start += size
    blob = Blob(
        parts[3], 1 << log_alignment, parts[4], data_size, 1 << log_data,
        *_references(parts[0], parts[1], _names(parts[2], named)), kind == 1,
    )  # fmt: skip
    check(blob)
    # Numbers that nothing reads and names that nothing has could hide what is damaged.
    _require(blob.to_bytes() == contents, "format")
    return blob


def _names(texts: bytes, count: int) -> list[str]:
    try:
        names = texts.decode().split("\0")
    except UnicodeDecodeError:
        names = []
    _require(len(names) == count + 1 and names[-1] == "", "list of names")
    return names[:-1]


def _references(exports: bytes, relocations: bytes, names: list[str]) -> tuple[dict[str, Place], tuple[Relocation, ...]]:
    read = list(_EXPORT.iter_unpack(exports))
    pointing = list(_RELOCATION.iter_unpack(relocations))
    _require(all(name < len(names) for name, _, _ in read), "list of exports")
    _require(all(target != ELSEWHERE or name < len(names) for _, _, target, name, _ in pointing), "list of relocations")
    exported = {names[name]: Place(section, offset) for name, section, offset in read}
    _require(len(exported) == len(read), "list of exports")
    return exported, tuple(
        [
            Relocation(Place(section, offset), target, names[name] if target == ELSEWHERE else "", addend)
            for offset, section, target, name, addend in pointing
        ]
    )


def check(blob: Blob) -> None:
    """BadBlob where something of a blob would be outside of it."""
    sizes = (len(blob.code), blob.data_size)
    _require(blob.alignment <= _MOST_ALIGNMENT and blob.data_alignment <= _MOST_ALIGNMENT, "alignment")
    _require(0 < sizes[CODE] <= _MOST_BYTES and len(blob.data) <= sizes[DATA] <= _MOST_BYTES, "size")
    _require(blob.exports and "" not in blob.exports, "list of exports")
    if blob.is_object:
        _require(blob.alignment == blob.data_alignment == 1 and not blob.data_size and not blob.relocations, "format")
        _require(all(place == (CODE, 0) for place in blob.exports.values()), "list of exports")
        return
    for section, offset in blob.exports.values():
        _require(section in (CODE, DATA) and 0 <= offset < sizes[section], "list of exports")
    free = [0, 0]
    for (section, offset), target, name, addend in blob.relocations:
        _require(section in (CODE, DATA) and free[section] <= offset, "list of relocations")
        free[section] = offset + WORD
        _require(free[section] <= (len(blob.code), len(blob.data))[section], "list of relocations")
        if target == ELSEWHERE:
            _require(name and abs(addend) <= _MOST_BYTES, "list of relocations")
        else:
            _require(target in (CODE, DATA) and 0 <= addend <= sizes[target], "list of relocations")
