"""Guards as comparisons of addresses: what the native call path looks at, at every call, in the place of the guards.

A watch names an object, the names or places in it that count, and what stood there. An object further out comes before
those that it leads to: when one is looked at, the ones before it have shown that it is still there.
"""

from __future__ import annotations

import gc
import types
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.tracing.guards import LIMIT, MISSING, Attribute, Cell, Given, Global, Guard, Property

_HEAP_TYPE = 1 << 9  # of a type's flags: its attributes can be set
# Compared by value and never changed; they are kept, so that nothing else comes to lie at their address.
_PLAIN = (int, float, bool, str, bytes, type(None), np.generic)


class Unwatchable(Exception):
    """A guard that only Python can check; the text says why."""


class Watch:
    """What stands where. `kind` is "cell", "items" (of a list or tuple), "names" (of a dict), "object" (its type, and names
    of its dict) or "bases" (of a class, all of them, in order); `values` are those of `names`, or all items; MISSING stands
    for a name that is not there. `whole`: a dict has these names only, in this order."""

    def __init__(self, kind: str, watched: Any):
        self.kind, self.watched = kind, watched
        self.names: list[str] = []
        self.values: list[Any] = []
        self.whole = False

    def add(self, name: str, value: Any) -> None:
        if name not in self.names:
            self.names.append(name)
            self.values.append(value)


def watches(guards: Sequence[Guard]) -> list[Watch]:
    """The watches of `guards`. Unwatchable where one of them cannot be told by addresses."""
    found = _Watches()
    for guard in guards:
        try:
            found.place(guard.get)
            found.content(guard.get())
        except Unwatchable as error:
            raise Unwatchable(f"{guard.name} {error}") from None
    return list(found.made.values())


class _Watches:
    def __init__(self) -> None:
        self.made: dict[tuple[str, int], Watch] = {}

    def _watch(self, kind: str, watched: Any) -> Watch:
        return self.made.setdefault((kind, id(watched)), Watch(kind, watched))

    def place(self, get: Any) -> None:
        """Watch the place that `get` reads, and all on the way to it."""
        if isinstance(get, Global):
            self._watch("names", get.names).add(get.name, get.names.get(get.name, MISSING))
        elif isinstance(get, Cell):
            self._watch("cell", get.cell).values[:] = [get()]
        elif isinstance(get, (Attribute, Property)):
            self.place(get.owner)
            self._attribute(get.owner(), get.name)
        elif not isinstance(get, Given):
            raise AssertionError(f"no watch is known for {get!r}")

    def _attribute(self, owner: Any, name: str) -> None:
        if isinstance(owner, types.ModuleType):
            if name not in vars(owner):
                raise Unwatchable("is made by the module when it is read")
            self._watch("names", vars(owner)).add(name, vars(owner)[name])
            return
        kind = type(owner)
        if isinstance(owner, type):
            if kind is not type:
                raise Unwatchable("belongs to a class with a metaclass")
            self._in_classes(owner, name)
            return
        if kind.__getattribute__ is not object.__getattribute__:
            raise Unwatchable(f"is read by the __getattribute__ of {kind.__name__}")
        self._watch("object", owner)
        in_class = self._in_classes(kind, name)
        if isinstance(in_class, property):
            return
        if in_class is not MISSING and hasattr(type(in_class), "__set__"):
            raise Unwatchable(f"is read by a descriptor of {kind.__name__}")
        names = getattr(owner, "__dict__", None)
        if type(names) is not dict:
            raise Unwatchable(f"belongs to a {kind.__name__}, which has no dict")
        if in_class is MISSING and name not in names and hasattr(kind, "__getattr__"):
            raise Unwatchable(f"is made by the __getattr__ of {kind.__name__}")
        self._watch("object", owner).add(name, names.get(name, MISSING))

    def _in_classes(self, kind: type, name: str) -> Any:
        """Watch a name in a class and its bases, up to the first that has it; what stands there, or MISSING."""
        if kind.__flags__ & _HEAP_TYPE:
            self._watch("bases", kind).values[:] = [kind.__mro__]
        for each in kind.__mro__:
            if each.__flags__ & _HEAP_TYPE:
                (names,) = (found for found in gc.get_referents(vars(each)) if type(found) is dict)
                self._watch("names", names).add(name, names.get(name, MISSING))
            if name in vars(each):
                return vars(each)[name]
        return MISSING

    def content(self, value: Any) -> None:
        """Watch what a container holds, as `guards.snapshot` compares it."""
        if not is_watched(value):
            if type(value) is np.ndarray and value.ndim == 0:
                raise Unwatchable("is an array without axes, whose content counts")
        elif isinstance(value, (list, tuple)):
            self._watch("items", value).values[:] = value
            for item in value:
                self.content(item)
        else:
            if not all(type(key) in (str, int) for key in value):
                raise Unwatchable("has a dict with keys other than strings and integers")
            watch = self._watch("names", value)
            watch.whole = True
            for key, item in value.items():
                watch.add(key, item)
                self.content(item)


def is_watched(value: Any) -> bool:
    """Whether a value is a container whose items count, and not which container it is."""
    return isinstance(value, (list, tuple, dict)) and len(value) <= LIMIT


def is_plain(value: Any) -> bool:
    """Whether a value is one to keep, so that its address stays its own."""
    return isinstance(value, _PLAIN)
