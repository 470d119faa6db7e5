"""A function of the native subset as LLVM IR: its statements, and what is assigned where."""

from __future__ import annotations

import ast

from tracejit.llvm.machine.native_subset.expressions import BINARY, Expressions
from tracejit.llvm.machine.native_subset.language import INTEGERS
from tracejit.llvm.machine.native_subset.scope import Scope, Signature
from tracejit.llvm.machine.native_subset.types import Literal, Null, can_be, llvm_type, name_of

_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "slt", ast.LtE: "sle", ast.Gt: "sgt", ast.GtE: "sge",
}  # fmt: skip


def function_text(scope: Scope, function: Signature, linkage: str) -> str:
    """The definition of a function as LLVM IR."""
    return _Function(scope, function).text(linkage)


class _Function(Expressions):
    def __init__(self, scope: Scope, function: Signature):
        super().__init__(scope, function)
        # (where `continue` goes, where `break` goes, what is assigned at each break)
        self.loops: list[tuple[str, str, list[set[str]]]] = []

    def text(self, linkage: str) -> str:
        definition = self.function.definition
        assert definition is not None
        self._block(definition.body)
        if self.assigned is not None:
            if self.function.result is not None:
                self._refuse(definition, f"expected a return of {name_of(self.function.result)} on every path")
            self._line("ret void")
        parameters = ", ".join(f"{llvm_type(kind)} %argument.{name}" for name, kind in self.function.parameters)
        head = f"define {linkage}{llvm_type(self.function.result)} @{self.function.symbol}({parameters}) nounwind {{"
        return "\n".join([head, *self.stack, *self.lines, "}"])

    # -- statements

    def _block(self, body: list[ast.stmt]) -> None:
        for statement in body:
            if self.assigned is None:
                self._refuse(statement, "this is never reached")
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            self._assign(node.targets[0], node.value)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            self._declare(node, node.target.id, self._type(node.annotation))
            self._assign(node.target, node.value)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and type(node.op) in BINARY:
            changed = ast.copy_location(ast.BinOp(ast.Name(node.target.id), node.op, node.value), node)
            ast.copy_location(changed.left, node)
            self._assign(node.target, changed)
        elif isinstance(node, ast.If):
            self._if(node)
        elif isinstance(node, ast.While) and not node.orelse:
            self._while(node)
        elif isinstance(node, (ast.Break, ast.Continue)):
            self._leave(node)
        elif isinstance(node, ast.Return):
            self._return(node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            self._call(node.value)
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):  # a docstring
            self._refuse(node, "the subset has no such statement")

    def _assign(self, target: ast.expr, written: ast.expr) -> None:
        value = self._expression(written)
        if isinstance(target, ast.Name):
            if target.id not in self.variables:
                value = self._settled(value, written)
                self._declare(target, target.id, value.type)
            kind, place = self.variables[target.id], f"%{target.id}"
        elif isinstance(target, ast.Attribute):
            place, kind, is_inline = self._field(target)
            if is_inline:
                self._refuse(target, "this field is an address inside of the structure, and cannot be assigned")
        elif isinstance(target, ast.Subscript):
            place, kind = self._item(target)
        else:
            self._refuse(target, "expected a name, a field or an item to assign to")
        self._line(f"store {llvm_type(kind)} {self._as(value, kind, written)}, ptr {place}")
        if isinstance(target, ast.Name):
            self._assigned().add(target.id)

    def _if(self, node: ast.If) -> None:
        then, end = self._fresh("then"), self._fresh("end")
        other = self._fresh("else") if node.orelse else end
        self._branch(node.test, then, other)
        before = self._assigned()
        ways = []
        for label, body in ((then, node.body), (other, node.orelse)):
            self.assigned = set(before)
            if body:
                self._label(label)
                self._block(body)
                if self.assigned is not None:
                    self._line(f"br label %{end}")
            if self.assigned is not None:
                ways.append(self.assigned)
        self.assigned = set.intersection(*ways) if ways else None
        if ways:
            self._label(end)

    def _while(self, node: ast.While) -> None:
        test, body, end = self._fresh("test"), self._fresh("body"), self._fresh("end")
        is_endless = isinstance(node.test, ast.Constant) and node.test.value is True
        self._line(f"br label %{test}")
        self._label(test)
        if is_endless:
            self._line(f"br label %{body}")
        else:
            self._branch(node.test, body, end)
        before = self._assigned()
        self.assigned = set(before)
        ways: list[set[str]] = [] if is_endless else [before]
        self.loops.append((test, end, ways))
        self._label(body)
        self._block(node.body)
        self.loops.pop()
        if self.assigned is not None:
            self._line(f"br label %{test}")
        self.assigned = set.intersection(*ways) if ways else None
        if ways:
            self._label(end)

    def _leave(self, node: ast.Break | ast.Continue) -> None:
        if not self.loops:
            self._refuse(node, "there is no loop to leave")
        test, end, ways = self.loops[-1]
        if isinstance(node, ast.Break):
            ways.append(self._assigned())
        self._line(f"br label %{end if isinstance(node, ast.Break) else test}")
        self.assigned = None

    def _return(self, node: ast.Return) -> None:
        wanted = self.function.result
        if node.value is None:
            if wanted is not None:
                self._refuse(node, f"expected a return of {name_of(wanted)}")
            self._line("ret void")
        elif wanted is None:
            self._refuse(node, "expected a return of nothing")
        else:
            self._line(f"ret {llvm_type(wanted)} {self._as(self._expression(node.value), wanted, node)}")
        self.assigned = None

    # -- conditions

    def _branch(self, test: ast.expr, then: str, other: str) -> None:
        """Leave for one of two labels."""
        if isinstance(test, ast.BoolOp):
            for value in test.values[:-1]:
                between = self._fresh("next")
                self._branch(value, *((between, other) if isinstance(test.op, ast.And) else (then, between)))
                self._label(between)
            self._branch(test.values[-1], then, other)
        elif isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            self._branch(test.operand, other, then)
        elif isinstance(test, ast.Compare) and len(test.ops) == 1 and type(test.ops[0]) in _COMPARE:
            holds = self._comparison(test)
            self._line(f"br i1 {holds}, label %{then}, label %{other}")
        else:
            self._refuse(test, "a condition is a comparison, or `and`, `or`, `not` of conditions")

    def _comparison(self, test: ast.Compare) -> str:
        left, right = self._expression(test.left), self._expression(test.comparators[0])
        if left.type is Literal or right.type is Null:
            left, right = (left, self._settled(right, test)) if left.type is Literal else (left, right)
        kind = right.type if left.type in (Literal, Null) or can_be(left.type, right.type) else left.type
        sides = [self._as(value, kind, test) for value in (left, right)]
        if kind is None or (kind not in INTEGERS and not isinstance(test.ops[0], (ast.Eq, ast.NotEq))):
            self._refuse(test, f"expected integers, not {name_of(kind)}")
        return self._value(f"icmp {_COMPARE[type(test.ops[0])]} {llvm_type(kind)} {', '.join(sides)}", None).text
