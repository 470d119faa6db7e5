"""Types of Python whose objects are structures, and whose methods are machine code or those of a class without a layout."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

from tracejit.llvm.machine.native_subset.language import Struct, layout_of, offset_of

# Numbers of slots, flags of types and kinds of members, as Python's headers give them.
_SLOTS = {
    "tp_call": 50, "tp_clear": 51, "tp_dealloc": 52, "tp_descr_get": 54, "tp_new": 65, "tp_traverse": 71, "tp_members": 72,
    "tp_getset": 73,
}  # fmt: skip
_FLAGS = (1 << 11) | (1 << 14) | (1 << 18)  # vectorcall, garbage collection, version tag
OBJECT, SIZE, _READ_ONLY = 6, 19, 1


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


def function_of_python(name: str) -> int:
    """The address of a function of Python's C interface."""
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0


class ExtensionType:
    """A type of objects with this structure and `more` bytes, with the methods of `base`, a class without a layout of its own.

    `members` have names, kinds and fields of the structure; `slots` addresses of functions. A call goes to its `vectorcall`.
    The type is used for as long as this lives, which keeps what Python does not copy.
    """

    def __init__(
        self, name: str, base: type, struct: type[Struct], more: int, members: Sequence[tuple[str, int, str]],
        slots: Mapping[str, int], has_dict: bool = False,
    ):  # fmt: skip
        members = (*members, ("__vectorcalloffset__", SIZE, "vectorcall"))
        made = [_Member(each.encode(), kind, offset_of(struct, field), _READ_ONLY, None) for each, kind, field in members]
        get, set = function_of_python("PyObject_GenericGetDict"), function_of_python("PyObject_GenericSetDict")
        self._members = (_Member * (len(made) + 1))(*made)
        self._dict = (_GetSet * 2)(_GetSet(b"__dict__", get, set, None, None))
        pointers = {
            "tp_call": function_of_python("PyVectorcall_Call"),
            **slots,
            **({"tp_getset": ctypes.addressof(self._dict)} if has_dict else {}),
            "tp_members": ctypes.addressof(self._members),
        }
        self._slots = (_Slot * (len(pointers) + 1))(*[_Slot(_SLOTS[slot], pointer) for slot, pointer in pointers.items()])
        self._spec = _Spec(name.encode(), layout_of(struct).size + more, 0, _FLAGS, self._slots)
        make = ctypes.pythonapi.PyType_FromSpecWithBases
        make.argtypes, make.restype = [ctypes.c_void_p, ctypes.py_object], ctypes.py_object
        self.type: Any = make(ctypes.addressof(self._spec), (base,))
