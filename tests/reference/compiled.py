"""What tracejit answers to cases under tj.function: many in one function, since to compile one costs milliseconds."""

from __future__ import annotations

import contextlib
from typing import Any

import tracejit as tj
from reference.answers import Answer, Run, completed, is_tensor, raised
from reference.cases import Case, T, V, made

BATCH = 100


class _Traced:
    """Cases as one traced function. What a case raises while it is traced is its answer, and so is what is no tensor."""

    def __init__(self, cases: list[Case], raising: bool = False):
        self.cases, self.raising = cases, raising
        self.tensors = [[made(tj, leaf) for leaf in case.leaves() if isinstance(leaf, T)] for case in cases]
        self.variables = [[made(tj, leaf) for leaf in case.leaves() if isinstance(leaf, V)] for case in cases]
        self.answers: list[Any] = []
        self.body = tj.function(self._body)

    def _body(self, tensors: list[list[Any]]) -> list[Any]:
        self.answers, results = [], []
        for case, given, variables in zip(self.cases, tensors, self.variables, strict=True):
            values, cells = iter(given), iter(variables)
            try:
                answer = Run(tj, case, lambda leaf, values=values: next(values), lambda leaf, cells=cells: next(cells)).answer()
                self.answers.append(None if self.raising else _without_tensors(answer, results))
            except Exception as error:
                self.answers.append(raised(error))
        return results

    def run(self) -> list[Answer | None]:
        """The answers; where the cases are `raising`, None for one that does not raise while it is traced."""
        results = self.body(self.tensors)
        return [None if answer is None else completed(tj, _with_tensors(answer, results)) for answer in self.answers]


class _Place(int):
    """The number of a result."""


def _without_tensors(value: Any, results: list[Any]) -> Any:
    if is_tensor(tj, value):
        results.append(value if isinstance(value, tj.Tensor) else tj.identity(value))
        return _Place(len(results) - 1)
    if type(value) in (list, tuple):
        return type(value)([_without_tensors(each, results) for each in value])
    if isinstance(value, dict):
        return {key: _without_tensors(each, results) for key, each in value.items()}
    return value


def _with_tensors(value: Any, results: list[Any]) -> Any:
    if isinstance(value, _Place):
        return results[value]
    if type(value) in (list, tuple):
        return type(value)([_with_tensors(each, results) for each in value])
    if isinstance(value, dict):
        return {key: _with_tensors(each, results) for key, each in value.items()}
    return value


def compiled_answers(cases: list[Case], eager: list[Answer]) -> list[Answer]:
    """The answer of each case when it is compiled; `eager` says which raise."""
    answers: dict[int, Answer] = {}
    raising = [number for number, answer in enumerate(eager) if "raised" in answer]
    for numbers in _batches(raising):
        with contextlib.suppress(Exception):  # what raises when it runs does so alone, below
            found = _Traced([cases[number] for number in numbers], raising=True).run()
            answers.update({number: answer for number, answer in zip(numbers, found, strict=True) if answer is not None})
    for number in raising:
        if number not in answers:  # it raises when it runs, or not at all: alone
            answers.update(_run(cases, [number]))
    for numbers in _batches([number for number in range(len(cases)) if "raised" not in eager[number]]):
        answers.update(_run(cases, numbers))
    return [answers[number] for number in range(len(cases))]


def _batches(numbers: list[int]) -> list[list[int]]:
    return [numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH)]


def _run(cases: list[Case], numbers: list[int]) -> dict[int, Any]:
    try:
        return dict(zip(numbers, _Traced([cases[number] for number in numbers]).run(), strict=True))
    except Exception as error:
        if len(numbers) == 1:
            return {numbers[0]: raised(error)}
    half = len(numbers) // 2  # one of them fails when it runs: it is found by halves
    return {**_run(cases, numbers[:half]), **_run(cases, numbers[half:])}
