"""Locks of processes that fork. A child has only the thread that forked: what another thread held in the parent stays held.

A `Lock` guards what is whole at any time: a child finds it free. What must not be found half done is guarded by a lock that is
given to `hold_over_fork`: no process forks while another thread holds it.
"""

from __future__ import annotations

import _thread
import atexit
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any


# By inheritance, so that to enter and to leave a block is one operation, which no interrupt divides.
class Lock(_thread.RLock):  # type: ignore[misc]
    """A lock that its owner may take again, and that a forked child finds free."""

    def __init__(self) -> None:
        _locks.add(self)


class _Held(threading.local):
    """What the thread that forks has taken."""

    def __init__(self) -> None:
        self.locks: list[Any] = []


_locks: weakref.WeakSet[Lock] = weakref.WeakSet()
_over_fork: list[Any] = []
_settling: list[Callable[[], None]] = []
_held = _Held()


def hold_over_fork(lock: Any) -> None:
    """Let the thread that forks hold `lock`, any lock that its owner may take again: what it guards is whole in the child. And
    the thread that ends the process, whose libraries go while other threads still run: none is in what `lock` guards then.

    A thread that takes several of these locks takes those first that were given first.
    """
    if lock not in _over_fork:
        _over_fork.append(lock)


def before_fork(settle: Callable[[], None]) -> None:
    """Call `settle` before a fork, when the locks are held and nothing is waited for any more."""
    _settling.append(settle)


# Held by who imports a module late: in a child an import that another thread had begun would never end.
importing = Lock()
hold_over_fork(importing)


def _before_fork() -> None:
    for lock in tuple(_over_fork):
        lock.__enter__()
        _held.locks.append(lock)
    for settle in _settling:
        settle()


def _after_fork() -> None:
    while _held.locks:
        _held.locks.pop().__exit__(None, None, None)


def _in_child() -> None:
    lock: Any
    for lock in _locks:
        if not lock._is_owned():  # by the thread that forked
            lock._at_fork_reinit()
    _after_fork()


def _at_exit() -> None:
    for lock in tuple(_over_fork):
        lock.__enter__()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


class lazy_property:
    """functools.cached_property as it is from Python 3.12 on: before, one lock for all objects is held during the call."""

    def __init__(self, compute: Callable[[Any], Any]):
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self._compute(instance)
        return value
