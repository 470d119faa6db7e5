"""What is written over what: new values over their variables, and a kernel's results over what it is the last to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from tracejit import ops
from tracejit.ir import Graph, Node
from tracejit.ir.op import PURE
from tracejit.llvm.plan.arena import lives_of
from tracejit.llvm.plan.calls import Step
from tracejit.llvm.plan.epilogue import may_overwrite as tile_may_overwrite
from tracejit.llvm.plan.schedule import may_overwrite
from tracejit.llvm.plan.views import Buffer, View


class Update(NamedTuple):
    """How a variable gets its new value: step number `step` writes it, over the old one where there is no reason why not, else
    as a copy."""

    variable: Node
    step: int
    why_not: str = ""


def updates_last(steps: Sequence[Step], graph: Graph, view: Callable[[Node], View]) -> list[Step]:
    """The steps, with those that serve nothing but updates at the end: by then all that may fail has run."""
    updated = {view(value).buffer for _, value in graph.updates}
    kept = {view(result).buffer for result in graph.results}
    read = {operand.buffer for step in steps for operand in step.operands}

    def late(step: Step) -> bool:
        buffers = [output.buffer for output in step.outputs]
        pure = step.node is None or step.node.op.effects is PURE
        return pure and not step.fails and all(b in updated and b not in kept and b not in read for b in buffers)

    return sorted(steps, key=late)


def over_variables(
    steps: Sequence[Step], graph: Graph, view: Callable[[Node], View], variables: Mapping[Node, Buffer]
) -> tuple[dict[Buffer, Buffer], dict[Node, Update]]:
    """(the variable's buffer for each in which a new value was to lie that can be written over the old one; how each variable
    is updated, with -1 for the step of those that are to be copied).

    That is at the earliest by the last step that reads the old value, and never before one that may still fail.
    """
    returned = {view(result).buffer for result in graph.results}
    count = Counter(value for _, value in graph.updates)
    assigned = {view(value).buffer for value in count}
    makers = {output.buffer: (number, output) for number, step in enumerate(steps) for output in step.outputs}
    readers = {operand.buffer: number for number, step in enumerate(steps) for operand in step.operands}  # the last
    last_failing = max((number for number, step in enumerate(steps) if step.fails), default=-1)
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
        if readers.get(target) == maker and not _safe_over(steps[maker], output, target):
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


def over_operands(steps: Sequence[Step]) -> list[Step]:
    """The steps, where each writes over what it is the last to read, if the arena holds that and it lies alike."""
    lives = lives_of(steps)
    last = {buffer: life.last for buffer, life in lives.items()}
    over: dict[Buffer, Buffer] = {}
    after = []
    for number, step in enumerate(steps):
        step = step.over(over)
        dying = {view.buffer: view for view in step.operands if last.get(view.buffer) == number and view.whole}
        outputs = list(step.outputs)
        for place, new in enumerate(outputs if dying else ()):
            if new.buffer not in lives:
                continue
            for old, view in dying.items():
                if (view.shape, view.dtype) == (new.shape, new.dtype) and new.whole and _safe_over(step, new, old):
                    over[new.buffer] = old
                    last[old] = last[new.buffer]
                    outputs[place] = replace(new, buffer=old)
                    del dying[old]
                    break
        after.append(step if outputs == list(step.outputs) else replace(step, outputs=tuple(outputs)))
    return after


def _safe_over(step: Step, new: View, target: Buffer) -> bool:
    """Whether a step may write its output `new` over what it reads in `target`, where that lies just as it does."""
    if step.node is None or step.node.op is not ops.fusion:
        return False
    result = step.outputs.index(new)
    if step.product is not None and any(view.buffer is target for view in step.operands[:2]):
        return False
    body, schedule = step.node.attrs["body"], step.schedule
    return all(
        view.whole
        and view.shape == new.shape
        and (may_overwrite(schedule, body, number, result) if schedule else tile_may_overwrite(body, number))
        for number, view in enumerate(step.operands[2:] if step.product else step.operands)
        if view.buffer is target
    )
