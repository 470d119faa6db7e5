"""tracejit's answers are TensorFlow's, as tests/reference keeps them: eager, and compiled.

Every case is run eagerly, and every FEW-th is compiled; the slow tests compile every SHARE-th, or all where TRACEJIT_REFERENCE=all.
"""

from __future__ import annotations

import os
import types
from collections import Counter
from typing import Any

import pytest
from reference import report
from reference.answers import load
from reference.table import ALIASES, digest, table

import tracejit as tj

FEW, SHARE = 40, 1 if os.environ.get("TRACEJIT_REFERENCE") == "all" else 4

# What TensorFlow has too but is no function of tensors, or has rows of another name.
OTHERWISE = {
    "function": "tests/test_function.py",
    "run_functions_eagerly": "tests/test_function.py",
    "Tensor": "rows Tensor.*",
    "TensorShape": "row Tensor.shape",
    "Variable": "rows Variable.*",
    "GradientTape": "rows tape *",
    "UnconnectedGradients": "row tape unconnected",
    "DType": "row as_dtype",
    "custom_gradient": "rows custom_gradient *",
    "random.uniform": "row random.uniform form",
    "random.normal": "row random.normal form",
    "random.set_seed": "row random.set_seed twice",
    "nn.swish": "row nn.silu",
}


@pytest.fixture(scope="module")
def corpus() -> dict[str, Any]:
    return load()


@pytest.fixture(scope="module")
def seen() -> Counter[Any]:
    """How many eager cases each deliberate difference covers, as the tests of rows count them."""
    return Counter()


@pytest.fixture(scope="module")
def compared() -> set[str]:
    """The rows that were run."""
    return set()


def findings(name: str, corpus: dict[str, Any], share: int) -> list[report.Finding]:
    """What differs in a row, which is all with a reason or known."""
    row = corpus["rows"].get(name)
    assert row is not None and row["digest"] == digest(table()[name]), "ask TensorFlow: python -m reference.record " + name
    found = list(report.findings(name, row["answers"], share))
    known = report.known()
    new = [each for each in found if each.reason is None and not each.is_known(known)]
    assert not new, f"{len(new)} cases differ\n" + "\n".join(map(str, new[:10]))
    return found


@pytest.mark.parametrize("name", table())
def test_row(name: str, corpus: dict[str, Any], seen: Counter[Any], compared: set[str]) -> None:
    compared.add(name)
    found = findings(name, corpus, FEW)
    seen.update(each.reason for each in found if each.reason and each.mode == "eager")
    known = report.known()
    mended = {key for key in known if key.startswith(f"eager | {name} | ")} - {each.key for each in found}
    assert not mended, f"these lines of known.txt pass now, and go: {sorted(mended)[:10]}"


@pytest.mark.slow
@pytest.mark.parametrize("name", table())
def test_compiled_row(name: str, corpus: dict[str, Any]) -> None:
    findings(name, corpus, SHARE)


def test_the_table_of_differences_is_current(seen: Counter[Any], compared: set[str]) -> None:
    if compared != set(table()):
        pytest.skip("not all rows were run")
    assert report.TABLE.read_text("utf-8") == report.differences_table(seen), "python -m reference.report --write"


def test_there_are_many_cases() -> None:
    assert sum(map(len, table().values())) > 20_000


def test_every_public_function_has_a_row(corpus: dict[str, Any]) -> None:
    rows = {*table(), *ALIASES, *OTHERWISE}
    missing = []
    for space, names in corpus["public"].items():
        home = getattr(tj, space) if space else tj
        for name in names:
            thing = getattr(home, name, None)
            full = f"{space}.{name}" if space else name
            if callable(thing) and not isinstance(thing, (types.ModuleType, tj.DType)) and full not in rows:
                missing.append(full)
    assert not missing, f"functions without a row in reference/table.py: {missing}"


def test_names_of_one_function() -> None:
    def at(name: str) -> Any:
        thing: Any = tj
        for part in name.split("."):
            thing = getattr(thing, part)
        return thing

    assert not [name for name, first in ALIASES.items() if at(name) is not at(first)]
