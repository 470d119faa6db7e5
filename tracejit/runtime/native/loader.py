"""The native call path in this process: the types of traced functions, and the dispatcher, which is loaded when a function is
called again. Both are compiled once and kept in the object cache.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import platform
import struct
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from tracejit import variable
from tracejit.context import interpreted
from tracejit.llvm.machine import cache, engine
from tracejit.llvm.machine.native_subset.compiler import compile_sources, source_of
from tracejit.llvm.machine.native_subset.language import Struct, layout_of
from tracejit.locks import Lock, lazy_property
from tracejit.runtime.native import callables, captured, dispatcher, layout, python_api, results
from tracejit.runtime.native.structures import (
    INSTANCES,
    BoundObject,
    FunctionObject,
    KnownMethod,
    State,
    offset_of,
    row,
)  # fmt: skip
from tracejit.tensor import Tensor
from tracejit.variable import Variable

# The Pythons whose objects are known to be laid out as `structures` says.
_FIRST, _LAST = (3, 11), (3, 13)

# Numbers of slots, flags of types and kinds of members, as Python's headers give them.
_SLOTS = {
    "tp_call": 50, "tp_clear": 51, "tp_dealloc": 52, "tp_descr_get": 54, "tp_new": 65, "tp_traverse": 71, "tp_members": 72,
    "tp_getset": 73,
}  # fmt: skip
_FLAGS = (1 << 11) | (1 << 14) | (1 << 18)  # vectorcall, garbage collection, version tag
_OBJECT, _SIZE, _READ_ONLY = 6, 19, 1

# Places in the table of functions that NumPy has for extensions.
_NEW_FROM_DESCR, _SET_BASE = 94, 282


class _Slot(ctypes.Structure):
    _fields_ = [("slot", ctypes.c_int), ("pointer", ctypes.c_void_p)]


class _Spec(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("basicsize", ctypes.c_int),
        ("itemsize", ctypes.c_int),
        ("flags", ctypes.c_uint),
        ("slots", ctypes.POINTER(_Slot)),
    ]


class _Member(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("offset", ctypes.c_ssize_t),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


class _GetSet(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("get", ctypes.c_void_p),
        ("set", ctypes.c_void_p),
        ("doc", ctypes.c_char_p),
        ("closure", ctypes.c_void_p),
    ]


@functools.cache
def unusable() -> str | None:
    """Why calls go through Python, None where they are native."""
    if os.environ.get("TRACEJIT_DISPATCH") == "python":
        return "TRACEJIT_DISPATCH=python"
    if platform.python_implementation() != "CPython" or not _FIRST <= sys.version_info[:2] <= _LAST:
        return f"{platform.python_implementation()} {platform.python_version()} has not been tried"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "Python has no global lock"
    if struct.calcsize("P") != 8 or sys.byteorder != "little":
        return "the machine is not one of 64 bits, little-endian"
    try:
        layout.check()
        layout.offsets()
        source_of(callables)
    except (LookupError, OSError) as error:
        return str(error)
    return None


# What Python and C call of each module.
_TYPE_EXPORTS = (
    "state", "function_miss", "function_new", "function_traverse", "function_clear", "function_dealloc", "function_get",
    "bound_miss", "bound_traverse", "bound_clear", "bound_dealloc",
)  # fmt: skip
_DISPATCHER_EXPORTS = ("state", "function_call", "bound_call", "add_frame")


class _Code:
    """Modules in the native subset as machine code: the addresses of what they export, and their state to be filled."""

    def __init__(
        self, modules: Sequence[ModuleType], exports: Sequence[str], elsewhere: Sequence[ModuleType],
        symbols: Mapping[str, int], level: int,
    ):  # fmt: skip
        offsets = layout.offsets()
        # The sources and the structures are in every key.
        key = cache.key("native call path", tuple(each.__name__ for each in modules), tuple(sorted(offsets.items())), level)
        found = cache.get(key)
        header, code = found.header, found.code
        if header is None or not _is_header(header):
            compiled = compile_sources(map(source_of, modules), exports, offsets, map(source_of, elsewhere))
            code = engine.compile_text(compiled.text, level)
            header = {"imported": list(compiled.imported)}
            cache.put(key, header, code)
        known = {name: symbols[name] if name in symbols else _of_python(name) for name in header["imported"]}
        self.functions, self._library = engine.load_object(code, exports, known)
        self.state = (ctypes.c_int64 * _slots_of(State)).from_address(self.functions["state"])


def _is_header(header: Mapping[str, Any]) -> bool:
    names = header.get("imported")
    return header.keys() == {"imported"} and type(names) is list and all(type(name) is str for name in names)


def _slots_of(struct: type[Struct]) -> int:
    return layout_of(struct).size // 8


def _of_python(name: str) -> int:
    """The address of a function of Python's C interface."""
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0


def _of_numpy(place: int) -> int:
    """The address of a function of NumPy's C interface."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.argtypes, pointer.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p
    return ctypes.c_int64.from_address(
        pointer(importlib.import_module("numpy._core._multiarray_umath")._ARRAY_API, None) + 8 * place
    ).value


class _Native:
    """The types of traced functions, which have the methods of the classes that they are made of, and the dispatcher."""

    def __init__(self, function: type, bound: type, miss: Callable[..., Any], method_of: Callable[[Any, Any], Any]):
        self._keep: list[Any] = [miss, method_of]
        self._types = _Code([callables], _TYPE_EXPORTS, [python_api], {}, level=0)
        at = self._types.functions
        common = {"tp_call": _of_python("PyVectorcall_Call")}
        self.function = self._type(
            "tracejit.Function",
            function,
            FunctionObject,
            INSTANCES * layout_of(KnownMethod).size,
            [("__dictoffset__", _SIZE, "dict"), ("__weaklistoffset__", _SIZE, "weakrefs")],
            {
                **common,
                **{f"tp_{slot}": at[f"function_{slot}"] for slot in ("new", "dealloc", "traverse", "clear")},
                "tp_descr_get": at["function_get"],
                "tp_getset": self._dict(),
            },
        )
        self.bound = self._type(
            "tracejit.BoundFunction",
            bound,
            BoundObject,
            0,
            [
                ("__weaklistoffset__", _SIZE, "weakrefs"),
                ("__self__", _OBJECT, "instance"),
                ("_function", _OBJECT, "function"),
            ],
            {**common, **{f"tp_{slot}": at[f"bound_{slot}"] for slot in ("dealloc", "traverse", "clear")}},
        )
        self._facts = {
            "interpreted": ctypes.addressof(interpreted),
            "held": id(variable.held),
            "waiting": id(variable.waiting),
            "notify": id(variable.tell_waiting),
            "none": id(None),
            "miss": id(miss),
            "method_of": id(method_of),
            "new_tuple": id(self._kept(tuple.__new__)),
            "bound_class": id(self.bound),
            "bound_call": at["bound_miss"],
            "tensor_class": id(Tensor),
            "variable_class": id(Variable),
            "array_class": id(np.ndarray),
            "float_class": id(float),
            "dict_class": id(dict),
            "str_class": id(str),
            "int_class": id(int),
            "byte_descr": id(self._kept(np.dtype(np.uint8))),
            "new_from_descr": _of_numpy(_NEW_FROM_DESCR),
            "set_base": _of_numpy(_SET_BASE),
            "dict_versions": int(layout.dicts_have_versions()),
        }
        self._fill(self._types)

    def _kept(self, value: Any) -> Any:
        self._keep.append(value)
        return value

    def _fill(self, code: _Code) -> None:
        code.state[:] = row(State, **self._facts)  # type: ignore[assignment]

    def _dict(self) -> int:
        get, set = _of_python("PyObject_GenericGetDict"), _of_python("PyObject_GenericSetDict")
        return ctypes.addressof(self._kept((_GetSet * 2)(_GetSet(b"__dict__", get, set, None, None))))

    def _type(
        self, name: str, base: type, struct: type[Struct], more: int, members: Sequence[tuple[str, int, str]], slots: Any
    ) -> Any:
        """A type of objects with this structure and `more` bytes, and with the methods of `base`, a class without a layout of
        its own."""
        members = (*members, ("__vectorcalloffset__", _SIZE, "vectorcall"))
        made = [_Member(each.encode(), kind, offset_of(struct, field), _READ_ONLY, None) for each, kind, field in members]
        table = self._kept((_Member * (len(made) + 1))(*made))
        pointers = [(_SLOTS[slot], pointer) for slot, pointer in {**slots, "tp_members": ctypes.addressof(table)}.items()]
        filled = self._kept((_Slot * (len(pointers) + 1))(*[_Slot(*each) for each in pointers]))
        spec = self._kept(_Spec(name.encode(), layout_of(struct).size + more, 0, _FLAGS, filled))
        make = ctypes.pythonapi.PyType_FromSpecWithBases
        make.argtypes, make.restype = [ctypes.c_void_p, ctypes.py_object], ctypes.py_object
        return make(ctypes.addressof(spec), (base,))

    @lazy_property
    def calls(self) -> Mapping[str, int]:
        """The dispatcher's functions."""
        modules = [dispatcher, captured, results]
        made = _Code(modules, _DISPATCHER_EXPORTS, [python_api, callables], self._types.functions, level=2)
        self._fill(made)
        self._dispatcher = made  # before anything leads to its code: an interrupt must not take that away
        self._facts["bound_call"] = made.functions["bound_call"]
        self._fill(self._types)
        return made.functions

    def dispatch(self, function: Any, is_method: bool) -> None:
        """Let calls of `function` be looked for among its records. A method is called through what it is bound to, which
        keeps its object alive."""
        calls = self.calls
        if not is_method:
            _field(id(function), FunctionObject, "vectorcall").value = calls["function_call"]
        elif bound := _field(id(function), FunctionObject, "bound").value:
            _field(bound, BoundObject, "vectorcall").value = calls["bound_call"]


def _field(address: int, struct: type[Struct], name: str) -> ctypes.c_int64:
    return ctypes.c_int64.from_address(address + offset_of(struct, name))


_native: _Native | None = None
_making = Lock()


def function_type(function: type, bound: type, miss: Callable[..., Any], method_of: Callable[[Any, Any], Any]) -> Any:
    """The native type of traced functions, with the methods of `function`, and with `bound`'s for what is bound to an object.

    `miss(function, *args, **kwargs)` is what a call does that no record fits; `method_of(function, instance)` gives the
    function of an object's method.
    """
    global _native
    with _making:
        if _native is None:
            _native = _Native(function, bound, miss, method_of)
        return _native.function


def add_frame(program: int, frame: int) -> None:
    """Give the program at an address the frame at another."""
    assert _native is not None
    with _making:
        call = _native.calls["add_frame"]
    # With the interpreter's lock, so that no native call comes between.
    ctypes.PYFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(call)(program, frame)


def dispatch(function: Any, is_method: bool) -> None:
    """Let calls of a native function be looked for among its records."""
    assert _native is not None
    with _making:
        _native.dispatch(function, is_method)
