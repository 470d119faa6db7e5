"""Guards as comparisons of addresses: what the native call path looks at, at every call, in the place of the guards.

A check names an object, the names or places in it that count, and what stood there. An object further out comes before
those that it leads to: when one is looked at, the ones before it have shown that it is still there.
"""

from __future__ import annotations

import collections
import gc
import types
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.objects import (
    MISSING,
    bases,
    can_be_set,
    class_names,
    has_plain_look_up,
    in_class,
    is_a,
    is_exactly,
    items,
    namespace,
    pairs,
    type_name,
)  # fmt: skip
from tracejit.tracing.guards import DEEPEST, Attribute, Cell, Given, Global, Guard, Hook, is_watched

# Compared by value and never changed; they are kept, so that nothing else comes to lie at their address.
_PLAIN = (int, float, bool, str, bytes, type(None), np.generic)


class Uncheckable(Exception):
    """A guard that only Python can check; the text says why."""


class GuardCheck:
    """What stands where. `kind` is "cell", "items" (of a list or tuple), "names" (of a dict), "object" (its type, and names
    of its dict) or "bases" (of a class, all of them, in order); `values` are those of `names`, or all items; MISSING stands
    for a name that is not there. `whole`: a dict has these names only, in this order."""

    def __init__(self, kind: str, subject: Any):
        self.kind, self.subject = kind, subject
        self.names: list[str] = []
        self.values: list[Any] = []
        self.whole = False

    def add(self, name: str, value: Any) -> None:
        if name not in self.names:
            self.names.append(name)
            self.values.append(value)


def guard_checks(guards: Sequence[Guard]) -> list[GuardCheck]:
    """The checks of `guards`. Uncheckable where one of them cannot be told by addresses."""
    found = _Checks()
    for guard in guards:
        try:
            found.place(guard.get)
            found.content(guard.get())
        except Uncheckable as error:
            raise Uncheckable(f"{guard.name} {error}") from None
    return list(found.made.values())


class _Checks:
    def __init__(self) -> None:
        self.made: dict[tuple[str, int], GuardCheck] = {}

    def _check(self, kind: str, subject: Any) -> GuardCheck:
        return self.made.setdefault((kind, id(subject)), GuardCheck(kind, subject))

    def place(self, get: Any) -> None:
        """Check the place that `get` reads, and all on the way to it."""
        if isinstance(get, Global):
            self._check("names", get.names).add(get.name, get.names.get(get.name, MISSING))
        elif isinstance(get, Cell):
            self._check("cell", get.cell).values[:] = [get()]
        elif isinstance(get, (Attribute, Hook)):
            self.place(get.owner)
            self._attribute(get.owner(), get.name)
        elif not isinstance(get, Given):
            raise AssertionError(f"no check is known for {get!r}")

    def _attribute(self, owner: Any, name: str) -> None:
        kind = type(owner)
        if issubclass(kind, types.ModuleType):
            names = namespace(owner)
            if type(names) is not dict or name not in names:
                raise Uncheckable("is made by the module when it is read")
            self._check("names", names).add(name, names[name])
            return
        if issubclass(kind, type):
            if kind is not type:
                raise Uncheckable("belongs to a class with a metaclass")
            self._in_classes(owner, name)
            return
        if not has_plain_look_up(kind):
            raise Uncheckable(f"is read by the __getattribute__ of {type_name(owner)}")
        self._check("object", owner)
        found = self._in_classes(kind, name)
        if type(found) is property:
            return
        if found is not MISSING and in_class(type(found), "__set__") is not MISSING:
            raise Uncheckable(f"is read by a descriptor of {type_name(owner)}")
        names = namespace(owner)
        if type(names) is not dict:
            raise Uncheckable(f"belongs to a {type_name(owner)}, which has no dict")
        if found is MISSING and name not in names and in_class(kind, "__getattr__") is not MISSING:
            raise Uncheckable(f"is made by the __getattr__ of {type_name(owner)}")
        self._check("object", owner).add(name, names.get(name, MISSING))

    def _in_classes(self, kind: type, name: str) -> Any:
        """Check a name in a class and its bases, up to the first that has it; what stands there, or MISSING."""
        if can_be_set(kind):
            self._check("bases", kind).values[:] = [bases(kind)]
        for each in bases(kind):
            if can_be_set(each):
                (names,) = [known for known in gc.get_referents(class_names(each)) if type(known) is dict]
                self._check("names", names).add(name, names.get(name, MISSING))
            if name in class_names(each):
                return class_names(each)[name]
        return MISSING

    def content(self, value: Any, depth: int = 0) -> None:
        """Check what a container holds, as `guards.snapshot` compares it."""
        if not is_watched(value):
            if type(value) is np.ndarray and value.ndim == 0:
                raise Uncheckable("is an array without axes, whose content counts")
            return
        if depth == DEEPEST:
            raise Uncheckable(f"holds containers that hold others, and so on {DEEPEST} deep, or itself")
        if is_a(value, dict):
            content = pairs(value)
            if is_a(value, collections.OrderedDict):
                raise Uncheckable("has an OrderedDict, which has an order of its own")
            if not all(is_exactly(key, (str, int)) for key, _ in content):
                raise Uncheckable("has a dict with keys other than strings and integers")
            check = self._check("names", value)
            check.whole = True
            for key, item in content:
                check.add(key, item)
                self.content(item, depth + 1)
        else:
            self._check("items", value).values[:] = items(value)
            for item in items(value):
                self.content(item, depth + 1)


def is_plain(value: Any) -> bool:
    """Whether a value is one to keep, so that its address stays its own."""
    return is_a(value, _PLAIN)
