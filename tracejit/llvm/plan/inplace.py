"""What is written over what: new values over their variables, and a kernel's results over what it is the last to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from tracejit import ops
from tracejit.ir import Graph, Node
from tracejit.ir.op import PURE
from tracejit.llvm.plan.arena import live_ranges_of
from tracejit.llvm.plan.calls import KernelCall
from tracejit.llvm.plan.epilogue import may_overwrite as tile_may_overwrite
from tracejit.llvm.plan.schedule import may_overwrite
from tracejit.llvm.plan.views import Buffer, View


class Update(NamedTuple):
    """How a variable gets its new value: call number `call` writes it, over the old one where there is no reason why not, else
    as a copy."""

    variable: Node
    call: int
    why_not: str = ""


def updates_last(calls: Sequence[KernelCall], graph: Graph, view: Callable[[Node], View]) -> list[KernelCall]:
    """The calls, with those that serve nothing but updates at the end: by then all that may fail has run."""
    updated = {view(value).buffer for _, value in graph.updates}
    kept = {view(result).buffer for result in graph.results}
    read = {operand.buffer for call in calls for operand in call.operands}

    def late(call: KernelCall) -> bool:
        buffers = [output.buffer for output in call.outputs]
        pure = call.node is None or call.node.op.effects is PURE
        return pure and not call.can_fail and all(b in updated and b not in kept and b not in read for b in buffers)

    return sorted(calls, key=late)


def over_variables(
    calls: Sequence[KernelCall], graph: Graph, view: Callable[[Node], View], variables: Mapping[Node, Buffer]
) -> tuple[dict[Buffer, Buffer], dict[Node, Update]]:
    """(the variable's buffer for each in which a new value was to lie that can be written over the old one; how each variable
    is updated, with -1 for the call of those that are to be copied).

    That is at the earliest by the last call that reads the old value, and never before one that may still fail.
    """
    returned = {view(result).buffer for result in graph.results}
    count = Counter(value for _, value in graph.updates)
    assigned = {view(value).buffer for value in count}
    makers: dict[Buffer, tuple[int, View]] = {}  # the first that writes it, if to a piece of it
    for number, call in enumerate(calls):
        for output in call.outputs:
            makers.setdefault(output.buffer, (number, output))
    readers = {operand.buffer: number for number, call in enumerate(calls) for operand in call.operands}  # the last
    last_failing = max((number for number, call in enumerate(calls) if call.can_fail), default=-1)
    moved: dict[Buffer, Buffer] = {}

    def why_not(target: Buffer, value: Node) -> str:
        new = view(value)
        if new.buffer not in makers or new.buffer.kind != "arena":
            return "its new value is no kernel's"
        if count[value] > 1 or new.buffer in moved:
            return "another variable gets the same value"
        if not new.whole:
            return "its new value is a part of what its kernel writes"
        if target in returned:
            return "returned"
        if target in assigned:
            return "another variable gets its old value"
        maker, output = makers[new.buffer]
        if readers.get(target, -1) > maker:
            return f"read later by k{readers[target]}"
        if last_failing >= maker:
            return f"k{last_failing} may still fail"
        if readers.get(target) == maker and not _safe_over(calls[maker], output, target):
            return f"k{maker} reads other elements of it than it writes"
        return ""

    updates: dict[Node, Update] = {}
    for variable, value in graph.updates:
        target, new = variables[variable], view(value)
        reason = why_not(target, value)
        if not reason:
            moved[new.buffer] = target
        updates[variable] = Update(variable, -1 if reason else makers[new.buffer][0], reason)
    return moved, updates


def over_operands(calls: Sequence[KernelCall]) -> list[KernelCall]:
    """The calls, where each writes over what it is the last to read, if the arena holds that and it lies alike."""
    lives = live_ranges_of(calls)
    last = {buffer: life.last for buffer, life in lives.items()}
    over: dict[Buffer, Buffer] = {}
    after = []
    for number, call in enumerate(calls):
        call = call.over(over)
        dying = {view.buffer: view for view in call.operands if last.get(view.buffer) == number and view.whole}
        outputs = list(call.outputs)
        for place, new in enumerate(outputs if dying else ()):
            if new.buffer not in lives:
                continue
            for old, view in dying.items():
                if (view.shape, view.dtype) == (new.shape, new.dtype) and new.whole and _safe_over(call, new, old):
                    over[new.buffer] = old
                    last[old] = last[new.buffer]
                    outputs[place] = replace(new, buffer=old)
                    del dying[old]
                    break
        after.append(call if outputs == list(call.outputs) else replace(call, outputs=tuple(outputs)))
    return after


def _safe_over(call: KernelCall, new: View, target: Buffer) -> bool:
    """Whether a call may write its output `new` over what it reads in `target`, where that lies just as it does."""
    if call.node is None or call.node.op is not ops.fusion:
        return False
    result = call.outputs.index(new)
    if call.product is not None and any(view.buffer is target for view in call.operands[:2]):
        return False
    body, schedule = call.node.attrs["body"], call.schedule
    return all(
        view.whole
        and view.shape == new.shape
        and (may_overwrite(schedule, body, number, result) if schedule else tile_may_overwrite(body, number))
        for number, view in enumerate(call.operands[2:] if call.product else call.operands)
        if view.buffer is target
    )
