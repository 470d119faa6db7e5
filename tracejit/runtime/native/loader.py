"""The native call path in this process: the types of traced functions, and the dispatcher.

The dispatcher is loaded when a function is called again. Both are compiled once and kept in the cache.
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
from tracejit.llvm.machine import cache, host
from tracejit.llvm.machine.blob import BadBlob, Blob
from tracejit.llvm.machine.loader import load
from tracejit.llvm.machine.native_subset.language import Struct, layout_of, offset_of
from tracejit.llvm.machine.native_subset.source import source_of
from tracejit.llvm.machine.units import Unit, compile_units
from tracejit.locks import Lock, importing, lazy_property
from tracejit.runtime.native import arguments, dispatcher, function_types, guard_checks, layout, python_api, results
from tracejit.runtime.native.extension_type import OBJECT, SIZE, ExtensionType, function_of_python
from tracejit.runtime.native.structures import (
    INSTANCES,
    BoundObject,
    FunctionObject,
    KnownMethod,
    State,
    row,
)  # fmt: skip
from tracejit.tensor import Tensor
from tracejit.variable import Variable

# The Pythons whose objects are known to be laid out as `structures` says.
_FIRST, _LAST = (3, 11), (3, 13)

# Places in the table of functions that NumPy has for extensions.
_NEW_FROM_DESCR, _SET_BASE = 94, 282


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
        source_of(function_types)
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
        sources, others = ([source_of(module) for module in given] for given in (modules, elsewhere))
        texts = tuple([source.text for source in (*sources, *others)])
        key = host.key("native call path", texts, tuple(sorted(offsets.items())), level)
        found = cache.get(key)
        header, blob = found.header, _blob(found.code)
        if header is None or not _is_header(header) or blob is None:
            with importing:  # 2 ms that a process does not pay where the cache has it
                from tracejit.llvm.machine.native_subset.compiler import compile_sources

            compiled = compile_sources(sources, exports, offsets, others)
            (blob,) = compile_units([Unit(tuple(exports), compiled.text)], level)
            header = {"imported": list(compiled.imported)}
            cache.put(key, header, blob.to_bytes())
        known = {name: symbols[name] if name in symbols else function_of_python(name) for name in header["imported"]}
        self.functions, self._library = load([blob], known)
        self._state = (ctypes.c_int64 * (layout_of(State).size // 8)).from_address(self.functions["state"])

    def fill(self, state: Mapping[str, int]) -> None:
        """Set all fields of its state."""
        self._state[:] = row(State, **state)  # type: ignore[assignment]


def _blob(contents: bytes) -> Blob | None:
    try:
        return Blob.from_bytes(contents)
    except BadBlob:
        return None


def _is_header(header: Mapping[str, Any]) -> bool:
    names = header.get("imported")
    return header.keys() == {"imported"} and type(names) is list and all(type(name) is str for name in names)


def _of_numpy(place: int) -> int:
    """The address of a function of NumPy's C interface."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.argtypes, pointer.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p
    return ctypes.c_int64.from_address(
        pointer(importlib.import_module("numpy._core._multiarray_umath")._ARRAY_API, None) + 8 * place
    ).value


def _methods(code: _Code, of: str, *slots: str) -> dict[str, int]:
    return {f"tp_{slot}": code.functions[f"{of}_{slot}"] for slot in slots}


def _function_type(code: _Code, methods: type) -> ExtensionType:
    return ExtensionType(
        "tracejit.Function", methods, FunctionObject, INSTANCES * layout_of(KnownMethod).size,
        [("__dictoffset__", SIZE, "dict"), ("__weaklistoffset__", SIZE, "weakrefs")],
        {
            **_methods(code, "function", "new", "dealloc", "traverse", "clear"),
            "tp_descr_get": code.functions["function_get"],
        },
        has_dict=True,
    )  # fmt: skip


def _bound_type(code: _Code, methods: type) -> ExtensionType:
    return ExtensionType(
        "tracejit.BoundFunction", methods, BoundObject, 0,
        [("__weaklistoffset__", SIZE, "weakrefs"), ("__self__", OBJECT, "instance"), ("_function", OBJECT, "function")],
        _methods(code, "bound", "dealloc", "traverse", "clear"),
    )  # fmt: skip


# What Python may make anew each time.
_NEW_TUPLE, _BYTE = tuple.__new__, np.dtype(np.uint8)


def _state_of_process(bound: type, bound_call: int, miss: Any, method_of: Any) -> dict[str, int]:
    """The fields of `State`, here."""
    return {
        "interpreted": ctypes.addressof(interpreted),
        "held": id(variable.held),
        "waiting": id(variable.waiting),
        "notify": id(variable.tell_waiting),
        "none": id(None),
        "miss": id(miss),
        "method_of": id(method_of),
        "new_tuple": id(_NEW_TUPLE),
        "bound_class": id(bound),
        "bound_call": bound_call,
        "tensor_class": id(Tensor),
        "variable_class": id(Variable),
        "array_class": id(np.ndarray),
        "float_class": id(float),
        "dict_class": id(dict),
        "str_class": id(str),
        "int_class": id(int),
        "byte_descr": id(_BYTE),
        "new_from_descr": _of_numpy(_NEW_FROM_DESCR),
        "set_base": _of_numpy(_SET_BASE),
        "dict_versions": int(layout.dicts_have_versions()),
    }


class _Native:
    """The types of traced functions, which have the methods of the classes that they are made of, and the dispatcher."""

    def __init__(self, function: type, bound: type, miss: Callable[..., Any], method_of: Callable[[Any, Any], Any]):
        self._keep = miss, method_of
        self._types = _Code([function_types], _TYPE_EXPORTS, [python_api], {}, level=0)
        self._dispatcher: _Code | None = None
        self._function, self._bound = _function_type(self._types, function), _bound_type(self._types, bound)
        self._state = _state_of_process(self._bound.type, self._types.functions["bound_miss"], miss, method_of)
        self._types.fill(self._state)

    @property
    def function(self) -> Any:
        """The type of traced functions."""
        return self._function.type

    @lazy_property
    def calls(self) -> Mapping[str, int]:
        """The dispatcher's functions."""
        modules = [dispatcher, arguments, guard_checks, results]
        made = _Code(modules, _DISPATCHER_EXPORTS, [python_api, function_types], self._types.functions, level=2)
        made.fill(self._state)
        self._dispatcher = made  # before anything leads to its code: an interrupt must not take that away
        self._types.fill(self._state | {"bound_call": made.functions["bound_call"]})
        return made.functions

    def dispatch(self, function: Any, is_method: bool) -> None:
        """Let calls of `function` be looked for among its entries. A method is called through what it is bound to, which
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

    `miss(function, *args, **kwargs)` is what a call does that no entry fits; `method_of(function, instance)` gives the
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
    """Let calls of a native function be looked for among its entries."""
    assert _native is not None
    with _making:
        _native.dispatch(function, is_method)
