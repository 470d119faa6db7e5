"""Each rule of the verifier has a graph that breaks it. Where `make` refuses to build one, it is bent by hand."""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from tracejit import ops
from tracejit.ir import Graph, Location, Node, Op, TensorType, TupleType, make, verify
from tracejit.ir.errors import VerifyError
from tracejit.ir.op import PURE
from tracejit.ir.types import float32, float64

VECTOR = TensorType((2,), float32)


def parameter(name: str = "x", type: Any = VECTOR) -> Node:
    return make(ops.parameter, type=type, name=name)


def bent(node: Node, **fields: Any) -> Node:
    """`node` with fields that no `make` would give it."""
    for name, value in fields.items():
        object.__setattr__(node, name, value)
    return node


def refused(graph: Graph) -> str:
    with pytest.raises(VerifyError) as caught:
        verify(graph)
    return str(caught.value)


def test_a_valid_graph_comes_back() -> None:
    x = parameter()
    graph = Graph("g", [x], [ops.neg(x), x], [(x, ops.exp(x))])
    assert verify(graph) is graph


@pytest.mark.parametrize("name", ["", "3d", "<lambda>", "a b", "größe", "a\n"])
def test_a_graph_s_name_can_be_printed(name: str) -> None:
    assert "is no name of a graph" in refused(Graph(name, [], []))


@pytest.mark.parametrize("name", ["", "0", "12", "a b", "dense/kernel", "w:0", "größe"])
def test_a_parameter_s_name_can_be_printed_and_is_no_node_s(name: str) -> None:
    assert f"g: {name!r} is no name of a parameter" in refused(Graph("g", [parameter(name)], []))


@pytest.mark.parametrize("name", ["x", "_", "0x", "a.b", "W1", "3_1"])
def test_names_that_can_be_printed(name: str) -> None:
    x = parameter(name)
    verify(Graph("g.h_1", [x], [ops.neg(x)]))


def test_a_parameter_is_a_parameter_node() -> None:
    x = parameter()
    assert refused(Graph("g", [ops.neg(x)], [])) == "g: a parameter is not a parameter node"


def test_parameters_have_distinct_names() -> None:
    assert refused(Graph("g", [parameter("x"), parameter("x")], [])) == "g: two parameters have the same name: ['x', 'x']"
    x = parameter()
    assert "the same name" in refused(Graph("g", [x, x], []))


def test_a_parameter_is_a_tensor() -> None:
    assert refused(Graph("g", [parameter("x", TupleType([VECTOR]))], [])) == "g: the parameter x is a tuple, (f32[2])"


def test_an_op_is_the_registered_one() -> None:
    x = parameter()
    other = bent(object.__new__(Op), name="neg", infer=ops.neg.infer, effects=PURE)  # type: ignore[arg-type]
    assert "g: <neg : f32[2]> at f.py:3: the op is not the registered one" in refused(
        Graph("g", [x], [bent(make(ops.neg, x, location=Location("f.py", 3)), op=other)])
    )


def test_an_operand_is_a_parameter_of_the_graph() -> None:
    x, stranger = parameter("x"), parameter("y")
    message = refused(Graph("g", [x], [ops.add(x, stranger)]))
    assert "the operand <parameter : f32[2]> is a parameter of another graph" in message


def test_an_operand_is_made_before_what_uses_it() -> None:
    x = parameter()
    first = ops.neg(x)
    second = ops.exp(first)
    bent(first, operands=(second,))  # a cycle
    assert "g: <neg : f32[2]>" in (message := refused(Graph("g", [x], [second])))
    assert "the operand <exp : f32[2]> is not made before it" in message


@pytest.mark.parametrize("kind", [TensorType((3,), float32), TensorType((2,), float64), TupleType([VECTOR])])
def test_a_type_is_the_one_that_the_op_infers(kind: Any) -> None:
    x = parameter()
    message = refused(
        Graph(
            "g",
            [x],
            [ops.exp(bent(ops.neg(x), type=kind)) if kind.__class__ is TensorType else bent(ops.neg(x), type=kind)],
        )
    )
    assert f"<neg : {kind}>" in message
    assert "its op infers f32[2]" in message


def test_an_op_takes_its_operands() -> None:
    x, y = parameter("x"), parameter("y", TensorType((3,), float32))
    message = refused(Graph("g", [x, y], [bent(ops.add(x, x), operands=(x, y))]))
    assert "its op refuses it: add(f32[2], f32[3]): the operands' shapes differ" in message


def test_an_op_takes_its_attributes() -> None:
    x = parameter()
    message = refused(Graph("g", [x], [bent(ops.neg(x), attrs=MappingProxyType({"axis": 1}))]))
    assert "its op refuses it: " in message
    assert "'axis'" in message


class Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([1], "list"), ({}, "dict"), (object(), "object"), (np.float64(1), "float64"), (np.int64(1), "int64"),
        (np.bool_(1), "bool"),
        (Colour.RED, "Colour"), (1j, "complex"), (b"x", "bytes"), (np.dtype("f4"), "Float32DType"),
        (np.str_("x"), "str_"),
    ],
)  # fmt: skip
def test_an_attribute_has_a_text_form(any_op: Op, value: Any, kind: str) -> None:
    assert f"the attribute a is a {kind}, which has no text form" in refused(Graph("g", [], [make(any_op, a=value)]))
    nested = refused(Graph("g", [], [make(any_op, a=(1, (value,)))]))
    assert f"the attribute a[1][0] is a {kind}, which has no text form" in nested


def test_an_array_cannot_be_written_to(any_op: Op) -> None:
    assert "the array a can be written to" in refused(Graph("g", [], [make(any_op, a=np.zeros(2))]))
    assert "the array a[0] can be written to" in refused(Graph("g", [], [make(any_op, a=(np.zeros(2),))]))


def test_an_array_has_a_dtype_of_tracejit(any_op: Op) -> None:
    array = ops.frozen(np.zeros(2, np.uint16))
    assert "the array a is uint16, which tracejit does not have" in refused(Graph("g", [], [make(any_op, a=array)]))


def test_a_region_is_verified(any_op: Op) -> None:
    body = Graph("body", [], [parameter("stranger")])
    assert (
        refused(Graph("g", [], [make(any_op, a=body)])) == "body: it returns <parameter : f32[2]>, a parameter of another graph"
    )
    assert refused(Graph("g", [], [make(any_op, a=(1, body))])).startswith("body: ")


def test_a_result_belongs_to_the_graph() -> None:
    x, stranger = parameter("x"), parameter("y")
    assert refused(Graph("g", [x], [stranger])) == "g: it returns <parameter : f32[2]>, a parameter of another graph"
    assert "a parameter of another graph" in refused(Graph("g", [x], [], [(x, stranger)]))


def test_a_graph_that_is_refused_can_be_printed() -> None:
    stranger = parameter("y")
    graph = Graph("g", [], [ops.neg(stranger), stranger], [(stranger, stranger)])
    assert "%0 = neg(%?) : f32[2]" in graph.text()
    assert graph.text().endswith("  return %0, %?\n  update %? = %?\n}")


def test_a_result_is_a_tensor() -> None:
    x = parameter()
    gradient = make(ops.gradient, x, x, targets=1, sources=1, seeded=False)
    assert refused(Graph("g", [x], [gradient])) == "g: it returns a tuple, <gradient : (f32[2])>"


def test_a_parameter_is_updated_once() -> None:
    x = parameter()
    assert refused(Graph("g", [x], [], [(x, ops.neg(x)), (x, x)])) == "g: a parameter is updated twice"


def test_an_update_is_of_a_parameter() -> None:
    x = parameter()
    y = ops.neg(x)
    assert refused(Graph("g", [x], [], [(y, x)])) == "g: it updates <neg : f32[2]>, which is no parameter of it"
    assert "which is no parameter of it" in refused(Graph("g", [x], [], [(parameter("y"), x)]))


def test_an_update_keeps_the_type() -> None:
    x = parameter()
    assert refused(Graph("g", [x], [], [(x, ops.cast(x, dtype=float64))])) == "g: x is f32[2], its update f64[2]"
