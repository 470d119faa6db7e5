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
    GuardCheck,
    Kind,
    ListObject,
    Object,
    Program,
    SizedObject,
    TupleObject,
    TypeObject,
    state,
)


def holds(program: Program) -> i64:
    """1 where everything that the trace read from outside is what it was."""
    check = program.checks.first
    end = program.checks.end
    while check != end:
        subject = check.subject
        kind = check.kind
        if kind == Kind.CELL:
            if CellObject(subject).value != check.values[0]:
                return 0
        elif kind == Kind.BASES:
            if TypeObject(subject).bases != check.values[0]:
                return 0
        elif subject.type != check.type:
            return 0
        elif kind == Kind.TUPLE or kind == Kind.LIST:
            if SizedObject(subject).size != check.count:
                return 0
            items = TupleObject(subject).items
            if kind == Kind.LIST:
                items = ListObject(subject).items
            i = 0
            while i < check.count:
                if items[i] != check.values[i]:
                    return 0
                i += 1
        elif kind == Kind.NAMES:
            if names_hold(check, DictObject(subject)) == 0:
                return 0
        elif kind == Kind.OBJECT and check.count != 0:
            names = PyObject_GenericGetDict(subject, null)
            if names == null:
                PyErr_Clear()
                return 0
            same = names_hold(check, names)
            Py_DecRef(names)
            if same == 0:
                return 0
        check += 1
    return 1


def names_hold(check: GuardCheck, names: DictObject) -> i64:
    """1 where a dict has the values that it had under the names that are checked. Its version, where Python keeps one,
    spares looking them up."""
    if state.dict_versions != 0 and names.version == check.version:
        return 1
    if check.whole != 0:
        return all_names_hold(check, names)
    i = 0
    while i < check.count:
        value = PyDict_GetItemWithError(names, check.names[i])
        if value == null and PyErr_Occurred() != null:
            PyErr_Clear()
            return 0
        if value != check.values[i]:
            return 0
        i += 1
    check.version = names.version
    return 1


def all_names_hold(check: GuardCheck, names: DictObject) -> i64:
    """1 where a dict has nothing but what it had, in the same order."""
    if names.size != check.count:
        return 0
    position = 0
    key: Object = null
    value: Object = null
    i = 0
    while i < check.count:
        PyDict_Next(names, address(position), address(key), address(value))
        if key != check.names[i] or value != check.values[i]:
            return 0
        i += 1
    check.version = names.version
    return 1
