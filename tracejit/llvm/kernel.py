"""Loops over arrays: what the lowering of an op writes its kernel with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tracejit.ir.types import DType, bool_, int64
from tracejit.llvm.builder import MEMORY_TYPES, Builder, Lanes, vector_type


@dataclass(frozen=True)
class Array:
    """An array inside of a kernel: its first element lies `offset` elements behind `pointer`; strides count elements."""

    pointer: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: DType
    offset: int = 0

    def sub(self, starts: Sequence[int], sizes: Sequence[int], strides: Sequence[int]) -> Array:
        """Elements `start, start + stride...` of each axis."""
        offset = self.offset + sum(start * own for start, own in zip(starts, self.strides, strict=True))
        layout = tuple(stride * own for stride, own in zip(strides, self.strides, strict=True))
        return Array(self.pointer, tuple(sizes), layout, self.dtype, offset)


class KernelBuilder(Builder):
    """A builder with memory access and loop nests."""

    def address(self, pointer: str, dtype: DType, offset: int = 0, index: Lanes | None = None, stride: int = 1) -> str:
        """The pointer to element `offset + index * stride`."""
        element = MEMORY_TYPES[dtype]
        if offset:
            name = "%" + self.fresh("p")
            self.line(f"{name} = getelementptr inbounds {element}, ptr {pointer}, i64 {offset}")
            pointer = name
        if index is not None and index.ref != "0" and stride:
            if stride != 1:
                index = self.mul(index, self.const(stride, int64))
            name = "%" + self.fresh("p")
            self.line(f"{name} = getelementptr inbounds {element}, ptr {pointer}, i64 {index.ref}")
            pointer = name
        return pointer

    def load_at(self, pointer: str, dtype: DType, lanes: int = 1, stride: int = 1, active: int | None = None) -> Lanes:
        """`lanes` elements from `pointer` on; only the first `active` are read, the others are 0."""
        if stride == 0:
            return self.widen(self.load_at(pointer, dtype), lanes)
        element = MEMORY_TYPES[dtype]
        kind = vector_type(element, lanes)
        count = lanes if active is None else active
        if lanes > 1 and stride != 1:
            name = "zeroinitializer"
            for lane in range(count):
                one = self.fresh("v")
                place = self.address(pointer, dtype, lane * stride)
                self.line(f"%{one} = load {element}, ptr {place}, align {dtype.size}")
                new = "%" + self.fresh("v")
                self.line(f"{new} = insertelement {kind} {name}, {element} %{one}, i64 {lane}")
                name = new
        elif count < lanes:
            suffix = kind_suffix(element, lanes)
            function = f"@llvm.masked.load.{suffix}.p0"
            mask = vector_type("i1", lanes)
            self.declarations.add(f"declare {kind} {function}(ptr, {mask}, {kind})")
            name = "%" + self.fresh("v")
            arguments = f"ptr align {dtype.size} {pointer}, {mask} {mask_text(lanes, count)}, {kind} zeroinitializer"
            self.line(f"{name} = call {kind} {function}({arguments})")
        else:
            name = "%" + self.fresh("v")
            self.line(f"{name} = load {kind}, ptr {pointer}, align {dtype.size}")
        if dtype is not bool_:
            return Lanes(name, dtype, lanes)
        zero = "0" if lanes == 1 else "zeroinitializer"
        return self.emit(bool_, lanes, f"icmp ne {kind} {name}, {zero}")

    def store_at(self, value: Lanes, pointer: str, stride: int = 1, active: int | None = None) -> None:
        """Write the lanes from `pointer` on; only the first `active`."""
        dtype, lanes = value.dtype, value.lanes
        element = MEMORY_TYPES[dtype]
        kind = vector_type(element, lanes)
        ref = value.ref
        if dtype is bool_:
            name = "%" + self.fresh("v")
            self.line(f"{name} = zext {value} to {kind}")
            ref = name
        count = lanes if active is None else active
        # A single lane is never stored by a mask: of one that was narrowed before, LLVM 22 stores the wide number.
        if lanes > 1 and (stride != 1 or count == 1):
            for lane in range(count):
                one = self.fresh("v")
                self.line(f"%{one} = extractelement {kind} {ref}, i64 {lane}")
                place = self.address(pointer, dtype, lane * stride)
                self.line(f"store {element} %{one}, ptr {place}, align {dtype.size}")
        elif count < lanes:
            function = f"@llvm.masked.store.{kind_suffix(element, lanes)}.p0"
            mask = vector_type("i1", lanes)
            self.declarations.add(f"declare void {function}({kind}, ptr, {mask})")
            self.line(f"call void {function}({kind} {ref}, ptr align {dtype.size} {pointer}, {mask} {mask_text(lanes, count)})")
        else:
            self.line(f"store {kind} {ref}, ptr {pointer}, align {dtype.size}")

    # -- arrays, an element at a time

    def _element(self, array: Array, index: Sequence[Lanes]) -> str:
        pointer = self.address(array.pointer, array.dtype, array.offset)
        for each, stride in zip(index, array.strides, strict=True):
            pointer = self.address(pointer, array.dtype, index=each, stride=stride)
        return pointer

    def load(self, array: Array, index: Sequence[Lanes]) -> Lanes:
        """The element at `index`, one i64 an axis, each known to be inside."""
        return self.load_at(self._element(array, index), array.dtype)

    def store(self, array: Array, index: Sequence[Lanes], value: Lanes) -> None:
        """Set the element at `index`."""
        self.store_at(value, self._element(array, index))

    def loops(self, shape: Sequence[int], body: Callable[[list[Lanes]], None]) -> None:
        """Run `body(index)` for every index of `shape`, in order."""
        if 0 in shape:
            return

        def nest(axis: int, index: list[Lanes]) -> None:
            if axis == len(shape):
                body(index)
                return

            def step(position: Lanes, carried: list[Lanes]) -> list[Lanes]:
                nest(axis + 1, [*index, position])
                return []

            self.loop(shape[axis], step)

        nest(0, [])

    def subarray(self, array: Array, axis: int, index: Sequence[Lanes]) -> Array:
        """The array without the axes `axis, axis + 1...`, at `index` along them."""
        end = axis + len(index)
        pointer = self.address(array.pointer, array.dtype, array.offset)
        for each, stride in zip(index, array.strides[axis:end], strict=True):
            pointer = self.address(pointer, array.dtype, index=each, stride=stride)
        shape, strides = array.shape[:axis] + array.shape[end:], array.strides[:axis] + array.strides[end:]
        return Array(pointer, shape, strides, array.dtype)

    # -- whole arrays, vectors at a time

    def lanes_for(self, *dtypes: DType) -> int:
        """How many lanes a register holds of the widest of `dtypes`."""
        return max(self.width // max(dtype.size for dtype in dtypes), 1)

    def each_vector(self, arrays: Sequence[Array], body: Callable[[list[str], int, int | None], None]) -> None:
        """Run `body(pointers, lanes, active)` over arrays of one shape, along the last axis by vectors."""
        arrays = collapse_arrays(arrays)
        shape = arrays[0].shape
        if 0 in shape:
            return
        pointers = [self.address(array.pointer, array.dtype, array.offset) for array in arrays]
        count = shape[-1] if shape else 1
        lanes = min(self.lanes_for(*[array.dtype for array in arrays]), power_above(count))

        def row(index: list[Lanes]) -> None:
            starts = []
            for array, pointer in zip(arrays, pointers, strict=True):
                for each, stride in zip(index, array.strides[:-1], strict=True):
                    pointer = self.address(pointer, array.dtype, index=each, stride=stride)
                starts.append(pointer)
            steps = [array.strides[-1] if array.strides else 1 for array in arrays]

            def step(position: Lanes, carried: list[Lanes]) -> list[Lanes]:
                moved = [
                    self.address(start, array.dtype, index=position, stride=stride)
                    for start, array, stride in zip(starts, arrays, steps, strict=True)
                ]
                body(moved, lanes, None)
                return []

            full = count - count % lanes
            self.loop(full, step, step=lanes)
            if count > full:
                parts = zip(starts, arrays, steps, strict=True)
                body(
                    [self.address(start, array.dtype, full * stride) for start, array, stride in parts],
                    lanes,
                    count - full,
                )

        self.loops(shape[:-1], row)

    def copy(self, target: Array, source: Array) -> None:
        """Set every element of `target` to that of `source`, which has its shape."""
        strides = [(array.strides[-1] if array.strides else 1) for array in collapse_arrays([target, source])]

        def body(pointers: list[str], lanes: int, active: int | None) -> None:
            value = self.load_at(pointers[1], source.dtype, lanes, strides[1], active)
            self.store_at(value, pointers[0], strides[0], active)

        self.each_vector([target, source], body)

    def accumulate(self, target: Array, source: Array) -> None:
        """Add every element of `source` to that of `target`."""
        strides = [(array.strides[-1] if array.strides else 1) for array in collapse_arrays([target, source])]

        def body(pointers: list[str], lanes: int, active: int | None) -> None:
            value = self.load_at(pointers[1], source.dtype, lanes, strides[1], active)
            before = self.load_at(pointers[0], target.dtype, lanes, strides[0], active)
            self.store_at(self.add(before, value), pointers[0], strides[0], active)

        self.each_vector([target, source], body)

    def fill(self, target: Array, value: Any) -> None:
        """Set every element of `target` to the number `value`."""
        (flat,) = collapse_arrays([target])
        stride = flat.strides[-1] if flat.strides else 1

        def body(pointers: list[str], lanes: int, active: int | None) -> None:
            self.store_at(self.const(value, target.dtype, lanes), pointers[0], stride, active)

        self.each_vector([target], body)

    def matmul(self, node: Any, out: Array, x: Array, y: Array) -> None:
        """out = x @ y, as the node's attributes transpose them."""
        from tracejit.llvm.matmul import emit_matmul

        emit_matmul(self, out, x, y, node.attrs["transpose_a"], node.attrs["transpose_b"])


def kind_suffix(element: str, lanes: int) -> str:
    """How an intrinsic's name spells a vector."""
    return f"v{lanes}" + {"float": "f32", "double": "f64"}.get(element, element)


def mask_text(lanes: int, active: int) -> str:
    """A constant mask whose first `active` lanes are on."""
    return "<" + ", ".join(f"i1 {'true' if lane < active else 'false'}" for lane in range(lanes)) + ">"


def power_above(count: int) -> int:
    """The least power of two that is not below `count`."""
    return 1 << max(count - 1, 0).bit_length()


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
