"""Sources in the native subset, as one module of LLVM IR."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tracejit.llvm.machine.native_subset.function import function_text
from tracejit.llvm.machine.native_subset.language import Memory, Symbol, layout_of
from tracejit.llvm.machine.native_subset.scope import Scope, Signature
from tracejit.llvm.machine.native_subset.source import Source
from tracejit.llvm.machine.native_subset.types import NativeSubsetError, NotAType, llvm_type, read_type, refuse

# Two lines of a cache, since processors fetch them by pairs.
_ALIGNMENT = 128


class Compiled(NamedTuple):
    """LLVM IR, the functions that it takes from elsewhere, and the functions and the memory that can be looked up in it."""

    text: str
    imported: tuple[str, ...]
    exported: tuple[str, ...]


def compile_sources(
    sources: Iterable[Source],
    exports: Sequence[str] | None = None,
    offsets: Mapping[str, int] | None = None,
    elsewhere: Iterable[Source] = (),
) -> Compiled:
    """All functions of `sources`, which see each other, as LLVM IR. What is declared and not defined, or defined in the sources
    `elsewhere`, is left open.

    `exports` are the functions and memories that can be looked up, None for all; `offsets` has those of measured fields, by
    "Structure.field". NativeSubsetError for what the subset does not have, and for what does not fit.
    """
    functions: dict[str, Signature] = {}
    for source in sources:
        for definition in _functions_of(source):
            _add(functions, _signature(source, definition), source, definition)
    for source in elsewhere:
        for definition in _functions_of(source):
            functions.setdefault(definition.name, _signature(source, definition)._replace(definition=None))
    defined = [each for each in functions.values() if each.definition is not None]
    used: dict[str, Signature] = {}
    memories: dict[str, Memory] = {}
    scopes: dict[str, Scope] = {}
    texts = []
    for each in defined:
        scope = scopes.get(each.file)
        if scope is None:
            scope = scopes[each.file] = Scope(each.file, each.names, functions, offsets or {}, used, memories)
        is_exported = exports is None or each.name in exports
        texts.append(function_text(scope, each, "" if is_exported else "internal "))
    known = {*(each.name for each in defined), *memories}
    for name in exports or ():
        if name not in known:
            raise NativeSubsetError("exports", 0, "", f"no function and no memory that is used is called {name}")
    declared = [_declaration(each) for _, each in sorted(used.items())]
    kept = [
        f"@{name} = global [{memory.length * layout_of(memory.kind).size} x i8] zeroinitializer, align {_ALIGNMENT}"
        for name, memory in memories.items()
    ]
    imported = tuple(sorted(each.symbol for each in used.values() if not each.symbol.startswith("llvm.")))
    exported = tuple(exports) if exports is not None else (*(each.name for each in defined), *memories)
    return Compiled("\n\n".join(["\n".join(kept), "\n".join(declared), *texts, ""]), imported, exported)


def _functions_of(source: Source) -> Iterable[ast.FunctionDef]:
    try:
        tree = ast.parse(source.text)
    except SyntaxError as error:
        raise NativeSubsetError(source.file, error.lineno or 0, "", error.msg) from None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node
        elif not isinstance(node, (ast.Import, ast.ImportFrom, ast.ClassDef, ast.Assign)) and not (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            refuse(source.file, node, "", "a source has imports, structures, constants and functions only")


def _signature(source: Source, definition: ast.FunctionDef) -> Signature:
    def type_of(annotation: ast.expr | None, what: str) -> Any:
        if annotation is None:
            refuse(source.file, definition, definition.name, f"{what} has no type")
        try:
            return read_type(annotation, source.names)
        except NotAType as error:
            refuse(source.file, annotation, definition.name, f"expected a type, and {error}")

    given = definition.args
    is_declared = _is_declaration(definition)
    if given.kwarg or given.kwonlyargs or given.posonlyargs or given.defaults or (given.vararg and not is_declared):
        refuse(source.file, definition, definition.name, "expected parameters by position, without defaults")
    symbol = definition.name
    for decorator in definition.decorator_list:
        is_symbol = isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name)
        if not is_symbol or source.names.get(decorator.func.id) is not Symbol or not is_declared:  # type: ignore[attr-defined]
            refuse(source.file, decorator, definition.name, "expected no decorator but Symbol(...), of a declaration")
        symbol = ast.literal_eval(decorator.args[0])  # type: ignore[attr-defined]
    parameters = []
    for argument in given.args:
        kind = type_of(argument.annotation, f"the parameter {argument.arg}")
        if kind is None:
            refuse(source.file, argument, definition.name, "expected the type of a value")
        parameters.append((argument.arg, kind))
    result = type_of(definition.returns, "the result")
    return Signature(
        definition.name, symbol, tuple(parameters), given.vararg is not None, result, None if is_declared else definition,
        source.file, source.names,
    )  # fmt: skip


def _is_declaration(definition: ast.FunctionDef) -> bool:
    """Whether its body is `...`, behind a docstring at the most."""
    last = definition.body[-1]
    return len(definition.body) <= 2 and isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant) and (
        last.value.value is ...
    )  # fmt: skip


def _add(functions: dict[str, Signature], new: Signature, source: Source, definition: ast.FunctionDef) -> None:
    """A function can be declared where it is used and defined elsewhere, in the same words."""
    old = functions.setdefault(new.name, new)
    if old is new:
        return
    if old.definition is not None and new.definition is not None:
        refuse(source.file, definition, new.name, "it is defined twice")
    if (old.type, old.variadic) != (new.type, new.variadic):
        refuse(source.file, definition, new.name, "it is declared with other types elsewhere")
    if old.definition is None and old.symbol == old.name:  # what says more
        functions[new.name] = new


def _declaration(function: Signature) -> str:
    kinds = [llvm_type(kind) for _, kind in function.parameters] + ["..."] * function.variadic
    return f"declare {llvm_type(function.result)} @{function.symbol}({', '.join(kinds)})"
