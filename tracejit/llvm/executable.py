"""A traced graph as machine code: what a call has to know of it, from the cache or made anew.

Where the cache has the code, no pass runs, nothing is planned and nothing is written: of the compilation nothing is asked.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from tracejit.compilation import Compilation
from tracejit.ir import Graph, Node, errors
from tracejit.ir.graph import structure
from tracejit.ir.location import Location
from tracejit.llvm.machine import cache, host, pool
from tracejit.llvm.machine.blas import blas_symbols
from tracejit.llvm.machine.blob import BadBlob, Blob
from tracejit.llvm.machine.loader import load
from tracejit.llvm.machine.units import Unit, compile_units

# What `Op.runtime_error` may give; a header names one of them.
_ERRORS: dict[str, type[Exception]] = {
    each.__name__: each for each in (errors.InvalidArgumentError, errors.DtypeError, errors.IndexOutOfRangeError)
}
_MOST_BYTES = 1 << 48


class Failure(NamedTuple):
    """The error of a status that is not 0. `location` is None where the trace has no line for it."""

    error: type[Exception]
    op: str
    types: tuple[str, ...]
    message: str
    location: Location | None


class _Facts(NamedTuple):
    """What a call has to know of the machine code besides the code: what the header of a cache entry holds."""

    entry: str
    arena_bytes: int
    peak_bytes: int
    temporaries_bytes: int
    optimized_nodes: int
    seconds: float
    parallel: bool
    failing: dict[int, Failure]


class Executable:
    """The machine code of a traced graph.

    address           of the function: `i32 (ptr pointers)`, which needs no interpreter's lock
    arena_bytes, peak_bytes, temporaries_bytes, seconds   of the plan
    optimized_nodes   how many nodes the optimized graph has
    parallel          whether it has kernels that the pool's threads share
    failing           the error of each status that is not 0
    cause             "cache hit", or why the code was made anew
    """

    def __init__(self, compilation: Compilation, *, use_cache: bool = True):
        self.compilation = compilation
        description, locations = describe(compilation.traced)
        key = None
        if not use_cache:
            self.cause = "cache unused: the graph is optimized already"
        elif os.environ.get("TRACEJIT_CHECK") == "1":
            self.cause = "cache off: TRACEJIT_CHECK=1"
        else:
            key = host.key("graph", tuple(compilation.target), description)
            found = cache.get(key)
            self.cause = found.cause
            if found.header is not None:
                try:
                    self._adopt(_facts(found.header, locations), Blob.from_bytes(found.code))
                    return
                except (_BadHeader, BadBlob, RuntimeError) as error:  # RuntimeError: of code that does not link
                    self.cause = f"cache miss: {error}"
        module = compilation.module
        (blob,) = compile_units([Unit((module.entry,), module.text)])
        header = self._header(locations)
        self._adopt(_facts(header, locations), blob)
        if key is not None and (unkept := cache.put(key, header, blob.to_bytes())) not in ("", self.cause):
            self.cause += f"; not kept: {unkept}"

    def _adopt(self, facts: _Facts, blob: Blob) -> None:
        symbols = {**blas_symbols(), **pool.symbols()} if facts.parallel else blas_symbols()
        if facts.entry not in blob.exports:
            raise BadBlob("the entry is not in the code")
        addresses, self._library = load([blob], symbols)
        self.address = addresses[facts.entry]
        self.arena_bytes, self.peak_bytes = facts.arena_bytes, facts.peak_bytes
        self.temporaries_bytes = facts.temporaries_bytes
        self.optimized_nodes, self.seconds, self.failing = facts.optimized_nodes, facts.seconds, facts.failing
        self.parallel = facts.parallel

    def _header(self, locations: list[Location]) -> dict[str, Any]:
        plan, module = self.compilation.plan, self.compilation.module
        return {
            "entry": module.entry,
            "arena_bytes": plan.arena_bytes,
            "peak_bytes": plan.peak_bytes,
            "temporaries_bytes": plan.temporaries_bytes,
            "optimized_nodes": len(self.compilation.optimized.nodes),
            "seconds": float(plan.seconds),
            "parallel": module.parallel,
            "failing": [_failing(status, node, locations) for status, node in module.failing.items()],
        }


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


# -- the header of an entry


class _BadHeader(Exception):
    """A header does not hold what it must; the text says what is wrong."""


def _failing(status: int, node: Node, locations: list[Location]) -> list[Any]:
    assert node.op.runtime_error is not None
    types = [operand.type for operand in node.operands]
    error, op, message = node.op.runtime_error(types, **node.attrs)
    where = locations.index(node.location) if node.location in locations else None
    return [status, error.__name__, op, [str(each) for each in types], message, where]


def _facts(header: dict[str, Any], locations: list[Location]) -> _Facts:
    """What a header says, all of it checked. _BadHeader where it cannot be."""
    if header.keys() != set(_Facts._fields):
        raise _BadHeader("the header of the entry has other fields")
    for field in ("arena_bytes", "peak_bytes", "temporaries_bytes", "optimized_nodes"):
        _require(type(header[field]) is int and 0 <= header[field] < _MOST_BYTES, field)
    _require(type(header["entry"]) is str and header["entry"], "entry")
    _require(type(header["seconds"]) is float and 0.0 <= header["seconds"] < math.inf, "seconds")
    _require(type(header["parallel"]) is bool, "parallel")
    _require(type(header["failing"]) is list, "failing")
    failing = {}
    for each in header["failing"]:
        _require(type(each) is list and len(each) == 6, "failing")
        status, error, op, types, message, where = each
        _require(type(status) is int and 0 < status < 1 << 31 and status not in failing, "failing")
        _require(type(error) is str and error in _ERRORS and type(op) is str and type(message) is str, "failing")
        _require(type(types) is list and all(type(kind) is str for kind in types), "failing")
        _require(where is None or (type(where) is int and 0 <= where < len(locations)), "failing")
        failing[status] = Failure(_ERRORS[error], op, tuple(types), message, None if where is None else locations[where])
    return _Facts(**(header | {"failing": failing}))


def _require(condition: Any, field: str) -> None:
    if not condition:
        raise _BadHeader(f"the header of the entry has a wrong {field}")
