"""The pool of threads that share a large kernel (`native_pool`).

It is compiled once a machine and loaded once a process. On other systems than Linux, on processors on which it has not been
tried, and where Python does not have its sources, one thread does all.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import struct
import sys
from collections.abc import Sequence
from typing import Any

from tracejit.llvm.machine import cache, host
from tracejit.llvm.machine.blob import BadBlob, Blob
from tracejit.llvm.machine.loader import load
from tracejit.llvm.machine.native_pool import aarch64, system, workers, x86_64
from tracejit.llvm.machine.native_pool.workers import MOST, Pool, Slot
from tracejit.llvm.machine.native_subset.language import layout_of, offset_of
from tracejit.llvm.machine.native_subset.source import Source, source_of
from tracejit.llvm.machine.units import Unit, compile_units
from tracejit.locks import Lock, importing

# `i32 (ptr function, ptr arguments, i64 units)`: the statuses of all shares, or-ed.
PARALLEL = "tracejit_parallel"
_EXPORTS = (PARALLEL, "pool", "slots")
_PROCESSORS = {"x86_64": x86_64, "aarch64": aarch64}

# What needs no source, since it is for where there may be none.
_ALONE = f"""
define i32 @{PARALLEL}(ptr %function, ptr %arguments, i64 %units) nounwind {{
  %status = call i32 %function(ptr %arguments, i64 0, i64 %units)
  ret i32 %status
}}
"""


def _sources(operating_system: str, processor: str, bits: int) -> Sequence[Source]:
    """The pool in the native subset, for a system and its processor; () where one thread does all."""
    if operating_system != "linux" or processor not in _PROCESSORS or bits != 64:
        return ()
    try:
        return [source_of(module) for module in (workers, _PROCESSORS[processor], system)]
    except OSError:
        return ()


def text(operating_system: str, processor: str, bits: int) -> str:
    """The pool's code for a system and its processor, as LLVM's assembly."""
    sources = _sources(operating_system, processor, bits)
    if not sources:
        return _ALONE
    with importing:
        from tracejit.llvm.machine.native_subset.compiler import compile_sources

    return compile_sources(sources, _EXPORTS).text


def _here() -> tuple[str, str, int]:
    return sys.platform, platform.machine(), 8 * struct.calcsize("P")


@functools.cache
def divides() -> bool:
    """Whether it uses more than one thread on this system."""
    return bool(_sources(*_here()))


# Kept for ever: the threads are in this code until the process ends, and it is one for all who are linked to it.
_pool: tuple[dict[str, int], Any] | None = None
_loading = Lock()


def _loaded() -> dict[str, int]:
    global _pool
    with _loading:
        if _pool is None:
            _pool = _load()
        return _pool[0]


def _load() -> tuple[dict[str, int], Any]:
    key = host.key("pool", *_here(), tuple([source.text for source in _sources(*_here())]))
    found = cache.get(key)
    try:
        if found.header == {}:
            return load([Blob.from_bytes(found.code)], {})
    except (BadBlob, RuntimeError):
        pass  # made anew
    unit = Unit(_EXPORTS if divides() else (PARALLEL,), text(*_here()))
    blobs = compile_units([unit], level=0)  # as fast as with level 2, in a quarter of the time
    cache.put(key, {}, blobs[0].to_bytes())
    return load(blobs, {})


def symbols() -> dict[str, int]:
    """The name under which generated code calls the pool, and its address here."""
    return {PARALLEL: _loaded()[PARALLEL]}


def set_size(size: int) -> None:
    """From now on kernels are shared by up to `size` threads, 1 to MOST, the caller's included."""
    if divides():
        ctypes.c_int64.from_address(_loaded()["pool"] + offset_of(Pool, "size")).value = size


def forget_threads() -> None:
    """To be called in a forked child, which has none of its parent's threads: they are made again when they are needed."""
    if _pool is not None and divides():
        kept = offset_of(Pool, "threads")
        ctypes.memset(_pool[0]["pool"] + kept, 0, layout_of(Pool).size - kept)
        ctypes.memset(_pool[0]["slots"], 0, MOST * layout_of(Slot).size)
