"""The values of a plan: which kernel is called on which arrays, and how it runs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace

from tracejit.ir import Node
from tracejit.ir.graph import attr_key
from tracejit.llvm.plan.blocking import Blocking
from tracejit.llvm.plan.contraction import Contraction
from tracejit.llvm.plan.layout import Layout
from tracejit.llvm.plan.schedule import Schedule
from tracejit.llvm.plan.views import Buffer, View


@dataclass(frozen=True, eq=False)
class KernelCall:
    """One kernel: `node` computes `outputs` from `operands`, with `scratch` for itself alone; where it is None, a copy for the
    `purpose`. How is said by `schedule` and `layout` for a fusion, by `blocking` for a `product` that is not empty: a
    matmul or a convolution.

    It takes about `seconds` on one core. `parallel` says that this is worth dividing; whether it can be, its kernel knows.
    `nontemporal` says of each output whether it is better written by nontemporal stores.
    """

    node: Node | None
    outputs: tuple[View, ...]
    operands: tuple[View, ...]
    scratch: tuple[View, ...] = ()
    schedule: Schedule | None = None
    layout: Layout | None = None
    product: Node | None = None
    blocking: Blocking | Contraction | None = None
    purpose: str = ""
    seconds: float = 0.0
    parallel: bool = False
    nontemporal: tuple[bool, ...] = ()

    @classmethod
    def copy(cls, target: View, source: View, purpose: str) -> KernelCall:
        """The copy of `source` to `target`."""
        return cls(None, (target,), (source,), purpose=purpose)

    @property
    def can_fail(self) -> bool:
        return self.node is not None and self.node.op.runtime_error is not None

    @property
    def views(self) -> tuple[View, ...]:
        """Everything that it touches, in the order of its kernel's arguments."""
        return (*self.outputs, *self.operands, *self.scratch)

    @property
    def key(self) -> Hashable:
        """All that its kernel is written from, beside the target: equal for calls that one kernel can serve, and of the same
        repr in every process. Where an array begins, what it is called and the user's line are no part of it. A schedule
        follows from a fusion's attributes, but for the number of chunks."""
        arrays = tuple([(view.shape, view.strides, view.dtype) for view in self.views])
        how = (self.parallel, self.nontemporal, len(self.outputs), len(self.scratch), self.blocking)
        if self.node is None:
            return "copy", how, arrays
        attrs = tuple([(name, attr_key(value)) for name, value in self.node.attrs.items()])
        if self.schedule is None or self.layout is None:
            return self.node.op.name, how, arrays, attrs
        layout = self.layout
        loops = (self.schedule.chunks, layout.row_shape, layout.lane_shape, layout.rows, layout.tile)
        return self.node.op.name, how, arrays, attrs, loops, tuple(map(tuple, layout.access.values()))

    def over(self, moved: Mapping[Buffer, Buffer]) -> KernelCall:
        """The call with other buffers in the place of those that are `moved`."""
        if not any(view.buffer in moved for view in self.views):
            return self
        outputs, operands = (
            tuple([replace(view, buffer=moved.get(view.buffer, view.buffer)) for view in views])
            for views in (self.outputs, self.operands)
        )
        return replace(self, outputs=outputs, operands=operands)
