"""Pieces of concatenations are written where they belong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from tracejit import ops
from tracejit.ir.strided import Ints, collapse, contiguous_strides
from tracejit.llvm.plan.calls import KernelCall
from tracejit.llvm.plan.layout import fusion_layout
from tracejit.llvm.plan.views import Buffer, View
from tracejit.ops.shape import concat_parts

# A piece that lies in rows of fewer bytes is copied: its kernel would write, and others read, less than a register at a time.
_ROW = 64
# A concatenation of more pieces is a copy a piece, of which equal ones have one kernel; of fewer, one kernel.
_TOGETHER = 8
# So many pieces at equal distances are one copy, with a kernel for that distance.
_RUN = 4


class Place(NamedTuple):
    """Where a buffer, as an array of `shape`, lies instead."""

    shape: Ints
    target: View

    def of(self, view: View) -> View | None:
        """A view of the buffer as one of the target; None where it is none with strides."""
        target = self.target
        if target.contiguous:
            return replace(view, buffer=target.buffer, offset=target.offset + view.offset)
        sizes, (before, after) = collapse(self.shape, [contiguous_strides(self.shape), target.strides])
        first, rest = [], view.offset
        for step in before:
            first.append(rest // step)
            rest %= step
        last, strides = list(first), []
        for size, stride in zip(view.shape, view.strides, strict=True):
            if size == 1 or stride == 0:
                strides.append(0)
                continue
            axis = next(axis for axis, step in enumerate(before) if stride % step == 0)
            steps = stride // before[axis]
            first[axis] += min(steps, 0) * (size - 1)
            last[axis] += max(steps, 0) * (size - 1)
            strides.append(steps * after[axis])
        if any(low < 0 or high >= size for low, high, size in zip(first, last, sizes, strict=True)):
            return None
        begin = sum(view.offset // step % size * new for step, size, new in zip(before, sizes, after, strict=True))
        return View(view.shape, tuple(strides), target.offset + begin, view.dtype, target.buffer)


def side_by_side(pieces: Sequence[View], axis: int) -> View | None:
    """The concatenation of pieces that lie in memory as they would in it; None where they do not."""
    first, end = pieces[0], pieces[0].offset
    for piece in pieces:
        if piece.buffer is not first.buffer or piece.strides != first.strides or piece.offset != end:
            return None
        end += piece.shape[axis] * piece.strides[axis]
    shape = (*first.shape[:axis], sum(piece.shape[axis] for piece in pieces), *first.shape[axis + 1 :])
    return first.with_layout(shape, first.strides)


def in_place(calls: Sequence[KernelCall], kept: Iterable[View]) -> list[KernelCall]:
    """The calls, where kernels write pieces in place and the others are copied. What is `kept` is no piece, but may be a whole:
    it is read after all calls."""
    if not any(_is_concat(call) for call in calls):
        return list(calls)
    touching: dict[Buffer, list[KernelCall]] = {}
    for call in calls:
        for buffer in {view.buffer for view in call.views}:
            touching.setdefault(buffer, []).append(call)
    fixed = {view.buffer for view in kept}
    places: dict[Buffer, Place] = {}
    # Backwards, since what is concatenated may be a piece itself.
    for call in reversed(calls):
        for target, piece in _parts(call, places) if _is_concat(call) else ():
            place = Place(piece.shape, target)
            if piece.buffer not in places and piece.buffer not in fixed and _may_lie(piece, place, touching[piece.buffer]):
                places[piece.buffer] = place
    return [each for call in calls for each in (_rest(call, places) if _is_concat(call) else [_moved(call, places)])]


def _is_concat(call: KernelCall) -> bool:
    return call.node is not None and call.node.op is ops.concat


def _parts(call: KernelCall, places: Mapping[Buffer, Place]) -> list[tuple[View, View]]:
    """(where it lies in the whole, the piece) of each piece of a concatenation that is not empty."""
    assert call.node is not None
    whole = _at(call.outputs[0], places)
    parts = concat_parts([piece.shape for piece in call.operands], call.node.attrs["axis"])
    pairs = [(whole.slice(**part), piece) for part, piece in zip(parts, call.operands, strict=True)]
    return [(target, piece) for target, piece in pairs if 0 not in piece.shape]


def _may_lie(piece: View, place: Place, touching: Iterable[KernelCall]) -> bool:
    """Whether the buffer that the piece is, which these calls touch, may lie in that place."""
    if piece.buffer.kind != "arena" or not piece.whole:
        return False
    target = place.target
    if target.contiguous:
        return True
    sizes, (strides,) = collapse(target.shape, [target.strides])
    if strides[-1] != 1 or sizes[-1] * target.dtype.size < _ROW:
        return False
    views = [view for call in touching for view in call.views if view.buffer is piece.buffer]
    return all(map(_takes_any_layout, touching)) and all(place.of(view) is not None for view in views)


def _takes_any_layout(call: KernelCall) -> bool:
    """Whether its kernel reads and writes arrays of any strides, and nothing was decided that these have to fit: a fusion's
    layout is made anew."""
    if call.layout is not None:
        return call.layout.tile is None
    if call.product is not None:
        return call.product.op is ops.matmul
    return call.node is None or call.node.op is ops.concat


def _at(view: View, places: Mapping[Buffer, Place]) -> View:
    """The view where it lies instead."""
    if view.buffer not in places:
        return view
    found = places[view.buffer].of(view)
    assert found is not None
    return found


def _moved(call: KernelCall, places: Mapping[Buffer, Place]) -> KernelCall:
    """The call with what it touches in its place."""
    if not any(view.buffer in places for view in call.views):
        return call
    outputs, operands = (tuple([_at(view, places) for view in views]) for views in (call.outputs, call.operands))
    layout = call.layout
    strides = [[view.strides for view in views] for views in ((*outputs, *operands), (*call.outputs, *call.operands))]
    if layout is not None and strides[0] != strides[1]:
        assert call.node is not None and call.schedule is not None
        layout = fusion_layout(call.node.attrs["body"], call.schedule, outputs, operands, call.scratch)
    return replace(call, outputs=outputs, operands=operands, layout=layout)


def _rest(call: KernelCall, places: Mapping[Buffer, Place]) -> list[KernelCall]:
    """What is left to do of a concatenation."""
    parts = _parts(call, places)
    left = [
        (target, piece)
        for target, piece in parts
        if piece.buffer not in places or places[piece.buffer] != Place(piece.shape, target)
    ]
    if len(left) == len(parts) <= _TOGETHER:
        return [_moved(call, places)]
    copied = [(target, _at(piece, places)) for target, piece in left]
    return [KernelCall.copy(target, piece, "piece") for target, piece in _runs(copied)]


def _runs(pairs: Sequence[tuple[View, View]]) -> list[tuple[View, View]]:
    """The pairs (target, piece) with those that follow each other at equal distances, in both, as one with an axis more."""
    runs: list[list[tuple[View, View]]] = []
    for pair in pairs:
        if runs and _goes_on(runs[-1], pair):
            runs[-1].append(pair)
        else:
            runs.append([pair])
    return [pair for run in runs for pair in ([_together(run)] if len(run) >= _RUN else run)]


def _goes_on(run: Sequence[tuple[View, View]], pair: tuple[View, View]) -> bool:
    """Whether a pair lies behind the last of a run as that behind the one before."""
    last = run[-1]
    if pair[0].buffer is pair[1].buffer or any(replace(x, offset=y.offset) != y for x, y in zip(pair, last, strict=True)):
        return False
    return len(run) == 1 or _distances(last, pair) == _distances(run[-2], last)


def _distances(first: Sequence[View], second: Sequence[View]) -> list[int]:
    return [y.offset - x.offset for x, y in zip(first, second, strict=True)]


def _together(run: Sequence[tuple[View, View]]) -> tuple[View, View]:
    distances = _distances(run[0], run[1])
    target, piece = (
        view.with_layout((len(run), *view.shape), (distance, *view.strides))
        for view, distance in zip(run[0], distances, strict=True)
    )
    return target, piece
