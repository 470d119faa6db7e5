"""The memory that the native call path reads: structures of words, and how Python fills them.

A field's name means one offset in all structures, since the language of the call path knows fields by name alone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from tracejit.llvm.machine.words import Field
from tracejit.memory import ALIGNED_FROM, ALIGNMENT

# The words of each structure in order; "" is a word that the structure does not use.
STRUCTURES: dict[str, tuple[str, ...]] = {
    "function": ("refcount", "type", "vectorcall", "dict", "weakrefs", "records", "bound"),
    "bound": ("refcount", "type", "vectorcall", "function", "instance", "bound_weakrefs"),
    "record": (
        "next", "npositional", "nkeywords", "keywords", "nodes", "nodes_end", "variables", "variables_end", "arrays",
        "arrays_end", "program", "holder",
    ),
    "node": ("kind", "expected", "other", "count", "items", "first"),
    "bind": ("kind", "", "other", "count", "items", "slot", "variable", "node", "updated"),
    "program": (
        "entry", "frames", "slots", "long", "watches", "results", "results_end", "structure", "fail", "stale",
    ),
    "result": ("", "expected", "other", "count", "items", "slot", "pool", "made_arrays", "oldest", "nd_of_result", "bytes"),
    "watches": ("last_watch",),
    "watch": ("kind", "watched", "value", "count", "names", "values", "version", "whole"),
    "frame": ("next_frame",),
    "state": (
        "interpreted", "held", "waiting", "notify", "none", "miss", "method_of", "new_tuple", "bound_class", "bound_call",
        "tensor_class", "variable_class", "array_class", "float_class", "dict_class", "str_class", "int_class", "byte_descr",
        "new_from_descr", "set_base", "dict_versions",
    ),
}  # fmt: skip

# What a function has after its fields: (instance, its function) by some bits of the instance's address.
INSTANCES = 8

KINDS = (
    "TENSOR", "ARRAY", "SCALAR", "VARIABLE", "SAME", "EQUAL", "FLOAT", "TUPLE", "LIST", "DICT", "CONSTANT", "CAPTURED", "CELL",
    "NAMES", "OBJECT", "BASES", "LEAF", "NOTHING",
)  # fmt: skip
KIND = {name: number for number, name in enumerate(KINDS)}

MOST_NODES = MOST_RESULTS = 2000
_ARRAY_FLAGS = {"C": 1, "ALIGNED": 0x100, "WRITEABLE": 0x400}
READABLE = _ARRAY_FLAGS["C"] | _ARRAY_FLAGS["ALIGNED"]

CONSTANTS: dict[str, int] = {
    **KIND,
    "MISS": 1,  # no object lies at these addresses
    "AGAIN": 2,
    "ATTEMPTS": 100,
    "POSITIONAL": (1 << 63) - 1,
    "PY_EQ": 2,
    "TUPLE_ITEMS": 24,
    "SCALAR_VALUE": 16,
    "READABLE": READABLE,
    "WRITABLE": READABLE | _ARRAY_FLAGS["WRITEABLE"],
    "ALIGNMENT": ALIGNMENT,
    "ALIGNED_FROM": ALIGNED_FROM,
    "MOST_NODES": MOST_NODES,
    "MOST_RESULTS": MOST_RESULTS,
    "INSTANCES": INSTANCES,
    "FUNCTION_INSTANCES": 8 * len(STRUCTURES["function"]),
    "FRAME_POINTERS": 8 * len(STRUCTURES["frame"]),
    **{f"{name.upper()}_SIZE": 8 * len(fields) for name, fields in STRUCTURES.items()},
}

# Fields of CPython's and NumPy's objects, on a 64-bit machine.
_FOREIGN = {
    "size": Field(16), "list_items": Field(24), "cell_value": Field(16), "float_value": Field(16), "dict_version": Field(24),
    "data": Field(16), "nd": Field(24, 32), "dims": Field(32), "base": Field(48), "descr": Field(56), "flags": Field(64, 32),
}  # fmt: skip


def fields() -> dict[str, Field]:
    """All fields but those of tensors and variables, which depend on how Python lays out slots."""
    found = dict(_FOREIGN)
    for name, words in STRUCTURES.items():
        for index, word in enumerate(words):
            if word and found.setdefault(word, Field(8 * index)) != Field(8 * index):
                raise AssertionError(f"the field {word} of {name} has another offset elsewhere")
    return found


class Memory:
    """Words at a fixed address. What they point to has to be kept alive as long: `keep` holds it."""

    __slots__ = ("__weakref__", "address", "keep", "words")

    def __init__(self, words: Sequence[int], keep: Any = None):
        self.words = (ctypes.c_int64 * len(words))(*words)
        self.address = ctypes.addressof(self.words)
        self.keep = keep

    @property
    def end(self) -> int:
        return self.address + ctypes.sizeof(self.words)


def row(structure: str, /, **values: int) -> list[int]:
    """The words of one structure, 0 where a field is not named."""
    names = STRUCTURES[structure]
    words = [0] * len(names)
    for name, value in values.items():
        words[names.index(name)] = value
    return words


def table(rows: Sequence[Sequence[int]], keep: Any = None) -> Memory:
    """Structures one after the other."""
    return Memory([word for each in rows for word in each], keep)


def addresses(objects: Sequence[Any]) -> Memory:
    """The addresses of objects, which are kept alive."""
    return Memory([id(each) for each in objects], list(objects))


def peek(memory: Memory, structure: str, field: str) -> int:
    """A field of the first structure in `memory`."""
    return memory.words[STRUCTURES[structure].index(field)]


def poke(memory: Memory, structure: str, field: str, value: int) -> None:
    """Set a field of the first structure in `memory`."""
    memory.words[STRUCTURES[structure].index(field)] = value
