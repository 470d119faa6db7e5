"""What a case is: one call, described so that TensorFlow and tracejit can both make it.

A case names a function and holds its arguments. Arguments that are tensors and the like are described by the classes here,
and made by the library that runs the case; all else is passed as it is. `str(case)` is the call as a line of Python.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

DTYPES = {
    **{name: np.dtype(name) for name in ("float32", "float64", "float16", "int32", "int64", "bool", "uint8", "complex64")},
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
FLOATS = ("float32", "float64", "float16", "bfloat16")


def array(dtype: str, value: Any) -> np.ndarray:
    """`value` in the dtype of that name; floats by way of float64, so that both libraries see the same bits."""
    if not dtype.startswith(("float", "bfloat")):
        return np.array(value, DTYPES[dtype])
    with np.errstate(all="ignore"):
        return np.array(value, np.float64).astype(DTYPES[dtype])


@dataclass(frozen=True, eq=False)
class Leaf:
    """An argument that the library makes. `value` is a nested list of numbers."""

    dtype: str
    value: Any
    shape: tuple[int, ...] | None = None  # where the value does not show it: an empty array

    def array(self) -> np.ndarray:
        made = array(self.dtype, self.value)
        return made if self.shape is None else made.reshape(self.shape)

    def __repr__(self) -> str:
        shape = "" if self.shape is None else f", shape={self.shape}"
        return f"{type(self).__name__}({self.dtype!r}, {_text(self.value)}{shape})"


class T(Leaf):
    """A tensor of data: a parameter of the compiled function, and a source of gradients where it is floating."""


class V(Leaf):
    """A Variable."""


class K(Leaf):
    """A tensor that says what to do, an axis or a shape: known while tracing."""


class A(Leaf):
    """An ndarray."""


class S(Leaf):
    """A NumPy scalar."""


@dataclass(frozen=True, eq=False)
class D:
    """A dtype of the library."""

    name: str

    def __repr__(self) -> str:
        return f"lib.{self.name}"


@dataclass(frozen=True, eq=False)
class Case:
    """`function` with `args` and `kwargs`: a name in the library ("nn.relu"), in Python's module ("operator.add"), or one of
    PROGRAMS ("tape nests")."""

    function: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        given = [_text(each) for each in self.args] + [f"{name}={_text(each)}" for name, each in self.kwargs.items()]
        return f"{self.function}({', '.join(given)})"

    def leaves(self) -> Iterator[Leaf]:
        """The leaves, in order."""
        return _leaves((self.args, tuple(self.kwargs.values())))


def _leaves(value: Any) -> Iterator[Leaf]:
    if isinstance(value, Leaf):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _leaves(each)
    elif isinstance(value, dict):
        yield from _leaves(tuple(value.values()))


def _text(value: Any) -> str:
    if isinstance(value, list) and len(value) > 24:
        return f"[{', '.join(map(_text, value[:4]))}, ... {len(value)} in all]"
    if type(value) in (list, tuple):
        inner = ", ".join(map(_text, value)) + ("," if isinstance(value, tuple) and len(value) == 1 else "")
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    return repr(value)


def substituted(value: Any, make: Callable[[Any], Any]) -> Any:
    """`value` with `make` of each leaf and dtype in the leaf's place."""
    if isinstance(value, (Leaf, D)):
        return make(value)
    if type(value) in (list, tuple):
        return type(value)(substituted(each, make) for each in value)
    if type(value) is dict:
        return {key: substituted(each, make) for key, each in value.items()}
    return value


def made(lib: Any, leaf: Any) -> Any:
    """What `leaf` describes, by `lib`."""
    if isinstance(leaf, D):
        return getattr(lib, leaf.name)
    if isinstance(leaf, A):
        return leaf.array()
    if isinstance(leaf, S):
        return leaf.array()[()]
    if isinstance(leaf, V):
        return lib.Variable(leaf.array())
    if isinstance(leaf, K) and leaf.shape is None:  # of an ndarray it would be a captured one, whose content may change
        return lib.constant(leaf.array().tolist(), getattr(lib, leaf.dtype))
    return lib.constant(leaf.array())


PROGRAMS: dict[str, Callable[..., Any]] = {}


def program(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function (lib, *args) into PROGRAMS."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        PROGRAMS[name] = function
        return function

    return enter


def call(lib: Any, case: Case, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of `case` by `lib`, its leaves made."""
    if case.function in PROGRAMS:
        return PROGRAMS[case.function](lib, *args, **kwargs)
    space, _, name = case.function.rpartition(".")
    if space == "operator":
        return getattr(operator, name)(*args, **kwargs)
    return operator.attrgetter(case.function)(lib)(*args, **kwargs)
