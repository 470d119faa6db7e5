"""Locks that a forked child finds free, whichever thread held them in its parent: that thread is not in the child."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any


class Lock:
    """A lock that its owner may take again."""

    def __init__(self) -> None:
        self._lock: Any = threading.RLock()
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exception: Any) -> None:
        self.release()

    def acquire(self, seconds: float) -> bool:
        """Take it, unless another thread keeps it longer than that; whether it was taken."""
        return self._lock.acquire(timeout=seconds)

    def release(self) -> None:
        """Let it go."""
        self._lock.release()


_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


def _in_child() -> None:
    for lock in _locks:
        if not lock._lock._is_owned():  # by the thread that forked
            lock._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
