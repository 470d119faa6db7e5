"""The structure of the package: who may import whom, that nothing goes round in a circle, who knows llvmlite, how long files are,
and that all of them are packaged."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence

import pytest
from structure import (
    ROOT,
    Arrows,
    Import,
    arrows,
    circles,
    imports,
    imports_of,
    lines_of,
    module_name,
    package_of,
    sources,
    tree_of,
)

# A module imports its own row and the rows above it.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("ir", "objects", "nest", "locks", "memory"),  # nest: structures of leaves; it and those beside it know nothing of tracejit
    ("ops",),
    ("functions", "passes"),
    ("operators", "conversion", "context", "tensor", "variable", "tape", "custom", "random", "tracing"),
    ("compilation", "llvm", "runtime"),
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
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}

# (module, imported module) that may run back, each with its reason. Keep it empty.
EXCEPTIONS: set[tuple[str, str]] = set()


def part_of(module: str, name: str = "") -> str | None:
    """The part of tracejit that `from module import name` enters; None for a module that is not tracejit's."""
    parts = module.split(".")
    if parts[0] != "tracejit":
        return None
    if len(parts) > 1:
        return parts[1]
    return name if name in RANK else ""


def backward_imports(module: str, found: Sequence[Import]) -> list[str]:
    """What `module` imports from a row below its own, as lines of text."""
    own = RANK[part_of(module) or ""]
    wrong = []
    for each in found:
        entered = part_of(each.module, each.name)
        if entered is not None and RANK[entered] > own and (module, each.module) not in EXCEPTIONS:
            wrong.append(f"{module}:{each.line} imports {each.module} {each.name}".rstrip())
    return wrong


def test_every_module_has_a_layer() -> None:
    parts = {part_of(module_name(path)) for path in sources("tracejit", "passes")}
    assert {"ir", "ops", "functions", "tensor"} <= parts
    assert parts <= set(RANK), "a new module must be put in its row of LAYERS"


def test_imports_run_one_way() -> None:
    wrong = [line for path in sources("tracejit", "passes") for line in backward_imports(module_name(path), imports_of(path))]
    assert not wrong, "\n".join(wrong)


def test_only_the_backend_knows_llvmlite() -> None:
    wrong = [
        f"{module_name(path)}:{each.line}"
        for path in sources("tracejit", "passes")
        for each in imports_of(path)
        if each.module.split(".")[0] == "llvmlite" and part_of(module_name(path)) not in ("llvm", "runtime")
    ]
    assert not wrong, "\n".join(wrong)


def test_eager_mode_does_not_import_llvmlite() -> None:
    program = """
import os, sys, tracejit as tj
os.environ["TRACEJIT_CACHE"] = "0"
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
        for each in late_imports(tree_of(path), package_of(path)):
            if f"{each.module}.{each.name}" not in early and (each.module not in early or each.name == "passes"):
                wrong.append(f"{module_name(path)}:{each.line} imports {each.module} {each.name}".rstrip())
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


# -- circles, and the order inside packages


def test_no_imports_go_round_in_a_circle() -> None:
    assert not circles(arrows()), sorted(map(sorted, circles(arrows())))


@pytest.mark.parametrize(
    ("sketch", "rings"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}}, ["ab"]),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": {"f"}, "f": {"e", "a"}}, ["abc", "ef"]),
        ({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": {"b"}}, ["bd"]),
    ],
)
def test_circles_are_found(sketch: Arrows, rings: list[str]) -> None:
    assert circles(sketch) == {frozenset(ring) for ring in rings}


def test_every_kind_of_import_is_an_arrow() -> None:
    source = """
from __future__ import annotations
from typing import TYPE_CHECKING
from tracejit.ir import graph
if TYPE_CHECKING:
    from tracejit.tensor import Tensor
def f():
    import tracejit.llvm.emit
    from . import shape
"""
    found = {each.module + "." + each.name for each in imports(ast.parse(source), "tracejit.ops", typing=True)}
    assert found >= {"tracejit.ir.graph", "tracejit.tensor.Tensor", "tracejit.llvm.emit.", "tracejit.ops.shape"}


# A module imports its own row of its package and the rows above it.
INSIDE: dict[str, tuple[tuple[str, ...], ...]] = {
    "llvm": (
        ("target", "text"),
        ("machine",),
        ("math", "entry"),
        ("plan", "linking"),
        ("kernels",),
        ("emit", "plan_text"),
        ("executable",),
    ),
    "runtime": (
        ("eagerly", "slots"),
        ("compiled_function",),
        ("native", "taped_calls"),
        ("concrete_function",),
        ("inline_cache", "generated", "traces"),
    ),
}
# (module, imported module) that run back, each with its reason. One that goes away has to go here too.
BACK_INSIDE: set[tuple[str, str]] = set()


def place_inside(module: str, package: str) -> str | None:
    """The part of `package` that the module is; None for one that is elsewhere, or the package itself."""
    parts = module.split(".")
    return parts[2] if parts[:2] == ["tracejit", package] and len(parts) > 2 else None


def back_inside(package: str, rows: tuple[tuple[str, ...], ...], found: Arrows) -> set[tuple[str, str]]:
    """The imports within the package that run back."""
    rank = {part: number for number, row in enumerate(rows) for part in row}
    pairs = {(name, other) for name, others in found.items() for other in others}
    ranks = ((pair, [rank.get(place_inside(module, package) or "") for module in pair]) for pair in pairs)
    return {pair for pair, (own, other) in ranks if own is not None and other is not None and other > own}


@pytest.mark.parametrize("package", INSIDE)
def test_every_part_of_a_package_has_a_row(package: str) -> None:
    parts = {place_inside(name, package) for name in arrows()} - {None}
    assert parts == {part for row in INSIDE[package] for part in row}


def test_imports_inside_packages_run_one_way() -> None:
    found = arrows()
    back = {pair for package, rows in INSIDE.items() for pair in back_inside(package, rows, found)}
    assert back == BACK_INSIDE, "\n".join(map(str, sorted(back ^ BACK_INSIDE)))


def test_what_runs_back_inside_is_found() -> None:
    rows = (("text",), ("plan", "math"), ("emit",))
    sketch = {"tracejit.llvm.text.a": {"tracejit.llvm.plan.b"}, "tracejit.llvm.emit": {"tracejit.llvm.text.a", "tracejit.ir"}}
    assert back_inside("llvm", rows, sketch) == {("tracejit.llvm.text.a", "tracejit.llvm.plan.b")}
    assert back_inside("llvm", rows, {"tracejit.llvm.math.a": {"tracejit.llvm.plan.b", "tracejit.llvm.text.c"}}) == set()


# -- long files

LONGEST = 400
# Those that are longer, and why they are one file.
LONG: dict[str, str] = {}


def test_long_files_have_a_reason() -> None:
    long = {name for name, lines in lines_of(sources("tracejit", "passes")).items() if lines > LONGEST}
    assert long == set(LONG), f"split by idea, or say why not: {sorted(long ^ set(LONG))}"
    assert all(LONG.values())
