"""The cache of compiled code on disk: what it finds, what it refuses, and what it survives."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracejit as tj
from tracejit import ops
from tracejit.__main__ import main
from tracejit.ir import Graph, make, parse
from tracejit.llvm.executable import describe
from tracejit.llvm.machine import cache, host
from tracejit.llvm.machine.blob import Blob
from tracejit.llvm.machine.loader import load
from tracejit.llvm.machine.units import Unit, compile_units

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the cache is used on POSIX systems only")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a cache of the test's own, not made yet. Who edits the compiler while the tests run does not fail them."""
    monkeypatch.setattr(cache, "_sources", lambda: cache._imported)
    monkeypatch.setenv("TRACEJIT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tjo"))


def graphs(folder: Path) -> list[Path]:
    """The entries of graphs; the others are those of kernels."""
    return [path for path in entries(folder) if "kernels" in (cache.get(path.stem).header or ())]


def scaled(x: Any) -> Any:
    return tj.exp(x) * 2.5


ARGUMENT = np.array([0.0, 1.0, -1.0], np.float32)
EXPECTED = np.exp(ARGUMENT) * np.float32(2.5)


def cause_of(f: Callable[..., Any] = scaled, *arguments: Any) -> str:
    """What the cache had for a new trace of `f`, whose result is checked where it is `scaled`."""
    traced = tj.function(f)
    result = traced(*(arguments or (tj.constant(ARGUMENT),)))
    if f is scaled:
        np.testing.assert_allclose(result.numpy(), EXPECTED, rtol=1e-6)
    (found,) = re.findall(r"; (cache .*); \d+ nodes traced", traced.explain())
    return found


def run(program: str, **environment: str) -> str:
    """What `program` writes in an interpreter of its own."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# -- hits


PROGRAM = """
    import hashlib, sys
    import numpy as np, tracejit as tj

    w = tj.Variable(np.linspace(-1, 1, 64 * 64, dtype=np.float32).reshape(64, 64))
    table, v = tj.constant([1.0, 2.0, 4.0]), tj.Variable(3.0)

    @tj.function
    def step(x, index):
        with tj.GradientTape() as tape:
            loss = tj.reduce_sum(tj.tanh(x @ w) * tj.gather(table, index))
        w.assign_sub(0.1 * tape.gradient(loss, w))
        return loss

    @tj.function
    def square(x):
        return x * x * v

    x = tj.constant(np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64))
    losses = [step(x, tj.constant(2)) for _ in range(3)]
    with tj.GradientTape() as tape:
        y = square(v)
    print(hashlib.sha256(b"".join(each.numpy().tobytes() for each in (*losses, w))).hexdigest(), float(tape.gradient(y, v)))
    print(*[line.split("; ")[1] for line in (step.explain() + square.explain()).splitlines() if "; " in line], sep="|")
    print("tracejit.passes.fuse" in sys.modules)
    print(tj.inspect.report(step), step.ir(), step.ir(stage="llvm"))
"""


def test_a_later_process_compiles_nothing_and_runs_no_pass(folder: Path) -> None:
    values, causes, passes_ran, *looked_at = run(PROGRAM).splitlines()
    assert causes == "cache miss: no entry|cache miss: no entry"
    assert passes_ran == "True"
    written = {path: path.stat().st_mtime_ns for path in entries(folder)}
    assert len(written) >= 3  # the gradient of a call on a tape is one of them
    assert folder.stat().st_mode & 0o777 == 0o700 and all(path.stat().st_mode & 0o777 == 0o600 for path in written)
    again, causes, passes_ran, *looked_at_again = run(PROGRAM).splitlines()
    assert again == values
    assert causes == "cache hit|cache hit"
    assert passes_ran == "False"
    assert looked_at_again == looked_at
    assert {path: path.stat().st_mtime_ns for path in entries(folder)} == written


def test_a_hit_knows_what_the_miss_knew(folder: Path) -> None:
    def f(x: Any, i: Any) -> Any:
        return tj.gather(tj.nn.softmax(x @ x), i)

    arguments = tj.ones([40, 40]), tj.constant([1, 2])
    missed, found = (tj.function(f).compiled(*arguments).executable for _ in range(2))
    assert (missed.cause, found.cause) == ("cache miss: no entry", "cache hit")
    facts = ("arena_bytes", "temporaries_bytes", "optimized_nodes", "seconds", "parallel", "failing")
    assert [getattr(found, name) for name in facts] == [getattr(missed, name) for name in facts]
    assert missed.failing and missed.arena_bytes and found.optimized_nodes == len(missed.compilation.optimized.nodes)
    assert found.compilation.module.text == missed.compilation.module.text


FAILING = """
def f(x, i, j):
    a = tj.gather(x, i)
    b = tj.gather(x, j)
    return a + b
"""


def defined_at(first_line: int, source: str, path: Path) -> Any:
    path.write_text("\n" * first_line + source, "utf-8")
    names = {"tj": tj}
    exec(compile(path.read_text("utf-8"), str(path), "exec"), names)
    return names["f"]


def test_moved_code_is_found_and_fails_at_its_new_line(folder: Path, tmp_path: Path) -> None:
    x, right, wrong = tj.ones([3]), tj.constant([0, 2]), tj.constant([0, 3])
    for first_line, cause in ((0, "cache miss: no entry"), (40, "cache hit")):
        f = defined_at(first_line, FAILING, tmp_path / f"moved{first_line}.py")
        assert cause_of(f, x, right, right) == cause
        for line, given in ((3, (wrong, right)), (4, (right, wrong))):
            with pytest.raises(IndexError) as caught:
                tj.function(f)(x, *given)
            assert f"moved{first_line}.py:{first_line + line}: " in str(caught.value)
            assert str(caught.value).startswith("gather(f32[3], i32[2]): one index is not in [0, 3)")


def test_what_changes_the_code_is_missed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = tj.constant(ARGUMENT)
    functions: list[Callable[[Any], Any]] = [
        lambda x: x * 2.0,
        lambda x: x * 3.0,
        lambda x: x / 2.0,
        lambda x: x * 0.0,
        lambda x: x * -0.0,
        lambda x: (x * 2.0, x * 2.0),
        lambda x: tj.reshape(x, [3, 1]) * 2.0,
    ]
    assert [cause_of(f, x) for f in functions] == ["cache miss: no entry"] * len(functions)
    assert [cause_of(f, x) for f in functions] == ["cache hit"] * len(functions)
    assert cause_of(functions[0], tj.constant(ARGUMENT[:2])) == "cache miss: no entry"
    monkeypatch.setattr(host, "find_blas", lambda: None)
    assert cause_of(functions[0], x) == "cache miss: no entry"


def test_names_and_places_are_no_part_of_a_key_and_everything_else_is() -> None:
    text = 'graph f(%x: f32[2]) {\n  %0 = exp(%x) : f32[2] @ "a.py" 3\n  %1 = neg(%0) : f32[2] @ "a.py" 4\n  return %1\n}'
    described, locations = describe(parse(text))
    assert [str(location) for location in locations] == ["a.py:3", "a.py:4"]
    same = text.replace("%x", "%y").replace("graph f", "graph g").replace('"a.py" 3', '"b.py" 30')
    assert describe(parse(same))[0] == described
    for old, new in (("exp", "tanh"), ("f32", "f64"), ("[2]", "[3]"), ('"a.py" 4', '"a.py" 3'), ("return %1", "return %0")):
        assert describe(parse(text.replace(old, new)))[0] != described
    values = [np.array([number], np.uint64).view(np.float64) for number in (0x7FF8 << 48, 0xFFF8 << 48, 0, 1 << 63)]
    for value in values:
        value.flags.writeable = False
    constants = [make(ops.constant_op, value=value) for value in values]
    assert len({repr(describe(Graph("f", [], [node]))[0]) for node in constants}) == len(values)


def test_the_sources_have_to_be_those_that_were_imported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = host.key("test")
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_sources", lambda: (("another.py", 1, 1),))
        assert cache.put(key, {}, b"code") == "the compiler's sources have changed since they were imported"
    assert cache.put(key, {}, b"code") == ""


def test_every_module_of_the_package_is_in_the_key() -> None:
    cause_of()  # with all that compiles
    known = {path for path, _, _ in cache._sources()}
    ours = [module for name, module in sys.modules.items() if name.partition(".")[0] == "tracejit"]
    assert len(ours) > 50 and [module for module in ours if module.__file__ not in known] == []


# -- entries that are not what they should be


def contents_of(scaled_folder: Path) -> tuple[Path, bytes]:
    """The entry of a graph."""
    assert cause_of().startswith("cache miss")
    (path,) = graphs(scaled_folder)
    return path, path.read_bytes()


def test_no_flipped_bit_and_no_truncation_gets_through(folder: Path) -> None:
    path, contents = contents_of(folder)
    assert cache.get(path.stem).cause == "cache hit"
    rng = np.random.default_rng(0)
    offsets = [*range(160), *rng.integers(160, len(contents), 200).tolist(), len(contents) - 1]
    damaged = [contents[:at] + bytes([contents[at] ^ 1 << at % 8]) + contents[at + 1 :] for at in offsets]
    damaged += [contents[:at] for at in (*range(160), *rng.integers(160, len(contents), 50).tolist(), len(contents) - 1)]
    for each in damaged:
        path.write_bytes(each)
        found = cache.get(path.stem)
        assert found.header is None and found.cause.startswith("cache miss: the ") and found.code == b""


def sealed(path: Path, header: bytes, code: bytes, sizes: tuple[int, int] | None = None) -> bytes:
    """An entry with a right digest, whatever its header."""
    rest = cache._REST.pack(bytes.fromhex(path.stem), *(sizes or (len(header), len(code)))) + header + code
    return cache._START.pack(b"TRACEJIT", cache._FORMAT, hashlib.sha256(rest).digest()) + rest


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda path, header, code: b"", "the entry has a wrong size"),
        (lambda path, header, code: b"TRACEJIT", "the entry has a wrong size"),
        (lambda path, header, code: os.urandom(5000), "the entry has another format"),
        (lambda path, header, code: path.read_bytes() + b"\0", "the digest of the entry is wrong"),
        (lambda path, header, code: path.read_bytes()[:-1], "the digest of the entry is wrong"),
        (lambda path, header, code: sealed(path.with_stem("0" * 64), header, code), "the entry is another key's"),
        (lambda path, header, code: sealed(path, b"{", code), "the header of the entry cannot be read"),
        (lambda path, header, code: sealed(path, b"\xff", code), "the header of the entry cannot be read"),
        (lambda path, header, code: sealed(path, b"[" * 100_000, code), "the header of the entry cannot be read"),
        (lambda path, header, code: sealed(path, b"7", code), "the header of the entry cannot be read"),
        (lambda path, header, code: sealed(path, b"{}", code), "the header of the entry has other fields"),
        (lambda path, header, code: sealed(path, header, code, (2**63, 2**64 - 1)), "the entry has a wrong size"),
        (lambda path, header, code: sealed(path, header, code, (2**40, 0)), "the entry has a wrong size"),
        (lambda path, header, code: sealed(path, header, b""), "the header of the entry has a wrong size"),
        (lambda path, header, code: sealed(path, header, bytes(len(code))), "the header of the entry has a wrong calls"),
        (lambda path, header, code: sealed(path, header, code[:48] + bytes(len(code) - 48)), "the code's "),
        (
            lambda path, header, code: sealed(path, re.sub(rb"fusion\.[0-9a-f]", b"fusion.x", header), code),
            "the header of the entry has a wrong kernels",
        ),
        (lambda path, header, code: sealed(path, re.sub(rb"fusion", b"matmul", header), code), "the entry is of other kernels"),
    ],
)
def test_a_damaged_entry_is_a_miss_and_made_anew(damage: Any, cause: str, folder: Path) -> None:
    path, contents = contents_of(folder)
    found = cache.get(path.stem)
    path.write_bytes(damage(path, json.dumps(found.header).encode(), found.code))
    assert cause_of().startswith(f"cache miss: {cause}")
    assert graphs(folder) == [path] and path.read_bytes() == contents
    assert cause_of() == "cache hit"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            (field, value)
            for field in ("arena_bytes", "temporaries_bytes", "optimized_nodes")
            for value in (-1, 2**48, 1.0, True)
        ),
        *(("entry", value) for value in ("", 0, 7, None, 2**40)),
        *(("kernels", value) for value in (None, [], [7], ["fusion"], ["fusion." + "0" * 31], ["x." + "0" * 32] * 2)),
        *((field, value) for field in ("calls", "operands") for value in (0, 3, None, 2**40)),
        *(("seconds", value) for value in (-1.0, float("nan"), float("inf"), 1, "0")),
        *(("failing", value) for value in (None, {}, [7], [[]], "text")),
        ("failing", [[1, "IndexOutOfRangeError", "gather", ["f32[3]"], "text", 0, 0]]),
        *(("failing", [[status, "IndexOutOfRangeError", "gather", [], "text", None]]) for status in (0, -1, "1", True, 2**31)),
        *(("failing", [[1, error, "gather", [], "text", None]]) for error in ("SystemExit", "fail", 1, [])),
        *(("failing", [[1, "IndexOutOfRangeError", "gather", [], "text", where]]) for where in (-1, 1000, 0.0, True)),
        ("failing", [[1, "IndexOutOfRangeError", 5, [], "text", None]]),
        ("failing", [[1, "IndexOutOfRangeError", "gather", "f32", "text", None]]),
        ("failing", [[1, "IndexOutOfRangeError", "gather", [3], "text", None]]),
        ("failing", [[1, "IndexOutOfRangeError", "gather", [], None, None]]),
        ("failing", [[1, "IndexOutOfRangeError", "gather", [], "text", None]] * 2),
        ("another", 1),
    ],
)
def test_each_field_of_a_header_is_checked(field: str, value: Any, folder: Path) -> None:
    path, contents = contents_of(folder)
    found = cache.get(path.stem)
    assert found.header is not None
    path.write_bytes(sealed(path, json.dumps(found.header | {field: value}).encode(), found.code))
    assert re.match("cache miss: the (header of the entry has |code's )", cause_of())
    assert path.read_bytes() == contents


def changed(code: bytes, place: int, value: int) -> bytes:
    return code[: 8 * place] + struct.pack("<q", value) + code[8 * place + 8 :]


@pytest.mark.parametrize(
    ("place", "values", "field"),
    [
        (0, (-1, 1), "calls"),  # the kernel's number
        (1, (-1, 0, 1, 3), "calls|operands"),  # how many operands
        (2, (-1, 4), "operands"),  # the number of an argument
        (3, (-1, 13, 1 << 40), "operands"),  # bytes in it
    ],
)
def test_each_number_of_a_table_is_checked(place: int, values: tuple[int, ...], field: str, folder: Path) -> None:
    path, contents = contents_of(folder)
    for value in values:
        found = cache.get(path.stem)
        path.write_bytes(sealed(path, json.dumps(found.header).encode(), changed(found.code, place, value)))
        assert re.fullmatch(f"cache miss: the header of the entry has a wrong ({field})", cause_of())
        assert path.read_bytes() == contents


# -- folders and files that others could have written


def loosened(path: Path) -> None:
    path.chmod(0o620)


def as_link(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (loosened, "others may have written the entry"),
        (as_link, "the entry cannot be read: "),
        (as_pipe, "the entry is not a file"),
    ],
)
def test_an_entry_that_others_could_have_written_is_replaced(change: Any, cause: str, folder: Path) -> None:
    path, contents = contents_of(folder)
    change(path)
    assert cause_of().startswith(f"cache miss: {cause}")
    assert path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == contents and cause_of() == "cache hit"


def test_a_folder_where_the_entry_should_be_is_a_miss(folder: Path) -> None:
    path, _ = contents_of(folder)
    path.unlink()
    path.mkdir()
    for _ in range(2):
        assert cause_of().startswith("cache miss: the entry is not a file; not kept: the cache cannot be written: ")
    assert path.is_dir()


def test_a_folder_that_others_may_write_to_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents_of(folder)
    for mode in (0o770, 0o702, 0o777):
        folder.chmod(mode)
        assert cause_of() == f"cache unused: others may write to {folder}"
    link = folder.with_name("link")
    link.symlink_to(folder)
    monkeypatch.setenv("TRACEJIT_CACHE_DIR", str(link))
    assert cause_of() == f"cache unused: others may write to {link}"
    folder.chmod(0o700)
    assert cause_of() == "cache hit"
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    assert cause_of() == f"cache unused: {link} belongs to another user"


def test_a_folder_that_cannot_be_one_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    for path in (file, file / "below"):
        monkeypatch.setenv("TRACEJIT_CACHE_DIR", str(path))
        assert cause_of() == f"cache unused: {path} cannot be opened: Not a directory"
    assert file.read_text() == "kept"


def test_a_folder_that_cannot_be_written_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents_of(folder)

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)  # tests may run as root, whom no mode of a folder stops
    assert cause_of() == "cache hit"
    assert cause_of(lambda x: x - 7.0, tj.ones([2])) == (
        "cache miss: no entry; not kept: the cache cannot be written: Permission denied"
    )
    assert len(list(folder.iterdir())) == 2


def test_where_the_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRACEJIT_CACHE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.state().folder == str(tmp_path / ".cache" / "tracejit")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.state().folder == str(tmp_path / ".cache" / "tracejit")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.state().folder == str(tmp_path / "xdg" / "tracejit")
    assert cause_of() == "cache miss: no entry" and cause_of() == "cache hit"


# -- switches and bounds


def test_it_can_be_switched_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TRACEJIT_CACHE", "0"), ("TRACEJIT_CHECK", "1")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert cause_of() == f"cache off: {name}={value}"
        assert not folder.exists()
    monkeypatch.setenv("TRACEJIT_CACHE_SIZE", "-1")
    assert cause_of() == "cache unused: TRACEJIT_CACHE_SIZE is '-1', not a whole number of MiB"


def test_what_was_used_the_longest_ago_goes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEJIT_CACHE_SIZE", "1")
    keys = [host.key("test", number) for number in range(11)]
    now = time.time()
    for age, key in enumerate(keys):
        assert cache.put(key, {}, os.urandom(100_000)) == ""
        if age < 10:
            os.utime(folder / f"{key}.tjo", (now, now - 10_000 + age))
        if age == 9:
            assert cache.get(keys[0]).cause == "cache hit"  # the oldest is used once more
    kept = [number for number, key in enumerate(keys) if cache.get(key).header is not None]
    assert kept == [0, 5, 6, 7, 8, 9, 10]
    assert sum(path.stat().st_size for path in entries(folder)) <= 3 << 18
    assert cache.put(keys[0], {}, bytes(1 << 20)) == "it is larger than the cache may be"


def test_what_a_killed_process_left_is_removed_later(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents_of(folder)
    old, new, other = (folder / name for name in (f"{'0' * 64}.1.{'a' * 16}.tmp", f"{'0' * 64}.2.{'b' * 16}.tmp", "notes.tmp"))
    for path in (old, new, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (1, 1))
    monkeypatch.setenv("TRACEJIT_CACHE_SIZE", "1")
    assert cache.put(host.key("test"), {}, bytes(100_000)) == ""  # large enough to be the occasion
    assert not old.exists() and new.exists() and other.exists()


def test_the_command_line_shows_and_clears(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def said(*arguments: str) -> tuple[int, str, str]:
        return (main(["cache", *arguments]), *capsys.readouterr())

    assert said() == (0, f"folder:  {folder}\nstate:   usable\nentries: 0, 0 bytes of at most 268,435,456\n", "")
    assert said("clear") == (0, "0 entries removed\n", "")
    contents_of(folder)
    (folder / "notes.txt").write_text("mine")
    size = sum(path.stat().st_size for path in entries(folder))
    assert f"entries: 2, {size:,d} bytes" in said()[1]
    monkeypatch.setenv("TRACEJIT_CACHE", "0")
    assert "state:   cache off: TRACEJIT_CACHE=0\nentries: 2" in said()[1]
    assert said("clear") == (0, "2 entries removed\n", "")
    assert [each.name for each in folder.iterdir()] == ["notes.txt"]
    folder.chmod(0o777)
    refused = f"cache unused: others may write to {folder}"
    assert f"state:   {refused}\nentries: 0" in said()[1]
    assert said("clear") == (1, "", f"python -m tracejit cache: {refused}\n")


# -- many processes

STRESS = """
    import os, random, signal, sys, time
    import numpy as np, tracejit as tj
    from tracejit.llvm.machine import cache, host

    host.host_target()  # so that a child is at work at once
    x = np.arange(8, dtype=np.float32)
    FACTORS = [float(n) for n in range(6)]

    def check(factor):
        f = tj.function(lambda x: tj.sin(x) * factor)
        assert np.allclose(f(x).numpy(), np.sin(x) * factor, atol=1e-5), factor
        return f.explain()

    def work(seed):
        draw = random.Random(seed)
        while True:
            check(draw.choice(FACTORS))
            number = draw.randrange(16)
            key, code = host.key("stress", number), bytes([number]) * 100_000
            found = cache.get(key)
            assert found.header is None or (found.header, found.code) == ({"number": number}, code)
            if found.header is None:
                cache.put(key, {"number": number}, code)
            if draw.random() < 0.02:
                cache.clear()

    def start(seed):
        child = os.fork()
        if child == 0:
            try:
                work(seed)
            except BaseException as error:
                print(type(error), error, flush=True)
            os._exit(1)
        return child

    draw, end, killed = random.Random(0), time.monotonic() + 5, 0
    children = [start(seed) for seed in range(8)]
    while children:
        time.sleep(draw.uniform(0, 0.04))
        child = children.pop(draw.randrange(len(children)))
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        killed += 1
        if time.monotonic() < end:
            children.append(start(8 + killed))

    folder = os.environ["TRACEJIT_CACHE_DIR"]
    for name in os.listdir(folder):
        if name.endswith(".tjo"):
            with open(os.path.join(folder, name), "rb") as file:
                cache._checked(file.read(), name.removesuffix(".tjo"))
    for factor in FACTORS:
        check(factor)
        assert "; cache hit; " in check(factor)
    assert cache.state().bytes <= 1 << 20
    print(killed)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_processes_that_are_killed_leave_nothing_wrong(folder: Path) -> None:
    assert int(run(STRESS, TRACEJIT_CACHE_SIZE="1")) > 20


# -- objects of other texts, and the interpreter's lock

SECOND_CLIENT = """
declare ptr @tracejit_test_long(i64)
define ptr @"of sum"(i64 %x, i64 %y) {
  %sum = add i64 %x, %y
  %made = call ptr @tracejit_test_long(i64 %sum)
  ret ptr %made
}
define i64 @product(i64 %x, i64 %y) {
  %product = mul i64 %x, %y
  ret i64 %product
}
"""


def test_any_text_can_be_compiled_kept_and_loaded(folder: Path) -> None:
    key = host.key("test", SECOND_CLIENT)
    names = ("of sum", "product")
    (blob,) = compile_units([Unit(names, SECOND_CLIENT)])
    assert cache.put(key, {"version": 1}, blob.to_bytes()) == ""
    found = cache.get(key)
    assert found.header == {"version": 1}
    make_long = ctypes.cast(ctypes.pythonapi.PyLong_FromLong, ctypes.c_void_p).value
    assert make_long is not None
    kept = [Blob.from_bytes(found.code)]
    loaded = [load(kept, {"tracejit_test_long": make_long}) for _ in range(2)]
    for addresses, _ in loaded:
        assert (
            ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_int64, ctypes.c_int64)(addresses["of sum"])(1 << 40, 2)
            == (1 << 40) + 2
        )
        assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(addresses["product"])(6, 7) == 42
    with pytest.raises(RuntimeError):
        load(kept, {})
    with pytest.raises(RuntimeError):
        compile_units([Unit(names, "define")])


def test_other_threads_run_while_llvm_compiles() -> None:
    lines = "\n".join(f"  %v{n + 1} = call double @llvm.fma.f64(double %v{n}, double %x, double %v{n})" for n in range(3000))
    define = "define double @f(double %v0, double %x) {\n" + lines + "\n  ret double %v3000\n}\n"
    text = "declare double @llvm.fma.f64(double, double, double)\n" + define
    host.host_target()
    turns, compiled, started = 0, threading.Event(), threading.Event()

    def count() -> None:
        nonlocal turns
        while not compiled.is_set():
            time.sleep(0.001)
            turns += 1
            started.set()

    counter = threading.Thread(target=count)
    counter.start()
    started.wait()
    before = turns
    compile_units([Unit(("f",), text)])
    during = turns - before
    compiled.set()
    counter.join()
    # With the lock held the other thread would get a turn between LLVM's two calls, reading and emitting, and few more.
    assert during >= 10
