"""Loops over arrays: what the lowering of an op writes its kernel with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tracejit.ir.types import DType, bool_, int64
from tracejit.llvm.machine.engine import Target
from tracejit.llvm.math.halves import from_bits, to_bits
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.builder import MEMORY_TYPES, Builder, Lanes, vector_type
from tracejit.locks import importing


class KernelBuilder(Builder):
    """A builder with memory access and loop nests."""

    def __init__(self, name: str, parameters: Sequence[str], target: Target, parallel: bool = False):
        super().__init__(
            name, parameters, width=target.width, fma=target.fma, parallel=parallel, converts_float16=target.float16
        )
        self.target = target

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

    def opaque(self, pointer: str) -> str:
        """The pointer, as one of which the code generator does not know how it was computed. Where many addresses in a loop are
        counted from it, the search for the best way to count takes ten times as long as all else and finds nothing better."""
        name = "%" + self.fresh("p")
        self.line(f"{name} = freeze ptr {pointer}")
        return name

    def forget(self) -> None:
        """What was loaded before is loaded again where it is needed again, instead of being kept in a register for that."""
        self.line('fence syncscope("singlethread") acq_rel')

    def load_at(self, pointer: str, dtype: DType, lanes: int = 1, stride: int = 1, active: int | None = None) -> Lanes:
        """`lanes` elements from `pointer` on; only the first `active` are read, the others are 0."""
        name = self.read(pointer, dtype, lanes, stride, active)
        if dtype.is_half:
            return from_bits(self, name, dtype, lanes)
        if dtype is not bool_:
            return Lanes(name, dtype, lanes)
        zero = "0" if lanes == 1 else "zeroinitializer"
        return self.emit(bool_, lanes, f"icmp ne {vector_type('i8', lanes)} {name}, {zero}")

    def store_at(self, value: Lanes, pointer: str, stride: int = 1, active: int | None = None) -> None:
        """Write the lanes from `pointer` on; only the first `active`."""
        dtype, lanes, ref = value.dtype, value.lanes, value.ref
        if dtype is bool_:
            ref = self.named(f"zext {value} to {vector_type('i8', lanes)}")
        elif dtype.is_half:
            ref = to_bits(self, value)
        self.write(ref, pointer, dtype, lanes, stride, active)

    # -- registers of elements as they lie in memory

    def named(self, text: str) -> str:
        """The name of what the instruction `text` gives."""
        name = "%" + self.fresh("v")
        self.line(f"{name} = {text}")
        return name

    def read(self, pointer: str, dtype: DType, lanes: int = 1, stride: int = 1, active: int | None = None) -> str:
        """What `load_at` reads, a bool as a byte, a half dtype as its bits."""
        element = MEMORY_TYPES[dtype]
        kind = vector_type(element, lanes)
        count = lanes if active is None else active
        if lanes == 1 or (stride == 1 and count == lanes):
            return self.named(f"load {kind}, ptr {pointer}, align {dtype.size}")
        if stride == 0:
            first = self.named(f"insertelement {kind} poison, {element} {self.read(pointer, dtype)}, i64 0")
            return self.shuffle(dtype, first, "poison", [0] * lanes)
        if stride == 1:
            suffix, mask = kind_suffix(element, lanes), vector_type("i1", lanes)
            function = f"@llvm.masked.load.{suffix}.p0"
            self.declarations.add(f"declare {kind} {function}(ptr, {mask}, {kind})")
            arguments = f"ptr align {dtype.size} {pointer}, {mask} {mask_text(lanes, count)}, {kind} zeroinitializer"
            return self.named(f"call {kind} {function}({arguments})")
        if self.picks(lanes, stride):
            return self._read_picked(pointer, dtype, lanes, stride, count)
        name = "zeroinitializer"
        for lane in range(count):
            one = self.read(self.address(pointer, dtype, lane * stride), dtype)
            name = self.named(f"insertelement {kind} {name}, {element} {one}, i64 {lane}")
        return name

    def picks(self, lanes: int, stride: int) -> bool:
        """Whether lanes at this stride are picked from whole vectors, not read and written one after the other."""
        return 0 < abs(stride) <= min(lanes // 2, 4)

    def _read_picked(self, pointer: str, dtype: DType, lanes: int, stride: int, count: int) -> str:
        """Whole vectors that hold the elements, none of them beyond the last one, and the lanes picked from them."""
        step = abs(stride)
        span = (count - 1) * step + 1
        if stride < 0:
            pointer = self.address(pointer, dtype, (count - 1) * stride)
        starts = [first if first + lanes <= span else max(span - lanes, 0) for first in range(0, span, lanes)]
        sources = [self.read(self.address(pointer, dtype, first), dtype, lanes, active=min(span, lanes)) for first in starts]
        places = [lane * step if stride > 0 else (count - 1 - lane) * step for lane in range(count)]
        found = [(place // lanes, place - starts[place // lanes]) for place in places]
        if count < lanes:
            sources.append("zeroinitializer")
            found += [(len(sources) - 1, 0)] * (lanes - count)
        return self.pick(dtype, lanes, sources, found)

    def pick(self, dtype: DType, lanes: int, sources: Sequence[str], found: Sequence[tuple[int, int] | None]) -> str:
        """A vector of lanes (number of the source, lane in it); None for a lane that may be anything."""
        used = sorted({each[0] for each in found if each is not None})
        first, *others = used
        result = sources[first]
        placed = [each[1] if each is not None and each[0] == first else None for each in found]
        for other in others or [first]:
            mask = [
                lanes + each[1] if each is not None and each[0] == other and other != first else before
                for each, before in zip(found, placed, strict=True)
            ]
            result = self.shuffle(dtype, result, sources[other], mask)
            placed = [lane if place is not None else None for lane, place in enumerate(mask)]
        return result

    def shuffle(self, dtype: DType, x: str, y: str, mask: Sequence[int | None], width: int | None = None) -> str:
        """A vector of lanes of `x` and, counted on, of `y`, which have `width` of them (default: as many as come back); None
        for one that may be anything."""
        kind, count = vector_type(MEMORY_TYPES[dtype], width or len(mask)), vector_type("i32", len(mask))
        lanes = ", ".join("i32 poison" if lane is None else f"i32 {lane}" for lane in mask)
        return self.named(f"shufflevector {kind} {x}, {kind} {y}, {count} <{lanes}>")

    def write(
        self, value: str, pointer: str, dtype: DType, lanes: int = 1, stride: int = 1, active: int | None = None, *,
        streamed: bool = False,
    ) -> None:  # fmt: skip
        """What `store_at` writes, a bool as a byte, a half dtype as its bits; `streamed`, past the caches, a whole register
        to a multiple of its size."""
        element = MEMORY_TYPES[dtype]
        kind = vector_type(element, lanes)
        count = lanes if active is None else active
        if lanes == 1 or (stride == 1 and count == lanes):
            how = f"{lanes * dtype.size}, !nontemporal !{{i32 1}}" if streamed else f"{dtype.size}"
            self.line(f"store {kind} {value}, ptr {pointer}, align {how}")
        elif stride == 1:
            self._write_masked(value, pointer, dtype, lanes, [lane < count for lane in range(lanes)])
        elif self.picks(lanes, stride):
            self._write_picked(value, pointer, dtype, lanes, stride, count)
        else:
            for lane in range(count):
                one = self.named(f"extractelement {kind} {value}, i64 {lane}")
                self.write(one, self.address(pointer, dtype, lane * stride), dtype)

    def _write_masked(self, value: str, pointer: str, dtype: DType, lanes: int, on: Sequence[bool]) -> None:
        element, mask = MEMORY_TYPES[dtype], vector_type("i1", lanes)
        kind, function = vector_type(element, lanes), f"@llvm.masked.store.{kind_suffix(element, lanes)}.p0"
        if sum(on) == 1:  # Of a lane that was narrowed before, LLVM 22 stores the wide number.
            lane = on.index(True)
            one = self.named(f"extractelement {kind} {value}, i64 {lane}")
            self.write(one, self.address(pointer, dtype, lane), dtype)
            return
        self.declarations.add(f"declare void {function}({kind}, ptr, {mask})")
        which = ", ".join(f"i1 {'true' if each else 'false'}" for each in on)
        self.line(f"call void {function}({kind} {value}, ptr align {dtype.size} {pointer}, {mask} <{which}>)")

    def _write_picked(self, value: str, pointer: str, dtype: DType, lanes: int, stride: int, count: int) -> None:
        """Whole vectors with the lanes at their places, written without what lies between them."""
        step = abs(stride)
        span = (count - 1) * step + 1
        if stride < 0:
            pointer = self.address(pointer, dtype, (count - 1) * stride)
        for start in range(0, span, lanes):
            places = range(start, start + lanes)
            held = [place // step if place % step == 0 and place < span else None for place in places]
            picked = [None if lane is None else (0, lane if stride > 0 else count - 1 - lane) for lane in held]
            moved = self.pick(dtype, lanes, [value], picked)
            to = self.address(pointer, dtype, start)
            if None in held:
                self._write_masked(moved, to, dtype, lanes, [lane is not None for lane in held])
            else:
                self.write(moved, to, dtype, lanes)

    def move_bytes(self, target: str, source: str, dtype: DType, count: int) -> None:
        """Copy a run of elements that overlap nowhere."""
        self.declarations.add("declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
        align, size = f"align {dtype.size}", count * dtype.size
        self.line(f"call void @llvm.memcpy.p0.p0.i64(ptr {align} {target}, ptr {align} {source}, i64 {size}, i1 false)")

    def prefetch(self, pointer: str, written: bool = False) -> None:
        """Bring the line of memory at the address into the second-level cache, if there is one; the address may be any."""
        self.declarations.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        self.line(f"call void @llvm.prefetch.p0(ptr {pointer}, i32 {int(written)}, i32 2, i32 1)")

    def zero_bytes(self, target: str, dtype: DType, count: int) -> None:
        """Set a run of elements to 0."""
        self.declarations.add("declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
        self.line(f"call void @llvm.memset.p0.i64(ptr align {dtype.size} {target}, i8 0, i64 {count * dtype.size}, i1 false)")

    def aligned(self, pointer: str, nbytes: int) -> Lanes:
        """Whether the address is a multiple of `nbytes`."""
        number = self.emit(int64, 1, f"ptrtoint ptr {pointer} to i64")
        return self.compare("eq", self.and_(number, self.const(nbytes - 1, int64)), self.const(0, int64))

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

    def place(self, array: Array) -> str:
        """The pointer to the first element."""
        return self.address(array.pointer, array.dtype, array.offset)

    def loops_divided(self, shape: Sequence[int], body: Callable[[list[Lanes]], None]) -> None:
        """`loops` whose runs do not need each other and are all that the function does: the first axis has its units."""
        if 0 in shape or not shape:
            self.loops(shape, body)
            return

        def unit(first: Lanes, carried: list[Lanes]) -> list[Lanes]:
            self.loops(shape[1:], lambda rest: body([first, *rest]))
            return []

        self.loop_between(*self.span(shape[0]), unit)

    def subarray(self, array: Array, axis: int, index: Sequence[Lanes]) -> Array:
        """The array without the axes `axis, axis + 1...`, at `index` along them."""
        end = axis + len(index)
        pointer = self.place(array)
        for each, stride in zip(index, array.strides[axis:end], strict=True):
            pointer = self.address(pointer, array.dtype, index=each, stride=stride)
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

    # -- whole arrays, vectors at a time

    def lanes_for(self, *dtypes: DType) -> int:
        """How many lanes a register holds of the widest of `dtypes`."""
        return max(self.width // max(dtype.size for dtype in dtypes), 1)

    def copy(self, target: Array, source: Array, *, divided: bool = False) -> None:
        """Set every element of `target` to that of `source`, which has its shape; they have no element in common. `divided`
        where it is all that the function does."""
        with importing:
            from tracejit.llvm.kernels.movement import emit_copy

        emit_copy(self, target, source, divided)

    def fill(self, target: Array, value: Any) -> None:
        """Set every element of `target` to the number `value`."""
        with importing:
            from tracejit.llvm.kernels.movement import emit_fill

        emit_fill(self, target, value)

    def combine(self, target: Array, sources: Sequence[Array], operation: Callable[[Lanes, Lanes], Lanes]) -> None:
        """Set every element of `target` to those of `sources`, which have its shape, combined from the first on."""
        with importing:
            from tracejit.llvm.kernels.movement import emit_combine

        emit_combine(self, target, sources, operation)

    def accumulate(self, target: Array, source: Array) -> None:
        """Add every element of `source` to that of `target`."""
        self.combine(target, [target, source], self.add)

    def all_within(self, array: Array, low: int, high: int) -> None:
        """Leave the function with status 1 unless every integer of `array` lies in low..high-1."""
        with importing:
            from tracejit.llvm.kernels.indexed import emit_check

        emit_check(self, array, low, high)

    def gather(self, out: Array, params: Array, indices: Array, axis: int) -> None:
        """Set the slices of `out` to those of `params` at `indices` along `axis`, once all of them lie inside."""
        with importing:
            from tracejit.llvm.kernels.indexed import emit_gather

        emit_gather(self, out, params, indices, axis)

    def scatter_add(self, out: Array, updates: Array, indices: Array, axis: int) -> None:
        """Set `out` to 0 and add each slice of `updates`, in order, at its index along `axis`, once all of them lie inside."""
        with importing:
            from tracejit.llvm.kernels.indexed import emit_scatter_add

        emit_scatter_add(self, out, updates, indices, axis)

    def arg_extreme(self, out: Array, x: Array, axis: int, better: str) -> None:
        """Set `out` to where along `axis` the first NaN lies, or else the first of the elements than which none is `better`."""
        with importing:
            from tracejit.llvm.kernels.indexed import emit_arg_extreme

        emit_arg_extreme(self, out, x, axis, better)

    def convolution(self, node: Any, out: Array, x: Array, filters: Array) -> None:
        """out = the convolution of x with the filters, with the node's strides and dilations."""
        with importing:
            from tracejit.llvm.kernels.convolution import emit_convolution

        emit_convolution(self, out, x, filters, node.attrs["strides"], node.attrs["dilations"])


def kind_suffix(element: str, lanes: int) -> str:
    """How an intrinsic's name spells a vector."""
    return f"v{lanes}" + {"float": "f32", "double": "f64"}.get(element, element)


def mask_text(lanes: int, active: int) -> str:
    """A constant mask whose first `active` lanes are on."""
    return "<" + ", ".join(f"i1 {'true' if lane < active else 'false'}" for lane in range(lanes)) + ">"
