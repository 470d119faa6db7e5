# mypy: ignore-errors
"""What a native call returns, in the language of tracejit.llvm.machine.words: tensors of a pool, and structures of them. A part
of the dispatcher, with which it is compiled.
"""


def unused(spec):
    """A tensor of the pool that nobody else refers to, nor to its array or that one's memory; 0 where there is none."""
    pool = spec.pool
    i = 0
    while i < spec.count:
        tensor = load(pool.list_items + 8 * i)
        if tensor.refcount == 1 and tensor.type == state.tensor_class and tensor.tensor_weakrefs == 0:
            array = tensor.tensor_value
            if array == load(spec.made_arrays + 8 * i) and array.refcount == 1:
                base = array.base
                if base == 0:
                    return tensor
                if base.refcount == 1:
                    return tensor
        i += 1
    return 0


def renew(spec):
    """A new result in the place of the oldest in the pool, which goes on living where it is used. AGAIN, or 0."""
    array = new_array(spec)
    if array == 0:
        return 0
    tensor = PyType_GenericAlloc(state.tensor_class, 0)
    if tensor == 0:
        Py_DecRef(array)
        return 0
    tensor.tensor_value = array
    tensor.tensor_type = spec.expected
    Py_IncRef(spec.expected)
    place = spec.oldest
    spec.oldest = place + 1
    if spec.oldest == spec.count:
        spec.oldest = 0
    store(spec.made_arrays + 8 * place, array)
    if int32(PyList_SetItem(spec.pool, place, tensor)) != 0:
        return 0
    return AGAIN


def new_array(spec):
    """An array with memory of its own; that of a large one begins where a register's worth does."""
    data = 0
    block = 0
    flags = 0
    if spec.bytes >= ALIGNED_FROM:
        length = spec.bytes + ALIGNMENT
        Py_IncRef(state.byte_descr)
        block = call(state.new_from_descr, state.array_class, state.byte_descr, 1, address(length), 0, 0, 0, 0)
        if block == 0:
            return 0
        data = (block.data + ALIGNMENT - 1) & -ALIGNMENT
        flags = WRITABLE
    Py_IncRef(spec.other)
    array = call(state.new_from_descr, state.array_class, spec.other, spec.nd_of_result, spec.items, 0, data, flags, 0)
    if block != 0:
        if array == 0:
            Py_DecRef(block)
            return 0
        call(state.set_base, array, block)
    return array


def build(cursor, results):
    """The structure that the function returned, described by the words at `cursor`, which is moved on."""
    at = load(cursor)
    kind = load(at)
    if kind == LEAF:
        store(cursor, at + 16)
        made = load(results + 8 * load(at + 8))
        Py_IncRef(made)
        return made
    if kind == NOTHING:
        store(cursor, at + 8)
        Py_IncRef(state.none)
        return state.none
    count = load(at + 8)
    named = load(at + 16)
    store(cursor, at + 24)
    if kind == LIST:
        made = PyList_New(count)
    elif kind == DICT:
        made = PyDict_New()
    else:
        made = PyTuple_New(count)
    i = 0
    while i < count and made != 0:
        key = 0
        if kind == DICT:
            key = load(load(cursor))
            store(cursor, load(cursor) + 8)
        item = build(cursor, results)
        failed = 0
        if item == 0:
            failed = 1
        elif kind == LIST:
            failed = int32(PyList_SetItem(made, i, item))
        elif kind == DICT:
            failed = int32(PyDict_SetItem(made, key, item))
            Py_DecRef(item)
        else:
            failed = int32(PyTuple_SetItem(made, i, item))
        if failed != 0:
            Py_DecRef(made)
            made = 0
        i += 1
    if named != 0 and made != 0:
        items = made
        made = name(named, items)
        Py_DecRef(items)
    return made


def name(kind, items):
    """tuple.__new__(kind, items): a named tuple."""
    arguments = words(2)
    store(arguments, kind)
    store(arguments + 8, items)
    return PyObject_Vectorcall(state.new_tuple, arguments, 2, 0)
