"""Compiles texts in several threads, by the C functions of llvmlite's library.

llvmlite itself lets in one thread at a time. Here each has a context and a target machine of its own, and does a module in one
go: parsed, compiled, copied out, freed. The interpreter's lock is given back for what takes long alone,
parsing and compiling: to have it again may take 5 ms where other threads run Python.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_void_p
from typing import Any

from tracejit.llvm.machine import engine
from tracejit.llvm.machine.engine import Errand, Host
from tracejit.llvm.machine.host import facts
from tracejit.memory import require_room

# Instruction selection at level 2; the passes on the IR, which level 2 stands for elsewhere, are never run.
CODEGEN_LEVEL = 2
# Bytes that LLVM surely does with. It ends the process where it gets none.
_TO_COMPILE, _TO_COMPILE_A_LETTER = 16 << 20, 32


class _Functions:
    """LLVM's functions, with types of our own."""

    def __init__(self) -> None:
        path = engine.llvm().ffi.lib._name
        short, long = ctypes.PyDLL(path), ctypes.CDLL(path)
        texts = POINTER(c_char_p)

        def function(name: str, result: Any, *arguments: Any, library: Any = short) -> Callable[..., Any]:
            found = getattr(library, f"LLVMPY_{name}")
            found.restype, found.argtypes = result, arguments
            return found

        self.context = function("ContextCreate", c_void_p)
        self.dispose_context = function("ContextDispose", None, c_void_p)
        self.target = function("GetTargetFromTriple", c_void_p, c_char_p, texts)
        self.machine = function(
            "CreateTargetMachine", c_void_p,
            c_void_p, c_char_p, c_char_p, c_char_p, c_int, c_char_p, c_char_p, c_int, c_int, c_char_p,
        )  # fmt: skip
        self.dispose_machine = function("DisposeTargetMachine", None, c_void_p)
        self.parse = function("ParseAssembly", c_void_p, c_void_p, c_char_p, texts, library=long)
        self.set_triple = function("SetTarget", None, c_void_p, c_char_p)
        self.dispose_module = function("DisposeModule", None, c_void_p)
        self.emit = function("TargetMachineEmitToMemory", c_void_p, c_void_p, c_void_p, c_int, texts, library=long)
        self.start = function("GetBufferStart", c_void_p, c_void_p)
        self.size = function("GetBufferSize", c_size_t, c_void_p)
        self.dispose_buffer = function("DisposeMemoryBuffer", None, c_void_p)
        self.dispose_text = function("DisposeString", None, c_char_p)


@functools.cache
def _functions() -> _Functions:
    return _Functions()


class _Thread:
    """What a thread compiles with; not for two threads at a time."""

    def __init__(self, triple: str, cpu: str, features: str, level: int):
        self._llvm, self._triple = _functions(), triple.encode()
        with self._text() as error:
            target = self._llvm.target(self._triple, error)
            self._require(target, error)
        self._machine = self._llvm.machine(
            target, self._triple, cpu.encode(), features.encode(), level, b"default", b"jitdefault", 0, 1, b""
        )
        self._context = self._llvm.context()

    def close(self) -> None:
        self._llvm.dispose_context(self._context)
        self._llvm.dispose_machine(self._machine)

    def object_of(self, text: str) -> bytes:
        with self._text() as error:
            module = self._llvm.parse(self._context, text.encode(), error)
            self._require(module, error)
            try:
                self._llvm.set_triple(module, self._triple)
                buffer = self._llvm.emit(self._machine, module, True, error)
                self._require(buffer, error)
            finally:
                self._llvm.dispose_module(module)
        code = ctypes.string_at(self._llvm.start(buffer), self._llvm.size(buffer))
        self._llvm.dispose_buffer(buffer)
        return code

    @contextlib.contextmanager
    def _text(self) -> Iterator[Any]:
        """Where LLVM puts a text of its own, which is freed afterwards."""
        text = c_char_p()
        try:
            yield ctypes.byref(text)
        finally:
            if text:
                self._llvm.dispose_text(text)

    @staticmethod
    def _require(made: int | None, error: Any) -> None:
        if not made:
            raise RuntimeError(f"LLVM: {(error._obj.value or b'').decode(errors='replace')}")


class _Job:
    """Texts that threads compile, each taking the next."""

    def __init__(self, host: Host, texts: Sequence[str], level: int):
        self._host, self._level = host, level
        self._left = deque(enumerate(texts))
        self._objects: list[bytes] = [b""] * len(texts)

    def run(self, threads: int) -> list[bytes]:
        others = [Errand(self._compile) for _ in range(threads - 1)]
        for other in others:
            other.start()
        try:
            self._compile()
        finally:
            for other in others:
                other.wait()
        for other in others:
            other.result()
        return self._objects

    def _compile(self) -> None:
        thread = _Thread(self._host.triple, self._host.cpu, self._host.features, self._level)
        try:
            for number, text in self._taken():
                self._objects[number] = thread.object_of(text)
        except BaseException:
            self.abandon()
            raise
        finally:
            thread.close()

    def _taken(self) -> Iterator[tuple[int, str]]:
        """What no other thread has taken."""
        with contextlib.suppress(IndexError):
            while True:
                yield self._left.popleft()

    def abandon(self) -> None:
        """Compile nothing more than what is being compiled."""
        self._left.clear()


def objects_of(texts: Sequence[str], level: int, threads: int) -> list[bytes]:
    """The object of each module's text, for this processor, compiled in up to so many threads.

    RuntimeError where LLVM does not understand a text, MemoryError where there is no room.
    """
    _require_room(texts)
    job = _Job(facts(), texts, level)
    return engine.at_llvm(lambda: job.run(min(threads, len(texts))), job.abandon)


def _require_room(texts: Sequence[str]) -> None:
    require_room(_TO_COMPILE + _TO_COMPILE_A_LETTER * sum(map(len, texts)), "to compile")


def compile_text(text: str, level: int = CODEGEN_LEVEL) -> bytes:
    """The object of one module's text."""
    (code,) = objects_of([text], level, 1)
    return code


def assembly(text: str) -> str:
    """A module's text as this processor's assembly."""
    _require_room([text])
    host = facts()

    def written() -> str:
        binding = engine.llvm()
        parsed = binding.parse_assembly(text)
        parsed.triple = host.triple
        target = binding.Target.from_triple(host.triple)
        machine = target.create_target_machine(cpu=host.cpu, features=host.features, opt=CODEGEN_LEVEL, jit=True)
        return str(machine.emit_assembly(parsed))

    return engine.at_llvm(written)
