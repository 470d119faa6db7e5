"""Types: what is known of a value before it exists.

A dtype, a `TensorType` (shape and dtype, printed `f32[64,784]`) or a `TupleType` (the results of an op that has several).
All are interned: equal types are the same object, so a type is compared with `is` and hashed by identity.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from tracejit.ir.errors import shown
from tracejit.locks import importing


class DType:
    """An element type. `name` is NumPy's name, `short` the one in the IR's text, `numpy` the NumPy dtype.

    Of a floating dtype, `digits` is how many bits are significant, the leading one included. `size` is in bytes.
    `accumulator` is the dtype in which sums are kept: of a half dtype float32, else its own.
    """

    __slots__ = (
        "accumulator", "bits", "digits", "is_bool", "is_floating", "is_half", "is_integer", "name", "numpy", "short", "size",
    )  # fmt: skip
    numpy: np.dtype[Any]

    def __init__(
        self,
        name: str,
        short: str,
        size: int,
        *,
        digits: int = 0,
        is_integer: bool = False,
        is_bool: bool = False,
        accumulator: DType | None = None,
    ):
        self.name, self.short, self.size, self.bits = name, short, size, 8 * size
        self.digits, self.is_floating, self.is_integer, self.is_bool = digits, digits > 0, is_integer, is_bool
        self.is_half = accumulator is not None
        self.accumulator = accumulator or self
        if name != "bfloat16":
            self.numpy = np.dtype(name)

    def __getattr__(self, name: str) -> Any:
        """`numpy` of bfloat16, which is not NumPy's own: looked up when first needed. ImportError where it is not found."""
        if name != "numpy":
            raise AttributeError(f"a dtype has no {name!r}")
        try:
            with importing:
                from ml_dtypes import bfloat16 as scalar
        except ImportError:
            raise ImportError("bfloat16 needs the package ml_dtypes: pip install 'tracejit[bfloat16]'") from None
        self.numpy = np.dtype(scalar)
        return self.numpy

    @property
    def as_numpy_dtype(self) -> type:
        """The NumPy scalar class, as TensorFlow calls it."""
        return self.numpy.type

    @property
    def max(self) -> Any:
        """The largest finite value."""
        return True if self.is_bool else self.limits.max

    @property
    def min(self) -> Any:
        """The smallest (most negative) finite value."""
        return False if self.is_bool else self.limits.min

    @property
    def limits(self) -> Any:
        """What NumPy's finfo or iinfo says of it."""
        if self is bfloat16:
            with importing:
                from ml_dtypes import finfo

            return finfo(self.numpy)
        return (np.finfo if self.is_floating else np.iinfo)(self.numpy)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DType):
            return self is other
        try:
            return as_dtype(other) is self
        except TypeError:
            return False

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return f"<dtype: '{self.name}'>"

    def __repr__(self) -> str:
        return f"tj.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return as_dtype, (self.name,)


float32 = DType("float32", "f32", 4, digits=24)
float64 = DType("float64", "f64", 8, digits=53)
int32 = DType("int32", "i32", 4, is_integer=True)
int64 = DType("int64", "i64", 8, is_integer=True)
bool_ = DType("bool", "bool", 1, is_bool=True)

float16 = DType("float16", "f16", 2, digits=11, accumulator=float32)
bfloat16 = DType("bfloat16", "bf16", 2, digits=8, accumulator=float32)

# The dtypes of which ops take all, all numbers or all floats; and those in which floats are kept, but not summed.
DTYPES = (float32, float64, int32, int64, bool_)
HALVES = (float16, bfloat16)
BY_SHORT = {dtype.short: dtype for dtype in (*DTYPES, *HALVES)}


class _ByNumpy(dict[Any, DType]):
    def __missing__(self, key: Any) -> DType:
        # Only who has imported ml_dtypes has an array of that dtype.
        if key.name != "bfloat16":
            raise KeyError(key)
        return self.setdefault(key, bfloat16)


# The dtype of an array, by the array's.
BY_NUMPY = _ByNumpy({dtype.numpy: dtype for dtype in (*DTYPES, float16)})


def as_dtype(value: Any) -> DType:
    """The DType of a DType, a NumPy dtype or scalar class, `float` (float32), `bool`, or a name. TypeError where tracejit has
    none, ImportError where it is bfloat16 and ml_dtypes is not there."""
    if type(value) is DType:
        return value
    if value is float or (type(value) is str and value == "float"):
        return float32
    if type(value) is str and value == "bfloat16":
        value = bfloat16.numpy
    # What else np.dtype takes means something else: None float64, an object whatever its attribute says. And int is as wide as
    # the machine has it.
    if (isinstance(value, (np.dtype, type)) and value is not int) or (isinstance(value, str) and value != "int"):
        try:
            return BY_NUMPY[np.dtype(value)]
        except Exception:  # a KeyError, or what np.dtype raises: more than one class, for names and for classes
            pass
    known = ", ".join(dtype.name for dtype in (*DTYPES, *HALVES))
    raise TypeError(f"{shown(value)} is not a dtype that tracejit has; it has {known}")


class TensorType:
    """The type of a tensor: a shape (a tuple of sizes) and a dtype. Interned."""

    __slots__ = ("dtype", "shape", "size")
    _interned: ClassVar[dict[Any, TensorType]] = {}
    shape: tuple[int, ...]
    dtype: DType
    size: int

    def __new__(cls, shape: Any, dtype: DType) -> TensorType:
        key = (tuple(shape), dtype.name)  # a str hashes faster than a DType
        found = cls._interned.get(key)
        if found is None:
            if min(key[0], default=0) < 0:
                raise ValueError(f"a size is negative: {list(key[0])}")
            found = object.__new__(cls)
            found.shape, found.dtype, found.size = key[0], dtype, math.prod(key[0])
            found = cls._interned.setdefault(key, found)
        return found

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.size

    def __str__(self) -> str:
        return f"{self.dtype.short}[{','.join(map(str, self.shape))}]"

    __repr__ = __str__

    def __reduce__(self) -> tuple[Any, ...]:
        return TensorType, (self.shape, self.dtype)


class TupleType:
    """The type of an op with several results. Interned."""

    __slots__ = ("items",)
    _interned: ClassVar[dict[Any, TupleType]] = {}
    items: tuple[TensorType, ...]

    def __new__(cls, items: Any) -> TupleType:
        key = tuple(items)
        found = cls._interned.get(key)
        if found is None:
            found = object.__new__(cls)
            found.items = key
            found = cls._interned.setdefault(key, found)
        return found

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.items))})"

    __repr__ = __str__

    def __reduce__(self) -> tuple[Any, ...]:
        return TupleType, (self.items,)


Type = TensorType | TupleType


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...] | None:
    """NumPy's broadcast of `shapes`; None where they do not fit."""
    rank = max(map(len, shapes), default=0)
    result = []
    for position in range(-rank, 0):
        sizes = {shape[position] for shape in shapes if len(shape) >= -position} - {1}
        if len(sizes) > 1:
            return None
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


def has_dtype(array: Any) -> bool:
    """Whether a NumPy array's dtype is one that tracejit has."""
    try:
        return BY_NUMPY[array.dtype] is not None
    except KeyError:
        return False


def array_type(array: Any) -> TensorType:
    """The type of a NumPy array or scalar. KeyError where its dtype is none of tracejit's."""
    return TensorType(array.shape, BY_NUMPY[array.dtype])
