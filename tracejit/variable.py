"""Variables: named, typed cells that hold a tensor.

A variable's tensor may be updated in place by a compiled step, but only while nobody else holds it (`take_buffer`).
"""

from __future__ import annotations

import itertools
import sys
import threading
from typing import Any, NoReturn

import numpy as np

from tracejit import ops
from tracejit.ir.errors import DtypeError, InvalidArgumentError, fail
from tracejit.ir.types import DType, TensorType
from tracejit.operators import Operators
from tracejit.tensor import Tensor, array_repr, as_array, context, convert_to_tensor, holds_tensor

# Held while a variable's tensor is taken or replaced, and during the whole of a compiled call that updates one.
state_lock = threading.RLock()
_unnamed = itertools.count()


class Variable(Operators):
    """A mutable tensor of fixed shape and dtype.

    `initial_value` is what `constant` takes, or a function without arguments that gives it. A trainable variable of a
    floating dtype is watched by every tape that is active when it is read.
    """

    __slots__ = ("__weakref__", "_name", "_tensor", "_trainable", "creation", "type")
    _created = itertools.count()

    def __init__(
        self,
        initial_value: Any = None,
        trainable: bool = True,
        validate_shape: bool = True,
        caching_device: Any = None,
        name: str | None = None,
        variable_def: Any = None,
        dtype: Any = None,
        import_scope: Any = None,
        constraint: Any = None,
        synchronization: Any = None,
        aggregation: Any = None,
        shape: Any = None,
    ):
        if initial_value is None:
            raise ValueError("a Variable needs an initial_value")
        value = convert_to_tensor(initial_value() if callable(initial_value) else initial_value, dtype)
        if context.trace is not None:
            value = context.trace.created(self, value)
        if shape is not None and tuple(shape) != value.type.shape:
            raise ValueError(f"the initial value has the shape {value.shape}, not {tuple(shape)}")
        self._tensor: Tensor = Tensor(value.value, value.type)  # not `value`, which a tape may have recorded
        self.type: TensorType = value.type
        self.creation = next(Variable._created)
        self._trainable = bool(trainable)
        self._name = name or ("Variable" if (number := next(_unnamed)) == 0 else f"Variable_{number}")

    @property
    def name(self) -> str:
        return f"{self._name}:0"

    @property
    def trainable(self) -> bool:
        return self._trainable

    def read(self) -> Any:
        """The tensor it holds now, noted by the active tapes. What an op does with a variable."""
        trace = context.trace
        if trace is None:
            with state_lock:  # not while a compiled step writes to it
                tensor: Any = self._tensor
        else:
            tensor = trace.read(self)
        for tape in context.tapes:
            tape.note_read(self, tensor)
        return tensor

    value = read

    def read_value(self) -> Any:
        """The value as a tensor of its own: no gradient knows it as the variable."""
        return ops.identity(self.read())

    def numpy(self) -> Any:
        """A copy of the value as NumPy has it. Not while tracing."""
        return self.read().numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        tensor = self.read()
        return tensor.__array__(dtype, True if type(tensor) is Tensor else copy)

    def __bool__(self) -> bool:
        return bool(self.read())

    def __float__(self) -> float:
        return float(self.read())

    def __int__(self) -> int:
        return int(self.read())

    def __format__(self, spec: str) -> str:
        return format(self.read(), spec)

    def __repr__(self) -> str:
        held = f", numpy={array_repr(self._tensor.numpy())}" if context.trace is None else ""
        return f"<tj.Variable '{self.name}' shape={self.type.shape} dtype={self.type.dtype.name}{held}>"

    def assign(self, value: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True) -> Variable:
        """Hold `value`, whose shape must be the variable's: nothing is broadcast. A Python number or array takes its
        dtype; a tensor must have it. InvalidArgumentError or DtypeError leave the old value."""
        return self._replace("assign", self._fitting("assign", value))

    def assign_add(self, delta: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True) -> Variable:
        """Add `delta`, on which `assign`'s rules bind."""
        return self._update("assign_add", ops.add, delta)

    def assign_sub(self, delta: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True) -> Variable:
        """Subtract `delta`, on which `assign`'s rules bind."""
        return self._update("assign_sub", ops.sub, delta)

    def _update(self, name: str, op: Any, delta: Any) -> Variable:
        fitting = self._fitting(name, delta)
        tapes, context.tapes = context.tapes, ()  # an update is state and no computation: no tape follows it
        try:
            with state_lock:
                return self._replace(name, op(self.read(), fitting))
        finally:
            context.tapes = tapes

    def _fitting(self, name: str, value: Any) -> Any:
        if isinstance(value, Operators):
            tensor = convert_to_tensor(value)
            if tensor.type.dtype is not self.type.dtype:
                message = f"the variable {self.name!r} is {self.type.dtype.name}; convert the value with cast"
                fail(DtypeError, name, (tensor,), message)
        else:
            tensor = convert_to_tensor(as_array(value, self.type.dtype) if not holds_tensor(value) else value)
        if tensor.type.shape != self.type.shape:
            message = f"the variable {self.name!r} has the shape {self.type.shape}; nothing is broadcast"
            fail(InvalidArgumentError, name, (tensor,), message)
        return tensor

    def _replace(self, name: str, tensor: Any) -> Variable:
        if context.trace is not None:
            context.trace.assign(self, tensor)
        else:
            with state_lock:
                self._tensor = Tensor(tensor.value, tensor.type)  # the chain ends here: no tape knows this tensor
        return self

    def take_buffer(self) -> np.ndarray:
        """The array that holds the value, for a compiled step to write to: copied first where anyone else, a tensor
        that was read, a tape, an array, still refers to it. The caller holds `state_lock`."""
        alone = _references(self) == _UNSHARED
        array = self._tensor.value
        if not (
            alone and type(array) is np.ndarray and array.flags.c_contiguous and array.flags.writeable and array.base is None
        ):
            array = np.array(array, self.type.dtype.numpy, order="C")
            self._tensor = Tensor(array, self.type)
        return array

    def __iadd__(self, other: Any) -> NoReturn:
        self._refuse_in_place("+=", "assign_add")

    def __isub__(self, other: Any) -> NoReturn:
        self._refuse_in_place("-=", "assign_sub")

    def __imul__(self, other: Any) -> NoReturn:
        self._refuse_in_place("*=", "assign")

    def __itruediv__(self, other: Any) -> NoReturn:
        self._refuse_in_place("/=", "assign")

    def _refuse_in_place(self, operator: str, method: str) -> NoReturn:
        raise RuntimeError(
            f"variable {operator} value is not supported: use variable.{method}(value), or variable = variable ..."
        )

    def __deepcopy__(self, memo: Any) -> Variable:
        copy = Variable(self._tensor, self._trainable, name=self._name)
        memo[id(self)] = copy
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (np.asarray(self._tensor.value), self._trainable, self._name, self.type.dtype)


def _restore(array: np.ndarray, trainable: bool, name: str, dtype: DType) -> Variable:
    return Variable(array, trainable, name=name, dtype=dtype)


def _references(variable: Variable) -> tuple[int, int]:
    """How often a variable's tensor and its array are referred to, these frames included."""
    tensor = variable._tensor
    return sys.getrefcount(tensor), sys.getrefcount(tensor.value)


# What a variable shows whose tensor nobody else holds. Measured, since what a frame adds differs between Pythons.
_UNSHARED = _references(Variable(np.zeros(1, np.float32), trainable=False, name="unshared"))
