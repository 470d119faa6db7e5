"""Loads blobs: all of one caller in one mapping, freed with its last user."""

from __future__ import annotations

import ctypes
import functools
import mmap
import struct
from collections.abc import Mapping, Sequence

from tracejit.llvm.machine.blob import CODE, DATA, ELSEWHERE, Blob
from tracejit.llvm.machine.mapping import make_executable, mapped
from tracejit.llvm.machine.orc import load_objects

_ADDRESS = struct.Struct("<Q")
_ALL_BITS = (1 << 64) - 1


class Library:
    """Code in this process: its functions can be called for as long as this lives, which keeps the `others` that they call."""

    def __init__(self, *others: Library):
        self._others = others


def load(blobs: Sequence[Blob], symbols: Mapping[str, int]) -> tuple[dict[str, int], Library]:
    """Load blobs into this process: (the address of each name that they export, what has to live as long as any of it can be
    called or read).

    What a blob looks for elsewhere is looked for among what the others export (but what is an object finds objects only), then
    among `symbols`, names with their addresses here (such as those of Python's C API), then in the libraries that the process
    has loaded. RuntimeError where something is not found or where the system does not let this process run what it has
    written, ValueError where two blobs export one name, MemoryError where there is no room.
    """
    exported = [name for blob in blobs for name in blob.exports]
    if len(exported) != len(set(exported)):
        raise ValueError("two blobs export one name")
    objects = [blob for blob in blobs if blob.is_object]
    linked = Library()
    if objects:
        names = [name for blob in objects for name in blob.exports]
        addresses = load_objects([blob.code for blob in objects], names, symbols, linked)
        symbols = {**symbols, **addresses}
    else:
        addresses = {}
    images = [blob for blob in blobs if not blob.is_object]
    if not images:
        return addresses, linked
    library = Library(linked)
    return addresses | _load_images(images, symbols, library), library


def _load_images(blobs: Sequence[Blob], symbols: Mapping[str, int], library: Library) -> dict[str, int]:
    """The addresses of what is exported, for as long as `library` lives."""
    starts, sizes = _laid_out(blobs)
    pages = [-(-size // mmap.PAGESIZE) * mmap.PAGESIZE for size in sizes]
    base = mapped(sum(pages), library)
    begins = (base, base + pages[CODE])
    addresses = {
        name: begins[section] + start[section] + offset
        for blob, start in zip(blobs, starts, strict=True)
        for name, (section, offset) in blob.exports.items()
    }
    known = {**symbols, **addresses}
    for blob, start in zip(blobs, starts, strict=True):
        own = (begins[CODE] + start[CODE], begins[DATA] + start[DATA])
        images = bytearray(blob.code), bytearray(blob.data)
        for section, target, name, offset, addend in blob.relocations:
            if target != ELSEWHERE:
                found = own[target]
            elif name in known:
                found = known[name]
            else:
                found = known[name] = _of_process(name)
            _ADDRESS.pack_into(images[section], offset, (found + addend) & _ALL_BITS)
        for begin, image in zip(own, images, strict=True):
            if image:
                ctypes.memmove(begin, bytes(image), len(image))
    make_executable(base, pages[CODE])
    return addresses


def _laid_out(blobs: Sequence[Blob]) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """(Where the code and the data of each blob begin, the sizes of all code and of all data.)"""
    starts = []
    code = data = 0
    for blob in blobs:
        code += -code % blob.alignment
        data += -data % blob.data_alignment
        starts.append((code, data))
        code += len(blob.code)
        data += blob.data_size
    return starts, (code, data)


@functools.cache
def _process() -> ctypes.PyDLL:
    return ctypes.PyDLL(None)


def _of_process(name: str) -> int:
    try:
        return int(ctypes.cast(getattr(_process(), name), ctypes.c_void_p).value or 0)
    except AttributeError:
        raise RuntimeError(f"{name}, which compiled code calls, is nowhere to be found") from None
