"""Turns a module's text into machine code: the processor as target, no mid-level optimizer, one object, one entry."""

from __future__ import annotations

import ctypes
import functools
import itertools
import threading
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm

from tracejit.llvm.blas import find_blas
from tracejit.llvm.emit import Module, Target

# Instruction selection at level 2; the passes on the IR, which level 2 stands for elsewhere, are never run.
_CODEGEN_LEVEL = 2
_lock = threading.Lock()
_names = itertools.count()


@functools.cache
def _features() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.get_host_cpu_features()


def host_target() -> Target:
    """What the emitter has to know of this processor."""
    features = _features()
    if features.get("avx512f") and features.get("avx512dq") and features.get("avx512vl") and features.get("avx512bw"):
        width = 64
    else:
        width = 32 if features.get("avx2") else 16
    machine = llvm.get_process_triple().partition("-")[0]
    return Target(width, bool(features.get("fma")) or machine in ("aarch64", "arm64"))


def _machine() -> Any:
    features = _features().flatten()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=_CODEGEN_LEVEL, jit=True)


def _parsed(module: Module) -> Any:
    parsed = llvm.parse_assembly(module.text)
    parsed.triple = llvm.get_process_triple()
    return parsed


def assembly(module: Module) -> str:
    """The module as this processor's assembly."""
    with _lock:
        return _machine().emit_assembly(_parsed(module))


@functools.cache
def _jit() -> Any:
    return llvm.create_lljit_compiler(_machine())


def load(module: Module) -> tuple[Callable[[Any], int], Any]:
    """(the entry, what has to live as long as it). The entry takes a pointer to the argument pointers, runs with the
    interpreter's lock held, and returns the status."""
    with _lock:
        code = _machine().emit_object(_parsed(module))
        builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process().export_symbol(module.entry)
        blas = find_blas()
        if blas is not None:
            for name, address in blas.symbols.items():
                builder = builder.import_symbol(name, address)
        library = builder.link(_jit(), f"{module.entry}.{next(_names)}")
    return ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(library[module.entry]), library
