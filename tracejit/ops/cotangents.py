"""Cotangents, and the commonest kind of rule that gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tracejit.ir.location import SourcePosition
from tracejit.ir.op import registered as ops


class Gapped(NamedTuple):
    """A cotangent with zeros that stand for elements which an op left out, as `where` leaves out the branch not taken.

    A rule gives one where it makes such zeros, and so does whoever gives seeds of the user's. What is computed from it has gaps
    too. In a gap nothing arrives, however infinite the derivatives on the way: there a zero wins over an infinite factor.
    Elsewhere zero times infinity is NaN, which hides nothing.
    """

    cotangent: Any


class Slot(NamedTuple):
    """The cotangent of a slice, for the rule of `slice`: what arrives in its elements of the operand, and nothing elsewhere.
    It may have gaps itself. `position` is the line that took it."""

    cotangent: Any
    starts: tuple[int, ...]
    strides: tuple[int, ...]
    gapped: bool = False
    position: SourcePosition | None = None


def dense(cotangent: Any) -> Any:
    """The value of a cotangent, which may be `Gapped` or None."""
    return cotangent.cotangent if type(cotangent) is Gapped else cotangent


class Scale(NamedTuple):
    """The rule of an operand whose cotangent is the result's divided by `over` and multiplied by `times`, where they are
    given: functions of the result, the operands and the attributes."""

    times: Callable[..., Any] | None = None
    over: Callable[..., Any] | None = None

    def cotangent(self, gapped: bool, ct: Any, out: Any, *operands: Any, **attrs: Any) -> Any:
        """The operand's cotangent; a zero of `ct` stays zero if it is `gapped`."""
        if self.over is not None:
            ct = (ops.div_or_zero if gapped else ops.div)(ct, self.over(out, *operands, **attrs))
        if self.times is not None:
            ct = (ops.mul_or_zero if gapped else ops.mul)(ct, self.times(out, *operands, **attrs))
        return ct
