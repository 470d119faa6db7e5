"""The text form of a graph, read: `parse` is the inverse of `printing.print_graph`.

Grammar (a `#` starts a comment that ends with the line; white space separates words and means nothing else):

    graph     := "graph" NAME "(" [param {"," param}] ")" "{" {node} "return" [value {"," value}] {update} {effect} "}"
    param     := value ":" type [at]
    node      := value "=" NAME "(" [value {"," value}] ")" [attrs] ":" type [at]
    update    := "update" value "=" value
    effect    := "effect" value                                       a node that is computed for its effect
    attrs     := "{" attr {"," attr} "}"
    attr      := NAME "=" literal
    literal   := INT | FLOAT | "true" | "false" | "none" | STRING | DTYPE | type | array | graph | tuple
    tuple     := "(" [literal ","] {literal ","} ")"
    array     := "array" type "[" [number {"," number}] "]"            row-major elements
    type      := DTYPE "[" [INT {"," INT}] "]" | "(" [type {"," type}] ")"     the latter for several results
    value     := "%" NAME
    at        := "@" STRING INT                                       the user's file and line
    DTYPE     := "f32" | "f64" | "i32" | "i64" | "bool" | "f16" | "bf16"

A literal that is a tuple of types stands as `types(...)`, so that it is no tuple of literals.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import numpy as np

from tracejit.ir.errors import ParseError, VerifyError
from tracejit.ir.graph import Graph, Node, make
from tracejit.ir.location import Location
from tracejit.ir.op import OPS, find_op
from tracejit.ir.types import BY_SHORT, TensorType, TupleType, Type
from tracejit.ir.verify import verify

_TOKEN = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)
      |(?P<number>-?(?:inf|nan)\b|-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)
      |(?P<value>%[A-Za-z0-9_.]+)
      |(?P<string>"(?:[^"\\]|\\.)*")
      |(?P<word>[A-Za-z_][A-Za-z0-9_.]*)
      |(?P<mark>[(){}\[\]=,:@])""",
    re.VERBOSE,
)


class _Parser:
    def __init__(self, text: str):
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                self.position = position
                self._fail(f"no word of the grammar begins with {text[position]!r}")
            if match.lastgroup != "space":
                self.tokens.append((str(match.lastgroup), match.group(), position))
            position = match.end()
        self.tokens.append(("end", "", len(text)))
        self.index = 0

    def _fail(self, message: str) -> NoReturn:
        position = self.tokens[self.index][2] if hasattr(self, "index") else self.position
        line = self.text.count("\n", 0, position) + 1
        column = position - self.text.rfind("\n", 0, position)
        raise ParseError(f"line {line}, column {column}: {message}")

    def peek(self) -> str:
        return self.tokens[self.index][1]

    def kind(self) -> str:
        return self.tokens[self.index][0]

    def next(self, kind: str | None = None) -> str:
        if kind is not None and self.kind() != kind:
            self._fail(f"expected a {kind}, found {self.peek()!r}")
        self.index += 1
        return self.tokens[self.index - 1][1]

    def expect(self, word: str) -> None:
        if self.peek() != word or self.kind() == "string":
            self._fail(f"expected {word!r}, found {self.peek()!r}")
        self.index += 1

    def accept(self, word: str) -> bool:
        if self.peek() == word and self.kind() != "string":
            self.index += 1
            return True
        return False

    def list_until(self, close: str, item: Any) -> list[Any]:
        items = []
        while not self.accept(close):
            items.append(item())
            if not self.accept(","):
                self.expect(close)
                break
        return items

    def graph(self) -> Graph:
        self.expect("graph")
        name = self.next("word")
        values: dict[str, Node] = {}
        self.expect("(")
        parameters = self.list_until(")", lambda: self.parameter(values))
        self.expect("{")
        while self.kind() == "value":
            self.node(values)
        self.expect("return")
        results = []
        while self.kind() == "value":
            results.append(self.value(values))
            if not self.accept(","):
                break
        updates = []
        while self.accept("update"):
            parameter = self.value(values)
            self.expect("=")
            updates.append((parameter, self.value(values)))
        effects = []
        while self.accept("effect"):
            effects.append(self.value(values))
            if not effects[-1].op.effects.stay:
                self.index -= 1
                self._fail(f"{effects[-1].op.name} has no effect")
        self.expect("}")
        return Graph(name, parameters, results, updates, effects)

    def value(self, values: dict[str, Node]) -> Node:
        name = self.peek()
        if self.kind() != "value" or name not in values:
            self._fail(f"expected a value that is defined above, found {name!r}")
        self.index += 1
        return values[name]

    def define(self, values: dict[str, Node]) -> str:
        name = self.peek()
        if self.kind() != "value" or name in values:
            self._fail(f"expected a new value, found {name!r}")
        self.index += 1
        return name

    def parameter(self, values: dict[str, Node]) -> Node:
        name = self.define(values)
        self.expect(":")
        node = make(OPS["parameter"], location=None, type=self.type(), name=name[1:])
        values[name] = _relocate(node, self.at())
        return values[name]

    def node(self, values: dict[str, Node]) -> None:
        name = self.define(values)
        self.expect("=")
        start = self.index
        try:
            op = find_op(self.next("word"))
        except KeyError as error:
            self.index = start
            self._fail(str(error.args[0]))
        if op.name == "parameter":
            self.index = start
            self._fail("a parameter stands in the head of its graph")
        self.expect("(")
        operands = self.list_until(")", lambda: self.value(values))
        attrs: dict[str, Any] = {}
        if self.accept("{"):
            self.list_until("}", lambda: self.attr(attrs))
        self.expect(":")
        stated = self.type()
        try:
            node = make(op, *operands, **attrs)
        except (
            TypeError,
            ValueError,
            AttributeError,
            LookupError,
        ) as error:  # what an op says of attributes it cannot read
            self.index = start
            self._fail(f"{op.name}: {error}")
        if node.type is not stated:
            self.index = start
            self._fail(f"{op.name} gives {node.type}, the text says {stated}")
        values[name] = _relocate(node, self.at())

    def at(self) -> Location | None:
        if not self.accept("@"):
            return None
        return Location(self.string(), self.integer())

    def string(self) -> str:
        word = self.next("string")
        try:
            return json.loads(word)
        except ValueError as error:
            self.index -= 1
            self._fail(f"{word} is no string: {error}")

    def integer(self) -> int:
        word = self.next("number")
        if not word.isdigit():
            self.index -= 1
            self._fail(f"expected a whole number, found {word!r}")
        return int(word)

    def type(self) -> Type:
        if self.accept("("):
            return TupleType(self.list_until(")", self.type))
        name = self.next("word")
        if name not in BY_SHORT:
            self.index -= 1
            self._fail(f"expected a dtype ({', '.join(BY_SHORT)}), found {name!r}")
        self.expect("[")
        return TensorType(self.list_until("]", self.integer), BY_SHORT[name])

    def attr(self, attrs: dict[str, Any]) -> None:
        name = self.next("word")
        if name in attrs:
            self.index -= 1
            self._fail(f"the attribute {name} is given twice")
        self.expect("=")
        attrs[name] = self.literal()

    def literal(self) -> Any:
        kind, word = self.kind(), self.peek()
        if kind == "number":
            self.index += 1
            return int(word) if re.fullmatch(r"-?\d+", word) else float(word)
        if kind == "string":
            return self.string()
        if word in ("true", "false", "none"):
            self.index += 1
            return {"true": True, "false": False, "none": None}[word]
        if word == "graph":
            return self.graph()
        if self.accept("("):
            return tuple(self.list_until(")", self.literal))
        if self.accept("types"):
            return self.type()
        if self.accept("array"):
            return self.array()
        if word in BY_SHORT:
            if self.tokens[self.index + 1][1] == "[":
                return self.type()
            self.index += 1
            return BY_SHORT[word]
        self._fail(f"expected a literal, found {word!r}")

    def array(self) -> np.ndarray:
        start = self.index
        kind = self.type()
        self.expect("[")
        items = self.list_until("]", self.literal)
        if not isinstance(kind, TensorType) or len(items) != kind.size:
            self.index = start
            self._fail(f"{len(items)} elements do not make an array of type {kind}")
        dtype = kind.dtype
        kinds = (bool,) if dtype.is_bool else (int,) if dtype.is_integer else (float, int)
        for item in items:
            if type(item) not in kinds or (dtype.is_integer and not dtype.min <= item <= dtype.max):
                self.index = start
                self._fail(f"{item!r} is no element of an array of type {kind}")
        array = np.array(items, dtype.numpy).reshape(kind.shape)
        array.flags.writeable = False
        return array


def _relocate(node: Node, location: Location | None) -> Node:
    object.__setattr__(node, "location", location)  # the node is new and nobody else has it yet
    return node


def parse(text: str) -> Graph:
    """The graph that `text` describes, verified. ParseError, with line and column, where it describes none."""
    parser = _Parser(text)
    graph = parser.graph()
    if parser.kind() != "end":
        parser._fail(f"expected the end of the text, found {parser.peek()!r}")
    try:
        return verify(graph)
    except VerifyError as error:
        parser.index = 0
        parser._fail(str(error))
