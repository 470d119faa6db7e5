"""Ops of the graph itself: parameters, constants, iota, elements of tuples, identities, gradients, fusions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tracejit.ir.errors import DtypeError
from tracejit.ir.graph import Graph
from tracejit.ir.interpret import interpret
from tracejit.ir.op import Alias, Op, Scalar, require
from tracejit.ir.types import DType, TensorType, TupleType, Type, array_type, has_dtype
from tracejit.ops.autodiff import expand_gradient
from tracejit.ops.cotangents import Gapped
from tracejit.ops.elementwise import ALL, NUMBERS, sample_array
from tracejit.ops.operands import frozen

Samples = Iterator[tuple[tuple[np.ndarray, ...], dict[str, Any]]]

parameter: Op = Op("parameter", infer=lambda type, name: type)


def _constant_samples(rng: np.random.Generator) -> Samples:
    for dtype in ALL:
        for shape in ((), (3,), (2, 3), (0,)):
            yield (), {"value": frozen(sample_array(rng, shape, dtype))}
    yield (), {"value": frozen(np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 0.1], np.float32))}


def _constant_infer(value: np.ndarray) -> TensorType:
    require(has_dtype(value), "constant", (value.dtype,), "tracejit does not have this dtype", DtypeError)
    return array_type(value)


constant_op: Op = Op(
    "constant",
    infer=_constant_infer,
    evaluate=lambda value: value,
    samples=_constant_samples,
)


def _iota_infer(shape: tuple[int, ...], axis: int, dtype: DType) -> TensorType:
    require(0 <= axis < len(shape), "iota", (), f"axis {axis} is not below {len(shape)}")
    require(min(shape) >= 0, "iota", (), f"the shape {list(shape)} has a negative size")
    require(dtype in NUMBERS, "iota", (), f"it counts in numbers, not {getattr(dtype, 'name', dtype)}", DtypeError)
    return TensorType(shape, dtype)


def _iota_evaluate(shape: tuple[int, ...], axis: int, dtype: DType) -> np.ndarray:
    along = np.arange(shape[axis], dtype=dtype.numpy).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return np.ascontiguousarray(np.broadcast_to(along, shape))


def _iota_samples(rng: np.random.Generator) -> Samples:
    for dtype in NUMBERS:
        for shape, axis in (((7,), 0), ((3, 19), 1), ((3, 5), 0), ((0,), 0)):
            yield (), {"shape": shape, "axis": axis, "dtype": dtype}


# Each element is its own index along `axis`.
iota: Op = Op(
    "iota",
    infer=_iota_infer,
    evaluate=_iota_evaluate,
    lower=Scalar(lambda b, shape, axis, dtype: b.iota(axis, dtype)),
    samples=_iota_samples,
)


def _element_infer(x: Type, index: int) -> TensorType:
    require(isinstance(x, TupleType) and 0 <= index < len(x.items), "element", (x,), f"it has no result {index}")
    return x.items[index]  # type: ignore[union-attr]


element: Op = Op("element", infer=_element_infer, evaluate=lambda x, index: x[index])


def _same_samples(rng: np.random.Generator) -> Samples:
    for dtype in ALL:
        yield (sample_array(rng, (2, 3), dtype),), {}


identity: Op = Op(
    "identity", infer=lambda x: x, evaluate=lambda x: x, vjp=(lambda ct, out, x: ct,),
    lower=Alias(lambda x, node: x), samples=_same_samples,
)  # fmt: skip
# The value of its operand, of which no gradient knows. A variable's value after an assignment is one.
stop_gradient: Op = Op(
    "stop_gradient", infer=lambda x: x, evaluate=lambda x: x, vjp=(None,), lower=Alias(lambda x, node: x),
    samples=_same_samples,
)  # fmt: skip


def _gradient_infer(*types: TensorType, targets: int, sources: int, seeded: bool) -> TupleType:
    first = targets * (2 if seeded else 1)
    require(targets > 0 and first + sources <= len(types), "gradient", types, "it has fewer operands than it says")
    for target, seed in zip(types[:targets], types[targets:first], strict=False):
        require(not seeded or target is seed, "gradient", types, f"a seed is {seed}, its target {target}")
    return TupleType(types[first : first + sources])


# What the user wrote as tape.gradient: operands are the targets, a seed a target if `seeded`, the sources, and what else
# the tape had not recorded and is constant for it. The pass `backward` puts the generated nodes in its place.
gradient: Op = Op("gradient", infer=_gradient_infer, expand=expand_gradient)


def _custom_vjp(needed: list[int], cts: Any, outs: Any, operands: Any, attrs: dict[str, Any], gapped: bool) -> list[Any]:
    # A rule of the user's may leave elements out on purpose.
    return [None if cotangent is None else Gapped(cotangent) for cotangent in attrs["backward"](*cts)]


# A rule of the user's for the cotangents of some values: `backward` takes the cotangents of its results and gives those of its
# operands. Only tapes and traces hold one, as a record; in a graph its results are identities.
custom_gradient: Op = Op("custom_gradient", infer=lambda *types, backward: TupleType(types), vjp=_custom_vjp, memoize=False)


def _fusion_infer(*types: TensorType, body: Graph, space: tuple[int, ...], rows: int) -> Type:
    expected = tuple(parameter.type for parameter in body.parameters)
    require(types == expected, "fusion", types, f"its body takes {', '.join(map(str, expected))}")
    require(0 <= rows <= len(space), "fusion", types, f"{rows} is no number of leading axes of {list(space)}")
    results = [result.type for result in body.results]
    return results[0] if len(results) == 1 else TupleType(results)


def _fusion_evaluate(*arrays: Any, body: Graph, space: tuple[int, ...], rows: int) -> Any:
    results, _ = interpret(body, arrays)
    return results[0] if len(results) == 1 else tuple(results)


# A loop nest that computes all of `body` at once; made by the pass `fuse`.
fusion: Op = Op("fusion", infer=_fusion_infer, evaluate=_fusion_evaluate, memoize=False)
