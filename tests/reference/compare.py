"""Whether tracejit's answer is TensorFlow's.

Numbers: what moves or counts elements and what IEEE arithmetic defines is the same bit for bit (any NaN is any NaN). Elementary
functions keep the limits of `tracejit.llvm.math.vectormath.ULP`, and TensorFlow's are granted as much again and 2 units; sums, and
gradients, which are sums of products, agree to SUM units of the largest number about. A half's units are those of its own.

Errors: RAISED says which of Python's classes a class of TensorFlow's may be. Its ValueError and TypeError are the same here; its
InvalidArgumentError, which it raises for wrong values, types and dtypes alike, may be either. What Python or NumPy say of
tracejit's own insides (BARE) is no answer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.answers import Answer
from reference.cases import FLOATS, Case
from tracejit.llvm.math.vectormath import ULP

SUM = 32  # units in the last place of the largest number of an array
EXACT = frozenset(
    [
        "abs",
        "floor",
        "negative",
        "round",
        "sign",
        "math.ceil",
        "identity",
        "stop_gradient",
        "add",
        "subtract",
        "multiply",
        "divide",
        "maximum",
        "minimum",
        "equal",
        "not_equal",
        "less",
        "less_equal",
        "greater",
        "greater_equal",
        "logical_and",
        "logical_or",
        "logical_not",
        "math.logical_xor",
        "math.is_finite",
        "square",
        "sqrt",
        "nn.relu",
        "nn.relu6",
        "operator.add",
        "operator.sub",
        "operator.mul",
        "operator.truediv",
        "operator.neg",
        "operator.pos",
        "operator.abs",
        "getitem",
        "reshape",
        "squeeze",
        "expand_dims",
        "transpose",
        "broadcast_to",
        "concat",
        "stack",
        "unstack",
        "split",
        "pad",
        "tile",
        "reverse",
        "gather",
        "where",
        "clip_by_value",
        "zeros_like",
        "ones_like",
        "shape",
        "size",
        "constant",
        "convert_to_tensor",
        "cast",
        "one_hot",
        "zeros",
        "ones",
        "fill",
        "eye",
        "reduce_max",
        "reduce_min",
        "argmax",
        "argmin",
        "nn.bias_add",
    ]
)
KERNELS = {
    "math.erf": "erf",
    "math.erfc": "erfc",
    "math.log1p": "log1p",
    "math.expm1": "expm1",
    "math.rsqrt": "rsqrt",
    "operator.pow": "pow",
}

# What an error of TensorFlow's may be here: any of these classes.
RAISED = {
    "InvalidArgumentError": ("ValueError", "IndexError", "TypeError"),
    "ValueError": ("ValueError",),
    "TypeError": ("TypeError",),
    "NotFoundError": ("TypeError", "ValueError"),
    "UnimplementedError": ("TypeError", "ValueError", "NotImplementedError"),
    "OutOfRangeError": ("IndexError", "ValueError"),
    "AttributeError": ("AttributeError", "TypeError", "ValueError"),
    "IndexError": ("IndexError", "ValueError"),
    "KeyError": ("KeyError", "ValueError", "TypeError"),
    "OverflowError": ("OverflowError", "ValueError"),
    "NotImplementedError": ("NotImplementedError", "TypeError", "ValueError"),
    "RuntimeError": ("RuntimeError",),
    "LookupError": ("LookupError", "TypeError", "ValueError"),
    "InternalError": ("ValueError", "TypeError"),
    "AssertionError": ("ValueError", "TypeError", "AssertionError"),
    "UnicodeDecodeError": ("TypeError", "ValueError"),
    "Crash": ("ValueError", "TypeError"),
    "AbortedError": ("ValueError", "TypeError"),
    "MemoryError": ("ValueError", "TypeError", "MemoryError"),
    "ZeroDivisionError": ("ZeroDivisionError", "ValueError"),
    "ResourceExhaustedError": ("ValueError", "MemoryError"),
}

BARE = (
    "cannot be interpreted as an integer", "only integer scalar arrays", "has no attribute", "truth value of", "to unpack", "index out of range",
    "unhashable type", "an integer is required", "length-1 arrays", "only 0-dimensional arrays", "invalid literal", "argument must be", "could not be promoted",
    "is not iterable", "not supported between", "unsupported operand", "out of bounds for", "recursion", "inhomogeneous", "not subscriptable", "is shorter than",
)  # fmt: skip


def differences(case: Case, theirs: Answer, ours: Answer) -> list[tuple[str, str]]:
    """What differs: (kind, the two answers). Kinds: refused, accepted, error class, type, dtype, shape, value, None in first, NaN in first, ..."""
    if "raised" in theirs or "raised" in ours:
        return _errors(theirs, ours, "")
    found = _nests(case, theirs["value"], ours["value"], "value")
    for order in ("first", "second"):
        one, other = theirs.get(order), ours.get(order)
        if isinstance(one, dict) or isinstance(other, dict):
            found += _errors(one if isinstance(one, dict) else {}, other if isinstance(other, dict) else {}, f" in {order}")
        elif order == "first" or not found:
            found += _gradients(case, one or [], other or [], order)
    return found


def _errors(theirs: Answer, ours: Answer, where: str) -> list[tuple[str, str]]:
    wanted, came = theirs.get("raised"), ours.get("raised")
    if came is None:
        return [(f"accepted{where}", f"TF: {wanted[0]}; ours: {brief(ours)}")] if wanted else []
    if wanted is None:
        return [(f"refused{where}", f"TF: {brief(theirs)}; ours: {came[0]}: {ours.get('text')}")]
    allowed: set[str] = set()
    for name in wanted:
        if name in RAISED:
            allowed |= set(RAISED[name])
            break
    both = f"TF: {wanted[0]}; ours: {came[0]}: {ours.get('text')}"
    if not allowed & set(came):
        return [(f"error class{where}", both)]
    return [(f"bare error{where}", both)] if any(text in str(ours.get("text")) for text in BARE) else []


def _gradients(case: Case, theirs: list[Any], ours: list[Any], order: str) -> list[tuple[str, str]]:
    count = max(len(theirs), len(ours))
    theirs, ours = [*theirs, *[None] * (count - len(theirs))], [*ours, *[None] * (count - len(ours))]
    found = []
    for one, other in zip(theirs, ours, strict=True):
        if (one is None) != (other is None):
            kind = f"None in {order}" if other is None else f"no None in {order}"
            found.append((kind, f"TF: {brief(one)}; ours: {brief(other)}"))
        elif one is not None:
            found += _arrays(case, one, other, order)
    return found


def _nests(case: Case, theirs: Any, ours: Any, where: str) -> list[tuple[str, str]]:
    if isinstance(theirs, np.ndarray) and isinstance(ours, np.ndarray):
        return _arrays(case, theirs, ours, where)
    if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        return [each for one, other in zip(theirs, ours, strict=True) for each in _nests(case, one, other, where)]
    if isinstance(theirs, dict) and isinstance(ours, dict) and theirs.keys() == ours.keys():
        return [each for key in theirs for each in _nests(case, theirs[key], ours[key], where)]
    return [] if type(theirs) is type(ours) and theirs == ours else [("type", f"TF: {brief(theirs)}; ours: {brief(ours)}")]


def _arrays(case: Case, theirs: np.ndarray, ours: np.ndarray, where: str) -> list[tuple[str, str]]:
    both = f"TF: {brief(theirs)}; ours: {brief(ours)}"
    if theirs.dtype != ours.dtype:
        return [(f"dtype of {where}", both)]
    if theirs.shape != ours.shape:
        return [(f"shape of {where}", both)]
    if theirs.tobytes() == ours.tobytes():
        return []
    if theirs.dtype.name not in FLOATS:
        return [] if (theirs == ours).all() else [(f"{where}", both)]
    one, other = theirs.astype(np.float64), ours.astype(np.float64)
    with np.errstate(all="ignore"):
        near = np.abs(one - other) <= _bound(case, one, other, theirs.dtype, where)
    least = {"float64": 2.3e-308, "float32": 1.2e-38, "float16": 6.2e-5, "bfloat16": 1.2e-38}[theirs.dtype.name]
    flushed = (one == 0) & (np.abs(other) < least) & (other != 0)
    same = (np.isnan(one) & np.isnan(other)) | (one == other) | (near & np.isfinite(one) & np.isfinite(other))
    if not (same | flushed).all():
        lost = ~same & ~flushed & ~(np.isnan(one) & ~np.isnan(other))
        kind = where if where == "value" or lost.any() else f"NaN in {where}"
        which = np.flatnonzero(~same.reshape(-1))[:3].tolist()
        shown = ", ".join(f"[{at}] TF {theirs.reshape(-1)[at]!s} ours {ours.reshape(-1)[at]!s}" for at in which)
        return [(kind, f"{(~same).sum()} of {same.size}: {shown}")]
    if not same.all():
        return [(f"subnormal in {where}", both)]
    zeros = (one == 0) & (other == 0) & (np.signbit(one) != np.signbit(other))
    return [(f"sign of zero in {where}", both)] if zeros.any() and where == "value" else []


def _bound(case: Case, one: np.ndarray, other: np.ndarray, dtype: np.dtype, where: str) -> np.ndarray:
    """How far the two numbers may be from each other."""
    half = dtype.itemsize == 2
    # A half's result is the rounded one of float32, or TensorFlow's of half arithmetic.
    units = np.maximum(_units(one, dtype), _units(other, dtype))
    if where == "value" and case.function in EXACT:
        return units * (1 if half else 0)
    name = KERNELS.get(case.function, case.function)
    if where == "value" and name in ULP:
        return units * (2 * ULP[name][dtype.itemsize // 8] + 2)
    finite = np.abs(np.concatenate([one.reshape(-1), other.reshape(-1)]))
    finite = finite[np.isfinite(finite)]
    largest = _units(np.array(max(finite.max(initial=0.0), 1.0)), dtype)
    return np.maximum(units * SUM * (1 if where == "value" else 8), largest * (4 if half else SUM))


def _units(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The distance to the next number of `dtype`."""
    digits = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}[dtype.name]
    least = {"float64": -1022, "float32": -126, "float16": -14, "bfloat16": -126}[dtype.name]
    finite = np.where(np.isfinite(values), np.abs(values), 1.0)
    exponent = np.maximum(np.frexp(finite)[1] - 1, least)
    return np.ldexp(1.0, exponent - digits)


def brief(value: Any) -> str:
    """An answer, short."""
    if isinstance(value, np.ndarray):
        text = np.array2string(value.reshape(-1)[:8], separator=",", max_line_width=200) + ("..." if value.size > 8 else "")
        return f"{value.dtype.name}{list(value.shape)} {text}"
    if isinstance(value, dict) and "value" in value:
        return brief(value["value"])
    if isinstance(value, list):
        return f"[{', '.join(brief(each) for each in value[:6])}]"
    return str(value)[:100]
