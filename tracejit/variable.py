"""Variables: named, typed cells that hold a tensor.

A variable's tensor may be updated in place by a compiled step, but only while nobody else refers to it (`take_buffer`), and
while the variable is held by the thread that runs the step (`holding`).
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from tracejit import ops
from tracejit.context import context
from tracejit.functions import arguments
from tracejit.ir.errors import DtypeError, InvalidArgumentError, fail
from tracejit.ir.types import DType, TensorType
from tracejit.locks import before_fork
from tracejit.memory import ALIGNED_FROM, copied, empty, is_aligned
from tracejit.operators import Operators
from tracejit.tensor import Tensor, array_repr, make_tensor

# Who updates a variable, a thread or a native call, by the variable's id. Each entry is made by one setdefault, which no
# other thread comes between. A native call that keeps the interpreter's lock from its first look at a variable to the last
# makes no entry, and looks only whether there is one.
held: dict[int, Any] = {}
# The threads that wait for an entry to go. Each is told by locks of its own, and enters and leaves by one operation on the
# dict: a signal handler that reads a variable may come between any two, in the same thread.
waiting: dict[int, _Waiter] = {}
_numbers = itertools.count()
_TURN_SECONDS = 0.01
# After so long one looks by oneself: who should have told may have been interrupted.
_UNTOLD_SECONDS = 0.5
_unnamed = itertools.count()


class holding:
    """Hold variables for an update: until the end of the block no other thread reads or updates them.

    Where an interrupt comes as the block is left, they are held until this is gone, with the interrupt's traceback.
    """

    __slots__ = ("_keys", "_me", "_variables")

    def __init__(self, variables: Sequence[Variable]):
        self._variables, self._me = variables, threading.get_ident()
        self._keys: list[int] = []

    def __enter__(self) -> None:
        me = self._me
        try:
            while (taken := self._take(me)) is not None:
                self._release()
                _wait(taken, me)
        except BaseException:
            self._release()
            raise

    def _take(self, me: int) -> int | None:
        """None where all are held now, else the id of one that another thread holds."""
        for variable in self._variables:
            key = id(variable)
            if held.get(key) == me:
                continue  # by a block around this one
            self._keys.append(key)
            if held.setdefault(key, me) != me:
                return key
        return None

    def _release(self) -> None:
        keys = self._keys
        while keys:
            key = keys[-1]
            if held.get(key) == self._me:
                del held[key]
            del keys[-1]  # no call since it was let go, so no interrupt
        if waiting:
            tell_waiting()

    def __exit__(self, *exception: Any) -> None:
        self._release()

    def __del__(self) -> None:
        if getattr(self, "_keys", None):  # not there where an interrupt came as this was made
            self._release()


class _Waiter:
    """One thread that waits: `wake` is released for it, and `served` by it when it has had its turn."""

    __slots__ = ("served", "wake")

    def __init__(self) -> None:
        self.wake, self.served = threading.Lock(), threading.Lock()
        self.wake.acquire()
        self.served.acquire()


def _wait(key: int, me: int) -> None:
    """Until no other thread holds the variable with the id `key`."""
    while held.get(key, me) != me:
        number, waiter = next(_numbers), _Waiter()
        waiting[number] = waiter
        try:
            if held.get(key, me) != me:  # else it was let go before it could be seen that one waits
                waiter.wake.acquire(timeout=_UNTOLD_SECONDS)
        finally:
            waiting.pop(number, None)
            waiter.served.release()


def tell_waiting() -> None:
    """Let the threads that wait for a variable look again, and have their turn: else the one that has let it go, and holds the
    interpreter's lock, would take it again before they can."""
    told = []
    while waiting:
        try:
            _, waiter = waiting.popitem()
        except KeyError:  # it has left
            break
        waiter.wake.release()
        told.append(waiter)
    for waiter in told:
        waiter.served.acquire(timeout=_TURN_SECONDS)


def _settle() -> None:
    """No variable is half written in the child."""
    me = threading.get_ident()
    for key in list(held):
        _wait(key, me)


def _in_child() -> None:
    me = threading.get_ident()
    waiting.clear()
    for key in [key for key, holder in held.items() if holder != me]:
        del held[key]


if hasattr(os, "register_at_fork"):
    before_fork(_settle)
    os.register_at_fork(after_in_child=_in_child)


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
            fail(InvalidArgumentError, "Variable", (), "it needs an initial_value")
        value = make_tensor("Variable", initial_value() if callable(initial_value) else initial_value, dtype)
        if context.trace is not None:
            value = context.trace.created(self, value)
        if shape is not None and (sizes := arguments.shape("Variable", "shape", shape)) != value.type.shape:
            fail(InvalidArgumentError, "Variable", (value,), f"the initial value has the shape {value.shape}, not {sizes}")
        if name is not None and not isinstance(name, str):
            arguments.refuse("Variable", "name", "a str", name, (value,))
        self._tensor: Tensor = _detached("Variable", value)
        self.type: TensorType = value.type
        self.creation = next(Variable._created)
        self._trainable = trainable is None or arguments.flag("Variable", "trainable", trainable)
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
        tensor: Any = self._now() if trace is None else trace.read(self)
        for tape in context.tapes:
            tape.note_read(self, tensor)
        return tensor

    def _now(self) -> Tensor:
        tensor = self._tensor
        # A step that takes the variable from here on leaves the array alone, since `tensor` refers to it; one that had taken
        # it before writes to it.
        while held and held.get(id(self), me := threading.get_ident()) != me:
            _wait(id(self), me)
            tensor = self._tensor
        return tensor

    def read_value(self) -> Any:
        """The value as a tensor of its own: no gradient knows it as the variable."""
        return ops.identity(self.read())

    value = read_value

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

    def assign(self, value: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True) -> Any:
        """Hold `value`, whose shape must be the variable's: nothing is broadcast. A Python number or array takes its
        dtype; a tensor must have it. InvalidArgumentError or DtypeError leave the old value. The variable comes back, or None
        unless `read_value`."""
        self._replace("assign", self._fitting("assign", value))
        return self if read_value else None

    def assign_add(self, delta: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True) -> Any:
        """Add `delta`, on which `assign`'s rules bind."""
        self._update("assign_add", ops.add, delta)
        return self if read_value else None

    def assign_sub(self, delta: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True) -> Any:
        """Subtract `delta`, on which `assign`'s rules bind."""
        self._update("assign_sub", ops.sub, delta)
        return self if read_value else None

    def _update(self, name: str, op: Any, delta: Any) -> None:
        fitting = self._fitting(name, delta)
        tapes, context.tapes = context.tapes, ()  # an update is state and no computation: no tape follows it
        try:
            with holding((self,)):
                self._replace(name, op(self.read(), fitting))
        finally:
            context.tapes = tapes

    def _fitting(self, name: str, value: Any) -> Any:
        if isinstance(value, Operators):
            tensor = make_tensor(name, value, None)
            if tensor.type.dtype is not self.type.dtype:
                message = f"the variable {self.name!r} is {self.type.dtype.name}; convert the value with cast"
                fail(DtypeError, name, (tensor,), message)
        else:
            tensor = make_tensor(name, value, self.type.dtype)
        if tensor.type.shape != self.type.shape:
            message = f"the variable {self.name!r} has the shape {self.type.shape}; nothing is broadcast"
            fail(InvalidArgumentError, name, (tensor,), message)
        return tensor

    def _replace(self, name: str, tensor: Any) -> None:
        if context.trace is not None:
            context.trace.assign(self, tensor)
        else:
            held = _detached(name, tensor)
            with holding((self,)):
                self._tensor = held

    def array(self) -> np.ndarray:
        """The array that holds the value, for a compiled step to read: while it is referred to, nobody writes to it."""
        tensor = self._now()
        array = tensor.value
        if type(array) is not np.ndarray or not (array.flags.c_contiguous and array.flags.aligned):
            tensor.value = array = np.require(array, self.type.dtype.numpy, ("C", "A"))
        return array

    def take_buffer(self) -> np.ndarray:
        """The array that holds the value, for a compiled step to write to: copied first where anyone else, a tensor
        that was read, a tape, an array, still refers to it. The caller holds the variable."""
        alone = _references(self) == _UNSHARED
        array = self._tensor.value
        if not (alone and type(array) is np.ndarray and _owns(array) and is_aligned(array)):
            array = copied(array, self.type.dtype.numpy)
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


def _detached(name: str, tensor: Any) -> Tensor:
    """The tensor's value in a tensor of its own, which no tape knows: the chain ends there. TracingError where it has none."""
    if tensor.node is not None:
        tensor.refuse(f"{name} was given it")
    return Tensor(tensor.value, tensor.type)


def _restore(array: np.ndarray, trainable: bool, name: str, dtype: DType) -> Variable:
    return Variable(array, trainable, name=name, dtype=dtype)


def _references(variable: Variable) -> tuple[int, int]:
    """How often a variable's tensor and its array are referred to, these frames included."""
    tensor = variable._tensor
    return sys.getrefcount(tensor), sys.getrefcount(tensor.value)


def _owns(array: np.ndarray) -> bool:
    """Whether nobody else sees the memory of an array, which can be written to in order."""
    base = array.base
    if not (array.flags.c_contiguous and array.flags.writeable):
        return False
    if base is None:
        return True
    owner = type(base) is np.ndarray and base.base is None
    del base  # it would be counted
    return owner and _base_references(array) == _BASE_REFERENCES


def _base_references(array: np.ndarray) -> int:
    """How often the memory of an array is referred to, this frame included."""
    base = array.base
    return sys.getrefcount(base)


# What the memory of an array shows to which this alone refers.
_BASE_REFERENCES = _base_references(empty((ALIGNED_FROM,), np.uint8))
# What a variable shows whose tensor nobody else holds. Measured, since what a frame adds differs between Pythons.
_UNSHARED = _references(Variable(np.zeros(1, np.float32), trainable=False, name="unshared"))
