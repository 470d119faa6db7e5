"""What a call looks like to the cache of traces: binding of arguments, and the key of each.

Tensors and arrays count by dtype and shape, variables by type and by which of them are the same, everything else by its
type and value: 1, 1.0 and True are three signatures.
"""

from __future__ import annotations

import collections
import inspect
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.ir.errors import SignatureError
from tracejit.ir.types import TensorType, as_dtype
from tracejit.nest import check_finite, sorted_pairs
from tracejit.objects import (
    MISSING,
    Wrapper,
    attribute,
    in_class,
    is_a,
    is_exactly,
    is_masked,
    items,
    name_of,
    namespace,
    pairs,
    slots,
    type_name,
)  # fmt: skip
from tracejit.tensor import Tensor
from tracejit.variable import Variable


class Parameters:
    """The parameters of a Python function: brings every way to write a call into one order."""

    def __init__(self, function: Callable[..., Any], bound: int = 0):
        self.signature = _signature_of(function)
        parameters = list(self.signature.parameters.values())[bound:]
        self.signature = self.signature.replace(parameters=parameters)
        self.names = tuple(parameter.name for parameter in parameters)
        self._positional = [each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.KEYWORD_ONLY)]
        self._rest = next((each.name for each in parameters if each.kind is each.VAR_POSITIONAL), "args")
        # A call with all arguments by position needs no binding, where every parameter may be given so.
        self.plain = all(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in parameters)

    def name(self, index: int) -> str:
        """What the argument at a place among the positional ones is called."""
        count = len(self._positional)
        return self._positional[index] if index < count else f"{self._rest}_{index - count}"

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """(args, kwargs) in the one order, defaults filled in. TypeError as Python raises it."""
        if self.plain and not kwargs and len(args) == len(self.names):
            return args, kwargs
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.args, bound.kwargs


def is_dynamic(value: Any) -> bool:
    """Whether a trace takes an argument as a parameter."""
    return type(value) is Variable or is_a(value, (Tensor, np.ndarray, np.generic))


class _Object:
    """An object as a part of a key: equal to itself alone, whatever its class says."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return type(other) is _Object and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


_PLAIN = (int, bool, str, bytes, type(None))
# What NumPy, and other libraries by its example, take for an array.
_ARRAY_LIKE = ("__array__", "__array_interface__", "__array_struct__", "__dlpack__", "__buffer__")


def _signature_of(function: Any) -> inspect.Signature:
    """The signature of what can be called; of an object of the user's that of its `__call__`, without asking the object."""
    if is_a(function, Wrapper):
        signature, is_bound = _signature_of(function.python_function), hasattr(function, "__self__")
    else:
        call = in_class(type(function), "__call__")
        is_bound = type(call) is types.FunctionType
        signature = inspect.signature(call if is_bound else function)
    return signature.replace(parameters=list(signature.parameters.values())[1:]) if is_bound else signature


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
        if issubclass(kind, Tensor):
            self.leaves.append(value)
            self.names.append(name)
            return value.type
        if kind is Variable:
            place = self._variables.setdefault(id(value), len(self.leaves))
            self.leaves.append(value)
            self.names.append(name)
            return (Variable, value.type, value.trainable, place)
        if issubclass(kind, (np.ndarray, np.generic)):
            array = as_plain(value, name)
            try:
                dtype = as_dtype(array.dtype)
            except TypeError as error:
                raise SignatureError(f"the argument {name}: {error}; convert it with cast before") from None
            self.leaves.append(array)
            self.names.append(name)
            return TensorType(array.shape, dtype)
        if issubclass(kind, float):
            return (kind, float.hex(value), *_attributes(value))
        if is_exactly(value, _PLAIN):
            return (kind, value)
        if issubclass(kind, (tuple, list)):
            names = attribute(kind, "_fields")
            content = items(value)
            if type(names) is not tuple or len(names) != len(content):
                names = range(len(content))
            key = tuple([self.key(item, f"{name}_{each}") for each, item in zip(names, content, strict=True)])
            return (kind, key, *_attributes(value))
        if issubclass(kind, dict):
            content = sorted_pairs(value)
            keys = [key if is_exactly(key, (str, int)) else place for place, (key, _) in enumerate(content)]
            parts = [(key, self.key(item, f"{name}_{each}")) for each, (key, item) in zip(keys, content, strict=True)]
            order = [tuple([key for key, _ in pairs(value)])] if issubclass(kind, collections.OrderedDict) else []
            return (kind, tuple(parts), *order, *_attributes(value))
        _check_not_an_array(value, name)
        try:
            hash((kind, value))
        except Exception as error:
            raise SignatureError(
                f"the argument {name} is a {type_name(value)}, which cannot be hashed, so a trace cannot be found by it: pass "
                "tensors, numbers, strings, None, structures of them, or an object with __hash__ and __eq__"
            ) from (None if type(error) is TypeError else error)
        return (kind, value)


def as_plain(value: Any, name: str) -> Any:
    """An array of a class of its own, such as a memmap, as an ndarray of the same memory. SignatureError for a masked array."""
    if is_masked(type(value)):
        raise SignatureError(
            f"the argument {name} is a masked array, and its mask would be lost: pass {name}.filled(...) or the mask as well"
        )
    return value if type(value) is np.ndarray or is_a(value, np.generic) else np.ndarray.view(value, np.ndarray)


def _check_not_an_array(value: Any, name: str) -> None:
    """SignatureError for what holds numbers that may change while it stays the same object, and would be a constant."""
    names = namespace(value) or {}
    if any(in_class(type(value), each) is not MISSING or each in names for each in _ARRAY_LIKE) or _has_buffer(value):
        raise SignatureError(
            f"the argument {name} is a {type_name(value)}, an array of another library: pass tj.constant({name}) or "
            f"np.asarray({name}); the trace would not see a change of its elements"
        )


def _has_buffer(value: Any) -> bool:
    if is_a(value, bytes):
        return False
    try:
        memoryview(value).release()
    except Exception:
        return False
    return True


def _attributes(value: Any) -> tuple[Any, ...]:
    """The key of what an object of a container's subclass has beside its items."""
    if is_exactly(value, (float, tuple, list, dict)):
        return ()
    names = namespace(value)
    known = [] if names is None or names is value else dict.items(names)
    places = list(slots(value))
    if not known and not places:
        return ()
    return (tuple([(name, _attribute_key(each)) for name, each in known]), *map(_attribute_key, places))


def _attribute_key(value: Any) -> Any:
    return (type(value), value) if is_exactly(value, _PLAIN) else _Object(value)


def signature_of(parameters: Parameters, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Signature]:
    """The key of a bound call and its dynamic leaves."""
    found = Signature()
    try:
        key = tuple([found.key(value, parameters.name(place)) for place, value in enumerate(args)])
        if kwargs:
            key = (key, tuple([(name, found.key(value, name)) for name, value in sorted(kwargs.items())]))
    except RecursionError:
        for place, value in enumerate(args):
            check_finite(value, f"the argument {parameters.name(place)}")
        for name, value in kwargs.items():
            check_finite(value, f"the argument {name}")
        raise
    return key, found


def differs(key: Any, other: Any) -> bool:
    """Whether two keys differ. Objects that have the same hash are not told apart."""
    if key is other or type(key) is not type(other):
        return key is not other
    if type(key) is tuple:
        return len(key) != len(other) or any(map(differs, key, other))
    if is_exactly(key, (*_PLAIN, _Object)):
        return key != other
    return is_a(key, (type, TensorType)) or hash(key) != hash(other)


def describe_difference(parameters: Parameters, key: Any, other: Any) -> str:
    """How `key` differs from the key of an earlier trace, in words, naming the argument."""
    differences = []
    for index, (new, old) in enumerate(zip(key, other, strict=False)):
        if differs(new, old):
            one, other_one = describe(new), describe(old)
            differences.append(f"{parameters.name(index)}: {one} instead of {other_one if one != other_one else 'another'}")
    if len(key) != len(other):
        differences.append(f"{len(key)} arguments instead of {len(other)}")
    return "; ".join(differences) or "another structure of the arguments"


def describe(key: Any) -> str:
    """The key of one argument in words."""
    if type(key) is TensorType:
        return str(key)
    if type(key) is tuple and key and is_a(key[0], type):
        kind, rest = key[0], key[1:]
        if kind is Variable:
            return f"Variable {rest[0]}"
        if kind is float:
            return f"the float {float.fromhex(rest[0])!r}"
        if (kind is tuple or kind is list) and type(rest[0]) is tuple:
            return f"{kind.__name__} of {', '.join(map(describe, rest[0]))}"
        if kind is int or kind is bool or kind is str or kind is bytes:
            return f"the {kind.__name__} {rest[0]!r}"
        return f"a {name_of(kind)}"
    if type(key) is tuple:
        return f"({', '.join(map(describe, key))})"
    return repr(key) if is_exactly(key, _PLAIN) else f"a {type_name(key)}"
