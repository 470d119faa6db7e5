"""A graph's calls as a table of numbers, and the functions that make them.

One walks any table, where calls are many; of few, there is one that makes these alone. Either is `i32 name(ptr arguments)`: an
array of pointers, to the parameters, then the results, the arena and the constants. It returns 0, or the number of the call
that failed, counted from 1. A kernel takes an array of pointers, one a view, each to the view's first element; one that is
divided is called by the pool (tracejit.llvm.machine.pool), a share of its chunks by each thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tracejit.llvm.machine.pool import PARALLEL
from tracejit.llvm.machine.units import Unit

# Where the table lies that a walker walks: each graph has a copy of the walker, for which this is another.
TABLE = "tracejit.table"
# What it begins with: the most pointers, the pool, where the calls begin and end and the operands begin, where cycles go.
_HEAD = 6
# A graph of at most so many calls has a function of its own, compiled at level 0: a call of a small kernel takes 1.8 ns so and
# 3.5 to 12 by the walker, and 0.1 ms to compile.
_OWN_CALLS = 8


class Table(NamedTuple):
    """The calls of a graph, in order. `calls` has a row a call: the number of its kernel in `kernels`, and of how many of the
    rows of `operands` it takes its pointers, which follow those of the call before: the argument's number, and bytes."""

    kernels: tuple[str, ...]
    calls: np.ndarray
    operands: np.ndarray

    @property
    def most(self) -> int:
        """The most pointers of a call."""
        return int(self.calls[:, 1].max(initial=0))

    @property
    def words(self) -> int:
        """How much memory it takes, as the walkers read it."""
        return _HEAD + 3 * len(self.calls) + 2 * len(self.operands)

    @property
    def walked(self) -> bool:
        """Whether it is walked, since it has many calls."""
        return len(self.calls) > _OWN_CALLS


def fill(
    memory: np.ndarray, table: Table, addresses: Sequence[int], chunks: Sequence[int], parallel: int, cycles: int = 0
) -> None:
    """Write a table as the walkers read it to `memory`, i64 of as many `words` as it takes: its kernels lie at `addresses` and
    have so many `chunks`, 0 where they are not divided; the pool is called at `parallel`. Argument number `cycles` is where a
    timed walker writes to."""
    number, count = table.calls[:, 0], table.calls[:, 1]
    calls = np.stack([np.array(addresses, np.int64)[number], np.array(chunks, np.int64)[number], count], 1)
    first = memory.ctypes.data + memory.itemsize * _HEAD
    memory[:_HEAD] = table.most, parallel, first, first + calls.nbytes, first + calls.nbytes, cycles
    memory[_HEAD : _HEAD + calls.size] = calls.reshape(-1)
    memory[_HEAD + calls.size :] = table.operands.reshape(-1)


def walker(timed: bool = False) -> Unit:
    """The function that walks the table `TABLE`; where it is `timed` one that notes the cycles of each call."""
    name = "tracejit.timed" if timed else "tracejit.walker"
    shared = {f"@{TABLE} = external global [{_HEAD} x i64]", *(["declare i64 @llvm.readcyclecounter()"] if timed else [])}
    before = "  %before = call i64 @llvm.readcyclecounter()\n" if timed else ""
    text = f"""define i32 @{name}(ptr %arguments) nounwind {{
start:
  %most = load i64, ptr @{TABLE}, align 8
  %pointers = alloca ptr, i64 %most, align 8
{_fields("TABLE", ("parallel", "ptr"), ("calls", "ptr"), ("end", "ptr"), ("operands", "ptr"), ("slot", "i64"))}
  %some = icmp ult ptr %calls, %end
  br i1 %some, label %one, label %done
one:
  %call = phi ptr [ %calls, %start ], [ %next, %through ]
  %first = phi ptr [ %operands, %start ], [ %last, %through ]
  %number = phi i32 [ 1, %start ], [ %following, %through ]
  %function = load ptr, ptr %call, align 8
{_fields("call", ("chunks", "i64"), ("count", "i64"))}
  %last = getelementptr inbounds [2 x i64], ptr %first, i64 %count
  br label %pass
pass:
  %from = phi ptr [ %first, %one ], [ %from.next, %pass ]
  %to = phi ptr [ %pointers, %one ], [ %to.next, %pass ]
  %argument = load i64, ptr %from, align 8
{_fields("from", ("offset", "i64"))}
  %base.place = getelementptr inbounds ptr, ptr %arguments, i64 %argument
  %base = load ptr, ptr %base.place, align 8
  %pointer = getelementptr inbounds i8, ptr %base, i64 %offset
  store ptr %pointer, ptr %to, align 8
  %from.next = getelementptr inbounds [2 x i64], ptr %from, i64 1
  %to.next = getelementptr inbounds ptr, ptr %to, i64 1
  %more = icmp ult ptr %from.next, %last
  br i1 %more, label %pass, label %run
run:
{before}  %is.whole = icmp eq i64 %chunks, 0
  br i1 %is.whole, label %whole, label %divided
whole:
  %of.whole = call i32 %function(ptr %pointers)
  br label %ran
divided:
  %of.divided = call i32 %parallel(ptr %function, ptr %pointers, i64 %chunks)
  br label %ran
ran:
  %status = phi i32 [ %of.whole, %whole ], [ %of.divided, %divided ]
{_took() if timed else ""}  %failed = icmp ne i32 %status, 0
  br i1 %failed, label %fail, label %through
through:
  %next = getelementptr inbounds [3 x i64], ptr %call, i64 1
  %following = add i32 %number, 1
  %again = icmp ult ptr %next, %end
  br i1 %again, label %one, label %done
fail:
  ret i32 %number
done:
  ret i32 0
}}"""
    return Unit((name,), text, frozenset(shared))


def _fields(of: str, *names: tuple[str, str]) -> str:
    """Loads of what follows the first 8 bytes at a place."""
    place = f"@{TABLE}" if of == "TABLE" else f"%{of}"
    lines = []
    for number, (name, kind) in enumerate(names, 1):
        lines.append(f"  %{name}.place = getelementptr inbounds i64, ptr {place}, i64 {number}")
        lines.append(f"  %{name} = load {kind}, ptr %{name}.place, align 8")
    return "\n".join(lines)


def _took() -> str:
    return """  %after = call i64 @llvm.readcyclecounter()
  %took = sub i64 %after, %before
  %cycles.place = getelementptr inbounds ptr, ptr %arguments, i64 %slot
  %cycles = load ptr, ptr %cycles.place, align 8
  %cycles.end = getelementptr inbounds i64, ptr %cycles, i32 %number
  %own.cycles = getelementptr inbounds i64, ptr %cycles.end, i64 -1
  store i64 %took, ptr %own.cycles, align 8
"""


def own_entry(table: Table, chunks: Mapping[str, int | None]) -> Unit:
    """The function that makes the calls of one table, of whose kernels each has so many `chunks`, None where it is not
    divided. Its name says what it does."""
    lines = [f"  %pointers = alloca [{max(table.most, 1)} x ptr], align 8"]
    places = sorted(set(table.operands[:, 0].tolist()))
    for place in places:
        lines.append(f"  %place.{place} = getelementptr inbounds ptr, ptr %arguments, i64 {place}")
        lines.append(f"  %argument.{place} = load ptr, ptr %place.{place}, align 8")
    declarations = set()
    operands = iter(table.operands.tolist())
    for number, (kernel, count) in enumerate(table.calls.tolist()):
        for position in range(count):
            place, offset = next(operands)
            source, target = f"%argument.{place}", f"%to.{number}.{position}"
            if offset:
                lines.append(f"  %from.{number}.{position} = getelementptr inbounds i8, ptr {source}, i64 {offset}")
                source = f"%from.{number}.{position}"
            lines.append(f"  {target} = getelementptr inbounds ptr, ptr %pointers, i64 {position}")
            lines.append(f"  store ptr {source}, ptr {target}, align 8")
        symbol = f'@"{table.kernels[kernel]}"'
        pieces = chunks[table.kernels[kernel]]
        if pieces is None:
            declarations.add(f"declare i32 {symbol}(ptr)")
            lines.append(f"  %status.{number} = call i32 {symbol}(ptr %pointers)")
        else:
            declarations |= {f"declare i32 {symbol}(ptr, i64, i64)", f"declare i32 @{PARALLEL}(ptr, ptr, i64)"}
            lines.append(f"  %status.{number} = call i32 @{PARALLEL}(ptr {symbol}, ptr %pointers, i64 {pieces})")
        lines.append(f"  %failed.{number} = icmp ne i32 %status.{number}, 0")
        lines.append(f"  br i1 %failed.{number}, label %fail.{number}, label %through.{number}")
        lines.append(f"fail.{number}:\n  ret i32 {number + 1}\nthrough.{number}:")
    body = "\n".join(lines)
    name = f"entry.{hashlib.sha256(body.encode()).hexdigest()[:32]}"
    text = f'define i32 @"{name}"(ptr %arguments) nounwind {{\nstart:\n{body}\n  ret i32 0\n}}'
    return Unit((name,), text, frozenset(declarations))
