"""How the elements of an array lie in memory: its shape, and its strides and its offset, which count elements.

What moves no element is a method here: broadcast, slice, transpose, reverse, reshape. The lowering of an op that only looks at
its operand in another way is one of them (`ir.op.Alias`). A planner's view adds a buffer, an array of a kernel a pointer.

Extents are added, multiplied and compared for equality; only `reshape` asks which of two is larger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeVar

from tracejit.ir.types import DType

Ints = tuple[int, ...]


@dataclass(frozen=True)
class Strided:
    """The element at `index` lies `offset + sum(index * strides)` elements behind the beginning of the memory.

    Methods give other layouts of the same memory, a subclass, which says which that is, objects of its own.
    """

    shape: Ints
    strides: Ints
    offset: int
    dtype: DType

    def with_layout(self, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> Self:
        """Other elements of the same memory; `offset` counts from this array's own first element."""
        return replace(self, shape=tuple(shape), strides=tuple(strides), offset=self.offset + offset)

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie in row-major order without gaps; axes of size 1 may have any stride."""
        pairs = zip(self.shape, self.strides, contiguous_strides(self.shape), strict=True)
        return 0 in self.shape or all(size == 1 or stride == expected for size, stride, expected in pairs)

    @property
    def nbytes(self) -> int:
        """The bytes of its elements, each as often as it comes."""
        return math.prod(self.shape) * self.dtype.size

    def broadcast(self, shape: Ints, axes: Sequence[int]) -> Self:
        """As an array of `shape`: axis i becomes axis `axes[i]`; repeated along the others, and where axis i has size 1."""
        return self.with_layout(shape, broadcast_strides(self.shape, self.strides, shape, axes))

    def slice(self, starts: Sequence[int], sizes: Sequence[int], strides: Sequence[int]) -> Self:
        """The elements `start, start + stride...` of each axis, `sizes` of them."""
        offset = 0 if 0 in sizes else sum(start * own for start, own in zip(starts, self.strides, strict=True))
        return self.with_layout(sizes, [step * own for step, own in zip(strides, self.strides, strict=True)], offset)

    def transpose(self, permutation: Sequence[int]) -> Self:
        """Axis i of the result is axis `permutation[i]` of this one."""
        return self.with_layout([self.shape[axis] for axis in permutation], [self.strides[axis] for axis in permutation])

    def oriented(self, transposed: bool) -> Self:
        """Matrices in the last two axes: as they are, or each of them transposed."""
        rank = len(self.shape)
        return self.transpose([*range(rank - 2), rank - 1, rank - 2]) if transposed else self

    def reverse(self, axes: Sequence[int]) -> Self:
        """Gone through backwards along `axes`."""
        strides = tuple([-stride if axis in axes else stride for axis, stride in enumerate(self.strides)])
        return self.with_layout(
            self.shape, strides, sum((self.shape[axis] - 1) * self.strides[axis] for axis in axes if self.shape[axis])
        )

    def reshape(self, shape: Ints) -> Self | None:
        """The same elements in the same order in another shape of as many; None where they would have to move."""
        if self.contiguous:
            return self.with_layout(shape, contiguous_strides(shape))
        sizes, (own,) = collapse(self.shape, [self.strides])
        strides: list[int] = []
        for size, stride in zip(sizes, own, strict=True):
            first = end = len(strides)
            while math.prod(shape[first:end]) < size:
                end += 1
            if math.prod(shape[first:end]) > size:
                return None
            strides += [step * stride for step in contiguous_strides(shape[first:end])]
        return self.with_layout(shape, strides + [1] * (len(shape) - len(strides)))


def contiguous_strides(shape: Ints) -> Ints:
    """The strides, in elements, of a row-major array of `shape`."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def broadcast_strides(sizes: Ints, strides: Ints, shape: Ints, axes: Sequence[int]) -> Ints:
    """The strides of what has `sizes` and `strides`, in whatever unit, as an array of `shape` (see `Strided.broadcast`)."""
    result = [0] * len(shape)
    for axis, size, stride in zip(axes, sizes, strides, strict=True):
        result[axis] = stride if size == shape[axis] else 0
    return tuple(result)


def collapse(shape: Sequence[int], layouts: Sequence[Sequence[int]]) -> tuple[Ints, list[Ints]]:
    """Fewest axes that address the same elements: axes of size 1 dropped, neighbours joined where every layout allows it."""
    axes = [axis for axis, size in enumerate(shape) if size != 1]
    groups: list[list[int]] = []
    for axis in axes:
        if groups and all(layout[groups[-1][-1]] == layout[axis] * shape[axis] for layout in layouts):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    sizes = tuple(math.prod(shape[axis] for axis in group) for group in groups)
    return sizes, [tuple(layout[group[-1]] for group in groups) for layout in layouts]


S = TypeVar("S", bound=Strided)


def collapsed(arrays: Sequence[S]) -> list[S]:
    """The arrays, which have one shape, with as few axes as possible."""
    shape, layouts = collapse(arrays[0].shape, [array.strides for array in arrays])
    return [array.with_layout(shape, strides) for array, strides in zip(arrays, layouts, strict=True)]


def in_memory_order(first: S, *others: S) -> list[S]:
    """The arrays, which have one shape, with their axes permuted, reversed and joined so that the elements of `first` come in
    order of their addresses, those of the others with them."""
    axes = range(len(first.shape))
    backwards = [axis for axis in axes if first.shape[axis] and first.strides[axis] < 0]
    order = sorted(axes, key=lambda axis: -abs(first.strides[axis]))
    return collapsed([array.reverse(backwards).transpose(order) for array in (first, *others)])
