"""Graphs to test on: one of every op's samples, and random ones. Found by its name through pytest's `pythonpath`."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies

from tracejit import ops
from tracejit.ir import OPS, Graph, Node, Op, TensorType, TupleType, make, reachable
from tracejit.ir.errors import InvalidArgumentError
from tracejit.ir.types import array_type, float32


class Case(NamedTuple):
    """One sample of an op: what the generated tests run on."""

    op: Op
    number: int
    arrays: tuple[np.ndarray, ...]
    attrs: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.op.name}-{self.number}"

    def types(self) -> tuple[TensorType, ...]:
        return tuple(array_type(array) for array in self.arrays)


@cache
def cases_of(name: str) -> tuple[Case, ...]:
    """The samples of the op `name`, the same at every run; none where the op has none."""
    op = OPS[name]
    if op.samples is None:
        return ()
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return tuple(Case(op, number, arrays, attrs) for number, (arrays, attrs) in enumerate(op.samples(rng)))


@cache
def _whole_cases_of(name: str) -> tuple[Case, ...]:
    """The samples without half dtypes: a few ops behind each other magnify what those round beyond any tolerance."""
    return tuple(
        case
        for case in cases_of(name)
        if not any(kind.dtype.is_half for kind in case.types())
        and not case.attrs.get("dtype", float32).is_half
        and not ("value" in case.attrs and case.op is ops.constant_op and array_type(case.attrs["value"]).dtype.is_half)
    )


def all_cases() -> list[Case]:
    """The samples of every op that is registered."""
    return [case for name in sorted(OPS) for case in cases_of(name)]


def parameters_for(arrays: Sequence[np.ndarray]) -> list[Node]:
    """A parameter an array, of its type."""
    return [make(ops.parameter, type=array_type(array), name=f"x{index}") for index, array in enumerate(arrays)]


def parts_of(node: Node) -> list[Node]:
    """The node, or its elements where it is a tuple."""
    if isinstance(node.type, TupleType):
        return [make(ops.element, node, index=index) for index in range(len(node.type.items))]
    return [node]


def sample_graph(op: Op, arrays: Sequence[np.ndarray], attrs: dict[str, Any]) -> Graph:
    """A parameter an operand, and the op on them (where it gives a tuple, its elements) as the results."""
    parameters = parameters_for(arrays)
    return Graph("sample", parameters, parts_of(make(op, *parameters, **attrs)))


class RandomGraph(NamedTuple):
    """A graph with arguments on which it runs."""

    graph: Graph
    arguments: list[np.ndarray]


def random_graph(rng: np.random.Generator, gradients: bool = False) -> RandomGraph:
    """A valid graph of 1 to 30 nodes (with `gradients` up to 3 more) of the registered ops, with several results and an
    update. All samples are small, so its shapes are."""
    builder = _Builder(rng)
    names = [name for name in sorted(OPS) if _whole_cases_of(name)]
    for _ in range(rng.integers(1, 31)):
        cases = _whole_cases_of(names[rng.integers(len(names))])
        builder.add(cases[rng.integers(len(cases))])
    if gradients:
        builder.add_gradient()
    return builder.finish()


def random_graphs(gradients: bool = False) -> strategies.SearchStrategy[RandomGraph]:
    """`random_graph` as a strategy of hypothesis."""
    seeds = strategies.integers(0, 2**32 - 1)
    return seeds.map(lambda seed: random_graph(np.random.default_rng(seed), gradients))


class _Builder:
    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.parameters: list[Node] = []
        self.arguments: list[np.ndarray] = []
        self.values: list[Node] = []

    def parameter(self, array: np.ndarray) -> Node:
        node = make(ops.parameter, type=array_type(array), name=f"x{len(self.parameters)}")
        self.parameters.append(node)
        self.arguments.append(array)
        return node

    def choose(self, found: list[Node]) -> Node:
        return found[self.rng.integers(len(found))]

    def add(self, case: Case) -> None:
        """The case's op on values that exist where it takes them, else on new parameters of the sample's own."""
        # An index must be in range, and an integer has no negative powers: such an operand is the sample's.
        own = case.op.runtime_error or case.op is ops.pow
        operands = None if own else self.operands(case)
        node = None
        if operands is not None:
            try:
                node = make(case.op, *operands, **case.attrs)
            except InvalidArgumentError:
                operands = None
        if node is None or node.type.size > 500:  # type: ignore[union-attr]
            node = make(case.op, *[self.parameter(array) for array in case.arrays], **case.attrs)
        self.values += parts_of(node)

    def operands(self, case: Case) -> list[Node] | None:
        """Existing values: the first of the sample's dtype, the others of the first's type where the sample's are."""
        known = [*self.parameters, *self.values]
        types = case.types()
        chosen: list[Node] = []
        for wanted in types:
            if chosen and wanted is types[0]:
                fitting = [value for value in known if value.type is chosen[0].type]
            elif self.rng.random() < 0.5:
                fitting = [value for value in known if value.dtype is wanted.dtype]
            else:
                fitting = [value for value in known if value.type is wanted]
            if not fitting:
                return None
            chosen.append(self.choose(fitting))
        return chosen

    def add_gradient(self) -> None:
        """The gradient of one value with respect to one or two of what it is made from; none where it has none."""
        targets = [value for value in self.values if value.dtype.is_floating]
        if not targets:
            return
        target = self.choose(targets)
        sources = [node for node in reachable([target]) if isinstance(node.type, TensorType) and node.dtype.is_floating]
        chosen = list(dict.fromkeys(self.choose(sources) for _ in range(2)))
        self.values += parts_of(make(ops.gradient, target, *chosen, targets=1, sources=len(chosen), seeded=False))

    def finish(self) -> RandomGraph:
        """All that nothing uses is a result, and some other values; one value is the new one of a parameter."""
        used = {operand for node in reachable(self.values) for operand in node.operands}
        results = [value for value in self.values if value not in used]
        results += [self.choose([*self.parameters, *self.values]) for _ in range(2)]
        new = self.choose(self.values)
        fitting = [parameter for parameter in self.parameters if parameter.type is new.type]
        updated = self.choose(fitting) if fitting else self.parameter(np.zeros(new.shape, new.dtype.numpy))
        return RandomGraph(Graph("random", self.parameters, results, [(updated, new)]), self.arguments)


def assert_same(found: Any, expected: Any, where: object = "") -> None:
    """The same dtype, shape and elements; a NaN is equal to a NaN."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), where
    np.testing.assert_array_equal(found, expected, err_msg=str(where))
