"""What a call looks like to the cache of traces: binding of arguments, and the key of each.

Tensors and arrays count by dtype and shape, variables by type and by which of them are the same, everything else by its
type and value: 1, 1.0 and True are three signatures.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.ir.errors import SignatureError
from tracejit.ir.types import TensorType, as_dtype
from tracejit.nest import sorted_keys
from tracejit.tensor import Tensor
from tracejit.variable import Variable


class Parameters:
    """The parameters of a Python function: brings every way to write a call into one order."""

    def __init__(self, function: Callable[..., Any], bound: int = 0):
        self.signature = inspect.signature(function)
        parameters = list(self.signature.parameters.values())[bound:]
        self.signature = self.signature.replace(parameters=parameters)
        self.names = tuple(parameter.name for parameter in parameters)
        # A call with all arguments by position needs no binding, where every parameter may be given so.
        self.plain = all(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in parameters)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """(args, kwargs) in the one order, defaults filled in. TypeError as Python raises it."""
        if self.plain and not kwargs and len(args) == len(self.names):
            return args, kwargs
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.args, bound.kwargs


class Signature:
    """The key of a call, and the leaves that a trace takes as parameters, with their names."""

    __slots__ = ("_variables", "leaves", "names")

    def __init__(self) -> None:
        self.leaves: list[Any] = []  # tensors, arrays and variables
        self.names: list[str] = []
        self._variables: dict[int, int] = {}

    def key(self, value: Any, name: str) -> Any:
        """The hashable key of an argument called `name`. SignatureError where it has none."""
        kind = type(value)
        if isinstance(value, Tensor):
            self.leaves.append(value)
            self.names.append(name)
            return value.type
        if kind is Variable:
            place = self._variables.setdefault(id(value), len(self.leaves))
            self.leaves.append(value)
            self.names.append(name)
            return (Variable, value.type, value.trainable, place)
        if kind is np.ndarray or isinstance(value, np.generic):
            self.leaves.append(value)
            self.names.append(name)
            return TensorType(value.shape, as_dtype(value.dtype))
        if isinstance(value, float):
            return (kind, value.hex())
        if value is None or kind in (int, bool, str, bytes):
            return (kind, value)
        if isinstance(value, (tuple, list)):
            names = getattr(kind, "_fields", None) or range(len(value))
            return (kind, tuple([self.key(item, f"{name}_{each}") for each, item in zip(names, value, strict=True)]))
        if isinstance(value, dict):
            keys = sorted_keys(value)
            return (kind, tuple([(key, self.key(value[key], f"{name}_{key}")) for key in keys]))
        try:
            hash(value)
        except TypeError:
            raise SignatureError(
                f"the argument {name} is a {kind.__name__}, which cannot be hashed, so a trace cannot be found by it: pass "
                "tensors, numbers, strings, None, structures of them, or an object with __hash__ and __eq__"
            ) from None
        return (kind, value)


def signature_of(parameters: Parameters, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Signature]:
    """The key of a bound call and its dynamic leaves."""
    found = Signature()
    names = parameters.names
    count = len(names)
    key = tuple([found.key(value, names[i] if i < count else f"args_{i}") for i, value in enumerate(args)])
    if kwargs:
        key = (key, tuple([(name, found.key(value, name)) for name, value in sorted(kwargs.items())]))
    return key, found


def describe_difference(names: tuple[str, ...], key: Any, other: Any) -> str:
    """How `key` differs from the key of an earlier trace, in words, naming the argument."""
    differences = []
    for index, (new, old) in enumerate(zip(key, other, strict=False)):
        if new != old:
            name = names[index] if index < len(names) else f"argument {index}"
            differences.append(f"{name}: {describe(new)} instead of {describe(old)}")
    if len(key) != len(other):
        differences.append(f"{len(key)} arguments instead of {len(other)}")
    return "; ".join(differences) or "another structure of the arguments"


def describe(key: Any) -> str:
    """The key of one argument in words."""
    if isinstance(key, TensorType):
        return str(key)
    if isinstance(key, tuple) and key and isinstance(key[0], type):
        kind, rest = key[0], key[1:]
        if kind is Variable:
            return f"Variable {rest[0]}"
        if kind is float:
            return f"the float {float.fromhex(rest[0])!r}"
        if kind in (tuple, list) and isinstance(rest[0], tuple):
            return f"{kind.__name__} of {', '.join(map(describe, rest[0]))}"
        if kind in (int, bool, str):
            return f"the {kind.__name__} {rest[0]!r}"
        return f"{kind.__name__} {rest[0]!r}" if rest else kind.__name__
    return repr(key)
