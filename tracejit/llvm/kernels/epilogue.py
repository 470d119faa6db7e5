"""A fusion that begins with a product: its other ops work on each tile while it is in registers (the pass `epilogue`)."""

from __future__ import annotations

from collections.abc import Sequence

from tracejit import ops
from tracejit.ir import Graph, Node
from tracejit.ir.types import int64
from tracejit.llvm.kernels.body import emit_nodes
from tracejit.llvm.kernels.convolution import TilePlace, write_convolution
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.matmul import TileCoordinate, write_matmul
from tracejit.llvm.kernels.tile import Sums, Vectors, each_row
from tracejit.llvm.plan.blocking import Blocking
from tracejit.llvm.plan.contraction import Contraction
from tracejit.llvm.plan.epilogue import on_tile, over_product, read_by_tiles
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.types import Lanes

# So few ops are written out for each row of a tile: a loop takes up to 6 % longer where the sums are short, and saves little.
_FEW_OPS = 2


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
    few = sum(node.op not in (ops.broadcast, ops.constant_op) for node in work.computed) <= _FEW_OPS

    def finish(tile: TileCoordinate | TilePlace, sums: Sums, vectors: Vectors) -> None:
        starts = {node: b.freeze(tile.start(array)) for node, array in tiles.items()}
        targets = [(array, b.freeze(tile.start(array))) for array in outputs]
        columns = list(vectors.columns())

        def load(node: Node, row: Lanes) -> list[Lanes]:
            """The tile's vectors in a row; all are the same one where they have the same numbers."""
            array = tiles[node]
            start, along = tile.row_start(array, starts[node], row), tile.along(array)
            loaded = [
                b.load_at(b.address(start, array.dtype, column * along), array.dtype, vectors.lanes, along, active)
                for column, active in (columns if along else columns[:1])
            ]
            return loaded if along else loaded * len(columns)

        by_all = {node: load(node, b.const(0, int64)) for node, array in tiles.items() if tile.is_same_in_rows(array)}

        def compute(row: Lanes, values: list[Lanes]) -> None:
            read = by_all | {node: load(node, row) for node in tiles if node not in by_all}
            ends = [tile.row_start(array, start, row) for array, start in targets]
            for number, (column, active) in enumerate(columns):
                known = {node: loaded[number] for node, loaded in read.items()}
                known = emit_nodes(b, work.computed, {work.value: b.cast(values[number], product.dtype), **known})
                for result, array, end in zip(body.results, outputs, ends, strict=True):
                    along = tile.along(array)
                    value = b.widen(known[result], vectors.lanes)
                    b.store_at(value, b.address(end, array.dtype, column * along), along, active)

        each_row(b, sums, compute, unrolled=few)

    def prepare(tile: TileCoordinate | TilePlace, rows: int, vectors: Vectors) -> None:
        """Ask memory for what the tile reads, which then comes while it is summed."""
        asked = [array for array in tiles.values() if not tile.is_same_in_rows(array) and tile.along(array) == 1]
        starts = [tile.start(array) for array in asked]

        def row(number: Lanes, none: list[Lanes]) -> list[Lanes]:
            for array, start in zip(asked, starts, strict=True):
                at = tile.row_start(array, start, number)
                for column in range(0, vectors.number * vectors.lanes, b.machine.line // array.dtype.size):
                    b.prefetch(b.address(at, array.dtype, column))
            return none

        if asked:
            b.loop(rows, row)

    if isinstance(blocking, Contraction):
        sums = scratch[0] if scratch else None
        write_convolution(b, blocking, x, y, [*outputs, *tiles.values()], sums, finish, prepare)
        return
    # A step along the depth takes as long as a sum waits for the one before.
    deep = blocking.depth * b.machine.latency >= b.machine.memory_latency
    write_matmul(b, product, blocking, x, y, scratch, finish, prepare=prepare if deep else None)
