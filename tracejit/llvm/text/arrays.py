"""Arrays inside of a kernel: a pointer, and how the elements lie behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tracejit.ir.types import DType


@dataclass(frozen=True)
class Array:
    """An array inside of a kernel: its first element lies `offset` elements behind `pointer`; strides count elements. What is
    `streamed` is written past the caches; it begins where a register does."""

    pointer: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: DType
    offset: int = 0
    streamed: bool = False

    def sub(self, starts: Sequence[int], sizes: Sequence[int], strides: Sequence[int]) -> Array:
        """Elements `start, start + stride...` of each axis."""
        offset = self.offset + sum(start * own for start, own in zip(starts, self.strides, strict=True))
        layout = tuple(stride * own for stride, own in zip(strides, self.strides, strict=True))
        return Array(self.pointer, tuple(sizes), layout, self.dtype, offset)


def collapse(shape: Sequence[int], layouts: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
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


def collapse_arrays(arrays: Sequence[Array]) -> list[Array]:
    """The arrays, which have one shape, with as few axes as possible."""
    shape, layouts = collapse(arrays[0].shape, [array.strides for array in arrays])
    return [replace(array, shape=shape, strides=layout) for array, layout in zip(arrays, layouts, strict=True)]
