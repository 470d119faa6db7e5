"""The compile driver: one graph's way from its trace to machine code, in stages that are made when somebody asks for them.

Passes, planner and emitter are started from here and from nowhere else: by the executable, which goes all the way where the
cache does not have the code, and by those who print a stage. It stands beside `llvm`, since the passes know nothing of that
and `llvm` nothing of the passes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tracejit.ir import Graph
from tracejit.llvm.target import Target
from tracejit.locks import importing, lazy_property

if TYPE_CHECKING:  # where the cache has the code, nobody needs them
    from tracejit.llvm.emit import Module, Program, Written
    from tracejit.llvm.plan.plan import Plan


def pass_names() -> tuple[str, ...]:
    """The passes, in the order in which they run."""
    with importing:
        from tracejit import passes

    return passes.PIPELINE


def stage_names() -> tuple[str, ...]:
    """The stages in order; "optimized" is another name of the graph after the last pass."""
    return ("traced", *pass_names(), "optimized", "plan", "llvm", "asm")


class Compilation:
    """The stages of one graph."""

    def __init__(self, traced: Graph, target: Target, optimized: Graph | None = None):
        """`optimized` is the graph after all passes, where it is known."""
        self.traced, self.target = traced, target
        self.spent: dict[str, float] = {}  # seconds of each stage that was made, until now
        if optimized is not None:
            self.optimized = optimized

    @lazy_property
    def optimized(self) -> Graph:
        """The graph after all passes."""
        with importing:
            from tracejit import passes

        with self._timed("passes"):
            return passes.run(self.traced)

    @lazy_property
    def plan(self) -> Plan:
        """Its kernels, and where every value lies."""
        with importing:
            from tracejit.llvm.plan.plan import plan

        optimized = self.optimized
        with self._timed("plan"):
            return plan(optimized, self.target)

    @lazy_property
    def program(self) -> Program:
        """Its plan as calls of kernels, which need not be written."""
        with importing:
            from tracejit.llvm.emit import program

        planned = self.plan
        with self._timed("plan"):
            return program(planned, self.target)

    def write(self, names: Sequence[str]) -> list[Written]:
        """The kernels of these names."""
        with importing:
            from tracejit.llvm.emit import write

        program = self.program
        with self._timed("text"):
            return [write(program.calls[name], name, self.target) for name in names]

    @lazy_property
    def module(self) -> Module:
        """All of it as one text for LLVM."""
        with importing:
            from tracejit.llvm.emit import emit

        return emit(self.plan, self.target)

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.spent[stage] = self.spent.get(stage, 0.0) + time.perf_counter() - start

    def text(self, stage: str) -> str:
        """A stage as text. ValueError where there is none of that name."""
        if stage == "traced":
            return self.traced.text()
        if stage == "optimized":
            return self.optimized.text()
        if stage == "plan":
            with importing:
                from tracejit.llvm.plan_text import print_plan

            return print_plan(self.plan)
        if stage == "llvm":
            return self.module.text
        if stage == "asm":
            with importing:
                from tracejit.llvm.machine.codegen import assembly

            return assembly(self.module.text)
        if stage not in pass_names():
            raise ValueError(f"there is no stage {stage!r}; the stages are {', '.join(stage_names())}")
        return self._after(stage).text()

    def _after(self, name: str) -> Graph:
        """The graph after the pass called `name`."""
        with importing:
            from tracejit import passes

        return next(graph for done, graph in passes.stages(self.traced) if done == name)
