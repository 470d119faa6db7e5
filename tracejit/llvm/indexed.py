"""Kernels of indices: gather and scatter_add, the check that indices lie inside, and where along an axis the extreme lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tracejit.ir.types import DType, bool_, int32, int64
from tracejit.llvm.builder import SCALAR_TYPES, Lanes
from tracejit.llvm.kernel import Array, KernelBuilder, collapse
from tracejit.llvm.movement import arranged, covering, limited, power_below

# Vectors that a search looks at side by side, so that they do not wait for each other.
_SIDE_BY_SIDE = 4


def emit_check(b: KernelBuilder, array: Array, low: int, high: int) -> None:
    """Fail unless every integer of `array` lies in low..high-1."""
    (array,) = arranged(array)
    if 0 in array.shape:
        return
    if high <= low:
        b.fail_if(b.const(True, bool_))
        return
    dtype, count = array.dtype, array.shape[-1] if array.shape else 1
    stride = array.strides[-1] if array.shape else 1
    kind = dtype if dtype.min <= low and high - 1 <= dtype.max else int64
    lanes = min(b.lanes_for(kind), power_below(count))

    def row(index: list[Lanes]) -> None:
        start = b.place(b.subarray(array, 0, index))

        def vector(first: Lanes, carried: list[Lanes]) -> list[Lanes]:
            first = limited(b, first, count, lanes)
            value = b.cast(b.load_at(b.address(start, dtype, index=first, stride=stride), dtype, lanes, stride), kind)
            # Without a sign, what lies below `low` is more than any distance from it.
            distance = b.sub(value, b.const(low, kind)) if low else value
            return [b.intrinsic("umax", carried[0], distance)]

        (most,) = b.loop(count, vector, [b.const(0, kind, lanes)], step=lanes)
        outside = b.emit(bool_, lanes, f"icmp ugt {most}, {b.const(high - 1 - low, kind, lanes).ref}")
        b.fail_if(_any(b, outside))

    b.loops(array.shape[:-1], row)


def _any(b: KernelBuilder, x: Lanes) -> Lanes:
    if x.lanes == 1:
        return x
    function = f"@llvm.vector.reduce.or.v{x.lanes}i1"
    b.declarations.add(f"declare i1 {function}({x.type})")
    return b.emit(bool_, 1, f"call i1 {function}({x})")


def emit_gather(b: KernelBuilder, out: Array, params: Array, indices: Array, axis: int) -> None:
    """Set the slices of `out` to those of `params` at `indices` along `axis`; nothing is written where one is outside."""
    emit_check(b, indices, 0, params.shape[axis])
    out, indices = _joined(out, indices, axis)

    def before(outer: list[Lanes]) -> None:
        target, source = (b.subarray(array, 0, outer) for array in (out, params))

        def each(position: list[Lanes]) -> None:
            index = b.cast(b.load(indices, position), int64)
            b.copy(b.subarray(target, 0, position), b.subarray(source, 0, [index]))

        b.loops(indices.shape, each)

    b.loops(params.shape[:axis], before)


def emit_scatter_add(b: KernelBuilder, out: Array, updates: Array, indices: Array, axis: int) -> None:
    """Set `out` to 0, then add each slice of `updates`, in order, at its index along `axis`; not where one is outside."""
    emit_check(b, indices, 0, out.shape[axis])
    b.fill(out, 0)
    updates, indices = _joined(updates, indices, axis)

    def before(outer: list[Lanes]) -> None:
        target, source = (b.subarray(array, 0, outer) for array in (out, updates))

        def each(position: list[Lanes]) -> None:
            index = b.cast(b.load(indices, position), int64)
            b.accumulate(b.subarray(target, 0, [index]), b.subarray(source, 0, position))

        b.loops(indices.shape, each)

    b.loops(out.shape[:axis], before)


def _joined(array: Array, indices: Array, axis: int) -> tuple[Array, Array]:
    """Both with as few axes as possible where `array` has those of `indices`, from `axis` on."""
    end = axis + len(indices.shape)
    shape, (along, own) = collapse(indices.shape, [array.strides[axis:end], indices.strides])
    sizes, strides = array.shape[:axis] + shape + array.shape[end:], array.strides[:axis] + along + array.strides[end:]
    return replace(array, shape=sizes, strides=strides), replace(indices, shape=shape, strides=own)


# -- where the extreme lies


def emit_arg_extreme(b: KernelBuilder, out: Array, x: Array, axis: int, better: str) -> None:
    """Set `out` to where along `axis` the first NaN lies, or else the first of the elements than which none is `better`."""
    step, count = x.strides[axis], x.shape[axis]
    rest = x.strides[:axis] + x.strides[axis + 1 :]
    shape, (down, across) = collapse(out.shape, [out.strides, rest])
    if 0 in shape:
        return
    search = _Search(b, x.dtype, count, step, better)
    # The vectors lie along the axis with the nearest neighbours.
    nearest = min(range(len(shape)), key=lambda each: abs(across[each]), default=None)
    if nearest is not None and (count == 1 or abs(across[nearest]) < abs(step)):
        order = [each for each in range(len(shape)) if each != nearest] + [nearest]
        shape, down, across = (tuple(each[place] for place in order) for each in (shape, down, across))
    else:
        nearest = None
    whole, places = replace(out, shape=shape, strides=down), replace(x, shape=shape, strides=across)
    if nearest is None:
        b.loops(shape, lambda index: b.store(whole, index, search.along(b.place(b.subarray(places, 0, index)))))
        return

    def row(index: list[Lanes]) -> None:
        to, at = (b.place(b.subarray(array, 0, index)) for array in (whole, places))
        search.across(to, at, shape[-1], down[-1], across[-1])

    b.loops(shape[:-1], row)


class _Search:
    """Writes the search through `count` elements that lie `step` apart. The best so far are [values, positions]."""

    def __init__(self, b: KernelBuilder, dtype: DType, count: int, step: int, better: str):
        self.b, self.dtype, self.count, self.step, self.better = b, dtype, count, step, better
        self.kind = int32 if dtype.size == 4 and count <= int32.max else int64

    def across(self, to: str, at: str, size: int, down: int, across: int) -> None:
        """Search in `size` places side by side, which lie `across` apart, as the results lie `down`."""
        b, dtype = self.b, self.dtype
        lanes = min(b.lanes_for(dtype), power_below(size))
        times = min(_SIDE_BY_SIDE, power_below(size // lanes))

        def block(first: Lanes) -> None:
            starts = [b.address(at, dtype, number * lanes * across, first, across) for number in range(times)]

            def one(index: Lanes, best: list[Lanes]) -> list[Lanes]:
                position = b.widen(b.cast(index, self.kind), lanes)
                found: list[Lanes] = []
                for number, start in enumerate(starts):
                    value = b.load_at(b.address(start, dtype, index=index, stride=self.step), dtype, lanes, across)
                    found += self._better(best[2 * number : 2 * number + 2], value, position)
                return found

            best: list[Lanes] = []
            for start in starts:
                best += [b.load_at(start, dtype, lanes, across), b.const(0, self.kind, lanes)]
            best = b.loop(self.count, one, best)
            for number in range(times):
                place = b.address(to, int64, number * lanes * down, first, down)
                b.store_at(b.cast(best[2 * number + 1], int64), place, down)

        covering(b, size, lanes * times, block)

    def along(self, at: str) -> Lanes:
        """The position, int64, in the one place `at`."""
        b, dtype, step, count = self.b, self.dtype, self.step, self.count
        lanes = min(b.lanes_for(dtype), power_below(count))
        times = min(_SIDE_BY_SIDE, power_below(count // lanes))
        whole = count - count % (lanes * times)

        def vectors(first: Lanes, best: list[Lanes], side_by_side: int) -> list[Lanes]:
            position = b.widen(b.cast(first, self.kind), lanes)
            start = b.address(at, dtype, index=first, stride=step)
            found = list(best)
            for number in range(side_by_side):
                value = b.load_at(b.address(start, dtype, number * lanes * step), dtype, lanes, step)
                own = slice(2 * number, 2 * number + 2)
                found[own] = self._better(best[own], value, b.add(position, self._numbers(lanes, number * lanes)))
            return found

        def rest(index: Lanes, best: list[Lanes]) -> list[Lanes]:
            return vectors(limited(b, b.add(index, b.const(whole, int64)), count, lanes), best, 1)

        # The first element is where all lanes begin: what is equal to it comes later.
        best = [b.load_at(at, dtype, lanes, 0), b.const(0, self.kind, lanes)] * times
        best = b.loop(whole, lambda index, best: vectors(index, best, times), best, step=lanes * times)
        best = b.loop(count - whole, rest, best, step=lanes)
        while len(best) > 2:
            best = [
                each
                for first in range(0, len(best), 4)
                for each in self._first(best[first : first + 2], best[first + 2 : first + 4])
            ]
        while best[0].lanes > 1:
            best = self._first(*zip(*[_halves(b, each) for each in best], strict=True))
        return b.cast(best[1], int64)

    def _numbers(self, lanes: int, first: int) -> Lanes:
        scalar = SCALAR_TYPES[self.kind]
        if lanes == 1:
            return self.b.const(first, self.kind)
        return Lanes("<" + ", ".join(f"{scalar} {first + lane}" for lane in range(lanes)) + ">", self.kind, lanes)

    def _better(self, best: list[Lanes], value: Lanes, position: Lanes) -> list[Lanes]:
        wins = self._wins(value, best[0])
        return [self.b.select(wins, value, best[0]), self.b.select(wins, position, best[1])]

    def _wins(self, value: Lanes, best: Lanes) -> Lanes:
        """Whether a later value takes the place of the best: a NaN of every number's, nothing of a NaN's."""
        b = self.b
        if not self.dtype.is_floating:
            return b.compare(self.better, value, best)
        above = b.emit(bool_, value.lanes, f"fcmp u{self.better} {value}, {best.ref}")
        return b.and_(above, b.emit(bool_, value.lanes, f"fcmp ord {best}, {best.ref}"))

    def _first(self, x: Sequence[Lanes], y: Sequence[Lanes]) -> list[Lanes]:
        """The better of two, the one with the lower position where they are equal."""
        b = self.b
        equal = b.not_(self._wins(x[0], y[0]))
        wins = b.or_(self._wins(y[0], x[0]), b.and_(equal, b.compare("lt", y[1], x[1])))
        return [b.select(wins, y[0], x[0]), b.select(wins, y[1], x[1])]


def _halves(b: KernelBuilder, x: Lanes) -> tuple[Lanes, Lanes]:
    half = x.lanes // 2
    if half == 1:
        low, high = (b.emit(x.dtype, 1, f"extractelement {x}, i64 {lane}") for lane in (0, 1))
    else:
        low, high = (
            Lanes(b.shuffle(x.dtype, x.ref, "poison", range(first, first + half), x.lanes), x.dtype, half)
            for first in (0, half)
        )
    return low, high
