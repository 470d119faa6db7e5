"""The package as its source files show it: modules, the imports between them, circles, and a drawing.

`python -m tests.structure` writes the tables and the drawing of CONTRIBUTING.md anew.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
Arrows = Mapping[str, set[str]]


class Import(NamedTuple):
    """`module` (dotted, never relative) is imported at `line`; `name` is what is taken from it, if anything."""

    module: str
    name: str
    line: int


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    """The dotted name under which the file is installed."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] == "passes":
        parts.insert(0, "tracejit")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> dict[str, Path]:
    """The file of every module of the package."""
    return {module_name(path): path for path in sources("tracejit", "passes")}


def package_of(path: Path) -> str:
    """Where the relative imports of the file begin."""
    name = module_name(path)
    return name if path.name == "__init__.py" else name.rpartition(".")[0]


def imports(tree: ast.AST, package: str, typing: bool = False) -> Iterator[Import]:
    """The imports of a module in `package`, also in functions and by importlib; with `typing` those for type checkers too."""
    for node in ast.iter_child_nodes(tree):
        if not typing and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from imports(ast.Module([other], []), package)
            continue
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, "", node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (Import(module, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and _name(node.func) in ("import_module", "__import__"):
            wanted = node.args[0]
            start = wanted.values[0] if isinstance(wanted, ast.JoinedStr) else wanted
            if isinstance(start, ast.Constant):
                yield Import(str(start.value).rstrip("."), "", node.lineno)
        yield from imports(node, package, typing)


def _name(function: ast.expr) -> str:
    """The last part of a name."""
    return function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@cache
def imports_of(path: Path, typing: bool = False) -> tuple[Import, ...]:
    return tuple(imports(tree_of(path), package_of(path), typing))


def arrows() -> dict[str, set[str]]:
    """Which modules of the package a module imports, at any time, type checkers' included."""
    files = modules()
    found: dict[str, set[str]] = {}
    for name, path in files.items():
        full = {(f"{each.module}.{each.name}", each.module) for each in imports_of(path, typing=True)}
        wanted = {inner if inner in files else outer for inner, outer in full}
        found[name] = {module for module in wanted if module in files and module != name}
    return found


def circles(arrows: Arrows) -> set[frozenset[str]]:
    """The sets of modules that reach one another: components of more than one module."""
    reached = {name: _reached(name, arrows) for name in arrows}
    rings = (frozenset(other for other in reached[name] if name in reached[other]) for name in arrows)
    return {ring for ring in rings if len(ring) > 1}


def _reached(start: str, arrows: Arrows) -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        for module in arrows.get(waiting.pop(), ()):
            if module not in reached:
                reached.add(module)
                waiting.append(module)
    return reached


# -- what CONTRIBUTING.md shows

# Single files that the drawing shows as one.
GROUPS = {
    "eager": ("context", "operators", "conversion", "tensor", "variable", "tape", "custom", "random"),
    "helpers": ("objects", "nest", "locks", "memory"),
    "names": ("", "errors", "math", "linalg", "bitwise", "config", "data", "demo", "__main__"),
}
_GROUP = {name: group for group, names in GROUPS.items() for name in names}


def place(module: str) -> str:
    """The box of the drawing in which the module lies: that of its package, of which llvm has one a package or file inside."""
    parts = module.split(".")[1:]
    first = parts[0] if parts else ""
    is_inner = first == "llvm" or parts[:2] == ["runtime", "native"]
    return "/".join(parts[:2]) if is_inner else _GROUP.get(first, first)


def between(arrows: Arrows) -> dict[str, set[str]]:
    """The arrows between the boxes of modules."""
    found: dict[str, set[str]] = {place(name): set() for name in arrows}
    for name, others in arrows.items():
        found[place(name)] |= {place(other) for other in others} - {place(name)}
    return found


def essential(arrows: Arrows) -> dict[str, set[str]]:
    """Without the arrows that lead where others lead as well, by ways that do not lead back."""
    reached = {name: _reached(name, arrows) for name in arrows}

    def leads_on(name: str, way: str, other: str) -> bool:
        return way != other and other in reached[way] and name not in reached[way]

    return {
        name: {other for other in others if not any(leads_on(name, way, other) for way in others)}
        for name, others in arrows.items()
    }


def drawing() -> str:
    """A Mermaid graph: an arrow from a box to each that it imports, but to those that are reached by way of another."""
    boxes = {name: others - {"names"} for name, others in between(arrows()).items() if name != "names"}
    lines = [
        f"  {name.replace('/', '.')}[{name}] --> {other.replace('/', '.')}[{other}]"
        for name, others in sorted(essential(boxes).items())
        for other in sorted(others)
    ]
    return "\n".join(["```mermaid", "graph TD", *lines, "```"])


def idea(path: Path) -> str:
    """The first sentence of the module's docstring; empty where it has none."""
    words = " ".join((ast.get_docstring(tree_of(path)) or "").partition("\n\n")[0].split())
    return (words + " ").partition(". ")[0].rstrip(". ")


def table(folder: str) -> str:
    """The idea of the package, and of each of its files."""
    path = ROOT / folder
    rows = [
        (f"{folder}/", path / "__init__.py"),
        *((file.name, file) for file in sorted(path.glob("*.py")) if file.name != "__init__.py"),
    ]
    package, *files = (f"| `{name}` | {idea(file)} |".replace("](", "]\\(") for name, file in rows)
    return "\n".join([package, "|---|---|", *files])


def written(text: str) -> str:
    """`text` with its tables and its drawing as they have to be: those behind `<!-- files: FOLDER -->` and `<!-- drawing -->`."""
    behind = r"(?m)^(<!-- (?:files: ([\w/]+)|drawing) -->\n)(?:.+\n)*"
    return re.sub(behind, lambda marker: f"{marker[1]}{table(marker[2]) if marker[2] else drawing()}\n", text)


def folders() -> set[str]:
    """Those of the package."""
    return {path.parent.relative_to(ROOT).as_posix() for path in modules().values()}


def lines_of(paths: Iterable[Path]) -> dict[str, int]:
    return {path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines()) for path in paths}


if __name__ == "__main__":
    guide = ROOT / "CONTRIBUTING.md"
    guide.write_text(written(guide.read_text("utf-8")), "utf-8")
