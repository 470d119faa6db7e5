"""The memory that the native call path reads.

Objects of Python, NumPy and this package, and structures that Python fills.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

from tracejit.llvm.machine.native_subset.language import (
    Array,
    Struct,
    at,
    i32,
    i64,
    inline,
    layout_of,
    measured,
    memory,
    offset_of,
    ptr,
)  # fmt: skip
from tracejit.runtime.slots import Slots

# -- objects, as they lie on a machine of 64 bits; `layout` measures what depends on more


class Object(Struct):
    """What all objects of CPython begin with."""

    refcount: i64
    type: TypeObject


class TypeObject(Object):
    """A class."""

    bases: Object = measured()


class SizedObject(Object):
    """A list, a tuple or a dict."""

    size: i64


class TupleObject(SizedObject):
    """A tuple."""

    items: Array[Object] = inline()


class ListObject(SizedObject):
    """A list."""

    items: Array[Object]


class DictObject(SizedObject):
    """A dict. `version` is another one after every change, where Python keeps one."""

    version: i64


class CellObject(Object):
    """A closure's variable."""

    value: Object


class FloatObject(Object):
    """A float, as bits."""

    value: i64


class ScalarObject(Object):
    """A scalar of NumPy."""

    value: ptr = inline()


class ArrayObject(Object):
    """An array of NumPy."""

    data: ptr
    nd: i32
    dims: Array[i64]
    base: Object = at(48)
    descr: Object
    flags: i32


class TensorObject(Object):
    """A tracejit.Tensor."""

    kind: Object = measured()
    value: ArrayObject = measured()
    weakrefs: ptr = measured()


class VariableObject(Object):
    """A tracejit.Variable."""

    kind: Object = measured()
    tensor: TensorObject = measured()
    trainable: Object = measured()


# -- traced functions, and how their calls are recognised


class KnownMethod(Struct):
    """The traced method of an instance."""

    instance: Object
    method: FunctionObject


class FunctionObject(Object):
    """A traced function, and what it knows of methods, by some bits of the instance's address."""

    vectorcall: Callable[[FunctionObject, Array[Object], i64, TupleObject], Object]
    dict: Object
    weakrefs: ptr
    entries: CacheEntry
    bound: BoundObject
    methods: KnownMethod = inline()


class BoundObject(Object):
    """A traced method of an instance."""

    vectorcall: Callable[[BoundObject, Array[Object], i64, TupleObject], Object]
    function: FunctionObject
    instance: Object
    weakrefs: ptr


class CacheEntry(Struct):
    """One way to call a program."""

    next: CacheEntry
    npositional: i64
    nkeywords: i64
    keywords: Array[Object]
    patterns: Pattern
    patterns_end: Pattern
    variables: VariableBinding
    variables_end: VariableBinding
    arrays: ArrayBinding
    arrays_end: ArrayBinding
    program: Program
    owner: Object


class Pattern(Struct):
    """What one value of a call has to be: `expected` is what it, its type or its TensorType is; `other` an array's dtype, a
    variable's trainable, or the type of what is equal; `count`, `dims` and `keys` are an array's or a structure's."""

    kind: i64
    expected: Object
    other: Object
    bits: i64
    count: i64
    dims: Array[i64]
    keys: Array[Object]
    first: i64


class VariableBinding(Struct):
    """Whose array a parameter of the graph is: that of a variable that was captured, or is one of the values of the call."""

    slot: i64
    variable: VariableObject
    value: i64
    updated: i64


class ArrayBinding(Struct):
    """Whose memory a parameter of the graph is: that of a value of the call, a captured array's, or `data`."""

    kind: i64
    slot: i64
    value: i64
    data: ptr
    array: ArrayObject
    descr: Object
    count: i64
    dims: Array[i64]


class Program(Struct):
    """A compiled trace."""

    code: Callable[[Array[ptr]], i32]
    frames: Frame
    slots: i64
    long: i64
    checks: GuardChecks
    results: Result
    results_end: Result
    structure: Array[i64]
    fail: Object
    stale: i64


class Result(Struct):
    """A tensor that a program returns, and the pool from which it is taken."""

    expected: Object
    descr: Object
    nd: i64
    dims: Array[i64]
    bytes: i64
    slot: i64
    pool: ListObject
    count: i64
    made_arrays: Array[ArrayObject]
    oldest: i64


class GuardChecks(Struct):
    """What a trace captured."""

    end: GuardCheck
    first: GuardCheck = inline()


class GuardCheck(Struct):
    """What one object has to hold."""

    kind: i64
    subject: Object
    type: TypeObject
    count: i64
    names: Array[Object]
    values: Array[Object]
    version: i64
    whole: i64


class Frame(Struct):
    """Memory for one call at a time."""

    next: Frame
    pointers: Array[ptr] = inline()


class State(Struct):
    """What the process has of its own."""

    interpreted: Array[i64]
    held: DictObject
    waiting: SizedObject
    notify: Object
    none: Object
    miss: Object
    method_of: Object
    new_tuple: Object
    bound_class: TypeObject
    bound_call: Callable[[BoundObject, Array[Object], i64, TupleObject], Object]
    tensor_class: TypeObject
    variable_class: TypeObject
    array_class: TypeObject
    float_class: TypeObject
    dict_class: TypeObject
    str_class: TypeObject
    int_class: TypeObject
    byte_descr: Object
    new_from_descr: Callable[[TypeObject, Object, i32, Array[i64], Array[i64], ptr, i32, Object], ArrayObject]
    set_base: Callable[[ArrayObject, Object], i32]
    dict_versions: i64


state = memory(State)


class Kind(enum.IntEnum):
    """What a pattern, a binding, a check or a part of a result's structure is."""

    TENSOR = 0
    ARRAY = 1
    SCALAR = 2
    VARIABLE = 3
    SAME = 4
    EQUAL = 5
    FLOAT = 6
    TUPLE = 7
    LIST = 8
    DICT = 9
    CONSTANT = 10
    CAPTURED = 11
    CELL = 12
    NAMES = 13
    OBJECT = 14
    BASES = 15
    LEAF = 16
    NOTHING = 17


# No object lies at these addresses: no entry fits; the search has to begin from the first entry.
MISS, AGAIN = Object(1), Object(2)
ATTEMPTS = 100
# How many methods a function knows.
INSTANCES = 8
MOST_VALUES = MOST_RESULTS = 2000
# The count of positional arguments in what a vectorcall is given for it.
POSITIONAL = (1 << 63) - 1
PY_EQ = 2
_C_CONTIGUOUS, _ALIGNED, _WRITEABLE = 1, 0x100, 0x400
READABLE = _C_CONTIGUOUS | _ALIGNED
WRITABLE = READABLE | _WRITEABLE


# -- how Python fills them


def row(struct: type[Struct], /, **values: int) -> list[int]:
    """The slots of one structure, 0 where a field is not named."""
    slots = [0] * (layout_of(struct).size // 8)
    for name, value in values.items():
        slots[offset_of(struct, name) // 8] = value
    return slots


def table(rows: Sequence[Sequence[int]], keep: Any = None) -> Slots:
    """Structures one after the other."""
    return Slots([slot for each in rows for slot in each], keep)


def addresses(objects: Sequence[Any]) -> Slots:
    """The addresses of objects, which are kept alive."""
    return Slots([id(each) for each in objects], list(objects))


def peek(slots: Slots, struct: type[Struct], field: str) -> int:
    """A field of the first structure in `slots`."""
    return slots.values[offset_of(struct, field) // 8]


def poke(slots: Slots, struct: type[Struct], field: str, value: int) -> None:
    """Set a field of the first structure in `slots`."""
    slots.values[offset_of(struct, field) // 8] = value
