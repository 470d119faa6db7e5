"""Where objects of CPython, NumPy and this package have what the native call path reads, found out or checked here and now."""

from __future__ import annotations

import ctypes
import sys
import types
from typing import Any

import numpy as np

from tracejit.ir.types import TensorType, float32
from tracejit.llvm.machine.native_subset.language import Struct, offset_of
from tracejit.runtime.native import structures
from tracejit.tensor import Tensor
from tracejit.variable import Variable


def _word(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def _int(address: int) -> int:
    return ctypes.c_int32.from_address(address).value


def _slots(struct: type[Struct], of: Any, **values: Any) -> dict[str, int]:
    """Where `of`, an object of a class with slots, has what stands in them: the offsets of the structure's fields."""
    measured = {}
    for name, value in values.items():
        offsets = [offset for offset in range(16, type(of).__basicsize__, 8) if _word(id(of) + offset) == id(value)]
        if len(offsets) != 1:
            raise LookupError(f"the slot {name} of {type(of).__name__} was not found")
        measured[f"{struct.__name__}.{name}"] = offsets[0]
    return measured


def offsets() -> dict[str, int]:
    """Those of the measured fields of `structures`, by "Structure.field". LookupError where they cannot be told."""
    kind = TensorType((3,), float32)
    one = Tensor(np.zeros(3, np.float32), kind)
    cell = Variable(one, name="layout")
    cell._trainable = "trainable"  # type: ignore[assignment]  # an object that stands in no other slot
    return {
        **_slots(structures.TensorObject, one, kind=kind, value=one.value),
        "TensorObject.weakrefs": Tensor.__weakrefoffset__,
        "TypeObject.bases": _bases(),
        **_slots(structures.VariableObject, cell, kind=kind, tensor=cell._tensor, trainable=cell._trainable),
    }


def _bases() -> int:
    """Where a class has the order of its bases."""

    class Base: ...

    class Derived(Base): ...

    metaclass: type = type
    offsets = [offset for offset in range(16, metaclass.__basicsize__, 8) if _word(id(Derived) + offset) == id(Derived.__mro__)]
    if len(offsets) != 1:
        raise LookupError("a class does not have the order of its bases where it is expected")
    return offsets[0]


def check() -> None:
    """LookupError where an object is not laid out as `structures` says."""
    array = np.zeros((5, 7, 3), np.int32)[::2, 1:]
    items: list[Any] = [object(), object()]
    pair, cell, number, alone = tuple(items), types.CellType(items), float(len(items)), list(range(3))

    def place(of: Any, struct: type[Struct], field: str) -> int:
        return id(of) + offset_of(struct, field)

    dims = _word(place(array, structures.ArrayObject, "dims"))
    facts = {
        "an array's memory": _word(place(array, structures.ArrayObject, "data")) == array.__array_interface__["data"][0],
        "an array's rank": _int(place(array, structures.ArrayObject, "nd")) == 3,
        "an array's shape": tuple([_word(dims + 8 * axis) for axis in range(3)]) == array.shape,
        "an array's base": _word(place(array, structures.ArrayObject, "base")) == id(array.base),
        "an array's dtype": _word(place(array, structures.ArrayObject, "descr")) == id(array.dtype),
        "a list's items": _word(_word(place(items, structures.ListObject, "items")) + 8) == id(items[1]),
        "a tuple's items": _word(place(pair, structures.TupleObject, "items") + 8) == id(items[1]),
        "a cell's content": _word(place(cell, structures.CellObject, "value")) == id(items),
        "a float's value": ctypes.c_double.from_address(place(number, structures.FloatObject, "value")).value == number,
        "a reference count": _word(place(alone, structures.Object, "refcount")) == sys.getrefcount(alone) - 1,
        "an object's type": _word(place(alone, structures.Object, "type")) == id(list),
    }
    for sized in (items, pair, dict.fromkeys(items)):
        facts[f"the size of a {type(sized).__name__}"] = _word(place(sized, structures.SizedObject, "size")) == 2
    for each in (array, np.zeros(3), np.zeros((3, 2)).T):
        facts["an array's flags"] = _int(place(each, structures.ArrayObject, "flags")) & 0xFFF == each.flags.num & 0xFFF
    for scalar in (np.float32(1.5), np.float64(2.5), np.int32(-3), np.int64(-4), np.bool_(True)):
        value = ctypes.string_at(place(scalar, structures.ScalarObject, "value"), scalar.dtype.itemsize)
        facts[f"the value of a NumPy {scalar.dtype}"] = value == scalar.tobytes()
    wrong = [what for what, right in facts.items() if not right]
    if wrong:
        raise LookupError(f"{', '.join(wrong)}: not where it is expected")


class _Changing:
    value: Any = None


def dicts_have_versions() -> bool:
    """Whether a dict has a word that is another one after every change, by whatever way the change was made."""
    offset = offset_of(structures.DictObject, "version")
    owner = _Changing()
    names = owner.__dict__
    seen = [_word(id(names) + offset)]

    def note() -> None:
        seen.append(_word(id(names) + offset))

    for number in range(100):  # Python makes the code that sets an attribute faster after a while
        owner.value = object()
        note()
        names["value"] = number
        note()
    names.update(value=0)
    note()
    del owner.value
    note()
    names["other"] = 1
    note()
    names.pop("other")
    note()
    return len(set(seen)) == len(seen)
