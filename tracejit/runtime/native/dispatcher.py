# mypy: ignore-errors
"""The native call path, in the language of tracejit.llvm.machine.words: it is compiled and never run as Python.

A function's records are tried one after the other, a record being one way to call one trace. On a hit no Python runs and
nothing is allocated: the nodes of the record are compared with the arguments, the watches with what the trace captured, the
addresses of the arrays are put into a frame, and the machine code is called with it. Whatever is not as a record expects is
a miss, which goes to the Python path: that one traces, waits, converts and raises.

All of it runs with the interpreter's lock held, but for the machine code of a program that is marked `long`. Up to there
nothing is called that could run Python code, so that nothing that was looked at can change; the one exception, a new result
for the pool, begins again from the first record.
"""


def function_call(function, args, nargsf, kwnames):
    """What a traced function does when it is called: a vectorcall."""
    return dispatch(function, args, nargsf, kwnames)


def bound_call(bound, args, nargsf, kwnames):
    """What a traced method of an object does when it is called."""
    if bound.function == 0:
        PyErr_BadInternalCall()
        return 0
    return dispatch(bound.function, args, nargsf, kwnames)


def dispatch(function, args, nargsf, kwnames):
    npositional = nargsf & POSITIONAL
    nkeywords = 0
    if kwnames != 0:
        nkeywords = kwnames.size
    attempts = 0
    while attempts < ATTEMPTS and load(state.interpreted) == 0:
        found = MISS
        record = function.records
        while record != 0 and found == MISS:
            if record.npositional == npositional and record.nkeywords == nkeywords:
                found = attempt(record, args, kwnames)
            if found == MISS:  # else the record may be gone
                record = record.next
        if found == MISS:
            break
        if found != AGAIN:
            return found
        attempts += 1
    return function_miss(function, args, nargsf, kwnames)


def attempt(record, args, kwnames):
    """The result; 0 where an exception is set; MISS; AGAIN where the search has to begin from the first record."""
    objects = words(MOST_NODES)
    i = 0
    while i < record.nkeywords:
        if load(kwnames + TUPLE_ITEMS + 8 * i) != load(record.keywords + 8 * i):
            return MISS
        i += 1
    count = record.npositional + record.nkeywords
    i = 0
    while i < count:
        store(objects + 8 * i, load(args + 8 * i))
        i += 1
    if matches(record, objects) == 0:
        return MISS
    program = record.program
    if holds(program) == 0:
        program.stale = 1
        return MISS
    return run(record, program, objects)


# -- what a call looks like


def matches(record, objects):
    """1 where all nodes are as expected. A tensor's place is taken by its array, a structure's items are added."""
    node = record.nodes
    place = objects
    while node != record.nodes_end:
        object = load(place)
        kind = node.kind
        if kind == TENSOR:
            if object.type != state.tensor_class or object.tensor_type != node.expected:
                return 0
            object = object.tensor_value
            if object.type != state.array_class or object.descr != node.other or object.nd != node.count:
                return 0
            if (object.flags & READABLE) != READABLE:
                return 0
            store(place, object)
        elif kind == ARRAY:
            if is_array(object, node.other, node.count, node.items) == 0:
                return 0
        elif kind == VARIABLE:
            if object.type != state.variable_class or object.variable_type != node.expected:
                return 0
            if object.variable_trainable != node.other:
                return 0
            if stands_alone(record, objects, node, place, object) == 0:
                return 0
        elif kind == SAME:
            if object != node.expected:
                return 0
        elif kind == FLOAT:
            if object.type != state.float_class or object.float_value != node.expected:
                return 0
        elif kind == EQUAL:
            if object != node.expected:
                if object.type != node.other or int32(PyObject_RichCompareBool(object, node.expected, PY_EQ)) != 1:
                    return 0
        elif kind == SCALAR:
            if object.type != node.expected:
                return 0
        elif kind == DICT:
            if object.type != state.dict_class or object.size != node.count:
                return 0
            if dict_items(object, node, objects + 8 * node.first) == 0:
                return 0
        else:
            if object.type != node.expected or object.size != node.count:
                return 0
            items = object + TUPLE_ITEMS
            if kind == LIST:
                items = object.list_items
            i = 0
            while i < node.count:
                store(objects + 8 * (node.first + i), load(items + 8 * i))
                i += 1
        node += NODE_SIZE
        place += 8
    return 1


def is_array(object, descr, nd, dims):
    """1 for an ndarray of this dtype and shape that machine code can read."""
    if object.type != state.array_class or object.descr != descr or object.nd != nd:
        return 0
    if (object.flags & READABLE) != READABLE:
        return 0
    i = 0
    while i < nd:
        if load(object.dims + 8 * i) != load(dims + 8 * i):
            return 0
        i += 1
    return 1


def dict_items(object, node, place):
    """Put the values at `place`, in the order of the record's keys; 0 where a key is not there."""
    position = 0
    key = 0
    value = 0
    i = 0
    while i < node.count:
        PyDict_Next(object, address(position), address(key), address(value))
        if key != load(node.items + 8 * i):
            return dict_items_in_another_order(object, node, place)
        store(place + 8 * i, value)
        i += 1
    return 1


def dict_items_in_another_order(object, node, place):
    position = 0
    key = 0
    value = 0
    while int32(PyDict_Next(object, address(position), address(key), address(value))) != 0:
        # To compare with anything else could run Python code.
        if key.type != state.str_class and key.type != state.int_class:
            return 0
    i = 0
    while i < node.count:
        value = PyDict_GetItemWithError(object, load(node.items + 8 * i))
        if value == 0:
            return 0
        store(place + 8 * i, value)
        i += 1
    return 1


def stands_alone(record, objects, node, place, variable):
    """1 where a variable among the arguments is the one that it was (`first`, where it came earlier in the call), else
    another than all that came before and than all that are captured."""
    if node.first >= 0:
        if load(objects + 8 * node.first) == variable:
            return 1
        return 0
    each = record.nodes
    earlier = objects
    while earlier != place:
        if each.kind == VARIABLE and load(earlier) == variable:
            return 0
        each += NODE_SIZE
        earlier += 8
    bind = record.variables
    while bind != record.variables_end:
        if bind.variable == variable:
            return 0
        bind += BIND_SIZE
    return 1


# -- the call


def run(record, program, objects):
    results = words(MOST_RESULTS)
    holder = record.holder
    count = 0
    spec = program.results
    while spec != program.results_end:
        tensor = unused(spec)
        if tensor == 0:
            Py_IncRef(holder)
            found = renew(spec)
            Py_DecRef(holder)
            return found
        store(results + 8 * count, tensor)
        count += 1
        spec += RESULT_SIZE
    frame = program.frames
    if frame == 0:
        return MISS
    pointers = frame + FRAME_POINTERS
    kept = pointers + 8 * program.slots
    if bind_variables(record, objects, pointers, kept) == 0:
        return MISS
    if bind_arrays(record, objects, pointers, kept) == 0:
        return MISS
    i = 0
    spec = program.results
    while i < count:
        tensor = load(results + 8 * i)
        Py_IncRef(tensor)
        array = tensor.tensor_value
        store(pointers + 8 * spec.slot, array.data)
        spec += RESULT_SIZE
        i += 1
    Py_IncRef(holder)
    if program.long != 0:
        status = run_long(record, program, objects, frame)
    else:
        status = int32(call(program.entry, pointers))
    made = 0
    if status == 0:
        if program.structure == 0:
            made = load(results)
            Py_IncRef(made)
        else:
            cursor = program.structure
            made = build(address(cursor), results)
    elif status > 0:
        number = PyLong_FromLong(status)
        if number != 0:
            made = PyObject_CallOneArg(program.fail, number)
            Py_DecRef(number)
    i = 0
    while i < count:
        Py_DecRef(load(results + 8 * i))
        i += 1
    Py_DecRef(holder)
    return made


def bind_variables(record, objects, pointers, kept):
    """Write the addresses of the variables' arrays; 0 where one is not to be had without waiting, copying or converting."""
    bind = record.variables
    if bind != record.variables_end:
        held = state.held
        if held.size != 0:
            return 0
    while bind != record.variables_end:
        variable = bind.variable
        if variable == 0:
            variable = load(objects + 8 * bind.node)
        tensor = variable.variable_tensor
        if tensor.type != state.tensor_class:
            return 0
        array = tensor.tensor_value
        if array.type != state.array_class:
            return 0
        if bind.updated != 0:
            # Nobody else sees the array: a tensor that was read, a tape, a view of it.
            if tensor.refcount != 1 or array.refcount != 1:
                return 0
            base = array.base
            if base != 0:
                if base.type != state.array_class or base.refcount != 1 or base.base != 0:
                    return 0
            if (array.flags & WRITABLE) != WRITABLE:
                return 0
        elif (array.flags & READABLE) != READABLE:
            return 0
        store(pointers + 8 * bind.slot, array.data)
        store(kept + 8 * bind.slot, array)
        bind += BIND_SIZE
    return 1


def bind_arrays(record, objects, pointers, kept):
    """Write the addresses of the arguments, and of captured arrays and tensors."""
    bind = record.arrays
    while bind != record.arrays_end:
        kind = bind.kind
        if kind == CONSTANT:
            store(pointers + 8 * bind.slot, bind.variable)
            store(kept + 8 * bind.slot, 0)  # another record of the program may have had an argument here
        elif kind == CAPTURED:
            array = bind.variable
            if is_array(array, bind.other, bind.count, bind.items) == 0:
                return 0
            store(pointers + 8 * bind.slot, array.data)
            store(kept + 8 * bind.slot, array)
        else:
            object = load(objects + 8 * bind.node)
            if kind == SCALAR:
                store(pointers + 8 * bind.slot, object + SCALAR_VALUE)
            else:
                store(pointers + 8 * bind.slot, object.data)
            store(kept + 8 * bind.slot, object)
        bind += BIND_SIZE
    return 1


def run_long(record, program, objects, frame):
    """Run without the interpreter's lock, on a frame that nobody else has, with everything alive that it points to, and
    with the variables held that it updates. -1 where an exception is set."""
    pointers = frame + FRAME_POINTERS
    kept = pointers + 8 * program.slots
    variables = words(MOST_NODES)
    updated = 0
    held = state.held
    bind = record.variables
    while bind != record.variables_end:
        if bind.updated != 0:
            variable = bind.variable
            if variable == 0:
                variable = load(objects + 8 * bind.node)
            key = PyLong_FromVoidPtr(variable)
            store(variables + 8 * updated, key)
            updated += 1
            if key == 0 or int32(PyDict_SetItem(held, key, record.holder)) != 0:
                let_go(held, variables, updated)
                return -1
        bind += BIND_SIZE
    program.frames = frame.next_frame
    i = 0
    while i < program.slots:
        object = load(kept + 8 * i)
        if object != 0:
            Py_IncRef(object)
        i += 1
    thread = PyEval_SaveThread()
    status = int32(call(program.entry, pointers))
    PyEval_RestoreThread(thread)
    let_go(held, variables, updated)
    i = 0
    while i < program.slots:
        object = load(kept + 8 * i)
        if object != 0:
            Py_DecRef(object)
        i += 1
    add_frame(program, frame)
    return status


def let_go(held, variables, count):
    i = 0
    while i < count:
        key = load(variables + 8 * i)
        if key != 0:
            if PyDict_GetItemWithError(held, key) != 0:
                PyDict_DelItem(held, key)
            Py_DecRef(key)
        i += 1
    waiting = state.waiting
    if waiting.size != 0:
        told = PyObject_CallNoArgs(state.notify)
        if told != 0:
            Py_DecRef(told)
        else:
            PyErr_Clear()


def add_frame(program, frame):
    """Called by Python, which could not do both at once."""
    frame.next_frame = program.frames
    program.frames = frame
    return 0
