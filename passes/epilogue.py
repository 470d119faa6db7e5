"""Moves a matmul or a convolution into the fusion that takes its result, which then works on each tile of the product while it
is in registers.

    %0 = matmul(%x, %w) {transpose_a=false, transpose_b=false} : f32[8,4]
    %1 = fusion(%0, %b) {body=graph body(%p0: f32[8,4], %p1: f32[4]) {
        %0 = broadcast(%p1) {shape=(8, 4,), axes=(1,)} : f32[8,4]
        %1 = add(%p0, %0) : f32[8,4]
        return %1
      }, space=(8, 4,), rows=2} : f32[8,4]
  =>
    %0 = fusion(%x, %w, %b) {body=graph body(%p0: f32[8,2], %p1: f32[2,4], %p2: f32[4]) {
        %0 = matmul(%p0, %p1) {transpose_a=false, transpose_b=false} : f32[8,4]
        %1 = broadcast(%p2) {shape=(8, 4,), axes=(1,)} : f32[8,4]
        %2 = add(%0, %1) : f32[8,4]
        return %2
      }, space=(8, 4,), rows=2} : f32[8,4]

The product must have no other user, and the fusion no functions that need many registers: a polynomial in the tile would put
its sums on the stack, where a pass over rows that are still in the cache costs less. A product of matrices whose rows were
flattened from several axes is a product for each of the outer ones: a few rows of several arrays stay in the cache. What a
convolution is reshaped to stays so in the fusion, where its groups and features are one axis.

What the fusion computes first from numbers alone, such as a rate that changes with the steps, becomes a fusion of its own, and
so do the sums that it makes of its results, such as the gradient of a bias.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tracejit import ops
from tracejit.ir import Graph, Node, make, rebuild
from tracejit.ir.location import Location
from tracejit.ir.op import Reduction, Scalar
from tracejit.ops.region import Region, elements, outline

# More ops than this for each element are no longer small beside the product.
LIMIT = 32
# Costly ops that are single instructions.
_INSTRUCTIONS = (ops.sqrt, ops.power, ops.div, ops.div_or_zero, ops.reciprocal, ops.rsqrt)


def run(graph: Graph) -> Graph:
    """`graph` with the products in the fusions that take their results."""
    return _merge(_split(graph))


def _users(graph: Graph) -> Counter[Node]:
    users = Counter(operand for node in graph.nodes for operand in dict.fromkeys(node.operands))
    users.update(graph.roots())
    return users


def _merge(graph: Graph) -> Graph:
    users = _users(graph)

    def rule(node: Node, operands: tuple[Node, ...]) -> Node:
        if node.op is ops.fusion and _takes_tiles(node):
            # The last one that was made: all else that the fusion needs is there before it.
            for number in sorted(range(len(operands)), key=lambda number: -node.operands[number].serial):
                product = _product(node, number, users)
                if product is not None:
                    new = operands[number] if operands[number].op.is_product else operands[number].operands[0]
                    return _merged(node, operands, number, new)
        return rebuild(node, operands)

    return graph.rewrite(rule)


def _takes_tiles(fusion: Node, numbers: Iterable[Node] = (), sums: Iterable[Node] = ()) -> bool:
    """Whether each element of the results depends on nothing but its own place in the operands, and on `numbers`; but for the
    `sums` of results."""
    body, space, early = fusion.attrs["body"], fusion.attrs["space"], set(numbers)
    apart = early | set(sums)
    nodes = [node for node in body.nodes if node not in apart]
    work = [node for node in nodes if node.op not in (ops.broadcast, ops.constant_op)]
    results = [result for result in body.results if result not in apart]
    if len(space) < 2 or 0 in space or len(work) > LIMIT or any(node.shape != space for node in (*work, *results)):
        return False
    return bool(results) and all(_is_free_or_cheap(node, early) for node in nodes)


def _is_free_or_cheap(node: Node, numbers: set[Node]) -> bool:
    if node.op is ops.broadcast:
        return node.operands[0].op in (ops.parameter, ops.constant_op) or node.operands[0] in numbers
    cheap = isinstance(node.op.lower, Scalar) and (not node.op.lower.costly or node.op in _INSTRUCTIONS)
    return node.op is ops.constant_op or (cheap and node.op is not ops.iota)


def _product(fusion: Node, number: int, users: Counter[Node]) -> Node | None:
    """The product behind operand `number` that can go into the fusion; None where there is none."""
    operand, space = fusion.operands[number], fusion.attrs["space"]
    parameter = fusion.attrs["body"].parameters[number]
    if parameter.shape != space or users[operand] != 1:
        return None
    if any(parameter in node.operands for node in fusion.attrs["body"].nodes if node.op is ops.broadcast):
        return None
    product = operand.operands[0] if operand.op is ops.reshape else operand
    if not product.op.is_product or any(0 in each.shape for each in product.operands):
        return None
    return product if product is operand or (users[product] == 1 and _is_reshaped(product, space)) else None


def _is_reshaped(product: Node, space: tuple[int, ...]) -> bool:
    """Whether the elements of a product that is reshaped to `space` lie over it as a tile's do."""
    if product.op is ops.convolution:
        return space[:-1] == product.shape[:3]
    return len(product.shape) == 2 and not product.attrs["transpose_a"] and product.shape[-1] == space[-1]


def _merged(fusion: Node, operands: tuple[Node, ...], number: int, product: Node) -> Node:
    body, space, rows = (fusion.attrs[name] for name in ("body", "space", "rows"))
    x, y = product.operands
    if product.shape != space and product.op is ops.matmul:
        x = make(ops.reshape, x, location=product.location, shape=(*space[:-1], x.shape[-1]))
        batch = len(space) - 2
        y = make(ops.broadcast, y, location=product.location, shape=(*space[:-2], *y.shape), axes=(batch, batch + 1))
    region = Region()
    value = region.copy(product, [region.take(x), region.take(y)])
    if value.shape != space:
        value = make(ops.reshape, value, location=product.location, shape=space)
    others = [*operands[:number], *operands[number + 1 :]]
    taken = [region.take(operand) for operand in others]
    taken.insert(number, value)
    inner = dict(zip(body.parameters, taken, strict=True))
    region.copy_all(body.nodes, inner)
    return region.fusion([inner[result] for result in body.results], space, rows, fusion.location)


# -- numbers that a fusion computes first, and sums that it makes in the end


def _split(graph: Graph) -> Graph:
    """`graph` with what fusions compute beside running over a product in fusions of their own."""
    users = _users(graph)
    parts: dict[Node, list[Node]] = {}  # by a fusion that was split, what stands for each of its results

    def rule(node: Node, operands: tuple[Node, ...]) -> Node:
        if node.op is ops.element and node.operands[0] in parts:
            return parts[node.operands[0]][node.attrs["index"]]
        numbers, sums = (_numbers(node), _sums(node)) if node.op is ops.fusion else ([], [])
        apart = (numbers or sums) and _takes_tiles(node, numbers, sums)
        if apart and any(_product(node, each, users) for each in range(len(operands))):
            parts[node] = _apart(node, operands, numbers, sums)
            return parts[node][0]
        return rebuild(node, operands)

    return graph.rewrite(rule)


def _numbers(fusion: Node) -> list[Node]:
    """What a fusion computes from numbers alone."""
    nodes = fusion.attrs["body"].nodes if fusion.attrs["rows"] == 0 else ()
    return [node for node in nodes if node.shape == () and isinstance(node.op.lower, Scalar)]


def _sums(fusion: Node) -> list[Node]:
    """The reductions of a fusion's results that nothing else in it uses."""
    body = fusion.attrs["body"]
    used = {operand for node in body.nodes for operand in node.operands}
    found = [node for node in body.nodes if isinstance(node.op.lower, Reduction)]
    return found if all(node not in used and node.operands[0] in body.results for node in found) else []


def _apart(fusion: Node, operands: tuple[Node, ...], numbers: list[Node], sums: list[Node]) -> list[Node]:
    """The results of a fusion by one of its `numbers`, one of the rest, and one of its `sums`."""
    body, space, rows = (fusion.attrs[name] for name in ("body", "space", "rows"))
    outer = dict(zip(body.parameters, operands, strict=True))
    rest = [node for node in body.nodes if node not in numbers and node not in sums]
    wanted = {operand for node in rest for operand in node.operands} | set(body.results)
    given = [number for number in numbers if number in wanted]
    left = [result for result in dict.fromkeys(body.results) if result not in given and result not in sums]
    for nodes, results, over, by in ((numbers, given, (), 0), (rest, left, space, rows), (sums, sums, space, rows)):
        if results:
            outer |= dict(zip(results, _part(outer, nodes, results, over, by, fusion.location), strict=True))
    return [outer[result] for result in body.results]


def _part(
    outer: dict[Node, Node],
    nodes: list[Node],
    results: list[Node],
    space: tuple[int, ...],
    rows: int,
    location: Location | None,
) -> list[Node]:
    """The results of a fusion of `nodes`, which takes what stands for the others in `outer`."""
    fusion = outline(nodes, results, outer.__getitem__, lambda node: node.op is ops.constant_op, space, rows, location)
    return elements(fusion, [location] * len(results))
