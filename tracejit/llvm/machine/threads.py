"""How many threads share a large kernel, or compile: as many as the user says, else as cores may be used."""

from __future__ import annotations

import operator
import os
from typing import Any

from tracejit.llvm.machine import pool
from tracejit.locks import Lock

_lock = Lock()
_requested = 0  # 0: the system picks
_prepared = False


def requested() -> int:
    """What `request` was given the last time, 0 before."""
    return _requested


def request(count: Any) -> None:
    """Let large kernels be shared by `count` threads from now on, the caller's included; 0 lets the system pick.

    TypeError or ValueError where that is no number of threads.
    """
    global _requested
    number = checked(count, "the number of threads")
    with _lock:
        _requested = number
        if _prepared:
            pool.set_size(size())


def prepare() -> None:
    """Make the pool ready for kernels that call it; no thread is made before one does."""
    global _prepared
    with _lock:
        if not _prepared:
            pool.set_size(size())
            _prepared = True


def size() -> int:
    """How many threads share a large kernel, or compile. ValueError where TRACEJIT_NUM_THREADS is no number of threads."""
    if not pool.divides():
        return 1
    if _requested:
        return _requested
    text = os.environ.get("TRACEJIT_NUM_THREADS", "")
    if text:
        try:
            given = checked(int(text), "TRACEJIT_NUM_THREADS")
        except ValueError:
            raise ValueError(f"TRACEJIT_NUM_THREADS is {text!r}, not a number from 0 to {pool.MOST}") from None
        if given:
            return given
    cores = len(os.sched_getaffinity(0))
    allowed = quota()
    return max(1, min(cores, pool.MOST) if allowed is None else min(cores, pool.MOST, allowed))


def checked(count: Any, what: str) -> int:
    """`count` where it is a number of threads; TypeError or ValueError about `what` where it is none."""
    if isinstance(count, bool):
        raise TypeError(f"{what} has to be an integer, not {count!r}")
    try:
        number = operator.index(count)
    except TypeError:
        raise TypeError(f"{what} has to be an integer, not {count!r}") from None
    if not 0 <= number <= pool.MOST:
        raise ValueError(f"{what} has to be from 0, which lets the system pick, to {pool.MOST}; it is {number}")
    return number


def quota(process: str = "/proc/self/cgroup", mount: str = "/sys/fs/cgroup") -> int | None:
    """How many cores' time the process's control group may use, rounded up; None where nothing limits it.

    `process` lists the groups of the process, the folder `mount` holds their files. A group is under its parents' limits too.
    In a container the path may be the host's: then only the folder's own files are found, which are the container's.
    """
    found = []
    for line in _read(process).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = os.path.join(mount, controllers)
        parts = [part for part in path.split("/") if part]
        for end in range(len(parts) + 1):
            folder = os.path.join(root, *parts[:end])
            if controllers:
                limit, period = (
                    _read(os.path.join(folder, "cpu.cfs_quota_us")),
                    _read(os.path.join(folder, "cpu.cfs_period_us")),
                )
            else:
                limit, _, period = _read(os.path.join(folder, "cpu.max")).partition(" ")
            if limit.strip().isdecimal() and int(period or 0) > 0:
                found.append(-(-int(limit) // int(period)))
    return max(1, min(found)) if found else None


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.forget_threads)
