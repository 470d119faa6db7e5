"""Memory in which code can run: written first, then run."""

from __future__ import annotations

import ctypes
import errno
import functools
import mmap
import os
import platform
import sys
import weakref
from typing import Any


class _Functions:
    """Functions of the C library. They keep the interpreter's lock: to have it again might take as long as all the rest."""

    def __init__(self) -> None:
        library = ctypes.PyDLL(None, use_errno=True)
        self.mmap, self.mprotect, self.munmap = library.mmap, library.mprotect, library.munmap
        address, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        self.mmap.restype, self.mmap.argtypes = address, (address, size, number, number, number, ctypes.c_long)
        self.mprotect.restype, self.mprotect.argtypes = number, (address, size, number)
        self.munmap.restype, self.munmap.argtypes = number, (address, size)


_functions = functools.cache(_Functions)
_FAILED = ctypes.c_void_p(-1).value


def is_known() -> bool:
    """Whether this is a system and a processor on which this has been tried."""
    return sys.platform == "linux" and platform.machine() == "x86_64" and ctypes.sizeof(ctypes.c_void_p) == 8


def mapped(size: int, owner: object) -> int:
    """The address of `size` new bytes, zeros that can be written, which are there for as long as `owner` lives. MemoryError
    where there is no room."""
    address = _functions().mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    if address == _FAILED:
        _fail(f"{size >> 10} KiB for code cannot be had")
    # Not at the interpreter's exit, when threads may still be in the code.
    weakref.finalize(owner, _functions().munmap, address, size).atexit = False
    return int(address)


def make_executable(address: int, size: int) -> None:
    """Let code run that has been written to mapped memory, to which no more can be written. RuntimeError where the system does
    not allow it."""
    if _functions().mprotect(address, size, mmap.PROT_READ | mmap.PROT_EXEC) != 0:
        _fail("this process may not run the code that it has made")


def _fail(what: str) -> Any:
    number = ctypes.get_errno()
    kind = MemoryError if number == errno.ENOMEM else RuntimeError
    raise kind(f"{what}: {os.strerror(number)}")
