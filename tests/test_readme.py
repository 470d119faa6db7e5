"""What the README shows of a train step is what a train step shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).resolve().parent.parent / "README.md").read_text("utf-8")

BEFORE = """import tracejit as tj

w, b = tj.Variable(0.0, name="w"), tj.Variable(0.0, name="b")


"""
AFTER = """

x, y = tj.constant([1.0, 2.0, 3.0, 4.0]), tj.constant([5.0, 8.0, 11.0, 14.0])
for _ in range(1):
    loss = train_step(x, y)
print(train_step.ir(x, y, stage="traced"))
print("=====")
print(train_step.ir(x, y))
"""


def test_the_walk_shows_real_output(tmp_path: Path) -> None:
    walk = README.split("## A train step, package by package")[1].split("\n## ")[0]
    blocks = re.findall(r"```(?:python)?\n(.*?)```", walk, re.DOTALL)
    program, traced, optimized = blocks
    (tmp_path / "train.py").write_text(BEFORE + program + AFTER, "utf-8")
    done = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    for shown, real in zip((traced, optimized), done.stdout.split("=====\n"), strict=True):
        lines = [line for line in shown.splitlines() if line.strip() != "..."]
        assert len(lines) > 10
        for line in lines:
            start, _, end = line.partition(", ...")  # a parameter list that is cut short
            assert any(each.startswith(start) and each.endswith(end) for each in real.splitlines()), line


PLANNED = """
from tracejit.llvm.plan.plan import plan
from tracejit.llvm.plan_text import print_plan
from tracejit.llvm.target import AVX512, Target

print(print_plan(plan(classify.graph(tj.zeros([32, 784]), tj.zeros([32], tj.int32)), Target(AVX512))))
"""


def test_the_plan_is_real_output(tmp_path: Path) -> None:
    """In whole, for the machine that it is said to be for, whatever the tests run on."""
    section = README.split("## A plan\n")[1].split("\n## ")[0]
    program, shown = re.findall(r"```(?:python)?\n(.*?)```", section, re.DOTALL)
    (tmp_path / "train.py").write_text(program + PLANNED, "utf-8")
    done = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.rstrip() == shown.rstrip()


def test_what_explain_says_of_kernels_is_real_output(tmp_path: Path) -> None:
    section = README.split("## What is kept on disk\n")[1].split("\n## ")[0]
    program, shown = re.findall(r"```(?:python)?\n(.*?)```", section, re.DOTALL)

    def printed(source: str) -> str:
        (tmp_path / "train.py").write_text(source, "utf-8")
        environment = os.environ | {"TRACEJIT_CACHE_DIR": str(tmp_path / "cache"), "TRACEJIT_DISPATCH": ""}
        command = [sys.executable, "train.py"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=True)
        return re.sub(r"\d+\.\d\b", "0.0", done.stdout)

    printed(program)
    edited = program.replace("RATE = 0.1", "RATE = 0.05")
    assert edited != program and printed(edited) == re.sub(r"\d+\.\d\b", "0.0", shown)
    again = printed(edited)
    assert "; cache hit; " in again and again.endswith("; 9 kernels: 9 found\n")
