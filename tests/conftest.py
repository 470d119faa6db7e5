"""What every test shares. The package under test is the installed one, where `passes/` is tracejit.passes."""

from __future__ import annotations

import ctypes
import importlib.util
import mmap
import os
import sys
import tempfile
import zlib
from collections import Counter
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

# Before anything is compiled, here or in the processes that tests start: a cache of their own, removed at the end. The workers of
# pytest-xdist have the one of the process that started them.
_CACHE: tempfile.TemporaryDirectory[str] | None = None
if "PYTEST_XDIST_WORKER" not in os.environ:
    _CACHE = tempfile.TemporaryDirectory(prefix="tracejit-tests-")
    os.environ["TRACEJIT_CACHE_DIR"] = _CACHE.name
    for _setting in ("TRACEJIT_CACHE", "TRACEJIT_CACHE_SIZE"):
        os.environ.pop(_setting, None)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import seconds  # noqa: E402

from tracejit.ir import OPS, Op, TensorType  # noqa: E402
from tracejit.ir.types import float32  # noqa: E402
from tracejit.llvm.machine import threads  # noqa: E402


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
    if _CACHE is not None:
        _CACHE.cleanup()


# -- a run of many tests: by how many processes, in which order, and how long it takes


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-seconds", action="store_true", help=f"write what this run takes into {seconds.TABLE.name}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A worker a core that the process may use, but no more than have something to do, a file being on one of them; none for some
    files or tests that are named."""
    if all(Path(argument.partition("::")[0]).is_file() for argument in config.args):
        return 0
    cores, quota = len(os.sched_getaffinity(0)), threads.quota()
    return min(cores, quota or cores, 12)


def pytest_configure(config: pytest.Config) -> None:
    if any("::" in argument for argument in config.args) and config.option.markexpr == "not slow":
        config.option.markexpr = ""  # what is named is run


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of a test that is marked `thin(n)` every n-th case always runs, and the others are slow. Workers begin with the files that
    take longest, so that all have something to do until the end."""
    cases: Counter[str] = Counter()
    for item in items:
        if thin := item.get_closest_marker("thin"):
            name = item.nodeid.partition("[")[0]
            if cases[name] % thin.args[0]:
                item.add_marker(seconds.SLOW)
            cases[name] += 1
    if hasattr(config, "workerinput"):
        rows = seconds.read().files
        total = {name: row.seconds + row.slow_seconds for name, row in rows.items()}
        items.sort(key=lambda item: -total.get(item.path.name, 0.0))


def pytest_collection_finish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        _announce(session.config, [item.nodeid for item in session.items], 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    if node.gateway.id == "gw0":
        _announce(node.config, ids, len(node.config.option.tx))


def _announce(config: pytest.Config, names: list[str], workers: int) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or config.option.collectonly:
        return
    tests, piece = seconds.by_file(names), seconds.a_piece_of_work()
    reporter.write_line(seconds.announcement(seconds.read(), tests, config.option.markexpr, workers, piece))


_recorded: dict[str, seconds.Row] = {}
_start = _used = 0.0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    global _start, _used
    _start, _used = _start or seconds.used(), seconds.used()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    """A test's report says what it has used of the processor, and what its process had used before its first test."""
    global _used
    report = yield
    before, _used = _used, seconds.used()
    report.user_properties += [("seconds", _used - before), ("start", _start)]
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    global _start
    properties = dict(report.user_properties)
    _start = max(_start, float(properties["start"]))
    name = Path(report.location[0]).name
    row = _recorded.get(name, seconds.Row())
    _recorded[name] = row.plus(float(properties["seconds"]), report.when == "call", seconds.SLOW in report.keywords)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.option.record_seconds and not hasattr(session.config, "workerinput"):
        new = seconds.Recorded(seconds.a_piece_of_work(), _start, _recorded)
        seconds.write(seconds.updated(seconds.read(), new, [path.name for path in (_ROOT / "tests").glob("test_*.py")]))


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
