"""LLVM's own linker, for objects that nobody here can read."""

from __future__ import annotations

import contextlib
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from tracejit.llvm.machine import engine
from tracejit.memory import require_room

# Bytes that LLVM surely does with. It ends the process where it gets none.
_TO_LOAD, _TO_LOAD_A_BYTE = 8 << 20, 8


def load_objects(objects: Sequence[bytes], names: Sequence[str], symbols: Mapping[str, int], library: object) -> dict[str, int]:
    """The address of each of `names` of objects that are linked, for as long as `library` lives.

    What an object leaves open is looked for in the others, then among `symbols`, names with their addresses here, then in the
    libraries that the process has loaded. RuntimeError where something is not found, MemoryError where there is no room.
    """
    require_room(_TO_LOAD + _TO_LOAD_A_BYTE * sum(map(len, objects)), "to load code")
    return engine.at_llvm(lambda: _link(objects, names, symbols, library))


def _link(objects: Sequence[bytes], names: Sequence[str], symbols: Mapping[str, int], library: object) -> dict[str, int]:
    _close_dropped()
    binding = engine.llvm()
    builder = binding.JITLibraryBuilder().add_current_process()
    for code in objects:
        builder = builder.add_object_img(code)
    for name in names:
        builder = builder.export_symbol(name)
    for name, address in symbols.items():
        builder = builder.import_symbol(name, address)
    # One of LLVM's JITs for each: of a library that is closed a JIT keeps 9 kB. The tracker refers to it: LLVM closes it later.
    # Nothing is closed by a call of `close`: where an interrupt comes in the middle of one, llvmlite closes again when the
    # object goes.
    jit = binding.create_lljit_compiler()
    tracker = builder.link(jit, "tracejit")
    tracker.jit = jit
    # One finalizer for both: a garbage collection would call their own in any order. None at the interpreter's exit, when
    # threads may still be in the code.
    weakref.finalize(library, _drop, [tracker]).atexit = False
    return {name: tracker[name] for name in names}


# Trackers of libraries of which nobody can call anything any more. They are dropped wherever a garbage collection happens to
# run, which must not wait for another thread.
_dropped: deque[Any] = deque()


def _drop(holder: list[Any]) -> None:
    alone = not _dropped
    _dropped.append(holder.pop())  # who calls this goes on to refer to what it has given
    if alone:  # where it is not, somebody is on the way, or the next that loads something closes them all
        engine.later(_close_dropped)


def _close_dropped() -> None:
    with contextlib.suppress(IndexError):
        while True:
            _dropped.popleft()
