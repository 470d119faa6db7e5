"""A program in every way in which it can run: eager, compiled (through Python, natively, from the cache and without), with its
inner functions compiled only, on one and two threads, and its graph in the interpreter after every pass."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

import tracejit as tj
from tracejit import passes
from tracejit.function import Function, _PythonFunction
from tracejit.ir import interpret, parse, verify
from tracejit.runtime.compiled_function import CompiledFunction

from .program import Program
from .rounding import MORE, SAMPLES, Bounds, moved_roundings, same_elements

_TWIN = "other dtypes"
DOCUMENTED = (TypeError, ValueError, tj.errors.NumpyConversionError)


class Difference(NamedTuple):
    """What is wrong with a program: in which mode, with which result (None: the call failed), and how."""

    mode: str
    result: int | None
    text: str

    def is_plain(self) -> bool:
        """Whether it needs no bounds to be seen: an error, or None in the place of a value."""
        return (
            self.mode == "eager"
            or self.kind().endswith(": None")
            or (self.result is None and not self.mode.startswith("after"))
        )

    def kind(self) -> str:
        """What stays the same while the program is made smaller: for an error its class and the beginning of its text."""
        if self.result is None:
            return f"{self.mode}: {self.text.split(chr(10))[0][:60]}"
        return self.mode + (": None" if "None" in self.text else "")


class Failed(NamedTuple):
    """A call that raised."""

    error: Exception

    def __str__(self) -> str:
        return f"{type(self.error).__name__}: {self.error}"


Outcome = list[Any] | Failed


def _same(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def _through_python(function: Callable[..., Any]) -> Any:
    return _PythonFunction(function)


def run(program: Program, outer: Callable[..., Any], inner: Callable[..., Any]) -> list[Outcome]:
    """What the calls give, up to the first that fails."""
    return _run(program, outer, inner)[0]


def _run(program: Program, outer: Callable[..., Any], inner: Callable[..., Any]) -> tuple[list[Outcome], dict[str, Any]]:
    found: list[Outcome] = []
    space: dict[str, Any] = {}
    try:
        space = program.load(outer, inner)
        arguments = program.arguments()
        for number in range(program.calls()):
            found.append(program.call(space, arguments, number))
    except RecursionError:
        raise
    except Exception as error:
        found.append(Failed(error))
    return found, space


def check(program: Program) -> Difference | None:
    """The first difference between the ways to run the program; None where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _check(program, SAMPLES)
        if found is not None and not found.is_plain():
            found = _check(program, MORE)
        return found


def shows(program: Program, difference: Difference) -> bool:
    """Whether the program has a difference of the same kind. It runs in that mode only where that is enough."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = _check(program, 0 if difference.is_plain() else 2 * SAMPLES, difference.mode)
        except Exception:
            return False
        return found is not None and found.kind() == difference.kind()


def _check(program: Program, sample_count: int, only: str | None = None) -> Difference | None:
    eager = run(program, _same, _same)
    if isinstance(eager[-1], Failed) and not isinstance(eager[-1].error, DOCUMENTED):
        return Difference("eager", None, str(eager[-1]))
    bounds = _all_bounds(program, eager, sample_count)
    with _cache(program.seed % 8 != 0):
        compiled, space = _run(program, tj.function, tj.function)
    modes: dict[str, list[Outcome]] = {"compiled": compiled}
    if only in (None, "through Python"):
        modes["through Python"] = run(program, _through_python, _through_python)
    if only in (None, "inner functions compiled") and any("def h" in line.text for line in program.lines):
        modes["inner functions compiled"] = run(program, _same, tj.function)
    for mode, outcomes in modes.items():
        difference = _compare(mode, outcomes, eager, bounds)
        if difference is not None:
            return difference
    if only in modes:
        return _same_bits(only, modes[only], compiled)
    if only == _TWIN or (only is None and program.seed % 4 == 1):
        difference = _check_twin(program, space, sample_count)
        if difference is not None or only == _TWIN:
            return difference
    difference = _same_bits("through Python", modes["through Python"], compiled) if only is None else None
    if difference is None and not isinstance(compiled[-1], Failed):
        difference = check_graph(program, space, sample_count)
    return difference


def _check_twin(program: Program, space: dict[str, Any], sample_count: int) -> Difference | None:
    """The program of other dtypes right after this one, which neither the function nor the cache may take for the same."""
    twin = program.twin()
    eager = run(twin, _same, _same)
    one_function = twin.lines == program.lines and not twin.variables and not twin.captured
    compiled = run(twin, tj.function if not one_function else lambda _: space["f"], tj.function)
    if isinstance(eager[-1], Failed) and not isinstance(compiled[-1], Failed):
        return None  # an error of what nobody reads, which compiled code leaves out (README, Limits)
    return _compare(_TWIN, compiled, eager, _all_bounds(twin, eager, sample_count))


@contextmanager
def _cache(on: bool) -> Any:
    before = os.environ.get("TRACEJIT_CACHE")
    if not on:
        os.environ["TRACEJIT_CACHE"] = "0"
    try:
        yield
    finally:
        if not on:
            if before is None:
                del os.environ["TRACEJIT_CACHE"]
            else:
                os.environ["TRACEJIT_CACHE"] = before


def _all_bounds(program: Program, eager: list[Outcome], sample_count: int) -> list[Bounds | None]:
    """How far each call's results may be off, from some runs with other roundings."""
    samples = []
    apart = program.outer or any("def h" in line.text for line in program.lines)
    for sample in range(sample_count):
        with moved_roundings(sample, apart):
            samples.append(run(program, _same, _same))
    return [_bounds(call, outcome, samples) for call, outcome in enumerate(eager)]


def _bounds(call: int, expected: Outcome, samples: list[list[Outcome]]) -> Bounds | None:
    """None where nothing can be said: the call fails, or would with other roundings."""
    others = [sample[call] if call < len(sample) else None for sample in samples]
    if isinstance(expected, Failed) or any(other is None or isinstance(other, Failed) for other in others):
        return None
    return Bounds(expected, others)  # type: ignore[arg-type]


def _compare(mode: str, outcomes: list[Outcome], eager: list[Outcome], bounds: list[Bounds | None]) -> Difference | None:
    for call, (outcome, expected, bound) in enumerate(zip(outcomes, eager, bounds, strict=False)):
        where = f" in call {call + 1}"
        if isinstance(outcome, Failed) or isinstance(expected, Failed):
            if isinstance(outcome, Failed) and isinstance(expected, Failed):
                if _family(outcome.error) is _family(expected.error):
                    return None
                return Difference(mode, None, f"{outcome}{where}; eager: {expected}")
            if isinstance(outcome, Failed):
                unsure = bound is None and isinstance(outcome.error, DOCUMENTED)
                return None if unsure else Difference(mode, None, f"{outcome}{where}; eager mode gives a result")
            return Difference(mode, None, f"no error{where}; eager: {expected}")
        if bound is None:
            return None
        wrong = bound.difference(outcome)
        if wrong is not None:
            return Difference(mode, wrong[0], f"result {wrong[0]}: {wrong[1]}{where}")
    if len(outcomes) > len(eager):
        return Difference(mode, None, f"no error; eager: {eager[-1]}")
    return None


def _family(error: Exception) -> type[Exception]:
    """Errors of one family may stand for each other."""
    for family in (tj.errors.IndexOutOfRangeError, tj.errors.InvalidArgumentError, ValueError, TypeError):
        if isinstance(error, family):
            return family
    return type(error)


def _same_bits(mode: str, outcomes: list[Outcome], others: list[Outcome]) -> Difference | None:
    for call, (outcome, other) in enumerate(zip(outcomes, others, strict=False)):
        if isinstance(outcome, Failed) or isinstance(other, Failed):
            continue
        for index, (one, two) in enumerate(zip(outcome, other, strict=True)):
            if one is not None and not _equal_bits(one, two):
                return Difference(mode, index, f"result {index}: other bits than the native call in call {call + 1}")
    return None


def _equal_bits(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.kind in "biu":
        return bool(np.array_equal(one, other))
    wide, second = one.astype(np.float64), other.astype(np.float64)
    return bool(np.all(same_elements(one, other)) and np.all((np.signbit(wide) == np.signbit(second)) | np.isnan(wide)))


# -- the graph


def check_graph(program: Program, space: dict[str, Any], sample_count: int = SAMPLES) -> Difference | None:
    """The trace of `f`: as text and back, in the interpreter after every pass, and its machine code on one and two threads."""
    arguments = program.arguments()
    function: Function = space["f"]
    concrete = function._concrete(tuple(arguments), {})
    traced = concrete.traced.graph
    arrays = function.arrays(*arguments)
    expected = _interpreted(traced, arrays)
    if isinstance(expected, Failed):
        return None  # compared as calls already
    samples: list[Any] = []
    for sample in range(sample_count):
        with moved_roundings(sample):
            samples.append(_interpreted(traced, arrays))
    if any(isinstance(sample, Failed) for sample in samples):
        return None
    bounds = Bounds(expected, samples)
    text = traced.text()
    again = parse(text)
    if again.text() != text:
        return Difference("text", 0, "the text of the traced graph parses to another graph")
    graphs = [("text", again), *passes.stages(traced)]
    for name, graph in graphs:
        verify(graph)
        found = _interpreted(graph, arrays)
        wrong = (0, str(found)) if isinstance(found, Failed) else bounds.difference(found)
        if wrong is not None:
            return Difference(f"after the pass {name}", None, f"{name} changes graph result {wrong[0]}: {wrong[1]}")
    if parse(graphs[-1][1].text()).text() != graphs[-1][1].text():
        return Difference("text", None, "the text of the optimized graph parses to another graph")
    return _check_threads(function.compiled(*arguments), arrays, bounds)


def _interpreted(graph: Any, arrays: list[np.ndarray]) -> Any:
    try:
        results, updates = interpret(graph, arrays)
    except Exception as error:
        return Failed(error)
    return [*results, *updates]


def _check_threads(step: CompiledFunction, arrays: list[np.ndarray], bounds: Bounds) -> Difference | None:
    found = []
    parameters = list(step.parameters)
    updated = [parameters.index(parameter) for parameter, _ in step.graph.updates]
    for threads in (1, 2):
        tj.config.threading.set_intra_op_parallelism_threads(threads)
        copies = [np.array(array, order="C") for array in arrays]
        results = step.run(copies)
        found.append([*(np.array(result.numpy()) for result in results), *(copies[index] for index in updated)])
    tj.config.threading.set_intra_op_parallelism_threads(0)
    for index, (one, two) in enumerate(zip(*found, strict=True)):
        if not _equal_bits(one, two):
            return Difference("two threads", None, f"graph result {index} has other bits on two threads than on one")
    wrong = bounds.difference(found[0])
    return None if wrong is None else Difference("machine code", None, f"graph result {wrong[0]}: {wrong[1]}")
