"""A report of a compiled function: its kernels with what they read and write, and where its memory lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tracejit import ops
from tracejit.function import Function

if TYPE_CHECKING:
    from tracejit.llvm.plan.calls import KernelCall
    from tracejit.llvm.plan.views import View


def report(function: Function, *args: Any, **kwargs: Any) -> str:
    """`function` for a call with these arguments: a line a kernel, in the order in which they run, with the user's line, the
    ops it holds and the bytes it reads and writes; then the arena, and the variables that are updated in place."""
    plan = function.compiled(*args, **kwargs).plan
    lines = [f"{function.name}: {len(plan.calls)} kernel{'' if len(plan.calls) == 1 else 's'}"]
    for number, call in enumerate(plan.calls):
        what, where = describe_step(call)
        read, written = distinct_bytes(call.operands), distinct_bytes(call.outputs)
        lines.append(f"  {number:2d}  {what:32s} reads {read:>11,d} B  writes {written:>11,d} B  {where}")
    lines.append(f"  arena: {plan.arena_bytes:,d} bytes for {plan.temporaries_bytes:,d} bytes of temporaries")
    names = [parameter.attrs["name"] for parameter, _ in plan.graph.updates]
    in_place = [parameter.attrs["name"] for parameter in plan.in_place]
    lines.append(f"  variables updated: {', '.join(names) or 'none'}; in place: {', '.join(sorted(in_place)) or 'none'}")
    return "\n".join(lines)


def describe_step(call: KernelCall) -> tuple[str, str]:
    """(what a kernel computes, the user's line)."""
    if call.node is None:
        return "copy", ""
    where = str(call.node.location or "")
    if call.node.op is not ops.fusion:
        return call.node.op.name, where
    body, shape = call.node.attrs["body"], ",".join(map(str, call.node.attrs["space"]))
    if call.product is not None:
        return f"{call.product.op.name} and {len(body.nodes) - 1} over [{shape}]", where
    passes = len(call.schedule.passes) if call.schedule else 1
    return f"fusion of {len(body.nodes)} over [{shape}]" + (f", {passes} passes" if passes > 1 else ""), where


def distinct_bytes(views: Sequence[View]) -> int:
    """The bytes of `views`, those of equal ones once."""
    return sum({view: view.nbytes for view in views}.values())
