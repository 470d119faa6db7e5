# mypy: ignore-errors
"""Whether what a trace captured is what it was, in the language of tracejit.llvm.machine.words. A part of the dispatcher, with
which it is compiled.
"""


def holds(program):
    """1 where everything that the trace read from outside is what it was."""
    watch = program.watches + WATCHES_SIZE
    last = program.watches.last_watch
    while watch != last:
        watched = watch.watched
        kind = watch.kind
        if kind == CELL:
            if watched.cell_value != load(watch.values):
                return 0
        elif kind == BASES:
            if watched.type_bases != load(watch.values):
                return 0
        elif watched.type != watch.value:
            return 0
        elif kind == TUPLE or kind == LIST:
            if watched.size != watch.count:
                return 0
            items = watched + TUPLE_ITEMS
            if kind == LIST:
                items = watched.list_items
            i = 0
            while i < watch.count:
                if load(items + 8 * i) != load(watch.values + 8 * i):
                    return 0
                i += 1
        elif kind == NAMES:
            if names_hold(watch, watched) == 0:
                return 0
        elif kind == OBJECT and watch.count != 0:
            names = PyObject_GenericGetDict(watched, 0)
            if names == 0:
                PyErr_Clear()
                return 0
            same = names_hold(watch, names)
            Py_DecRef(names)
            if same == 0:
                return 0
        watch += WATCH_SIZE
    return 1


def names_hold(watch, names):
    """1 where a dict has the values that it had under the names that are watched. Its version, where Python keeps one,
    spares looking them up."""
    if state.dict_versions != 0:
        if names.dict_version == watch.version:
            return 1
    if watch.whole != 0:
        return all_names_hold(watch, names)
    i = 0
    while i < watch.count:
        value = PyDict_GetItemWithError(names, load(watch.names + 8 * i))
        if value == 0 and PyErr_Occurred() != 0:
            PyErr_Clear()
            return 0
        if value != load(watch.values + 8 * i):
            return 0
        i += 1
    watch.version = names.dict_version
    return 1


def all_names_hold(watch, names):
    """1 where a dict has nothing but what it had, in the same order."""
    if names.size != watch.count:
        return 0
    position = 0
    key = 0
    value = 0
    i = 0
    while i < watch.count:
        PyDict_Next(names, address(position), address(key), address(value))
        if key != load(watch.names + 8 * i) or value != load(watch.values + 8 * i):
            return 0
        i += 1
    watch.version = names.dict_version
    return 1
