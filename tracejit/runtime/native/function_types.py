"""The types of traced functions, native callables, in the native subset: compiled and never run as Python.

They are needed as soon as a function is decorated, the dispatcher only when one is called again: until then a call is a miss.
"""

from __future__ import annotations

from collections.abc import Callable

from tracejit.llvm.machine.native_subset.language import Array, array, i32, i64, null, ptr
from tracejit.runtime.native.python_api import (
    Py_DecRef,
    Py_IncRef,
    PyErr_BadInternalCall,
    PyMethod_New,
    PyObject_ClearWeakRefs,
    PyObject_GC_Del,
    PyObject_GC_UnTrack,
    PyObject_Vectorcall,
    PyType_GenericAlloc,
)
from tracejit.runtime.native.structures import INSTANCES, BoundObject, FunctionObject, Object, TupleObject, TypeObject, state


def function_miss(function: FunctionObject, args: Array[Object], nargsf: i64, kwnames: TupleObject) -> Object:
    """A call that goes to Python, as a method: what traces, waits, converts and raises."""
    method = PyMethod_New(state.miss, function)
    if method == null:
        return null
    result = PyObject_Vectorcall(method, args, nargsf, kwnames)
    Py_DecRef(method)
    return result


def bound_miss(bound: BoundObject, args: Array[Object], nargsf: i64, kwnames: TupleObject) -> Object:
    if bound.function == null:
        PyErr_BadInternalCall()
        return null
    return function_miss(bound.function, args, nargsf, kwnames)


def function_new(kind: TypeObject, args: Object, kwargs: Object) -> Object:
    function = FunctionObject(PyType_GenericAlloc(kind, 0))
    if function != null:
        function.vectorcall = function_miss
    return function


def function_traverse(function: FunctionObject, visit: Callable[[Object, ptr], i32], arg: ptr) -> i32:
    if function.dict != null:
        stopped = visit(function.dict, arg)
        if stopped != 0:
            return stopped
    return visit(function.type, arg)


def function_clear(function: FunctionObject) -> i32:
    function.entries = null
    names = function.dict
    function.dict = null
    if names != null:
        Py_DecRef(names)
    return 0


def function_dealloc(function: FunctionObject) -> None:
    kind = function.type
    PyObject_GC_UnTrack(function)
    if function.weakrefs != null:
        PyObject_ClearWeakRefs(function)
    function_clear(function)
    PyObject_GC_Del(function)
    Py_DecRef(kind)


def function_get(function: FunctionObject, instance: Object, owner: Object) -> Object:
    """`object.method`: the traced method of an object, which is the same one while it is referred to."""
    if instance == null or instance == state.none:
        Py_IncRef(function)
        return function
    known = function.methods + ((i64(instance) >> 4) & (INSTANCES - 1))
    if known.instance == instance:
        return bound_of(known.method, instance)
    arguments = array(Object, 2)
    arguments[0] = function
    arguments[1] = instance
    method = FunctionObject(PyObject_Vectorcall(state.method_of, arguments, 2, null))
    if method == null:
        return null
    bound = bound_of(method, instance)
    Py_DecRef(method)
    return bound


def bound_of(function: FunctionObject, instance: Object) -> Object:
    bound = function.bound
    if bound != null:
        Py_IncRef(bound)
        return bound
    bound = BoundObject(PyType_GenericAlloc(state.bound_class, 0))
    if bound != null:
        bound.vectorcall = state.bound_call
        Py_IncRef(function)
        bound.function = function
        Py_IncRef(instance)
        bound.instance = instance
        function.bound = bound
    return bound


def bound_traverse(bound: BoundObject, visit: Callable[[Object, ptr], i32], arg: ptr) -> i32:
    if bound.function != null:
        stopped = visit(bound.function, arg)
        if stopped != 0:
            return stopped
    if bound.instance != null:
        stopped = visit(bound.instance, arg)
        if stopped != 0:
            return stopped
    return visit(bound.type, arg)


def bound_clear(bound: BoundObject) -> i32:
    function = bound.function
    instance = bound.instance
    bound.function = null
    bound.instance = null
    if function != null:
        if function.bound == bound:
            function.bound = null
        Py_DecRef(function)
    if instance != null:
        Py_DecRef(instance)
    return 0


def bound_dealloc(bound: BoundObject) -> None:
    kind = bound.type
    PyObject_GC_UnTrack(bound)
    function = bound.function
    if function != null and function.bound == bound:
        function.bound = null
    if bound.weakrefs != null:
        PyObject_ClearWeakRefs(bound)
    bound_clear(bound)
    PyObject_GC_Del(bound)
    Py_DecRef(kind)
