# mypy: disable-error-code="empty-body"
"""What the pool needs of Linux on AArch64, in the native subset."""

from __future__ import annotations

from tracejit.llvm.machine.native_pool.system import syscall
from tracejit.llvm.machine.native_subset.language import Array, Symbol, i32, i64, null


@Symbol("llvm.aarch64.hint")
def hint(number: i32) -> None: ...


@Symbol("llvm.aarch64.get.fpcr")
def get_fpcr() -> i64: ...


@Symbol("llvm.aarch64.set.fpcr")
def set_fpcr(mode: i64) -> None: ...


def pause() -> None:
    hint(1)


def get_mode(place: Array[i64]) -> None:
    place[0] = get_fpcr()


def set_mode(place: Array[i64]) -> None:
    set_fpcr(place[0])


def futex(word: Array[i32], operation: i64, value: i32) -> i64:
    return syscall(98, word, operation, value, null, null, 0)


def get_affinity(thread: i64, size: i64, processors: Array[i64]) -> i64:
    return syscall(123, thread, size, processors)


def set_affinity(thread: i64, size: i64, processors: Array[i64]) -> i64:
    return syscall(122, thread, size, processors)


def this_thread() -> i64:
    return syscall(178)
