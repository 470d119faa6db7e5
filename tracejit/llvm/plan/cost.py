"""The cost model: about how long a kernel takes on one core, from what it touches and what it computes; and what follows."""

from __future__ import annotations

from dataclasses import replace

from tracejit.ir.op import Kernel, Reduction, Scalar
from tracejit.llvm.plan.calls import KernelCall
from tracejit.llvm.plan.views import View
from tracejit.llvm.target import Machine


def estimated(call: KernelCall, machine: Machine) -> KernelCall:
    """The call with its estimate, and with what is decided by it and by the sizes of what is written."""
    alone = seconds(call, machine)
    past = tuple([_is_nontemporal(view, machine) for view in call.outputs])
    return replace(call, seconds=alone, parallel=alone > machine.parallel_seconds, nontemporal=past)


def is_worth_dividing(call: KernelCall, machine: Machine) -> bool:
    """Whether a call takes so long that several threads are to share it."""
    return seconds(call, machine) > machine.parallel_seconds


def seconds(call: KernelCall, machine: Machine) -> float:
    """About how long a call takes: to move what it touches, each byte once, and then to compute. Both are as if nothing of one
    went on behind the other, so that it is rather too long."""
    moved = sum({view: view.nbytes for view in (*call.operands, *call.outputs)}.values())
    flops = 0.0
    if call.schedule is not None:
        for node in call.schedule.kind:
            lower = node.op.lower
            if isinstance(lower, Scalar):
                flops += node.type.size * (machine.costly_flops if lower.costly else 1)  # type: ignore[union-attr]
            elif isinstance(lower, Reduction):
                flops += node.operands[0].type.size  # type: ignore[union-attr]
    work = call.product or call.node
    if work is not None and isinstance(work.op.lower, Kernel) and work.op.lower.product_flops is not None:
        flops = work.op.lower.product_flops(work) / machine.product_speedup
    return moved / machine.bytes_per_second + flops / machine.flops_per_second


def _is_nontemporal(view: View, machine: Machine) -> bool:
    """Whether a result is better written by nontemporal stores: into memory that is tracejit's own, which begins where a
    register does."""
    own = view.buffer.kind in ("result", "arena")
    return view.nbytes > machine.nontemporal_result and view.whole and own and view.dtype.size >= 4
