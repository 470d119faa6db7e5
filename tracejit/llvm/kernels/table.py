"""What writes the kernel of an op: one writer for each op whose lowering is a `Kernel`.

Products, convolutions and fusions are written by what was planned for them (tracejit.llvm.emit).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tracejit import ops
from tracejit.ir.op import Op
from tracejit.llvm.kernels.assembly import emit_concat, emit_pad
from tracejit.llvm.kernels.indexed import emit_arg_extreme, emit_check_nonzero, emit_check_range, emit_gather, emit_scatter_add
from tracejit.llvm.kernels.pooling import emit_max_windows

# `write(b, node, out, *operands)` writes what sets the array `out` to the node's result, of arrays that are its operands.
Writer = Callable[..., None]

KERNELS: dict[Op, Writer] = {
    ops.argmax: partial(emit_arg_extreme, better="gt"),
    ops.argmin: partial(emit_arg_extreme, better="lt"),
    ops.check_nonzero: emit_check_nonzero,
    ops.check_range: emit_check_range,
    ops.concat: emit_concat,
    ops.gather: emit_gather,
    ops.max_windows: emit_max_windows,
    ops.pad: emit_pad,
    ops.scatter_add: emit_scatter_add,
}
