"""The machine that code is planned and written for: every number that another processor might have another of.

A plan and its text depend on a `Target` and on nothing else of the processor, so that both can be made for any machine on any
other. Each field names the benchmark of this repository in which it shows, or says that none measures it.

Not here, since they are no machine's: limits of the graph (`LIMIT` in the passes, whose results are the same for every
machine); what decides in which order numbers are added (`plan/schedule.py`, `plan/summation.py`: by shapes alone); how a
loop is written (unrolling, picking lanes); where arrays begin (`memory.ALIGNMENT`, a promise to the code of every machine);
and what the pool's threads do while they wait (`machine/pool.py`), which no plan depends on.
"""

from __future__ import annotations

from typing import NamedTuple

_KIB, _MIB = 1 << 10, 1 << 20


class Machine(NamedTuple):
    """What a plan and its text depend on of a processor, without its operating system."""

    name: str

    # -- registers and arithmetic

    # Bytes of a vector register. From the processor's manual.
    width: int
    # Vector registers that a tile may use. From the manual; of NEON's 32 those without what the code generator takes
    # (tests/test_matmul.py looks for spills).
    registers: int
    # Whether it has fused multiply-add. From the manual.
    fma: bool
    # Whether it converts float16. From the manual.
    float16: bool
    # Fused multiply-adds, and loads, that start in a cycle. benchmarks.limits, in_flight, measures its product with `latency`:
    # 8; Zen 4, whose registers of 64 bytes are two of 32, has 4 of those.
    issued: int = 2
    # Cycles that a sum waits for the one before. benchmarks.limits, in_flight, measures its product with `issued`.
    latency: int = 4
    # Cycles in which a tile of a product is begun. benchmarks.kernels, the products of 16 and 64.
    tile_begin: int = 20
    # A product of at most this depth has tiles of few sums. benchmarks.kernels, the products of a depth of 32 and of 64.
    short_depth: int = 128
    # Cycles in which a vector of a tile is written. benchmarks.kernels, the products of 16 and 64.
    tile_write: int = 1
    # What a lane costs that is put together from single numbers or taken apart, in loads. benchmarks.kernels, the
    # convolutional step.
    gathered_lane: int = 2
    # Vectors of a block that is transposed in registers, at the most. benchmarks.movement, the transpositions.
    transposed_vectors: int = 16

    # -- memory

    # Bytes that memory gives at one time. From the manual.
    line: int = 64
    # Sets of the first-level cache. From the manuals of Zen 2 to 5.
    l1_sets: int = 64
    # Lines that each of them holds. From the manuals: Zen 5 has 12. benchmarks.kernels, the products of 2048 and, in float64,
    # of 512: the rows of their left operands begin in one set.
    l1_ways: int = 8
    # Bytes of the second-level cache, which a core has for itself. From the manuals of Zen 4 and 5.
    l2: int = _MIB
    # Bytes of the last-level cache, of many processors at the least. benchmarks.limits, bandwidth: it falls behind them.
    l3: int = 32 * _MIB
    # Cycles until memory has given what no cache holds. Not measured: a depth of 64 steps, from which on to prefetch
    # what a product's epilogue reads pays (benchmarks.kernels, the MLP's step).
    memory_latency: int = 256
    # What lies further apart, in bytes, is in a page of its own or falls into a few sets of a cache, so that rows are copied
    # into panels. benchmarks.kernels, the product of 1024 (190 to 222 GFLOP/s).
    far: int = 2 * _KIB
    # And the left operand's rows, a chunk at a time. benchmarks.kernels, the transposed product (86 to 215 GFLOP/s).
    near: int = 256
    # How often an element of a product's operand has to be read for a copy, or a conversion, to pay.
    # benchmarks.kernels, the products of 32 to 64 rows.
    often: int = 48
    # Rows of the left operand that are put together at once. benchmarks.kernels, the transposed product.
    packed_rows: int = 48
    # Bytes along either side of a tile of a matrix that is transposed. benchmarks.movement, the transposition of 4096.
    transposed_tile: int = _KIB
    # Bytes of a tile of what lies across a fusion's rows, along itself. benchmarks.kernels, the transposition of 3000 and 1.
    across_rows: int = _KIB
    # And along the rows. benchmarks.kernels, the transposition of 3000 and 1.
    across_lanes: int = 512
    # Bytes of a row from which on the next one is prefetched. benchmarks.kernels, layer norm with gelu.
    prefetched_row: int = _KIB

    # -- how long things take, roughly: what is divided among threads, and the estimate of a plan

    # Bytes that one core moves in a second. benchmarks.limits, bandwidth: less than is reached within the caches.
    bytes_per_second: float = 10e9
    # Operations of one core in a second, in loops. benchmarks.kernels, the elementwise functions.
    flops_per_second: float = 20e9
    # How much faster a product's are. benchmarks.kernels, the products.
    product_speedup: int = 3
    # The operations of a costly function, such as exp. benchmarks.kernels counts as many.
    costly_flops: int = 10
    # What is estimated to take longer on one core is divided among the threads. benchmarks.threads: to wake one takes 3 to
    # 8 µs; those that are awake pay from 1 µs on, those that sleep come too late for anything shorter than 20 µs.
    parallel_seconds: float = 100e-6
    # Into how many chunks, where there are rows for it, work is divided so that no thread is much longer at it than another.
    # benchmarks.threads.
    chunks: int = 16
    # Steps along the depth from which on a part of a convolution's sum may have a result of its own, which is written and read
    # once more. benchmarks.kernels, the convolutional step.
    part_steps: int = 256
    # Multiplications from which on a call of the BLAS costs less than loops do. benchmarks.kernels with TRACEJIT_MATMUL=blas.
    blas_product: int = 4096

    @property
    def usable_registers(self) -> int:
        """The registers that a tile may count on: without fused multiply-add some hold products."""
        return self.registers if self.fma else self.registers - 4

    @property
    def in_flight(self) -> int:
        """How many sums have to be worked at in turns, so that none waits for itself."""
        return self.issued * self.latency

    @property
    def product_panel(self) -> int:
        """Bytes of a panel of a product's right operand at the most: half of what a core has for itself."""
        return self.l2 // 2

    @property
    def filter_panel(self) -> int:
        """Bytes of the filters' vectors for which a tile of a convolution sums at once: what is read of x has to stay beside
        them, and is several times as much."""
        return self.l2 // 8

    @property
    def nontemporal_result(self) -> int:
        """A result of more bytes is written by nontemporal stores: nothing of it is left there when it is read next."""
        return self.l3

    @property
    def nontemporal_transpose(self) -> int:
        """A matrix of so many bytes, which with the one that it is read from fills the cache, is written so."""
        return self.l3 // 2


# Fields that are given are facts of the instruction set; the others have been measured on Zen 4 and 5 alone.
AVX512 = Machine("avx512", width=64, registers=32, fma=True, float16=True)
AVX2 = Machine("avx2", width=32, registers=16, fma=True, float16=True)
SSE = Machine("sse", width=16, registers=16, fma=False, float16=False)
NEON = Machine("neon", width=16, registers=28, fma=True, float16=True)


class Target(NamedTuple):
    """What a plan and its text are made for: the machine, and whether large products are the business of the BLAS."""

    machine: Machine
    blas: bool = False
