"""Loops over arrays: what kernels are written with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tracejit.ir.types import int64
from tracejit.llvm.math.builder import MathBuilder
from tracejit.llvm.target import Target
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.types import Lanes


class KernelBuilder(MathBuilder):
    """A builder with arrays and loop nests."""

    def __init__(self, name: str, parameters: Sequence[str], target: Target, parallel: bool = False):
        machine = target.machine
        super().__init__(
            name, parameters, width=machine.width, fma=machine.fma, parallel=parallel, converts_float16=machine.float16
        )
        self.target, self.machine = target, machine

    # -- arrays, an element at a time

    def _element(self, array: Array, index: Sequence[Lanes]) -> str:
        return self.subarray(array, 0, index).pointer

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

    def first_element(self, array: Array) -> str:
        """The pointer to the first element."""
        return self.address(array.pointer, array.dtype, array.offset)

    def loops_divided(self, shape: Sequence[int], body: Callable[[list[Lanes]], None]) -> None:
        """`loops` whose runs do not need each other and are all that the function does: the first axis has its chunks."""
        if 0 in shape or not shape:
            self.loops(shape, body)
            return

        def chunk(first: Lanes, carried: list[Lanes]) -> list[Lanes]:
            self.loops(shape[1:], lambda rest: body([first, *rest]))
            return []

        self.loop_between(*self.parallel_range(shape[0]), chunk)

    def subarray(self, array: Array, axis: int, index: Sequence[Lanes]) -> Array:
        """The array without the axes `axis, axis + 1...`, at `index` along them."""
        end = axis + len(index)
        pointer = self.first_element(array)
        for position, stride in zip(index, array.strides[axis:end], strict=True):
            pointer = self.address(pointer, array.dtype, index=position, stride=stride)
        shape, strides = array.shape[:axis] + array.shape[end:], array.strides[:axis] + array.strides[end:]
        return Array(shape, strides, 0, array.dtype, pointer)

    def unravel(self, number: Lanes, shape: Sequence[int]) -> list[Lanes]:
        """The index of element `number` of an array of `shape`, counted in order."""
        index = []
        for size in reversed(shape):
            if size == 1:
                index.append(self.const(0, int64))
                continue
            rest = self.emit(int64, 1, f"udiv {number}, {size}")
            index.append(self.sub(number, self.mul(rest, self.const(size, int64))))
            number = rest
        return index[::-1]
