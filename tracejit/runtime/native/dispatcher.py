"""The native call path, in the native subset (tracejit.llvm.machine.native_subset): it is compiled and never run as Python.

A function's inline cache has entries, each one way to call one trace, which are probed one after the other. On a hit no Python
runs and nothing is allocated: the patterns of the entry are compared with the arguments, the guard checks with what the trace
captured, the addresses of the arrays are put into a frame, and the machine code is called with it. Whatever is not as an entry
expects is a miss, which goes to the Python path: that one traces, waits, converts and raises.

All of it runs with the interpreter's lock held, but for the machine code of a program that is marked `long`. Up to there
nothing is called that could run Python code, so that nothing that was looked at can change; the one exception, a new result
for the pool, begins again from the first entry.
"""

from __future__ import annotations

from tracejit.llvm.machine.native_subset.language import Array, address, array, i32, i64, null, ptr
from tracejit.runtime.native.arguments import is_array, matches
from tracejit.runtime.native.function_types import function_miss
from tracejit.runtime.native.guard_checks import holds
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
from tracejit.runtime.native.results import allocate_result, build, find_free
from tracejit.runtime.native.structures import (
    AGAIN,
    ATTEMPTS,
    MISS,
    MOST_RESULTS,
    MOST_VALUES,
    POSITIONAL,
    READABLE,
    WRITABLE,
    ArrayObject,
    BoundObject,
    CacheEntry,
    DictObject,
    Frame,
    FunctionObject,
    Kind,
    Object,
    Program,
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
        entry = function.entries
        while entry != null and result == MISS:
            if entry.npositional == npositional and entry.nkeywords == nkeywords:
                result = probe(entry, args, kwnames)
            if result == MISS:  # else the entry may be gone
                entry = entry.next
        if result == MISS:
            break
        if result != AGAIN:
            return result
        attempts += 1
    return function_miss(function, args, nargsf, kwnames)


def probe(entry: CacheEntry, args: Array[Object], kwnames: TupleObject) -> Object:
    """The result; null where an exception is set; MISS; AGAIN where the search has to begin from the first entry."""
    objects = array(Object, MOST_VALUES)
    i = 0
    while i < entry.nkeywords:
        if kwnames.items[i] != entry.keywords[i]:
            return MISS
        i += 1
    count = entry.npositional + entry.nkeywords
    i = 0
    while i < count:
        objects[i] = args[i]
        i += 1
    if matches(entry, objects) == 0:
        return MISS
    program = entry.program
    if holds(program) == 0:
        program.stale = 1
        return MISS
    return run(entry, program, objects)


def run(entry: CacheEntry, program: Program, objects: Array[Object]) -> Object:
    results = array(TensorObject, MOST_RESULTS)
    owner = entry.owner
    count = 0
    spec = program.results
    while spec != program.results_end:
        tensor = find_free(spec)
        if tensor == null:
            Py_IncRef(owner)
            allocated = allocate_result(spec)
            Py_DecRef(owner)
            return allocated
        results[count] = tensor
        count += 1
        spec += 1
    frame = program.frames
    if frame == null:
        return MISS
    pointers = frame.pointers
    kept = Array[Object](pointers + program.slots)
    if bind_variables(entry, objects, pointers, kept) == 0:
        return MISS
    if bind_arrays(entry, objects, pointers, kept) == 0:
        return MISS
    i = 0
    spec = program.results
    while i < count:
        Py_IncRef(results[i])
        pointers[spec.slot] = results[i].value.data
        spec += 1
        i += 1
    Py_IncRef(owner)
    if program.long != 0:
        status = run_long(entry, program, objects, frame)
    else:
        status = program.code(pointers)
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
    Py_DecRef(owner)
    return made


def bind_variables(entry: CacheEntry, objects: Array[Object], pointers: Array[ptr], kept: Array[Object]) -> i64:
    """Write the addresses of the variables' arrays; 0 where one is not to be had without waiting, copying or converting."""
    bind = entry.variables
    if bind != entry.variables_end and state.held.size != 0:
        return 0
    while bind != entry.variables_end:
        variable = bind.variable
        if variable == null:
            variable = VariableObject(objects[bind.value])
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


def bind_arrays(entry: CacheEntry, objects: Array[Object], pointers: Array[ptr], kept: Array[Object]) -> i64:
    """Write the addresses of the arguments, and of captured arrays and tensors."""
    bind = entry.arrays
    while bind != entry.arrays_end:
        kind = bind.kind
        if kind == Kind.CONSTANT:
            pointers[bind.slot] = bind.data
            kept[bind.slot] = null  # another entry of the program may have had an argument here
        elif kind == Kind.CAPTURED:
            captured = bind.array
            if is_array(captured, bind.descr, bind.count, bind.dims) == 0:
                return 0
            pointers[bind.slot] = captured.data
            kept[bind.slot] = captured
        else:
            object = objects[bind.value]
            if kind == Kind.SCALAR:
                pointers[bind.slot] = ScalarObject(object).value
            else:
                pointers[bind.slot] = ArrayObject(object).data
            kept[bind.slot] = object
        bind += 1
    return 1


def run_long(entry: CacheEntry, program: Program, objects: Array[Object], frame: Frame) -> i32:
    """Run without the interpreter's lock, on a frame that nobody else has, with everything alive that it points to, and
    with the variables held that it updates. -1 where an exception is set."""
    pointers = frame.pointers
    kept = Array[Object](pointers + program.slots)
    variables = array(Object, MOST_VALUES)
    updated = 0
    held = state.held
    bind = entry.variables
    while bind != entry.variables_end:
        if bind.updated != 0:
            variable = bind.variable
            if variable == null:
                variable = VariableObject(objects[bind.value])
            key = PyLong_FromVoidPtr(variable)
            variables[updated] = key
            updated += 1
            if key == null or PyDict_SetItem(held, key, entry.owner) != 0:
                release(held, variables, updated)
                return -1
        bind += 1
    program.frames = frame.next
    i = 0
    while i < program.slots:
        if kept[i] != null:
            Py_IncRef(kept[i])
        i += 1
    thread = PyEval_SaveThread()
    status = program.code(pointers)
    PyEval_RestoreThread(thread)
    release(held, variables, updated)
    i = 0
    while i < program.slots:
        if kept[i] != null:
            Py_DecRef(kept[i])
        i += 1
    add_frame(program, frame)
    return status


def release(held: DictObject, variables: Array[Object], count: i64) -> None:
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
