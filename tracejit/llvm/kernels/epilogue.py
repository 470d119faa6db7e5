"""A fusion that begins with a product: its other ops work on each tile while it is in registers (the pass `epilogue`)."""

from __future__ import annotations

from collections.abc import Sequence

from tracejit import ops
from tracejit.ir import Graph, Node
from tracejit.ir.types import int64
from tracejit.llvm.kernels.body import emit_nodes
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.matmul import TileCoordinate, write_matmul
from tracejit.llvm.kernels.tile import Sums, Vectors, each_row
from tracejit.llvm.plan.blocking import Blocking
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.types import Lanes

# So few ops are written out for each row of a tile: a loop takes up to 6 % longer where the sums are short, and saves little.
_FEW_OPS = 2


def emit_product_fusion(
    b: KernelBuilder,
    body: Graph,
    product: Node,
    blocking: Blocking,
    outputs: Sequence[Array],
    operands: Sequence[Array],
    scratch: Sequence[Array],
) -> None:
    """Write the loops of a product, of which the first two of `operands` are the factors, and in them what the body computes
    from it and from the others."""
    x, y, *operands = operands
    arrays = dict(zip(body.parameters, operands, strict=True))
    tiles: dict[Node, Array] = {}  # what is read a tile at a time, as it lies over the product
    for node in body.nodes:
        if node.op is ops.broadcast and node.operands[0] in arrays:
            tiles[node] = arrays[node.operands[0]].broadcast(**node.attrs)
        elif node is not product:
            tiles |= {operand: arrays[operand] for operand in node.operands if operand in arrays}
    computed = [node for node in body.nodes if node is not product and node not in tiles]
    few = sum(node.op not in (ops.broadcast, ops.constant_op) for node in computed) <= _FEW_OPS

    def row_start(tile: TileCoordinate, array: Array, start: str, row: Lanes) -> str:
        at = b.address(start, array.dtype, index=row, stride=tile.strides(array)[0])
        return b.freeze(at) if row.ref.startswith("%") else at

    def finish(tile: TileCoordinate, sums: Sums, vectors: Vectors) -> None:
        starts = {node: b.freeze(tile.start(array)) for node, array in tiles.items()}
        targets = [(array, b.freeze(tile.start(array))) for array in outputs]
        columns = list(vectors.columns())

        def load(node: Node, row: Lanes) -> list[Lanes]:
            """The tile's vectors in a row; all are the same one where they have the same numbers."""
            array = tiles[node]
            start, along = row_start(tile, array, starts[node], row), tile.strides(array)[1]
            loaded = [
                b.load_at(b.address(start, array.dtype, column * along), array.dtype, vectors.lanes, along, active)
                for column, active in (columns if along else columns[:1])
            ]
            return loaded if along else loaded * len(columns)

        by_all = {node: load(node, b.const(0, int64)) for node, array in tiles.items() if not tile.strides(array)[0]}

        def compute(row: Lanes, values: list[Lanes]) -> None:
            read = by_all | {node: load(node, row) for node in tiles if node not in by_all}
            ends = [row_start(tile, array, start, row) for array, start in targets]
            for number, (column, active) in enumerate(columns):
                known = {node: loaded[number] for node, loaded in read.items()}
                known = emit_nodes(b, computed, {product: b.cast(values[number], product.dtype), **known})
                for result, array, end in zip(body.results, outputs, ends, strict=True):
                    along = tile.strides(array)[1]
                    value = b.widen(known[result], vectors.lanes)
                    b.store_at(value, b.address(end, array.dtype, column * along), along, active)

        each_row(b, sums, compute, unrolled=few)

    def prepare(tile: TileCoordinate, rows: int, vectors: Vectors) -> None:
        """Ask memory for what the tile reads, which then comes while it is summed."""
        strides = {node: tile.strides(array) for node, array in tiles.items()}
        asked = [tiles[node] for node, (down, along) in strides.items() if down and along == 1]
        starts = [tile.start(array) for array in asked]

        def row(number: Lanes, none: list[Lanes]) -> list[Lanes]:
            for array, start in zip(asked, starts, strict=True):
                at = row_start(tile, array, start, number)
                for column in range(0, vectors.number * vectors.lanes, b.machine.line // array.dtype.size):
                    b.prefetch(b.address(at, array.dtype, column))
            return none

        if asked:
            b.loop(rows, row)

    # A step along the depth takes as long as a sum waits for the one before.
    deep = blocking.depth * b.machine.latency >= b.machine.memory_latency
    write_matmul(b, product, blocking, x, y, scratch, finish, prepare=prepare if deep else None)
