"""What an object is and holds, found without running code of its class.

Neither `__getattr__` runs, nor properties, nor a metaclass, nor what a proxy says of `__class__`, nor the `__len__` and
`__iter__` of a container.
"""

from __future__ import annotations

import collections
import contextlib
import sys
import types
from collections.abc import Iterator
from typing import Any

MISSING = object()  # what is not there
HIDDEN = object()  # what only code of the object's class can tell

bases = type.__dict__["__mro__"].__get__  # of a class: itself and those it is derived from, in the order of look-up
class_names = type.__dict__["__dict__"].__get__
_flags = type.__dict__["__flags__"].__get__
_module = type.__dict__["__module__"].__get__
name_of = type.__dict__["__name__"].__get__  # of a class
_HEAP_TYPE = 1 << 9
# What reads an attribute of an object as `object` does; the second is the same code under a name of its own.
_PLAIN_LOOK_UP = (object.__dict__["__getattribute__"], types.SimpleNamespace.__getattribute__)
_SLOT = (types.MemberDescriptorType, types.GetSetDescriptorType)


class Wrapper:
    """A callable of tracejit's own that stands for `python_function`, as a method of its `__self__` where it has one."""

    __slots__: tuple[str, ...] = ()
    python_function: Any


def is_a(value: Any, kinds: type | tuple[type, ...]) -> bool:
    """Whether the type of `value` is one of `kinds` or derived from one; isinstance would ask the object."""
    return issubclass(type(value), kinds)


def is_masked(kind: type) -> bool:
    """Whether a class is one of NumPy's masked arrays. To import numpy.ma takes 10 ms; without it there is none."""
    module = sys.modules.get("numpy.ma.core")
    return module is not None and issubclass(kind, getattr(module, "MaskedArray", ()))


def is_exactly(value: Any, kinds: tuple[type, ...]) -> bool:
    """Whether `kinds`, which are classes without a metaclass, has the type of `value`."""
    kind = type(value)
    return type(kind) is type and kind in kinds  # `in` would ask a metaclass how to compare


def type_name(value: Any) -> str:
    """The name of the type of `value`."""
    return name_of(type(value))


def module_of(kind: type) -> str:
    """The name of the module of a class; "" where it has none."""
    try:
        name = _module(kind)
    except AttributeError:
        return ""
    return name if type(name) is str else ""


def can_be_set(kind: type) -> bool:
    """Whether the attributes of a class can be set."""
    return bool(_flags(kind) & _HEAP_TYPE)


def in_class(kind: type, name: str) -> Any:
    """What a class or the first of its bases has under a name, as it stands there; MISSING where none has it."""
    for each in bases(kind):
        names = class_names(each)
        if name in names:
            return names[name]
    return MISSING


def has_plain_look_up(kind: type) -> bool:
    """Whether attributes of objects of a class are read as `object` reads them."""
    found = in_class(kind, "__getattribute__")
    return any(found is each for each in _PLAIN_LOOK_UP)


def namespace(value: Any) -> dict[str, Any] | None:
    """The dict with the attributes of `value`; None where it has none, or where its class has put something else in place."""
    found = in_class(type(value), "__dict__")
    if type(found) not in _SLOT:
        return None
    names = found.__get__(value)
    return names if is_a(names, dict) else None


def slots(value: Any) -> Iterator[Any]:
    """What stands in the slots of `value`."""
    for each in bases(type(value)):
        for descriptor in class_names(each).values():
            if type(descriptor) is types.MemberDescriptorType and (content := _slot(descriptor, value)) is not MISSING:
                yield content


def attribute(owner: Any, name: str) -> Any:
    """What `owner.name` gives. MISSING where there is none, HIDDEN where reading it runs code of the owner's class or of a
    descriptor."""
    kind = type(owner)
    if issubclass(kind, type):
        return _class_attribute(owner, kind, name)
    if issubclass(kind, types.ModuleType):
        return dict.get(namespace(owner) or {}, name, HIDDEN)
    if not has_plain_look_up(kind):
        return HIDDEN
    if name == "__dict__":
        return HIDDEN if (names := namespace(owner)) is None else names
    if name == "__class__":
        return kind if in_class(kind, name) is object.__dict__[name] else HIDDEN
    found = in_class(kind, name)
    if type(found) is types.MemberDescriptorType:
        return _slot(found, owner)
    if found is not MISSING and _is_data(found):
        return HIDDEN
    names = namespace(owner)
    if names is not None and dict.__contains__(names, name):
        return dict.__getitem__(names, name)
    if found is not MISSING:
        return _bound(found, owner, kind)
    hidden = in_class(kind, "__getattr__") is not MISSING or (names is None and in_class(kind, "__dict__") is not MISSING)
    return HIDDEN if hidden else MISSING


def _slot(descriptor: Any, owner: Any) -> Any:
    try:
        return descriptor.__get__(owner)
    except (AttributeError, TypeError):  # nothing is in it, or it is another class's
        return MISSING


def _is_data(found: Any) -> bool:
    kind = type(found)
    return in_class(kind, "__set__") is not MISSING or in_class(kind, "__delete__") is not MISSING


def _bound(found: Any, owner: Any, kind: type) -> Any:
    """What stands in a class, as it is read from its object `owner`; or from the class itself, where `owner` is None."""
    what = type(found)
    if what is types.FunctionType or issubclass(what, Wrapper):
        return found if owner is None else types.MethodType(found, owner)
    if what is staticmethod:
        return found.__func__
    if what is classmethod:
        return types.MethodType(found.__func__, kind) if type(found.__func__) is types.FunctionType else HIDDEN
    if what is property and owner is None:
        return found
    return found if in_class(what, "__get__") is MISSING else HIDDEN


def _class_attribute(owner: type, kind: type, name: str) -> Any:
    of_kind = in_class(kind, name)
    if of_kind is not MISSING and _is_data(of_kind):
        return HIDDEN
    if in_class(kind, "__getattribute__") is not type.__dict__["__getattribute__"]:
        return HIDDEN
    found = in_class(owner, name)
    if found is not MISSING:
        return _bound(found, None, owner)
    return MISSING if of_kind is MISSING and in_class(kind, "__getattr__") is MISSING else HIDDEN


# -- containers


def items(value: Any) -> list[Any]:
    """The items of a list or tuple."""
    return list(list.__iter__(value) if is_a(value, list) else tuple.__iter__(value))


def pairs(value: Any) -> list[tuple[Any, Any]]:
    """The keys and values of a dict, in its order."""
    kind = collections.OrderedDict if is_a(value, collections.OrderedDict) else dict
    return list(kind.items(value))


def with_items(like: Any, content: Any) -> Any:
    """A list, tuple or dict of the type of `like`, with its attributes, and with other items, or pairs of a dict."""
    kind = type(like)
    if is_exactly(like, (list, tuple, dict)):
        return kind(content)
    made: Any
    if issubclass(kind, tuple):
        try:
            made = tuple.__new__(kind, content)
        except TypeError:  # of C's own, such as a time.struct_time
            return kind(content)
    elif issubclass(kind, list):
        made = list.__new__(kind)
        list.extend(made, content)
    else:
        base = next(each for each in (collections.OrderedDict, collections.defaultdict, dict) if issubclass(kind, each))
        made = base.__new__(kind)
        for key, item in content:
            base.__setitem__(made, key, item)
    _take_attributes(made, like)
    return made


def _take_attributes(made: Any, like: Any) -> None:
    names = namespace(like)
    if names is like:  # a dict whose attributes are its items
        in_class(type(like), "__dict__").__set__(made, made)
    elif names:
        dict.update(namespace(made), names)  # type: ignore[arg-type]
    for each in bases(type(like)):
        for descriptor in class_names(each).values():
            if type(descriptor) is types.MemberDescriptorType and (content := _slot(descriptor, like)) is not MISSING:
                with contextlib.suppress(AttributeError, TypeError):  # one that cannot be set
                    descriptor.__set__(made, content)
