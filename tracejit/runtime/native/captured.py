"""Whether what a trace captured is what it was, in the native subset. A part of the dispatcher, with which it is compiled."""

from __future__ import annotations

from tracejit.llvm.machine.native_subset.language import address, i64, null
from tracejit.runtime.native.python_api import (
    Py_DecRef,
    PyDict_GetItemWithError,
    PyDict_Next,
    PyErr_Clear,
    PyErr_Occurred,
    PyObject_GenericGetDict,
)
from tracejit.runtime.native.structures import (
    CellObject,
    DictObject,
    Kind,
    ListObject,
    Object,
    Program,
    SizedObject,
    TupleObject,
    TypeObject,
    Watch,
    state,
)


def holds(program: Program) -> i64:
    """1 where everything that the trace read from outside is what it was."""
    watch = program.watches.first
    end = program.watches.end
    while watch != end:
        watched = watch.watched
        kind = watch.kind
        if kind == Kind.CELL:
            if CellObject(watched).value != watch.values[0]:
                return 0
        elif kind == Kind.BASES:
            if TypeObject(watched).bases != watch.values[0]:
                return 0
        elif watched.type != watch.type:
            return 0
        elif kind == Kind.TUPLE or kind == Kind.LIST:
            if SizedObject(watched).size != watch.count:
                return 0
            items = TupleObject(watched).items
            if kind == Kind.LIST:
                items = ListObject(watched).items
            i = 0
            while i < watch.count:
                if items[i] != watch.values[i]:
                    return 0
                i += 1
        elif kind == Kind.NAMES:
            if names_hold(watch, DictObject(watched)) == 0:
                return 0
        elif kind == Kind.OBJECT and watch.count != 0:
            names = PyObject_GenericGetDict(watched, null)
            if names == null:
                PyErr_Clear()
                return 0
            same = names_hold(watch, names)
            Py_DecRef(names)
            if same == 0:
                return 0
        watch += 1
    return 1


def names_hold(watch: Watch, names: DictObject) -> i64:
    """1 where a dict has the values that it had under the names that are watched. Its version, where Python keeps one,
    spares looking them up."""
    if state.dict_versions != 0 and names.version == watch.version:
        return 1
    if watch.whole != 0:
        return all_names_hold(watch, names)
    i = 0
    while i < watch.count:
        value = PyDict_GetItemWithError(names, watch.names[i])
        if value == null and PyErr_Occurred() != null:
            PyErr_Clear()
            return 0
        if value != watch.values[i]:
            return 0
        i += 1
    watch.version = names.version
    return 1


def all_names_hold(watch: Watch, names: DictObject) -> i64:
    """1 where a dict has nothing but what it had, in the same order."""
    if names.size != watch.count:
        return 0
    position = 0
    key: Object = null
    value: Object = null
    i = 0
    while i < watch.count:
        PyDict_Next(names, address(position), address(key), address(value))
        if key != watch.names[i] or value != watch.values[i]:
            return 0
        i += 1
    watch.version = names.version
    return 1
