"""LLVM in this process: imported when it is first needed, and asked in a thread of its own.

llvmlite takes longer to import than a small step takes to compile, and what the cache has needs nothing of it.
"""

from __future__ import annotations

import _thread
import contextlib
import functools
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from tracejit.locks import Lock, hold_over_fork, importing
from tracejit.memory import require_room

# Bytes that LLVM surely does with. It ends the process where it gets none.
_TO_IMPORT = 256 << 20
_Result = TypeVar("_Result")
_lock = Lock()

# A child that is forked while LLVM works would find it half-way, for ever.
hold_over_fork(_lock)


@functools.cache
def llvm() -> Any:
    """llvmlite's binding; to be used by what is given to `at_llvm` alone."""
    with importing:
        if "llvmlite" not in sys.modules:
            require_room(_TO_IMPORT, "to load LLVM")
        import llvmlite.binding as binding

        # llvmlite takes it without ours too, such as to dispose of what is dropped.
        hold_over_fork(binding.ffi.lib._lock)
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        return binding


def at_llvm(work: Callable[[], _Result], abandon: Callable[[], None] | None = None) -> _Result:
    """What `work` gives, in a thread of its own, while no other thread of ours is at LLVM.

    llvmlite does not survive an exception between any two of its lines: of what it has just freed it may not know yet that it
    has. Python raises what comes from outside, such as KeyboardInterrupt, in the main thread alone. There it ends the waiting,
    and what `work` has left to do is given up where `abandon` lets it be.
    """
    llvm()  # imported before the lock is taken, which waits for no import
    if _here.working:  # for a finalizer in the middle of other work
        return work()
    errand = Errand(lambda: _alone(work))
    try:
        errand.start()
        errand.wait()
    except BaseException:
        if abandon is not None:
            abandon()
        raise
    return errand.result()


class _Here(threading.local):
    """Whether this thread works at LLVM, or for one that does."""

    working = False


_here = _Here()


def later(work: Callable[[], Any]) -> None:
    """Let a thread do `work` at LLVM, for which nobody waits; none does it where the interpreter ends."""
    with contextlib.suppress(RuntimeError):
        _thread.start_new_thread(Errand(lambda: _alone(work)).run, ())


def _alone(work: Callable[[], _Result]) -> _Result:
    with _lock:
        return work()


class Errand:
    """Work that a thread does while others wait for it."""

    _result: Any
    _error: BaseException | None = None

    def __init__(self, work: Callable[[], Any]):
        self._work = work
        self._ended = _thread.allocate_lock()
        self._ended.acquire()

    def start(self) -> None:
        try:
            _thread.start_new_thread(self.run, ())
        except RuntimeError:  # as the interpreter ends, or where there is no room for a thread
            self.run()

    def wait(self) -> None:
        """Wait until it is done; for one thread, once."""
        self._ended.acquire()

    def result(self) -> Any:
        """What the work gave or raised, once it is done."""
        try:
            if self._error is not None:
                raise self._error
            return self._result
        finally:
            self._error = None  # whose traceback refers to this

    def run(self) -> None:
        """Do it in this thread."""
        before = _here.working
        try:
            _here.working = True
            self._result = self._work()
        except BaseException as error:
            self._error = error
        finally:
            _here.working = before
            self._ended.release()


class Host(NamedTuple):
    """What llvmlite says of itself and of this processor, as LLVM names it and what it can do."""

    llvmlite: str
    llvm: str
    triple: str
    cpu: str
    features: str


def ask_host() -> Host:
    """Ask LLVM, which is imported for it."""
    binding = llvm()
    told = at_llvm(
        lambda: (
            str(binding.llvm_version_info),
            binding.get_process_triple(),
            binding.get_host_cpu_name(),
            binding.get_host_cpu_features().flatten(),
        )
    )
    return Host(sys.modules["llvmlite"].__version__, *told)
