"""Where objects of CPython, NumPy and this package have what the native call path reads, found out or checked here and now."""

from __future__ import annotations

import ctypes
import sys
import types
from typing import Any

import numpy as np

from tracejit.ir.types import TensorType, float32
from tracejit.llvm.machine.words import Field
from tracejit.runtime.native.structures import CONSTANTS, fields
from tracejit.tensor import Tensor
from tracejit.variable import Variable


def _word(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def _int(address: int) -> int:
    return ctypes.c_int32.from_address(address).value


def _slots(of: Any, **values: Any) -> dict[str, Field]:
    """Where `of`, an object of a class with slots, has what stands in them."""
    found = {}
    for name, value in values.items():
        offsets = [offset for offset in range(16, type(of).__basicsize__, 8) if _word(id(of) + offset) == id(value)]
        if len(offsets) != 1:
            raise LookupError(f"the slot {name} of {type(of).__name__} was not found")
        found[name] = Field(offsets[0])
    return found


def slots() -> dict[str, Field]:
    """The fields of tensors and variables. LookupError where they cannot be told."""
    kind = TensorType((3,), float32)
    one = Tensor(np.zeros(3, np.float32), kind)
    cell = Variable(one, name="layout")
    cell._trainable = "trainable"  # type: ignore[assignment]  # an object that stands in no other slot
    return {
        **_slots(one, tensor_type=kind, tensor_value=one.value),
        "tensor_weakrefs": Field(Tensor.__weakrefoffset__),
        "type_bases": _bases(),
        **_slots(cell, variable_type=kind, variable_tensor=cell._tensor, variable_trainable=cell._trainable),
    }


def _bases() -> Field:
    """Where a class has the order of its bases."""

    class Base: ...

    class Derived(Base): ...

    metaclass: type = type
    offsets = [offset for offset in range(16, metaclass.__basicsize__, 8) if _word(id(Derived) + offset) == id(Derived.__mro__)]
    if len(offsets) != 1:
        raise LookupError("a class does not have the order of its bases where it is expected")
    return Field(offsets[0])


def check() -> None:
    """LookupError where an object is not laid out as `structures` says."""
    at = {name: field.offset for name, field in fields().items()}
    array = np.zeros((5, 7, 3), np.int32)[::2, 1:]
    dims = _word(id(array) + at["dims"])
    items: list[Any] = [object(), object()]
    pair, cell, number, alone = tuple(items), types.CellType(items), float(len(items)), list(range(3))
    facts = {
        "an array's memory": _word(id(array) + at["data"]) == array.__array_interface__["data"][0],
        "an array's rank": _int(id(array) + at["nd"]) == 3,
        "an array's shape": tuple([_word(dims + 8 * axis) for axis in range(3)]) == array.shape,
        "an array's base": _word(id(array) + at["base"]) == id(array.base),
        "an array's dtype": _word(id(array) + at["descr"]) == id(array.dtype),
        "a list's items": _word(_word(id(items) + at["list_items"]) + 8) == id(items[1]),
        "a tuple's items": _word(id(pair) + CONSTANTS["TUPLE_ITEMS"] + 8) == id(items[1]),
        "a cell's content": _word(id(cell) + at["cell_value"]) == id(items),
        "a float's value": ctypes.c_double.from_address(id(number) + at["float_value"]).value == number,
        "a reference count": _word(id(alone) + at["refcount"]) == sys.getrefcount(alone) - 1,
        "an object's type": _word(id(alone) + at["type"]) == id(list),
    }
    for sized in (items, pair, dict.fromkeys(items)):
        facts[f"the size of a {type(sized).__name__}"] = _word(id(sized) + at["size"]) == 2
    for each in (array, np.zeros(3), np.zeros((3, 2)).T):
        facts["an array's flags"] = _int(id(each) + at["flags"]) & 0xFFF == each.flags.num & 0xFFF
    for scalar in (np.float32(1.5), np.float64(2.5), np.int32(-3), np.int64(-4), np.bool_(True)):
        value = ctypes.string_at(id(scalar) + CONSTANTS["SCALAR_VALUE"], scalar.dtype.itemsize)
        facts[f"the value of a NumPy {scalar.dtype}"] = value == scalar.tobytes()
    wrong = [what for what, right in facts.items() if not right]
    if wrong:
        raise LookupError(f"{', '.join(wrong)}: not where it is expected")


class _Changing:
    value: Any = None


def dicts_have_versions() -> bool:
    """Whether a dict has a word that is another one after every change, by whatever way the change was made."""
    offset = fields()["dict_version"].offset
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
