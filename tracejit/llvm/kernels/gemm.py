"""Products by the BLAS that NumPy brought, for who asks for them (TRACEJIT_MATMUL=blas); the judge of the generated ones."""

from __future__ import annotations

from tracejit.ir.types import float32, float64
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.machine.blas import GEMM, find_blas
from tracejit.llvm.plan.blas import leading
from tracejit.llvm.text.arrays import Array

_ROW_MAJOR = 101


def call_blas(b: KernelBuilder, out: Array, x: Array, y: Array) -> None:
    """Set `out` to x @ y, a call for each matrix."""
    b.loops(out.shape[:-2], lambda index: _call(b, *(b.subarray(array, 0, index) for array in (out, x, y))))


def _call(b: KernelBuilder, out: Array, x: Array, y: Array) -> None:
    library = find_blas()
    assert library is not None
    layouts = [leading(matrix) for matrix in (out, x, y)]
    (_, ldc), (trans_x, lda), (trans_y, ldb) = [layout for layout in layouts if layout is not None]
    kind = {float32: "float", float64: "double"}[out.dtype]
    one, zero = b.const(1, out.dtype).ref, b.const(0, out.dtype).ref
    integer = f"i{library.integer_bits}"
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
