"""Makes a program smaller while it still shows the difference."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from .program import Line, Program, blocks

_SQUASHED = re.compile(r"-?[\d.]+ \* tj\.sigmoid\((\w+)\)(?: \+ -?[\d.]+)?")
_MADE = re.compile(r"rng\(\d+\)\.\w+\((?:.*, )?(\(.*?\))\)")
_NUMBER = re.compile(r"(?<![\w.])\d+(?![\w.])")


def shrink(program: Program, fails: Callable[[Program], bool], seconds: float = 20.0) -> Program:
    """The smallest program that was found in `seconds` of which `fails` is true, as it is of `program`."""
    end = time.monotonic() + seconds
    changed = True
    while changed and time.monotonic() < end:
        changed = False
        for steps in (_fewer_results, _fewer_lines, _other_values, _simpler_lines, _simpler_arrays, _fewer_numbers):
            again = True
            while again and time.monotonic() < end:
                again = False
                for candidate in steps(program):
                    if time.monotonic() > end:
                        break
                    if candidate is not None and candidate != program and fails(candidate):
                        program, changed = candidate, True
                        # What was left out stays out: only where a step gives few candidates is it worth to begin again.
                        again = True
                        break
    return program


def whole(program: Program) -> Program | None:
    """Without the lines that use what is not bound any more; None where nothing is returned then."""
    lines = list(program.lines)
    while True:
        defined = {*program.inputs, *program.variables, *program.captured}
        kept: list[Line] = []
        cut: tuple[int, int] | None = None
        for index, line in enumerate(lines):
            if line.text.startswith("return ["):
                names = [name for name in line.names() if name in defined]
                if not names:
                    return None
                kept.append(Line(line.depth, f"return [{', '.join(names)}]"))
                continue
            missing = line.uses() - defined
            if ".watch([" in line.text and missing:
                names = [name for name in line.names()[1:] if name in defined]
                if names and line.names()[0] in defined:
                    kept.append(Line(line.depth, f"{line.names()[0]}.watch([{', '.join(names)}])"))
                continue
            if missing and line.text.startswith("return "):  # a function without its results is none
                cut = next((first, last) for first, last in blocks(tuple(lines)) if first < index < last)
                break
            if missing:
                continue
            defined |= set(line.defines())
            kept.append(line)
        if cut is not None:
            lines = lines[: cut[0]] + lines[cut[1] :]
            continue
        if len(kept) == len(lines):
            return program.with_lines(kept).used()
        lines = kept


def _fewer_results(program: Program) -> Iterator[Program | None]:
    names = program.returned()
    if program.outer:
        yield replace(program, outer=False)
    if len(names) > 1:
        for name in names:
            yield program.returning([name])
        for name in names:
            yield program.returning([other for other in names if other != name])


def _fewer_lines(program: Program) -> Iterator[Program | None]:
    found = [
        (first, end)
        for first, end in blocks(program.lines)
        if "def f(" not in program.lines[first].text and not program.lines[first].text.startswith("return ")
    ]
    for first, end in sorted(found, key=lambda block: (block[0] - block[1], -block[0])):
        lines = program.lines
        yield whole(program.with_lines([*lines[:first], *lines[end:]]))
        if end - first > 1 and "def " not in lines[first].text:
            inside = [Line(line.depth - 1, line.text) for line in lines[first + 1 : end]]
            yield whole(program.with_lines([*lines[:first], *inside, *lines[end:]]))


def _other_values(program: Program) -> Iterator[Program | None]:
    """An earlier value of the same type in the place of another."""
    order = [*program.inputs, *(name for line in program.lines for name in line.defines())]
    for index in range(len(order) - 1, 0, -1):
        name = order[index]
        for other in order[:index]:
            if name in program.types and program.types.get(other) == program.types[name] and name[0] in "vgx":
                lines = [
                    line if name in line.defines() or "def f(" in line.text
                    else Line(line.depth, re.sub(rf"\b{name}\b", other, line.text))
                    for line in program.lines
                ]  # fmt: skip
                yield program.with_lines(lines).used()
                break


def _simpler_lines(program: Program) -> Iterator[Program | None]:
    for index, line in enumerate(program.lines):
        for text in (
            _SQUASHED.sub(r"\1", line.text), line.text.replace("persistent=True", ""),
            *(_without_source(line.text, place) for place in range(line.text.split(" = ")[0].count("g"))),
            re.sub(r", unconnected_gradients=[\w.]+", "", line.text), re.sub(r", output_gradients=\w+", "", line.text),
            re.sub(r"\(\[(\w+), \w+\]", r"(\1", line.text),
        ):  # fmt: skip
            if text != line.text:
                yield program.with_lines([*program.lines[:index], Line(line.depth, text), *program.lines[index + 1 :]]).used()


def _without_source(text: str, place: int) -> str:
    """A line that takes several gradients without one of them."""
    found = re.match(r"([g\d, ]+) = (t\d+\.gradient\(.*, )\[([\w, ]+)\](.*)$", text)
    if found is None:
        return text
    names, sources = ([each.strip() for each in found[group].split(",") if each.strip()] for group in (1, 3))
    if len(names) < 2 or len(names) != len(sources):
        return text
    del names[place], sources[place]
    return f"{', '.join(names)}{',' if len(names) == 1 else ''} = {found[2]}[{', '.join(sources)}]{found[4]}"


def _simpler_arrays(program: Program) -> Iterator[Program | None]:
    for table in ("inputs", "variables"):
        made = getattr(program, table)
        for name, expression in made.items():
            for text in (_MADE.sub(r"np.ones(\1)", expression), re.sub(r"\)(\.T|\[[^]]*\])(?=[,)]|$)", ")", expression)):
                if text != expression:
                    yield replace(program, **{table: {**made, name: text}})


def _fewer_numbers(program: Program) -> Iterator[Program | None]:
    """Smaller sizes everywhere at once."""
    texts = [*program.inputs.values(), *program.variables.values()]
    numbers = {int(number) for text in texts for number in _NUMBER.findall(text)}
    for number in sorted(numbers, reverse=True):
        for smaller in (1, 2, 3, number // 2):
            if smaller >= number:
                continue

            def less(text: str, number: int = number, smaller: int = smaller) -> str:
                return re.sub(rf"(?<![\w.]){number}(?![\w.])", str(smaller), text)

            yield replace(
                program,
                inputs={name: less(text) for name, text in program.inputs.items()},
                variables={name: less(text) for name, text in program.variables.items()},
                lines=tuple(Line(line.depth, less(line.text)) for line in program.lines),
            )
