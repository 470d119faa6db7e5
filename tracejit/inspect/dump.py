"""Writes every stage of a traced function to a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracejit.compilation import stage_names
from tracejit.function import Function
from tracejit.locks import importing

if TYPE_CHECKING:
    from pathlib import Path

_SUFFIXES = {"plan": "txt", "llvm": "ll", "asm": "s"}


def dump(function: Function, folder: str | Path, *args: Any, **kwargs: Any) -> list[Path]:
    """Write the stages of `function`, for a call with these arguments, to files in `folder`, which is made where it is not
    there: `NAME.0.traced.ir`, one a pass, and as the last three `NAME.9.plan.txt`, `NAME.10.llvm.ll` and
    `NAME.11.asm.s`. The paths come back. OSError where a file cannot be written."""
    with importing:  # 4 ms of the package's import
        from pathlib import Path

    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    stages = [stage for stage in stage_names() if stage != "optimized"]  # which is that after the last pass
    for number, stage in enumerate(stages):
        path = target / f"{function.name}.{number}.{stage}.{_SUFFIXES.get(stage, 'ir')}"
        path.write_text(function.ir(*args, stage=stage, **kwargs) + "\n", encoding="utf-8")
        paths.append(path)
    return paths
