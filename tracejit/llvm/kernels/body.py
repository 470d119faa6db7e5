"""The nodes of a body as instructions.

It is the one way by which a fusion's values, those that a row shares, and what works on the tiles of a product are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from tracejit import ops
from tracejit.ir import Node
from tracejit.ir.op import Reduction
from tracejit.llvm.kernels.kernel import KernelBuilder
from tracejit.llvm.text.builder import shuffled
from tracejit.llvm.text.types import Lanes

Values = dict[Node, Lanes]


def emit_nodes(
    b: KernelBuilder,
    nodes: Iterable[Node],
    known: Mapping[Node, Lanes],
    read: Callable[[Node], Lanes | None] | None = None,
    lanes: int | None = None,
) -> Values:
    """The `known` values, and those of `nodes`, which come behind their operands, but for constants, which need not be among
    them. What `read` gives is not computed; what is computed has so many `lanes`, or as many as its operands."""
    values = dict(known)
    for node in nodes:
        if node not in values:
            value = read(node) if read is not None else None
            if value is None:
                value = _computed(b, node, values)
                value = value if lanes is None else b.widen(value, lanes)
            values[node] = value
    return values


def _computed(b: KernelBuilder, node: Node, values: Values) -> Lanes:
    if node.op is ops.constant_op:
        return b.const(node.attrs["value"].item(), node.dtype)
    operands = [_computed(b, operand, {}) if operand.op is ops.constant_op else values[operand] for operand in node.operands]
    if node.op is ops.broadcast:
        return operands[0]
    return node.op.lower.emit(b, *operands, **node.attrs)  # type: ignore[union-attr]


def operands_first(roots: Iterable[Node], operands: Callable[[Node], Sequence[Node]]) -> list[Node]:
    """The `roots` and what they are computed from: each behind its `operands`, of which the last comes first."""
    ordered: dict[Node, None] = {}
    for root in roots:
        stack = [(root, False)]
        while stack:
            node, is_ready = stack.pop()
            if node in ordered:
                continue
            needed = () if is_ready else operands(node)
            if needed:
                stack.append((node, True))
                stack.extend((operand, False) for operand in needed)
            else:
                ordered[node] = None
    return list(ordered)


# -- reductions


def identity(node: Node) -> object:
    lower = node.op.lower
    assert isinstance(lower, Reduction)
    return lower.identity(node.dtype)


def combine(b: KernelBuilder, node: Node, x: Lanes, y: Lanes) -> Lanes:
    lower = node.op.lower
    assert isinstance(lower, Reduction)
    return lower.combine(b, x, y)


def horizontal_reduce(b: KernelBuilder, node: Node, value: Lanes, rows: int, width: int) -> Lanes:
    """`value`, which is `rows` parts of lanes, with those of each part combined by halves until `width` are left."""
    while value.lanes > rows * width:
        part, half = value.lanes // rows, value.lanes // 2
        first, second = shuffled(b, value, range(half)), shuffled(b, value, range(half, 2 * half))
        if rows > 1:
            # As shuffles of two operands that have as many lanes as the result, which LLVM understands at once.
            low = [row * part + lane for row in range(rows) for lane in range(part // 2)]
            high = [lane + part // 2 for lane in low]
            first, second = shuffled(b, first, low, second), shuffled(b, first, high, second)
        value = combine(b, node, first, second)
    return value
