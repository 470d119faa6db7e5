"""What tensors and variables have in common: shape, dtype, and Python's operators, each an op."""

from __future__ import annotations

import numbers
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from tracejit import functions, ops
from tracejit.ir import dispatch
from tracejit.ir.op import Op
from tracejit.ir.types import DType, TensorType, bool_, broadcast_shapes
from tracejit.nest import Leaf


class TensorShape(Leaf, tuple[int, ...]):
    """A tuple of sizes, with the names that TensorFlow's shape has; it is equal to a list of the same sizes, and its slices
    and what is made of it by + are shapes too."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is TensorShape:
            return tuple.__eq__(self, other)
        if type(other) is tuple and not tuple.__eq__(self, other):  # the commonest; what is equal may yet be of floats
            return False
        try:
            return tuple.__eq__(self, _sizes(other))
        except (TypeError, ValueError):
            return False

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__

    def __getitem__(self, key: Any) -> Any:
        found = tuple.__getitem__(self, key)
        return TensorShape(found) if isinstance(key, slice) else found

    def __add__(self, other: Any) -> TensorShape:
        return TensorShape(tuple.__add__(self, _sizes(other)))

    def __radd__(self, other: Any) -> TensorShape:
        return TensorShape(_sizes(other) + tuple(self))

    def concatenate(self, other: Any) -> TensorShape:
        """The sizes of both, one after the other."""
        return self + other

    @property
    def rank(self) -> int:
        return len(self)

    ndims = rank

    def as_list(self) -> list[int]:
        return list(self)

    def num_elements(self) -> int:
        return TensorType(self, bool_).size


def _sizes(other: Any) -> tuple[int, ...]:
    """A size or sizes, as integers. TypeError where they are none, ValueError where one is negative."""
    if isinstance(other, TensorShape):
        return tuple(other)
    several = isinstance(other, (list, tuple, range, np.ndarray, Operators))
    try:
        sizes = tuple([operator.index(size) for size in (other if several else (other,))])
    except TypeError:
        raise TypeError(f"a shape is made of integers, not of {other!r}") from None
    if min(sizes, default=0) < 0:
        raise ValueError(f"a size is negative: {other!r}")
    return sizes


class Operators:
    """Python's operators and indexing, for tensors and variables."""

    __slots__ = ()
    __array_priority__ = 100
    type: TensorType

    @property
    def shape(self) -> TensorShape:
        return TensorShape(self.type.shape)

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def ndim(self) -> int:
        return len(self.type.shape)

    def get_shape(self) -> TensorShape:
        return self.shape

    def ref(self) -> Reference:
        """A key for sets and dicts: tensors and variables cannot be hashed, since == compares their elements."""
        return Reference(self)

    def __hash__(self) -> int:
        raise TypeError(f"a {type(self).__name__} is unhashable, since == compares elements: use its ref() as the key")

    def __len__(self) -> int:
        if not self.type.shape:
            raise TypeError("a scalar tensor has no len()")
        return self.type.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.type.shape:
            raise TypeError("a scalar tensor cannot be iterated over")
        return (self[index] for index in range(self.type.shape[0]))

    def __getitem__(self, key: Any) -> Any:
        return functions.getitem(self, key)

    def __add__(self, other: Any) -> Any:
        return ops.add(self, other)

    def __radd__(self, other: Any) -> Any:
        return ops.add(other, self)

    def __sub__(self, other: Any) -> Any:
        return ops.sub(self, other)

    def __rsub__(self, other: Any) -> Any:
        return ops.sub(other, self)

    def __mul__(self, other: Any) -> Any:
        return ops.mul(self, other)

    def __rmul__(self, other: Any) -> Any:
        return ops.mul(other, self)

    def __truediv__(self, other: Any) -> Any:
        return functions.divide(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return functions.divide(other, self)

    def __floordiv__(self, other: Any) -> Any:
        return functions.floordiv(self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return functions.floordiv(other, self)

    def __mod__(self, other: Any) -> Any:
        return functions.floormod(self, other)

    def __rmod__(self, other: Any) -> Any:
        return functions.floormod(other, self)

    def __pow__(self, other: Any) -> Any:
        return functions.pow(self, other)

    def __rpow__(self, other: Any) -> Any:
        return functions.pow(other, self)

    def __matmul__(self, other: Any) -> Any:
        return functions.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return functions.matmul(other, self)

    def __neg__(self) -> Any:
        return ops.neg(self)

    def __pos__(self) -> Any:
        return ops.identity(*dispatch.lift("identity", (self,)))

    def __abs__(self) -> Any:
        return ops.abs(self)

    def __invert__(self) -> Any:
        return _bits(ops.logical_not, ops.invert, self)

    def __and__(self, other: Any) -> Any:
        return _bits(ops.logical_and, ops.bitwise_and, self, other)

    def __or__(self, other: Any) -> Any:
        return _bits(ops.logical_or, ops.bitwise_or, self, other)

    def __xor__(self, other: Any) -> Any:
        return _bits(ops.logical_xor, ops.bitwise_xor, self, other)

    def __rand__(self, other: Any) -> Any:
        return _bits(ops.logical_and, ops.bitwise_and, other, self)

    def __ror__(self, other: Any) -> Any:
        return _bits(ops.logical_or, ops.bitwise_or, other, self)

    def __rxor__(self, other: Any) -> Any:
        return _bits(ops.logical_xor, ops.bitwise_xor, other, self)

    def __lt__(self, other: Any) -> Any:
        return ops.less(self, other)

    def __le__(self, other: Any) -> Any:
        return ops.less_equal(self, other)

    def __gt__(self, other: Any) -> Any:
        return ops.greater(self, other)

    def __ge__(self, other: Any) -> Any:
        return ops.greater_equal(self, other)

    def __eq__(self, other: Any) -> Any:
        return self._equality(other, ops.equal, False)

    def __ne__(self, other: Any) -> Any:
        return self._equality(other, ops.not_equal, True)

    def _equality(self, other: Any, op: Any, otherwise: bool) -> Any:
        """As in TensorFlow: shapes that do not broadcast are unequal, and so is what is no tensor at all."""
        if not isinstance(other, (Operators, np.ndarray, np.generic, numbers.Number, list, tuple)):
            return otherwise
        x, y = dispatch.lift(op.name, (self, other))
        return op(x, y) if broadcast_shapes(x.type.shape, y.type.shape) is not None else otherwise


def _bits(logical: Op, bitwise: Op, *operands: Any) -> Any:
    """`bitwise` of integers; of bools, and of whatever else there may be, `logical`."""
    operands = dispatch.lift(logical.name, operands)
    return (bitwise if operands[0].type.dtype.is_integer else logical)(*operands)


class Reference:
    """Hashes and compares by the identity of what it refers to."""

    __slots__ = ("_object",)

    def __init__(self, target: Any):
        self._object = target

    def deref(self) -> Any:
        """The tensor or variable referred to."""
        return self._object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and self._object is other._object

    def __hash__(self) -> int:
        return id(self._object)
