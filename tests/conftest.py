"""What every test shares. The package under test is the installed one, where `passes/` is tracejit.passes."""

from __future__ import annotations

import ctypes
import importlib.util
import mmap
import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

# `python -m pytest` puts the working directory first on sys.path, and there tracejit would be the checkout's folder,
# without its passes. Who names the checkout in PYTHONPATH means it.
_ROOT = Path(__file__).resolve().parent.parent
_ASKED_FOR = {Path(entry).resolve() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry}
if _ROOT not in _ASKED_FOR:
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _ROOT]

# Before anything is compiled, here or in the processes that tests start: a cache of their own, removed at the end.
_CACHE = tempfile.TemporaryDirectory(prefix="tracejit-tests-")
os.environ["TRACEJIT_CACHE_DIR"] = _CACHE.name
for _setting in ("TRACEJIT_CACHE", "TRACEJIT_CACHE_SIZE"):
    os.environ.pop(_setting, None)

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from tracejit.ir import OPS, Op, TensorType  # noqa: E402
from tracejit.ir.types import float32  # noqa: E402


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers that are the same at every run of a test and others for each test."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))


@pytest.fixture
def any_op() -> Iterator[Op]:
    """A registered op that takes any operands and any attributes and gives f32[]."""
    op = Op("any_op", infer=lambda *types, **attrs: TensorType((), float32))
    yield op
    del OPS[op.name]


@pytest.fixture
def fence() -> Iterator[Callable[..., np.ndarray]]:
    """Makes arrays between pages that kill the process when they are touched: `at_start` right behind one, else right before."""
    libc = ctypes.CDLL(None, use_errno=True)
    held: list[tuple[mmap.mmap, int]] = []

    def protect(address: int, mode: int) -> None:
        assert libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(mmap.PAGESIZE), mode) == 0, ctypes.get_errno()

    def make_array(shape: Any, dtype: np.dtype, at_start: bool = False) -> np.ndarray:
        count = int(np.prod(shape, dtype=np.int64))
        nbytes = count * dtype.itemsize
        pages = -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
        memory = mmap.mmap(-1, pages + 2 * mmap.PAGESIZE)
        address = np.frombuffer(memory, np.uint8).ctypes.data
        for page in (address, address + mmap.PAGESIZE + pages):
            protect(page, 0)
            held.append((memory, page))
        return np.frombuffer(memory, dtype, count, mmap.PAGESIZE + (0 if at_start else pages - nbytes)).reshape(shape)

    yield make_array
    for _, page in held:
        protect(page, mmap.PROT_READ | mmap.PROT_WRITE)


def pytest_unconfigure() -> None:
    _CACHE.cleanup()


@pytest.fixture(scope="module")
def benchmarks() -> Iterator[ModuleType]:
    """The package of the checkout, whose root is not on sys.path."""
    folder = _ROOT / "benchmarks"
    spec = importlib.util.spec_from_file_location(
        "benchmarks", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmarks"] = module
    path = list(sys.path)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = path
    for name in [name for name in sys.modules if name == "benchmarks" or name.startswith("benchmarks.")]:
        del sys.modules[name]
