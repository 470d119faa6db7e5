"""Access to memory: addresses, and registers of elements that are read and written whole, masked, or picked at strides."""

from __future__ import annotations

from collections.abc import Sequence

from tracejit.ir.types import DType, bool_, int64
from tracejit.llvm.text.builder import Builder
from tracejit.llvm.text.types import MEMORY_TYPES, Lanes, intrinsic_name, mask_text, vector_type

# The largest distance at which elements are picked from whole vectors.
PICKED = 4


class MemoryBuilder(Builder):
    """A builder with memory access."""

    def lanes_for(self, *dtypes: DType) -> int:
        """How many lanes a register holds of the widest of `dtypes`."""
        return max(self.width // max(dtype.size for dtype in dtypes), 1)

    def address(self, pointer: str, dtype: DType, offset: int = 0, index: Lanes | None = None, stride: int = 1) -> str:
        """The pointer to element `offset + index * stride`."""
        element = MEMORY_TYPES[dtype]
        if index is not None and not index.ref.startswith("%"):
            offset, index = offset + int(index.ref) * stride, None
        if offset:
            name = "%" + self.fresh("p")
            self.line(f"{name} = getelementptr inbounds {element}, ptr {pointer}, i64 {offset}")
            pointer = name
        if index is not None and stride:
            if stride != 1:
                index = self.mul(index, self.const(stride, int64))
            name = "%" + self.fresh("p")
            self.line(f"{name} = getelementptr inbounds {element}, ptr {pointer}, i64 {index.ref}")
            pointer = name
        return pointer

    def freeze(self, pointer: str) -> str:
        """The pointer, as one of which the code generator does not know how it was computed. Where many addresses in a loop are
        counted from it, the search for the best way to count takes ten times as long as all else and finds nothing better."""
        name = "%" + self.fresh("p")
        self.line(f"{name} = freeze ptr {pointer}")
        return name

    def compiler_fence(self) -> None:
        """What was loaded before is loaded again where it is needed again, instead of being kept in a register for that."""
        self.line('fence syncscope("singlethread") acq_rel')

    def stack_buffer(self, nbytes: int) -> str:
        """The pointer to memory of at least so many bytes, which the function has on its stack once: what one place keeps
        there another may overwrite."""
        self.stack_bytes = max(self.stack_bytes, nbytes)
        return "%stack"

    def load_at(self, pointer: str, dtype: DType, lanes: int = 1, stride: int = 1, active: int | None = None) -> Lanes:
        """`lanes` elements from `pointer` on; only the first `active` are read, the others are 0."""
        name = self.read(pointer, dtype, lanes, stride, active)
        if dtype is not bool_:
            return Lanes(name, dtype, lanes)
        zero = "0" if lanes == 1 else "zeroinitializer"
        return self.emit(bool_, lanes, f"icmp ne {vector_type('i8', lanes)} {name}, {zero}")

    def store_at(self, value: Lanes, pointer: str, stride: int = 1, active: int | None = None) -> None:
        """Write the lanes from `pointer` on; only the first `active`."""
        dtype, lanes, ref = value.dtype, value.lanes, value.ref
        if dtype is bool_:
            ref = self.named(f"zext {value} to {vector_type('i8', lanes)}")
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
            function, mask = intrinsic_name("masked.load", element, lanes) + ".p0", vector_type("i1", lanes)
            self.declarations.add(f"declare {kind} {function}(ptr, {mask}, {kind})")
            on = mask_text([lane < count for lane in range(lanes)])
            arguments = f"ptr align {dtype.size} {pointer}, {mask} {on}, {kind} zeroinitializer"
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
        return 0 < abs(stride) <= min(lanes // 2, PICKED)

    def _read_picked(self, pointer: str, dtype: DType, lanes: int, stride: int, count: int) -> str:
        """Whole vectors that hold the elements, none of them beyond the last one, and the lanes picked from them."""
        step = abs(stride)
        span = (count - 1) * step + 1
        if stride < 0:
            pointer = self.address(pointer, dtype, (count - 1) * stride)
        starts = [first if first + lanes <= span else max(span - lanes, 0) for first in range(0, span, lanes)]
        sources = [self.read(self.address(pointer, dtype, first), dtype, lanes, active=min(span, lanes)) for first in starts]
        offsets = [lane * step if stride > 0 else (count - 1 - lane) * step for lane in range(count)]
        picked = [(offset // lanes, offset - starts[offset // lanes]) for offset in offsets]
        if count < lanes:
            sources.append("zeroinitializer")
            picked += [(len(sources) - 1, 0)] * (lanes - count)
        return self.pick(dtype, lanes, sources, picked)

    def pick(self, dtype: DType, lanes: int, sources: Sequence[str], picked: Sequence[tuple[int, int] | None]) -> str:
        """A vector of lanes (number of the source, lane in it); None for a lane that may be anything."""
        first, *others = sorted({pick[0] for pick in picked if pick is not None})
        result = sources[first]
        held = [pick[1] if pick is not None and pick[0] == first else None for pick in picked]
        for other in others or [first]:
            mask = [
                lanes + pick[1] if pick is not None and pick[0] == other and other != first else before
                for pick, before in zip(picked, held, strict=True)
            ]
            result = self.shuffle(dtype, result, sources[other], mask)
            held = [lane if source is not None else None for lane, source in enumerate(mask)]
        return result

    def shuffle(self, dtype: DType, x: str, y: str, mask: Sequence[int | None], width: int | None = None) -> str:
        """A vector of lanes of `x` and, counted on, of `y`, which have `width` of them (default: as many as come back); None
        for one that may be anything."""
        kind, count = vector_type(MEMORY_TYPES[dtype], width or len(mask)), vector_type("i32", len(mask))
        lanes = ", ".join("i32 poison" if lane is None else f"i32 {lane}" for lane in mask)
        return self.named(f"shufflevector {kind} {x}, {kind} {y}, {count} <{lanes}>")

    def write(
        self, value: str, pointer: str, dtype: DType, lanes: int = 1, stride: int = 1, active: int | None = None, *,
        nontemporal: bool = False,
    ) -> None:  # fmt: skip
        """What `store_at` writes, a bool as a byte, a half dtype as its bits; `nontemporal`, past the caches, a whole register
        to a multiple of its size."""
        element = MEMORY_TYPES[dtype]
        kind = vector_type(element, lanes)
        count = lanes if active is None else active
        if lanes == 1 or (stride == 1 and count == lanes):
            how = f"{lanes * dtype.size}, !nontemporal !{{i32 1}}" if nontemporal else f"{dtype.size}"
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
        kind, function = vector_type(element, lanes), intrinsic_name("masked.store", element, lanes) + ".p0"
        if sum(on) == 1:  # Of a lane that was narrowed before, LLVM 22 stores the wide number.
            lane = on.index(True)
            one = self.named(f"extractelement {kind} {value}, i64 {lane}")
            self.write(one, self.address(pointer, dtype, lane), dtype)
            return
        self.declarations.add(f"declare void {function}({kind}, ptr, {mask})")
        self.line(f"call void {function}({kind} {value}, ptr align {dtype.size} {pointer}, {mask} {mask_text(on)})")

    def _write_picked(self, value: str, pointer: str, dtype: DType, lanes: int, stride: int, count: int) -> None:
        """Whole vectors with the lanes where they belong, written without what lies between them."""
        step = abs(stride)
        span = (count - 1) * step + 1
        if stride < 0:
            pointer = self.address(pointer, dtype, (count - 1) * stride)
        for start in range(0, span, lanes):
            offsets = range(start, start + lanes)
            held = [offset // step if offset % step == 0 and offset < span else None for offset in offsets]
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
