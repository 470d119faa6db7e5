"""What an op is, and the registry that finds one by its name.

An op is one `Op` object holding everything known about it. The entries stand in `tracejit/ops`, a file a family; nothing
else in the compiler knows an op by name unless it treats it specially.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from tracejit.ir.types import Type
from tracejit.locks import importing

if TYPE_CHECKING:
    from tracejit.ir.graph import Node


class Scalar(NamedTuple):
    """Lowering of an elementwise op: `emit(b, *lanes, **attrs)` gives the lanes of the result. `costly` where computing a
    value again takes longer than to keep it."""

    emit: Callable[..., Any]
    costly: bool = False


class Reduction(NamedTuple):
    """Lowering of a reduction over `attrs["axes"]`: `combine(b, x, y)`, and `identity(dtype)`, its neutral element."""

    combine: Callable[..., Any]
    identity: Callable[[Any], Any]


class Alias(NamedTuple):
    """Lowering that moves no data: `layout(x, node)` gives the operand `x`, a `Strided`, as the result; None where its elements
    would have to move, which those of a contiguous operand never have to."""

    layout: Callable[..., Any]


class Kernel(NamedTuple):
    """Lowering as loops of its own, which the back end finds by the op. What planning has to know of them: `contiguous(node,
    views)` gives the numbers of the operands that are to be copied first, so that they lie in order; `product_flops(node)`,
    of a sum of products, how many multiplications and additions it takes."""

    contiguous: Callable[..., Any] | None = None
    product_flops: Callable[[Any], int] | None = None


Lowering = Scalar | Reduction | Alias | Kernel | None


class Op:
    """An operation: one entry with all that the compiler and its tests need to know.

    infer(*types, **attrs) -> type        the result's type; raises with the reason in the user's words
    evaluate(*arrays, **attrs) -> array   NumPy's result: eager mode, the interpreter and the oracle of the tests
    vjp                                   a rule an operand, `rule(ct, out, *operands, **attrs) -> ct`, None where there is no
                                          gradient; or one function of (needed, cts, outs, operands, attrs) for any number
    lower                                 Scalar, Reduction, Alias or Kernel; None where a pass or the planner replaces the op
    samples(rng) -> (arrays, attrs)...    what the generated tests run on, away from kinks
    expand(node) -> results               for an op that stands for other nodes: makes them
    fails(types, attrs) -> error          for an op that can fail on values: (exception class, the op's public name, message)
    remember                              whether a type that was inferred is worth remembering: not where an attribute is a
                                          graph, which takes longer to compare than the type to infer
    """

    __slots__ = ("_types", "evaluate", "expand", "fails", "infer", "lower", "name", "remember", "samples", "vjp")

    # Set by tracejit.ir.graph, which needs this module: the class of nodes, and their constructor.
    node_type: type
    make: Callable[..., Node]
    # Set by tracejit.tensor, which lies above this layer: the class of tensors, that of tensors and variables, how operands
    # that are no nodes become tensors, and how an op is applied to them.
    tensor_type: type
    operand_type: type[Any]
    lift_values: Callable[[str, tuple[Any, ...]], tuple[Any, ...]]
    apply_values: Callable[[Op, tuple[Any, ...], dict[str, Any]], Any]

    def __init__(
        self,
        name: str,
        *,
        infer: Callable[..., Type],
        evaluate: Callable[..., Any] | None = None,
        vjp: Any = (),
        lower: Lowering = None,
        samples: Callable[..., Any] | None = None,
        expand: Callable[[Node], Any] | None = None,
        fails: Callable[..., tuple[type[Exception], str, str]] | None = None,
        remember: bool = True,
    ):
        self.name, self.infer, self.evaluate, self.vjp, self.lower = name, infer, evaluate, vjp, lower
        self.samples, self.expand, self.fails, self.remember = samples, expand, fails, remember
        self._types: dict[Any, Type] = {}
        if name in OPS:
            raise ValueError(f"the op {name!r} is registered twice")
        OPS[name] = self

    def __call__(self, *operands: Any, **attrs: Any) -> Any:
        """Apply the op to nodes (a node comes back) or to values (a tensor comes back)."""
        node_type = Op.node_type
        for operand in operands:
            if type(operand) is node_type:
                return Op.make(self, *operands, **attrs)
        return Op.apply_values(self, operands, attrs)

    def type_of(self, types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
        """`infer`, remembered for operand types and attributes seen before."""
        if not self.remember:
            return self.infer(*types, **attrs)
        key = (types, *attrs, *attrs.values()) if attrs else types
        try:
            found = self._types.get(key)
        except TypeError:  # an attribute that cannot be hashed, such as an array
            return self.infer(*types, **attrs)
        if found is None:
            found = self.infer(*types, **attrs)
            if len(self._types) > 4096:
                self._types.clear()
            self._types[key] = found
        return found

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return find_op, (self.name,)


OPS: dict[str, Op] = {}


def find_op(name: str) -> Op:
    """The op called `name`; KeyError with the nearest names where there is none."""
    if name in OPS:
        return OPS[name]
    with importing:
        import difflib

    near = difflib.get_close_matches(name, OPS)
    raise KeyError(f"there is no op {name!r}" + (f"; near: {', '.join(near)}" if near else ""))


def require(condition: Any, op: str, types: tuple[Any, ...], message: str, error: type[Exception] | None = None) -> None:
    """Raise for `op` on `types` unless `condition`; InvalidArgumentError unless `error` says otherwise."""
    if not condition:
        from tracejit.ir.errors import InvalidArgumentError, fail

        fail(error or InvalidArgumentError, op, types, message)
