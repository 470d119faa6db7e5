"""Writes the module of a traced function: a function a kernel, and the entry that calls them in the plan's order.

The entry is `i32 name(ptr arguments)`: an array of pointers, to the parameters, then the results, then the arena. It returns
0, or the number of the call that failed, counted from 1; until it can fail no more it has written to no parameter.

A kernel that is divided (`Builder.parallel_range`) is called by the pool (tracejit.llvm.machine.pool), a share of
its chunks by each thread.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from tracejit import ops
from tracejit.ir.graph import Node
from tracejit.ir.types import array_type
from tracejit.llvm.kernels.convolution import emit_convolution
from tracejit.llvm.kernels.epilogue import emit_product_fusion
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.loops import emit_fusion
from tracejit.llvm.kernels.matmul import emit_matmul
from tracejit.llvm.kernels.movement import emit_copy
from tracejit.llvm.machine.pool import PARALLEL
from tracejit.llvm.plan.blocking import Blocking
from tracejit.llvm.plan.calls import KernelCall
from tracejit.llvm.plan.contraction import Contraction
from tracejit.llvm.plan.plan import Plan
from tracejit.llvm.plan.views import Buffer, View
from tracejit.llvm.target import Target
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.types import MEMORY_TYPES, literal
from tracejit.locks import importing
from tracejit.memory import ALIGNMENT

# Calls in one function: the time that instruction selection takes grows faster than a block's length.
_PART = 64
_CYCLES = "  %{name} = call i64 @llvm.readcyclecounter()"


class Module(NamedTuple):
    """A module's text, the entry's name, the node of each call that can fail, by its status, and whether it calls the pool."""

    text: str
    entry: str
    failing: dict[int, Node]
    parallel: bool


def emit(plan: Plan, target: Target, *, timed: bool = False) -> Module:
    """The module of `plan` for `target`. Where it is `timed` the array of pointers ends with one to a number a call, the
    cycles that it took."""
    name = f"tracejit_{plan.graph.name}"
    kernels, lines = _kernels(plan, target, name)
    numbered = map(WrittenCall, range(len(kernels)), plan.calls, kernels)
    calls = [call for call in numbered if call.kernel.lines]
    written = list(dict.fromkeys(call.kernel for call in calls))
    divided = [kernel for kernel in written if kernel.chunks is not None]
    declarations = {line for kernel in written for line in kernel.declarations}
    if timed:
        declarations.add("declare i64 @llvm.readcyclecounter()")
    if divided:
        declarations.add(f"declare i32 @{PARALLEL}(ptr, ptr, i64)")
    functions = [lines[kernel] + kernel.text() for kernel in written] + [_share(kernel) for kernel in divided]
    constants = [_constant(buffer) for buffer in plan.constants]
    attributes = f'attributes #0 = {{ nounwind "prefer-vector-width"="{target.machine.width * 8}" }}'
    parts = _entry(plan, name, calls, timed)
    text = "\n\n".join([*sorted(declarations), *constants, *functions, *parts, attributes, ""])
    failing = {each.number + 1: each.call.node for each in calls if each.kernel.can_fail and each.call.node is not None}
    return Module(text, name, failing, bool(divided))


class WrittenCall(NamedTuple):
    """Call `number` of a plan, which `kernel` computes."""

    number: int
    call: KernelCall
    kernel: KernelBuilder


def _kernels(plan: Plan, target: Target, name: str) -> tuple[list[KernelBuilder], dict[KernelBuilder, str]]:
    """(The kernel of each call, written; for each the user's lines, as comments.) One serves all calls that compute alike."""
    by_key: dict[Hashable, KernelBuilder] = {}
    lines: dict[KernelBuilder, dict[str, None]] = {}
    kernels = []
    for number, call in enumerate(plan.calls):
        key = call.key
        if key not in by_key:
            by_key[key] = _kernel(call, f"{name}.{number}.{call.node.op.name if call.node else 'copy'}", target)
        kernel = by_key[key]
        own = lines.setdefault(kernel, {})
        if call.node is not None and call.node.location:
            own[f"; {call.node.location}\n"] = None
        kernels.append(kernel)
    return kernels, {kernel: "".join(own) for kernel, own in lines.items()}


def _entry(plan: Plan, name: str, calls: Sequence[WrittenCall], timed: bool) -> list[str]:
    """The entry, which makes the `calls`; where they are many, after the functions that make them a part each."""
    parts = [_part(plan, list(part), timed) for _, part in itertools.groupby(calls, lambda call: call.number // _PART)]
    if len(parts) < 2:
        return [_function(name, parts[0] if parts else [])]
    numbers = range(len(parts))
    return [
        *(_function(f"{name}.part{number}", parts[number], "internal ") for number in numbers),
        _function(name, [_call(number, f"{name}.part{number}(ptr %arguments)", f"%s{number}") for number in numbers]),
    ]


def _part(plan: Plan, calls: Sequence[WrittenCall], timed: bool) -> list[str]:
    """The lines that make the calls."""
    pointers = _Pointers(plan)
    lines: list[str] = []
    for number, call, kernel in calls:
        arguments = [pointers.of(view) for view in call.views]
        status = f"{number + 1}" if kernel.can_fail else None
        if timed:
            lines.append(_CYCLES.format(name=f"before.{number}"))
        if kernel.chunks is None:
            lines.append(_call(number, f"{kernel.name}({', '.join(f'ptr {argument}' for argument in arguments)})", status))
        else:
            lines += pointers.passed(number, arguments)
            lines.append(_call(number, f"{PARALLEL}(ptr @{_shared(kernel)}, ptr %spread, i64 {kernel.chunks})", status))
        if timed:
            lines += pointers.took(number)
    return [*pointers.allocated(), *pointers.lines, *lines]


def _function(name: str, lines: list[str], linkage: str = "") -> str:
    return f"define {linkage}i32 @{name}(ptr %arguments) #0 {{\nstart:\n" + "\n".join([*lines, "  ret i32 0", "}"])


def _call(number: int, called: str, status: str | None) -> str:
    """The text of a call, and of the way out with `status` where it fails."""
    call = f"  %s{number} = call i32 @{called}"
    if status is None:
        return call
    branch = f"  %f{number} = icmp ne i32 %s{number}, 0\n  br i1 %f{number}, label %fail{number}, label %go{number}"
    return f"{call}\n{branch}\nfail{number}:\n  ret i32 {status}\ngo{number}:"


def _shared(kernel: KernelBuilder) -> str:
    """The name, in quotes as the kernel's own is, of what the pool calls."""
    return f'{kernel.name[:-1]}.share"'


def _share(kernel: KernelBuilder) -> str:
    """What a thread calls: the kernel, with its pointers taken from an array."""
    lines = []
    for number in range(len(kernel.parameters)):
        lines.append(f"  %slot.{number} = getelementptr inbounds ptr, ptr %arguments, i64 {number}")
        lines.append(f"  %p.{number} = load ptr, ptr %slot.{number}, align 8")
    pointers = "".join(f"ptr %p.{number}, " for number in range(len(kernel.parameters)))
    lines.append(f"  %status = call i32 @{kernel.name}({pointers}i64 %first, i64 %last)")
    head = f"define internal i32 @{_shared(kernel)}(ptr %arguments, i64 %first, i64 %last) #0 {{\nstart:"
    return "\n".join([head, *lines, "  ret i32 %status", "}"])


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
        Array(view.shape, view.strides, view.offset, view.dtype, f"%{each}", place < first and call.nontemporal[place])
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


class _Pointers:
    """The entry's pointers, each loaded once."""

    def __init__(self, plan: Plan):
        self.lines: list[str] = []
        self._names: dict[Buffer, str] = {}
        self._arena_loaded = False
        self._most_spread = 0
        graph = plan.graph
        self._slots = {
            "parameter": 0,
            "result": len(graph.parameters),
            "arena": len(graph.parameters) + len(graph.results),
        }
        self._offsets = plan.arena.offsets
        self._cycles_loaded = False

    def of(self, view: View) -> str:
        buffer = view.buffer
        if buffer.kind == "constant":
            return f"@constant.{buffer.index}"
        if buffer not in self._names:
            name = f"%{buffer.kind}.{buffer.index}"
            if buffer.kind == "arena":
                if not self._arena_loaded:
                    self._load("%arena", self._slots["arena"])
                    self._arena_loaded = True
                name = f"%arena.{len(self._names)}"  # two buffers may lie at one offset, at different times
                self.lines.append(f"  {name} = getelementptr inbounds i8, ptr %arena, i64 {self._offsets[buffer]}")
            else:
                self._load(name, self._slots[buffer.kind] + buffer.index)
            self._names[buffer] = name
        return self._names[buffer]

    def passed(self, number: int, arguments: list[str]) -> list[str]:
        """The lines that put the arguments of call `number` into the array `%spread`."""
        self._most_spread = max(self._most_spread, len(arguments))
        lines = []
        for place, argument in enumerate(arguments):
            lines.append(f"  %spread.{number}.{place} = getelementptr inbounds ptr, ptr %spread, i64 {place}")
            lines.append(f"  store ptr {argument}, ptr %spread.{number}.{place}, align 8")
        return lines

    def took(self, number: int) -> list[str]:
        """The lines that note how many cycles call `number` took."""
        if not self._cycles_loaded:
            self._load("%cycles", self._slots["arena"] + 1)
            self._cycles_loaded = True
        return [
            _CYCLES.format(name=f"after.{number}"),
            f"  %took.{number} = sub i64 %after.{number}, %before.{number}",
            f"  %cycles.{number} = getelementptr inbounds i64, ptr %cycles, i64 {number}",
            f"  store i64 %took.{number}, ptr %cycles.{number}, align 8",
        ]

    def allocated(self) -> list[str]:
        """The line that makes that array, for whichever call has the most arguments."""
        return [f"  %spread = alloca [{self._most_spread} x ptr], align 8"] if self._most_spread else []

    def _load(self, name: str, slot: int) -> None:
        place = f"%slot.{slot}"
        self.lines.append(f"  {place} = getelementptr inbounds ptr, ptr %arguments, i64 {slot}")
        self.lines.append(f"  {name} = load ptr, ptr {place}, align 8")


def _constant(buffer: Buffer) -> str:
    array = np.asarray(buffer.data)
    dtype = array_type(array).dtype
    element = MEMORY_TYPES[dtype]
    if dtype.is_bool or dtype.is_half:
        array = array.view(f"u{dtype.size}")
        items = [f"{element} {int(item)}" for item in array.reshape(-1).tolist()]
    else:
        items = [f"{element} {literal(item, dtype)}" for item in array.reshape(-1).tolist()]
    return f"@constant.{buffer.index} = private constant [{len(items)} x {element}] [{', '.join(items)}], align {ALIGNMENT}"
