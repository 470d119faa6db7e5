"""The process that runs programs. It says what it is about to do before it does it, since that may be the end of it."""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from typing import Any

from .check import Difference, check, shows
from .generate import Generator, generate
from .gradients import check_gradients
from .program import Program
from .shrink import shrink
from .wrong import check_call, wrong_call

WHAT = ("programs", "gradients", "arguments")
# A worker ends after so many cases, and another takes its place: what leaks does not add up.
CASES = 3000
_MEMORY = 8 << 30


def tell(event: str, **facts: Any) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


def work(first: int, step: int, what: str, seconds: float, shrinking: float = 20.0) -> None:
    """Cases `first`, `first + step`, ... until the time is up."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    end = time.monotonic() + seconds
    for number in range(CASES):
        if time.monotonic() > end:
            break
        seed = first + number * step
        kind = what if what != "all" else ("programs", "programs", "gradients", "programs", "arguments")[number % 5]
        tell("start", seed=seed, kind=kind)
        found = run_case(kind, seed, max(min(shrinking, end - time.monotonic()), 5.0))
        if found is not None:
            tell("finding", seed=seed, kind=kind, **found)
        tell("done", seed=seed, kind=kind)


def run_case(kind: str, seed: int, shrinking: float = 20.0) -> dict[str, str] | None:
    """One case; what was found as texts: the mode, what is wrong, the program, and a key that is equal for equal causes."""
    if kind == "arguments":
        return _wrong_calls(seed)
    program = Generator(seed, smooth=True).program() if kind == "gradients" else generate(seed)
    judge = check_gradients if kind == "gradients" else check
    tell("source", source=program.source())
    difference = judge(program)
    if difference is None:
        return None
    still = shows if judge is check else _still_wrong
    small = shrink(program, lambda candidate: still(candidate, difference), shrinking)
    difference = _judged(judge, small) or difference
    return {
        "mode": difference.mode, "text": difference.text, "source": small.source(), "key": key_of(small, difference),
        "lines": str(len(small.lines)),
    }  # fmt: skip


def _judged(judge: Any, program: Program) -> Difference | None:
    try:
        return judge(program)
    except Exception:
        return None


def _still_wrong(program: Program, difference: Difference) -> bool:
    found = _judged(check_gradients, program)
    return found is not None and found.kind() == difference.kind()


def key_of(program: Program, difference: Difference) -> str:
    """Equal for differences that seem to have one cause: the mode, the kind of error and the ops and functions that are left."""
    text = "\n".join(line.text for line in program.lines)
    called = {
        *re.findall(r"tj\.([\w.]+)\(", text),
        *re.findall(r"OPS\['(\w+)'\]", text),
        *re.findall(r"\.(assign\w*|gradient)\(", text),
    }
    called |= {sign for sign in (" @ ", " ** ", " // ", " % ", " / ") if sign in text}
    return f"{difference.kind()} | {', '.join(sorted(called))}"


def _wrong_calls(seed: int) -> dict[str, str] | None:
    for number in range(20):
        name, wrong, call, right, setup = wrong_call(seed * 20 + number)
        source = f"{setup}\n{call}\n"
        tell("source", source=source)
        difference = check_call(name, wrong, call, right, setup, traced=number % 4 == 3)
        tell("call")
        if difference is not None:
            kind = ":".join(difference.text.split(":")[:2])
            head = "import numpy as np\nimport tracejit as tj\nfrom numpy import inf, nan\nrng = np.random.default_rng\n"
            return {
                "mode": difference.mode,
                "text": difference.text,
                "source": head + source,
                "key": f"arguments | {kind}",
                "lines": "1",
            }
    return None


if __name__ == "__main__":
    sys.exit("run python -m tests.fuzz")
