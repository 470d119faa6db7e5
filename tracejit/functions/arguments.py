"""What a user writes beside tensors: axes, sizes, shapes, counts, flags, names and dtypes. One reader for each kind, so that
every function takes the same forms and says the same of all others.

A whole number is an int of Python's or NumPy's, or an array or an integer tensor of the shape (); several are a list, tuple,
range or TensorShape of such, or an array or tensor of one axis. A bool or a float is none, also where it is whole. A tensor
that is being traced has no value yet: TracingError.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from tracejit import ops
from tracejit.ir import dispatch
from tracejit.ir.errors import DtypeError, InvalidArgumentError, ResourceExhaustedError, fail, shown
from tracejit.ir.graph import Graph, reachable
from tracejit.ir.interpret import interpret
from tracejit.ir.types import DType, as_dtype, has_dtype, int64
from tracejit.memory import total_memory

Operands = Sequence[Any]

# How many nodes are evaluated for an argument: a size is a few of a shape's.
_FEW_NODES = 64
# Beyond it NumPy has no array.
MAX_RANK = 64
_MAX_SIZE = 2**63 - 1


def described(value: Any) -> str:
    """A short repr of a user's value with its class."""
    return f"{shown(value)} ({type(value).__name__})"


def refuse(op: str, argument: str, expected: str, value: Any, operands: Operands = ()) -> NoReturn:
    """Raise DtypeError: `argument` must be `expected`, and `value` is not."""
    fail(DtypeError, op, operands, f"{argument} must be {expected}, not {described(value)}")


def known(op: str, argument: str, value: Any) -> np.ndarray:
    """The value of a tensor or variable, as an array. TracingError where it is being traced and does not follow from constants
    alone."""
    (tensor,) = ops.lift(op, (value,))
    if tensor.node is None:
        return np.asarray(tensor.value)
    nodes = reachable([tensor.node])
    if any(node.op is ops.parameter for node in nodes) or len(nodes) > _FEW_NODES:
        tensor.refuse(f"{op} needs {argument} to be known while tracing")
    results, _ = interpret(Graph(argument, [], [tensor.node]), [])
    return np.asarray(results[0])


def _array(op: str, argument: str, value: Any) -> np.ndarray | None:
    """What is like an array, as one; None for anything else."""
    if isinstance(value, dispatch.operand_type):
        return known(op, argument, value)
    if isinstance(value, np.generic) or hasattr(type(value), "__array__"):
        try:
            return np.asarray(value)
        except Exception:  # of a user's class
            return None
    return None


def _integer(op: str, argument: str, value: Any) -> int | None:
    """`value` as an int; None where it is no whole number."""
    if isinstance(value, int):
        return None if isinstance(value, bool) else int(value)
    array = _array(op, argument, value)
    if array is not None:
        return int(array) if array.dtype.kind in "iu" and array.ndim == 0 else None
    if not hasattr(type(value), "__index__"):
        return None
    try:
        return int(value.__index__())
    except Exception:  # of a user's class
        return None


def integer(op: str, argument: str, value: Any, operands: Operands = (), expected: str = "a whole number") -> int:
    """One whole number. DtypeError for anything else."""
    if type(value) is int:
        return value
    number = _integer(op, argument, value)
    if number is None:
        refuse(op, argument, expected, value, operands)
    return number


def integers(
    op: str, argument: str, value: Any, operands: Operands = (), expected: str = "a list of whole numbers"
) -> tuple[int, ...]:
    """Whole numbers; one stands for a list of one. DtypeError for anything else."""
    if isinstance(value, (list, tuple, range)):
        numbers = [item if type(item) is int else _integer(op, argument, item) for item in value]
        if None in numbers:
            refuse(op, argument, expected, value, operands)
        return tuple(numbers)  # type: ignore[arg-type]
    number = value if type(value) is int else _integer(op, argument, value)
    if number is not None:
        return (number,)
    array = _array(op, argument, value)
    if array is None or array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        refuse(op, argument, expected, value, operands)
    return tuple(array.tolist())


def indices(op: str, argument: str, value: Any) -> Any:
    """`value` as a tensor; an array of integers of a dtype that no tensor has becomes int64."""
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "iu" and not has_dtype(value):
        return converted(op, argument, value, int64)
    return ops.lift(op, (value,))[0]


def table(op: str, argument: str, value: Any, operands: Operands = ()) -> list[tuple[int, int]]:
    """Pairs of whole numbers, a list of lists or an array or tensor of the shape [n, 2]. DtypeError for other kinds of values,
    InvalidArgumentError for other shapes."""
    expected = "pairs of whole numbers"
    array = None if isinstance(value, (list, tuple)) else _array(op, argument, value)
    if array is not None:
        if array.dtype.kind not in "iu" and array.size:
            refuse(op, argument, expected, value, operands)
        value = array.tolist()
    if not isinstance(value, (list, tuple)):
        refuse(op, argument, expected, value, operands)
    if not value and array is None:
        fail(InvalidArgumentError, op, operands, f"{argument} must be {expected}, not an empty list")
    pairs = [integers(op, argument, pair, operands, expected) for pair in value]
    if any(len(pair) != 2 for pair in pairs):
        fail(InvalidArgumentError, op, operands, f"{argument} must be {expected}, not {described(value)}")
    return pairs  # type: ignore[return-value]


def shape(op: str, argument: str, value: Any, dtype: DType | None = None, operands: Operands = ()) -> tuple[int, ...]:
    """The sizes of a tensor of `dtype` that can be made. DtypeError where they are no whole numbers, InvalidArgumentError where
    one is negative, and as `check_size`."""
    sizes = integers(op, argument, value, operands)
    if min(sizes, default=0) < 0:
        fail(InvalidArgumentError, op, operands, f"{argument} {shown(list(sizes))} has a negative size")
    check_size(op, sizes, dtype, operands)
    return sizes


def check_size(op: str, sizes: Sequence[int], dtype: DType | None, operands: Operands = ()) -> None:
    """InvalidArgumentError where no tensor has so many axes or elements, ResourceExhaustedError where the machine has not so
    much memory: before anything is made."""
    if len(sizes) > MAX_RANK:
        fail(InvalidArgumentError, op, operands, f"a tensor has at most {MAX_RANK} axes, not {len(sizes)}")
    count = math.prod(sizes)
    # An empty tensor of huge sizes takes no memory, but NumPy refuses it all the same.
    if count > _MAX_SIZE or (count == 0 and math.prod(size for size in sizes if size) > _MAX_SIZE // 8):
        fail(InvalidArgumentError, op, operands, f"the shape {shown(list(sizes))} has more than 2**63 - 1 elements")
    needed = count * (dtype.size if dtype is not None else 1)
    if needed > total_memory():
        message = (
            f"the shape {shown(list(sizes))} needs {needed / 2**30:.3g} GiB, and the machine has {total_memory() / 2**30:.3g}"
        )
        fail(ResourceExhaustedError, op, operands, message)


def axis(op: str, x: Any, value: Any, rank: int, argument: str = "axis") -> int:
    """One axis below `rank`, negative from the end. DtypeError where it is no whole number, InvalidArgumentError where there is
    no such axis."""
    number = integer(op, argument, value, (x,))
    if not -rank <= number < rank:
        fail(InvalidArgumentError, op, (x,), f"{argument} {shown(number)} is not in [{-rank}, {rank})")
    return number % rank


def axes(op: str, x: Any, value: Any, argument: str = "axis") -> tuple[int, ...]:
    """The axes of `x` (all where None, one, or a list, negative from the end), ascending. InvalidArgumentError where there is
    no such axis or one is named twice, DtypeError where they are no whole numbers."""
    rank = len(x.type.shape)
    if value is None:
        return tuple(range(rank))
    numbers = integers(op, argument, value, (x,), "a whole number or a list of them")
    if len(numbers) == 1:
        return (axis(op, x, numbers[0], rank, argument),)
    found = sorted({axis(op, x, number, rank, argument) for number in numbers})
    if len(found) != len(numbers):
        fail(InvalidArgumentError, op, (x,), f"{argument} {list(numbers)} names an axis twice")
    return tuple(found)


def flag(op: str, argument: str, value: Any, operands: Operands = ()) -> bool:
    """True or False, also written 1 and 0 or None, or a bool tensor of the shape (). DtypeError for anything else."""
    if type(value) is bool:
        return value
    if value is None:
        return False
    array = np.asarray(value) if isinstance(value, int) else _array(op, argument, value)
    if array is None or array.ndim or array.dtype.kind not in "biu" or array not in (0, 1):
        refuse(op, argument, "True or False", value, operands)
    return bool(array)


def choice(op: str, argument: str, value: Any, allowed: Sequence[str], operands: Operands = ()) -> str:
    """One of the names `allowed`. DtypeError where it is no str, InvalidArgumentError where it is another."""
    names = " and ".join(map(repr, allowed))
    if not isinstance(value, str):
        refuse(op, argument, f"a str ({names} are supported)", value, operands)
    if value not in allowed:
        fail(InvalidArgumentError, op, operands, f"{argument}={shown(value)} is not supported, only {names}")
    return value


def dtype(op: str, argument: str, value: Any, allowed: Sequence[DType] | None = None, operands: Operands = ()) -> DType:
    """A dtype, one of `allowed`. DtypeError where there is no such dtype."""
    if type(value) is DType:
        wanted = value
    else:
        try:
            wanted = as_dtype(value)
        except TypeError as error:
            fail(DtypeError, op, operands, f"{argument}: {error}")
    if allowed is not None and wanted not in allowed:
        known = ", ".join(each.name for each in allowed)
        fail(DtypeError, op, operands, f"{argument} must be one of {known}, not {wanted.name}")
    return wanted


def scalar(op: str, argument: str, value: Any, like: DType, operands: Operands = ()) -> Any:
    """`value` as a tensor of the shape () and the dtype `like`. DtypeError where it has another shape or dtype or is no
    number."""
    tensor = converted(op, argument, value, like, operands)
    if tensor.type.shape:
        fail(DtypeError, op, operands, f"{argument} must be a scalar, not of the shape {list(tensor.type.shape)}")
    return tensor


def number(op: str, argument: str, value: Any, like: DType, operands: Operands = ()) -> Any:
    """A number of the dtype `like` as Python has it. Errors as `scalar`, and TracingError where it is not known."""
    if type(value) is float and like.is_floating:
        return value
    return known(op, argument, scalar(op, argument, value, like, operands)).item()


def converted(op: str, argument: str, value: Any, like: DType | None, operands: Operands = ()) -> Any:
    """`value` as a tensor, of the dtype `like` where that is given. DtypeError where it has another dtype or cannot become a
    tensor."""
    try:
        # A tensor keeps its dtype; anything else takes that of the operand beside it.
        beside = () if like is None or isinstance(value, dispatch.operand_type) else (np.zeros((), like.numpy),)
        tensor = ops.lift(op, (*beside, value))[-1]
    except InvalidArgumentError as refused:
        error: Any = refused
        fail(type(error), op, operands, f"{argument}: {error.reason}")
    if like is not None and tensor.type.dtype is not like:
        message = f"{argument} must have the dtype {like.name}, not {tensor.type.dtype.name}; convert it with cast"
        fail(DtypeError, op, operands, message)
    return tensor
