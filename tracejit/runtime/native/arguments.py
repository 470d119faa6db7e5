"""Whether a call is as an entry expects, in the native subset. A part of the dispatcher, with which it is compiled."""

from __future__ import annotations

from tracejit.llvm.machine.native_subset.language import Array, address, i64, null
from tracejit.runtime.native.python_api import PyDict_GetItemWithError, PyDict_Next, PyObject_RichCompareBool
from tracejit.runtime.native.structures import (
    PY_EQ,
    READABLE,
    ArrayObject,
    CacheEntry,
    DictObject,
    FloatObject,
    Kind,
    ListObject,
    Object,
    Pattern,
    SizedObject,
    TensorObject,
    TupleObject,
    VariableObject,
    state,
)


def matches(entry: CacheEntry, objects: Array[Object]) -> i64:
    """1 where all patterns are as expected. A tensor's place is taken by its array, a structure's items are added."""
    pattern = entry.patterns
    place = objects
    while pattern != entry.patterns_end:
        object = place[0]
        kind = pattern.kind
        if kind == Kind.TENSOR:
            if object.type != state.tensor_class or TensorObject(object).kind != pattern.expected:
                return 0
            value = TensorObject(object).value
            if value.type != state.array_class or value.descr != pattern.other or i64(value.nd) != pattern.count:
                return 0
            if (value.flags & READABLE) != READABLE:
                return 0
            place[0] = value
        elif kind == Kind.ARRAY:
            if is_array(object, pattern.other, pattern.count, pattern.dims) == 0:
                return 0
        elif kind == Kind.VARIABLE:
            if object.type != state.variable_class or VariableObject(object).kind != pattern.expected:
                return 0
            if VariableObject(object).trainable != pattern.other:
                return 0
            if is_unaliased(entry, objects, pattern, place, VariableObject(object)) == 0:
                return 0
        elif kind == Kind.SAME:
            if object != pattern.expected:
                return 0
        elif kind == Kind.FLOAT:
            if object.type != state.float_class or FloatObject(object).value != pattern.bits:
                return 0
        elif kind == Kind.EQUAL:
            if object != pattern.expected and (
                object.type != pattern.other or PyObject_RichCompareBool(object, pattern.expected, PY_EQ) != 1
            ):
                return 0
        elif kind == Kind.SCALAR:
            if object.type != pattern.expected:
                return 0
        elif kind == Kind.DICT:
            if object.type != state.dict_class or DictObject(object).size != pattern.count:
                return 0
            if dict_items(DictObject(object), pattern, objects + pattern.first) == 0:
                return 0
        else:
            if object.type != pattern.expected or SizedObject(object).size != pattern.count:
                return 0
            items = TupleObject(object).items
            if kind == Kind.LIST:
                items = ListObject(object).items
            i = 0
            while i < pattern.count:
                objects[pattern.first + i] = items[i]
                i += 1
        pattern += 1
        place += 1
    return 1


def is_array(object: Object, descr: Object, nd: i64, dims: Array[i64]) -> i64:
    """1 for an ndarray of this dtype and shape that machine code can read."""
    value = ArrayObject(object)
    if object.type != state.array_class or value.descr != descr or i64(value.nd) != nd:
        return 0
    if (value.flags & READABLE) != READABLE:
        return 0
    i = 0
    while i < nd:
        if value.dims[i] != dims[i]:
            return 0
        i += 1
    return 1


def dict_items(names: DictObject, pattern: Pattern, place: Array[Object]) -> i64:
    """Put the values at `place`, in the order of the entry's keys; 0 where a key is not there."""
    position = 0
    key: Object = null
    value: Object = null
    i = 0
    while i < pattern.count:
        PyDict_Next(names, address(position), address(key), address(value))
        if key != pattern.keys[i]:
            return dict_items_in_another_order(names, pattern, place)
        place[i] = value
        i += 1
    return 1


def dict_items_in_another_order(names: DictObject, pattern: Pattern, place: Array[Object]) -> i64:
    position = 0
    key: Object = null
    value: Object = null
    while PyDict_Next(names, address(position), address(key), address(value)) != 0:
        # To compare with anything else could run Python code.
        if key.type != state.str_class and key.type != state.int_class:
            return 0
    i = 0
    while i < pattern.count:
        value = PyDict_GetItemWithError(names, pattern.keys[i])
        if value == null:
            return 0
        place[i] = value
        i += 1
    return 1


def is_unaliased(
    entry: CacheEntry, objects: Array[Object], pattern: Pattern, place: Array[Object], variable: VariableObject
) -> i64:
    """1 where a variable among the arguments is the one that it was (`first`, where it came earlier in the call), else
    another than all that came before and than all that are captured."""
    if pattern.first >= 0:
        if objects[pattern.first] == variable:
            return 1
        return 0
    before = entry.patterns
    earlier = objects
    while earlier != place:
        if before.kind == Kind.VARIABLE and earlier[0] == variable:
            return 0
        before += 1
        earlier += 1
    bind = entry.variables
    while bind != entry.variables_end:
        if bind.variable == variable:
            return 0
        bind += 1
    return 1
