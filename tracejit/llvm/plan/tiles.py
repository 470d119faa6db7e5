"""Which tile a product is cut into: the one by which all of it takes the fewest cycles."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator

from tracejit.llvm.target import Machine


def cycles(rows: int, vectors: int, loads: int, depth: int, machine: Machine) -> float:
    """What a tile takes whose steps along the depth load so many vectors or numbers.

    A step takes as long as its multiply-adds or its loads, or, where it has too few sums to hide it, as a sum waits for itself.
    """
    step = max(rows * vectors, loads, machine.in_flight) / machine.issued
    return step * depth + machine.tile_begin + machine.tile_write * rows * vectors


def parts(size: int, part: int) -> Iterator[tuple[int, int]]:
    """(size, number) of the parts into which `size` is cut."""
    if size >= part:
        yield part, size // part
    if size % part:
        yield size % part, 1


def rows_in_cache(stride: int, machine: Machine) -> int:
    """Of how many rows, `stride` bytes apart, the first-level cache holds a line at one time; no more are asked for than a
    tile may have."""
    lines = [row * stride // machine.line for row in range(machine.registers)]
    held: Counter[int] = Counter()
    for row, line in enumerate(lines):
        held[line % machine.l1_sets] += line not in lines[:row]
        if held[line % machine.l1_sets] > machine.l1_ways:
            return row
    return machine.registers


@functools.lru_cache(maxsize=1024)  # layers of a network have products of equal sizes
def choose_tile(rows: int, vectors: int, depth: int, machine: Machine, most: int | None = None) -> tuple[int, int]:
    """(rows, vectors) of the tile by which `rows` by `vectors` take the fewest cycles, of at most `most` rows. All sums, a
    step's vectors and a factor have to fit into the registers, with one to spare."""

    def total(tile: tuple[int, int]) -> float:
        return sum(
            above * beside * cycles(high, wide, high + wide, depth, machine)
            for high, above in parts(rows, tile[0])
            for wide, beside in parts(vectors, tile[1])
        )

    registers = machine.usable_registers
    # The sums of a short tile are stored while those of the next one begin, if both fit into what the processor looks ahead.
    sums = 2 * machine.in_flight if depth <= machine.short_depth else registers
    fitting = [
        (high, wide)
        for wide in range(1, min(vectors, registers) + 1)
        for high in range(1, min(rows, registers if most is None else most) + 1)
        if high * wide <= sums and high * wide + wide + 1 < registers
    ]
    # Of equals, the one that is nearest to a square of memory: it loads the least.
    return min(fitting, key=lambda tile: (total(tile), tile[0] + tile[1] * machine.issued))
