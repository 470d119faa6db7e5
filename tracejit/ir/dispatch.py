"""Who applies an op to operands that are no nodes: the interpreter that is installed.

An op on nodes makes a node, whoever calls it. What it does with anything else is up to `interpreter`: eager mode
(`tracejit.tensor`) installs itself, and computes at once or, inside of a traced function, makes a node of the trace.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Applicable(Protocol):
    """What an interpreter looks at of an op."""

    name: str
    evaluate: Callable[..., Any] | None

    def type_of(self, types: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """The type of the result, for operands of these types."""


class Interpreter(Protocol):
    """What applies ops to values."""

    # The class of values that ops are applied to as they are; and the one of all that stands for such a value.
    tensor_type: type[Any]
    operand_type: type[Any]

    def lift(self, name: str, operands: tuple[Any, ...]) -> tuple[Any, ...]:
        """`operands` of the function `name`, whatever they are, as values."""

    def apply(self, op: Applicable, operands: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """What `op` gives on values: a value, or a tuple of them."""


interpreter: Interpreter
# The interpreter's, looked up once: to go through the object would add 35 ns to each call of an op.
tensor_type: type[Any]
operand_type: type[Any]
lift: Callable[[str, tuple[Any, ...]], tuple[Any, ...]]
apply: Callable[[Applicable, tuple[Any, ...], dict[str, Any]], Any]


def install(new: Interpreter) -> None:
    """Let `new` apply ops from here on, in all threads."""
    global interpreter, tensor_type, operand_type, lift, apply
    interpreter = new
    tensor_type, operand_type, lift, apply = new.tensor_type, new.operand_type, new.lift, new.apply
