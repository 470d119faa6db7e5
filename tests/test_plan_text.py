"""stage="plan": the text of a plan says what stands in the plan, the same for equal plans, in lines that can be read."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import RandomGraph, random_graphs
from hypothesis import given, settings

import tracejit as tj
from tracejit import ops, passes
from tracejit.ir import Graph, Node, TensorType, make
from tracejit.ir.location import Location, at
from tracejit.ir.types import DType, float32, int32
from tracejit.llvm.plan.plan import Plan, plan
from tracejit.llvm.plan_text import print_plan
from tracejit.llvm.target import AVX2, AVX512, NEON, Machine, Target

COLUMNS = 160


def planned(graph: Graph, machine: Machine = AVX512) -> Plan:
    return plan(passes.run(graph), Target(machine))


def parameter(name: str, *shape: int, dtype: DType = float32) -> Node:
    return make(ops.parameter, type=TensorType(shape, dtype), name=name)


def product(x: Node, y: Node, **flips: bool) -> Node:
    return ops.matmul(x, y, **{"transpose_a": False, "transpose_b": False} | flips)


# -- one program, in whole


def layer() -> Graph:
    """A dense layer's relu, a softmax of it, and the layer's next weights."""
    x, w, b = parameter("x", 64, 48), parameter("w", 48, 40), parameter("b", 40)
    with at(Location("train.py", 7)):
        h = ops.relu(ops.add(product(x, w), ops.broadcast(b, shape=(64, 40), axes=(1,))))
    with at(Location("train.py", 8)):
        largest = ops.broadcast(ops.reduce_max(h, axes=(1,)), shape=(64, 40), axes=(0,))
        parts = ops.exp(ops.sub(h, largest))
        p = ops.div(parts, ops.broadcast(ops.reduce_sum(parts, axes=(1,)), shape=(64, 40), axes=(0,)))
    with at(Location("train.py", 9)):
        new_w = ops.sub(w, product(x, p, transpose_a=True))
        new_b = ops.add(b, ops.reduce_sum(p, axes=(0,)))
    return Graph("train", [x, w, b], [b], [(w, new_w), (b, new_b)])


def images() -> Graph:
    """A convolution's bias and relu, one of more steps than its filters stay in the cache for, and a gradient of filters."""
    x, w, b = parameter("x", 8, 16, 16, 1, 24), parameter("w", 3, 3, 1, 24, 32), parameter("b", 32)
    r, u, v = parameter("r", 8, 14, 14, 32), parameter("u", 1, 5, 5, 1, 2048), parameter("v", 3, 3, 1, 2048, 16)
    attrs = {"strides": (1, 1), "dilations": (1, 1)}
    with at(Location("net.py", 7)):
        y = ops.reshape(ops.convolution(x, w, **attrs), shape=r.shape)
        z = ops.relu(ops.add(y, ops.broadcast(b, shape=r.shape, axes=(3,))))
    with at(Location("net.py", 8)):
        deep = ops.relu(ops.convolution(u, v, **attrs))
    with at(Location("net.py", 9)):
        turned = ops.transpose(x, permutation=(4, 1, 2, 3, 0))
        cotangent = ops.transpose(ops.reshape(r, shape=(8, 14, 14, 1, 32)), permutation=(1, 2, 3, 0, 4))
        gradient = ops.convolution(turned, cotangent, **attrs)
    return Graph("net", [x, w, b, r, u, v], [z, deep, gradient], [])


GOLDEN = Path(__file__).parent / "plans"
PROGRAMS = {"layer": layer, "images": images}


@pytest.mark.parametrize("machine", [AVX512, AVX2, NEON], ids=lambda machine: machine.name)
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_plan_of_a_program(program: str, machine: Machine) -> None:
    """Written anew where TRACEJIT_BLESS=1, to be read before it is committed."""
    text, path = print_plan(planned(PROGRAMS[program](), machine)), GOLDEN / f"{program}.{machine.name}.txt"
    if os.environ.get("TRACEJIT_BLESS") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")


# -- what stands in the plan stands in the text


def rows_of(text: str) -> dict[str, tuple[int, int, int, int]]:
    """(offset, bytes, first, last) of each buffer in the arena's table, by its letters."""
    table = text.partition("\narena  value")[2]
    row = re.compile(r"^([A-Z]+) .* ([\d,]+) +([\d,]+)  k(\d+)-k(\d+) +([#.]+)$", re.MULTILINE)
    found = {}
    for letters, *numbers, life in row.findall(table):
        offset, size, first, last = (int(number.replace(",", "")) for number in numbers)
        assert len(life) <= 60 and life.strip(".") == "#" * (life.rindex("#") - life.index("#") + 1)
        found[letters] = (offset, size, first, last)
    return found


def check(found: Plan) -> None:
    text = print_plan(found)
    assert all(len(line) <= COLUMNS for line in text.splitlines())
    assert re.findall(r"^k(\d+) ", text, re.MULTILINE) == [str(number) for number in range(len(found.calls))]
    rows, arena = rows_of(text), found.arena
    assert sorted(rows.values()) == sorted(
        (arena.offsets[buffer], buffer.nbytes, life.first, life.last) for buffer, life in arena.lives.items()
    )
    for number, (offset, size, first, last) in enumerate(rows.values()):
        for start, more, born, dead in list(rows.values())[:number]:
            assert offset + size <= start or start + more <= offset or last < born or dead < first or not size or not more
    for variable, number, why_not in found.updates:
        name = re.escape(f"%{variable.attrs['name']}")
        if why_not:
            assert re.search(rf"^copied: +{name} by k{number}, not in place: {re.escape(why_not)}$", text, re.MULTILINE)
        else:
            assert re.search(rf"{name}\b", text.rpartition("\nin place: ")[2])


@settings(deadline=None)
@given(random_graphs(gradients=True))
def test_the_plan_of_a_random_graph(case: RandomGraph) -> None:
    graph = passes.run(case.graph)
    for machine in (AVX512, AVX2):
        found = plan(graph, Target(machine))
        check(found)
        assert print_plan(found) == print_plan(plan(graph, Target(machine)))


def test_a_long_plan_has_a_short_table() -> None:
    x = node = parameter("x", 8, 8)
    for _ in range(150):
        node = product(node, x)
    found = planned(Graph("long", [x], [node]))
    check(found)
    text = print_plan(found)
    assert "150 kernels, 2 of them distinct" in text or "150 kernels, 1 of them distinct" in text
    assert "(a column is 3 kernels)" in text and "the kernel of k0" in text


# -- why a variable is not written in place


def updates(results: list[Node], parameters: list[Node], new: list[tuple[Node, Node]]) -> list[str]:
    found = planned(Graph("g", parameters, results, new))
    check(found)
    return [update.why_not for update in found.updates]


def test_why_a_variable_is_not_written_in_place() -> None:
    x, y, w, v = parameter("x", 6, 6), parameter("y", 6, 6), parameter("w", 6, 6), parameter("v", 6, 6)
    square = parameter("square", 6, 6)
    assert updates([], [x, w], [(w, ops.add(w, x))]) == [""]
    assert updates([w], [x, w], [(w, ops.add(w, x))]) == ["returned"]
    assert updates([], [x, w], [(w, x)]) == ["its new value is no kernel's"]
    assert updates([], [x, w, v], [(w, ops.exp(x)), (v, ops.exp(x))]) == ["another variable gets the same value"] * 2
    assert updates([], [x, w, v], [(w, ops.exp(x)), (v, w)]) == [
        "another variable gets its old value",
        "its new value is no kernel's",
    ]
    half, part = parameter("half", 3, 6), ops.slice(product(x, y), starts=(0, 0), sizes=(3, 6), strides=(1, 1))
    assert updates([], [x, y, half], [(half, part)]) == ["its new value is a part of what its kernel writes"]
    assert updates([], [x, square], [(square, product(square, x))]) == ["k0 reads other elements of it than it writes"]
    # A product's result, which the next one reads beside the old value.
    new = product(x, y)
    (reason,) = updates([product(new, w)], [x, y, w], [(w, new)])
    assert re.fullmatch(r"read later by k\d+", reason)


def test_nothing_is_written_in_place_before_what_may_fail() -> None:
    table, indices, w = parameter("table", 5, 6), parameter("indices", 4, dtype=int32), parameter("w", 6, 6)
    x = parameter("x", 6, 6)
    new = product(x, x)
    picked = ops.gather(new, indices, axis=0)
    (reason,) = updates([picked], [table, x, indices, w], [(w, new)])
    assert re.fullmatch(r"k\d+ may still fail", reason)


# -- what users call


def test_the_stage_of_a_function() -> None:
    w = tj.Variable(np.ones((20, 10), np.float32), name="w")

    @tj.function
    def step(x: Any) -> Any:
        y = tj.nn.relu(x @ w)
        w.assign_sub(0.1 * tj.matmul(x, y, transpose_a=True))
        return tj.reduce_sum(y)

    x = tj.ones([16, 20])
    text = step.ir(x, stage="plan")
    assert text == step.ir(stage="plan") == print_plan(step.compiled(x).plan)
    check(step.compiled(x).plan)
    assert text.startswith("plan step for ") and "matmul" in text and "test_plan_text.py" in text
    assert re.search(r"^in place: %w by k\d+$", text, re.MULTILINE)


def test_a_dump_holds_it(tmp_path: Path) -> None:
    f = tj.function(lambda x: tj.exp(x) @ x)
    paths = tj.inspect.dump(f, tmp_path, tj.ones([4, 4]))
    assert [path.name.rpartition(".")[2] for path in paths[-3:]] == ["txt", "ll", "s"]
    assert paths[-3].read_text("utf-8").rstrip("\n") == f.ir(stage="plan").rstrip("\n")
