"""Regions: what is outlined computes what it did, and takes from outside what it says."""

from __future__ import annotations

import numpy as np

from tracejit import ops
from tracejit.ir import Graph, Location, Node, interpret, make, verify
from tracejit.ir.types import TensorType, float32
from tracejit.ops.region import Region, elements, outline

KIND = TensorType((2, 3), float32)


def parameter(name: str) -> Node:
    return make(ops.parameter, type=KIND, name=name)


def test_what_is_outlined_takes_the_rest_from_outside_in_the_order_of_its_use() -> None:
    x, y = parameter("x"), parameter("y")
    two = ops.constant(np.float32(2))
    outside = ops.exp(y)
    first = ops.mul(outside, ops.broadcast(two, shape=(2, 3), axes=()))
    second = ops.add(first, x)
    here = Location("f.py", 7)

    def free(node: Node) -> bool:
        return node.op in (ops.constant_op, ops.broadcast)

    fusion = outline([first, second], [second, first], lambda node: node, free, (2, 3), 2, here)
    assert fusion.operands == (outside, x)
    assert fusion.location == here
    body = verify(fusion.attrs["body"])
    assert [each.attrs["name"] for each in body.parameters] == ["p0", "p1"]
    assert sorted(node.op.name for node in body.nodes) == ["add", "broadcast", "constant", "mul"]
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.full((2, 3), 0.5, np.float32)]
    before, _ = interpret(Graph("g", [x, y], [second, first]), arrays)
    after, _ = interpret(verify(Graph("g", [x, y], elements(fusion, [here, None]))), arrays)
    np.testing.assert_array_equal(before, after)


def test_a_value_from_outside_is_one_parameter() -> None:
    x = parameter("x")
    region = Region()
    assert region.take(x) is region.take(x)
    fusion = region.fusion([region.copy(ops.add(x, x), [region.take(x)] * 2)], (2, 3), 2, None)
    assert fusion.operands == (x,)
    assert elements(fusion, [None]) == [fusion]
