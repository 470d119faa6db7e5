"""Kernels apart: what their names say, who shares them, which are compiled when a model is edited, and what calls them."""

from __future__ import annotations

import gc
import itertools
import json
import os
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import all_cases, cases_of, random_graph, sample_graph
from test_cache import entries, graphs, sealed

import tracejit as tj
from tracejit import ops, passes
from tracejit.compilation import Compilation
from tracejit.ir import Graph, Node, TensorType, interpret, make
from tracejit.ir.location import Location, at
from tracejit.ir.types import float32, int32
from tracejit.llvm import entry, linking
from tracejit.llvm.emit import program, write
from tracejit.llvm.machine import cache, host
from tracejit.llvm.plan.plan import plan
from tracejit.llvm.target import AVX2, AVX512, NEON, Machine, Target
from tracejit.runtime.compiled_function import CompiledFunction, run_graph


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a cache of the test's own."""
    monkeypatch.setattr(cache, "_sources", lambda: cache._imported)
    monkeypatch.setenv("TRACEJIT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def texts_of(graph: Graph, machine: Machine = AVX512) -> Iterator[tuple[str, str]]:
    """The kernels' names, and their texts without them."""
    target = Target(machine)
    made = program(plan(graph, target), target)
    for name, call in made.calls.items():
        unit = write(call, name, target).unit
        assert unit.exports == (name,)
        yield name, "\n".join([*sorted(unit.shared), unit.text.replace(name, "NAME")])


def parameter(*shape: int, name: str = "x", dtype: Any = float32) -> Node:
    return make(ops.parameter, type=TensorType(shape, dtype), name=name)


def network(prefix: str, first_line: int, widths: Sequence[int] = (24, 16, 16, 10)) -> Graph:
    """A step of a network; names and lines as told."""
    x = parameter(8, widths[0], name=f"{prefix}x")
    weights = [parameter(*pair, name=f"{prefix}w{n}") for n, pair in enumerate(itertools.pairwise(widths))]
    value = x
    for number, w in enumerate(weights):
        with at(Location(f"{prefix}.py", first_line + number)):
            value = ops.tanh(ops.matmul(value, w, transpose_a=False, transpose_b=False))
    loss = ops.reduce_sum(ops.mul(value, value), axes=(0, 1))
    found = make(ops.gradient, loss, *weights, targets=1, sources=len(weights), seeded=False)
    updates = [(w, ops.sub(w, make(ops.element, found, index=number))) for number, w in enumerate(weights)]
    return passes.run(Graph(f"{prefix}step", [x, *weights], [loss], updates))


# -- names


@pytest.mark.parametrize("machine", [AVX512, AVX2, NEON], ids=lambda machine: machine.name)
def test_equal_names_have_equal_texts_and_others_have_others(machine: Machine) -> None:
    found: dict[str, str] = {}
    for graph in (network("a", 1), network("b", 50), network("c", 9, (24, 16, 12, 10))):
        for name, text in texts_of(graph, machine):
            assert found.setdefault(name, text) == text, name
    assert len(found) > 10 and len(set(found.values())) == len(found)


def test_names_and_lines_are_no_part_of_a_kernel() -> None:
    first, second = list(texts_of(network("a", 1))), list(texts_of(network("another", 100)))
    assert first == second
    assert not any("another" in text or ".py" in text for _, text in second)
    with_other_line = list(texts_of(network("a", 1)))
    assert with_other_line == first


def test_where_an_array_begins_is_no_part_of_a_kernel() -> None:
    x = parameter(6, 4, 4)
    rows = [ops.reshape(ops.slice(x, starts=(n, 0, 0), sizes=(1, 4, 4), strides=(1, 1, 1)), shape=(4, 4)) for n in range(6)]
    graph = passes.run(Graph("g", [x], [ops.matmul(row, row, transpose_a=False, transpose_b=False) for row in rows]))
    step = CompiledFunction(graph)
    assert len(step.plan.calls) == 6 and len(step.executable.table.kernels) == 1
    argument = np.random.default_rng(0).standard_normal((6, 4, 4), np.float32)
    for number, found in enumerate(run_graph(step, [argument])):
        np.testing.assert_allclose(found.value, argument[number] @ argument[number], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_of_all_samples_equal_names_have_equal_texts() -> None:
    found: dict[str, str] = {}
    count = 0
    for name in sorted({case.op.name for case in all_cases()}):
        for case in cases_of(name)[::3]:
            for kernel, text in texts_of(passes.run(sample_graph(case.op, case.arrays, case.attrs))):
                assert found.setdefault(kernel, text) == text, (case, kernel)
                count += 1
    for seed in range(40):
        for kernel, text in texts_of(passes.run(random_graph(np.random.default_rng(seed), gradients=seed % 2 == 0).graph)):
            assert found.setdefault(kernel, text) == text, (seed, kernel)
            count += 1
    assert count > len(found) > 100


NAMES = """
    import hashlib, sys
    sys.path.insert(0, "tests")
    from test_linking import network, texts_of
    if len(sys.argv) > 1:
        network("first", 1, (5, 6, 7))
    print(hashlib.sha256(repr(list(texts_of(network("a", 1)))).encode()).hexdigest())
"""


@pytest.mark.slow
def test_every_process_writes_the_same() -> None:
    def told(seed: str, *arguments: str) -> str:
        command = [sys.executable, "-c", textwrap.dedent(NAMES), *arguments]
        environment = os.environ | {"PYTHONHASHSEED": seed}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True).stdout

    assert told("1") == told("2", "more") != ""


# -- who shares a kernel


def recurrence(steps: int) -> tuple[Any, list[Any]]:
    rng = np.random.default_rng(0)
    w, u = (tj.Variable(rng.standard_normal((16, 16), np.float32) * 0.3) for _ in range(2))

    @tj.function
    def step(x: Any) -> Any:
        with tj.GradientTape() as tape:
            h = tj.zeros([4, 16])
            for number in range(steps):
                h = tj.tanh(x[number] @ w + h @ u)
            loss = tj.reduce_sum(h * h)
        for variable, gradient in zip((w, u), tape.gradient(loss, [w, u]), strict=True):
            variable.assign_sub(0.01 * gradient)
        return loss

    return step, [tj.constant(rng.standard_normal((steps, 4, 16), np.float32))]


def kernels_of(function: Any, *arguments: Any) -> tuple[str, ...]:
    found: tuple[str, ...] = function.compiled(*arguments).executable.table.kernels
    return found


def test_the_steps_of_an_unrolled_recurrence_are_the_same_kernels() -> None:
    counts, calls = [], []
    for steps in (6, 12, 24):
        function, arguments = recurrence(steps)
        found = function.compiled(*arguments).executable
        counts.append(len(found.table.kernels))
        calls.append(len(found.table.calls))
    assert calls[0] < calls[1] < calls[2]
    assert counts[2] <= counts[1] + 2 and counts[2] < 30, (counts, calls)


def counts_of(function: Any, *arguments: Any) -> linking.Counts:
    found: linking.Counts = function.compiled(*arguments).executable.linked.counts
    return found


def test_functions_of_a_process_share_kernels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEJIT_CACHE", "0")

    def f(x: Any) -> Any:
        return tj.exp(x @ x) * 1.25

    def g(x: Any) -> Any:
        return tj.exp(x @ x) * 1.25, tj.reduce_sum(x + 0.123)

    x = tj.ones([5, 5])
    first, second, third = tj.function(f), tj.function(g), tj.function(lambda x: f(x))
    compiled = counts_of(first, x)
    assert compiled == (len(kernels_of(first, x)), 0, 0, len(kernels_of(first, x)))
    both = counts_of(second, x)
    assert both.shared == compiled.kernels and both.compiled == both.kernels - both.shared > 0
    assert counts_of(third, x) == (compiled.kernels, compiled.kernels, 0, 0)
    assert f"; {compiled.kernels} kernel" in third.explain() and f"{compiled.kernels} shared" in third.explain()
    names = kernels_of(second, x)
    np.testing.assert_array_equal(first(x).numpy(), third(x).numpy())
    del first
    gc.collect()
    np.testing.assert_allclose(third(x).numpy(), np.exp(np.full((5, 5), 5.0)) * 1.25, rtol=1e-5)
    del third, second
    gc.collect()
    assert not any(name in linking._in_use for name in names)


def test_threads_that_compile_the_same_at_once(folder: Path) -> None:
    functions = [tj.function(lambda x: tj.exp(x @ x) * 1.75) for _ in range(4)]
    x, found, barrier = tj.ones([6, 6]), [], threading.Barrier(4)

    def work(function: Any) -> None:
        barrier.wait()
        found.append(function(x).numpy())

    threads = [threading.Thread(target=work, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and all((each == found[0]).all() for each in found)
    assert all(function.compiled(x).executable.linked.counts.kernels for function in functions)


# -- what is compiled anew

MODEL = """
    import json, sys
    import numpy as np, tracejit as tj

    widths = [int(width) for width in sys.argv[1:]]
    weights = [tj.Variable(np.full(pair, 0.01, np.float32)) for pair in zip(widths, widths[1:])]

    @tj.function
    def step(x, labels):
        with tj.GradientTape() as tape:
            for w in weights[:-1]:
                x = tj.nn.relu(x @ w)
            loss = tj.reduce_mean(tj.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=x @ weights[-1]))
        for w, gradient in zip(weights, tape.gradient(loss, weights)):
            w.assign_sub(0.1 * gradient)
        return loss

    arguments = np.ones((32, widths[0]), np.float32), np.zeros(32, np.int32)
    step(*arguments)
    early = [name for name in ("llvmlite", "tracejit.passes.fuse", "tracejit.llvm.plan.plan") if name in sys.modules]
    found = step.compiled(*arguments).executable
    print(json.dumps([found.cause, found.linked.counts._asdict(), found.table.kernels, early]))
"""


def model(folder: Path, *widths: int) -> tuple[str, dict[str, int], set[str], list[str]]:
    """What a process has of the model: the cause, the counts, the kernels, and what it had to import."""
    command = [sys.executable, "-c", textwrap.dedent(MODEL), *map(str, widths)]
    environment = os.environ | {"TRACEJIT_CACHE_DIR": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    cause, counts, kernels, early = json.loads(done.stdout)
    return cause, counts, set(kernels), early


def test_an_edited_model_compiles_the_kernels_that_changed(folder: Path) -> None:
    cause, counts, before, _ = model(folder, 48, 32, 32, 10)
    assert cause == "cache miss: no entry" and counts == {
        "kernels": len(before),
        "shared": 0,
        "found": 0,
        "compiled": len(before),
    }
    cause, counts, after, _ = model(folder, 48, 32, 40, 10)
    assert cause == "cache miss: no entry" and before & after and after - before
    assert counts == {"kernels": len(after), "shared": 0, "found": len(before & after), "compiled": len(after - before)}
    for widths, kernels in (((48, 32, 32, 10), before), ((48, 32, 40, 10), after)):
        cause, counts, again, early = model(folder, *widths)
        assert (cause, again, early) == ("cache hit", kernels, [])
        assert counts == {"kernels": len(kernels), "shared": 0, "found": len(kernels), "compiled": 0}


# -- entries of kernels that are missing or damaged


def wave(x: Any) -> Any:
    return tj.sin(x @ x) * 3.5


def linked(x: Any) -> tuple[str, linking.Counts]:
    """The cause and the counts of a new trace of `wave`, whose result is checked."""
    gc.collect()  # what nobody uses any more is not shared
    function = tj.function(wave)
    np.testing.assert_allclose(function(x).numpy(), np.sin(x.numpy() @ x.numpy()) * np.float32(3.5), rtol=1e-4, atol=1e-4)
    found = function.compiled(x).executable
    return found.cause, found.linked.counts


def flipped(path: Path) -> bytes:
    contents = path.read_bytes()
    return contents[:-1] + bytes([contents[-1] ^ 1])


def resealed(path: Path, header: dict[str, Any] | None = None, code: bytes | None = None) -> bytes:
    found = cache.get(path.stem)
    return sealed(path, json.dumps(header or found.header).encode(), found.code if code is None else code)


DAMAGES = {
    "missing": None,
    "a flipped bit": flipped,
    "cut": lambda path: path.read_bytes()[:-1],
    "no code": lambda path: resealed(path, code=b""),
    "other code": lambda path: resealed(path, code=b"no code"),
    "longer code": lambda path: resealed(path, code=cache.get(path.stem).code + b"\0"),
    "another unit's code": lambda path: resealed(path, code=_of_another_name(cache.get(path.stem).code)),
    "another field": lambda path: resealed(path, header={"chunks": None, "more": 1}),
    **{f"chunks {value!r}": lambda path, value=value: resealed(path, header={"chunks": value})
       for value in (0, 1, -2, 2.0, True, "2", 1 << 31)},
}  # fmt: skip


def _of_another_name(code: bytes) -> bytes:
    name = re.search(rb"\.([0-9a-f]{32})\0", code)
    assert name is not None
    return code.replace(name[1], b"0" * 32)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_kernel_that_is_missing_or_damaged_is_compiled_alone(damage: str, folder: Path) -> None:
    x = tj.constant(np.random.default_rng(0).uniform(-1, 1, (7, 7)).astype(np.float32))
    cause, counts = linked(x)
    assert cause == "cache miss: no entry" and counts == (2, 0, 0, 2)
    kernels = [path for path in entries(folder) if path not in graphs(folder) and "chunks" in cache.get(path.stem).header]
    assert len(kernels) == 2 and linked(x) == ("cache hit", (2, 0, 2, 0))
    for path in kernels:
        contents = path.read_bytes()
        if (make_damaged := DAMAGES[damage]) is None:
            path.unlink()
        else:
            path.write_bytes(make_damaged(path))
        assert linked(x) == ("cache hit", (2, 0, 1, 1))
        assert path.read_bytes() == contents


def test_a_graph_s_entry_of_other_kernels_is_a_miss(folder: Path) -> None:
    x = tj.ones([7, 7])
    linked(x)
    (path,) = graphs(folder)
    found = cache.get(path.stem)
    assert found.header is not None
    others = [name[:-32] + "0" * 32 for name in found.header["kernels"]]
    path.write_bytes(resealed(path, header=found.header | {"kernels": others}))
    assert linked(x) == ("cache miss: the entry is of other kernels", (2, 0, 2, 0))
    assert linked(x) == ("cache hit", (2, 0, 2, 0))


# -- what calls the kernels


def chain(length: int) -> tuple[Graph, np.ndarray]:
    """A product after the other, with a sum of an offset each: a call or two each."""
    x = node = parameter(5, 5)
    for number in range(length):
        node = ops.tanh(ops.matmul(node, x, transpose_a=bool(number % 2), transpose_b=False))
    return passes.run(Graph("chain", [x], [node])), np.random.default_rng(1).uniform(-1, 1, (5, 5)).astype(np.float32)


@pytest.mark.parametrize("own", [0, 1000], ids=["walked", "own"])
@pytest.mark.parametrize("length", [1, 3, 40])
def test_a_table_is_walked_or_has_a_function_of_its_own(length: int, own: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "_OWN_CALLS", own)
    graph, argument = chain(length)
    step = CompiledFunction(graph)
    assert step.executable.table.walked == (own == 0)
    assert ("tracejit.walker" in step.module.text) == (own == 0)
    expected = interpret(graph, [argument])[0][0]
    np.testing.assert_allclose(run_graph(step, [argument])[0].value, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("own", [0, 1000], ids=["walked", "own"])
def test_the_call_that_fails_is_known_by_its_number(own: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "_OWN_CALLS", own)
    x = parameter(3)
    indices = [parameter(2, name=f"i{n}", dtype=int32) for n in range(4)]
    parts = []
    for number, index in enumerate(indices):
        with at(Location("gathers.py", 10 + number)):
            parts.append(ops.gather(x, index, axis=0))
    step = CompiledFunction(passes.run(Graph("g", [x, *indices], [ops.concat(*parts, axis=0)])))
    good, bad = np.array([0, 2], np.int32), np.array([0, 3], np.int32)
    values = np.arange(3, dtype=np.float32)
    np.testing.assert_array_equal(run_graph(step, [values, good, good, good, good])[0].value, [0, 2] * 4)
    for number in range(4):
        given = [bad if place == number else good for place in range(4)]
        with pytest.raises(tj.errors.IndexOutOfRangeError, match=f"gathers.py:{10 + number}"):
            step.run([values, *given])


def test_a_graph_of_no_calls_runs() -> None:
    step = CompiledFunction(Graph("g", [], []))
    assert step.run([]) == [] and step.executable.linked.counts == (0, 0, 0, 0)


def test_constants_lie_where_registers_do_and_are_kept(folder: Path) -> None:
    def f(i: Any) -> Any:
        rows = tj.constant([[float(n + m) for n in range(40)] for m in range(40)])
        return tj.gather(rows, i), tj.gather(tj.constant([True, False, True]), i)

    for cause in ("cache miss: no entry", "cache hit"):
        function = tj.function(f)
        first, second = function(tj.constant([2, 1]))
        np.testing.assert_array_equal(first.numpy(), [np.arange(40) + 2, np.arange(40) + 1])
        np.testing.assert_array_equal(second.numpy(), [True, False])
        found = function.compiled(tj.constant([2, 1])).executable
        assert found.cause == cause and found.constants.ctypes.data % 64 == 0 and found.constants.nbytes == 6400 + 64


def test_the_stages_of_what_is_compiled_are_timed(folder: Path) -> None:
    found = tj.function(lambda x: tj.exp(x) * 9.5)
    found(tj.ones([3]))
    trace = found.explain().splitlines()[1]
    assert re.search(r"; 1 kernel: 1 compiled \(passes [\d.]+, plan [\d.]+, text [\d.]+, LLVM [\d.]+ ms\)$", trace), trace
    assert found.compiled(tj.ones([3])).executable.spent.keys() == {"passes", "plan", "text", "LLVM"}
    gc.collect()
    again = tj.function(lambda x: tj.exp(x) * 9.5)
    again(tj.ones([3]))
    assert again.explain().splitlines()[1].endswith("; 1 kernel: 1 shared")


def test_a_compilation_writes_what_it_is_asked_for() -> None:
    x = parameter(4, 4)
    compilation = Compilation(Graph("g", [x], [ops.matmul(x, x, transpose_a=False, transpose_b=False)]), host.host_target())
    (name,) = compilation.program.calls
    (written,) = compilation.write([name])
    assert written.unit.exports == (name,) and name.startswith("matmul.") and written.chunks is None
    with pytest.raises(KeyError):
        compilation.write(["matmul." + "0" * 32])
