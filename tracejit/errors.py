"""The exceptions that tracejit raises (tj.errors)."""

from tracejit.ir.errors import (
    DtypeError,
    IndexOutOfRangeError,
    InvalidArgumentError,
    NumpyConversionError,
    ParseError,
    ResourceExhaustedError,
    SignatureError,
    TracingError,
    VerifyError,
)  # fmt: skip

__all__ = [
    "DtypeError", "IndexOutOfRangeError", "InvalidArgumentError", "NumpyConversionError", "ParseError",
    "ResourceExhaustedError", "SignatureError", "TracingError", "VerifyError",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__
