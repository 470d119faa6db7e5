"""A trace in the making: what a Python function does to traced tensors and variables becomes nodes.

Whatever comes from outside, an eager tensor, an array, a variable, becomes a parameter, bound to where it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from tracejit import nest, ops
from tracejit.context import context, interpreted, interpreting
from tracejit.ir.errors import NumpyConversionError, TracingError
from tracejit.ir.graph import Graph, Node, make, reachable, stays
from tracejit.ir.interpret import interpret
from tracejit.ir.location import here
from tracejit.ir.op import Op
from tracejit.ir.types import TensorType, array_type
from tracejit.ops import TapeEntry
from tracejit.tensor import Tensor, convert_to_tensor
from tracejit.variable import Variable


class TracedTensor(Tensor):
    """A tensor of which only the type is known: a node of the trace that is being made."""

    __slots__ = ("node", "trace")

    def __init__(self, node: Node, trace: Trace):
        self.node, self.trace, self.type = node, trace, node.type  # type: ignore[assignment]

    def refuse(self, why: str, error: type[Exception] = TracingError) -> NoReturn:
        """Raise: with the line that made the tensor and the line that would use it."""
        made, used = self.node.location, here()
        if context.trace is not self.trace:
            why = f"{why} outside of the traced function that made it"
        raise error(
            f"{self.type} is a traced tensor, it has no value: {why}"
            + (f"\n  made at {made.describe()}" if made else "")
            + (f"\n  used at {used.describe()}" if used else "")
        )

    def numpy(self) -> Any:
        self.refuse(".numpy() needs a value; return the tensor from the traced function instead", AttributeError)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        self.refuse("a NumPy function was called on it; use the function of that name in tracejit", NumpyConversionError)

    def __bool__(self) -> bool:
        self.refuse("bool() of it, as in `if` or `while`, needs a value; use tj.where to choose between tensors")

    def __float__(self) -> float:
        self.refuse("float() needs a value")

    def __int__(self) -> int:
        self.refuse("int() needs a value")

    def __index__(self) -> int:
        self.refuse("an index or a size in Python needs a value")

    def __format__(self, spec: str) -> str:
        return str(self)

    def __str__(self) -> str:
        return f"tj.Tensor(traced {self.node.op.name}, {self._described()})"

    __repr__ = __str__

    def __reduce__(self) -> NoReturn:
        self.refuse("it cannot be pickled")


class Binding(NamedTuple):
    """Where a parameter's value comes from at a call. kind: "argument" (a leaf's index), "tensor" (a captured tensor),
    "array" (a captured ndarray, whose content is live), "variable" (a captured variable), "argument variable" (a leaf's
    index)."""

    kind: str
    source: Any


class Trace:
    """Collects parameters, their bindings, and the state of variables, while a function is traced."""

    def __init__(self, name: str, variables_may_be_created: bool, outer: Trace | None = None):
        self.name = name
        self.outer = outer
        self.may_create, self.has_created = variables_may_be_created, False
        self.parameters: list[Node] = []
        self.bindings: list[Binding] = []
        self._names: set[str] = set()
        self._captured: dict[Any, tuple[Any, Node]] = {}
        self._variables: dict[int, tuple[Variable, Node]] = {}
        self._current: dict[int, Node] = {}
        self._effects: list[Node] = []
        self.rules: list[TapeEntry] = []  # of custom gradients, in order
        # The values that variables were assigned, each as made of the variable: so a tape around a call is to see it.
        self.values: list[TapeEntry] = []

    # -- values

    def parameter(self, name: str, type: TensorType, binding: Binding) -> Node:
        """A new parameter, called `name` or, where that is taken, `name_1`..."""
        name = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in name) or "x"
        unique, number = name, 0
        while unique in self._names or unique.isdigit():
            number += 1
            unique = f"{name}_{number}"
        self._names.add(unique)
        node = make(ops.parameter, type=type, name=unique)
        self.parameters.append(node)
        self.bindings.append(binding)
        return node

    def tensor(self, node: Node) -> TracedTensor:
        return TracedTensor(node, self)

    def node(self, tensor: Any) -> Node:
        """The node of a tensor; an eager tensor is captured. TracingError for another trace's."""
        if type(tensor) is TracedTensor:
            trace: Trace | None = self
            while trace is not tensor.trace:
                if trace is None:
                    tensor.refuse("it was used")
                trace = trace.outer
            return tensor.node
        return self._capture((id(tensor),), tensor, "captured", tensor.type, "tensor")

    def _capture(self, key: Any, source: Any, name: str, type: TensorType, kind: str) -> Node:
        if key not in self._captured:
            self._captured[key] = (source, self.parameter(name, type, Binding(kind, source)))
        return self._captured[key][1]

    def constant(self, array: np.ndarray, original: Any) -> TracedTensor:
        """A constant; but an ndarray of the user's is captured, so that its content stays live."""
        if isinstance(original, np.ndarray) and original.ndim:
            node = self._capture((id(original), array.dtype), original, "captured", array_type(array), "array")
        else:
            node = ops.constant(array)
        return self.tensor(node)

    def apply(self, op: Op, operands: Sequence[Any], attrs: dict[str, Any]) -> Any:
        """What `op` gives on tensors: a traced tensor, recorded by the active tapes."""
        node = make(op, *[self.node(operand) for operand in operands], **attrs)
        if stays(node):
            self._effects.append(node)
        for tape in context.tapes:
            tape.record(op, node.operands, attrs, (node,))
        return self.tensor(node)

    # -- variables

    def read(self, variable: Variable) -> TracedTensor:
        key = id(variable)
        if key not in self._variables:
            name = variable.name.partition(":")[0]
            self.bind_variable(variable, name, Binding("variable", variable))
        return self.tensor(self._current[key])

    def bind_variable(self, variable: Variable, name: str, binding: Binding) -> None:
        """Make `variable` a parameter, its value at the beginning of the call."""
        if id(variable) not in self._variables:
            node = self.parameter(name, variable.type, binding)
            self._variables[id(variable)] = (variable, node)
            self._current[id(variable)] = node

    def assign(self, variable: Variable, tensor: Any) -> None:
        """The new value is cut off from how it was computed: a gradient knows it as the variable, from here on."""
        self.read(variable)
        key = id(variable)
        new = self._current[key] = make(ops.stop_gradient, self.node(tensor))
        self.values.append(TapeEntry(ops.identity, (self._variables[key][1],), {}, (new,), None))

    def created(self, variable: Variable, value: Any) -> Tensor:
        """The initial value of a variable that is created while tracing: it exists at once, before the first call."""
        if not self.may_create:
            raise ValueError(
                f"{self.name}: a Variable is created in each call of a traced function; create it outside, or in the first "
                "call, which keeps it for the others" + (f"\n  at {place.describe()}" if (place := here()) else "")
            )
        self.has_created = True
        node = self.node(value)
        parameters = [each for each in reachable([node]) if each.op is ops.parameter]
        arguments = []
        for binding in [self.bindings[self.parameters.index(parameter)] for parameter in parameters]:
            if binding.kind.startswith("argument"):
                value.refuse("the initial value of a Variable may not depend on the function's arguments")
            # What was captured has a value now, before the call: a variable's, such as the state of random numbers.
            source = binding.source._tensor if isinstance(binding.source, Variable) else binding.source
            arguments.append(np.asarray(source))
        kinds = zip(arguments, parameters, strict=True)
        results, _ = interpret(Graph("initial_value", parameters, [node]), [a.astype(p.dtype.numpy) for a, p in kinds])
        return Tensor(np.array(results[0]), value.type)

    # -- gradients

    def custom_gradient(self, outputs: Sequence[Any], operands: Sequence[Any], backward: Callable[..., list[Any]]) -> list[Any]:
        """`outputs` with the rule `backward` for `operands`. It runs when a gradient is asked for, here or by a tape around a
        call of the function."""
        results = tuple([make(ops.identity, self.node(output)) for output in outputs])
        rule = TapeEntry(ops.custom_gradient, tuple(map(self.node, operands)), {"backward": backward}, results, None)
        self.rules.append(rule)
        for tape in context.tapes:
            tape.record(rule.op, rule.operands, rule.attrs, results)
        return [self.tensor(result) for result in results]

    def differentiate(
        self, entries: Iterable[TapeEntry], targets: Sequence[Node], seeds: Sequence[Any], sources: Sequence[Node]
    ) -> list[Any]:
        """The cotangent of each source: a traced tensor, `Gapped` where it may have gaps, or None. The active tapes record
        what computes it."""
        tensors: dict[Node, TracedTensor] = {}

        def tensors_of(nodes: Iterable[Node]) -> tuple[TracedTensor, ...]:
            return tuple([tensors.setdefault(node, self.tensor(node)) for node in nodes])

        applied = [entry._replace(operands=tensors_of(entry.operands), results=tensors_of(entry.results)) for entry in entries]
        ends = tensors_of(targets)
        given = [ops.ones_like(end) if seed is None else seed for end, seed in zip(ends, seeds, strict=True)]
        return ops.gapped_reverse(applied, ends, given, tensors_of(sources))

    def of_gradient(self, taken: Iterable[Node]) -> Trace:
        """A trace for the gradient of what this one holds, whose tensors its rules may have closed over. `taken` are parameters
        whose names it does not use."""
        trace = Trace(f"{self.name}_gradient", variables_may_be_created=False, outer=self)
        trace._names.update(node.attrs["name"] for node in taken)
        return trace

    # -- the end

    def updates(self) -> list[tuple[Node, Node]]:
        """(parameter, new value) of the variables that were assigned."""
        return [
            (parameter, self._current[key])
            for key, (_, parameter) in self._variables.items()
            if self._current[key] is not parameter
        ]

    def finish(self, results: Sequence[Any]) -> Graph:
        """The graph with `results` and with an update for every variable that was assigned."""
        updates = self.updates()
        graph = Graph(self.name, self.parameters, [self.node(result) for result in results], updates, self._effects)
        if self.rules:
            return graph  # a rule may need what no result does
        used = {node for each in graph.nodes for node in each.operands} | set(graph.results)
        used.update(node for update in updates for node in update)
        kept = [used_one for used_one in zip(self.parameters, self.bindings, strict=True) if used_one[0] in used]
        self.bindings = [binding for _, binding in kept]
        return Graph(self.name, [parameter for parameter, _ in kept], graph.results, updates, graph.effects)


class Traced(NamedTuple):
    """A traced function: its graph, where its parameters come from, and how its results are packed."""

    graph: Graph
    bindings: tuple[Binding, ...]
    structure: Any
    constants: tuple[Any, ...]  # what stands at the leaves of `structure`: an index of a result, or None
    rules: tuple[TapeEntry, ...]  # what a tape around a call sees in the place of the nodes that are their results
    trace: Trace | None  # where the function applied custom gradients: in which their rules are traced

    @property
    def is_single(self) -> bool:
        """Whether the function returned a tensor by itself."""
        return self.constants == (0,) and not isinstance(self.structure, (tuple, list, dict))

    def pack(self, results: Sequence[Any]) -> Any:
        """The structure that the function returned, with tensors at its leaves."""
        leaves = [None if index is None else results[index] for index in self.constants]
        return nest.pack(self.structure, iter(leaves))


def trace(function: Callable[..., Any], trace: Trace, args: Any, kwargs: Any) -> Traced:
    """Run `function` with `trace` as the current one; its results become the graph's.

    TracingError where it returns what is neither a tensor nor a number nor None.
    """
    return within(trace, lambda: _traced(function, trace, args, kwargs))


def _traced(function: Callable[..., Any], trace: Trace, args: Any, kwargs: Any) -> Traced:
    returned = function(*args, **kwargs)
    results: list[Any] = []
    places: list[Any] = []
    for leaf in nest.flatten(returned, f"what {trace.name} returned"):
        if leaf is None:
            places.append(None)
            continue
        try:
            results.append(convert_to_tensor(leaf))
        except TypeError:
            raise TracingError(
                f"{trace.name} returned {leaf!r}: a traced function returns tensors, numbers, None, and structures of them"
            ) from None
        places.append(len(results) - 1)
    graph = trace.finish(results)
    rules = (*trace.values, *trace.rules)
    return Traced(graph, tuple(trace.bindings), returned, tuple(places), rules, trace if trace.rules else None)


def within(trace: Trace, function: Callable[[], Any]) -> Any:
    """What `function` gives with `trace` as the current one and no tape active."""
    before, tapes = context.trace, context.tapes
    # No call before `try`, and none in front of what `finally` puts back: no interrupt comes between.
    interpreting[trace] = None
    interpreted.value = interpreted.value + 1
    context.trace, context.tapes = trace, ()
    try:
        return function()
    finally:
        context.trace, context.tapes = before, tapes
        if trace in interpreting:
            del interpreting[trace]
            interpreted.value = interpreted.value - 1
