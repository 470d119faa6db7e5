"""The exceptions that tracejit raises, and how an error finds the user's line.

`InvalidArgumentError` is what TensorFlow raises for a bad operand; here it is also a ValueError, and where the fault is a
dtype it is also a TypeError, so that either habit of catching works.
"""

from __future__ import annotations

import reprlib
from typing import Any, NoReturn

from tracejit.ir.location import here


class InvalidArgumentError(ValueError):
    """An operand of an op has a shape or a value that the op cannot take."""


class DtypeError(InvalidArgumentError, TypeError):
    """An argument has a type, or a tensor a dtype, that the function cannot take, or two operands differ in dtype."""


class IndexOutOfRangeError(InvalidArgumentError, IndexError):
    """An index lies outside of the dimension that it indexes."""


class ResourceExhaustedError(MemoryError):
    """A tensor would take more memory than there is."""


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


_short = reprlib.Repr()
_short.maxother = _short.maxstring = 60
_short.maxlist = _short.maxtuple = 8


def shown(value: Any) -> str:
    """A short repr of a user's value, whatever it is, in one line."""
    try:
        return " ".join(_short.repr(value).split())
    except Exception:  # the repr of a user's class, or of an int of more digits than Python prints
        return f"<{type(value).__name__}>"


def fail(error: type[Exception], op: str, operands: Any, message: str) -> NoReturn:
    """Raise `error` for `op` with the operands' types and the user's line in its text; its `reason` is the message alone."""
    types = ", ".join(str(getattr(operand, "type", operand)) for operand in operands)
    location = here()
    failure: Any = error(f"{op}({types}): {message}" + (f"\n  at {location.describe()}" if location else ""))
    failure.reason = message
    raise failure
