"""The cotangent of a value of which slices were taken, put together from theirs when all have arrived.

What does not overlap becomes one concatenation along an axis, so that a loop over x[t] gives each of its cotangents once to
the cotangent of x, and adds nothing to it. What overlaps is divided into layers that do not, whose sum it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tracejit.ir.op import registered as ops
from tracejit.ops.cotangents import Slot
from tracejit.ops.operands import filled

Ints = tuple[int, ...]


class _Piece(NamedTuple):
    """A box of the whole: its value, where it begins along each axis, and whether it has gaps."""

    value: Any
    starts: Ints
    gapped: bool

    @property
    def sizes(self) -> Ints:
        shape: Ints = self.value.type.shape
        return shape


def assembled(slots: Iterable[Slot], shape: Ints) -> tuple[Any, bool]:
    """(the cotangent of a value of `shape`, whether it has gaps) of those of its slices, at least one."""
    pieces = [_piece(slot) for slot in slots]
    for axis in reversed(range(len(shape))):
        beside: dict[tuple[Ints, Ints], list[_Piece]] = {}  # those that differ along this axis alone
        for piece in pieces:
            beside.setdefault((piece.starts[:axis], piece.sizes[:axis]), []).append(piece)
        pieces = [_joined(layer, axis, shape[axis]) for each in beside.values() for layer in _layers(each, axis)]
    total = pieces[0].value
    for piece in pieces[1:]:
        total = ops.add(total, piece.value)
    return total, all(piece.gapped for piece in pieces)


def _piece(slot: Slot) -> _Piece:
    value, gapped = slot.cotangent, slot.gapped
    between = tuple([stride - 1 for stride in slot.strides])
    if any(between):
        none, gapped = (0,) * len(between), True
        value = ops.pad(value, low=none, high=none, interior=between, value=0.0)
    return _Piece(value, slot.starts, gapped)


def _layers(pieces: Sequence[_Piece], axis: int) -> list[list[_Piece]]:
    """The pieces, each layer of which has them in order along the axis, and none that overlap; of those in the same place the
    sum."""
    places: dict[tuple[int, int], _Piece] = {}
    for piece in pieces:
        place = piece.starts[axis], piece.sizes[axis]
        if place in places:
            other = places[place]
            piece = _Piece(ops.add(other.value, piece.value), piece.starts, other.gapped and piece.gapped)
        places[place] = piece
    layers: list[list[_Piece]] = []
    for (start, _), piece in sorted(places.items(), key=lambda item: item[0]):
        for layer in layers:
            if layer[-1].starts[axis] + layer[-1].sizes[axis] <= start:
                layer.append(piece)
                break
        else:
            layers.append([piece])
    return layers


def _joined(pieces: Sequence[_Piece], axis: int, extent: int) -> _Piece:
    """The pieces of a layer as one, which extends over the whole axis, with zeros where there is none."""
    starts = (*pieces[0].starts[:axis], 0, *pieces[0].starts[axis + 1 :])
    if len(pieces) == 1:
        return _extended(pieces[0], axis, extent, starts)
    parts, end = [], 0
    for piece in pieces:
        if end < piece.starts[axis]:
            parts.append(_zeros(piece, axis, piece.starts[axis] - end))
        parts.append(piece.value)
        end = piece.starts[axis] + piece.sizes[axis]
    if end < extent:
        parts.append(_zeros(pieces[-1], axis, extent - end))
    gapped = len(parts) > len(pieces) or any(piece.gapped for piece in pieces)
    return _Piece(ops.concat(*parts, axis=axis), starts, gapped)


def _extended(piece: _Piece, axis: int, extent: int, starts: Ints) -> _Piece:
    low = piece.starts[axis]
    high = extent - low - piece.sizes[axis]
    if not low and not high:
        return piece
    rank = len(starts)
    before, behind = (tuple([size if at == axis else 0 for at in range(rank)]) for size in (low, high))
    return _Piece(ops.pad(piece.value, low=before, high=behind, interior=(0,) * rank, value=0.0), starts, True)


def _zeros(piece: _Piece, axis: int, size: int) -> Any:
    sizes = (*piece.sizes[:axis], size, *piece.sizes[axis + 1 :])
    return filled(piece.value, sizes, 0)
