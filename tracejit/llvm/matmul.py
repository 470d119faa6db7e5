"""Matrix multiplication: by the BLAS that NumPy brought, else, and for small ones, by a generated loop."""

from __future__ import annotations

from collections.abc import Sequence

from tracejit.ir.types import float32, float64, int64
from tracejit.llvm.blas import GEMM, find_blas
from tracejit.llvm.builder import Lanes
from tracejit.llvm.kernel import Array, KernelBuilder, power_above

# Below this many multiplications a call of the BLAS costs more than the loop.
BLAS_FROM = 4096
# Rows of the result that the loop keeps in registers at once.
_ROWS = 4
_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112


def emit_matmul(b: KernelBuilder, out: Array, x: Array, y: Array, transpose_a: bool, transpose_b: bool) -> None:
    """out = x @ y for arrays of matrices with the same batch axes; out's rows are contiguous."""
    x, y = _oriented(x, transpose_a), _oriented(y, transpose_b)
    rows, depth, columns = x.shape[-2], x.shape[-1], y.shape[-1]
    if 0 in out.shape:
        return
    if depth == 0:
        b.fill(out, 0)
        return
    library = find_blas() if rows * depth * columns >= BLAS_FROM and out.dtype in GEMM else None
    leading = [_leading(matrix) for matrix in (out, x, y)]

    def each(index: list[Lanes]) -> None:
        matrices = [b.subarray(array, 0, index) for array in (out, x, y)]
        if library is not None and None not in leading:
            _call_blas(b, *matrices, bits=library.integer_bits)
        else:
            _write_loop(b, *matrices)

    b.loops(out.shape[:-2], each)


def _oriented(array: Array, transposed: bool) -> Array:
    if not transposed:
        return array
    shape, strides = list(array.shape), list(array.strides)
    shape[-2:], strides[-2:] = shape[:-3:-1], strides[:-3:-1]
    return Array(array.pointer, tuple(shape), tuple(strides), array.dtype, array.offset)


def _leading(matrix: Array) -> tuple[int, int] | None:
    """(transposition, leading dimension) as the BLAS takes it; None where neither axis is contiguous."""
    (rows, columns), (down, along) = matrix.shape[-2:], matrix.strides[-2:]
    if (along == 1 or columns == 1) and (down >= columns or rows == 1):
        return _PLAIN, max(down, columns, 1)
    if (down == 1 or rows == 1) and (along >= rows or columns == 1):
        return _TRANSPOSED, max(along, rows, 1)
    return None


def _call_blas(b: KernelBuilder, out: Array, x: Array, y: Array, *, bits: int) -> None:
    layouts = [_leading(matrix) for matrix in (out, x, y)]
    (_, ldc), (trans_x, lda), (trans_y, ldb) = [layout for layout in layouts if layout is not None]
    kind = {float32: "float", float64: "double"}[out.dtype]
    one, zero = b.const(1, out.dtype).ref, b.const(0, out.dtype).ref
    integer = f"i{bits}"
    sizes = (out.shape[0], out.shape[1], x.shape[1])
    name = f"@{GEMM[out.dtype]}"
    b.declarations.add(
        f"declare void {name}(i32, i32, i32, {integer}, {integer}, {integer}, {kind}, ptr, {integer}, ptr, {integer}, "
        f"{kind}, ptr, {integer})"
    )
    pointers = [b.address(array.pointer, array.dtype, array.offset) for array in (x, y, out)]
    arguments = ", ".join([
        f"i32 {_ROW_MAJOR}, i32 {trans_x}, i32 {trans_y}",
        *(f"{integer} {size}" for size in sizes),
        f"{kind} {one}, ptr {pointers[0]}, {integer} {lda}, ptr {pointers[1]}, {integer} {ldb}",
        f"{kind} {zero}, ptr {pointers[2]}, {integer} {ldc}",
    ])  # fmt: skip
    b.line(f"call void {name}({arguments})")


def _write_loop(b: KernelBuilder, out: Array, x: Array, y: Array) -> None:
    """Blocks of rows by a vector of columns, summed along the depth in registers."""
    rows, columns = out.shape
    lanes = min(b.lanes_for(out.dtype), power_above(columns))

    def column_block(first: Lanes, offset: int, active: int | None) -> None:
        def row_block(row: Lanes, height: int, skipped: int) -> None:
            _write_tile(b, out, x, y, row, skipped, height, first, offset, lanes, active)

        whole = rows - rows % _ROWS

        def step(row: Lanes, carried: list[Lanes]) -> list[Lanes]:
            row_block(row, _ROWS, 0)
            return []

        b.loop(whole, step, step=_ROWS)
        if rows > whole:
            row_block(b.const(0, int64), rows - whole, whole)

    full = columns - columns % lanes

    def step(first: Lanes, carried: list[Lanes]) -> list[Lanes]:
        column_block(first, 0, None)
        return []

    b.loop(full, step, step=lanes)
    if columns > full:
        column_block(b.const(0, int64), full, columns - full)


def _write_tile(
    b: KernelBuilder, out: Array, x: Array, y: Array, row: Lanes, skipped: int, height: int, first: Lanes, offset: int,
    lanes: int, active: int | None,
) -> None:  # fmt: skip
    """`height` rows from `row + skipped` on, `lanes` columns from `first + offset` on."""

    def start(array: Array, axes: Sequence[tuple[int, Lanes, int]]) -> str:
        fixed = array.offset + sum(array.strides[axis] * more for axis, _, more in axes)
        pointer = b.address(array.pointer, array.dtype, fixed)
        for axis, index, _ in axes:
            pointer = b.address(pointer, array.dtype, index=index, stride=array.strides[axis])
        return pointer

    x_start = start(x, [(0, row, skipped)])
    y_start = start(y, [(1, first, offset)])
    out_start = start(out, [(0, row, skipped), (1, first, offset)])

    def step(depth: Lanes, sums: list[Lanes]) -> list[Lanes]:
        vector_place = b.address(y_start, y.dtype, index=depth, stride=y.strides[0])
        vector = b.load_at(vector_place, y.dtype, lanes, y.strides[1], active)
        place = b.address(x_start, x.dtype, index=depth, stride=x.strides[1])
        after = []
        for number, total in enumerate(sums):
            factor = b.load_at(b.address(place, x.dtype, number * x.strides[0]), x.dtype)
            wide = b.widen(factor, lanes)
            product = b.fma(wide, vector, total) if out.dtype.is_floating else b.add(b.mul(wide, vector), total)
            after.append(product)
        return after

    zeros = [b.const(0, out.dtype, lanes)] * height
    sums = b.loop(x.shape[1], step, zeros)
    for number, total in enumerate(sums):
        b.store_at(total, b.address(out_start, out.dtype, number * out.strides[0]), out.strides[1], active)
