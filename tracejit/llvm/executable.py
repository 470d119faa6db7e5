"""A traced graph as machine code: what a call has to know of it, from the cache or made anew.

Where the cache has the graph and its kernels, no pass runs, nothing is planned and nothing is written: of the compilation
nothing is asked.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tracejit.compilation import Compilation
from tracejit.ir import Graph, Node, errors
from tracejit.ir.graph import structure
from tracejit.ir.location import Location
from tracejit.llvm.entry import Table
from tracejit.llvm.linking import Written, link
from tracejit.llvm.machine import cache, host
from tracejit.llvm.machine.blob import BadBlob, Blob
from tracejit.memory import empty

# What `Op.runtime_error` may give; an entry names one of them.
_ERRORS: dict[str, type[Exception]] = {
    each.__name__: each for each in (errors.InvalidArgumentError, errors.DtypeError, errors.IndexOutOfRangeError)
}
_MOST_BYTES = 1 << 48
_KERNEL = re.compile(r"[a-z0-9_]+\.[0-9a-f]{32}")


class Failure(NamedTuple):
    """The error of a status that is not 0. `location` is None where the trace has no line for it."""

    error: type[Exception]
    op: str
    types: tuple[str, ...]
    message: str
    location: Location | None


class _Facts(NamedTuple):
    """What a call has to know of a graph besides the code of its kernels: what a cache entry holds."""

    table: Table
    entry: Blob | None  # what makes the calls, where it makes these alone and is known
    constants: np.ndarray
    arena_bytes: int
    peak_bytes: int
    temporaries_bytes: int
    optimized_nodes: int
    seconds: float
    failing: dict[int, Failure]


class Executable:
    """The machine code of a traced graph.

    address           of the function: `i32 (ptr pointers)`, which needs no interpreter's lock; `pointers` to the parameters,
                      the results, the arena and the constants
    table, linked     the calls that it makes, and the kernels
    constants         the bytes of all of them
    arena_bytes, peak_bytes, temporaries_bytes, seconds   of the plan
    optimized_nodes   how many nodes the optimized graph has
    parallel          whether it has kernels that the pool's threads share
    failing           the error of each status that is not 0
    cause             "cache hit", or why the graph is not from the cache
    spent             the seconds of each stage that had to be gone through
    """

    def __init__(self, compilation: Compilation, *, use_cache: bool = True):
        self.compilation = compilation
        description, locations = describe(compilation.traced)
        facts, linked, key = None, None, None
        if not use_cache:
            cause = "cache unused: the graph is optimized already"
        elif os.environ.get("TRACEJIT_CHECK") == "1":
            cause = "cache off: TRACEJIT_CHECK=1"
        else:
            key = host.key("graph", tuple(compilation.target), description)
            found = cache.get(key)
            cause = found.cause
            if found.header is not None:
                try:
                    facts = _facts(found.header, found.code, compilation.traced, locations)
                    linked = link(facts.table, facts.entry, self._write, use_cache=True)
                except (_BadEntry, _OtherKernels) as error:
                    cause = f"cache miss: {error}"
        unkept = ""
        if facts is None or linked is None:
            facts = _planned(compilation)
            linked = link(facts.table, None, self._write, use_cache=key is not None)
            if key is not None:
                unkept = cache.put(key, *_entry(facts._replace(entry=linked.entry), locations))
        unkept = linked.unkept or unkept
        self.cause = cause if unkept in ("", cause) else f"{cause}; not kept: {unkept}"
        self.table, self.constants, self.linked = facts.table, facts.constants, linked
        self.address, self.parallel = linked.address, linked.parallel
        self.arena_bytes, self.peak_bytes, self.temporaries_bytes = facts.arena_bytes, facts.peak_bytes, facts.temporaries_bytes
        self.optimized_nodes, self.seconds, self.failing = facts.optimized_nodes, facts.seconds, facts.failing
        self.spent = {**compilation.spent, "LLVM": linked.seconds}

    def _write(self, names: Sequence[str]) -> Sequence[Written]:
        if not self.compilation.program.calls.keys() >= set(names):
            raise _OtherKernels("the entry is of other kernels")
        return self.compilation.write(names)

    def describe(self) -> str:
        """How many kernels there are, where their code came from, and which stages took how long."""
        counts = self.linked.counts
        ways = [f"{number} {way}" for way, number in zip(counts._fields[1:], counts[1:], strict=True) if number]
        kernels = f"{counts.kernels} kernel{'' if counts.kernels == 1 else 's'}: {', '.join(ways) or 'none to call'}"
        took = ", ".join(f"{stage} {seconds * 1e3:.1f}" for stage, seconds in self.spent.items() if seconds)
        return f"{kernels} ({took} ms)" if took else kernels


def _planned(compilation: Compilation) -> _Facts:
    """The facts of a graph that goes through all stages."""
    plan, program = compilation.plan, compilation.program
    return _Facts(
        program.table, None, program.constants, plan.arena_bytes, plan.peak_bytes, plan.temporaries_bytes,
        len(compilation.optimized.nodes), float(plan.seconds),
        {status: _failure(node) for status, node in program.failing.items()},
    )  # fmt: skip


def _failure(node: Node) -> Failure:
    assert node.op.runtime_error is not None
    types = [operand.type for operand in node.operands]
    error, op, message = node.op.runtime_error(types, **node.attrs)
    return Failure(error, op, tuple(map(str, types)), message, node.location)


# -- a graph without what its code does not depend on


def describe(graph: Graph) -> tuple[Any, list[Location]]:
    """(`graph` as what a key is made of, equal where the code is equal; the locations that the description numbers).

    Names are left out, since the name of an unnamed variable counts the variables before
    it; of locations it holds only which are the same, so that a function that is moved in its file has the same code.
    """
    numbers: dict[Location, int] = {}
    places = [numbers.setdefault(place, len(numbers)) if place is not None else None for place in _locations(graph)]
    return (structure(graph), tuple(places)), list(numbers)


def _locations(graph: Graph) -> Iterator[Location | None]:
    for node in (*graph.parameters, *graph.nodes):
        yield node.location
        for attr in node.attrs.values():
            if isinstance(attr, Graph):
                yield from _locations(attr)


# -- the entry of a graph


class _BadEntry(Exception):
    """An entry does not hold what it must; the text says what is wrong."""


class _OtherKernels(Exception):
    """A graph does not call what an entry says."""


_NUMBERS = ("arena_bytes", "peak_bytes", "temporaries_bytes", "optimized_nodes", "seconds")
_WORD = np.dtype("<i8")


def _entry(facts: _Facts, locations: list[Location]) -> tuple[dict[str, Any], bytes]:
    """The header and the bytes of an entry: the calls, their operands, what makes them, and the constants."""
    own = facts.entry.to_bytes() if facts.entry is not None else b""
    header: dict[str, Any] = {field: getattr(facts, field) for field in _NUMBERS}
    header |= {
        "kernels": list(facts.table.kernels), "calls": len(facts.table.calls), "operands": len(facts.table.operands),
        "entry": len(own),
    }  # fmt: skip
    header["failing"] = [
        [
            status, failure.error.__name__, failure.op, list(failure.types), failure.message,
            locations.index(failure.location) if failure.location in locations else None,
        ]
        for status, failure in facts.failing.items()
    ]  # fmt: skip
    table = facts.table.calls.astype(_WORD).tobytes() + facts.table.operands.astype(_WORD).tobytes()
    return header, table + own + facts.constants.tobytes()


def _facts(header: dict[str, Any], code: bytes, graph: Graph, locations: list[Location]) -> _Facts:
    """What an entry says, all of it checked. _BadEntry where it cannot be."""
    if header.keys() != {*_NUMBERS, "kernels", "calls", "operands", "entry", "failing"}:
        raise _BadEntry("the header of the entry has other fields")
    for field in ("arena_bytes", "peak_bytes", "temporaries_bytes", "optimized_nodes", "calls", "operands", "entry"):
        _require(type(header[field]) is int and 0 <= header[field] < _MOST_BYTES, field)
    _require(type(header["seconds"]) is float and 0.0 <= header["seconds"] < math.inf, "seconds")
    names = header["kernels"]
    _require(type(names) is list and all(type(name) is str and _KERNEL.fullmatch(name) for name in names), "kernels")
    _require(len(set(names)) == len(names), "kernels")
    ends = list(itertools.accumulate([16 * header["calls"], 16 * header["operands"], header["entry"]]))
    _require(ends[-1] <= len(code), "size")
    calls, operands = (
        np.frombuffer(part, _WORD).astype(np.int64).reshape(-1, 2) for part in (code[: ends[0]], code[ends[0] : ends[1]])
    )
    constants = empty((len(code) - ends[2],), np.uint8)
    constants[...] = np.frombuffer(code[ends[2] :], np.uint8)
    table = Table(tuple(names), calls, operands)
    _check_table(table, [*_sizes(graph), header["arena_bytes"], len(constants)])
    numbers = {field: header[field] for field in _NUMBERS}
    return _Facts(
        table, _own_entry(table, code[ends[1] : ends[2]]), constants, **numbers,
        failing=_failures(header["failing"], len(calls), locations),
    )  # fmt: skip


def _own_entry(table: Table, code: bytes) -> Blob | None:
    _require(table.walked == (not code), "entry")
    try:
        found = Blob.from_bytes(code) if code else None
    except BadBlob as error:
        raise _BadEntry(str(error)) from None
    _require(found is None or len(found.exports) == 1, "entry")
    return found


def _sizes(graph: Graph) -> list[int]:
    return [value.type.nbytes for value in (*graph.parameters, *graph.results)]  # type: ignore[union-attr]


def _check_table(table: Table, sizes: Sequence[int]) -> None:
    """_BadEntry where a call is not of a kernel of the table's, or takes what is none of the arguments, which have these
    `sizes`, or a place outside of one."""
    kernel, count = table.calls.T
    _require(((kernel >= 0) & (kernel < len(table.kernels))).all() and (count > 0).all(), "calls")
    _require(int(count.sum()) == len(table.operands), "operands")
    place, offset = table.operands.T
    _require(((place >= 0) & (place < len(sizes))).all(), "operands")
    _require(((offset >= 0) & (offset <= np.array(sizes, np.int64)[place])).all(), "operands")


def _failures(failing: Any, calls: int, locations: list[Location]) -> dict[int, Failure]:
    _require(type(failing) is list, "failing")
    found: dict[int, Failure] = {}
    for each in failing:
        _require(type(each) is list and len(each) == 6, "failing")
        status, error, op, types, message, where = each
        _require(type(status) is int and 0 < status <= calls and status not in found, "failing")
        _require(type(error) is str and error in _ERRORS and type(op) is str and type(message) is str, "failing")
        _require(type(types) is list and all(type(kind) is str for kind in types), "failing")
        _require(where is None or (type(where) is int and 0 <= where < len(locations)), "failing")
        found[status] = Failure(_ERRORS[error], op, tuple(types), message, None if where is None else locations[where])
    return found


def _require(condition: Any, field: str) -> None:
    if not condition:
        raise _BadEntry(f"the header of the entry has a wrong {field}")
