"""Writes a graph's kernels, a function each, and the table of the calls that make them in the plan's order.

A kernel is `i32 name(ptr pointers)`, an array of pointers, each to the first element of a view; where it is divided
(`Builder.parallel_range`), `i32 name(ptr pointers, i64 first, i64 last)`. Its name says what it computes and for which target,
and its text depends on nothing else: not on the graph, on names and lines, or on where its arrays lie. All calls of one name
have one kernel.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tracejit import ops
from tracejit.ir.graph import Node
from tracejit.llvm.entry import Table, own_entry, walker
from tracejit.llvm.kernels.convolution import emit_convolution
from tracejit.llvm.kernels.epilogue import emit_product_fusion
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.loops import emit_fusion
from tracejit.llvm.kernels.matmul import emit_matmul
from tracejit.llvm.kernels.movement import emit_copy
from tracejit.llvm.machine.units import Unit
from tracejit.llvm.plan.blocking import Blocking
from tracejit.llvm.plan.calls import KernelCall
from tracejit.llvm.plan.contraction import Contraction
from tracejit.llvm.plan.plan import Plan
from tracejit.llvm.plan.views import Buffer, View
from tracejit.llvm.target import Target
from tracejit.llvm.text.arrays import Array
from tracejit.locks import importing
from tracejit.memory import ALIGNMENT, empty


class Program(NamedTuple):
    """A plan for a target as calls of kernels: the table, for each of its kernels a call that it serves, the node of each call
    that can fail, by its status, and the bytes of all constants."""

    target: Target
    table: Table
    calls: dict[str, KernelCall]
    failing: dict[int, Node]
    constants: np.ndarray


class Written(NamedTuple):
    """A kernel's text, and its chunks, None where it is not divided."""

    unit: Unit
    chunks: int | None


class Module(NamedTuple):
    """All of a program as one text, and whether a kernel of it is divided."""

    text: str
    parallel: bool


def program(plan: Plan, target: Target) -> Program:
    """The plan's calls, by kernels that are not written yet."""
    names = [kernel_name(call, target) for call in plan.calls]
    calls = dict(zip(reversed(names), reversed(plan.calls), strict=True))
    kernels = {name: number for number, name in enumerate(dict.fromkeys(names))}
    constants, offsets = _constants(plan.constants)
    graph = plan.graph
    arena = len(graph.parameters) + len(graph.results)
    first = {"parameter": 0, "result": len(graph.parameters)}

    def place(view: View) -> tuple[int, int]:
        buffer, within = view.buffer, view.offset * view.dtype.size
        if buffer.kind == "arena":
            return arena, plan.arena.offsets[buffer] + within
        if buffer.kind == "constant":
            return arena + 1, offsets[buffer] + within
        return first[buffer.kind] + buffer.index, within

    operands = [place(view) for call in plan.calls for view in call.views]
    counts = [(kernels[name], len(call.views)) for name, call in zip(names, plan.calls, strict=True)]
    table = Table(tuple(kernels), np.array(counts, np.int64).reshape(-1, 2), np.array(operands, np.int64).reshape(-1, 2))
    failing = {number: call.node for number, call in enumerate(plan.calls, 1) if call.can_fail and call.node is not None}
    return Program(target, table, calls, failing, constants)


def _constants(buffers: list[Buffer]) -> tuple[np.ndarray, dict[Buffer, int]]:
    """(The bytes of all constants, where each begins.)"""
    offsets, end = {}, 0
    for buffer in buffers:
        offsets[buffer] = end
        end += max(-(-buffer.nbytes // ALIGNMENT), 1) * ALIGNMENT
    block = empty((end,), np.uint8)
    block[...] = 0
    for buffer, offset in offsets.items():
        block[offset : offset + buffer.nbytes] = np.frombuffer(np.asarray(buffer.data).tobytes(), np.uint8)
    return block, offsets


@functools.lru_cache(8)
def _digest(target: Target) -> Any:
    return hashlib.sha256(repr(tuple(target)).encode())


def kernel_name(call: KernelCall, target: Target) -> str:
    """The name of the call's kernel for a target: equal where `key` is."""
    digest = _digest(target).copy()
    digest.update(repr(call.key).encode())
    return f"{call.node.op.name if call.node is not None else 'copy'}.{digest.hexdigest()[:32]}"


def write(call: KernelCall, name: str, target: Target) -> Written:
    """The kernel of a call."""
    b = _kernel(call, name, target)
    attributes = f'attributes #0 = {{ nounwind "prefer-vector-width"="{target.machine.width * 8}" }}'
    return Written(Unit((name,), b.text(), frozenset({*b.declarations, attributes})), b.chunks)


def emit(plan: Plan, target: Target) -> Module:
    """A plan as one text: its kernels, each with the user's lines as comments, and what calls them."""
    made = program(plan, target)
    lines: dict[str, dict[str, None]] = {name: {} for name in made.table.kernels}
    for call, (kernel, _) in zip(plan.calls, made.table.calls.tolist(), strict=True):
        if call.node is not None and call.node.location:
            lines[made.table.kernels[kernel]][f"; {call.node.location}\n"] = None
    written = {name: write(call, name, target) for name, call in made.calls.items()}
    chunks = {name: kernel.chunks for name, kernel in written.items()}
    walked = made.table.walked
    entry = walker() if walked else own_entry(made.table, chunks)
    shared = {line for kernel in written.values() for line in kernel.unit.shared}
    shared |= {line for line in entry.shared if not any(name in line for name in written)}  # which are defined here
    functions = ["".join(lines[name]) + kernel.unit.text for name, kernel in written.items()]
    listed = ["\n".join(_listed(made.table))] if walked else []
    text = "\n\n".join([f"; tracejit_{plan.graph.name}", *sorted(shared), *functions, *listed, entry.text, ""])
    return Module(text, any(chunks.values()))


def _listed(table: Table) -> Iterator[str]:
    """A line a call of a table that is walked: the kernel, and each argument's number with bytes that are added to it."""
    operands = iter(table.operands.tolist())
    for number, (kernel, count) in enumerate(table.calls.tolist()):
        places = ", ".join(f"%{place}+{offset}" for place, offset in itertools.islice(operands, count))
        yield f"; {number}: {table.kernels[kernel]}({places})"


def _kernel(call: KernelCall, name: str, target: Target) -> KernelBuilder:
    views = call.views
    names = [
        *(f"out{i}" for i in range(len(call.outputs))),
        *(f"in{i}" for i in range(len(call.operands))),
        *(f"scratch{i}" for i in range(len(call.scratch))),
    ]
    b = KernelBuilder(f'"{name}"', names, target, call.parallel)
    first, second = len(call.outputs), len(call.outputs) + len(call.operands)
    arrays = [
        Array(view.shape, view.strides, 0, view.dtype, f"%{each}", place < first and call.nontemporal[place])
        for place, (each, view) in enumerate(zip(names, views, strict=True))
    ]
    outputs, operands, scratch = arrays[:first], arrays[first:second], arrays[second:]
    if call.node is None:
        emit_copy(b, outputs[0], operands[0], divided=True)
    elif call.node.op is ops.convolution:
        assert not isinstance(call.blocking, Blocking)
        emit_convolution(b, call.blocking, outputs[0], *operands)
    elif call.product is call.node:
        assert not isinstance(call.blocking, Contraction)
        x, y = operands
        emit_matmul(b, call.node, call.blocking, outputs[0], x, y, scratch)
    elif call.product is not None:
        assert call.blocking is not None
        emit_product_fusion(b, call.node.attrs["body"], call.product, call.blocking, outputs, operands, scratch)
    elif call.schedule is not None:
        assert call.layout is not None
        emit_fusion(b, call.schedule, call.layout, arrays)
    else:
        with importing:  # 1 ms that a program of fusions and products does not pay
            from tracejit.llvm.kernels.table import KERNELS

        KERNELS[call.node.op](b, call.node, outputs[0], *operands)
    return b
