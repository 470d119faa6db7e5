"""Values and derivatives at special points (kinks, ties, zeros, infinities, NaN) are TensorFlow's, eager and compiled.

The differences that are meant stand in two tables with their reasons.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from special import ANSWERS, cases, derivatives

import tracejit as tj

RECORDED = json.loads(ANSWERS.read_text())
CASES = cases(tj)

# By name, the order from which on there is a number where TensorFlow has NaN, and why.
BETTER: dict[str, tuple[int, str]] = {
    **{f"unary: x ** {zero}": (1, "the derivative of a constant is 0, not 0 * inf") for zero in ("0", "0.0")},
    **{f"unary: x ** {one}": (2, "the derivative of a constant is 0, not 0 * inf") for one in ("1", "1.0")},
    **{f"unary: x ** {two}": (3, "the derivative of a constant is 0, not 0 * inf") for two in ("2", "2.0")},
    "unary: where sqrt": (1, "nothing arrives from the branch that was not taken"),
    "unary: where log": (1, "nothing arrives from the branch that was not taken"),
    "rows: norm": (2, "the gradient of a square root is 0 where none arrives, of every order"),
}
# By name, the order from which on TensorFlow is not asked, and why.
OTHER: dict[str, tuple[int, str]] = {
    "unary: nn.leaky_relu": (3, "0, as of nn.relu; TensorFlow's None"),
    "unary: x ** 0": (3, "0, TensorFlow's NaN or 0 of either sign"),
    "rows: reduce_prod": (2, "TensorFlow's second derivative is wrong beside a zero: it divides by it"),
    "rows: softmax": (0, "a row with a NaN is NaN; TensorFlow's vectors are 0 in some places"),
}


def _check(found: Any, wanted: Any, better: bool, where: str) -> None:
    if isinstance(wanted, list) and (wanted == [] or isinstance(wanted[0], (list, type(None)))) and isinstance(found, list):
        assert len(found) == len(wanted), where
        for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
            _check(one, other, better, f"{where}, {number}")
        return
    assert (found is None) == (wanted is None), f"{where}: {found} instead of {wanted}"
    if wanted is not None:
        expected, array = np.array(wanted, np.float64), np.asarray(found).astype(np.float64)
        if better:
            array = np.where(np.isnan(expected), np.nan, array)
        np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-6, err_msg=where)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", CASES)
def test_tensorflow_s_answers(name: str, compiled: bool) -> None:
    function, operands, order = CASES[name]

    def run(*tensors: Any) -> Any:
        return derivatives(tj, function, list(tensors), order)

    results = (tj.function(run) if compiled else run)(*[tj.constant(each) for each in operands])
    for number, (found, wanted) in enumerate(zip(results, RECORDED[name], strict=True)):
        if number < OTHER.get(name, (9, ""))[0]:
            _check(found, wanted, number >= BETTER.get(name, (9, ""))[0], f"{name}, order {number}")


def test_every_difference_is_one() -> None:
    """No row of the tables is left over."""
    assert {*BETTER, *OTHER} <= set(CASES) == set(RECORDED)
