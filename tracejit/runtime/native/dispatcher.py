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
from tracejit.runtime.native.arguments import is_array, matches
from tracejit.runtime.native.callables import function_miss
from tracejit.runtime.native.captured import holds
from tracejit.runtime.native.python_api import (
    Py_DecRef,
    Py_IncRef,
    PyDict_DelItem,
    PyDict_GetItemWithError,
    PyDict_SetItem,
    PyErr_BadInternalCall,
    PyErr_Clear,
    PyEval_RestoreThread,
    PyEval_SaveThread,
    PyLong_FromLong,
    PyLong_FromVoidPtr,
    PyObject_CallNoArgs,
    PyObject_CallOneArg,
)
from tracejit.runtime.native.results import build, renew, unused
from tracejit.runtime.native.structures import (
    AGAIN,
    ATTEMPTS,
    MISS,
    MOST_NODES,
    MOST_RESULTS,
    POSITIONAL,
    READABLE,
    WRITABLE,
    ArrayObject,
    BoundObject,
    DictObject,
    Frame,
    FunctionObject,
    Kind,
    Object,
    Program,
    Record,
    ScalarObject,
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
