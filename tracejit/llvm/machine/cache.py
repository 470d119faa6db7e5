"""Compiled code on disk, a kernel or a graph a file, so that a later process loads what an earlier one compiled.

A file is trusted because nobody else can have written it (the folder and the file belong to the user, and to nobody else to
write) and because all of it is under a digest, its own key included. Whatever is wrong with it or with the folder is a miss,
with its cause in words, and never an error: the code is then compiled.

A file, numbers little-endian: MAGIC, 4 bytes format version, 32 bytes SHA-256 of all that follows; 32 bytes key, 8 bytes length
of the header, 8 bytes length of the object, the header as JSON, the object.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import re
import stat
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

_MAGIC = b"TRACEJIT"
_FORMAT = 2
_START = struct.Struct("<8sI32s")
_REST = struct.Struct("<32sQQ")
_HEAD = _START.size + _REST.size
_ENTRY = re.compile(r"[0-9a-f]{64}\.tjo")
# What a process that was killed while it wrote leaves behind.
_TEMPORARY = re.compile(r"[0-9a-f]{64}\.\d+\.[0-9a-f]{16}\.tmp")
_ABANDONED_SECONDS = 3600
# How fresh the time of the last use is; to note each use would be a write a use.
_TOUCH_SECONDS = 60
_DEFAULT_MIB = 256
# Storing an entry of less than a 64th of the limit looks for what is too much one time in 16: the entries may for a while take
# more than the limit, hardly ever more than a quarter more.
_SMALL_SHARE, _TIDY_ONE_IN = 64, 16
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Found(NamedTuple):
    """What the cache has of a key: a header and an object, or `header` None; and in words why."""

    header: dict[str, Any] | None
    code: bytes
    cause: str


class State(NamedTuple):
    """`problem` says why the cache is not used, None where it is."""

    folder: str
    problem: str | None
    entries: int
    bytes: int
    limit: int


class Unusable(Exception):
    """The cache cannot be used as a whole; the text says why."""


class _Damaged(Exception):
    """A file is no entry, or not this one; the text says why."""


# -- the compiler


def _sources() -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of each source file of the package; () where they cannot be found. All of them: what has no part
    in what a graph is compiled to may have one tomorrow."""
    specs = [importlib.util.find_spec(name) for name in ("tracejit", "tracejit.passes")]  # found, not imported
    folders = {os.path.dirname(spec.origin) for spec in specs if spec is not None and spec.origin is not None}
    found = set()
    try:
        while folders:
            with os.scandir(folders.pop()) as files:
                for file in files:
                    if file.name.endswith(".py"):
                        known = file.stat()
                        found.add((file.path, known.st_size, known.st_mtime_ns))
                    elif file.is_dir() and file.name != "__pycache__":
                        folders.add(file.path)
    except OSError:
        return ()
    return tuple(sorted(found))


# As they were when they were imported. A source that is edited later must neither find what the old one made nor leave what
# the old one makes under its name.
_imported = _sources()


@functools.cache
def compiler() -> str:
    """What this compiler is, and no other is."""
    # The package is imported by now, and lies in a layer above this one.
    version = sys.modules["tracejit"].__version__
    return hashlib.sha256(repr((version, np.__version__, _imported)).encode()).hexdigest()


# -- the folder


def _path() -> str:
    """Where the cache is."""
    given = os.environ.get("TRACEJIT_CACHE_DIR")
    if given:
        return os.path.abspath(os.path.expanduser(given))
    home = os.environ.get("XDG_CACHE_HOME", "")
    folder = home if os.path.isabs(home) else os.path.expanduser(os.path.join("~", ".cache"))
    if not os.path.isabs(folder):
        raise Unusable("cache unused: the user has no home folder; TRACEJIT_CACHE_DIR can name another")
    return os.path.join(folder, "tracejit")


def readable(path: str) -> str:
    """`path` as a text that can be printed, whatever bytes its name has."""
    return os.fsencode(path).decode("utf-8", "replace")


def _limit() -> int:
    """The most bytes that the entries may take together."""
    text = os.environ.get("TRACEJIT_CACHE_SIZE") or str(_DEFAULT_MIB)
    if not re.fullmatch("[0-9]{1,9}", text):
        raise Unusable(f"cache unused: TRACEJIT_CACHE_SIZE is {text!r}, not a whole number of MiB")
    return int(text) << 20


def _require_enabled() -> None:
    if os.environ.get("TRACEJIT_CACHE") == "0":
        raise Unusable("cache off: TRACEJIT_CACHE=0")
    if not _imported:
        raise Unusable("cache unused: the compiler's sources cannot be found")
    _limit()


@contextlib.contextmanager
def _folder(create: bool = False) -> Iterator[int]:
    """The folder, opened and checked; what is done in it is done through the descriptor, so to what was checked.
    FileNotFoundError where it is not there, Unusable where it must not be used."""
    path = _path()
    shown = readable(path)
    if os.name != "posix":
        raise Unusable("cache unused: on this system it cannot be seen who may write to a file")
    try:
        if create:
            with contextlib.suppress(FileExistsError):
                os.makedirs(path, mode=0o700)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unusable(f"cache unused: {shown} cannot be opened: {error.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            raise Unusable(f"cache unused: {shown} belongs to another user")
        if found.st_mode & _OTHERS_WRITE:
            raise Unusable(f"cache unused: others may write to {shown}")
        yield descriptor
    finally:
        os.close(descriptor)


def _files(folder: int) -> Iterator[tuple[str, os.stat_result]]:
    """The cache's own files in the folder; another process may remove one at any time."""
    with os.scandir(folder) as files:
        for file in files:
            if _ENTRY.fullmatch(file.name) or _TEMPORARY.fullmatch(file.name):
                try:
                    found = file.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield file.name, found


def _remove(folder: int, name: str) -> None:
    with contextlib.suppress(OSError):  # another process was first, or it is not a file
        os.unlink(name, dir_fd=folder)


# -- reading


def get(key: str) -> Found:
    """The entry of a key (made by `host.key`), as it was put; the caller checks what stands in the header. Never raises."""
    return get_all([key])[0]


def get_all(keys: Sequence[str]) -> list[Found]:
    """The entries of some keys, as by `get`."""
    try:
        _require_enabled()
        with _folder() as folder:
            return [_found(folder, key) for key in keys]
    except Unusable as reason:
        cause = str(reason)
    except FileNotFoundError:
        cause = "cache miss: no entry"
    return [Found(None, b"", cause)] * len(keys)


def _found(folder: int, key: str) -> Found:
    try:
        return Found(*_read(folder, key), "cache hit")
    except FileNotFoundError:
        return Found(None, b"", "cache miss: no entry")
    except _Damaged as reason:
        return Found(None, b"", f"cache miss: {reason}")
    except OSError as error:
        return Found(None, b"", f"cache miss: the entry cannot be read: {error.strerror}")


def _read(folder: int, key: str) -> tuple[dict[str, Any], bytes]:
    # Not blocking: opening a pipe would wait for who writes to it.
    descriptor = os.open(f"{key}.tjo", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _Damaged("the entry is not a file")
        if found.st_uid != os.geteuid() or found.st_mode & _OTHERS_WRITE:
            raise _Damaged("others may have written the entry")
        if not _HEAD <= found.st_size <= _limit():
            raise _Damaged("the entry has a wrong size")
        with open(descriptor, "rb", closefd=False) as file:
            contents = file.read(found.st_size)
        header, code = _checked(contents, key)
        if time.time() - found.st_mtime > _TOUCH_SECONDS:
            with contextlib.suppress(OSError):  # it only makes the entry look older than it is
                os.utime(descriptor)
        return header, code
    finally:
        os.close(descriptor)


def _checked(contents: bytes, key: str) -> tuple[dict[str, Any], bytes]:
    """The header and the object in the contents of the entry of `key`."""
    if len(contents) < _HEAD:
        raise _Damaged("the entry has a wrong size")
    magic, version, digest = _START.unpack_from(contents)
    if magic != _MAGIC or version != _FORMAT:
        raise _Damaged("the entry has another format")
    if hashlib.sha256(memoryview(contents)[_START.size :]).digest() != digest:
        raise _Damaged("the digest of the entry is wrong")
    own, header_size, code_size = _REST.unpack_from(contents, _START.size)
    if own.hex() != key:
        raise _Damaged("the entry is another key's")
    if _HEAD + header_size + code_size != len(contents):
        raise _Damaged("the entry has a wrong size")
    try:
        header = json.loads(contents[_HEAD : _HEAD + header_size])
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise _Damaged("the header of the entry cannot be read")
    return header, contents[_HEAD + header_size :]


# -- writing


def put(key: str, header: dict[str, Any], code: bytes) -> str:
    """Keep bytes under a key (made by `host.key`), with what their reader has to know of them, a dict that JSON can hold: "",
    or why they are not kept. Never raises for anything that is wrong with the folder."""
    return put_all([(key, header, code)])


def put_all(entries: Iterable[tuple[str, dict[str, Any], bytes]]) -> str:
    """Keep several, as by `put`: "", or why not all of them are kept."""
    contents = {key: _contents(key, header, code) for key, header, code in entries}
    try:
        _require_enabled()
        limit = _limit()
        if any(len(each) > limit for each in contents.values()):
            return "it is larger than the cache may be"
        if _sources() != _imported:
            return "the compiler's sources have changed since they were imported"
        with _folder(create=True) as folder:
            for key, each in contents.items():
                _write(folder, key, each)
            # To look through thousands of entries takes as long as to compile one: a small one is rarely the occasion.
            large = sum(map(len, contents.values())) > limit // _SMALL_SHARE
            if large or min(os.urandom(len(contents)), default=255) < 256 // _TIDY_ONE_IN:
                _tidy(folder, limit)
    except Unusable as reason:
        return str(reason)
    except OSError as error:
        return f"the cache cannot be written: {error.strerror}"
    return ""


def _contents(key: str, header: dict[str, Any], code: bytes) -> bytes:
    text = json.dumps(header).encode()
    rest = _REST.pack(bytes.fromhex(key), len(text), len(code)) + text + code
    return _START.pack(_MAGIC, _FORMAT, hashlib.sha256(rest).digest()) + rest


def _write(folder: int, key: str, contents: bytes) -> None:
    """Under another name first, so that no reader ever finds a part of it."""
    name = f"{key}.{os.getpid()}.{os.urandom(8).hex()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(contents)
        os.replace(name, f"{key}.tjo", src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        _remove(folder, name)
        raise


def _tidy(folder: int, limit: int) -> None:
    """Remove what was left half written, and when there is too much, what was used the longest ago."""
    now = time.time()
    entries = []
    for name, found in _files(folder):
        if _ENTRY.fullmatch(name):
            entries.append((found.st_mtime_ns, name, found.st_size))
        elif now - found.st_mtime > _ABANDONED_SECONDS:
            _remove(folder, name)
    total = sum(size for _, _, size in entries)
    if total <= limit:
        return
    for _, name, size in sorted(entries):
        if total <= limit - limit // 4:
            return
        _remove(folder, name)
        total -= size


# -- for people


def state() -> State:
    """What the cache holds, and whether it is used. Unusable where there is no place for one."""
    path, limit = _path(), _limit()
    problem, sizes = None, []
    try:
        with _folder() as folder:
            sizes = [found.st_size for name, found in _files(folder) if _ENTRY.fullmatch(name)]
            if not os.access(".", os.W_OK | os.X_OK, dir_fd=folder):
                problem = f"nothing is kept: {readable(path)} cannot be written"
        _require_enabled()
    except FileNotFoundError:
        pass  # it is made when something is first kept
    except Unusable as reason:
        problem = str(reason)
    return State(readable(path), problem, len(sizes), sum(sizes), limit)


def clear() -> int:
    """Remove the cache's own files, and nothing else that is in its folder: how many entries they were. OSError or Unusable
    where it cannot be done."""
    removed = 0
    with contextlib.suppress(FileNotFoundError), _folder() as folder:
        for name, _ in list(_files(folder)):
            with contextlib.suppress(FileNotFoundError):  # another process was first
                os.unlink(name, dir_fd=folder)
                removed += _ENTRY.fullmatch(name) is not None
    return removed
