"""The text form: printing and parsing are each the other's inverse; what is no graph is refused where it goes wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from graphs import RandomGraph, all_cases, cases_of, random_graph, random_graphs, sample_graph
from hypothesis import given, settings

from tracejit import ops
from tracejit.ir import OPS, Graph, Location, Node, Op, TensorType, TupleType, interpret, make, parse, rebuild, verify
from tracejit.ir.errors import ParseError
from tracejit.ir.types import DTYPES, bool_, float32, float64, int32, int64


def round_trip(graph: Graph) -> Graph:
    """`graph` printed and parsed, once it is known that this changes nothing."""
    text = graph.text()
    parsed = parse(text)
    assert parsed.text() == text
    assert parsed == graph
    assert hash(parsed) == hash(graph)
    return parsed


@pytest.mark.parametrize("name", sorted({case.op.name for case in all_cases()}))
def test_samples(name: str) -> None:
    for case in cases_of(name):
        parsed = round_trip(sample_graph(case.op, case.arrays, case.attrs))
        assert [node.op for node in parsed.nodes] == [case.op]
        assert [parameter.type for parameter in parsed.parameters] == list(case.types())


def same_results(graph: Graph, other: Graph, arguments: list[np.ndarray]) -> None:
    for found, expected in zip(interpret(graph, arguments), interpret(other, arguments), strict=True):
        for array, wanted in zip(found, expected, strict=True):
            np.testing.assert_array_equal(array, wanted, strict=True)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(random_graphs())
def test_random_graphs(drawn: RandomGraph) -> None:
    graph = verify(drawn.graph)
    assert 1 <= len(graph.nodes) <= 30
    assert len(graph.results) >= 2
    assert len(graph.updates) == 1
    same_results(graph, round_trip(graph), drawn.arguments)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(random_graphs(gradients=True))
def test_random_graphs_with_gradients(drawn: RandomGraph) -> None:
    same_results(drawn.graph, round_trip(verify(drawn.graph)), drawn.arguments)


def test_random_graphs_vary() -> None:
    drawn: set[str] = set()
    dtypes: set[Any] = set()
    for seed in range(60):
        graph = random_graph(np.random.default_rng(seed), gradients=True).graph
        drawn.update(node.op.name for node in graph.nodes)
        dtypes.update(node.dtype for node in (*graph.parameters, *graph.results))
        assert any(operand in graph.nodes for node in graph.nodes for operand in node.operands) or len(graph.nodes) < 8
    assert dtypes == set(DTYPES)
    assert len(drawn) > 40
    assert "gradient" in drawn


# -- attributes


def region() -> Graph:
    x = make(ops.parameter, type=TensorType((2,), float32), name="x")
    return Graph("body", [x], [ops.slice(ops.neg(x), starts=(1,), sizes=(1,), strides=(1,))])


def array(values: Any, dtype: Any, shape: Any = None) -> np.ndarray:
    made = np.array(values, dtype.numpy)
    return ops.frozen(made if shape is None else made.reshape(shape))


ATTRIBUTES: list[Any] = [
    None, True, False, 0, -1, 2**70, -(2**70), 0.0, -0.0, 1.0, -2.5, 0.1, 1e300, 5e-324, 1e22, 1e-7,
    math.inf, -math.inf, math.nan,
    "", "word", 'with "quotes"', "a\nline", "back\\slash", "größe λ \U0001f600", "# no comment",
    "{(%1 : f32[], true)} -> none",
    *DTYPES, TensorType((), float32), TensorType((0, 3), bool_), TensorType((64, 784), int64),
    TupleType([]), TupleType([TensorType((2,), float64)]),
    TupleType([TensorType((), float32), TensorType((1,), int32)]),
    (), (1,), (1, 2.5, "x"), ((),), ((1, (2, ())), (None, True)), (float32, TensorType((2,), float32), float64),
    (TupleType([TensorType((), float32)]), (TensorType((), float32),)), (-0.0, math.nan, math.inf),
    array([], float32), array(1.5, float32), array([1e-45, 3.4e38, 0.1, -0.0, math.nan, math.inf, -math.inf], float32),
    array([5e-324, 0.1, -0.0], float64), array([[1, -2], [2**31 - 1, -(2**31)]], int32),
    array([2**63 - 1, -(2**63)], int64),
    array([[True], [False]], bool_), array([], int64, (0, 3)), array(True, bool_),
    (array([1.0], float32), "x"), region(), (region(), region(), 3),
]  # fmt: skip


def same(value: Any, other: Any) -> bool:
    """The same to the type and to the bit."""
    if isinstance(value, tuple):
        return type(other) is tuple and len(value) == len(other) and all(map(same, value, other))
    if isinstance(value, np.ndarray):
        return (value.dtype, value.shape, value.tobytes()) == (
            other.dtype,
            other.shape,
            other.tobytes(),
        ) and not other.flags.writeable
    if isinstance(value, float) and type(other) is float:
        return value.hex() == other.hex()
    return type(value) is type(other) and value == other


@pytest.mark.parametrize("value", ATTRIBUTES, ids=lambda value: f"{type(value).__name__}")
def test_attributes(any_op: Op, value: Any) -> None:
    node = make(any_op, first=value, graph=0, array="array", second=value)
    parsed = round_trip(Graph("g", [], [node])).nodes[0]
    assert list(parsed.attrs) == ["first", "graph", "array", "second"]
    assert same(value, parsed.attrs["first"])
    assert same(value, parsed.attrs["second"])
    assert (parsed.attrs["graph"], parsed.attrs["array"]) == (0, "array")


def test_unequal_attributes_have_unequal_texts(any_op: Op) -> None:
    texts = {Graph("g", [], [make(any_op, value=value, location=Location("f", 1))]).text() for value in ATTRIBUTES}
    assert len(texts) == len(ATTRIBUTES)


def test_regions_are_indented(any_op: Op) -> None:
    location = Location("f.py", 3)
    x = make(ops.parameter, type=TensorType((2,), float32), name="x", location=location)
    inner = Graph("inner", [x], [make(ops.neg, x, location=location)])
    y = make(ops.parameter, type=TensorType((2,), float32), name="y", location=location)
    outer = Graph("outer", [y], [make(ops.fusion, y, body=inner, space=(2,), rows=1, location=location)])
    assert outer.text().splitlines() == [
        'graph outer(%y: f32[2] @ "f.py" 3) {',
        '  %0 = fusion(%y) {body=graph inner(%x: f32[2] @ "f.py" 3) {',
        '      %0 = neg(%x) : f32[2] @ "f.py" 3',
        "      return %0",
        '    }, space=(2,), rows=1} : f32[2] @ "f.py" 3',
        "  return %0",
        "}",
    ]
    round_trip(outer)


def test_several_results_and_an_update() -> None:
    text = (
        "graph step(%v: f64[2], %x: f64[2]) {\n  %0 = add(%v, %x) : f64[2]\n  %1 = neg(%0) : f64[2]\n"
        "  return %1, %1, %x\n  update %v = %0\n  update %x = %v\n}"
    )
    graph = parse(text)
    assert graph.text() == text
    results, updates = interpret(graph, [np.array([1.0, 2.0]), np.array([3.0, 4.0])])
    assert [array.tolist() for array in results] == [[-4, -6], [-4, -6], [3, 4]]
    assert [array.tolist() for array in updates] == [[4, 6], [1, 2]]


def test_a_graph_of_nothing() -> None:
    assert round_trip(Graph("nothing", [], [])).text() == "graph nothing() {\n  return\n}"


def test_comments_and_white_space_mean_nothing() -> None:
    text = "# first\ngraph g ( %x :f32 [ 2 , ] , )\n{ # second %0\n%7=neg(%x,):f32[2]return %7,}  # last"
    assert parse(text).text() == "graph g(%x: f32[2]) {\n  %0 = neg(%x) : f32[2]\n  return %0\n}"


# -- locations


def test_locations_survive() -> None:
    x = make(ops.parameter, type=TensorType((), float32), name="x", location=Location("a b.py", 7))
    y = make(ops.neg, x, location=Location('C:\\odd "name"\n.py', 2**40))
    graph = round_trip(Graph("g", [x], [y]))
    assert graph.parameters[0].location == ("a b.py", 7)
    assert graph.nodes[0].location == ('C:\\odd "name"\n.py', 2**40)
    assert type(graph.nodes[0].location) is Location


def test_a_node_is_where_the_user_made_it() -> None:
    x = make(ops.parameter, type=TensorType((), float32), name="x")
    assert x.location is not None
    assert x.location.file.endswith("test_text.py")


def test_a_text_without_locations_gives_nodes_without() -> None:
    graph = parse("graph g(%x: f32[]) { %0 = neg(%x) : f32[] return %0 }")
    assert [node.location for node in (*graph.parameters, *graph.nodes)] == [None, None]


# -- errors. `^` is not in the text: it stands before the place that the error names.

BROKEN = [
    ("", "^", "expected 'graph', found ''"),
    ("", "grap^?h g", "no word of the grammar begins with '?'"),
    ("", 'graph g() { ^"open', "no word of the grammar begins with '\"'"),
    ("", "graph ^3() { return }", "expected a word, found '3'"),
    ("", "graph g(^x: f32[]) { return }", "expected a new value, found 'x'"),
    ("", "graph g(%x: ^f8[]) { return }", "expected a dtype (f32, f64, i32, i64, bool, f16, bf16), found 'f8'"),
    ("", "graph g(%x: f32[^-1]) { return }", "expected a whole number, found '-1'"),
    ("", "graph g(%x: f32[^2.5]) { return }", "expected a whole number, found '2.5'"),
    ("", "graph g(%x: f32[2 ^3]) { return }", "expected ']', found '3'"),
    ("", "graph g(%x: f32[], ^%x: f32[]) { return }", "expected a new value, found '%x'"),
    ("", "graph g() {\n  return ^%0\n}", "expected a value that is defined above, found '%0'"),
    ("", "graph g() { return }\n^graph h() { return }", "expected the end of the text, found 'graph'"),
    ("", "graph g() {\n  ^}", "expected 'return', found '}'"),
    ("", "graph g() {\n  return\n^", "expected '}', found ''"),
    ("x", "%0 = ^negg(%x) : f32[2]", "there is no op 'negg'; near: neg"),
    ("x", "%0 ^neg(%x) : f32[2]", "expected '=', found 'neg'"),
    ("x", "^%x = neg(%x) : f32[2]", "expected a new value, found '%x'"),
    ("x", "%0 = neg(^%0) : f32[2]", "expected a value that is defined above, found '%0'"),
    ("x", "%0 = neg(%x ^%x) : f32[2]", "expected ')', found '%x'"),
    ("x", "%0 = ^neg(%x, %x) : f32[2]", "neg(f32[2], f32[2]): it takes 1 operand, not 2"),
    ("x", "%0 = ^neg(%x) {axis=1} : f32[2]", "unexpected keyword argument 'axis'"),
    ("x", "%0 = ^neg(%x) : f32[3]", "neg gives f32[2], the text says f32[3]"),
    ("x", "%0 = ^neg(%x) : f64[2]", "neg gives f32[2], the text says f64[2]"),
    ("x", "%0 = neg(%x) ^return %0", "expected ':', found 'return'"),
    ("x", "%0 = ^add(%x) : f32[2]", "it takes 2 operands, not 1"),
    ("x", "%0 = ^reshape(%x) : f32[2]", "missing 1 required positional argument: 'shape'"),
    ("x", "%0 = ^reshape(%x) {shape=(-1, -2,)} : f32[2]", "2 elements do not fill the shape [-1, -2]"),
    ("x", "%0 = ^reshape(%x) {shape=3} : f32[2]", "reshape: "),
    ("x", '%0 = ^cast(%x) {dtype="f32"} : f32[2]', "is no dtype"),
    ("x", "%0 = ^constant() {value=1} : f32[2]", "constant: "),
    ("x", "%0 = reshape(%x) {shape=(2,), ^shape=(2,)} : f32[2]", "the attribute shape is given twice"),
    ("x", "%0 = reshape(%x) {shape=^what} : f32[2]", "expected a literal, found 'what'"),
    ("x", "%0 = reshape(%x) {^1=2} : f32[2]", "expected a word, found '1'"),
    ("x", "%0 = reshape(%x) {shape=^:} : f32[2]", "expected a literal, found ':'"),
    ("x", '%0 = neg(%x) : f32[2] @ ^7', "expected a string, found '7'"),
    ("x", '%0 = neg(%x) : f32[2] @ "f.py" ^1.5', "expected a whole number, found '1.5'"),
    ("x", '%0 = neg(%x) : f32[2] @ ^"\\q" 1', "is no string"),
    ("x", "%0 = constant() {value=array ^f32[2] [1.0]} : f32[2]", "1 elements do not make an array of type f32[2]"),
    ("x", "%0 = constant() {value=array ^i32[1] [1.5]} : i32[1]", "1.5 is no element of an array of type i32[1]"),
    ("x", "%0 = constant() {value=array ^i32[1] [2147483648]} : i32[1]", "2147483648 is no element"),
    ("x", "%0 = constant() {value=array ^bool[1] [1]} : bool[1]", "1 is no element of an array of type bool[1]"),
    ("x", '%0 = constant() {value=array ^f32[1] ["x"]} : f32[1]', "'x' is no element"),
    ("x", "%0 = constant() {value=array ^(f32[1]) [1.0]} : f32[1]", "do not make an array of type (f32[1])"),
    ("", "^graph g(%x: f32[], %y: i32[]) { return update %x = %y }", "x is f32[], its update i32[]"),
    ("", "^graph g(%x: (f32[])) { return %x }", "the parameter x is a tuple"),
    ("", "^graph g(%0: f32[]) { return %0 }", "'0' is no name of a parameter"),
    ("x", '%0 = ^parameter() {type=f32[], name="y"} : f32[]', "a parameter stands in the head of its graph"),
]  # fmt: skip


@pytest.mark.parametrize(("parameter", "marked", "message"), BROKEN, ids=[str(number) for number in range(len(BROKEN))])
def test_parse_error(parameter: str, marked: str, message: str) -> None:
    if parameter:
        marked = f"graph g(%{parameter}: f32[2]) {{\n  {marked}\n" + ("" if "return" in marked else "  return %0\n}")
    before, _, after = marked.partition("^")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    with pytest.raises(ParseError) as caught:
        parse(before + after)
    assert str(caught.value).startswith(f"line {line}, column {column}: ")
    assert message in str(caught.value)


# -- immutable


def a_graph() -> tuple[Graph, Node]:
    x = make(ops.parameter, type=TensorType((2,), float32), name="x")
    node = make(ops.reshape, x, shape=(1, 2))
    return Graph("g", [x], [node]), node


@pytest.mark.parametrize("name", ["op", "operands", "attrs", "type", "location", "serial", "more"])
def test_nodes_are_immutable(name: str) -> None:
    node = a_graph()[1]
    with pytest.raises(AttributeError, match="immutable"):
        setattr(node, name, None)
    with pytest.raises(AttributeError, match="immutable"):
        delattr(node, name)


@pytest.mark.parametrize("name", ["name", "parameters", "results", "updates", "nodes", "more"])
def test_graphs_are_immutable(name: str) -> None:
    graph = a_graph()[0]
    before = graph.text()
    with pytest.raises(AttributeError, match="immutable"):
        setattr(graph, name, ())
    with pytest.raises(AttributeError, match="immutable"):
        delattr(graph, name)
    assert graph.text() == before


def test_attributes_are_immutable() -> None:
    graph, node = a_graph()
    with pytest.raises(TypeError):
        node.attrs["shape"] = (2,)  # type: ignore[index]
    assert all(type(part) is tuple for part in (graph.parameters, graph.results, graph.updates, graph.nodes, node.operands))
    value = np.zeros(2)
    constant = ops.constant(value)
    value[0] = 1
    assert constant.attrs["value"].tolist() == [0, 0]
    with pytest.raises(ValueError, match="read-only"):
        constant.attrs["value"][0] = 1


def test_nodes_compare_by_identity_and_graphs_by_what_they_compute() -> None:
    x = make(ops.parameter, type=TensorType((2,), float32), name="x")
    first, second = (make(ops.neg, x, location=Location("f", 1)) for _ in range(2))
    assert first != second
    assert Graph("g", [x], [first]) == Graph("g", [x], [second])
    renamed = make(ops.parameter, type=x.type, name="y")
    again = Graph("h", [renamed], [make(ops.neg, renamed, location=Location("f", 2))])
    assert Graph("g", [x], [first]) == again
    assert hash(Graph("g", [x], [first])) == hash(again)
    assert Graph("g", [x], [first]) != Graph("g", [x], [make(ops.abs, x)])
    assert Graph("g", [x], [first]) != Graph("g", [x], [first], [(x, first)])
    assert Graph("g", [x], [first]) != "g"


def test_a_dead_node_is_in_no_graph() -> None:
    x = make(ops.parameter, type=TensorType((2,), float32), name="x")
    used, _ = make(ops.neg, x), make(OPS["exp"], x)
    assert Graph("g", [x], [used]).nodes == (used,)


def test_rewrite_gives_the_graph_itself_where_nothing_changes() -> None:
    graph, node = a_graph()
    assert graph.rewrite(rebuild) is graph
    doubled = graph.rewrite(lambda old, operands: make(ops.reshape, *operands, shape=(2, 1)))
    assert doubled.results[0].shape == (2, 1)
    assert graph.results == (node,)
