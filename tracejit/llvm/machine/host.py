"""This machine: the target of its processor, and the keys of what is compiled for it.

LLVM knows, but llvmlite takes 60 ms to import. So what it said is kept in the cache, under a key of what can be found out
without it: the processor as the system and NumPy tell it, and llvmlite's files. Where that is not known, LLVM is asked.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import os
import platform
import sys
from typing import Any

from tracejit.llvm.machine import cache, engine
from tracejit.llvm.machine.blas import find_blas
from tracejit.llvm.target import AVX2, AVX512, NEON, SSE, Machine, Target

# The lines about a processor that do not change while it runs.
_LINES = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")
_MOST_OF_CPUINFO = 1 << 16


def host_target() -> Target:
    """The target of this processor and of TRACEJIT_MATMUL. ValueError where that is not known."""
    matmul = os.environ.get("TRACEJIT_MATMUL", "generated")
    if matmul not in ("generated", "blas"):
        raise ValueError(f"TRACEJIT_MATMUL is generated or blas, not {matmul!r}")
    return Target(_processor(), blas=matmul == "blas")


@functools.cache
def _processor() -> Machine:
    if facts().triple.partition("-")[0] in ("aarch64", "arm64"):
        return NEON
    features = set(facts().features.split(","))
    if {"+avx512f", "+avx512dq", "+avx512vl", "+avx512bw"} <= features:
        machine = AVX512
    else:
        machine = AVX2 if "+avx2" in features else SSE
    return machine._replace(fma="+fma" in features, float16="+f16c" in features)


def fingerprint() -> tuple[str, ...]:
    """All that a text's object depends on besides the text: the code generator, the processor, the BLAS."""
    blas = find_blas()
    return (*facts(), sys.byteorder, f"{blas.spelling} {blas.integer_bits}" if blas is not None else "no BLAS")


def key(*parts: Any) -> str:
    """The key, for the cache, of what `parts` are compiled to by this compiler for this machine.

    `parts` are str, bytes, int, bool, None, and tuples of these: what has the same repr is the same. The first should be a
    name of the client, so that two clients never share a key.
    """
    digest = _begun(cache.compiler(), fingerprint()).copy()
    digest.update(repr(parts).encode())
    return str(digest.hexdigest())


@functools.lru_cache(4)
def _begun(*parts: Any) -> Any:
    return hashlib.sha256(repr(parts).encode())


def _digest(*parts: Any) -> str:
    return hashlib.sha256(repr((cache.compiler(), *parts)).encode()).hexdigest()


@functools.cache
def facts() -> engine.Host:
    """What llvmlite says of itself and of this processor, or said to an earlier process."""
    told = _told_without_llvm()
    if told is None:
        return engine.ask_host()
    place = _digest("host", told)
    found = cache.get(place).header
    if found is None or not _is_host(found):
        found = engine.ask_host()._asdict()
        cache.put(place, found, b"")
    return engine.Host(**found)


def _is_host(header: dict[str, Any]) -> bool:
    return header.keys() == set(engine.Host._fields) and all(type(each) is str and each for each in header.values())


def _told_without_llvm() -> tuple[Any, ...] | None:
    """What LLVM's answers depend on, None where that is not known."""
    processor, llvmlite = _processor_as_told(), _llvmlite_files()
    return None if processor is None or llvmlite is None else (processor, llvmlite)


def _processor_as_told() -> tuple[Any, ...] | None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return None
    try:
        with open("/proc/cpuinfo", "rb", buffering=0) as file:
            first, _, _ = file.read(_MOST_OF_CPUINFO).decode("ascii", "replace").partition("\n\n")
    except OSError:
        return None
    pairs = [line.partition(":") for line in first.splitlines()]
    lines = {name.strip(): value.strip() for name, _, value in pairs}
    if not all(lines.get(name) for name in _LINES):
        return None
    # What runs under an emulator has another processor than the system's. NumPy asks it, as LLVM does.
    asked = importlib.import_module("numpy._core._multiarray_umath").__cpu_features__
    can = sorted(name for name, here in asked.items() if here)
    return (*(lines[name] for name in _LINES), *can, platform.release())


def _llvmlite_files() -> tuple[Any, ...] | None:
    try:
        found = importlib.util.find_spec("llvmlite")  # found, not imported
        if found is None or found.origin is None:
            return None
        folder = os.path.dirname(found.origin)
        binding = os.path.join(folder, "binding")
        libraries = [os.path.join(binding, name) for name in sorted(os.listdir(binding)) if name.startswith("libllvmlite")]
        files = [os.path.join(folder, "_version.py"), *libraries]
        known = [(file, os.stat(file)) for file in files]
    except (OSError, ValueError):  # ValueError: it stands in sys.modules, and was not found anywhere
        return None
    return tuple((file, each.st_size, each.st_mtime_ns) for file, each in known)
