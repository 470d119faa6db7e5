"""What a user writes in the place of a tensor, a number, an array or a list of them, as an array of TensorFlow's dtype.

Errors are TypeError and ValueError; who calls names the function.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit import nest
from tracejit.functions.arguments import described
from tracejit.ir.errors import shown
from tracejit.ir.types import DType, as_dtype, bool_, float32, has_dtype, int32, int64
from tracejit.memory import copied
from tracejit.objects import is_masked
from tracejit.operators import Operators, TensorShape

SEQUENCES = (list, tuple, range)
_NUMBERS = (bool, int, float, np.generic, np.ndarray)
# NumPy's arrays have no more axes. What nests deeper holds itself, most likely.
_MAX_DEPTH = 64
_NOTHING = object()
_MASKED = "a masked array has a mask, which a tensor does not have: pass its filled(...), or its data"
# Below, a number is a float64, so that float32 is rounded to once; and nothing overflows.
_EXACT = 2**53


def as_array(value: Any, dtype: DType | None = None) -> np.ndarray:
    """A new array of `value`, which is a number or an array or a list of them.

    Where no dtype is given, an array keeps its own. Else the first number says which: a bool, that all are; an int, int32
    (int64 where one does not fit), or float32 where there is a float; a float of Python's, float32, one of NumPy's, its own.
    TypeError where a float would be cut to an integer, or the dtype is none of tracejit's; ValueError where a list is not
    rectangular or mixes bools and numbers, or a number does not fit (a float where `dtype` says so is infinite).
    """
    if isinstance(value, (np.ndarray, np.generic)):
        return _of_array(value, dtype)
    if isinstance(value, (bool, int, float)):
        if dtype is not None and dtype.is_floating and not dtype.is_half and -_EXACT < value < _EXACT:
            return np.array(value, dtype.numpy)
        return _of_numbers(value, value, {type(value)}, dtype)
    if isinstance(value, SEQUENCES):
        classes: set[type] = set()
        first = _scan(value, classes)
        if dtype is None and first is _NOTHING and isinstance(value, TensorShape):
            dtype = int32
        return _of_numbers(value, first, classes, dtype)
    if not hasattr(type(value), "__array__"):
        raise TypeError(f"{described(value)} cannot become a tensor")
    try:
        array = np.asarray(value)
    except Exception as error:  # of a user's class
        raise TypeError(f"{described(value)} cannot become a tensor: {error}") from None
    return _of_array(array, dtype)


def _of_array(array: Any, dtype: DType | None) -> np.ndarray:
    if is_masked(type(array)):
        raise TypeError(_MASKED)
    if dtype is None:
        return copied(array, array.dtype if has_dtype(array) else as_dtype(array.dtype.newbyteorder("=")).numpy)
    if array.dtype == dtype.numpy:
        return copied(array, dtype.numpy)
    kind = array.dtype.kind
    if kind not in "biuf" and array.dtype.name != "bfloat16":
        raise TypeError(f"{array.dtype} does not become {dtype.name}")
    if dtype.is_integer and kind not in "iub":
        raise TypeError(f"{array.dtype} does not become {dtype.name} by itself: use cast")
    if dtype.is_integer and kind != "b" and not np.can_cast(array.dtype, dtype.numpy):
        _check_range(array, array, dtype)
    with np.errstate(all="ignore"):
        return copied(array, dtype.numpy)


def _check_range(value: Any, array: Any, dtype: DType) -> None:
    if array.size and not (dtype.min <= array.min() and array.max() <= dtype.max):
        raise ValueError(f"{shown(value)} does not fit into {dtype.name}")


def _check_magnitude(value: Any, array: Any, dtype: DType) -> None:
    """Numbers for which nobody asked for the dtype, such as 1e40 for float32."""
    with np.errstate(over="ignore"):
        if np.any(np.isinf(array.astype(dtype.numpy)) & np.isfinite(array)):
            raise ValueError(f"{shown(value)} does not fit into {dtype.name}: say dtype, as in dtype=tj.float64")


def _scan(value: Any, classes: set[type], depth: int = 1) -> Any:
    """The first leaf of nested lists, `_NOTHING` where there is none. The classes of the leaves are put into `classes`."""
    if depth > _MAX_DEPTH:
        nest.check_finite(value, "a value")
        raise ValueError(f"{shown(value)} nests deeper than {_MAX_DEPTH} lists")
    inner = set(map(type, value))
    if not any(issubclass(each, SEQUENCES) for each in inner):
        classes |= inner
        return next(iter(value), _NOTHING)
    first = _NOTHING
    for item in value:
        if isinstance(item, SEQUENCES):
            leaf = _scan(item, classes, depth + 1)
        else:
            classes.add(type(item))
            leaf = item
        if first is _NOTHING:
            first = leaf
    return first


def holds_tensor(value: Any) -> bool:
    """Whether `value` is a list or tuple with a tensor or variable somewhere in it. ValueError where it nests too deep."""
    if not isinstance(value, (list, tuple)):
        return False
    classes: set[type] = set()
    _scan(value, classes)
    return any(issubclass(each, Operators) for each in classes)


def first_tensor(value: Any) -> Any:
    """The first tensor or variable in nested lists; None where there is none."""
    if isinstance(value, Operators):
        return value
    if isinstance(value, (list, tuple)):
        return next((tensor for tensor in map(first_tensor, value) if tensor is not None), None)
    return None


def _is_number(kind: type) -> bool:
    return issubclass(kind, _NUMBERS) or hasattr(kind, "__array__")


def _first_that_is_none(value: Any) -> Any:
    """The first leaf that is no number; `_NOTHING` where all are."""
    if not isinstance(value, SEQUENCES):
        return _NOTHING if _is_number(type(value)) else value
    return next((leaf for leaf in map(_first_that_is_none, value) if leaf is not _NOTHING), _NOTHING)


def _of_numbers(value: Any, first: Any, classes: set[type], dtype: DType | None) -> np.ndarray:
    """As `as_array`, for a number or a list, with its first leaf and the classes of all."""
    if any(map(is_masked, classes)):
        raise TypeError(_MASKED)
    if not all(map(_is_number, classes)):
        raise TypeError(f"{described(_first_that_is_none(value))} cannot become a tensor")
    try:
        array = np.array(value)
    except (ValueError, TypeError):
        raise ValueError(f"{shown(value)} is not rectangular: its rows differ in length") from None
    if array.size == 0:
        return array.astype((dtype or float32).numpy)
    leading = np.asarray(first).dtype
    if array.dtype.kind in "OV" or (array.dtype.kind == "f" and leading.kind in "iu"):
        array = _exact(value, array, leading, dtype)
    kind = array.dtype.kind
    if kind not in "biuf":
        raise TypeError(f"{described(value)} cannot become a tensor")
    if dtype is None:
        if leading.kind == "b" and kind != "b":
            raise ValueError(f"{shown(value)} mixes bools and numbers")
        dtype = _inferred(first, leading, array)
        if kind == "f":
            _check_magnitude(value, array, dtype)
    if kind == "f" and not dtype.is_floating:
        raise TypeError(f"{shown(value)} is a float and does not become {dtype.name} by itself: use cast")
    if kind in "iu" and dtype.is_bool:
        raise TypeError(f"{shown(value)} is no bool")
    if kind in "iu" and dtype.is_integer:
        _check_range(value, array, dtype)
    with np.errstate(all="ignore"):
        return array.astype(dtype.numpy)


def _inferred(first: Any, leading: np.dtype[Any], array: np.ndarray) -> DType:
    if leading.kind == "b":
        return bool_
    if leading.kind not in "iu":
        return float32 if isinstance(first, float) and not isinstance(first, np.generic) else as_dtype(leading)
    if array.dtype.kind == "f":
        return float32
    return int32 if array.min() >= int32.min and array.max() <= int32.max else int64


def _exact(value: Any, array: np.ndarray, leading: np.dtype[Any], dtype: DType | None) -> np.ndarray:
    """The numbers of a list for which NumPy has no common dtype, or has taken one that may have rounded integers: as int64
    where all are integers that fit, else as float64. ValueError where an integer is none of them."""
    leaves = np.array(value, object).reshape(-1).tolist()
    floats = [leaf for leaf in leaves if not isinstance(leaf, (int, np.integer, np.bool_))]
    if not floats and not (dtype is not None and dtype.is_floating):
        if any(not int64.min <= int(leaf) <= int64.max for leaf in leaves):
            raise ValueError(f"{shown(value)} has an integer that does not fit into int64")
        return np.array([int(leaf) for leaf in leaves], np.int64).reshape(array.shape)
    try:
        return np.array([float(leaf) for leaf in leaves], np.float64).reshape(array.shape)
    except OverflowError:
        raise ValueError(f"{shown(value)} has an integer that does not fit into a float") from None
