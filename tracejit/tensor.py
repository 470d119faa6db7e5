"""Tensors with a value, and how an op is applied to them: eager mode.

What is current, the trace being made and the tapes that record, is held in `context`, one a thread.
"""

from __future__ import annotations

import contextvars
import ctypes
import functools
import threading
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from tracejit import functions, nest
from tracejit.ir.errors import DtypeError, InvalidArgumentError, fail
from tracejit.ir.op import Op
from tracejit.ir.types import DType, TensorType, array_type, as_dtype, bool_, float32, int32, int64
from tracejit.locks import Lock
from tracejit.memory import copied
from tracejit.operators import Operators

if TYPE_CHECKING:
    from tracejit.tape import GradientTape
    from tracejit.tracing.trace import Trace


def _quiet_context() -> contextvars.Context:
    """A context in which NumPy does not warn of overflow and division by zero, as TensorFlow does not. To run a
    function in it costs a sixth of np.errstate."""
    context = contextvars.copy_context()
    context.run(np.seterr, all="ignore")
    return context


class _Context(threading.local):
    def __init__(self) -> None:
        self.trace: Trace | None = None
        self.tapes: tuple[GradientTape, ...] = ()
        self.quiet = _quiet_context()


context = _Context()

# How many tapes and traces there are in all threads, and switches that make functions run as Python: while it is not 0, no
# call is native.
interpreted = ctypes.c_int64(0)
_counting = Lock()


def count_interpreted(change: int) -> None:
    """Add to `interpreted`."""
    with _counting:
        interpreted.value += change


class Tensor(Operators):
    """An immutable array. `value` is the NumPy array behind it, which nobody writes to."""

    __slots__ = ("__weakref__", "type", "value")
    value: Any

    def __init__(self, value: Any, type: TensorType):
        self.value, self.type = value, type

    def numpy(self) -> Any:
        """A copy of the value: an ndarray, or a NumPy scalar where the shape is ()."""
        return np.array(self.value)[()] if not self.type.shape else np.array(self.value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = np.asarray(self.value)
        if (dtype is not None and array.dtype != dtype) or copy:
            return array.astype(dtype or array.dtype)
        return _read_only(array)

    def __bool__(self) -> bool:
        return bool(np.asarray(self.value))

    def __float__(self) -> float:
        return float(np.asarray(self.value))

    def __int__(self) -> int:
        return int(np.asarray(self.value))

    def __index__(self) -> int:
        return np.asarray(self.value).__index__()

    def __format__(self, spec: str) -> str:
        return self.numpy().__format__(spec) if spec or not self.type.shape else str(self.numpy())

    def __str__(self) -> str:
        text = str(self.numpy())
        return f"tj.Tensor({chr(10) if chr(10) in text else ''}{text}, {self._described()})"

    def __repr__(self) -> str:
        return f"<tj.Tensor: {self._described()}, numpy={array_repr(self.numpy())}>"

    def _described(self) -> str:
        return f"shape={self.type.shape}, dtype={self.type.dtype.name}"

    def __deepcopy__(self, memo: Any) -> Tensor:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return constant, (np.asarray(self.value),)


def _read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be made writable again, as one of an array can: it is one of memory that is exported to be read."""
    if array.dtype.isbuiltin == 1:
        return np.asarray(memoryview(array).toreadonly())  # type: ignore[arg-type]
    words = array.view(np.uint16)  # bfloat16, which memory that is exported cannot say it holds
    return np.asarray(memoryview(words).toreadonly()).view(array.dtype)  # type: ignore[arg-type]


def array_repr(value: Any) -> str:
    """NumPy's repr of an array; of a scalar its bare value, as TensorFlow prints it."""
    return repr(value) if isinstance(value, np.ndarray) else str(value)


_new_tensor = object.__new__


def apply_values(op: Op, operands: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
    """Apply `op` to tensors: into the trace that is being made, else at once, recorded by the active tapes."""
    trace = context.trace
    if trace is not None:
        return trace.apply(op, operands, attrs)
    evaluate: Any = op.evaluate
    try:
        # The commonest cases are written out, and ** left out where it passes nothing: each takes a quarter off the call.
        if len(operands) == 2 and not attrs:
            x, y = operands
            result_type = op.type_of((x.type, y.type), attrs)
            value = context.quiet.run(evaluate, x.value, y.value)
        elif len(operands) == 1:
            (x,) = operands
            result_type = op.type_of((x.type,), attrs)
            value = context.quiet.run(evaluate, x.value, **attrs)
        else:
            result_type = op.type_of(tuple([operand.type for operand in operands]), attrs)
            value = context.quiet.run(evaluate, *[operand.value for operand in operands], **attrs)
    except AttributeError:
        _refuse_foreign(op, operands)
    if type(result_type) is TensorType:
        result: Any = _new_tensor(Tensor)
        result.value, result.type = value, result_type
        results = (result,)
    else:
        results = result = tuple(map(Tensor, value, result_type.items))  # type: ignore[union-attr]
    for tape in context.tapes:
        tape.record(op, operands, attrs, results)
    return result


def _refuse_foreign(op: Op, operands: tuple[Any, ...]) -> NoReturn:
    """Say which operand has no value. Called while an AttributeError is handled: it is raised on where all have one."""
    for operand in operands:
        if not hasattr(operand, "value"):
            operand.refuse(f"{op.name} was given it")
    raise


def as_array(value: Any, dtype: DType | None = None) -> np.ndarray:
    """A new array of `value`, which is a number or an array or a list of them, with TensorFlow's dtype where none is
    given: int32 (int64 where it does not fit) for ints, float32 for floats. TypeError where a float would be cut to an
    integer or the dtype is none of tracejit's, ValueError where a list is ragged or mixes bools and numbers."""
    if isinstance(value, (np.ndarray, np.generic)):
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError("it is a masked array, whose mask a tensor does not have: pass its filled(...), or its data")
        if dtype is None:
            return copied(value, as_dtype(value.dtype).numpy)
        if dtype.is_integer and value.dtype.kind not in "iub":
            raise TypeError(f"{value.dtype} does not become {dtype.name} by itself: use cast")
        return context.quiet.run(copied, value, dtype.numpy)
    try:
        found = np.array(value)
    except ValueError:
        raise ValueError(f"{value!r} is not rectangular: its rows differ in length") from None
    kind = found.dtype.kind
    if found.dtype.name == "bfloat16":
        return as_array(found, dtype)
    if found.size == 0 and isinstance(value, (list, tuple)):
        return found.astype((dtype or float32).numpy)
    if kind not in "biuf":
        raise TypeError(f"{value!r} ({type(value).__name__}) cannot become a tensor")
    if kind != "b" and isinstance(value, (list, tuple)) and _holds_bool(value):
        raise ValueError(f"{value!r} mixes bools and numbers")
    if dtype is None:
        small = kind != "f" and found.size and found.min() >= -(2**31) and found.max() < 2**31
        dtype = {"b": bool_, "f": float32}.get(kind) or (int32 if small else int64)
    if kind == "f" and not dtype.is_floating:
        raise TypeError(f"{value!r} is a float and does not become {dtype.name} by itself: use cast")
    if kind in "iu" and dtype.is_bool:
        raise TypeError(f"{value!r} is no bool")
    if kind in "iu" and dtype.is_integer and found.size and not (dtype.min <= found.min() and found.max() <= dtype.max):
        raise ValueError(f"{value!r} does not fit into {dtype.name}")
    return context.quiet.run(found.astype, dtype.numpy)


def _holds_bool(value: Any) -> bool:
    return any(_holds_bool(item) if isinstance(item, (list, tuple)) else isinstance(item, bool) for item in value)


def holds_tensor(value: Any) -> bool:
    """Whether `value` is a list or tuple with a tensor or variable somewhere in it. ValueError where it contains itself."""
    try:
        return _holds_tensor(value)
    except RecursionError:
        nest.check_finite(value, "a value")
        raise


def _holds_tensor(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and any(isinstance(item, Operators) or _holds_tensor(item) for item in value)


def convert_to_tensor(value: Any, dtype: Any = None, dtype_hint: Any = None, name: str | None = None) -> Any:
    """`value` as a tensor: a tensor is itself, a variable its value, anything else a constant.

    DtypeError where a tensor has another dtype than `dtype`; else as `as_array` raises.
    """
    wanted = None if dtype is None else as_dtype(dtype)
    if isinstance(value, Operators):
        tensor = value if isinstance(value, Tensor) else value.read()  # type: ignore[attr-defined]
        if wanted is not None and tensor.type.dtype is not wanted:
            fail(DtypeError, "convert_to_tensor", (tensor,), f"it is not {wanted.name}; convert it with cast")
        return tensor
    if holds_tensor(value):
        return functions.stack([convert_to_tensor(item, dtype) for item in value])
    array = as_array(value, wanted)
    if context.trace is not None:
        return context.trace.constant(array, value)
    return Tensor(array, array_type(array))


def constant(value: Any, dtype: Any = None, shape: Any = None, name: str | None = "Const") -> Any:
    """A tensor of `value`, filled up to `shape` where `value` is a single element. Errors as convert_to_tensor."""
    tensor = convert_to_tensor(value, dtype)
    if shape is None or tensor.type.shape == tuple(shape):
        return tensor
    if tensor.type.size == 1:
        return functions.fill(shape, functions.reshape(tensor, ()))
    return functions.reshape(tensor, shape)


def lift_values(name: str, operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """`operands` of the op `name` as tensors: what is none takes the dtype of the first that is, else of the first."""
    dtype, done = None, True
    for operand in operands:
        if not isinstance(operand, Tensor):
            done = False
        if dtype is None and isinstance(operand, Operators):
            dtype = operand.type.dtype
    if done:
        return operands
    if dtype is None and len(operands) > 1:
        dtype = _lift(name, operands[0], None, operands).type.dtype
    lifted = []
    for operand in operands:
        if isinstance(operand, Tensor):
            lifted.append(operand)
        elif isinstance(operand, Operators):
            lifted.append(operand.read())  # type: ignore[attr-defined]
        else:
            lifted.append(_lift(name, operand, dtype, operands))
    return tuple(lifted)


_EXACT = 2**53  # below, an int is a float64, so that float32 is rounded to once; and nothing overflows


@functools.lru_cache(256)
def _number(value: float, dtype: DType) -> Tensor:
    """What as_array gives, for the numbers that programs are full of and that need no check; made once, since it is an
    operand of an op and nobody gets hold of it. (Not 0, which is -0 as well.)"""
    return Tensor(np.array(value, dtype.numpy), TensorType((), dtype))


def _lift(name: str, operand: Any, dtype: DType | None, operands: tuple[Any, ...]) -> Any:
    kind = type(operand)
    plain = (kind is float or kind is int) and dtype is not None and dtype.is_floating and context.trace is None
    if plain and -_EXACT < operand < _EXACT and operand:
        return _number(operand, dtype)
    try:
        return convert_to_tensor(operand, dtype)
    except TypeError as error:
        described = [operand.type if isinstance(operand, Operators) else repr(operand) for operand in operands]
        fail(DtypeError, name, described, str(error))
    except InvalidArgumentError:
        raise
    except ValueError as error:
        fail(InvalidArgumentError, name, [type(operand).__name__], str(error))


Op.tensor_type = Tensor
Op.lift_values = staticmethod(lift_values)
Op.apply_values = staticmethod(apply_values)
