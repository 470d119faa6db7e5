"""Gradients of the user's own: custom_gradient, and stop_gradient."""

from __future__ import annotations

import functools
import inspect
import numbers
from collections.abc import Callable
from typing import Any

from tracejit import nest, ops
from tracejit.context import context
from tracejit.ir.errors import InvalidArgumentError, fail
from tracejit.operators import Operators
from tracejit.tape import GradientTape
from tracejit.tensor import Tensor, convert_to_tensor
from tracejit.variable import Variable


def stop_gradient(input: Any, name: str | None = None) -> Any:
    """The value of `input`, of which no gradient knows."""
    return ops.stop_gradient(*ops.lift("stop_gradient", (input,)))


def custom_gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """Give `f` a gradient of your own: it returns `(y, grad)`, and `grad(*cotangents of y)` the cotangents of its
    arguments. Of a method, the object is no argument.

    `grad` returns one tensor (or None) an argument, of that argument's shape and dtype; ValueError or
    InvalidArgumentError where it does not. Where `f` reads trainable variables, `grad` takes `variables=None` as well
    and returns `(cotangents of the arguments, cotangents of the variables)`; TypeError where it does not take it.
    """

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return _apply_custom(f, args, kwargs)

    return wrapped


def _apply_custom(f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = getattr(f, "__name__", "custom_gradient")
    receiver, args = (args[:1], args[1:]) if args and _is_receiver(args[0]) else ((), args)
    leaves = nest.flatten(args, "custom_gradient: an argument")
    arguments = [convert_to_tensor(leaf) for leaf in leaves]
    # Variables and numbers are passed as they are; what else is an array is a tensor already.
    given = [leaf if isinstance(leaf, (Variable, int, float)) else each for leaf, each in zip(leaves, arguments, strict=True)]
    with GradientTape() as watcher:
        result, grad = f(*receiver, *nest.pack(args, iter(given)), **kwargs)
    if not callable(grad):
        raise TypeError(f"{name} must return (result, grad), with grad a function; it returned {grad!r}")
    passed = {id(leaf) for leaf in leaves}
    variables = [variable for variable in watcher.watched_variables() if id(variable) not in passed]
    if variables and not _takes_variables(grad):
        raise TypeError(
            f"{name} reads the variables {[v.name for v in variables]}: its gradient function must take "
            "`variables=None` and return (argument gradients, variable gradients)"
        )
    outputs = [convert_to_tensor(leaf) for leaf in nest.flatten(result, "custom_gradient: the result")]
    operands = [*arguments, *(variable.read() for variable in variables)]

    def backward(*cotangents: Any) -> list[Any]:
        packed = grad(*cotangents, variables=variables) if variables else grad(*cotangents)
        own, others = packed if variables else (packed, [])
        found = nest.flatten(own if isinstance(own, (list, tuple)) else [own])
        if len(found) != len(arguments):
            raise ValueError(
                f"{name}: its gradient function is expected to return {len(arguments)} gradients, but returned {len(found)}"
            )
        found += nest.flatten(list(others))
        if len(found) != len(operands):
            raise ValueError(
                f"{name}: its gradient function returned gradients for {len(found) - len(arguments)} "
                f"of {len(variables)} variables"
            )
        return [
            _checked(name, index, value, operand) for index, (value, operand) in enumerate(zip(found, operands, strict=True))
        ]

    if context.trace is not None:
        new = context.trace.custom_gradient(outputs, operands, backward)
    else:
        # Tensors of their own: where `grad` uses one of `outputs` it means the value as it was computed.
        new = [Tensor(each.value, each.type) for each in outputs]
        attrs = {"backward": backward}
        for tape in context.tapes:
            tape.record(ops.custom_gradient, operands, attrs, new)
    return nest.pack(result, iter(new))


def _is_receiver(value: Any) -> bool:
    """Whether the first argument is the object of a method: what can become no tensor."""
    return not isinstance(value, (Operators, numbers.Number, str, bytes, list, tuple, dict, type(None))) and not hasattr(
        type(value), "__array__"
    )


def _takes_variables(grad: Callable[..., Any]) -> bool:
    parameters = inspect.signature(grad).parameters.values()
    return any(p.name == "variables" or p.kind is p.VAR_KEYWORD for p in parameters)


def _checked(name: str, index: int, value: Any, operand: Tensor) -> Any:
    if value is None:
        return None
    tensor = convert_to_tensor(value) if isinstance(value, Operators) else convert_to_tensor(value, operand.type.dtype)
    if tensor.type is not operand.type:
        fail(
            InvalidArgumentError,
            name,
            (operand,),
            f"its gradient for argument {index} is {tensor.type}, expected {operand.type}",
        )
    return tensor
