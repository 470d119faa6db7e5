"""The reference interpreter: gradients of gradients, seeds, constants, updates, and arguments that do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import random_graph

from tracejit import ops
from tracejit.ir import Graph, Location, Node, TensorType, TupleType, interpret, make, parse, reachable
from tracejit.ir.types import bool_, float32, float64, int32

X = np.array([1.0, -2.0, 0.5])


def parameter(name: str = "x", shape: tuple[int, ...] = (3,), dtype: Any = float64) -> Node:
    return make(ops.parameter, type=TensorType(shape, dtype), name=name)


def gradient(
    targets: list[Node], sources: list[Node], seeds: list[Node] | None = None, constant: list[Node] | None = None
) -> list[Node]:
    """A gradient node's elements."""
    node = make(
        ops.gradient, *targets, *(seeds or []), *sources, *(constant or []),
        targets=len(targets), sources=len(sources), seeded=seeds is not None,
    )  # fmt: skip
    return [make(ops.element, node, index=index) for index in range(len(sources))]


def cube(x: Node) -> Node:
    return ops.mul(x, ops.mul(x, x))


def values(parameters: list[Node], results: list[Node], *arguments: Any) -> list[Any]:
    """The results as lists, once the graph's text is known to mean the same."""
    graph = Graph("g", parameters, results)
    found, _ = interpret(graph, arguments)
    again, _ = interpret(parse(graph.text()), arguments)
    assert [array.tolist() for array in found] == [array.tolist() for array in again]
    return [array.tolist() for array in found]


def test_a_gradient_is_of_the_sum_of_its_target() -> None:
    x = parameter()
    assert values([x], gradient([cube(x)], [x]), X) == [(3 * X**2).tolist()]


def test_gradients_of_gradients() -> None:
    x = parameter()
    orders = [cube(x)]
    for _ in range(4):
        orders += gradient([orders[-1]], [x])
    assert values([x], orders, X) == [(X**3).tolist(), (3 * X**2).tolist(), (6 * X).tolist(), [6, 6, 6], [0, 0, 0]]


def test_a_gradient_through_a_use_of_a_gradient() -> None:
    x = parameter()
    (slope,) = gradient([cube(x)], [x])
    penalty = ops.add(cube(x), ops.mul(slope, slope))  # x**3 + 9 x**4
    assert values([x], gradient([penalty], [x]), X) == [(3 * X**2 + 36 * X**3).tolist()]


def test_seeds_are_the_cotangents_that_go_in() -> None:
    x, ct = parameter("x"), parameter("ct")
    seed = np.array([1.0, 10.0, 0.0])
    assert values([x, ct], gradient([cube(x)], [x], [ct]), X, seed) == [(3 * X**2 * seed).tolist()]


def test_a_seed_can_be_differentiated() -> None:
    """The vjp is linear in the seed: its gradient with respect to it is the derivative."""
    x, ct = parameter("x"), parameter("ct")
    (pulled,) = gradient([cube(x)], [x], [ct])
    assert values([x, ct], gradient([pulled], [ct, x]), X, X) == [(3 * X**2).tolist(), (6 * X * X).tolist()]


def test_several_targets_add_up() -> None:
    x, y = parameter("x"), parameter("y")
    first, second = ops.mul(x, y), ops.neg(x)
    assert values([x, y], gradient([first, second], [x, y]), X, X + 1) == [X.tolist(), X.tolist()]
    assert values([x, y], gradient([first, first], [x]), X, X + 1) == [(2 * (X + 1)).tolist()]


def test_a_source_in_the_middle() -> None:
    x = parameter()
    middle = ops.exp(x)
    target = ops.mul(middle, x)
    assert values([x], gradient([target], [middle, x]), X)[0] == X.tolist()
    np.testing.assert_allclose(values([x], gradient([target], [middle, x]), X)[1], np.exp(X) * (1 + X), rtol=1e-15)


def test_a_target_is_a_source() -> None:
    x = parameter()
    assert values([x], gradient([x], [x]), X) == [[1, 1, 1]]


def test_a_source_that_is_not_connected_has_zeros() -> None:
    x, y = parameter("x"), parameter("y", (2,), float32)
    assert values([x, y], gradient([ops.stop_gradient(x)], [x, y]), X, np.zeros(2, np.float32)) == [[0, 0, 0], [0, 0]]


def test_constants_are_not_differentiated_through() -> None:
    """What the tape did not record is constant for it, though it depends on the source."""
    x = parameter()
    unrecorded = ops.mul(x, x)
    target = ops.mul(unrecorded, x)
    assert values([x], gradient([target], [x]), X) == [(3 * X**2).tolist()]
    assert values([x], gradient([target], [x], constant=[unrecorded]), X) == [(X**2).tolist()]


def test_a_constant_that_is_an_element() -> None:
    x = parameter()
    (unrecorded,) = gradient([cube(x)], [x])
    target = ops.mul(unrecorded, x)
    assert values([x], gradient([target], [x], constant=[unrecorded]), X) == [(3 * X**2).tolist()]


def test_a_constant_that_is_an_element_of_an_op_that_stays() -> None:
    """As the one before, but the tuple is no gradient, which would have been replaced."""
    x = parameter()
    inner = parameter("inner")
    body = Graph("body", [inner], [ops.neg(inner), ops.mul(inner, inner)])
    fused = make(ops.fusion, x, body=body, space=(3,), rows=1)
    unrecorded = make(ops.element, fused, index=1)
    target = ops.mul(unrecorded, x)
    assert values([x], gradient([target], [x], constant=[unrecorded]), X) == [(X**2).tolist()]


def test_a_gradient_of_no_sources() -> None:
    x = parameter()
    node = make(ops.gradient, x, targets=1, sources=0, seeded=False)
    assert node.type is TupleType([])


def test_expanding_makes_no_gradient_nodes_and_keeps_the_lines() -> None:
    x = parameter()
    forward = make(ops.exp, x, location=Location("user.py", 7))
    node = make(ops.gradient, forward, x, targets=1, sources=1, seeded=False, location=Location("user.py", 9))
    (expanded,) = ops.expand_gradient(node)
    made = [each for each in reachable([expanded]) if each.serial > node.serial]
    assert {each.op.name for each in made} >= {"constant", "broadcast"}
    assert all(each.op.name != "gradient" for each in made)
    assert {each.op.name: each.location for each in made}["mul"] == ("user.py", 7)
    assert {each.location for each in made} == {("user.py", 7), ("user.py", 9)}


@pytest.mark.parametrize("seed", range(8))
def test_interpreting_twice_gives_the_same(seed: int) -> None:
    graph, arguments = random_graph(np.random.default_rng(seed), gradients=True)
    before = [array.copy() for array in arguments]
    first, second = interpret(graph, arguments), interpret(graph, arguments)
    for one, other in zip([*first[0], *first[1]], [*second[0], *second[1]], strict=True):
        np.testing.assert_array_equal(one, other, strict=True)
    for array, copy in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(array, copy, strict=True)
    for array, result in zip([*first[0], *first[1]], [*graph.results, *(value for _, value in graph.updates)], strict=True):
        assert (array.shape, array.dtype) == (result.shape, result.dtype.numpy)


def test_updates_see_the_old_values() -> None:
    x, y = parameter("x", ()), parameter("y", ())
    results, updates = interpret(Graph("swap", [x, y], [ops.add(x, y)], [(x, y), (y, x)]), [np.array(1.0), np.array(2.0)])
    assert [array.tolist() for array in results] == [3]
    assert [array.tolist() for array in updates] == [2, 1]


def test_a_long_chain_is_no_recursion() -> None:
    x = parameter("x", ())
    node = x
    for _ in range(5000):
        node = make(ops.neg, node)
    assert values([x], [node], np.array(3.0)) == [3]
    assert values([x], gradient([node], [x]), np.array(3.0)) == [[1.0]][0]


def test_numpy_does_not_warn(recwarn: pytest.WarningsRecorder) -> None:
    x = parameter()
    assert values([x], [ops.log(x), ops.exp(ops.mul(x, 1e6))], np.array([0.0, 1.0, 2.0]))[0][0] == -np.inf
    assert not recwarn.list


def test_python_numbers_are_arguments() -> None:
    x = parameter("x", ())
    assert values([x], [ops.neg(x)], 2.5) == [-2.5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "g takes 2 arguments, 0 came"),
        ([X], "g takes 2 arguments, 1 came"),
        ([X, np.ones(2, bool), X], "g takes 2 arguments, 3 came"),
        ([X[:2], np.ones(2, bool)], r"g: x is f64\[3\], float64\[2\] came"),
        ([X.reshape(3, 1), np.ones(2, bool)], r"g: x is f64\[3\], float64\[3, 1\] came"),
        ([X.astype(np.float32), np.ones(2, bool)], r"g: x is f64\[3\], float32\[3\] came"),
        ([X, np.ones(2, np.int32)], r"g: y is bool\[2\], int32\[2\] came"),
        ([X, 1], r"g: y is bool\[2\], int64\[\] came"),
    ],
)
def test_arguments_that_do_not_fit(arguments: list[Any], message: str) -> None:
    x, y = parameter("x"), parameter("y", (2,), bool_)
    with pytest.raises(ValueError, match=message):
        interpret(Graph("g", [x, y], [ops.neg(x)]), arguments)


def test_an_error_names_the_user_s_line() -> None:
    x = parameter("x", (2,), int32)
    node = make(ops.gather, x, x, axis=0, location=Location("user.py", 42))
    with pytest.raises(IndexError, match=r"(?s)index 9 is not in \[0, 2\).*at user.py:42"):
        interpret(Graph("g", [x], [node]), [np.array([0, 9], np.int32)])
