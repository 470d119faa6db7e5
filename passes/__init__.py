"""The passes, a file each: `run(graph) -> graph`, a valid graph in and a valid graph out, of the same values.

The pipeline is the tuple PIPELINE. After every pass the graph is verified, always. With TRACEJIT_CHECK=1 the graphs before
and after also run in the interpreter on random inputs, and the pass that changed a value is named.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator

import numpy as np

from tracejit.ir import Graph, TensorType, interpret, verify
from tracejit.ir.errors import InvalidArgumentError, VerifyError
from tracejit.ir.graph import attr_key
from tracejit.ir.location import register_library
from tracejit.ir.op import PURE
from tracejit.ir.types import array_type, bfloat16, float16, float32, float64
from tracejit.locks import importing

register_library(os.path.dirname(__file__))

PIPELINE = ("backward", "simplify", "fold", "cse", "accumulate", "crop", "fuse", "epilogue", "recompute")


def run(graph: Graph) -> Graph:
    """`graph` through the whole pipeline."""
    for name in PIPELINE:
        graph = apply(name, graph)
    return graph


def stages(graph: Graph) -> Iterator[tuple[str, Graph]]:
    """(name, graph) after each pass of the pipeline."""
    for name in PIPELINE:
        graph = apply(name, graph)
        yield name, graph


def apply(name: str, graph: Graph) -> Graph:
    """`graph` after the pass called `name`, verified. VerifyError names the pass where it is at fault."""
    with importing:
        module = importlib.import_module(f"tracejit.passes.{name}")
    after = module.run(graph)
    try:
        verify(after)
        _check_effects(graph, after)
        if os.environ.get("TRACEJIT_CHECK") == "1":
            check_values(graph, after)
    except VerifyError as error:
        raise VerifyError(f"the pass {name} is at fault: {error}") from None
    return after


def _check_effects(before: Graph, after: Graph) -> None:
    """VerifyError where `after` does not the same things in the same order; a read that nobody looks at may be missing."""
    wanted, done = _effects(before), _effects(after)
    remaining = iter(wanted)
    in_order = all(each in remaining for each in done)
    if not in_order or len(before.effects) != len(after.effects):
        wanted_names, names = ([name for name, _ in each] for each in (wanted, done))
        raise VerifyError(f"it changed the effects of {before.name}: {wanted_names} became {names}")


def _effects(graph: Graph) -> list[tuple[str, object]]:
    return [(node.op.name, attr_key(tuple(node.attrs.items()))) for node in graph.nodes if node.op.effects is not PURE]


_BOUNDS = {float32: 1e-4, float64: 1e-9, float16: 2.0**-10, bfloat16: 2.0**-7}


# What arrays are filled with, beside random numbers: one value an array, since sums of several would depend on their order.
_EXTREMES = (0.0, -0.0, 1.0, -1.0, 2.0**-10, np.inf, -np.inf, np.nan, "max", "min", "tiny", "subnormal")


def _extreme(rng: np.random.Generator, kind: TensorType) -> np.ndarray:
    dtype = kind.dtype.numpy
    if kind.dtype.is_bool:
        value: object = bool(rng.integers(2))
    elif kind.dtype.is_integer:
        value = (0, 1, -1, kind.dtype.max, kind.dtype.min)[rng.integers(5)]
    else:
        value = _EXTREMES[rng.integers(len(_EXTREMES))]
        limits = kind.dtype.limits
        named = {"max": limits.max, "min": limits.min, "tiny": limits.smallest_normal, "subnormal": limits.smallest_subnormal}
        value = named.get(value, value)  # type: ignore[arg-type]
    return np.full(kind.shape, value, dtype)


def _arguments(graph: Graph) -> Iterator[list[np.ndarray]]:
    rng = np.random.default_rng(0)
    yield [np.asarray(rng.uniform(0.2, 1.8, each.shape)).astype(each.dtype.numpy) for each in graph.parameters]
    for _ in range(_EXTREME_RUNS):
        yield [_extreme(rng, each.type) for each in graph.parameters]  # type: ignore[arg-type]


_EXTREME_RUNS = 24


def check_values(before: Graph, after: Graph) -> None:
    """Run both graphs on the same inputs, random ones and extremes. VerifyError where a result differs by more than rounding:
    1e-4 of the largest element for float32 and 1e-9 for float64, since a pass may not reorder but a constant is folded in
    NumPy; one in the last place for a half dtype. A graph that is not pure is not run."""
    if any(node.op.effects is not PURE for node in before.nodes):
        return
    for arguments in _arguments(before):
        try:
            expected = interpret(before, arguments)
        except InvalidArgumentError:
            continue  # these are no inputs of this graph: an index is out of range
        found = interpret(after, arguments)
        for old, new in zip([*expected[0], *expected[1]], [*found[0], *found[1]], strict=True):
            _compare(before, old, new)


def _compare(graph: Graph, old: np.ndarray, new: np.ndarray) -> None:
    dtype = array_type(old).dtype
    bound = _BOUNDS.get(dtype, 0.0)
    if dtype.is_half:
        old, new = (array.astype(dtype.accumulator.numpy) for array in (old, new))
    if dtype.is_floating:
        bound *= np.max(np.abs(old), initial=1.0, where=np.isfinite(old))
    if not np.allclose(old, new, rtol=0, atol=bound, equal_nan=True):
        raise VerifyError(f"it changed a value of {graph.name}: {old!r} became {new!r}")
