"""TensorFlow's tj.bitwise, as far as tracejit has it."""

from tracejit.ops import bitwise_and, bitwise_or, bitwise_xor, invert

__all__ = ["bitwise_and", "bitwise_or", "bitwise_xor", "invert"]


def __dir__() -> list[str]:
    return __all__
