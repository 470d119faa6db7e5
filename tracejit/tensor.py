"""Tensors with a value, how they are made, and how an op is applied to them: eager mode."""

from __future__ import annotations

import functools
import math
from typing import Any, NoReturn

import numpy as np

from tracejit import functions, ops
from tracejit.context import context, is_entered, quietly
from tracejit.conversion import as_array, first_tensor, holds_tensor
from tracejit.ir import dispatch
from tracejit.ir.dispatch import Applicable
from tracejit.ir.errors import DtypeError, InvalidArgumentError, ResourceExhaustedError, TracingError, fail, shown
from tracejit.ir.types import DType, TensorType, array_type
from tracejit.operators import Operators


class Tensor(Operators):
    """An immutable array. `value` is the NumPy array behind it, which nobody writes to."""

    __slots__ = ("__weakref__", "type", "value")
    value: Any
    node: Any = None  # of a trace, where it stands for one and has no value

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
        return np.asarray(array.data.toreadonly())
    words = array.view(np.uint16)  # bfloat16, which memory that is exported cannot say it holds
    return np.asarray(words.data.toreadonly()).view(array.dtype)


def array_repr(value: Any) -> str:
    """NumPy's repr of an array; of a scalar its bare value, as TensorFlow prints it."""
    return repr(value) if isinstance(value, np.ndarray) else str(value)


_new_tensor = object.__new__


def _refuse_foreign(op: Applicable, operands: tuple[Any, ...]) -> NoReturn:
    """Say which operand has no value. Called while an AttributeError is handled: it is raised on where all have one."""
    for operand in operands:
        if operand.node is not None:
            operand.refuse(f"{op.name} was given it")
    raise


def _converted(op: str, value: Any, dtype: DType | None) -> Any:
    """`value` as a tensor of `dtype`, where that is given. TypeError and ValueError as `as_array`; what is wrong with tensors
    in it is said of `op`."""
    if isinstance(value, Operators):
        tensor = value if isinstance(value, Tensor) else value.read()  # type: ignore[attr-defined]
        if dtype is not None and tensor.type.dtype is not dtype:
            fail(DtypeError, op, (tensor,), f"it is not {dtype.name}; convert it with cast")
        return tensor
    if holds_tensor(value):
        return _stacked(op, value, dtype, dtype or first_tensor(value).type.dtype)
    array = as_array(value, dtype)
    if context.trace is not None:
        return context.trace.constant(array, value)
    return Tensor(array, array_type(array))


def _stacked(op: str, value: Any, asked: DType | None, dtype: DType) -> Any:
    """A list with tensors in it as one tensor. Where a dtype was asked for, floats and integers are converted to it that are
    another; else all tensors have that of the first."""
    if not holds_tensor(value):
        tensor = _converted(op, value, dtype if not isinstance(value, Operators) else None)
        if tensor.type.dtype is dtype:
            return tensor
        if asked is None or (tensor.type.dtype.is_floating and not dtype.is_floating) or dtype.is_bool:
            fail(DtypeError, op, (tensor,), f"a tensor in a list is not {dtype.name}; convert it with cast")
        return functions.cast(tensor, dtype)
    parts = [_stacked(op, item, asked, dtype) for item in value]
    if any(part.type.shape != parts[0].type.shape for part in parts):
        fail(InvalidArgumentError, op, parts, "the tensors in a list differ in shape")
    return functions.stack(parts)


def make_tensor(op: str, value: Any, dtype: Any) -> Any:
    """`value` as a tensor, for the function `op`, which is named where it cannot be."""
    wanted = None if dtype is None else functions.arguments.dtype(op, "dtype", dtype)
    try:
        return _converted(op, value, wanted)
    except InvalidArgumentError:
        raise
    except TypeError as error:
        if isinstance(error, TracingError):
            raise
        fail(DtypeError, op, (), str(error))
    except ValueError as error:
        fail(InvalidArgumentError, op, (), str(error))


def convert_to_tensor(value: Any, dtype: Any = None, dtype_hint: Any = None, name: str | None = None) -> Any:
    """`value` as a tensor: a tensor is itself, a variable its value, anything else a constant, of `dtype` where that is given
    and of `dtype_hint` where it can be.

    Without a dtype the first number in a list says which: an int, int32 (int64 where one does not fit), or float32 where there
    is a float; a float, float32, but NumPy's its own. DtypeError where a tensor has another dtype, or something cannot become
    one; InvalidArgumentError where a list is not rectangular or a number does not fit.
    """
    hint = None if dtype_hint is None else functions.arguments.dtype("convert_to_tensor", "dtype_hint", dtype_hint)
    if dtype is None and hint is not None:
        try:
            return _converted("convert_to_tensor", value, hint)
        except (TypeError, ValueError):
            pass
    tensor = make_tensor("convert_to_tensor", value, dtype)
    return ops.identity(tensor) if _is_variable(value) else tensor


def _is_variable(value: Any) -> bool:
    """Whether `value` is read to become a tensor: each such tensor is one of its own for tapes."""
    return isinstance(value, Operators) and not isinstance(value, Tensor)


def constant(value: Any, dtype: Any = None, shape: Any = None, name: str | None = "Const") -> Any:
    """A tensor of `value`, filled up to `shape` where `value` is a single element. Errors as convert_to_tensor; DtypeError
    where `shape` has another number of elements."""
    tensor = make_tensor("constant", value, dtype)
    if _is_variable(value):
        tensor = ops.stop_gradient(tensor)  # what a constant was made of is not known to tapes
    if shape is None:
        return tensor
    sizes = functions.arguments.shape("constant", "shape", shape, tensor.type.dtype, (tensor,))
    if tensor.type.shape == sizes:
        return tensor
    tensor = ops.stop_gradient(tensor)
    if tensor.type.size == 1:
        if len(tensor.type.shape) > 1:
            message = f"a value of the shape {list(tensor.type.shape)} is no single element to fill {list(sizes)} with"
            fail(InvalidArgumentError, "constant", (tensor,), message)
        return functions.fill(sizes, tensor)
    if math.prod(sizes) != tensor.type.size:
        message = f"the shape {list(sizes)} has {math.prod(sizes)} elements, and the value {tensor.type.size}"
        fail(DtypeError, "constant", (tensor,), message)
    return functions.reshape(tensor, sizes)


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
        return _converted(name, operand, dtype)
    except (InvalidArgumentError, TracingError):
        raise
    except (TypeError, ValueError) as error:
        types = [operand.type if isinstance(operand, Operators) else shown(operand) for operand in operands]
        fail(DtypeError if isinstance(error, TypeError) else InvalidArgumentError, name, types, str(error))


class Eager:
    """What applies ops to tensors."""

    def __init__(self) -> None:
        self.tensor_type, self.operand_type = Tensor, Operators

    def lift(self, name: str, operands: tuple[Any, ...]) -> tuple[Any, ...]:
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

    def apply(self, op: Applicable, operands: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
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
        except RuntimeError:
            if not is_entered(context.quiet):
                raise
            arrays = [operand.value for operand in operands]
            value = quietly(lambda: evaluate(*arrays, **attrs))
        except MemoryError as error:
            fail(ResourceExhaustedError, op.name, operands, str(error) or "there is not enough memory")
        if type(result_type) is TensorType:
            result: Any = _new_tensor(Tensor)
            result.value, result.type = value, result_type
            results = (result,)
        else:
            results = result = tuple(map(Tensor, value, result_type.items))
        for tape in context.tapes:
            tape.record(op, operands, attrs, results)
        return result


dispatch.install(Eager())
