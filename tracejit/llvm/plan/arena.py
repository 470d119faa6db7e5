"""The arena: one block of memory with all that lives only during a call, each buffer at an offset of its own while it lives."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from tracejit.llvm.plan.calls import KernelCall
from tracejit.llvm.plan.views import Buffer
from tracejit.memory import ALIGNMENT

# The arenas of plans with more buffers are laid out in the order of the calls. (The time to place the largest first grows
# with the square of the number.)
_PACKED_BY_SIZE = 1024


class LiveRange(NamedTuple):
    """How many bytes a buffer of the arena takes there, and the first and the last call that touches it."""

    size: int
    first: int
    last: int


class Arena(NamedTuple):
    """Where each buffer lies, in bytes from the start, and how long it lives; of its `nbytes` at most `peak` are in use at one
    time."""

    offsets: Mapping[Buffer, int]
    lives: Mapping[Buffer, LiveRange]
    nbytes: int
    peak: int


def live_ranges_of(calls: Sequence[KernelCall]) -> dict[Buffer, LiveRange]:
    """The buffers of the arena."""
    first: dict[Buffer, int] = {}
    last: dict[Buffer, int] = {}
    for number, call in enumerate(calls):
        for view in call.views:
            if view.buffer.kind == "arena":
                first.setdefault(view.buffer, number)
                last[view.buffer] = number
    return {
        buffer: LiveRange(max(-(-buffer.nbytes // ALIGNMENT), 1) * ALIGNMENT, born, last[buffer])
        for buffer, born in first.items()
    }


def lay_out(calls: Sequence[KernelCall]) -> Arena:
    """The arena of all that the calls have in one."""
    lives = live_ranges_of(calls)
    change = [0] * (len(calls) + 1)
    for size, first, last in lives.values():
        change[first] += size
        change[last + 1] -= size
    offsets = (pack_by_size if len(lives) <= _PACKED_BY_SIZE else pack_in_order)(lives)
    nbytes = max((offset + lives[buffer].size for buffer, offset in offsets.items()), default=0)
    return Arena(offsets, lives, nbytes, max(accumulate(change)))


def pack_by_size(lives: Mapping[Buffer, LiveRange]) -> dict[Buffer, int]:
    """Offsets: the largest first, each at the lowest place that is free while it lives."""
    offsets: dict[Buffer, int] = {}
    placed: list[tuple[int, int, int, int]] = []
    for buffer, (size, first, last) in sorted(lives.items(), key=lambda item: -item[0].nbytes):
        offset = 0
        for start, end, born, dead in placed:
            if start >= offset + size:
                break
            if born <= last and first <= dead and offset < end:
                offset = end
        offsets[buffer] = offset
        bisect.insort(placed, (offset, offset + size, first, last))
    return offsets


def pack_in_order(lives: Mapping[Buffer, LiveRange]) -> dict[Buffer, int]:
    """Offsets: in the order in which they come to life, each at the smallest place that is free then."""
    offsets: dict[Buffer, int] = {}
    free = FreeList()
    dying = sorted(lives, key=lambda buffer: -lives[buffer].last)
    for buffer, life in lives.items():
        while lives[dying[-1]].last < life.first:
            dead = dying.pop()
            free.give(offsets[dead], lives[dead].size)
        offsets[buffer] = free.take(life.size)
    return offsets


class FreeList:
    """The free places below `end`, behind which all is free. No two of them touch."""

    def __init__(self) -> None:
        self.end = 0
        self.places: list[tuple[int, int]] = []  # (size, offset), sorted
        self.sizes: dict[int, int] = {}  # by offset
        self.starts: dict[int, int] = {}  # by where they end

    def take(self, size: int) -> int:
        """The offset of `size` bytes that were free."""
        number = bisect.bisect_left(self.places, (size, 0))
        if number < len(self.places):
            found, offset = self.places[number]
            self._remove(offset)
            if found > size:
                self._add(offset + size, found - size)
            return offset
        offset = self.starts.get(self.end, self.end)
        if offset < self.end:
            self._remove(offset)
        self.end = offset + size
        return offset

    def give(self, offset: int, size: int) -> None:
        """Let `size` bytes at `offset` be free again."""
        before, behind = self.starts.get(offset), offset + size
        if behind in self.sizes:
            size += self._remove(behind)
        if before is not None:
            size += self._remove(before)
            offset = before
        self._add(offset, size)

    def _add(self, offset: int, size: int) -> None:
        bisect.insort(self.places, (size, offset))
        self.sizes[offset], self.starts[offset + size] = size, offset

    def _remove(self, offset: int) -> int:
        size = self.sizes.pop(offset)
        del self.starts[offset + size]
        del self.places[bisect.bisect_left(self.places, (size, offset))]
        return size
