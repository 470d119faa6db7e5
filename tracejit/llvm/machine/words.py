"""The language of the native call path: Python's syntax, every value a 64-bit word, compiled to LLVM IR.

What is written in it is a module of Python functions that are read and never run. A word is an integer or an address.
`object.name` is a field of the memory at `object`, whose offset and width stand in a table; `load(address)` and
`store(address, word)` reach any word; `words(n)` are n words on the stack; `address(name)` is where a local variable lies, or
a function; `call(function, ...)` calls an address. A function that the module does not define is C's, with words for its
integers and pointers; `int32` and `uint32` take what such a function returns as a C int.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.BitAnd: "and", ast.BitOr: "or", ast.BitXor: "xor",
    ast.LShift: "shl", ast.RShift: "lshr",
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "slt", ast.LtE: "sle", ast.Gt: "sgt", ast.GtE: "sge",
}  # fmt: skip


# The functions of the language, and how many arguments each has.
_BUILT_IN = {"load": 1, "store": 2, "int32": 1, "uint32": 1, "address": 1, "words": 1}


class Field(NamedTuple):
    """Where a field lies in its structure, and its width in bits: 64, or 32 and 16 (with sign)."""

    offset: int
    bits: int = 64


class Words(NamedTuple):
    """LLVM IR, the functions that it takes from elsewhere, and the functions that it defines."""

    text: str
    imported: tuple[str, ...]
    exported: tuple[str, ...]


def compile_words(source: str, fields: Mapping[str, Field], constants: Mapping[str, int], globals: Mapping[str, int]) -> Words:
    """The functions of `source` as LLVM IR. `globals` are names of memory with their sizes in words; their addresses and all
    functions can be looked up in the loaded module. SyntaxError, with the line, for what the language does not have."""
    definitions: dict[str, ast.FunctionDef] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            if node.name in definitions:
                _refuse(node, "it is defined twice")
            definitions[node.name] = node
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):  # a docstring
            _refuse(node, "a module has functions only")
    arities = {name: len(definition.args.args) for name, definition in definitions.items()}
    module = _Module(arities, fields, constants, set(globals))
    functions = [_Function(module, definition).text() for definition in definitions.values()]
    memory = [f"@{name} = global [{size} x i64] zeroinitializer, align 64" for name, size in globals.items()]
    declared = [f"declare i64 @{name}({', '.join(['i64'] * arity)})" for name, arity in sorted(module.imported.items())]
    text = "\n\n".join([*memory, "\n".join(declared), *functions, ""])
    return Words(text, tuple(sorted(module.imported)), (*definitions, *globals))


def _refuse(node: ast.AST, why: str, function: str = "") -> NoReturn:
    raise SyntaxError(f"{function}line {getattr(node, 'lineno', 0)}: {why}: {ast.unparse(node)}")


class _Module:
    def __init__(
        self, defined: Mapping[str, int], fields: Mapping[str, Field], constants: Mapping[str, int], globals: set[str]
    ):
        self.defined, self.fields, self.constants, self.globals = defined, fields, constants, globals
        self.imported: dict[str, int] = {}


class _Function:
    def __init__(self, module: _Module, definition: ast.FunctionDef):
        self.module, self.definition = module, definition
        self.lines: list[str] = []
        self.stack: list[str] = []
        self.count = 0
        self.loops: list[tuple[str, str]] = []  # (where `continue` goes, where `break` goes)
        self.locals: set[str] = set()

    def text(self) -> str:
        given = self.definition.args
        if (
            given.vararg
            or given.kwarg
            or given.kwonlyargs
            or given.posonlyargs
            or given.defaults
            or self.definition.decorator_list
        ):
            self._refuse(self.definition, "a function has parameters by position, without defaults, and no decorator")
        parameters = [argument.arg for argument in given.args]
        for name in parameters:
            self._local(name)
            self.lines.append(f"  store i64 %argument.{name}, ptr %{name}")
        self._block(self.definition.body)
        self.lines.append("  ret i64 0")
        head = f"define i64 @{self.definition.name}({', '.join(f'i64 %argument.{name}' for name in parameters)}) nounwind {{"
        return "\n".join([head, *self.stack, *self.lines, "}"])

    # -- helpers

    def _refuse(self, node: ast.AST, why: str) -> NoReturn:
        _refuse(node, why, f"{self.definition.name}, ")

    def _fresh(self, prefix: str = "t") -> str:
        self.count += 1
        return f"{prefix}.{self.count}"

    def _value(self, instruction: str) -> str:
        name = f"%{self._fresh()}"
        self.lines.append(f"  {name} = {instruction}")
        return name

    def _local(self, name: str) -> str:
        if name not in self.locals:
            self.locals.add(name)
            self.stack.append(f"  %{name} = alloca i64, align 8")
        return f"%{name}"

    def _label(self, label: str) -> None:
        """Begin a block, into which control also falls from above."""
        self.lines.append(f"  br label %{label}")
        self.lines.append(f"{label}:")

    def _go(self, label: str) -> None:
        """Leave for `label`; what is written after it in the same Python block is never reached."""
        self.lines.append(f"  br label %{label}")
        self.lines.append(f"{self._fresh('after')}:")

    # -- statements

    def _block(self, body: list[ast.stmt]) -> None:
        for statement in body:
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            self._assign(node.targets[0], self._expression(node.value))
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and type(node.op) in _BINARY:
            old, change = self._expression(node.target), self._expression(node.value)
            self._assign(node.target, self._value(f"{_BINARY[type(node.op)]} i64 {old}, {change}"))
        elif isinstance(node, ast.If):
            then, other, end = self._fresh("then"), self._fresh("else"), self._fresh("end")
            self._branch(node.test, then, other)
            self.lines.append(f"{then}:")
            self._block(node.body)
            self.lines.append(f"  br label %{end}\n{other}:")
            self._block(node.orelse)
            self._label(end)
        elif isinstance(node, ast.While) and not node.orelse:
            test, body, end = self._fresh("test"), self._fresh("body"), self._fresh("end")
            self._label(test)
            self._branch(node.test, body, end)
            self.lines.append(f"{body}:")
            self.loops.append((test, end))
            self._block(node.body)
            self.loops.pop()
            self.lines.append(f"  br label %{test}\n{end}:")
        elif isinstance(node, (ast.Break, ast.Continue)):
            if not self.loops:
                self._refuse(node, "there is no loop to leave")
            self._go(self.loops[-1][isinstance(node, ast.Break)])
        elif isinstance(node, ast.Return):
            result = "0" if node.value is None else self._expression(node.value)
            self.lines.append(f"  ret i64 {result}\n{self._fresh('after')}:")
        elif isinstance(node, ast.Expr):
            if not isinstance(node.value, ast.Constant):  # a docstring
                self._expression(node.value)
        else:
            self._refuse(node, "the language has no such statement")

    def _assign(self, target: ast.expr, value: str) -> None:
        if isinstance(target, ast.Name):
            self.lines.append(f"  store i64 {value}, ptr {self._local(target.id)}")
        elif isinstance(target, ast.Attribute):
            pointer, bits = self._field(target)
            if bits != 64:
                value = self._value(f"trunc i64 {value} to i{bits}")
            self.lines.append(f"  store i{bits} {value}, ptr {pointer}")
        else:
            self._refuse(target, "this cannot be assigned to")

    # -- conditions

    def _branch(self, test: ast.expr, then: str, other: str) -> None:
        """Leave for one of two labels."""
        if isinstance(test, ast.BoolOp):
            for value in test.values[:-1]:
                between = self._fresh("next")
                self._branch(value, *((between, other) if isinstance(test.op, ast.And) else (then, between)))
                self.lines.append(f"{between}:")
            self._branch(test.values[-1], then, other)
        elif isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            self._branch(test.operand, other, then)
        elif isinstance(test, ast.Compare) and len(test.ops) == 1 and type(test.ops[0]) in _COMPARE:
            left, right = self._expression(test.left), self._expression(test.comparators[0])
            holds = self._value(f"icmp {_COMPARE[type(test.ops[0])]} i64 {left}, {right}")
            self.lines.append(f"  br i1 {holds}, label %{then}, label %{other}")
        else:
            self._refuse(test, "a condition is a comparison, or `and`, `or`, `not` of conditions")

    # -- expressions

    def _expression(self, node: ast.expr) -> str:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            if node.value >= 1 << 63:
                self._refuse(node, "a word has 64 bits, one of them the sign")
            return str(int(node.value))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return self._value(f"sub i64 0, {self._expression(node.operand)}")
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            left, right = self._expression(node.left), self._expression(node.right)
            return self._value(f"{_BINARY[type(node.op)]} i64 {left}, {right}")
        if isinstance(node, ast.Attribute):
            pointer, bits = self._field(node)
            found = self._value(f"load i{bits}, ptr {pointer}")
            return found if bits == 64 else self._value(f"sext i{bits} {found} to i64")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            return self._call(node, node.func.id)
        self._refuse(node, "the language has no such expression")

    def _name(self, node: ast.Name) -> str:
        name = node.id
        if name in self.locals:
            return self._value(f"load i64, ptr %{name}")
        if name in self.module.constants:
            return str(self.module.constants[name])
        if name in self.module.globals:
            return self._value(f"ptrtoint ptr @{name} to i64")
        self._refuse(node, "this name is not known")

    def _pointer(self, word: str) -> str:
        return self._value(f"inttoptr i64 {word} to ptr")

    def _field(self, node: ast.Attribute) -> tuple[str, int]:
        field = self.module.fields.get(node.attr)
        if field is None:
            self._refuse(node, "this field is not known")
        base = self._pointer(self._expression(node.value))
        return self._value(f"getelementptr i8, ptr {base}, i64 {field.offset}"), field.bits

    def _call(self, node: ast.Call, name: str) -> str:
        arity = _BUILT_IN.get(name, self.module.defined.get(name, len(node.args)))
        if len(node.args) != arity or (name == "call" and not node.args):
            self._refuse(node, f"it takes {arity or 1} arguments")
        if name == "address":
            return self._address(node.args[0])
        if name == "words":
            return self._words(node.args[0])
        arguments = [self._expression(argument) for argument in node.args]
        if name == "load":
            return self._value(f"load i64, ptr {self._pointer(arguments[0])}")
        if name == "store":
            self.lines.append(f"  store i64 {arguments[1]}, ptr {self._pointer(arguments[0])}")
            return "0"
        if name in ("int32", "uint32"):
            narrow = self._value(f"trunc i64 {arguments[0]} to i32")
            return self._value(f"{'sext' if name == 'int32' else 'zext'} i32 {narrow} to i64")
        if name == "call":
            called = self._pointer(arguments.pop(0))
        else:
            called = f"@{name}"
            if name not in self.module.defined and self.module.imported.setdefault(name, len(arguments)) != len(arguments):
                self._refuse(node, f"elsewhere it has {self.module.imported[name]} arguments")
        return self._value(f"call i64 {called}({', '.join(f'i64 {argument}' for argument in arguments)})")

    def _address(self, target: ast.expr) -> str:
        if not isinstance(target, ast.Name):
            self._refuse(target, "only a local variable or a function has an address")
        place = f"@{target.id}" if target.id in self.module.defined else self._local(target.id)
        return self._value(f"ptrtoint ptr {place} to i64")

    def _words(self, count: ast.expr) -> str:
        size = count.value if isinstance(count, ast.Constant) else self.module.constants.get(ast.unparse(count))
        if type(size) is not int or size <= 0:
            self._refuse(count, "the number of words is a constant")
        place = f"%{self._fresh('words')}"
        self.stack.append(f"  {place} = alloca [{size} x i64], align 16")
        return self._value(f"ptrtoint ptr {place} to i64")
