"""Turns a module's text into an object for this processor, and an object into functions that can be called.

The object is the same in every process: what a process has of its own, the addresses of what the code calls, comes in when it
is loaded. llvmlite takes longer to import than a small step takes to compile, so it is imported when it is first needed.
"""

from __future__ import annotations

import _thread
import contextlib
import functools
import itertools
import os
import sys
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from tracejit.llvm.machine.blas import find_blas
from tracejit.llvm.target import AVX2, AVX512, NEON, SSE, Machine, Target
from tracejit.locks import Lock, hold_over_fork, importing
from tracejit.memory import require_room

# Instruction selection at level 2; the passes on the IR, which level 2 stands for elsewhere, are never run.
CODEGEN_LEVEL = 2
# What libraries share in one of LLVM's JITs. To make and close one takes 0.4 ms, and it holds 110 kB; but of a library that is
# closed it keeps 9 kB.
_LIBRARIES_OF_A_JIT = 8
# Bytes that LLVM surely does with. It ends the process where it gets none.
_TO_IMPORT, _TO_COMPILE, _TO_LOAD = 256 << 20, 16 << 20, 8 << 20
_TO_COMPILE_A_LETTER, _TO_LOAD_A_BYTE = 32, 8
_Result = TypeVar("_Result")
_lock = Lock()
_names = itertools.count()

# A child that is forked while LLVM works would find it half-way, for ever.
hold_over_fork(_lock)


@functools.cache
def _llvm() -> Any:
    with importing:
        if "llvmlite" not in sys.modules:
            require_room(_TO_IMPORT, "to load LLVM")
        import llvmlite.binding as llvm

        # llvmlite takes it without ours too, such as to dispose of what is dropped.
        hold_over_fork(llvm.ffi.lib._lock)
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        return llvm


def _at_llvm(work: Callable[[], _Result]) -> _Result:
    """What `work` gives, in a thread of its own, while no other thread of ours is at LLVM.

    llvmlite does not survive an exception between any two of its lines: of what it has just freed it may not know yet that it
    has. Python raises what comes from outside, such as KeyboardInterrupt, in the main thread alone. There it ends the waiting.
    """
    _llvm()  # imported before the lock is taken, which waits for no import
    if _lock._is_owned():  # type: ignore[attr-defined]  # by a finalizer in the middle of other work
        return work()
    errand = _Errand(work)
    errand.start()
    errand.ended.acquire()
    try:
        if errand.error is not None:
            raise errand.error
        return errand.result
    finally:
        del errand  # which its error's traceback refers to


class _Errand:
    """Work at LLVM that a thread does while another waits for `ended`."""

    result: Any
    error: BaseException | None = None

    def __init__(self, work: Callable[[], Any]):
        self.work = work
        self.ended = _thread.allocate_lock()
        self.ended.acquire()

    def start(self) -> None:
        try:
            _thread.start_new_thread(self.run, ())
        except RuntimeError:  # as the interpreter ends, or where there is no room for a thread
            self.run()

    def run(self) -> None:
        try:
            with _lock:
                self.result = self.work()
        except BaseException as error:
            self.error = error
        finally:
            self.ended.release()


@functools.cache
def _features() -> Any:
    return _at_llvm(lambda: _llvm().get_host_cpu_features())


def host_target() -> Target:
    """The target of this processor and of TRACEJIT_MATMUL. ValueError where that is not known."""
    matmul = os.environ.get("TRACEJIT_MATMUL", "generated")
    if matmul not in ("generated", "blas"):
        raise ValueError(f"TRACEJIT_MATMUL is generated or blas, not {matmul!r}")
    return Target(_processor(), blas=matmul == "blas")


@functools.cache
def _processor() -> Machine:
    if _at_llvm(_llvm().get_process_triple).partition("-")[0] in ("aarch64", "arm64"):
        return NEON
    features = _features()
    if all(features.get(name) for name in ("avx512f", "avx512dq", "avx512vl", "avx512bw")):
        machine = AVX512
    else:
        machine = AVX2 if features.get("avx2") else SSE
    return machine._replace(fma=bool(features.get("fma")), float16=bool(features.get("f16c")))


@functools.cache
def _host() -> tuple[str, ...]:
    llvm = _llvm()
    told = _at_llvm(lambda: (str(llvm.llvm_version_info), llvm.get_process_triple(), llvm.get_host_cpu_name()))
    return (sys.modules["llvmlite"].__version__, *told, _features().flatten(), sys.byteorder, f"level {CODEGEN_LEVEL}")


def fingerprint() -> tuple[str, ...]:
    """All that a text's object depends on besides the text: the code generator, its options, the processor, the BLAS."""
    blas = find_blas()
    return (*_host(), f"{blas.spelling} {blas.integer_bits}" if blas is not None else "no BLAS")


def blas_symbols() -> Mapping[str, int]:
    """The names under which generated code calls NumPy's BLAS, and their addresses here."""
    blas = find_blas()
    return blas.symbols if blas is not None else {}


def _machine(level: int = CODEGEN_LEVEL) -> Any:
    llvm = _llvm()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=_features().flatten(), opt=level, jit=True)


def _parsed(text: str) -> Any:
    llvm = _llvm()
    parsed = llvm.parse_assembly(text)
    parsed.triple = llvm.get_process_triple()
    return parsed


def assembly(text: str) -> str:
    """A module's text as this processor's assembly."""
    require_room(_TO_COMPILE + _TO_COMPILE_A_LETTER * len(text), "to compile")
    return _at_llvm(lambda: str(_machine().emit_assembly(_parsed(text))))


def compile_text(text: str, level: int = CODEGEN_LEVEL) -> bytes:
    """The object of a module's text (LLVM's assembly), for this processor. `level` 0 takes a third of the time; it is for
    code that is seldom run and has no vectors.

    Functions that the module declares and does not define are left open, to be found by `load_object`. The text must hold no
    address of this process where the object is kept in the cache. RuntimeError where LLVM does not understand the text.
    """
    require_room(_TO_COMPILE + _TO_COMPILE_A_LETTER * len(text), "to compile")
    return _at_llvm(lambda: bytes(_machine(level).emit_object(_parsed(text))))


class Library:
    """Code in this process: its functions can be called for as long as this lives, and as `others` do, to which they refer."""

    def __init__(self, others: tuple[Library, ...] = ()):
        self._others = others


class _Jit:
    """One of LLVM's JITs, to which libraries are added until it has no room left.

    Each library's tracker refers to it: LLVM closes it after them. Nothing is closed by a call of `close`: where an interrupt
    comes in the middle of one, llvmlite closes again when the object goes.
    """

    def __init__(self) -> None:
        self.room = _LIBRARIES_OF_A_JIT
        self.made = _llvm().create_lljit_compiler(_jit_machine())


@functools.cache
def _jit_machine() -> Any:
    return _machine()


_open_jit: _Jit | None = None
# Trackers of libraries of which nobody can call anything any more. They are dropped wherever a garbage collection happens to
# run, which must not wait for another thread.
_dropped: deque[Any] = deque()


def _drop(holder: list[Any]) -> None:
    alone = not _dropped
    _dropped.append(holder.pop())  # who calls this goes on to refer to what it has given
    if alone:  # where it is not, somebody is on the way, or the next that loads something closes them all
        with contextlib.suppress(RuntimeError):
            _thread.start_new_thread(_Errand(_close_dropped).run, ())


def _close_dropped() -> None:
    with contextlib.suppress(IndexError):
        while True:
            _dropped.popleft()


def load_object(code: bytes, names: Sequence[str], symbols: Mapping[str, int]) -> tuple[dict[str, int], Library]:
    """Link an object into this process: (the address of each of the functions `names`, what has to live as long as any of
    them can be called).

    What the object leaves open is looked for among `symbols`, names with their addresses here (such as those of Python's C
    API, or `blas_symbols()`), then in the libraries that the process has loaded. RuntimeError where something is not found.
    """
    return load_objects([code], names, symbols)


def load_objects(codes: Sequence[bytes], names: Sequence[str], symbols: Mapping[str, int]) -> tuple[dict[str, int], Library]:
    """Link objects into this process, each of which may refer to what others define; else as `load_object`."""
    require_room(_TO_LOAD + _TO_LOAD_A_BYTE * sum(map(len, codes)), "to load code")
    library = Library()
    return _at_llvm(lambda: _link(codes, names, symbols, library)), library


def _link(codes: Sequence[bytes], names: Sequence[str], symbols: Mapping[str, int], library: Library) -> dict[str, int]:
    """The addresses of the functions `names` of objects that are linked, for as long as `library` lives."""
    global _open_jit
    _close_dropped()
    builder = _llvm().JITLibraryBuilder().add_current_process()
    for code in codes:
        builder = builder.add_object_img(code)
    for name in names:
        builder = builder.export_symbol(name)
    for name, address in symbols.items():
        builder = builder.import_symbol(name, address)
    jit = _open_jit
    if jit is None or not jit.room:
        jit = _open_jit = _Jit()
    jit.room -= 1
    tracker = builder.link(jit.made, f"tracejit.{next(_names)}")
    tracker.jit = jit.made
    # One finalizer for both: a garbage collection would call their own in any order. None at the interpreter's exit, when
    # threads may still be in the code.
    weakref.finalize(library, _drop, [tracker]).atexit = False
    return {name: tracker[name] for name in names}
