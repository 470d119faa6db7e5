"""What a native call returns, in the native subset: tensors of a pool, and structures of them. A part of the dispatcher, with
which it is compiled.
"""

from __future__ import annotations

from tracejit.llvm.machine.native_subset.language import Array, address, array, i32, i64, null, ptr
from tracejit.memory import ALIGNED_FROM, ALIGNMENT
from tracejit.runtime.native.python_api import (
    Py_DecRef,
    Py_IncRef,
    PyDict_New,
    PyDict_SetItem,
    PyList_New,
    PyList_SetItem,
    PyObject_Vectorcall,
    PyTuple_New,
    PyTuple_SetItem,
    PyType_GenericAlloc,
)
from tracejit.runtime.native.structures import (
    AGAIN,
    WRITABLE,
    ArrayObject,
    DictObject,
    Kind,
    Object,
    Result,
    TensorObject,
    TypeObject,
    state,
)


def find_free(spec: Result) -> TensorObject:
    """A tensor of the pool that nobody else refers to, nor to its array or that one's memory; null where there is none."""
    pool = spec.pool
    i = 0
    while i < spec.count:
        tensor = TensorObject(pool.items[i])
        if tensor.refcount == 1 and tensor.type == state.tensor_class and tensor.weakrefs == null:
            made = tensor.value
            if made == spec.made_arrays[i] and made.refcount == 1:
                base = made.base
                if base == null or base.refcount == 1:
                    return tensor
        i += 1
    return null


def allocate_result(spec: Result) -> Object:
    """A new result in the place of the oldest in the pool, which goes on living where it is used. AGAIN, or null."""
    made = new_array(spec)
    if made == null:
        return null
    tensor = TensorObject(PyType_GenericAlloc(state.tensor_class, 0))
    if tensor == null:
        Py_DecRef(made)
        return null
    tensor.value = made
    tensor.kind = spec.expected
    Py_IncRef(spec.expected)
    oldest = spec.oldest
    spec.oldest = oldest + 1
    if spec.oldest == spec.count:
        spec.oldest = 0
    spec.made_arrays[oldest] = made
    if PyList_SetItem(spec.pool, oldest, tensor) != 0:
        return null
    return AGAIN


def new_array(spec: Result) -> ArrayObject:
    """An array with memory of its own; that of a large one begins where a register's worth does."""
    data: ptr = null
    block: ArrayObject = null
    flags: i32 = 0
    if spec.bytes >= ALIGNED_FROM:
        length = spec.bytes + ALIGNMENT
        Py_IncRef(state.byte_descr)
        block = state.new_from_descr(state.array_class, state.byte_descr, 1, address(length), null, null, 0, null)
        if block == null:
            return null
        data = ptr((i64(block.data) + ALIGNMENT - 1) & -ALIGNMENT)
        flags = WRITABLE
    Py_IncRef(spec.descr)
    made = state.new_from_descr(state.array_class, spec.descr, i32(spec.nd), spec.dims, null, data, flags, null)
    if block != null:
        if made == null:
            Py_DecRef(block)
            return null
        state.set_base(made, block)
    return made


def build(cursor: Array[Array[i64]], results: Array[TensorObject]) -> Object:
    """The structure that the function returned, described by the slots at `cursor`, which is moved on."""
    at = cursor[0]
    kind = at[0]
    if kind == Kind.LEAF:
        cursor[0] = at + 2
        leaf = results[at[1]]
        Py_IncRef(leaf)
        return leaf
    if kind == Kind.NOTHING:
        cursor[0] = at + 1
        Py_IncRef(state.none)
        return state.none
    count = at[1]
    named = TypeObject(ptr(at[2]))
    cursor[0] = at + 3
    if kind == Kind.LIST:
        made = PyList_New(count)
    elif kind == Kind.DICT:
        made = PyDict_New()
    else:
        made = PyTuple_New(count)
    i = 0
    while i < count and made != null:
        key: Object = null
        if kind == Kind.DICT:
            key = Object(ptr(cursor[0][0]))
            cursor[0] = cursor[0] + 1
        item = build(cursor, results)
        failed: i32 = 0
        if item == null:
            failed = 1
        elif kind == Kind.LIST:
            failed = PyList_SetItem(made, i, item)
        elif kind == Kind.DICT:
            failed = PyDict_SetItem(DictObject(made), key, item)
            Py_DecRef(item)
        else:
            failed = PyTuple_SetItem(made, i, item)
        if failed != 0:
            Py_DecRef(made)
            made = null
        i += 1
    if named != null and made != null:
        items = made
        made = name(named, items)
        Py_DecRef(items)
    return made


def name(kind: TypeObject, items: Object) -> Object:
    """tuple.__new__(kind, items): a named tuple."""
    arguments = array(Object, 2)
    arguments[0] = kind
    arguments[1] = items
    return PyObject_Vectorcall(state.new_tuple, arguments, 2, null)
