"""Copies are made once, however many kernels need them.

They are of a matrix in panels, or in order, or in another dtype.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence

from tracejit.llvm.plan.calls import KernelCall
from tracejit.llvm.plan.views import Buffer


def made_once(calls: Sequence[KernelCall]) -> list[KernelCall]:
    """The calls without copies of what was copied just so before. Nothing is written over yet, and a buffer that a copy writes
    is written by copies that follow each other."""
    first: dict[Hashable, Buffer] = {}
    moved: dict[Buffer, Buffer] = {}
    after: list[KernelCall] = []
    for target, group in itertools.groupby(calls, lambda call: call.outputs[0].buffer if call.node is None else None):
        together = [call.over(moved) for call in group]
        if target is not None:
            known = first.setdefault(tuple(map(_layouts, together)), target)
            if known is not target:
                moved[target] = known
                continue
        after += together
    return after


def _layouts(call: KernelCall) -> Hashable:
    (target,), (source,) = call.outputs, call.operands
    return target.shape, target.strides, target.offset, target.dtype, source
