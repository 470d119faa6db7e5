"""From the name of a parameter to an argument: how every public function is called, those included that are new."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

import tracejit as tj
from tracejit.ir.types import bool_, float32, float64, int32, int64

from .program import literal

if TYPE_CHECKING:
    from .generate import Generator

# What is no function of tensors, or has lines of its own (lines.py).
_LEFT_OUT = {
    "function", "run_functions_eagerly", "custom_gradient", "as_dtype", "is_tensor", "set_seed", "range", "linspace",
}  # fmt: skip


# Of products whose terms are summed in several blocks.
DEPTHS = (1025, 1100, 2049, 5000)
_OF_NN = ("tracejit.functions.nn", "tracejit.functions.convolution")


def public_functions() -> dict[str, Callable[..., Any]]:
    """Every public function by the name that a user writes, each once."""
    found: dict[str, Callable[..., Any]] = {}
    for module, prefix in (
        (tj, "tj"),
        (tj.nn, "tj.nn"),
        (tj.linalg, "tj.linalg"),
        (tj.math, "tj.math"),
        (tj.random, "tj.random"),
    ):
        for name, value in sorted(vars(module).items()):
            own = getattr(value, "__module__", type(value).__module__) or ""
            if name.startswith("_") or not callable(value) or inspect.isclass(value) or not own.startswith("tracejit"):
                continue
            if name in _LEFT_OUT or (prefix == "tj.nn" and own not in _OF_NN):
                continue
            if prefix == "tj.random" and name not in ("uniform", "normal"):
                continue
            if not any(value is other for other in found.values()):
                found[f"{prefix}.{name}"] = value
    return found


def call_text(name: str, function: Callable[..., Any], draw: Generator) -> str | None:
    """A call of `function` with values of the program; None where an argument has no maker."""
    made: dict[str, str] = {}
    text = []
    for parameter in inspect.signature(function).parameters.values():
        # Without its branches `where` gives the places of what is true, how many no trace can know.
        optional = parameter.default is not inspect.Parameter.empty and name != "tj.where"
        if parameter.name == "name" or (optional and parameter.name not in MAKERS) or (optional and draw.chance(0.4)):
            continue
        maker = MAKERS.get(parameter.name, _value)
        argument = maker(draw, name, made)
        if argument is None:
            return None
        made[parameter.name] = argument
        text.append(f"{parameter.name}={argument}" if optional or draw.chance(0.2) else argument)
        if text[-1].startswith(parameter.name + "="):
            continue
        if any("=" in each.split("(")[0] for each in text[:-1]):
            text[-1] = f"{parameter.name}={argument}"
    return f"{name}({', '.join(text)})"


# -- a maker takes the generator, the function's name and the arguments so far

_FUNCTIONS_OF_IMAGES = ("conv2d", "depthwise_conv2d", "conv2d_transpose", "max_pool", "avg_pool", "max_pool2d", "avg_pool2d")


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _value(draw: Generator, name: str, made: dict[str, str]) -> str | None:
    """A tensor: the first any, the others of its dtype and mostly of a shape that goes with it."""
    if _last(name) in _FUNCTIONS_OF_IMAGES:
        if not made:
            size = [draw.pick([1, 2]), *(draw.pick([3, 4, 5, 8]) for _ in range(2)), draw.pick([1, 2, 3, 6])]
            return draw.new_input(draw.pick([float32, float32, float64]), tuple(size))
        x = draw.types[next(iter(made.values()))]
        window = (draw.pick([1, 2, 3]), draw.pick([1, 2, 3]), x.shape[3], draw.pick([1, 2, 4]))
        return draw.new_input(x.dtype, window)
    first = next((draw.types[each] for each in made.values() if each in draw.types), None)
    last = _last(name)
    if last == "sparse_softmax_cross_entropy_with_logits":
        return _labels(draw, made)
    if last == "one_hot":
        return draw.new_indices(draw.pick([(), (3,), (2, 3)]), 4)
    if last in ("matmul",):
        return _matrix(draw, first, made)
    if first is not None:
        if last == "gather" or last == "where":
            return draw.value(dtypes=[float32, float64, int32])
        return draw.scalar(first.dtype) if draw.chance(0.2) else draw.fitting(first)
    if last.startswith("logical") or last in ("reduce_any", "reduce_all"):
        return draw.value(dtypes=[bool_])
    if draw.chance(0.1):
        return draw.value()
    return draw.value(dtypes=[float32, float64])


def _labels(draw: Generator, made: dict[str, str]) -> str:
    rows, classes = draw.pick([1, 3, 5]), 4
    if not made:
        return draw.new_indices((rows,), classes)
    (index,) = made.values()
    return draw.value_of(draw.pick([float32, float64]), (*draw.types[index].shape, classes))


def _matrix(draw: Generator, first: Any, made: dict[str, str]) -> str:
    if first is None:
        if not draw.smooth and draw.chance(0.06):
            return draw.new_input(draw.pick([float32, float64]), (draw.pick([1, 2, 5, 33]), draw.pick(DEPTHS)))
        known = draw.value(dtypes=[float32, float64], least_rank=2)
        return known or draw.new_input(draw.pick([float32, float64]), (draw.size(), draw.size()))
    batch = first.shape[:-2] if draw.chance(0.6) else ()
    return draw.value_of(first.dtype, (*batch, first.shape[-1], draw.size()))


def _of_first(make: Callable[[Generator, Any], Any]) -> Callable[[Generator, str, dict[str, str]], str | None]:
    """A maker that looks at the type of the first tensor."""

    def maker(draw: Generator, name: str, made: dict[str, str]) -> str | None:
        first = next((draw.types[each] for each in made.values() if each in draw.types), None)
        return None if first is None else literal(make(draw, first))

    return maker


def _axis(draw: Generator, x: Any) -> Any:
    rank = len(x.shape)
    if not rank:
        return None if draw.chance(0.5) else 0
    one = int(draw.rng.integers(-rank, rank))
    return one if draw.chance(0.8) else sorted({int(each) for each in draw.rng.integers(0, rank, draw.pick([1, 2]))})


def _one_axis(draw: Generator, x: Any) -> Any:
    rank = max(len(x.shape), 1)
    return int(draw.rng.integers(-rank, rank))


def _shape(draw: Generator, name: str, made: dict[str, str]) -> str | None:
    last = _last(name)
    first = next((draw.types[each] for each in made.values() if each in draw.types), None)
    if first is None:
        return literal(list(draw.shape()))
    if last == "broadcast_to":
        return literal([draw.pick([1, 2]), *(size if size != 1 else draw.pick([1, 3]) for size in first.shape)])
    return literal(_factors(draw, first))


def _factors(draw: Generator, x: Any) -> list[int]:
    size, sizes = int(np.prod(x.shape, dtype=np.int64)), []
    if size == 0:
        return [0, 3] if draw.chance(0.5) else [0]
    for prime in (2, 3, 5, 7):
        while size % prime == 0 and draw.chance(0.5):
            sizes.append(prime)
            size //= prime
    sizes.append(size)
    draw.rng.shuffle(sizes)
    if draw.chance(0.2):
        sizes[0] = -1
    return [int(each) for each in sizes]


def _choice(*values: Any) -> Callable[[Generator, str, dict[str, str]], str]:
    return lambda draw, name, made: literal(draw.pick(list(values)))


def _split(draw: Generator, x: Any) -> Any:
    size = x.shape[0] if x.shape else 1
    if size > 1 and draw.chance(0.5):
        cut = int(draw.rng.integers(0, size + 1))
        return [cut, size - cut]
    return draw.pick([each for each in (1, 2, 3, size) if each and size % each == 0] or [1])


def _several(draw: Generator, name: str, made: dict[str, str]) -> str | None:
    first = draw.value(dtypes=None)
    if first is None:
        return None
    like = [draw.same_type(draw.types[first]) for _ in range(draw.pick([0, 1, 2]))]
    return f"[{', '.join([first, *like])}]"


def _indices(draw: Generator, name: str, made: dict[str, str]) -> str | None:
    first = next((draw.types[each] for each in made.values() if each in draw.types), None)
    if first is None or not first.shape or not min(first.shape):
        return None
    return draw.new_indices(draw.pick([(), (3,), (2, 3), (0,), (17,)]), min(first.shape))


def _window(draw: Generator, name: str, made: dict[str, str]) -> str:
    return literal(draw.pick([1, 2, 3, [1, 2], [2, 1], [2, 2]]))


def _output_shape(draw: Generator, name: str, made: dict[str, str]) -> str | None:
    return None


_scalar = _choice(-0.5, 0.25, 0.5, 1.0, 1.5)

MAKERS: dict[str, Callable[[Any, str, dict[str, str]], str | None]] = {
    "axis": _of_first(_axis), "axes": _of_first(_axis), "keepdims": _choice(True, False), "shape": _shape, "dims": _shape,
    "perm": _of_first(lambda draw, x: [int(each) for each in draw.rng.permutation(len(x.shape))]),
    "dtype": _choice(float32, float64, int32, int64, bool_, tj.float16), "out_type": _choice(int32, int64),
    "output_type": _choice(int32, int64), "num_or_size_splits": _of_first(_split), "inputs": _several, "values": _several,
    "paddings": _of_first(lambda draw, x: [[draw.pick([0, 1, 2]), draw.pick([0, 1, 17])] for _ in x.shape]),
    "constant_values": _choice(0, 1, -2), "multiples": _of_first(lambda draw, x: [draw.pick([1, 1, 2, 3, 0]) for _ in x.shape]),
    "depth": _choice(1, 3, 4, 17), "on_value": _scalar, "off_value": _scalar, "clip_value_min": _choice(-1.0, -0.5),
    "clip_value_max": _choice(0.5, 1.0), "num_rows": _choice(1, 3), "num_columns": _choice(2, 3), "alpha": _scalar,
    "beta": _scalar, "approximate": _choice(True, False), "strides": _window, "ksize": _window,
    "padding": _choice("SAME", "VALID"), "dilations": _choice(1, 2), "transpose_a": _choice(False, False, True),
    "transpose_b": _choice(False, False, True), "indices": _indices, "output_shape": _output_shape, "shift": _choice(None),
    "condition": lambda draw, name, made: draw.value_of(bool_, draw.shape()), "seed": _choice(3, 4),
    "minval": _choice(0, -1), "maxval": _choice(1, 2), "mean": _choice(0.0, 1.0), "stddev": _choice(1.0, 2.0),
    "value": lambda draw, name, made: _scalar(draw, name, made) if _last(name) in ("fill", "constant") else _value(draw, name, made),
    "batch_dims": _choice(0, 0, 1),
}  # fmt: skip
