"""A fusion that begins with a product: its other ops work on each tile while it is in registers (the pass `epilogue`)."""

from __future__ import annotations

from collections.abc import Sequence

from tracejit.ir import Graph, Node
from tracejit.llvm.kernels.body import emit_nodes
from tracejit.llvm.kernels.convolution import TilePlace, write_convolution
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.matmul import TileCoordinate, write_matmul
from tracejit.llvm.kernels.tile import Sums, Vectors
from tracejit.llvm.plan.blocking import Blocking
from tracejit.llvm.plan.contraction import Contraction
from tracejit.llvm.plan.epilogue import on_tile, over_product, read_by_tiles
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.types import Lanes


def emit_product_fusion(
    b: KernelBuilder,
    body: Graph,
    product: Node,
    blocking: Blocking | Contraction,
    outputs: Sequence[Array],
    operands: Sequence[Array],
    scratch: Sequence[Array],
) -> None:
    """Write the loops of a product, of which the first two of `operands` are the factors, and in them what the body computes
    from it and from the others."""
    x, y, *operands = operands
    work = on_tile(body, product)
    tiles = read_by_tiles(work, product, dict(zip(body.parameters, operands, strict=True)))
    outputs = [over_product(output, product) for output in outputs]

    def finish(tile: TileCoordinate | TilePlace, sums: Sums, vectors: Vectors) -> None:
        starts = {node: tile.start(array) for node, array in tiles.items()}
        targets = [(array, tile.start(array)) for array in outputs]
        for number, (column, active) in enumerate(vectors.columns()):
            shared: dict[Node, Lanes] = {}  # by all rows
            for row, values in enumerate(sums):
                known = {work.value: b.cast(values[number], product.dtype), **shared}
                for node, array in tiles.items():
                    if node not in known:
                        at = tile.element(array, starts[node], row, column)
                        known[node] = b.load_at(at, array.dtype, vectors.lanes, tile.along(array), active)
                        if tile.is_same_in_rows(array):
                            shared[node] = known[node]
                known = emit_nodes(b, work.computed, known)
                for result, (array, start) in zip(body.results, targets, strict=True):
                    at = tile.element(array, start, row, column)
                    b.store_at(b.widen(known[result], vectors.lanes), at, tile.along(array), active)

    def prepare(tile: TileCoordinate, rows: int, vectors: Vectors) -> None:
        """Ask memory for what the tile reads, which then comes while it is summed."""
        for array in tiles.values():
            if tile.is_same_in_rows(array) or tile.along(array) != 1:
                continue
            start, line = tile.start(array), b.machine.line // array.dtype.size
            for row in range(rows):
                for column in range(0, vectors.number * vectors.lanes, line):
                    b.prefetch(tile.element(array, start, row, column))

    if isinstance(blocking, Contraction):
        sums = scratch[0] if scratch else None
        write_convolution(b, blocking, x, y, [*outputs, *tiles.values()], sums, finish)
        return
    # A step along the depth takes as long as a sum waits for the one before.
    deep = blocking.depth * b.machine.latency >= b.machine.memory_latency
    write_matmul(b, product, blocking, x, y, scratch, finish, prepare=prepare if deep else None)
