"""A fusion that begins with a product: its other ops work on each tile while it is in registers (the pass `epilogue`)."""

from __future__ import annotations

from collections.abc import Sequence

from tracejit import ops
from tracejit.ir import Graph, Node
from tracejit.llvm.kernels.body import emit_nodes
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.kernels.matmul import TileCoordinate, write_matmul
from tracejit.llvm.kernels.tile import Sums, Vectors
from tracejit.llvm.plan.blocking import Blocking
from tracejit.llvm.text.arrays import Array
from tracejit.llvm.text.types import Lanes


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

    def finish(tile: TileCoordinate, sums: Sums, vectors: Vectors) -> None:
        def address(array: Array, start: str, row: int, column: int) -> str:
            down, along = tile.strides(array)
            return b.address(start, array.dtype, row * down + column * along)

        starts = {node: tile.start(array) for node, array in tiles.items()}
        targets = [(array, tile.start(array)) for array in outputs]
        for number, (column, active) in enumerate(vectors.columns()):
            shared: dict[Node, Lanes] = {}  # by all rows
            for row, values in enumerate(sums):
                known = {product: b.cast(values[number], product.dtype), **shared}
                for node, array in tiles.items():
                    if node not in known:
                        down, along = tile.strides(array)
                        at = address(array, starts[node], row, column)
                        known[node] = b.load_at(at, array.dtype, vectors.lanes, along, active)
                        if not down:
                            shared[node] = known[node]
                known = emit_nodes(b, computed, known)
                for result, (array, start) in zip(body.results, targets, strict=True):
                    at = address(array, start, row, column)
                    b.store_at(b.widen(known[result], vectors.lanes), at, tile.strides(array)[1], active)

    def prepare(tile: TileCoordinate, rows: int, vectors: Vectors) -> None:
        """Ask memory for what the tile reads, which then comes while it is summed."""
        for array in tiles.values():
            down, along = tile.strides(array)
            if not down or along != 1:
                continue
            start, line = tile.start(array), b.machine.line // array.dtype.size
            for row in range(rows):
                for column in range(0, vectors.number * vectors.lanes, line):
                    b.prefetch(b.address(start, array.dtype, row * down + column))

    # A step along the depth takes as long as a sum waits for the one before.
    deep = blocking.depth * b.machine.latency >= b.machine.memory_latency
    write_matmul(b, product, blocking, x, y, scratch, finish, prepare=prepare if deep else None)
