"""One way to call one trace, as a list of patterns: what a call path compares with the arguments of a call.

The first patterns are the arguments in the order of the call, positional ones and then keywords; the items of a structure are
patterns that follow one another, somewhere after its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tracejit.ir.types import TensorType, as_dtype
from tracejit.nest import sorted_pairs
from tracejit.objects import in_class, is_a, is_exactly, items, namespace, type_name
from tracejit.tensor import Tensor
from tracejit.tracing.signature import Parameters, is_dynamic
from tracejit.variable import Variable

# The ways to call a function that are kept; others go by the general path.
MOST_SHAPES = 128


class Undescribable(Exception):
    """A call of which only the general path can tell whether it fits a trace; the text says why."""


class Pattern(NamedTuple):
    """What one value of a call has to be. `kind` is

    "tensor", "array", "scalar" (of NumPy)    `expected` is its TensorType, `type` its Python type
    "variable"                                as well, `trainable`; `first` is the pattern of the same variable, -1 for none
    "same"                                    this very object, `expected`
    "float"                                   the float `expected`, to the bit
    "equal"                                   of the type `type`, and equal to `expected`
    "tuple", "list", "dict"                   of the type `type`, with `size` items, which are patterns from `first`;
                                              `keys` are those of a dict
    """

    kind: str
    type: type
    expected: Any = None
    trainable: bool = False
    first: int = -1
    size: int = 0
    keys: tuple[Any, ...] = ()


class Default:
    """A leaf that is no argument of the call: it came from a default."""

    def __init__(self, value: Any):
        self.value = value


class CallShape(NamedTuple):
    """The patterns of a call, and for each leaf of its signature the number of its pattern, or what was given for it."""

    positional: int
    keywords: tuple[str, ...]
    patterns: tuple[Pattern, ...]
    leaves: tuple[int | Default, ...]

    @property
    def form(self) -> Any:
        """Equal for calls that are recognised alike."""
        leaves = tuple([id(leaf.value) if isinstance(leaf, Default) else leaf for leaf in self.leaves])
        return (self.positional, self.keywords, self.patterns, leaves)


def call_shape(parameters: Parameters, args: Sequence[Any], kwargs: dict[str, Any]) -> CallShape:
    """How a call with these arguments is to be recognised. Undescribable where it cannot be."""
    made = _Maker(len(args), tuple(kwargs))
    bound, named = parameters.bind(tuple(args), dict(kwargs))
    for index, value in enumerate(bound):
        made.argument(value, index if index < len(args) else parameters.names[index])
    for name in sorted(named):
        made.argument(named[name], name)
    if any(isinstance(leaf, Default) and id(leaf.value) in made.variables for leaf in made.leaves):
        raise Undescribable("an argument is a variable that is a default as well")
    patterns = made.patterns
    assert all(pattern is not None for pattern in patterns)
    return CallShape(len(args), tuple(kwargs), tuple(patterns), tuple(made.leaves))  # type: ignore[arg-type]


class _Maker:
    """Goes over the arguments in the order of the signature, and puts patterns where the call has them."""

    def __init__(self, positional: int, keywords: tuple[str, ...]):
        self.positional, self.keywords = positional, keywords
        self.patterns: list[Pattern | None] = [None] * (positional + len(keywords))
        self.leaves: list[int | Default] = []
        self.variables: dict[int, int] = {}

    def argument(self, value: Any, place: int | str) -> None:
        if isinstance(place, str) and place in self.keywords:
            self._value(value, self.positional + self.keywords.index(place))
        elif isinstance(place, int) and place < self.positional:
            self._value(value, place)
        else:
            self._default(value)

    def _default(self, value: Any) -> None:
        """A default is what it was: only its leaves count."""
        if is_dynamic(value):
            if is_a(value, np.ndarray) and type(value) is not np.ndarray:
                raise Undescribable(f"a default is a {type_name(value)}")
            self.leaves.append(Default(value))
        elif is_a(value, dict):
            for _, item in sorted_pairs(value):
                self._default(item)
        elif is_a(value, (tuple, list)):
            for item in items(value):
                self._default(item)

    def _value(self, value: Any, place: int) -> None:
        kind = type(value)
        if is_dynamic(value):
            self._leaf(value, kind, place)
        elif is_exactly(value, (int, str, bytes, range)):
            self.patterns[place] = Pattern("equal", kind, value)
        elif kind is float:
            self.patterns[place] = Pattern("float", kind, value)
        elif is_a(value, (tuple, list, dict)):
            self._structure(value, kind, place)
        elif value is None or kind is bool or in_class(kind, "__eq__") is object.__dict__["__eq__"]:
            self.patterns[place] = Pattern("same", kind, value)
        else:
            raise Undescribable(f"an argument is a {type_name(value)}, which has its own __eq__")

    def _leaf(self, value: Any, kind: type, place: int) -> None:
        self.leaves.append(place)
        if kind is Tensor:
            self.patterns[place] = Pattern("tensor", kind, value.type)
        elif kind is Variable:
            first = self.variables.setdefault(id(value), place)
            self.patterns[place] = Pattern("variable", kind, value.type, value.trainable, first if first != place else -1)
        elif kind is np.ndarray:
            self.patterns[place] = Pattern("array", kind, TensorType(value.shape, as_dtype(value.dtype)))
        elif issubclass(kind, np.generic):
            self.patterns[place] = Pattern("scalar", kind, TensorType((), as_dtype(value.dtype)))
        else:
            raise Undescribable(f"an argument is a {type_name(value)}")

    def _structure(self, value: Any, kind: type, place: int) -> None:
        first = len(self.patterns)
        if issubclass(kind, dict):
            content = sorted_pairs(value)
            if kind is not dict or not all(is_exactly(key, (str, int)) for key, _ in content):
                raise Undescribable("an argument is a dict with keys other than strings and integers, or of a type of its own")
            self.patterns[place] = Pattern("dict", kind, first=first, size=len(value), keys=tuple(value))
            self.patterns.extend([None] * len(value))
            places = {key: first + index for index, key in enumerate(value)}
            for key, item in content:
                self._value(item, places[key])
        else:
            if (issubclass(kind, list) and kind is not list) or namespace(value) is not None:
                raise Undescribable(f"an argument is a {type_name(value)}, which may have attributes")
            content = items(value)
            layout = "tuple" if issubclass(kind, tuple) else "list"
            self.patterns[place] = Pattern(layout, kind, first=first, size=len(content))
            self.patterns.extend([None] * len(content))
            for index, item in enumerate(content):
                self._value(item, first + index)
