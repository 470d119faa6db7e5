"""What a run of the tests says before it begins, and which of them are slow."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from seconds import Recorded, Row, announcement, by_file, estimate, in_words, read, updated, used, write

ROOT = Path(__file__).resolve().parent.parent
NOT_SLOW = "not slow"
SKETCH = Recorded(
    piece=0.01,
    start=5.0,
    files={"test_a.py": Row(10, 20.0, 5, 50.0), "test_b.py": Row(30, 60.0), "test_c.py": Row(0, 0.0, 1, 30.0)},
)


def test_the_seconds_are_those_of_the_tests_that_run() -> None:
    quick = {"test_a.py": 10, "test_b.py": 30}
    assert estimate(SKETCH, quick, NOT_SLOW, 1, 0.01) == pytest.approx(5 + 20 + 60)
    assert estimate(SKETCH, quick, NOT_SLOW, 1, 0.02) == pytest.approx(2 * 85)
    assert estimate(SKETCH, {"test_a.py": 5, "test_c.py": 1}, "slow", 1, 0.01) == pytest.approx(5 + 50 + 30)
    assert estimate(SKETCH, {"test_a.py": 15, "test_b.py": 30, "test_c.py": 1}, "", 1, 0.01) == pytest.approx(5 + 160)
    assert estimate(SKETCH, {"test_a.py": 5}, NOT_SLOW, 1, 0.01) == pytest.approx(5 + 10)
    assert estimate(SKETCH, {}, NOT_SLOW, 1, 0.01) == 5


def test_workers_share_files_and_a_file_is_on_one_of_them() -> None:
    assert estimate(SKETCH, {"test_a.py": 10, "test_b.py": 15}, NOT_SLOW, 2, 0.01) == pytest.approx(5 + 30)
    assert estimate(SKETCH, {"test_a.py": 10, "test_b.py": 30}, NOT_SLOW, 4, 0.01) == pytest.approx(5 + 60)


def test_a_file_that_nobody_recorded_is_like_the_others() -> None:
    assert estimate(SKETCH, {"test_new.py": 4}, NOT_SLOW, 1, 0.01) == pytest.approx(5 + 4 * 80 / 40)
    assert estimate(Recorded(0.01, 1.0, {}), {"test_new.py": 4}, NOT_SLOW, 1, 0.01) == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(2, "10 seconds"), (34, "30 seconds"), (89, "90 seconds"), (91, "1.5 minutes"), (170, "3 minutes"), (640, "11 minutes")],
)
def test_a_time_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == f"about {words}"


def test_the_line_says_what_is_left_out() -> None:
    tests = {"test_a.py": 10, "test_b.py": 30}
    assert announcement(SKETCH, tests, NOT_SLOW, 2, 0.02) == (
        "tracejit: 40 tests on 2 workers, about 2 minutes; not the 5 that are slow: python -m pytest -m slow, about 2 minutes more"
    )
    assert announcement(SKETCH, {"test_b.py": 30}, NOT_SLOW, 1, 0.01) == "tracejit: 30 tests in one process, about 60 seconds"
    assert announcement(SKETCH, {"test_a.py": 5}, "slow", 1, 0.01) == "tracejit: 5 tests in one process, about 60 seconds"


def test_the_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    write(SKETCH, tmp_path / "seconds.txt")
    assert read(tmp_path / "seconds.txt") == SKETCH


def test_a_run_of_some_keeps_what_was_recorded_of_others() -> None:
    assert Row(3, 4.0).with_rest_of(Row(1, 2.0, 5, 6.0)) == Row(3, 4.0, 5, 6.0)
    assert Row(0, 0.0, 7, 8.0).with_rest_of(Row(1, 2.0, 5, 6.0)) == Row(1, 2.0, 7, 8.0)


def test_a_run_of_some_is_told_in_the_seconds_of_the_machine_of_before() -> None:
    later = Recorded(piece=0.02, start=8.0, files={"test_a.py": Row(11, 44.0)})
    files = ["test_a.py", "test_b.py", "test_new.py"]
    expected = {"test_a.py": Row(11, 22.0, 5, 50.0), "test_b.py": Row(30, 60.0)}
    assert updated(SKETCH, later, files) == Recorded(0.01, 5.0, expected)
    all_of_them = later._replace(files={"test_a.py": Row(11, 44.0), "test_b.py": Row(1, 2.0)})
    assert updated(SKETCH, all_of_them, files).start == 4.0
    assert updated(Recorded(0.0, 0.0, {}), later, files) == later


def test_tests_are_counted_by_file() -> None:
    names = ["tests/test_a.py::test_x[1/2]", "tests/test_a.py::test_y", "tests/test_b.py::test_x"]
    assert by_file(names) == Counter({"test_a.py": 2, "test_b.py": 1})


def test_processor_time_of_children_counts() -> None:
    before = used()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    assert used() - before > 0.01


def test_files_are_recorded() -> None:
    """But for some that are new."""
    files = {path.name for path in (ROOT / "tests").glob("test_*.py")}
    recorded = set(read().files)
    assert recorded <= files and len(files - recorded) <= 5, "python -m pytest -m '' --record-seconds"


def test_the_readme_s_command_takes_three_minutes_on_two_cores() -> None:
    recorded = read()
    tests = {name: row.tests for name, row in recorded.files.items()}
    assert estimate(recorded, tests, NOT_SLOW, 2, recorded.piece) < 180


# -- in a run


CASES = """
import pytest

@pytest.mark.thin(3)
@pytest.mark.parametrize("number", range(7))
def test_many(number):
    pass

@pytest.mark.slow
def test_long():
    pass

def test_short():
    pass
"""


def run(folder: Path, *arguments: str) -> tuple[set[str], list[str]]:
    """The tests of CASES that run, and the lines that are printed."""
    (folder / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text("utf-8"), "utf-8")
    (folder / "test_cases.py").write_text(CASES, "utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        str(ROOT / "pyproject.toml"),
        "--rootdir",
        str(folder),
        "-v",
        "-v",
        *arguments,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    return {word.partition("::")[2] for line in lines if "PASSED" in line for word in line.split() if "::" in word}, lines


def test_what_is_slow_is_left_out(tmp_path: Path) -> None:
    ran, lines = run(tmp_path, "-n0", "test_cases.py")
    assert ran == {"test_many[0]", "test_many[3]", "test_many[6]", "test_short"}
    assert any(re.match(r"tracejit: 4 tests in one process, about \d+ seconds", line) for line in lines)


@pytest.mark.slow
def test_what_is_slow_runs_where_it_is_asked_for_or_named(tmp_path: Path) -> None:
    slow = {*(f"test_many[{number}]" for number in (1, 2, 4, 5)), "test_long"}
    ran, lines = run(tmp_path, "-n2", "-m", "slow", ".")
    assert ran == slow
    assert any(re.match(r"tracejit: 5 tests on 2 workers, about \d+ seconds", line) for line in lines)
    assert run(tmp_path, "-m", "", "test_cases.py")[0] == slow | {"test_many[0]", "test_many[3]", "test_many[6]", "test_short"}
    assert run(tmp_path, "test_cases.py::test_long", "test_cases.py::test_many[5]")[0] == {"test_long", "test_many[5]"}
