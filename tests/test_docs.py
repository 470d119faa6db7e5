"""CONTRIBUTING.md and docs/ say what is so: a row a file, the drawing of the imports, and paths that are there."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from structure import ROOT, essential, folders, idea, modules, place, sources, written

GUIDE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_every_file_has_a_row_with_its_idea() -> None:
    """And no row is of a file that is gone; the drawing is of the imports as they are."""
    marked = Counter(re.findall(r"(?m)^<!-- files: (\S+) -->$", GUIDE))
    assert marked == Counter(folders())
    assert "<!-- drawing -->" in GUIDE
    assert written(GUIDE) == GUIDE, "python -m tests.structure"


def test_a_stale_row_or_arrow_is_seen() -> None:
    assert written(GUIDE.replace("| `graph.py` |", "| `grape.py` |")) == GUIDE
    assert written(GUIDE.replace("[ir] --> ", "[ir] --> x")) == GUIDE


@pytest.mark.parametrize("name", sorted(modules()))
def test_every_module_says_its_idea(name: str) -> None:
    assert 10 < len(idea(modules()[name])) < 240


def test_the_guide_is_read_in_twenty_minutes() -> None:
    words = re.findall(r"[A-Za-z]{2,}", re.sub(r"(?s)```mermaid.*?```", "", GUIDE))
    assert len(words) < 5000  # 250 in a minute


@pytest.mark.parametrize("path", [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name)
def test_paths_that_are_named_are_there(path: Path) -> None:
    named = set(re.findall(r"`([\w./-]+/[\w.-]*|[\w/]+\.(?:py|txt|md|toml))`", path.read_text("utf-8")))
    starts = (ROOT, ROOT / "tracejit", ROOT / "tracejit" / "llvm", ROOT / "tracejit" / "runtime", ROOT / "tests")
    gone = {name for name in named if not any((start / name).exists() for start in starts)}
    gone = {name for name in gone if "/" in name or not any(file.name == name for file in modules().values())}
    assert not gone
    assert named


@pytest.mark.parametrize("path", [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name)
def test_names_that_are_named_are_there(path: Path) -> None:
    """What stands in backticks and looks like a name is a word of some source file."""
    text = re.sub(r"(?ms)^```.*?^```", "", path.read_text("utf-8"))
    text = re.sub(r"(?m)^\| `.*\n", "", text)  # the rows of the tables, which are the files' own docstrings
    named = {name for quoted in re.findall(r"`([^`]+)`", text) for name in re.findall(r"^[A-Za-z_][\w.]*$", quoted)}
    files = (file for file in sources("tracejit", "passes", "tests", "benchmarks") if file != Path(__file__))
    words = {word for file in files for word in re.findall(r"\w+", file.read_text("utf-8"))}
    assert named
    assert not {name for name in named if not name.endswith(".py") and not set(name.split(".")) <= words}


def test_links_lead_somewhere() -> None:
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text("utf-8")):
            assert (path.parent / target).exists(), (path.name, target)


def test_arrows_that_lead_where_others_lead_are_left_out() -> None:
    assert essential({"a": {"b", "c"}, "b": {"a", "c"}, "c": set()}) == {"a": {"b", "c"}, "b": {"a", "c"}, "c": set()}
    assert essential({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": {"b"}, "b": {"c"}, "c": set()}


def test_boxes_of_the_drawing() -> None:
    places = [
        place(name)
        for name in (
            "tracejit.llvm.plan.plan",
            "tracejit.runtime.compiled_function",
            "tracejit.ir.graph",
            "tracejit.tape",
            "tracejit",
        )
    ]
    assert places == ["llvm/plan", "runtime", "ir", "eager", "names"]
