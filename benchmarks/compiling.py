"""What making a step costs and what it needs: `python -m benchmarks.compiling first|stages OPS` and `... arenas` print JSON.

The one place that looks at more than tracejit's public names: the stages of compiling are timed apart from each other.
"""

from __future__ import annotations

import functools
import json
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tracejit as tj
from benchmarks.cases import CASES
from benchmarks.libraries import tape

# A reduction over everything after this many ops of the chain ends a loop nest, so that a long chain is many of them.
REDUCED = 20
SHAPE = (64, 64)


def chain(ops: int) -> tuple[Any, Any]:
    """A function of so many ops, elementwise ones and reductions now and then, and its argument."""

    @tj.function
    def run(x: Any) -> Any:
        for number in range(1, ops + 1):
            if number % REDUCED == 0:
                x = x + tj.reduce_mean(x)
                continue
            x = tj.tanh(x) if number % 2 else x * x
        return x

    return run, tj.constant(np.random.default_rng(10).standard_normal(SHAPE, dtype=np.float32))


def first(ops: int) -> dict[str, float]:
    """Seconds of the first call of the chain and of the second."""
    run, x = chain(ops)
    start = time.perf_counter()
    run(x).numpy()
    called = time.perf_counter()
    run(x).numpy()
    return {"first_call_s": called - start, "second_call_s": time.perf_counter() - called}


def stages(ops: int) -> dict[str, float]:
    """Seconds of tracing, of the passes, of planning and writing LLVM's text, and of what is left, LLVM; the nodes before and
    after the passes."""
    from tracejit.llvm.emit import emit
    from tracejit.llvm.machine.host import host_target
    from tracejit.llvm.plan.plan import plan

    target = host_target()  # first, since it imports llvmlite
    run, x = chain(ops)
    run.ir(x, stage="traced")
    start = time.perf_counter()
    graph = run.graph(x)
    optimized = time.perf_counter()
    emit(plan(graph, target), target)
    emitted = time.perf_counter()
    run.compiled(x)
    compiled = time.perf_counter()
    told = re.search(r"(\d+) nodes traced, (\d+) optimized; ([\d.]+) ms to trace", run.explain())
    assert told is not None, run.explain()
    return {
        "traced_nodes": int(told[1]),
        "optimized_nodes": int(told[2]),
        "trace_s": float(told[3]) / 1e3,
        "passes_s": optimized - start,
        "plan_and_emit_s": emitted - optimized,
        "llvm_s": max(0.0, (compiled - emitted) - (emitted - optimized)),
    }


def _arena(function: Any, *arguments: Any) -> dict[str, int]:
    """The bytes of the arena, and of all temporaries if each had memory of its own."""
    if hasattr(function, "memory"):
        memory = function.memory(*arguments)
        return {"arena_bytes": memory.arena, "temporaries_bytes": memory.temporaries}
    plan = function.compiled(*arguments).plan
    return {"arena_bytes": plan.arena_bytes, "temporaries_bytes": plan.temporaries_bytes}


def arenas() -> dict[str, dict[str, int]]:
    """For each case that is benchmarked."""
    found = {name: _arena(*make().traced) for name, make in CASES.items()}
    names = tape.transformer(tj).names
    return found | {"transformer": _arena(names["step"], names["x"], names["y"])}


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[2:]]
    what: dict[str, Callable[..., Any]] = {"first": first, "stages": stages, "arenas": arenas}
    print(json.dumps(functools.partial(what[sys.argv[1]], *numbers)()))
