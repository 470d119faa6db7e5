"""A program: lines of Python with the arrays that go in. What the generator makes, the checks run and the shrinker cuts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

import tracejit as tj
from tracejit.ir import OPS
from tracejit.ir.types import DType

# A letter and a number: values (v), arguments (x, and a where they come as NumPy arrays), variables (V), tapes (t), gradients
# (g), functions (h), functions with rules of their own (c), parameters of either (p), counters of loops (i) and Python values
# from outside (k).
_NAME = re.compile(r"\b[a-zV]\d+\b")
# The calls before Python values change.
CALLS = 3
_TWINS = {"float32": "float64", "float64": "float32", "int32": "int64", "int64": "int32"}
_DTYPE = re.compile(rf"\b({'|'.join(_TWINS)})\b")
_RETURNED = re.compile(r"return \[(.*)\]$")


class Line(NamedTuple):
    """A statement (or the head of a block) at some depth; `text` may have several lines."""

    depth: int
    text: str

    def names(self) -> list[str]:
        return _NAME.findall(self.text)

    def defines(self) -> list[str]:
        """The names that it binds for what comes after it."""
        if "def " in self.text:
            head = self.text.split("def ")[1].split("\n")[0]
            return _NAME.findall(head if self.is_head() else head.split("(")[0])
        if self.is_head():
            return self.names()[-1:]
        left, equals, _ = self.text.partition(" = ")
        return _NAME.findall(left) if equals and "(" not in left else []

    def uses(self) -> set[str]:
        """The names that have to be bound before it."""
        if self.is_head():
            return set()
        own = {name for name in self.names() if name[0] == "p"} if "def " in self.text else set()
        return set(self.names()) - set(self.defines()) - own

    def is_head(self) -> bool:
        return self.text.endswith(":")

    def is_pure(self) -> bool:
        """Whether nothing is lost where nobody uses what it binds."""
        return bool(self.defines()) and "assign" not in self.text and "random" not in self.text


@dataclass(frozen=True)
class Program:
    """`inputs` and `variables` are names with the expressions that make them, `captured` those of Python values with what changes
    them; `types` what the values of names were when the program was generated; `outer` whether a tape is open around the call;
    `seed` where it comes from."""

    seed: int
    inputs: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    captured: dict[str, tuple[str, str]] = field(default_factory=dict)
    lines: tuple[Line, ...] = ()
    types: dict[str, Any] = field(default_factory=dict)
    outer: bool = False
    special: bool = False

    def body(self) -> str:
        """The functions, of which `f` is the one that is called."""
        text = []
        for index, line in enumerate(self.lines):
            text += ["    " * line.depth + part for part in line.text.split("\n")]
            following = self.lines[index + 1].depth if index + 1 < len(self.lines) else 0
            if line.is_head() and following <= line.depth:
                text.append("    " * (line.depth + 1) + "pass")
        return "\n".join(text) + "\n"

    def calls(self) -> int:
        """How often it is called: the first call traces and compiles, the second is learned from, the third is native; another
        two where Python values change before the fourth."""
        return CALLS + 2 * bool(self.captured)

    def source(self) -> str:
        """A file that runs by itself and prints what eager mode and the compiled function give."""
        made = "\n".join(f"    {name} = {expression}" for name, (expression, _) in self.captured.items()) + "\n" * bool(
            self.captured
        )
        made += "\n".join(f"    {name} = {expression}" for name, expression in self.variables.items())
        inner = "\n".join("    " + line for line in self.body().splitlines())
        arguments = ", ".join(self.inputs.values())
        if self.outer:
            watched = [name for name in self.inputs if name.startswith("x")]
            call = (
                f"{', '.join(self.inputs)}{',' if self.inputs else ''} = [{arguments}]\n"
                f"        with tj.GradientTape() as tape:\n            tape.watch([{', '.join(watched)}])\n"
                f"            results = [None if r is None else tj.identity(r) for r in f({', '.join(self.inputs)})]\n"
                "        targets = [each for each in results if each is not None and each.dtype.is_floating]\n"
                f"        print(results, targets and tape.gradient(targets, [{', '.join([*watched, *self.variables])}]))"
            )
            call = call if self.inputs else call.split("\n", 1)[1].lstrip()
        else:
            call = f"print(f({arguments}))"
        return (
            "from types import SimpleNamespace\n\nimport numpy as np\nimport tracejit as tj\nfrom numpy import inf, nan\nfrom tracejit.ir import OPS\n\n"
            "rng = np.random.default_rng\n\n\ndef main(outer, inner):\n    tj.random.set_seed(1)\n"
            + (f"{made}\n" if made else "")
            + f"{inner}\n    for call in range({self.calls()}):\n"
            + "".join(f"        if call == {CALLS}:\n            {change}\n" for _, change in self.captured.values())
            + f"        {call}\n"
            + (f"        print({', '.join(self.variables)})\n" if self.variables else "")
            + "\n\nmain(lambda f: f, lambda f: f)\nmain(tj.function, tj.function)\n"
        )

    # -- running it

    def load(self, outer: Callable[..., Any], inner: Callable[..., Any]) -> dict[str, Any]:
        """Its names, with `f` and the variables new; `outer` decorates `f` and `inner` the functions that it calls."""
        space = new_space()
        tj.random.set_seed(1)
        for name, expression in [*((name, made) for name, (made, _) in self.captured.items()), *self.variables.items()]:
            space[name] = eval(expression, space)
        space["outer"], space["inner"] = outer, inner
        exec(compile(self.body(), "<program>", "exec"), space)
        return space

    def arguments(self) -> list[Any]:
        with np.errstate(all="ignore"):
            return [eval(expression, new_space()) for expression in self.inputs.values()]

    def call(self, space: dict[str, Any], arguments: list[Any], number: int = 0) -> list[Any]:
        """One call: what `f` gives, then its gradients where a tape is open around it, then what the variables hold."""
        if number == CALLS:
            for _, change in self.captured.values():
                exec(change, space)
        variables = [space[name] for name in self.variables]
        if self.outer:
            watched = [each for each in arguments if isinstance(each, tj.Tensor) and each.dtype.is_floating]
            with tj.GradientTape() as tape:
                tape.watch(watched)
                # A variable that eager mode gives back has not been read.
                results = [None if each is None else tj.identity(each) for each in space["f"](*arguments)]
            targets = [each for each in results if each is not None and each.dtype.is_floating]
            sources = [*watched, *(each for each in variables if each.dtype.is_floating)]
            results += tape.gradient(targets, sources) if targets and sources else []
        else:
            results = list(space["f"](*arguments))
        return [None if each is None else np.array(each.numpy()) for each in [*results, *variables]]

    # -- changing it

    def twin(self) -> Program:
        """The same of float64 where it is of float32, and the other way round, and so of int32 and int64."""

        def swapped(text: str) -> str:
            return _DTYPE.sub(lambda found: _TWINS[found[0]], text)

        return replace(
            self,
            inputs={name: swapped(text) for name, text in self.inputs.items()},
            variables={name: swapped(text) for name, text in self.variables.items()},
            lines=tuple(Line(line.depth, swapped(line.text)) for line in self.lines),
        )

    def with_lines(self, lines: Any) -> Program:
        return replace(self, lines=tuple(lines))

    def returned(self) -> list[str]:
        found = _RETURNED.match(self.lines[-1].text)
        assert found is not None
        return [name for name in found[1].split(", ") if name]

    def returning(self, names: list[str]) -> Program:
        return self.with_lines([*self.lines[:-1], Line(1, f"return [{', '.join(names)}]")]).used()

    def used(self) -> Program:
        """Without the lines, arguments and variables that nothing uses."""
        lines, before = list(self.lines), -1
        while len(lines) != before:
            before = len(lines)
            lines = _used(lines)
        wanted = {name for line in lines for name in line.uses()}
        inputs = {name: value for name, value in self.inputs.items() if name in wanted}
        captured = {name: value for name, value in self.captured.items() if name in wanted}
        variables = {name: value for name, value in self.variables.items() if name in wanted}
        head = f"@outer\ndef f({', '.join(inputs)}):"
        lines = [line._replace(text=head) if "def f(" in line.text else line for line in lines]
        return replace(self, lines=tuple(lines), inputs=inputs, variables=variables, captured=captured)


def _used(lines: list[Line]) -> list[Line]:
    wanted = {name for line in lines for name in line.uses()}
    kept: list[Line] = []
    cut: int | None = None  # the depth of a function that nobody calls
    for index, line in enumerate(lines):
        if cut is not None and line.depth > cut:
            continue
        cut = None
        bound = line.defines()[:1] if line.is_head() else line.defines()
        needed = "def f(" in line.text or any(name in wanted for name in bound)
        if line.is_head() and not needed:
            if "def " in line.text:
                cut = line.depth
                continue
            if index + 1 >= len(lines) or lines[index + 1].depth <= line.depth:
                continue
        elif line.is_pure() and not needed:
            continue
        kept.append(line)
    return kept


def new_space() -> dict[str, Any]:
    """The names that a program finds."""
    return {
        "np": np,
        "tj": tj,
        "SimpleNamespace": SimpleNamespace,
        "OPS": OPS,
        "rng": np.random.default_rng,
        "inf": math.inf,
        "nan": math.nan,
    }


def literal(value: Any) -> str:
    """`value`, an attribute or an argument, as Python."""
    if isinstance(value, DType):
        return f"tj.{value.name if value.name != 'bool' else 'bool'}"
    if isinstance(value, np.ndarray):
        return f"np.array({value.astype(np.float64).tolist() if value.dtype.kind not in 'biu' else value.tolist()!r}, {dtype_text(value.dtype.name)})"
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, np.generic):
        return repr(value.item())
    return repr(value)


def dtype_text(name: str) -> str:
    """NumPy's dtype called `name` as Python."""
    return "tj.bfloat16.numpy" if name == "bfloat16" else f'"{name}"'


def blocks(lines: tuple[Line, ...]) -> Iterator[tuple[int, int]]:
    """(first, end) of each line with what is in its block."""
    for first, line in enumerate(lines):
        end = first + 1
        while end < len(lines) and lines[end].depth > line.depth:
            end += 1
        yield first, end
