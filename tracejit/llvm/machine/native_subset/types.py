"""The types of the native subset: what an annotation means."""

from __future__ import annotations

import ast
import functools
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from tracejit.llvm.machine.native_subset.language import INTEGERS, Array, Struct, layout_of, ptr


class NativeSubsetError(Exception):
    """What a source has that the subset has not, or that does not fit: `file`, `line`, and what was expected, in words."""

    def __init__(self, file: str, line: int, function: str, why: str):
        super().__init__(f"{file}:{line}: {f'in {function}: ' if function else ''}{why}")
        self.file, self.line, self.function, self.why = file, line, function, why


class Literal:
    """The type of an integer constant, which is an integer of any size that it fits."""


class Null:
    """The type of `null`, which is any address."""


class NotAType(Exception):
    """An annotation that means no type; the text says what it is."""


def read_type(annotation: ast.expr | str, names: Mapping[str, Any]) -> Any:
    """The type that an annotation means in a module with these names: one of `INTEGERS`, `ptr`, a structure, `Array[...]`,
    `Callable[[...], ...]`, or None."""
    text = annotation if isinstance(annotation, str) else ast.unparse(annotation)
    known = names.get(text)
    if is_struct(known) or (isinstance(known, type) and known in INTEGERS):
        return known
    try:
        read = eval(text, dict(names))
    except Exception as error:
        raise NotAType(f"{text} is no type: {error}") from None
    if not is_type(read):
        raise NotAType(f"{text} is no type of the subset")
    return read


def is_type(read: Any) -> bool:
    """Whether it is one, of what an annotation can mean."""
    if typing.get_origin(read) is Array:
        (element,) = typing.get_args(read)
        return element is not None and is_type(element)
    if is_function(read):
        parameters, result = signature_of(read)
        return isinstance(parameters, list) and all(each is not None and is_type(each) for each in [*parameters, result or ptr])
    return read is None or read in INTEGERS or read is ptr or is_struct(read)


def is_struct(kind: Any) -> bool:
    """Whether it is the address of a structure."""
    return isinstance(kind, type) and issubclass(kind, Struct) and kind is not Struct


def is_function(kind: Any) -> bool:
    """Whether it is the address of a function."""
    return typing.get_origin(kind) is Callable or kind is Callable


def is_address(kind: Any) -> bool:
    """Whether it is an address of anything but a function."""
    return kind is ptr or is_struct(kind) or typing.get_origin(kind) is Array


def signature_of(kind: Any) -> tuple[Any, Any]:
    """(types of the parameters, type of the result) of a function's type."""
    parameters, result = typing.get_args(kind) or (None, None)
    return parameters, None if result is type(None) else result


def element_of(kind: Any) -> Any:
    """What lies at the places of an array; None for any other type."""
    return typing.get_args(kind)[0] if typing.get_origin(kind) is Array else None


def array_of(kind: Any) -> Any:
    """The address of the first of several."""
    return Array[kind]


def llvm_type(kind: Any) -> str:
    """What LLVM calls it."""
    return "void" if kind is None else f"i{INTEGERS[kind]}" if kind in INTEGERS else "ptr"


def bytes_of(kind: Any) -> int:
    """How much memory a value takes."""
    return INTEGERS.get(kind, 64) // 8


def step_of(kind: Any) -> int:
    """The bytes from one to the next of what lies at an address."""
    if is_struct(kind):
        return layout_of(kind).size
    return 1 if kind is ptr else bytes_of(element_of(kind))


def name_of(kind: Any) -> str:
    """A type in words."""
    if kind is Literal or kind is Null:
        return "an integer constant" if kind is Literal else "null"
    if kind is None:
        return "nothing"
    if element_of(kind) is not None:
        return f"Array[{name_of(element_of(kind))}]"
    if is_function(kind):
        parameters, result = signature_of(kind)
        return f"Callable[[{', '.join(map(name_of, parameters))}], {'None' if result is None else name_of(result)}]"
    return kind.__name__


def can_be(kind: Any, wanted: Any) -> bool:
    """Whether a value of `kind` may stand where `wanted` is expected: the same; null for an address; any address but a
    function's for a ptr; a structure for one that it begins with."""
    if kind is Null:
        return is_address(wanted) or is_function(wanted)
    if wanted is ptr:
        return is_address(kind)
    return kind == wanted or (is_struct(kind) and is_struct(wanted) and issubclass(kind, wanted))


def field_type(struct: type[Struct], name: str) -> Any:
    """The type of a structure's field. NotAType where its annotation is none."""
    owner = layout_of(struct).fields[name].owner
    return _read(owner.__annotations__[name], owner.__module__)


@functools.cache
def _read(annotation: str, module: str) -> Any:
    return read_type(annotation, vars(sys.modules[module]))


def refuse(file: str, node: ast.AST, function: str, why: str) -> NoReturn:
    """NativeSubsetError about a part of a source."""
    written = ast.unparse(node).partition("\n")[0]
    raise NativeSubsetError(file, getattr(node, "lineno", 0), function, f"{why}: {written}")
