"""Elementwise ops: each lane of the result depends on the same lane of the operands.

The operands of a node have one shape; the public call broadcasts first, with an explicit `broadcast` node an operand that
needs it. `samples` are made from `domain`, the interval in which a float operand lies away from kinks and poles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tracejit.ir import dispatch
from tracejit.ir.errors import DtypeError, fail
from tracejit.ir.graph import Node, make
from tracejit.ir.op import Op, Scalar, require
from tracejit.ir.op import registered as ops
from tracejit.ir.types import DTYPES, HALVES, DType, TensorType, bool_, float32, float64, int32, int64
from tracejit.ops.cotangents import Gapped, Scale
from tracejit.ops.operands import align, lift, zeros_like

FLOATS = (float32, float64)
INTS = (int32, int64)
NUMBERS = FLOATS + INTS
# Where an op takes half dtypes, its result is the one in float32, rounded once: the correctly rounded one.
ALL_FLOATS, ALL_NUMBERS, ALL = FLOATS + HALVES, NUMBERS + HALVES, DTYPES + HALVES
BOOL = (bool_,)

SAMPLE_SHAPES: tuple[tuple[int, ...], ...] = ((), (7,), (3, 5), (0, 2), (2, 33))
HALF_SHAPES: tuple[tuple[int, ...], ...] = ((7,), (2, 33))


def sample_array(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: DType, domain: tuple[float, float] = (-2, 2)
) -> np.ndarray:
    """An array of `dtype` drawn from `domain`; integers stay in -5..5 within it, and are never 0 where 0 is outside. Where
    the domain holds no integer it says nothing of them."""
    low, high = domain
    if dtype.is_bool:
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.is_integer:
        least, most = max(math.ceil(low), -5), min(math.floor(high), 5)
        return rng.integers(*((least, most + 1) if least <= most else (-5, 6)), shape).astype(dtype.numpy)
    return np.asarray(rng.uniform(low, high, shape)).astype(dtype.numpy)


def require_dtype(name: str, operands: tuple[Any, ...], dtype: DType, taken: tuple[DType, ...]) -> None:
    """DtypeError for the op `name` on `operands` unless `dtype` is one of those `taken`."""
    if dtype not in taken:
        known = ", ".join(known.name for known in taken)
        advice = "; convert it with cast" if dtype.is_half else ""
        fail(DtypeError, name, operands, f"it takes {known}, not {dtype.name}{advice}")


class Elementwise(Op):
    """An op of one lane. `dtypes` are the operand dtypes it takes; `result` gives the result's dtype."""

    __slots__ = ("domain", "dtypes")

    def __init__(
        self,
        name: str,
        *,
        dtypes: tuple[DType, ...],
        evaluate: Callable[..., Any],
        lower: Callable[..., Any],
        vjp: Any = (None, None),
        result: DType | None = None,
        domain: tuple[float, float] | tuple[tuple[float, float], tuple[float, float]] = (-2, 2),
        arity: int = 1,
        costly: bool = False,
        samples: Callable[..., Any] | None = None,
    ):
        def infer(*types: TensorType) -> TensorType:
            if len(types) != arity or types.count(types[0]) != arity or types[0].dtype not in dtypes:
                refuse(types)
            return types[0] if result is None else TensorType(types[0].shape, result)

        def refuse(types: tuple[TensorType, ...]) -> None:
            taken = f"{arity} operand{'s' if arity > 1 else ''}"
            require(len(types) == arity, name, types, f"it takes {taken}, not {len(types)}")
            first = types[0]
            same_dtype = all(other.dtype is first.dtype for other in types)
            require(same_dtype, name, types, "the operands' dtypes differ", DtypeError)
            require(all(other is first for other in types), name, types, "the operands' shapes differ")
            self._require_dtype(first.dtype, types)

        domains: Any = domain if isinstance(domain[0], tuple) else (domain,) * arity

        def drawn(rng: np.random.Generator) -> Iterator[tuple[tuple[np.ndarray, ...], dict[str, Any]]]:
            for dtype in dtypes:
                for shape in SAMPLE_SHAPES if not dtype.is_half else HALF_SHAPES:
                    yield tuple(sample_array(rng, shape, dtype, limits) for limits in domains), {}

        super().__init__(name, infer=infer, evaluate=evaluate, vjp=vjp, lower=Scalar(lower, costly), samples=samples or drawn)
        self.dtypes, self.domain = dtypes, domains

    def _require_dtype(self, dtype: DType, operands: Any) -> None:
        require_dtype(self.name, operands, dtype, self.dtypes)


class Unary(Elementwise):
    """A public function of one tensor."""

    __slots__ = ()

    def __call__(self, x: Any, name: str | None = None) -> Any:
        """The op on every element of `x`; the result has its shape. DtypeError where the op does not take x's dtype."""
        if type(x) is Node:
            return make(self, x)
        if type(x) is not dispatch.tensor_type:
            (x,) = dispatch.lift(self.name, (x,))
        return dispatch.apply(self, (x,), {})


class Binary(Elementwise):
    """A public function of two tensors of one dtype, which are broadcast as NumPy does."""

    __slots__ = ()

    def __call__(self, x: Any, y: Any, name: str | None = None) -> Any:
        """The op on the elements of `x` and `y`, broadcast. DtypeError where the dtypes differ or the op does not take
        them, InvalidArgumentError where the shapes do not broadcast. A Python number takes the other's dtype."""
        if type(x) is not dispatch.tensor_type or type(y) is not dispatch.tensor_type:
            x, y = lift(self.name, (x, y))
        if x.type is not y.type:
            self._require_dtype(x.type.dtype, (x, y))
            x, y = align(self.name, (x, y))
        return make(self, x, y) if type(x) is Node else dispatch.apply(self, (x, y), {})


def _floordiv(x: Any, y: Any) -> Any:
    return np.floor(np.true_divide(x, y)) if x.dtype.kind == "f" else np.floor_divide(x, y)


neg: Unary = Unary(
    "neg", dtypes=ALL_NUMBERS, evaluate=np.negative, lower=lambda b, x: b.neg(x), vjp=(lambda ct, out, x: neg(ct),)
)
abs: Unary = Unary(
    "abs", dtypes=ALL_NUMBERS, evaluate=np.abs, lower=lambda b, x: b.abs(x), domain=(0.3, 2),
    vjp=(Scale(lambda out, x: sign(x)),),
)  # fmt: skip
sign: Unary = Unary(
    "sign", dtypes=ALL_NUMBERS, evaluate=np.sign, lower=lambda b, x: b.sign(x), domain=(0.3, 2),
    vjp=(lambda ct, out, x: zeros_like(ct),),
)  # fmt: skip
floor: Unary = Unary("floor", dtypes=FLOATS, evaluate=np.floor, lower=lambda b, x: b.floor(x))
ceil: Unary = Unary("ceil", dtypes=FLOATS, evaluate=np.ceil, lower=lambda b, x: b.ceil(x))
round: Unary = Unary(
    "round", dtypes=NUMBERS, evaluate=lambda x: np.rint(x) if x.dtype.kind == "f" else x,
    lower=lambda b, x: b.round(x) if x.dtype.is_floating else x,
)  # fmt: skip
# As in TensorFlow, of sqrt, rsqrt and reciprocal 0 where the cotangent is 0, also at x = 0, where the derivative is infinite.
sqrt: Unary = Unary(
    "sqrt", costly=True, dtypes=FLOATS, evaluate=np.sqrt, lower=lambda b, x: b.sqrt(x), domain=(0.5, 4),
    vjp=(lambda ct, out, x: ops.div_or_zero(mul(ct, 0.5), out),),
)  # fmt: skip
reciprocal: Unary = Unary(
    "reciprocal", costly=True, dtypes=ALL_FLOATS, evaluate=lambda x: x.dtype.type(1) / x, domain=(0.5, 2),
    lower=lambda b, x: b.div(b.const(1, x.dtype), x), vjp=(lambda ct, out, x: neg(ops.mul_or_zero(ct, mul(out, out))),),
)  # fmt: skip
# 1 - x * x, as a product that loses no digits where x is near 1 or -1.
one_minus_square: Unary = Unary(
    "one_minus_square", dtypes=FLOATS, evaluate=lambda x: (1 - x) * (x + 1),
    lower=lambda b, x: b.mul(b.sub(b.const(1, x.dtype), x), b.add(x, b.const(1, x.dtype))),
    vjp=(Scale(lambda out, x: mul(x, -2.0)),),
)  # fmt: skip
is_finite: Unary = Unary(
    "is_finite", dtypes=ALL_FLOATS, evaluate=np.isfinite, result=bool_,
    lower=lambda b, x: b.compare("lt", b.abs(x), b.const(math.inf, x.dtype)),
)  # fmt: skip

add: Binary = Binary(
    "add", arity=2, dtypes=ALL_NUMBERS, evaluate=np.add, lower=lambda b, x, y: b.add(x, y),
    vjp=(lambda ct, out, x, y: ct, lambda ct, out, x, y: ct),
)  # fmt: skip
sub: Binary = Binary(
    "sub", arity=2, dtypes=ALL_NUMBERS, evaluate=np.subtract, lower=lambda b, x, y: b.sub(x, y),
    vjp=(lambda ct, out, x, y: ct, lambda ct, out, x, y: neg(ct)),
)  # fmt: skip
mul: Binary = Binary(
    "mul", arity=2, dtypes=ALL_NUMBERS, evaluate=np.multiply, lower=lambda b, x, y: b.mul(x, y),
    vjp=(Scale(lambda out, x, y: y), Scale(lambda out, x, y: x)),
)  # fmt: skip
div: Binary = Binary(
    "div", costly=True, arity=2, dtypes=ALL_FLOATS, evaluate=np.true_divide, lower=lambda b, x, y: b.div(x, y),
    domain=((-2, 2), (0.5, 2)),
    vjp=(Scale(over=lambda out, x, y: y), Scale(over=lambda out, x, y: y, times=lambda out, x, y: neg(out))),
)  # fmt: skip
floordiv: Binary = Binary(
    "floordiv", costly=True, arity=2, dtypes=NUMBERS, evaluate=_floordiv, lower=lambda b, x, y: b.floordiv(x, y),
    domain=((-4, 4), (0.7, 3)),
)  # fmt: skip
mod: Binary = Binary(
    "mod", costly=True, arity=2, dtypes=NUMBERS, evaluate=np.mod, lower=lambda b, x, y: b.mod(x, y),
    domain=((0.1, 0.4), (0.7, 3)),
    vjp=(lambda ct, out, x, y: ct, Scale(lambda out, x, y: neg(floordiv(x, y)))),
)  # fmt: skip


# Where both are equal the first operand takes the whole cotangent, as in TensorFlow.
maximum: Binary = Binary(
    "maximum", arity=2, dtypes=ALL_NUMBERS, evaluate=np.maximum, lower=lambda b, x, y: b.max(x, y), domain=((-2, 0), (0.2, 2)),
    vjp=(
        lambda ct, out, x, y: Gapped(ops.select(greater_equal(x, y), ct, zeros_like(ct))),
        lambda ct, out, x, y: Gapped(ops.select(greater_equal(x, y), zeros_like(ct), ct)),
    ),
)  # fmt: skip
minimum: Binary = Binary(
    "minimum", arity=2, dtypes=ALL_NUMBERS, evaluate=np.minimum, lower=lambda b, x, y: b.min(x, y), domain=((-2, 0), (0.2, 2)),
    vjp=(
        lambda ct, out, x, y: Gapped(ops.select(less_equal(x, y), ct, zeros_like(ct))),
        lambda ct, out, x, y: Gapped(ops.select(less_equal(x, y), zeros_like(ct), ct)),
    ),
)  # fmt: skip


def _comparison(name: str, predicate: str, evaluate: Callable[..., Any], dtypes: tuple[DType, ...] = ALL_NUMBERS) -> Binary:
    return Binary(
        name, arity=2, dtypes=dtypes, evaluate=evaluate, result=bool_, lower=lambda b, x, y: b.compare(predicate, x, y)
    )


equal: Binary = _comparison("equal", "eq", np.equal, ALL)
not_equal: Binary = _comparison("not_equal", "ne", np.not_equal, ALL)
less: Binary = _comparison("less", "lt", np.less)
less_equal: Binary = _comparison("less_equal", "le", np.less_equal)
greater: Binary = _comparison("greater", "gt", np.greater)
greater_equal: Binary = _comparison("greater_equal", "ge", np.greater_equal)
