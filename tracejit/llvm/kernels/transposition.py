"""A block of vectors that is transposed in registers."""

from __future__ import annotations

from collections.abc import Sequence

from tracejit.ir.types import DType, float16, float32, float64
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.text.types import MEMORY_TYPES, Lanes, vector_type

# What processors move lanes within, and between which they move whole pieces.
PIECE_BYTES = 16
# By their size, the elements as which lanes are moved together: the wider, the sooner LLVM knows how.
_BY_SIZE = {2: float16, 4: float32, 8: float64}


def transposed(b: KernelBuilder, dtype: DType, rows: Sequence[str], lanes: int) -> list[str]:
    """A vector as long as there are `rows`, vectors of elements as they lie in memory, for each of their `lanes`. There are as
    many rows as lanes, or fewer that are together at most a piece long; both are powers of two.

    First within pieces, by interleaving. Then, in a square, the pieces as a whole, by sorting even from odd ones; in an oblong,
    whose rows together are one piece, they only come apart.
    """
    piece = min(PIECE_BYTES // dtype.size, len(rows))
    groups = [_within_pieces(b, dtype, rows[first : first + piece], lanes) for first in range(0, len(rows), piece)]
    starts = range(0, lanes, piece)
    if len(groups) == 1:
        narrow = [_as(b, row, dtype) for row in groups[0]]
        if len(starts) == 1:
            return [row.ref for row in narrow]
        return [b.shuffle(dtype, row.ref, "poison", range(start, start + piece), lanes) for start in starts for row in narrow]
    columns = [list(column) for column in zip(*groups, strict=True)]
    units = columns[0][0].lanes
    half = units // len(starts)
    even = [2 * start + lane for start in range(0, units, half) for lane in range(half)]
    odd = [lane + half for lane in even]
    for _ in range(len(starts).bit_length() - 1):
        columns = [
            [_shuffled(b, column[i], column[i + 1], mask) for mask in (even, odd) for i in range(0, len(starts), 2)]
            for column in columns
        ]
    return [_as(b, columns[lane][number], dtype).ref for number in range(len(starts)) for lane in range(piece)]


def _within_pieces(b: KernelBuilder, dtype: DType, rows: Sequence[str], lanes: int) -> list[Lanes]:
    """For each lane of a piece, which has as many as there are rows, a vector of that lane of all rows in every piece. Pairs of
    rows are interleaved, then pairs of these, two lanes as one, and so on."""
    parts = [[Lanes(row, dtype, lanes)] for row in rows]
    while len(parts) > 1:
        count, half = parts[0][0].lanes, len(parts) // 2
        starts = range(0, count, 2 * half)
        low = [start + lane // 2 + lane % 2 * count for start in starts for lane in range(2 * half)]
        high = [lane + half for lane in low]
        pairs = [zip(first, second, strict=True) for first, second in zip(parts[::2], parts[1::2], strict=True)]
        parts = [[_shuffled(b, *pair, mask) for pair in each for mask in (low, high)] for each in pairs]
        if len(parts) > 1:
            wider = _BY_SIZE[2 * parts[0][0].dtype.size]
            parts = [[_as(b, row, wider) for row in each] for each in parts]
    return parts[0]


def _shuffled(b: KernelBuilder, x: Lanes, y: Lanes, mask: Sequence[int]) -> Lanes:
    return Lanes(b.shuffle(x.dtype, x.ref, y.ref, mask), x.dtype, x.lanes)


def _as(b: KernelBuilder, x: Lanes, dtype: DType) -> Lanes:
    """The bytes of a vector as elements of another size."""
    if x.dtype is dtype:
        return x
    lanes = x.lanes * x.dtype.size // dtype.size
    source, target = vector_type(MEMORY_TYPES[x.dtype], x.lanes), vector_type(MEMORY_TYPES[dtype], lanes)
    return Lanes(b.named(f"bitcast {source} {x.ref} to {target}"), dtype, lanes)
