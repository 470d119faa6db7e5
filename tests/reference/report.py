"""Compare tracejit with the recorded answers, and write what is kept of it.

    python -m reference.report                 what differs, by function and kind, with an example
    python -m reference.report --full NAME...  every differing case of these functions
    python -m reference.report --write         DIFFERENCES.md and known.txt, from what differs now

Run in the folder tests, with the package installed. `--eager` leaves out the compiled half, `--share=6` compiles a sixth.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tracejit as tj
from reference.answers import Answer, eager_answer, load
from reference.cases import Case
from reference.compare import differences
from reference.compiled import compiled_answers
from reference.differences import DIFFERENCES, Difference, reason_for
from reference.table import digest, table

KNOWN = Path(__file__).parent / "known.txt"
TABLE = Path(__file__).parent / "DIFFERENCES.md"


@dataclass(frozen=True)
class Finding:
    """One way in which one case differs, in one mode: eager or compiled."""

    case: Case
    mode: str
    kind: str
    answers: str
    reason: Difference | None

    @property
    def key(self) -> str:
        return " | ".join((self.mode, self.case.function, digest([self.case])[:8], self.kind))

    def is_known(self, known: set[str]) -> bool:
        """Whether it is listed; what differs eagerly differs in the same way when compiled."""
        return self.key in known or self.key.replace("compiled", "eager", 1) in known

    def __str__(self) -> str:
        return f"{self.mode}, {self.kind}: {self.case}\n    {self.answers}"


def findings(name: str, answers: list[Answer], share: int = 1) -> Iterator[Finding]:
    """What differs in the row `name`, eager, and compiled in one case of `share`."""
    cases = table()[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        eager = [eager_answer(tj, case) for case in cases]
        yield from _compared("eager", cases, answers, eager)
        if share:
            some = range(_first(name, share), len(cases), share)
            ours = compiled_answers([cases[at] for at in some], [eager[at] for at in some])
            yield from _compared("compiled", [cases[at] for at in some], [answers[at] for at in some], ours)


def _first(name: str, share: int) -> int:
    return hashlib.sha256(name.encode()).digest()[0] % share


def _compared(mode: str, cases: list[Case], theirs: list[Answer], ours: list[Answer]) -> Iterator[Finding]:
    for case, one, other in zip(cases, theirs, ours, strict=True):
        for kind, answers in differences(case, one, other):
            yield Finding(case, mode, kind, answers, reason_for(case, kind, one, other))


def known() -> set[str]:
    """The keys of the differences that are defects, not mended yet."""
    lines = KNOWN.read_text("utf-8").splitlines() if KNOWN.exists() else []
    return {" | ".join(line.split(" | ")[:4]) for line in lines if line and not line.startswith("#")}


def differences_table(counts: Counter[Difference]) -> str:
    """DIFFERENCES.md: `counts` are the eager cases of each row."""
    lines = [
        "# Where tracejit differs from TensorFlow, and why",
        "",
        "Written by `python -m reference.report --write` (in the folder tests) from `reference/differences.py`; cases are those of",
        f"`reference/table.py`, of which there are {sum(map(len, table().values())):,}, answered by TensorFlow 2.21.",
        "",
        "| functions | what differs | where | why | cases |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.functions} | {', '.join(each.kinds.split()).replace('_', ' ')} | {each.said} | {each.reason} | {counts[each]} |"
        for each in DIFFERENCES
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    names = [each for each in arguments if not each.startswith("--")] or list(table())
    rows = load()["rows"]
    share = 0 if "--eager" in arguments else next((int(each[8:]) for each in arguments if each.startswith("--share=")), 1)
    found = []
    for name in names:
        if name not in rows or rows[name]["digest"] != digest(table()[name]):
            print(f"{name}: not recorded as it is now: run reference.record")
            continue
        found += list(findings(name, rows[name]["answers"], share))
    open_ = [each for each in found if each.reason is None]
    if "--full" in arguments:
        print("\n".join(map(str, open_)))
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for each in open_:
        groups.setdefault((each.case.function, each.kind, each.mode), []).append(each)
    for (function, kind, mode), group in sorted(groups.items()):
        print(f"{len(group):5} {function}, {mode}, {kind}: {group[0].case}\n      {group[0].answers}")
    print(f"{len(open_)} differences without a reason, {len(found) - len(open_)} with one")
    if "--write" in arguments:
        TABLE.write_text(
            differences_table(Counter(each.reason for each in found if each.reason and each.mode == "eager")), "utf-8"
        )
        eager = {each.key for each in open_ if each.mode == "eager"}
        listed = [each for each in open_ if each.key in eager or not each.is_known(eager)]
        lines = sorted(
            {f"{each.key} | {str(each.case)[:160]}" for each in listed}, key=lambda line: (line.split(" | ")[1], line)
        )
        text = "# Defects that are known, a case a line; the test fails where one of them passes.\n"
        KNOWN.write_text(text + "".join(f"{line}\n" for line in lines), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
