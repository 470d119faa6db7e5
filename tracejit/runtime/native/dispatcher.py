"""The native call path, in the native subset (tracejit.llvm.machine.native_subset): it is compiled and never run as Python.

A function's records are tried one after the other, a record being one way to call one trace. On a hit no Python runs and
nothing is allocated: the nodes of the record are compared with the arguments, the watches with what the trace captured, the
addresses of the arrays are put into a frame, and the machine code is called with it. Whatever is not as a record expects is
a miss, which goes to the Python path: that one traces, waits, converts and raises.

All of it runs with the interpreter's lock held, but for the machine code of a program that is marked `long`. Up to there
nothing is called that could run Python code, so that nothing that was looked at can change; the one exception, a new result
for the pool, begins again from the first record.
"""

from __future__ import annotations

from tracejit.llvm.machine.native_subset.language import Array, address, array, i32, i64, null, ptr
from tracejit.runtime.native.callables import function_miss
from tracejit.runtime.native.captured import holds
from tracejit.runtime.native.python_api import (
    Py_DecRef,
    Py_IncRef,
    PyDict_DelItem,
    PyDict_GetItemWithError,
    PyDict_Next,
    PyDict_SetItem,
    PyErr_BadInternalCall,
    PyErr_Clear,
    PyEval_RestoreThread,
    PyEval_SaveThread,
    PyLong_FromLong,
    PyLong_FromVoidPtr,
    PyObject_CallNoArgs,
    PyObject_CallOneArg,
    PyObject_RichCompareBool,
)
from tracejit.runtime.native.results import build, renew, unused
from tracejit.runtime.native.structures import (
    AGAIN,
    ATTEMPTS,
    MISS,
    MOST_NODES,
    MOST_RESULTS,
    POSITIONAL,
    PY_EQ,
    READABLE,
    WRITABLE,
    ArrayObject,
    BoundObject,
    DictObject,
    FloatObject,
    Frame,
    FunctionObject,
    Kind,
    ListObject,
    Node,
    Object,
    Program,
    Record,
    ScalarObject,
    SizedObject,
    TensorObject,
    TupleObject,
    VariableObject,
    state,
)


def function_call(function: FunctionObject, args: Array[Object], nargsf: i64, kwnames: TupleObject) -> Object:
    """What a traced function does when it is called: a vectorcall."""
    return dispatch(function, args, nargsf, kwnames)


def bound_call(bound: BoundObject, args: Array[Object], nargsf: i64, kwnames: TupleObject) -> Object:
    """What a traced method of an object does when it is called."""
    if bound.function == null:
        PyErr_BadInternalCall()
        return null
    return dispatch(bound.function, args, nargsf, kwnames)


def dispatch(function: FunctionObject, args: Array[Object], nargsf: i64, kwnames: TupleObject) -> Object:
    npositional = nargsf & POSITIONAL
    nkeywords = 0
    if kwnames != null:
        nkeywords = kwnames.size
    attempts = 0
    while attempts < ATTEMPTS and state.interpreted[0] == 0:
        result = MISS
        record = function.records
        while record != null and result == MISS:
            if record.npositional == npositional and record.nkeywords == nkeywords:
                result = attempt(record, args, kwnames)
            if result == MISS:  # else the record may be gone
                record = record.next
        if result == MISS:
            break
        if result != AGAIN:
            return result
        attempts += 1
    return function_miss(function, args, nargsf, kwnames)


def attempt(record: Record, args: Array[Object], kwnames: TupleObject) -> Object:
    """The result; null where an exception is set; MISS; AGAIN where the search has to begin from the first record."""
    objects = array(Object, MOST_NODES)
    i = 0
    while i < record.nkeywords:
        if kwnames.items[i] != record.keywords[i]:
            return MISS
        i += 1
    count = record.npositional + record.nkeywords
    i = 0
    while i < count:
        objects[i] = args[i]
        i += 1
    if matches(record, objects) == 0:
        return MISS
    program = record.program
    if holds(program) == 0:
        program.stale = 1
        return MISS
    return run(record, program, objects)


# -- what a call looks like


def matches(record: Record, objects: Array[Object]) -> i64:
    """1 where all nodes are as expected. A tensor's place is taken by its array, a structure's items are added."""
    node = record.nodes
    place = objects
    while node != record.nodes_end:
        object = place[0]
        kind = node.kind
        if kind == Kind.TENSOR:
            if object.type != state.tensor_class or TensorObject(object).kind != node.expected:
                return 0
            value = TensorObject(object).value
            if value.type != state.array_class or value.descr != node.other or i64(value.nd) != node.count:
                return 0
            if (value.flags & READABLE) != READABLE:
                return 0
            place[0] = value
        elif kind == Kind.ARRAY:
            if is_array(object, node.other, node.count, node.dims) == 0:
                return 0
        elif kind == Kind.VARIABLE:
            if object.type != state.variable_class or VariableObject(object).kind != node.expected:
                return 0
            if VariableObject(object).trainable != node.other:
                return 0
            if stands_alone(record, objects, node, place, VariableObject(object)) == 0:
                return 0
        elif kind == Kind.SAME:
            if object != node.expected:
                return 0
        elif kind == Kind.FLOAT:
            if object.type != state.float_class or FloatObject(object).value != node.bits:
                return 0
        elif kind == Kind.EQUAL:
            if object != node.expected and (
                object.type != node.other or PyObject_RichCompareBool(object, node.expected, PY_EQ) != 1
            ):
                return 0
        elif kind == Kind.SCALAR:
            if object.type != node.expected:
                return 0
        elif kind == Kind.DICT:
            if object.type != state.dict_class or DictObject(object).size != node.count:
                return 0
            if dict_items(DictObject(object), node, objects + node.first) == 0:
                return 0
        else:
            if object.type != node.expected or SizedObject(object).size != node.count:
                return 0
            items = TupleObject(object).items
            if kind == Kind.LIST:
                items = ListObject(object).items
            i = 0
            while i < node.count:
                objects[node.first + i] = items[i]
                i += 1
        node += 1
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


def dict_items(names: DictObject, node: Node, place: Array[Object]) -> i64:
    """Put the values at `place`, in the order of the record's keys; 0 where a key is not there."""
    position = 0
    key: Object = null
    value: Object = null
    i = 0
    while i < node.count:
        PyDict_Next(names, address(position), address(key), address(value))
        if key != node.keys[i]:
            return dict_items_in_another_order(names, node, place)
        place[i] = value
        i += 1
    return 1


def dict_items_in_another_order(names: DictObject, node: Node, place: Array[Object]) -> i64:
    position = 0
    key: Object = null
    value: Object = null
    while PyDict_Next(names, address(position), address(key), address(value)) != 0:
        # To compare with anything else could run Python code.
        if key.type != state.str_class and key.type != state.int_class:
            return 0
    i = 0
    while i < node.count:
        value = PyDict_GetItemWithError(names, node.keys[i])
        if value == null:
            return 0
        place[i] = value
        i += 1
    return 1


def stands_alone(record: Record, objects: Array[Object], node: Node, place: Array[Object], variable: VariableObject) -> i64:
    """1 where a variable among the arguments is the one that it was (`first`, where it came earlier in the call), else
    another than all that came before and than all that are captured."""
    if node.first >= 0:
        if objects[node.first] == variable:
            return 1
        return 0
    before = record.nodes
    earlier = objects
    while earlier != place:
        if before.kind == Kind.VARIABLE and earlier[0] == variable:
            return 0
        before += 1
        earlier += 1
    bind = record.variables
    while bind != record.variables_end:
        if bind.variable == variable:
            return 0
        bind += 1
    return 1


# -- the call


def run(record: Record, program: Program, objects: Array[Object]) -> Object:
    results = array(TensorObject, MOST_RESULTS)
    holder = record.holder
    count = 0
    spec = program.results
    while spec != program.results_end:
        tensor = unused(spec)
        if tensor == null:
            Py_IncRef(holder)
            renewed = renew(spec)
            Py_DecRef(holder)
            return renewed
        results[count] = tensor
        count += 1
        spec += 1
    frame = program.frames
    if frame == null:
        return MISS
    pointers = frame.pointers
    kept = Array[Object](pointers + program.slots)
    if bind_variables(record, objects, pointers, kept) == 0:
        return MISS
    if bind_arrays(record, objects, pointers, kept) == 0:
        return MISS
    i = 0
    spec = program.results
    while i < count:
        Py_IncRef(results[i])
        pointers[spec.slot] = results[i].value.data
        spec += 1
        i += 1
    Py_IncRef(holder)
    if program.long != 0:
        status = run_long(record, program, objects, frame)
    else:
        status = program.entry(pointers)
    made: Object = null
    if status == 0:
        if program.structure == null:
            made = results[0]
            Py_IncRef(made)
        else:
            cursor = program.structure
            made = build(address(cursor), results)
    elif status > 0:
        number = PyLong_FromLong(i64(status))
        if number != null:
            made = PyObject_CallOneArg(program.fail, number)
            Py_DecRef(number)
    i = 0
    while i < count:
        Py_DecRef(results[i])
        i += 1
    Py_DecRef(holder)
    return made


def bind_variables(record: Record, objects: Array[Object], pointers: Array[ptr], kept: Array[Object]) -> i64:
    """Write the addresses of the variables' arrays; 0 where one is not to be had without waiting, copying or converting."""
    bind = record.variables
    if bind != record.variables_end and state.held.size != 0:
        return 0
    while bind != record.variables_end:
        variable = bind.variable
        if variable == null:
            variable = VariableObject(objects[bind.node])
        tensor = variable.tensor
        if tensor.type != state.tensor_class:
            return 0
        value = tensor.value
        if value.type != state.array_class:
            return 0
        if bind.updated != 0:
            # Nobody else sees the array: a tensor that was read, a tape, a view of it.
            if tensor.refcount != 1 or value.refcount != 1:
                return 0
            base = value.base
            if base != null and (base.type != state.array_class or base.refcount != 1 or ArrayObject(base).base != null):
                return 0
            if (value.flags & WRITABLE) != WRITABLE:
                return 0
        elif (value.flags & READABLE) != READABLE:
            return 0
        pointers[bind.slot] = value.data
        kept[bind.slot] = value
        bind += 1
    return 1


def bind_arrays(record: Record, objects: Array[Object], pointers: Array[ptr], kept: Array[Object]) -> i64:
    """Write the addresses of the arguments, and of captured arrays and tensors."""
    bind = record.arrays
    while bind != record.arrays_end:
        kind = bind.kind
        if kind == Kind.CONSTANT:
            pointers[bind.slot] = bind.data
            kept[bind.slot] = null  # another record of the program may have had an argument here
        elif kind == Kind.CAPTURED:
            captured = bind.array
            if is_array(captured, bind.descr, bind.count, bind.dims) == 0:
                return 0
            pointers[bind.slot] = captured.data
            kept[bind.slot] = captured
        else:
            object = objects[bind.node]
            if kind == Kind.SCALAR:
                pointers[bind.slot] = ScalarObject(object).value
            else:
                pointers[bind.slot] = ArrayObject(object).data
            kept[bind.slot] = object
        bind += 1
    return 1


def run_long(record: Record, program: Program, objects: Array[Object], frame: Frame) -> i32:
    """Run without the interpreter's lock, on a frame that nobody else has, with everything alive that it points to, and
    with the variables held that it updates. -1 where an exception is set."""
    pointers = frame.pointers
    kept = Array[Object](pointers + program.slots)
    variables = array(Object, MOST_NODES)
    updated = 0
    held = state.held
    bind = record.variables
    while bind != record.variables_end:
        if bind.updated != 0:
            variable = bind.variable
            if variable == null:
                variable = VariableObject(objects[bind.node])
            key = PyLong_FromVoidPtr(variable)
            variables[updated] = key
            updated += 1
            if key == null or PyDict_SetItem(held, key, record.holder) != 0:
                let_go(held, variables, updated)
                return -1
        bind += 1
    program.frames = frame.next
    i = 0
    while i < program.slots:
        if kept[i] != null:
            Py_IncRef(kept[i])
        i += 1
    thread = PyEval_SaveThread()
    status = program.entry(pointers)
    PyEval_RestoreThread(thread)
    let_go(held, variables, updated)
    i = 0
    while i < program.slots:
        if kept[i] != null:
            Py_DecRef(kept[i])
        i += 1
    add_frame(program, frame)
    return status


def let_go(held: DictObject, variables: Array[Object], count: i64) -> None:
    i = 0
    while i < count:
        key = variables[i]
        if key != null:
            if PyDict_GetItemWithError(held, key) != null:
                PyDict_DelItem(held, key)
            Py_DecRef(key)
        i += 1
    if state.waiting.size != 0:
        told = PyObject_CallNoArgs(state.notify)
        if told != null:
            Py_DecRef(told)
        else:
            PyErr_Clear()


def add_frame(program: Program, frame: Frame) -> None:
    """Called by Python, which could not do both at once."""
    frame.next = program.frames
    program.frames = frame
