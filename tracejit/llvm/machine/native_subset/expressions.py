"""Expressions of the native subset as LLVM IR, each with its type."""

from __future__ import annotations

import ast
import types
import typing
from collections.abc import Callable, Mapping
from enum import EnumMeta
from typing import Any, NamedTuple, NoReturn

from tracejit.llvm.machine.native_subset import language
from tracejit.llvm.machine.native_subset.language import INTEGERS, Array, Memory, Struct, layout_of, ptr
from tracejit.llvm.machine.native_subset.scope import Scope, Signature
from tracejit.llvm.machine.native_subset.types import (
    Literal,
    NotAType,
    Null,
    array_of,
    bytes_of,
    can_be,
    element_of,
    field_type,
    is_address,
    is_function,
    is_struct,
    llvm_type,
    name_of,
    read_type,
    refuse,
    signature_of,
    step_of,
)  # fmt: skip

BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.BitAnd: "and", ast.BitOr: "or", ast.BitXor: "xor",
    ast.LShift: "shl", ast.RShift: "lshr", ast.FloorDiv: "udiv",
}  # fmt: skip
_ORDERS = {"load": ("monotonic", "acquire", "seq_cst"), "store": ("monotonic", "release", "seq_cst")}


class _Value(NamedTuple):
    """An operand as LLVM writes it, and its type."""

    text: str
    type: Any


class Expressions:
    """The lines of a function so far, what is known of its variables, and how an expression is added."""

    def __init__(self, scope: Scope, function: Signature):
        self.scope, self.function = scope, function
        self.lines: list[str] = []
        self.stack: list[str] = []
        self.count = 0
        self.parameters = {name: _Value(f"%argument.{name}", kind) for name, kind in function.parameters}
        self.variables: dict[str, Any] = {}  # their types
        self.assigned: set[str] | None = set()  # on every path that leads here; None where none does

    # -- helpers

    def _refuse(self, node: ast.AST, why: str) -> NoReturn:
        refuse(self.scope.file, node, self.function.name, why)

    def _fresh(self, prefix: str = "t") -> str:
        self.count += 1
        return f"{prefix}.{self.count}"

    def _line(self, instruction: str) -> None:
        self.lines.append(f"  {instruction}")

    def _value(self, instruction: str, kind: Any) -> _Value:
        name = f"%{self._fresh()}"
        self._line(f"{name} = {instruction}")
        return _Value(name, kind)

    def _label(self, label: str) -> None:
        self.lines.append(f"{label}:")

    def _assigned(self) -> set[str]:
        assert self.assigned is not None
        return self.assigned

    def _declare(self, node: ast.AST, name: str, kind: Any) -> None:
        if name in self.parameters:
            self._refuse(node, f"{name} is a parameter, which keeps its value")
        if name in self.variables:
            self._refuse(node, f"{name} is declared already")
        if name in self.scope.names:
            self._refuse(node, f"expected a name for a variable, and {name} is one of the module's")
        self.variables[name] = kind
        self.stack.append(f"  %{name} = alloca {llvm_type(kind)}, align 8")

    def _type(self, annotation: ast.expr) -> Any:
        try:
            kind = read_type(annotation, self.scope.names)
        except NotAType as error:
            self._refuse(annotation, f"expected a type, and {error}")
        if kind is None:
            self._refuse(annotation, "expected the type of a value")
        return kind

    def _as(self, value: _Value, wanted: Any, node: ast.AST) -> str:
        """An operand where a type is expected."""
        if value.type is Literal and wanted in INTEGERS:
            bits = INTEGERS[wanted]
            if not -(1 << bits - 1) <= int(value.text) < 1 << bits - 1:
                self._refuse(node, f"expected {name_of(wanted)}, which does not hold {value.text}")
        elif not can_be(value.type, wanted):
            self._refuse(node, f"expected {name_of(wanted)}, not {name_of(value.type)}")
        return value.text

    def _settled(self, value: _Value, node: ast.AST) -> _Value:
        """A value whose type is its own: an integer constant is an i64."""
        if value.type is Null or value.type is None:
            self._refuse(node, f"expected a value with a type, not {name_of(value.type)}")
        return _Value(self._as(value, language.i64, node), language.i64) if value.type is Literal else value

    # -- expressions

    def _expression(self, node: ast.expr) -> _Value:
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return _Value(str(node.value), Literal)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            value = self._expression(node.operand)
            if value.type is Literal:
                return _Value(str(-int(value.text)), Literal)
            self._integer(value, node)
            return self._value(f"sub {llvm_type(value.type)} 0, {value.text}", value.type)
        if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
            return self._binary(node)
        if isinstance(node, ast.Subscript):
            place, kind = self._item(node)
            return self._value(f"load {llvm_type(kind)}, ptr {place}", kind)
        if isinstance(node, ast.Call):
            return self._call(node)
        self._refuse(node, "the subset has no such expression")

    def _name(self, node: ast.Name) -> _Value:
        name = node.id
        if name in self.parameters:
            return self.parameters[name]
        if name in self.variables:
            if name not in self._assigned():
                self._refuse(node, f"{name} is not assigned on every path that leads here")
            return self._value(f"load {llvm_type(self.variables[name])}, ptr %{name}", self.variables[name])
        function = self._function(name)
        if function is not None:
            return _Value(f"@{function.symbol}", function.type)
        known = self.scope.names.get(name)
        if type(known) is int:
            return _Value(str(known), Literal)
        if name in self.scope.names and known is language.null:
            return _Value("null", Null)
        if isinstance(known, Memory):
            if self.scope.memories.setdefault(name, known) is not known:
                self._refuse(node, "two memories have this name")
            return _Value(f"@{name}", known.kind)
        if isinstance(known, Struct):
            return _Value(f"inttoptr (i64 {int(known)} to ptr)", type(known))
        self._refuse(node, f"expected a variable, a constant or a function, and {name} is none")

    def _function(self, name: str) -> Signature | None:
        """The function that a name means here."""
        function = self.scope.functions.get(name)
        known = self.scope.names.get(name)
        if function is None or not (function.file == self.scope.file or isinstance(known, types.FunctionType)):
            return None
        if function.definition is None:
            self.scope.used[name] = function
        return function

    def _integer(self, value: _Value, node: ast.AST) -> None:
        if value.type not in INTEGERS and value.type is not Literal:
            self._refuse(node, f"expected an integer, not {name_of(value.type)}")

    def _binary(self, node: ast.BinOp) -> _Value:
        left, right = self._expression(node.left), self._expression(node.right)
        if is_address(left.type) and isinstance(node.op, (ast.Add, ast.Sub)):
            return self._moved(left, right, node)
        for value in (left, right):
            self._integer(value, node)
        kind = right.type if left.type is Literal else left.type
        kind = language.i64 if kind is Literal else kind
        first, second = self._as(left, kind, node), self._as(right, kind, node)
        return self._value(f"{BINARY[type(node.op)]} {llvm_type(kind)} {first}, {second}", kind)

    def _moved(self, base: _Value, count: _Value, node: ast.BinOp) -> _Value:
        """An address further on, counted in what lies there."""
        offset = self._as(count, language.i64, node)
        if isinstance(node.op, ast.Sub):
            offset = self._value(f"sub i64 0, {offset}", None).text
        return _Value(self._further(base, offset), base.type)

    def _further(self, base: _Value, count: str) -> str:
        """The address of what lies `count` places on."""
        return self._value(f"getelementptr [{step_of(base.type)} x i8], ptr {base.text}, i64 {count}", None).text

    def _attribute(self, node: ast.Attribute) -> _Value:
        if isinstance(node.value, ast.Name) and isinstance(self.scope.names.get(node.value.id), EnumMeta):
            members = self.scope.names[node.value.id].__members__
            if node.attr not in members:
                self._refuse(node, f"{node.value.id} has no {node.attr}")
            return _Value(str(int(members[node.attr])), Literal)
        place, kind, is_inline = self._field(node)
        return _Value(place, kind) if is_inline else self._value(f"load {llvm_type(kind)}, ptr {place}", kind)

    def _field(self, node: ast.Attribute) -> tuple[str, Any, bool]:
        """(where a field lies, its type, whether its value is that address)."""
        base = self._expression(node.value)
        if not is_struct(base.type):
            self._refuse(node, f"expected a structure, not {name_of(base.type)}")
        field = layout_of(base.type).fields.get(node.attr)
        if field is None:
            self._refuse(node, f"{name_of(base.type)} has no field {node.attr}")
        offset = field.offset
        if offset is None:
            offset = self.scope.offsets.get(f"{field.owner.__name__}.{node.attr}")
            if offset is None:
                self._refuse(node, "where this field lies has not been measured")
        try:
            kind = field_type(base.type, node.attr)
        except NotAType as error:
            self._refuse(node, f"expected a field with a type, and {error}")
        place = self._value(f"getelementptr i8, ptr {base.text}, i64 {offset}", None).text if offset else base.text
        return place, kind, field.inline

    def _item(self, node: ast.Subscript) -> tuple[str, Any]:
        """(where an item of an array lies, its type)."""
        base, index = self._expression(node.value), self._expression(node.slice)
        element = element_of(base.type)
        if element is None:
            self._refuse(node, f"expected an array, not {name_of(base.type)}")
        return self._further(base, self._as(index, language.i64, node)), element

    # -- calls

    def _call(self, node: ast.Call) -> _Value:
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            self._refuse(node, "expected arguments by position")
        if isinstance(node.func, ast.Name) and node.func.id not in self.variables and node.func.id not in self.parameters:
            name = node.func.id
            known = self.scope.names.get(name)
            if isinstance(known, types.FunctionType) and known in _BUILT_IN:
                write, arity = _BUILT_IN[known]
                self._count(node, name, arity)
                return write(self, node)
            function = self._function(name)
            if function is not None:
                kinds = [kind for _, kind in function.parameters]
                return self._call_of(node, name, f"@{function.symbol}", kinds, function.variadic, function.result)
            if not isinstance(known, type):
                self._refuse(node, f"expected a function that is declared, and {name} is none")
            return self._converted(node, self._type(node.func))
        if isinstance(node.func, ast.Subscript) and typing.get_origin(self._try_type(node.func)) is Array:
            return self._converted(node, self._type(node.func))
        called = self._expression(node.func)
        if not is_function(called.type):
            self._refuse(node, f"expected a function, not {name_of(called.type)}")
        kinds, result = signature_of(called.type)
        return self._call_of(node, ast.unparse(node.func), called.text, kinds, False, result)

    def _try_type(self, node: ast.expr) -> Any:
        try:
            return read_type(node, self.scope.names)
        except NotAType:
            return None

    def _count(self, node: ast.Call, name: str, arity: int) -> None:
        if len(node.args) != arity:
            self._refuse(node, f"{name} takes {arity} argument{'' if arity == 1 else 's'}, not {len(node.args)}")

    def _call_of(self, node: ast.Call, name: str, called: str, kinds: list[Any], variadic: bool, result: Any) -> _Value:
        if not variadic or len(node.args) < len(kinds):
            self._count(node, name, len(kinds))
        arguments = []
        for index, argument in enumerate(node.args):
            value = self._expression(argument)
            kind = kinds[index] if index < len(kinds) else ptr if value.type is Null else self._settled(value, argument).type
            arguments.append(f"{llvm_type(kind)} {self._as(value, kind, argument)}")
        head = f"{llvm_type(result)} ({', '.join([*map(llvm_type, kinds), '...'])})" if variadic else llvm_type(result)
        call = f"call {head} {called}({', '.join(arguments)})"
        if result is None:
            self._line(call)
            return _Value("", None)
        return self._value(call, result)

    def _converted(self, node: ast.Call, kind: Any) -> _Value:
        """An integer of another width, its sign kept; an address as an integer and back; an address of something else."""
        self._count(node, name_of(kind), 1)
        value = self._expression(node.args[0])
        if kind in INTEGERS:
            if is_address(value.type):
                if kind is not language.i64:
                    self._refuse(node, f"an address is an i64, not {name_of(kind)}")
                return self._value(f"ptrtoint ptr {value.text} to i64", kind)
            self._integer(value, node)
            if value.type is Literal or value.type is kind:
                return _Value(self._as(value, kind, node), kind)
            how = "sext" if INTEGERS[kind] > INTEGERS[value.type] else "trunc"
            return self._value(f"{how} {llvm_type(value.type)} {value.text} to {llvm_type(kind)}", kind)
        if kind is ptr and (value.type is language.i64 or value.type is Literal):
            return self._value(f"inttoptr i64 {self._as(value, language.i64, node)} to ptr", kind)
        if not is_address(value.type) and value.type is not Null:
            self._refuse(node, f"expected an address, not {name_of(value.type)}")
        return _Value(value.text, kind)

    # -- what the language has itself

    def _address(self, node: ast.Call) -> _Value:
        target = node.args[0]
        if isinstance(target, ast.Name) and target.id in self.variables:
            self._name(target)
            return _Value(f"%{target.id}", array_of(self.variables[target.id]))
        if isinstance(target, ast.Attribute):
            place, kind, is_inline = self._field(target)
            if not is_inline:
                return _Value(place, array_of(kind))
        self._refuse(node, "expected a local variable or a field, which have an address")

    def _array(self, node: ast.Call) -> _Value:
        kind, count = self._type(node.args[0]), node.args[1]
        size = count.value if isinstance(count, ast.Constant) else self.scope.names.get(ast.unparse(count))
        if type(size) is not int or size <= 0:
            self._refuse(count, "expected a constant, how many there are")
        place = f"%{self._fresh('array')}"
        self.stack.append(f"  {place} = alloca [{size} x {llvm_type(kind)}], align 16")
        return _Value(place, array_of(kind))

    def _atomic(self, node: ast.Call) -> tuple[str, Any, list[str]]:
        """(the address, the type there, the other operands)."""
        place = self._expression(node.args[0])
        kind = element_of(place.type)
        if kind not in INTEGERS:
            self._refuse(node, f"expected the address of an integer, not {name_of(place.type)}")
        others = [each for each in node.args[1:] if not (isinstance(each, ast.Constant) and isinstance(each.value, str))]
        return place.text, kind, [f"{llvm_type(kind)} {self._as(self._expression(each), kind, each)}" for each in others]

    def _order(self, node: ast.Call, what: str) -> str:
        order = node.args[-1]
        if not isinstance(order, ast.Constant) or order.value not in _ORDERS[what]:
            self._refuse(order, f"expected a memory order, {', '.join(_ORDERS[what])}")
        return str(order.value)

    def _atomic_load(self, node: ast.Call) -> _Value:
        place, kind, _ = self._atomic(node)
        order = self._order(node, "load")
        return self._value(f"load atomic {llvm_type(kind)}, ptr {place} {order}, align {bytes_of(kind)}", kind)

    def _atomic_store(self, node: ast.Call) -> _Value:
        place, kind, (value,) = self._atomic(node)
        self._line(f"store atomic {value}, ptr {place} {self._order(node, 'store')}, align {bytes_of(kind)}")
        return _Value("", None)

    def _exchange(self, node: ast.Call) -> _Value:
        place, kind, (value,) = self._atomic(node)
        return self._value(f"atomicrmw xchg ptr {place}, {value} seq_cst", kind)

    def _compare_exchange(self, node: ast.Call) -> _Value:
        place, kind, (expected, value) = self._atomic(node)
        pair = self._value(f"cmpxchg ptr {place}, {expected}, {value} seq_cst seq_cst", None)
        return self._value(f"extractvalue {{ {llvm_type(kind)}, i1 }} {pair.text}, 0", kind)


_BUILT_IN: Mapping[Any, tuple[Callable[[Expressions, ast.Call], _Value], int]] = {
    language.address: (Expressions._address, 1),
    language.array: (Expressions._array, 2),
    language.atomic_load: (Expressions._atomic_load, 2),
    language.atomic_store: (Expressions._atomic_store, 3),
    language.exchange: (Expressions._exchange, 2),
    language.compare_exchange: (Expressions._compare_exchange, 3),
}
