"""What LLVM says of the processor, kept for later processes: found only where nothing has changed, and whole."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tracejit.llvm.machine import cache, engine, host
from tracejit.llvm.target import AVX2, AVX512, NEON, SSE

FACTS = engine.Host("1.0", "20.0", "x86_64-elsewhere", "oldest", "+sse2,-avx")
known = pytest.mark.skipif(host._told_without_llvm() is None, reason="only LLVM knows this processor")


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How often LLVM is asked; it answers FACTS."""
    times: list[int] = []

    def answer() -> engine.Host:
        times.append(1)
        return FACTS

    monkeypatch.setenv("TRACEJIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("TRACEJIT_CACHE", raising=False)
    monkeypatch.setattr(cache, "_sources", lambda: cache._imported)  # who edits the compiler meanwhile does not fail the test
    monkeypatch.setattr(engine, "ask_host", answer)
    forget()
    yield times
    monkeypatch.undo()
    forget()


def forget() -> None:
    for function in (host.facts, host._processor):
        function.cache_clear()


def facts_of_a_later_process() -> engine.Host:
    forget()
    return host.facts()


@known
def test_llvm_is_asked_once(asked: list[int]) -> None:
    assert [facts_of_a_later_process() for _ in range(3)] == [FACTS] * 3
    assert len(asked) == 1
    assert host.host_target().machine.name == SSE.name
    assert host.fingerprint()[:5] == FACTS


@known
@pytest.mark.parametrize("changed", ["processor", "files", "compiler"])
def test_it_is_asked_again_where_something_has_changed(changed: str, asked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    facts_of_a_later_process()
    if changed == "processor":
        told = host._processor_as_told()
        assert told is not None and any("avx" in str(each).lower() or "sse" in str(each).lower() for each in told)
        monkeypatch.setattr(host, "_processor_as_told", lambda: (*told, "more"))
    elif changed == "files":
        files = host._llvmlite_files()
        assert files is not None and any("libllvmlite" in name and size > 1 << 20 for name, size, _ in files)
        newer = tuple((name, size, moment + 1) for name, size, moment in files)
        monkeypatch.setattr(host, "_llvmlite_files", lambda: newer)
    else:
        monkeypatch.setattr(cache, "compiler", lambda: "another")
    facts_of_a_later_process()
    facts_of_a_later_process()
    assert len(asked) == 2


@known
@pytest.mark.parametrize(
    "header",
    [{}, {"cpu": "x"}, {**FACTS._asdict(), "cpu": 5}, {**FACTS._asdict(), "triple": ""}, {**FACTS._asdict(), "more": "x"}],
)
def test_what_is_not_whole_is_asked_for_again(header: dict[str, Any], asked: list[int]) -> None:
    facts_of_a_later_process()
    (file,) = (Path(os.environ["TRACEJIT_CACHE_DIR"])).iterdir()
    assert cache.put(file.stem, header, b"") == ""
    assert facts_of_a_later_process() == FACTS
    file.write_bytes(file.read_bytes()[:-1])
    assert facts_of_a_later_process() == FACTS
    assert len(asked) == 3


@pytest.mark.parametrize("why", ["cache", "processor", "files"])
def test_where_nothing_can_be_kept_llvm_is_asked(why: str, asked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    if why == "cache":
        monkeypatch.setenv("TRACEJIT_CACHE", "0")
    elif why == "processor":
        monkeypatch.setattr(host, "_processor_as_told", lambda: None)
    else:
        monkeypatch.setattr(host, "_llvmlite_files", lambda: None)
    assert [facts_of_a_later_process() for _ in range(2)] == [FACTS] * 2
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("triple", "features", "machine"),
    [
        ("x86_64-unknown-linux-gnu", "+sse2,-avx2,-fma,-f16c", SSE._replace(fma=False, float16=False)),
        ("x86_64-unknown-linux-gnu", "+avx2,+f16c,+fma", AVX2._replace(fma=True, float16=True)),
        (
            "x86_64-unknown-linux-gnu",
            "+avx2,-f16c,+fma,+avx512f,-avx512dq,+avx512vl,+avx512bw",
            AVX2._replace(fma=True, float16=False),
        ),
        (
            "x86_64-unknown-linux-gnu",
            "+avx512f,+avx512dq,+avx512vl,+avx512bw,+fma,+f16c",
            AVX512._replace(fma=True, float16=True),
        ),
        ("arm64-apple-darwin22", "+neon", NEON),
        ("aarch64-unknown-linux-gnu", "", NEON),
    ],
)
def test_the_machine_is_what_the_processor_can_do(
    triple: str, features: str, machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "facts", lambda: FACTS._replace(triple=triple, features=features))
    host._processor.cache_clear()
    try:
        assert host.host_target().machine == machine
    finally:
        host._processor.cache_clear()


@known
def test_a_later_process_does_not_import_llvmlite(tmp_path: Path) -> None:
    program = """
import sys
from tracejit.llvm.machine import host, pool
from tracejit.llvm.machine.loader import load
assert "llvmlite" not in sys.modules
print(host.key("test"), host.host_target(), sorted(pool.symbols()), "llvmlite" in sys.modules)
"""
    environment = {**os.environ, "TRACEJIT_CACHE_DIR": str(tmp_path / "cache")}
    environment.pop("TRACEJIT_CACHE", None)
    said = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
        said.append(done.stdout.rpartition(" ")[::2])
    assert said[0][0] == said[1][0]
    assert [imported.strip() for _, imported in said] == ["True", "False"]
