"""Loads blobs into this process: all of one caller in one mapping, which is freed with its last user."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import weakref
from collections.abc import Mapping, Sequence

from tracejit.llvm.machine.blob import CODE, DATA, ELSEWHERE, Blob
from tracejit.llvm.machine.engine import Library, load_objects

_ADDRESS = struct.Struct("<Q")
_ALL_BITS = (1 << 64) - 1


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
    if not objects:
        return _load_images(blobs, symbols)
    addresses, linked = load_objects(
        [blob.code for blob in objects], [name for blob in objects for name in blob.exports], symbols
    )
    images = [blob for blob in blobs if not blob.is_object]
    if not images:
        return addresses, linked
    found, library = _load_images(images, {**symbols, **addresses}, linked)
    return {**addresses, **found}, library


def _load_images(blobs: Sequence[Blob], symbols: Mapping[str, int], *others: Library) -> tuple[dict[str, int], Library]:
    starts, sizes = _laid_out(blobs)
    library = Library(others)
    pages = [-(-size // mmap.PAGESIZE) * mmap.PAGESIZE for size in sizes]
    base = _mapped(sum(pages))
    # None at the interpreter's exit, when threads may still be in the code.
    weakref.finalize(library, _munmap, base, sum(pages)).atexit = False
    begins = (base, base + pages[CODE])
    addresses = {
        name: begins[section] + start[section] + offset
        for blob, start in zip(blobs, starts, strict=True)
        for name, (section, offset) in blob.exports.items()
    }
    images = bytearray(sizes[CODE]), bytearray(sizes[DATA])
    for blob, start in zip(blobs, starts, strict=True):
        images[CODE][start[CODE] : start[CODE] + len(blob.code)] = blob.code
        images[DATA][start[DATA] : start[DATA] + len(blob.data)] = blob.data
        for (section, offset), target, name, addend in blob.relocations:
            if target == ELSEWHERE:
                found = addresses[name] if name in addresses else symbols[name] if name in symbols else _of_process(name)
            else:
                found = begins[target] + start[target]
            _ADDRESS.pack_into(images[section], start[section] + offset, (found + addend) & _ALL_BITS)
    for begin, image in zip(begins, images, strict=True):
        ctypes.memmove(begin, bytes(image), len(image))
    _allow_to_run(base, pages[CODE])
    return addresses, library


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


# Not through a library of ctypes that releases the interpreter's lock: to have it again may take as long as all the rest.
_libc = ctypes.PyDLL(None, use_errno=True)
_FAILED = ctypes.c_void_p(-1).value


def _function(name: str, result: type, *arguments: type) -> ctypes._FuncPointer:
    function = getattr(_libc, name)
    function.restype, function.argtypes = result, arguments
    return function


_mmap = _function(
    "mmap", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long
)
_mprotect = _function("mprotect", ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_munmap = _function("munmap", ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)


def _mapped(size: int) -> int:
    """Where `size` new bytes are, zeros that can be written."""
    base = _mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    if base == _FAILED:
        if ctypes.get_errno() == errno.ENOMEM:
            raise MemoryError(f"to load code takes {size >> 10} KiB, which this process cannot have")
        raise RuntimeError(f"no memory for code: {os.strerror(ctypes.get_errno())}")
    return int(base)


def _allow_to_run(base: int, size: int) -> None:
    if _mprotect(base, size, mmap.PROT_READ | mmap.PROT_EXEC) != 0:
        raise RuntimeError(f"the system does not let this process run code that it has made: {os.strerror(ctypes.get_errno())}")


def _of_process(name: str) -> int:
    try:
        return int(ctypes.cast(getattr(_libc, name), ctypes.c_void_p).value or 0)
    except AttributeError:
        raise RuntimeError(f"{name}, which compiled code calls, is nowhere to be found") from None
