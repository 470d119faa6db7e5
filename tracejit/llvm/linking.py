"""A graph's kernels in this process: in use already, found in the cache, or compiled.

A kernel's name says what it computes. It is loaded once for all graphs that call it, in one mapping with what else was new to
the graph that was first, and dropped with the last of them.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from tracejit.llvm.entry import TABLE, Table, fill, own_entry, walker
from tracejit.llvm.machine import cache, host, pool, threads
from tracejit.llvm.machine.blas import blas_symbols
from tracejit.llvm.machine.blob import BadBlob, Blob
from tracejit.llvm.machine.loader import Library, load
from tracejit.llvm.machine.units import Unit, compile_units

_MOST_CHUNKS = 1 << 31


class Written(Protocol):
    """A kernel's text: `llvm.emit` writes it."""

    @property
    def unit(self) -> Unit: ...
    @property
    def chunks(self) -> int | None: ...


class LoadedKernel:
    """A kernel that can be called at `address` for as long as this lives; its `chunks`, None where it is not divided."""

    __slots__ = ("__weakref__", "_library", "address", "chunks")

    def __init__(self, address: int, chunks: int | None, library: Library):
        self.address, self.chunks, self._library = address, chunks, library


class Counts(NamedTuple):
    """How many kernels a graph has, and of how many the code was in use already, found in the cache, and compiled."""

    kernels: int
    shared: int
    found: int
    compiled: int


class Linked(NamedTuple):
    """A graph's kernels, in the order of its table, and the function that calls them, at `address`, for as long as all of this
    is kept.

    entry     that function, where it calls these kernels alone
    unkept    why kernels that were compiled are not in the cache, "" where they are
    seconds   that LLVM took
    """

    address: int
    kernels: tuple[LoadedKernel, ...]
    entry: Blob | None
    counts: Counts
    unkept: str
    seconds: float
    code: object

    @property
    def parallel(self) -> bool:
        """Whether one of the kernels is divided."""
        return any(kernel.chunks is not None for kernel in self.kernels)


class _Code(NamedTuple):
    """A kernel that is not loaded yet."""

    blob: Blob
    chunks: int | None


_in_use: weakref.WeakValueDictionary[str, LoadedKernel] = weakref.WeakValueDictionary()  # by name


Write = Callable[[Sequence[str]], Iterable[Written]]


def link(table: Table, entry: Blob | None, write: Write, *, use_cache: bool) -> Linked:
    """The code of a graph's calls, with the `entry` of its own where that is known. `write` writes the kernels of these names,
    those that are missing. Without the cache nothing is shared either."""
    known = {name: kernel for name in table.kernels if use_cache and (kernel := _in_use.get(name)) is not None}
    found = _found([name for name in table.kernels if name not in known]) if use_cache else {}
    try:
        return _link(table, entry, write, known, found, use_cache)
    except RuntimeError:  # of code that cannot be loaded
        if not found and entry is None:
            raise
        return _link(table, None, write, known, {}, use_cache)


def _link(
    table: Table,
    entry: Blob | None,
    write: Write,
    known: Mapping[str, LoadedKernel],
    found: Mapping[str, _Code],
    use_cache: bool,
) -> Linked:
    names = [name for name in table.kernels if name not in known and name not in found]
    written = list(write(names)) if names else []
    units = [each.unit for each in written]
    if table.walked and _known_walker(False) is None:
        units.append(walker())
    start = time.perf_counter()
    blobs = compile_units(units, threads=threads.size()) if units else []
    made = {name: _Code(blob, each.chunks) for name, blob, each in zip(names, blobs, written, strict=False)}
    if len(blobs) > len(made):
        _keep_walker(False, blobs[-1])
    new = {**found, **made}
    chunks = {name: each.chunks for group in (known, new) for name, each in group.items()}
    is_new = entry is None and not table.walked
    if is_new:
        (entry,) = compile_units([own_entry(table, chunks)], level=0)
    seconds = time.perf_counter() - start if units or is_new else 0.0
    unkept = cache.put_all([_entry(name, code) for name, code in made.items()]) if names and use_cache else ""
    memory = np.empty(table.words, np.int64)
    symbols = {name: kernel.address for name, kernel in known.items()}
    symbols |= {**blas_symbols(), **(pool.symbols() if any(chunks.values()) else {}), TABLE: memory.ctypes.data}
    calling = entry or _walker(False)
    addresses, library = load([*(code.blob for code in new.values()), calling], symbols)
    loaded = {name: LoadedKernel(addresses[name], code.chunks, library) for name, code in new.items()}
    if use_cache:
        _in_use.update(loaded)
    kernels = tuple([known[name] if name in known else loaded[name] for name in table.kernels])
    _fill(memory, table, kernels)
    counts = Counts(len(kernels), len(known), len(found), len(made))
    return Linked(addresses[_name(calling)], kernels, entry, counts, unkept, seconds, (library, memory))


def link_timed(table: Table, kernels: Sequence[LoadedKernel], cycles: int) -> tuple[int, object]:
    """(The address of a function that calls the kernels of a table and writes to argument number `cycles` how many cycles each
    call took, an i64 a call; what has to live as long.)"""
    memory = np.empty(table.words, np.int64)
    entry = _walker(True)
    addresses, library = load([entry], {TABLE: memory.ctypes.data})
    _fill(memory, table, kernels, cycles)
    return addresses[_name(entry)], (library, memory, tuple(kernels))


def _fill(memory: np.ndarray, table: Table, kernels: Sequence[LoadedKernel], cycles: int = 0) -> None:
    chunks = [kernel.chunks or 0 for kernel in kernels]
    parallel = pool.symbols()[pool.PARALLEL] if any(chunks) else 0
    fill(memory, table, [kernel.address for kernel in kernels], chunks, parallel, cycles)


# -- what calls the kernels


def _name(entry: Blob) -> str:
    (name,) = entry.exports
    return name


_walkers: dict[bool, Blob] = {}  # by whether they are timed


def _known_walker(timed: bool) -> Blob | None:
    """What walks a table, where this process or the cache has it."""
    if timed not in _walkers:
        unit = walker(timed)
        found = _checked(unit.exports[0], cache.get(host.key("walker", unit.text)))
        if found is None:
            return None
        _walkers[timed] = found.blob
    return _walkers[timed]


def _keep_walker(timed: bool, blob: Blob) -> Blob:
    _walkers[timed] = blob
    cache.put(host.key("walker", walker(timed).text), {"chunks": None}, blob.to_bytes())
    return blob


def _walker(timed: bool) -> Blob:
    return _known_walker(timed) or _keep_walker(timed, compile_units([walker(timed)])[0])


# -- the cache


def _entry(name: str, code: _Code) -> tuple[str, dict[str, Any], bytes]:
    return host.key("kernel", name), {"chunks": code.chunks}, code.blob.to_bytes()


def _found(names: Sequence[str]) -> dict[str, _Code]:
    """What the cache has of the kernels of these names, all of it checked."""
    entries = cache.get_all([host.key("kernel", name) for name in names])
    codes = {name: _checked(name, entry) for name, entry in zip(names, entries, strict=True)}
    return {name: code for name, code in codes.items() if code is not None}


def _checked(name: str, entry: cache.Found) -> _Code | None:
    if entry.header is None or entry.header.keys() != {"chunks"}:
        return None
    chunks = entry.header["chunks"]
    if chunks is not None and not (type(chunks) is int and 1 < chunks < _MOST_CHUNKS):
        return None
    try:
        blob = Blob.from_bytes(entry.code)
    except BadBlob:
        return None
    return _Code(blob, chunks) if list(blob.exports) == [name] else None
