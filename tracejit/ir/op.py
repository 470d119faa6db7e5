"""What an op is, the node that an op on operands is, and the registry that finds an op by its name.

An op is one `Op` object holding everything known about it. The entries stand in `tracejit/ops`, a file a family; nothing
else in the compiler knows an op by name unless it treats it specially.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from tracejit.ir import dispatch
from tracejit.ir.errors import InvalidArgumentError, fail
from tracejit.ir.location import Location, here
from tracejit.ir.types import Type
from tracejit.locks import importing

_serial = itertools.count()
_NO_ATTRS: Mapping[str, Any] = MappingProxyType({})


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


class Effects(enum.Flag):
    """What an op does besides giving its result, or what its result depends on besides its operands.

    A PURE op may be computed when and as often as one likes, or never. Any other is computed where the program has it, once,
    in order with all others that are not pure. READS gives what state holds then, and is left out where nobody wants that;
    WRITES changes state, and ORDERED is seen outside, as a message is: they stay though nobody reads their result.
    """

    PURE = 0
    READS = enum.auto()
    WRITES = enum.auto()
    ORDERED = enum.auto()

    @property
    def stay(self) -> bool:
        """Whether the op is computed though nobody reads its result."""
        return bool(self & (Effects.WRITES | Effects.ORDERED))


PURE = Effects.PURE  # by a name that is found at once: it is asked for of every node


class Op:
    """An operation: one entry with all that the compiler and its tests need to know.

    infer(*types, **attrs) -> type        the result's type; raises with the reason in the user's words
    evaluate(*arrays, **attrs) -> array   NumPy's result: eager mode, the interpreter and the oracle of the tests
    vjp                                   a rule an operand, `rule(ct, out, *operands, **attrs) -> ct`, None where there is no
                                          gradient; or one function of (needed, cts, outs, operands, attrs) for any number
    lower                                 Scalar, Reduction, Alias or Kernel; None where a pass or the planner replaces the op
    samples(rng) -> (arrays, attrs)...    what the generated tests run on, away from kinks
    expand(node) -> results               for an op that stands for other nodes: makes them
    runtime_error(types, attrs)           for an op that can fail on values: (exception class, the op's public name, message);
                                          to fail is no effect: where nobody reads the result it does not
    effects                               all there are to a call beside operands and result; of no op, so far: random numbers
                                          are computed of counters, and variables are parameters and updates of the graph
    memoize                               whether a type that was inferred is worth keeping: not where an attribute is a
                                          graph, which takes longer to compare than the type to infer
    """

    __slots__ = (
        "_types", "effects", "evaluate", "expand", "infer", "lower", "memoize", "name", "runtime_error", "samples", "vjp",
    )  # fmt: skip

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
        runtime_error: Callable[..., tuple[type[Exception], str, str]] | None = None,
        memoize: bool = True,
        effects: Effects = PURE,
    ):
        self.name, self.infer, self.evaluate, self.vjp, self.lower = name, infer, evaluate, vjp, lower
        self.samples, self.expand, self.runtime_error, self.memoize = samples, expand, runtime_error, memoize
        self.effects = effects
        self._types: dict[Any, Type] = {}
        if name in OPS:
            raise ValueError(f"the op {name!r} is registered twice")
        OPS[name] = self

    @property
    def is_product(self) -> bool:
        """Whether its elements are sums of products, of which each is read many times."""
        return isinstance(self.lower, Kernel) and self.lower.product_flops is not None

    def __call__(self, *operands: Any, **attrs: Any) -> Any:
        """Apply the op to nodes (a node comes back) or to values (a tensor comes back)."""
        for operand in operands:
            if type(operand) is Node:
                return make(self, *operands, **attrs)
        return dispatch.apply(self, operands, attrs)

    def type_of(self, types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
        """`infer`, remembered for operand types and attributes seen before."""
        if not self.memoize:
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


class Frozen:
    __slots__ = ()

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable: make a new one instead of setting {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable: {name!r} cannot be deleted")


class Node(Frozen):
    """One SSA value: an op applied to operands. Compares by identity. Made by `make` only."""

    __slots__ = ("__weakref__", "attrs", "location", "op", "operands", "serial", "type", "verified")
    op: Op
    operands: tuple[Node, ...]
    attrs: Mapping[str, Any]
    type: Type
    location: Location | None
    serial: int
    verified: bool  # the verifier has looked at it, and as nothing in it can change does not look again

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape  # type: ignore[union-attr]

    @property
    def dtype(self) -> Any:
        return self.type.dtype  # type: ignore[union-attr]

    def __repr__(self) -> str:
        return f"<{self.op.name} : {self.type}>"


frozen_set = object.__setattr__


def make(op: Op, *operands: Node, location: Location | None = None, **attrs: Any) -> Node:
    """The only constructor of a node: asks the op for the type, and never simplifies."""
    node = object.__new__(Node)
    frozen_set(node, "op", op)
    frozen_set(node, "operands", operands)
    frozen_set(node, "attrs", MappingProxyType(attrs) if attrs else _NO_ATTRS)
    frozen_set(node, "type", op.type_of(tuple([operand.type for operand in operands]), attrs))
    frozen_set(node, "location", location or here())
    frozen_set(node, "serial", next(_serial))
    frozen_set(node, "verified", False)
    return node


OPS: dict[str, Op] = {}


class _ByName:
    """The ops that are registered, as attributes: `registered.add` is OPS["add"]."""

    def __init__(self) -> None:
        self.__dict__ = OPS

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Op: ...


# How the rules of an op name others, whose rules may name it: when they run, all are there.
registered = _ByName()


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
        fail(error or InvalidArgumentError, op, types, message)
