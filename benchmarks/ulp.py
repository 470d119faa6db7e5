"""`python -m benchmarks.ulp`: the largest errors of compiled elementary functions, in units in the last place (ULP), beside the
table in tracejit.llvm.math.vectormath. Ends with status 1 where one is larger than the table says, or a NaN, an infinity or a
zero's sign is wrong.

float32: every 43rd of all bit patterns, which is 100 million (`--step 1` takes all), against NumPy's float64 functions; erf and
erfc against tracejit's own of float64, which are measured here as well; 20 million pairs for functions of two operands.
float64: numbers of all exponents and where a function varies, and multiples of pi / 2, against mpmath with 120 bits. That needs
mpmath, of the extra `bench`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import tracejit as tj
from benchmarks.report import count as positive
from benchmarks.report import progress, table
from tracejit.llvm.math.vectormath import ULP

BLOCK = 1 << 16  # elements a call, so that what is in between stays in the cache
BINARY = ("pow", "atan2")
NUMPY = {
    "pow": "power", "asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2", "asinh": "arcsinh",
    "acosh": "arccosh", "atanh": "arctanh",
}  # fmt: skip
# Where a function varies, if that is not -12 to 12.
INTERVALS = {
    "exp": (-746, 710), "expm1": (-40, 710), "sinh": (-711, 711), "cosh": (-711, 711), "tanh": (-20, 20),
    "sigmoid": (-746, 40), "erf": (-6, 6), "erfc": (-6, 27.5), "asin": (-1, 1), "acos": (-1, 1), "atanh": (-1, 1),
    "acosh": (1, 4), "log": (0, 3), "log1p": (-1, 2), "sin": (-1e4, 1e4), "cos": (-1e4, 1e4), "tan": (-1e4, 1e4),
}  # fmt: skip

Function = Callable[..., np.ndarray]


def compiled(name: str) -> Function:
    """The function of arrays of BLOCK elements, compiled."""
    function = tj.function(getattr(tj.math, name))
    return lambda *x: function(*[tj.constant(each) for each in x]).numpy()


def reference(name: str) -> Function:
    """The function of float64."""
    if name in ("erf", "erfc"):
        return compiled(name)
    if name == "rsqrt":
        return lambda x: 1 / np.sqrt(x)
    if name == "sigmoid":
        return lambda x: np.where(x < 0, np.exp(x), 1) / (1 + np.exp(-np.abs(x)))
    function: Function = getattr(np, NUMPY.get(name, name))
    return function


def worst_of_single(found: np.ndarray, exact: np.ndarray) -> float:
    """The largest error of float32 numbers, infinite where what is exactly known is wrong. `exact` are float64 numbers."""
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    number = ~np.isnan(rounded)
    if not (np.isnan(found) == ~number).all() or (np.signbit(found) != np.signbit(rounded))[number].any():
        return math.inf
    # An error of one unit may cross the border to infinity, which counts as the next number would.
    border = 2.0**128
    exponent = (exact.view(np.int64) >> 52 & 2047) - 1023
    units = (1023 + 23 - np.clip(exponent, -126, 127) << 52).view(np.float64)
    distance = np.abs(np.clip(found.astype(np.float64), -border, border) - np.clip(exact, -border, border)) * units
    return float(np.max(distance, initial=0, where=number))


def singles(name: str, step: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Blocks of operands of float32."""
    random = np.random.default_rng(3)
    if name in BINARY:
        for _ in range(20_000_000 // BLOCK):
            x = random.integers(0, 1 << 32, BLOCK, np.uint32).view(np.float32)
            y = random.integers(0, 1 << 32, BLOCK, np.uint32).view(np.float32)
            # Of any two numbers the power is infinite or 0, and the angle a multiple of pi / 2.
            np.copyto(x, np.exp(random.uniform(-3, 3, BLOCK)), where=random.random(BLOCK) < 0.7, casting="same_kind")
            np.copyto(y, random.normal(0, 20, BLOCK), where=random.random(BLOCK) < 0.7, casting="same_kind")
            yield x, y
        return
    count = -(-(1 << 32) // step)
    for start in range(0, count, BLOCK):
        yield ((np.arange(start, start + BLOCK, dtype=np.uint64) * step).astype(np.uint32).view(np.float32),)


def single(name: str, step: int) -> float:
    """The largest error of the function of float32."""
    function, exact = compiled(name), reference(name)
    with np.errstate(all="ignore"):
        return max(worst_of_single(function(*x), exact(*[each.astype(np.float64) for each in x])) for x in singles(name, step))


def doubles(name: str, count: int) -> tuple[np.ndarray, ...]:
    """Operands of float64."""
    random = np.random.default_rng(4)
    part = count // 4

    def operand() -> np.ndarray:
        anything = random.integers(0, 1 << 64, part, np.uint64).view(np.float64)
        anything[0] = math.ldexp(6381956970095103, 797)  # the number that is nearest to a multiple of pi / 2
        low, high = INTERVALS.get(name, (-12, 12))
        near = np.exp(random.uniform(-40, 20, part)) * random.choice([-1, 1], part)
        multiples = np.rint(np.exp(random.uniform(0, 700, part // 2))) * (math.pi / 2)
        rest = count - 3 * part - part // 2
        return np.concatenate([anything, random.uniform(low, high, part), near, multiples, random.uniform(-2, 2, rest)])

    if name not in BINARY:
        return (operand(),)
    x, y = operand(), operand()
    random.shuffle(y)
    if name == "pow":
        # Powers that are neither 0 nor infinite.
        x[: count // 2] = np.exp(random.uniform(-700, 700, count // 2))
        y[: count // 2] = random.uniform(-745, 709, count // 2) / np.log(x[: count // 2])
    return x, y


def with_mpmath(name: str) -> Callable[..., Any]:
    """The function of Python floats, with 120 bits."""
    import mpmath

    mpmath.mp.prec = 120
    functions: dict[str, Callable[..., Any]] = {
        "pow": mpmath.power,
        "erfc": lambda x: mpmath.erfc(min(max(x, -30), 30)),  # beyond, mpmath overflows, and erfc is 0 or 2
        "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
        "rsqrt": lambda x: 1 / mpmath.sqrt(x),
        "cbrt": lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)),
    }
    return functions.get(name) or getattr(mpmath, name)


def double(name: str, count: int) -> float:
    """The largest error of the function of float64, where its value is finite and real."""
    import mpmath

    exact = with_mpmath(name)
    x = doubles(name, -(-count // BLOCK) * BLOCK)
    function = compiled(name)
    found = np.concatenate([function(*[each[at : at + BLOCK] for each in x]) for at in range(0, len(x[0]), BLOCK)])
    with np.errstate(all="ignore"):
        known = np.isfinite(reference(name)(*x)) & np.logical_and.reduce([np.isfinite(each) for each in x])
    worst = 0.0
    for place in np.flatnonzero(known)[:: max(1, int(known.sum()) // count)]:
        value, result = exact(*[float(each[place]) for each in x]), float(found[place])
        if not math.isfinite(result):
            return math.inf
        unit = mpmath.ldexp(1, max((mpmath.frexp(value)[1] if value else 0) - 53, -1074))
        worst = max(worst, float(abs(value - result) / unit))
    return worst


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser("python -m benchmarks.ulp", description="Errors of compiled elementary functions.")
    parser.add_argument("--functions", nargs="+", choices=list(ULP), default=list(ULP), metavar="NAME")
    parser.add_argument("--step", type=positive, default=43, help="every which bit pattern of float32 (default: 43)")
    parser.add_argument("--points", type=positive, default=20_000, help="numbers of float64 (default: 20000)")
    options = parser.parse_args(arguments)
    rows, wrong = [("function", "float32", "float64", "")], False
    for name in options.functions:
        progress(name)
        measured = (single(name, options.step), double(name, options.points))
        stated = ULP[name]
        excess = any(found > bound for found, bound in zip(measured, stated, strict=True))
        wrong = wrong or excess
        texts = [f"{found:.3f} of {bound:.2f}" for found, bound in zip(measured, stated, strict=True)]
        rows.append((name, *texts, "too large" if excess else ""))
    progress("")
    print(table(rows, markdown=False))
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
