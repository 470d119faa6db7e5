# mypy: disable-error-code="empty-body"
"""What the pool needs of Linux on x86-64, in the native subset."""

from __future__ import annotations

from tracejit.llvm.machine.native_pool.system import syscall
from tracejit.llvm.machine.native_subset.language import Array, Symbol, i32, i64, null


@Symbol("llvm.x86.sse2.pause")
def pause() -> None: ...


@Symbol("llvm.x86.sse.stmxcsr")
def get_mode(place: Array[i64]) -> None: ...


@Symbol("llvm.x86.sse.ldmxcsr")
def set_mode(place: Array[i64]) -> None: ...


def futex(word: Array[i32], operation: i64, value: i32) -> i64:
    return syscall(202, word, operation, value, null, null, 0)


def get_affinity(thread: i64, size: i64, processors: Array[i64]) -> i64:
    return syscall(204, thread, size, processors)


def set_affinity(thread: i64, size: i64, processors: Array[i64]) -> i64:
    return syscall(203, thread, size, processors)


def this_thread() -> i64:
    return syscall(186)
