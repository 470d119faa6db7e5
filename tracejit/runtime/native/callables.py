# mypy: ignore-errors
"""The types of traced functions, native callables, in the language of tracejit.llvm.machine.words: compiled and never run as
Python.

They are needed as soon as a function is decorated, the dispatcher only when one is called again: until then a call is a miss.
"""


def function_miss(function, args, nargsf, kwnames):
    """A call that goes to Python, as a method: what traces, waits, converts and raises."""
    method = PyMethod_New(state.miss, function)
    if method == 0:
        return 0
    result = PyObject_Vectorcall(method, args, nargsf, kwnames)
    Py_DecRef(method)
    return result


def bound_miss(bound, args, nargsf, kwnames):
    if bound.function == 0:
        PyErr_BadInternalCall()
        return 0
    return function_miss(bound.function, args, nargsf, kwnames)


def function_new(kind, args, kwargs):
    function = PyType_GenericAlloc(kind, 0)
    if function != 0:
        function.vectorcall = address(function_miss)
    return function


def function_traverse(function, visit, arg):
    if function.dict != 0:
        found = int32(call(visit, function.dict, arg))
        if found != 0:
            return found
    return int32(call(visit, function.type, arg))


def function_clear(function):
    function.records = 0
    names = function.dict
    function.dict = 0
    if names != 0:
        Py_DecRef(names)
    return 0


def function_dealloc(function):
    kind = function.type
    PyObject_GC_UnTrack(function)
    if function.weakrefs != 0:
        PyObject_ClearWeakRefs(function)
    function_clear(function)
    PyObject_GC_Del(function)
    Py_DecRef(kind)
    return 0


def function_get(function, instance, owner):
    """`object.method`: the traced method of an object, which is the same one while it is referred to."""
    if instance == 0 or instance == state.none:
        Py_IncRef(function)
        return function
    place = function + FUNCTION_INSTANCES + 16 * ((instance >> 4) & (INSTANCES - 1))
    if load(place) == instance:
        return bound_of(load(place + 8), instance)
    arguments = words(2)
    store(arguments, function)
    store(arguments + 8, instance)
    method = PyObject_Vectorcall(state.method_of, arguments, 2, 0)
    if method == 0:
        return 0
    bound = bound_of(method, instance)
    Py_DecRef(method)
    return bound


def bound_of(function, instance):
    bound = function.bound
    if bound != 0:
        Py_IncRef(bound)
        return bound
    bound = PyType_GenericAlloc(state.bound_class, 0)
    if bound != 0:
        bound.vectorcall = state.bound_call
        Py_IncRef(function)
        bound.function = function
        Py_IncRef(instance)
        bound.instance = instance
        function.bound = bound
    return bound


def bound_traverse(bound, visit, arg):
    if bound.function != 0:
        found = int32(call(visit, bound.function, arg))
        if found != 0:
            return found
    if bound.instance != 0:
        found = int32(call(visit, bound.instance, arg))
        if found != 0:
            return found
    return int32(call(visit, bound.type, arg))


def bound_clear(bound):
    function = bound.function
    instance = bound.instance
    bound.function = 0
    bound.instance = 0
    if function != 0:
        if function.bound == bound:
            function.bound = 0
        Py_DecRef(function)
    if instance != 0:
        Py_DecRef(instance)
    return 0


def bound_dealloc(bound):
    kind = bound.type
    PyObject_GC_UnTrack(bound)
    function = bound.function
    if function != 0:
        if function.bound == bound:
            function.bound = 0
    if bound.bound_weakrefs != 0:
        PyObject_ClearWeakRefs(bound)
    bound_clear(bound)
    PyObject_GC_Del(bound)
    Py_DecRef(kind)
    return 0
