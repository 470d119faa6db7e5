"""The exceptions that tracejit raises, and how an error finds the user's line.

`InvalidArgumentError` is what TensorFlow raises for a bad operand; here it is also a ValueError, and where the fault is a
dtype it is also a TypeError, so that either habit of catching works.
"""

from __future__ import annotations

from typing import Any, NoReturn

from tracejit.ir.location import here


class InvalidArgumentError(ValueError):
    """An operand of an op has a shape or a value that the op cannot take."""


class DtypeError(InvalidArgumentError, TypeError):
    """An operand of an op has a dtype that the op cannot take, or two operands differ in dtype."""


class IndexOutOfRangeError(InvalidArgumentError, IndexError):
    """An index lies outside of the dimension that it indexes."""


class TracingError(TypeError):
    """Something was done with a traced tensor that only a tensor with a value can do."""


class NumpyConversionError(NotImplementedError):
    """A NumPy function, or code that needs an array, was given a traced tensor."""


class SignatureError(TypeError):
    """An argument of a traced function has no signature: it cannot be hashed, or is an array of another library, or masked."""


class VerifyError(ValueError):
    """A graph breaks a rule of the IR; raised by the verifier, so a pass is at fault and not the user."""


class ParseError(ValueError):
    """A text is not a graph; the message holds the line and the column."""


def fail(error: type[Exception], op: str, operands: Any, message: str) -> NoReturn:
    """Raise `error` for `op` with the operands' types and the user's line in its text."""
    types = ", ".join(str(getattr(operand, "type", operand)) for operand in operands)
    location = here()
    raise error(f"{op}({types}): {message}" + (f"\n  at {location.describe()}" if location else ""))
