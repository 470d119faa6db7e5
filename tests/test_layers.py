"""The rooms of the house: which may import which, who knows llvmlite, and that all of them are packaged."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A module imports its own row and the rows above it.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("ir", "objects", "nest", "locks", "memory"),  # nest: structures of leaves; it and those beside it know nothing of tracejit
    ("ops",),
    ("functions", "passes"),
    ("operators", "conversion", "context", "tensor", "variable", "tape", "custom", "random", "tracing"),
    ("llvm", "runtime"),
    ("function",),
    ("inspect",),
    (
        "",
        "errors",
        "math",
        "linalg",
        "bitwise",
        "config",
        "data",
        "demo",
        "__main__",
    ),  # what users see; "" is tracejit/__init__.py
)
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}

# (module, imported module) that may run back, each with its reason. Keep it empty.
EXCEPTIONS: set[tuple[str, str]] = set()


class Import(NamedTuple):
    """`module` (dotted, never relative) is imported at `line`; `name` is what is taken from it, if anything."""

    module: str
    name: str
    line: int


def module_name(path: Path) -> str:
    """The dotted name under which the file is installed."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] == "passes":
        parts.insert(0, "tracejit")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports(tree: ast.AST, package: str) -> Iterator[Import]:
    """The imports of a module in `package`, also in functions and by importlib; not those for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from imports(ast.Module([other], []), package)
            continue
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, "", node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (Import(module, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "importlib.import_module",
            "import_module",
            "__import__",
        ):
            wanted = node.args[0]
            start = wanted.values[0] if isinstance(wanted, ast.JoinedStr) else wanted
            if isinstance(start, ast.Constant):
                yield Import(str(start.value).rstrip("."), "", node.lineno)
        yield from imports(node, package)


def imports_of(path: Path) -> list[Import]:
    name = module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return list(imports(ast.parse(path.read_text("utf-8")), package))


def room(module: str, name: str = "") -> str | None:
    """The room of tracejit that `from module import name` enters; None for a module that is not tracejit's."""
    parts = module.split(".")
    if parts[0] != "tracejit":
        return None
    if len(parts) > 1:
        return parts[1]
    return name if name in RANK else ""


def backward_imports(module: str, found: list[Import]) -> list[str]:
    """What `module` imports from a row below its own, as lines of text."""
    own = RANK[room(module) or ""]
    wrong = []
    for each in found:
        entered = room(each.module, each.name)
        if entered is not None and RANK[entered] > own and (module, each.module) not in EXCEPTIONS:
            wrong.append(f"{module}:{each.line} imports {each.module} {each.name}".rstrip())
    return wrong


def test_every_module_has_a_layer() -> None:
    rooms = {room(module_name(path)) for path in sources("tracejit", "passes")}
    assert {"ir", "ops", "functions", "tensor"} <= rooms
    assert rooms <= set(RANK), "a new module must be put in its row of LAYERS"


def test_imports_run_one_way() -> None:
    wrong = [line for path in sources("tracejit", "passes") for line in backward_imports(module_name(path), imports_of(path))]
    assert not wrong, "\n".join(wrong)


def test_only_the_backend_knows_llvmlite() -> None:
    wrong = [
        f"{module_name(path)}:{each.line}"
        for path in sources("tracejit", "passes")
        for each in imports_of(path)
        if each.module.split(".")[0] == "llvmlite" and room(module_name(path)) not in ("llvm", "runtime")
    ]
    assert not wrong, "\n".join(wrong)


def test_eager_mode_does_not_import_llvmlite() -> None:
    program = """
import sys, tracejit as tj
v = tj.Variable(tj.ones([2, 2]))
with tj.GradientTape() as tape:
    y = tj.reduce_sum(v @ v)
v.assign_sub(tape.gradient(y, v))
assert "llvmlite" not in sys.modules
tj.function(lambda x: x + 1.0)(v)
assert "llvmlite" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def late_imports(tree: ast.AST, package: str, inside: bool = False) -> Iterator[Import]:
    """The imports in functions that are not done `with importing`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.With) and any(ast.unparse(item.context_expr) == "importing" for item in node.items):
            continue
        function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        if inside and isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from imports(ast.Module([node], []), package)
        else:
            yield from late_imports(node, package, inside or function)


def test_a_late_import_is_never_half_done_in_a_forked_child() -> None:
    """What `import tracejit` has not imported yet is imported under the lock that is held over forks."""
    program = "import sys, tracejit; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    early = set(done.stdout.split())
    wrong = []
    for path in sources("tracejit", "passes"):
        name = module_name(path)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for each in late_imports(ast.parse(path.read_text("utf-8")), package):
            if f"{each.module}.{each.name}" not in early and (each.module not in early or each.name == "passes"):
                wrong.append(f"{name}:{each.line} imports {each.module} {each.name}".rstrip())
    assert not wrong, "\n".join(wrong)


def test_nobody_imports_passes_by_its_folder() -> None:
    wrong = [
        f"{path}:{each.line}"
        for path in sources("tracejit", "passes", "tests", "benchmarks")
        for each in imports_of(path)
        if each.module.split(".")[0] == "passes"
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("module", "source", "count"),
    [
        ("tracejit.ir.graph", "from tracejit import ops", 1),
        ("tracejit.ir.graph", "from tracejit.ops.control import constant", 1),
        ("tracejit.ir.graph", "def f():\n    import tracejit.tensor", 1),
        ("tracejit.ir.graph", "from ..ops import add", 1),
        ("tracejit.ops.control", "from tracejit import Tensor", 1),
        ("tracejit.ops.control", "import importlib\nimportlib.import_module(f'tracejit.llvm.{x}')", 1),
        ("tracejit.passes.fuse", "from tracejit.tensor import Tensor\nimport tracejit.llvm.plan.plan", 2),
        ("tracejit.ops.control", "if TYPE_CHECKING:\n    from tracejit.tensor import Tensor", 0),
        ("tracejit.ops.control", "if TYPE_CHECKING:\n    pass\nelse:\n    from tracejit.tensor import Tensor", 1),
        ("tracejit.ops.control", "import numpy\nfrom . import shape\nfrom tracejit.ir import make", 0),
    ],
)
def test_the_check_finds_what_runs_back(module: str, source: str, count: int) -> None:
    found = list(imports(ast.parse(source), module.rpartition(".")[0]))
    assert len(backward_imports(module, found)) == count


def test_every_folder_is_packaged() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    folders = {module_name(path) for path in sources("tracejit", "passes") if path.name == "__init__.py"}
    assert folders >= {"tracejit", "tracejit.ir", "tracejit.passes"}
    assert sorted(settings["packages"]) == sorted(folders)
    assert settings["package-dir"]["tracejit.passes"] == "passes"


def test_every_folder_with_modules_is_a_package() -> None:
    loose = {path.parent for path in sources("tracejit", "passes")} - {
        path.parent for path in sources("tracejit", "passes") if path.name == "__init__.py"
    }
    assert not loose
