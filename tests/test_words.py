"""The language of the native call path: what is compiled does what the same source does as Python."""

from __future__ import annotations

import ctypes
import functools
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracejit.llvm.machine import engine
from tracejit.llvm.machine.words import Field, Words, compile_words

FIELDS = {"first": Field(0), "second": Field(8), "low": Field(16, 32), "high": Field(20, 32), "small": Field(24, 16)}
CONSTANTS = {"SEVEN": 7, "BELOW": -3}
WORDS = st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5)
_alive: list[Any] = []  # a module's code is gone with its library


def wrapped(word: int) -> int:
    """A Python integer as a 64-bit word."""
    return (word + 2**63) % 2**64 - 2**63


def compiled(source: str, memory: Mapping[str, int] | None = None) -> Words:
    return compile_words(textwrap.dedent(source), FIELDS, CONSTANTS, memory or {})


def loaded(source: str, memory: Mapping[str, int] | None = None) -> dict[str, int]:
    """The addresses of what `source` defines."""
    words = compiled(source, memory)
    elsewhere = {name: ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0 for name in words.imported}
    functions, library = engine.load_object(engine.compile_text(words.text), words.exported, elsewhere)
    _alive.append(library)
    return functions


@functools.cache
def native(source: str, name: str = "f") -> Callable[..., int]:
    """A function of `source`, compiled."""
    import ast

    words = loaded(source)
    (definition,) = [node for node in ast.parse(textwrap.dedent(source)).body if getattr(node, "name", "") == name]
    arity = len(definition.args.args)  # type: ignore[attr-defined]
    return ctypes.PYFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * arity)(words[name])


@functools.cache
def python(source: str, name: str = "f") -> Callable[..., int]:
    """The same function, run as Python."""
    names = dict(CONSTANTS)
    exec(textwrap.dedent(source), names)  # type: ignore[arg-type]
    return names[name]  # type: ignore[return-value]


_ARITHMETIC = {
    "sum": "return a + b", "difference": "return a - b", "product": "return a * b", "and": "return a & b", "or": "return a | b",
    "exclusive or": "return a ^ b", "negation": "return -a + -(b)", "left": "return a << 3", "constants": "return a * SEVEN + BELOW - b",
    "nested": "return (a + b) * (a - b) ^ (a & 255) | (b << 1)", "true": "return a + True",
}  # fmt: skip


@pytest.mark.parametrize("body", _ARITHMETIC.values(), ids=_ARITHMETIC)
@given(a=WORDS, b=WORDS)
@settings(max_examples=60, deadline=None)
def test_arithmetic_wraps_around_at_64_bits(body: str, a: int, b: int) -> None:
    source = f"def f(a, b):\n    {body}\n"
    assert native(source)(a, b) == wrapped(python(source)(a, b))


@given(a=WORDS, by=st.integers(0, 63))
@settings(max_examples=60, deadline=None)
def test_a_shift_to_the_right_brings_in_zeros(a: int, by: int) -> None:
    assert native("def f(a, by):\n    return a >> by\n")(a, by) == wrapped(a % 2**64 >> by)
    assert native("def f(a, by):\n    return a << by\n")(a, by) == wrapped(a << by)


_CONDITIONS = [
    "a < b", "a <= b", "a > b", "a >= b", "a == b", "a != b", "not a < b", "a < b and b < c", "a < b or b < c", "not (a < b or b == c)",
    "a < b and b < c or a == c", "not a == b and (b != c or not a > c)", "not not a == c", "a == b and b == c and a == c",
    "(a < 0 or b < 0) and (b > 0 or c > 0) or not (a == 0 and c == 0)",
]  # fmt: skip


@pytest.mark.parametrize("condition", _CONDITIONS)
@given(a=WORDS, b=WORDS, c=WORDS)
@settings(max_examples=60, deadline=None)
def test_conditions_are_signed_and_combine(condition: str, a: int, b: int, c: int) -> None:
    source = f"""
    def f(a, b, c):
        if {condition}:
            return 1
        return 0
    """
    assert native(source)(a, b, c) == python(source)(a, b, c)


_PROGRAMS = {
    "if, elif and else": """
    def f(n, m):
        'It has a docstring.'
        if n < 0:
            r = -n
        elif n == m:
            r = 1000
        else:
            r = m
            if r > 5:
                r = 5
        return r
    """,
    "while, break and continue": """
    def f(n, m):
        i = 0
        total = 0
        while i < n:
            i += 1
            if i == m:
                continue
            if total > 100:
                break
            total += i * i
        return total * 1000 + i
    """,
    "loops in loops": """
    def f(n, m):
        count = 0
        i = 0
        while i < n:
            j = 0
            while True == 1:
                j += 1
                if j > m:
                    break
                if j & 1 == 1:
                    continue
                count ^= i * j
            i += 1
        return count
    """,
    "a return in the middle, and code that is never reached": """
    def f(n, m):
        while n > 0:
            if n == m:
                return n
                n = 99
            n -= 2
        return -1
        return -2
    """,
    "calls of one another": """
    def f(n, m):
        if n <= 1:
            return g(m) + 1
        return f(n - 1, m) + g(n)

    def g(n):
        n *= 3
        return n
    """,
}


@pytest.mark.parametrize("source", _PROGRAMS.values(), ids=_PROGRAMS)
@given(n=st.integers(-3, 40), m=st.integers(-3, 40))
@settings(max_examples=60, deadline=None)
def test_control_flow(source: str, n: int, m: int) -> None:
    assert native(source)(n, m) == wrapped(python(source)(n, m))


def test_a_function_without_a_return_gives_0() -> None:
    assert native("def f(a):\n    a = 5\n")(3) == 0
    assert native("def f(a):\n    return\n")(3) == 0


class Object(ctypes.Structure):
    _fields_ = [
        ("first", ctypes.c_int64),
        ("second", ctypes.c_int64),
        ("low", ctypes.c_int32),
        ("high", ctypes.c_int32),
        ("small", ctypes.c_int16),
        ("beyond", ctypes.c_int16),
    ]


@pytest.mark.parametrize(("name", "bits"), [("first", 64), ("second", 64), ("low", 32), ("high", 32), ("small", 16)])
@given(word=WORDS)
@settings(max_examples=40, deadline=None)
def test_a_field_is_read_with_sign_and_written_without_its_neighbours(name: str, bits: int, word: int) -> None:
    source = f"""
    def f(o, word):
        before = o.{name}
        o.{name} = word
        return o.{name} - before
    """
    one = Object(1, 2, 3, 4, 5, 6)
    others = [(each, getattr(one, each)) for each, _ in Object._fields_ if each != name]
    before = getattr(one, name)
    found = native(source)(ctypes.addressof(one), word)
    kept = (word + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)
    assert getattr(one, name) == kept
    assert found == wrapped(kept - before)
    assert [(each, getattr(one, each)) for each, _ in others] == others


def test_a_field_of_a_field() -> None:
    inner = Object(second=42)
    outer = Object(first=ctypes.addressof(inner))
    source = """
    def f(o):
        o.first.high = o.first.second * 2
        return o.first.high
    """
    assert native(source)(ctypes.addressof(outer)) == 84 == inner.high


def test_words_on_the_stack_addresses_of_variables_and_stores() -> None:
    source = """
    def fill(place, count):
        i = 0
        while i < count:
            store(place + 8 * i, i * i)
            i += 1

    def change(place):
        store(place, load(place) + 100)
        return 0

    def f(n):
        place = words(SEVEN)
        other = words(2)
        store(other, 5)
        fill(place, 7)
        total = n
        change(address(total))
        i = 0
        while i < 7:
            again = words(1)  # the same words at every turn
            store(again, load(place + 8 * i))
            total += load(again)
            i += 1
        return total + load(other)
    """
    assert native(source)(1000) == 1000 + 100 + sum(i * i for i in range(7)) + 5


def test_a_function_is_called_by_its_address_and_one_from_outside() -> None:
    source = """
    def twice(a):
        return a * 2

    def f(a, outside):
        return call(address(twice), a) * 1000 + call(outside, a, 1)
    """
    add = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(lambda a, b: a + b)
    assert native(source)(21, ctypes.cast(add, ctypes.c_void_p).value) == 42_022


def test_a_function_of_python_s_and_a_c_int_from_it() -> None:
    source = """
    def f(o, kind):
        return int32(PyObject_IsInstance(o, kind)) + 10 * uint32(PyObject_IsTrue(o))
    """
    assert native(source)(id(5), id(int)) == 11
    assert native(source)(id(0), id(int)) == 1
    assert compiled(source).imported == ("PyObject_IsInstance", "PyObject_IsTrue")


@given(word=WORDS)
@settings(max_examples=60, deadline=None)
def test_the_lower_half_of_a_word_with_and_without_sign(word: int) -> None:
    assert native("def f(a):\n    return int32(a)\n")(word) == (word + 2**31) % 2**32 - 2**31
    assert native("def f(a):\n    return uint32(a)\n")(word) == word % 2**32


def test_memory_of_the_module_begins_as_zeros_and_stays() -> None:
    source = """
    def f(delta):
        store(counters + 8, load(counters + 8) + delta)
        return load(counters + 8) + load(counters)
    """
    at = loaded(source, {"counters": 2})
    f = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(at["f"])
    assert [f(1), f(2), f(3)] == [1, 3, 6]
    assert (at["counters"] % 64, ctypes.c_int64.from_address(at["counters"] + 8).value) == (0, 6)


def test_what_is_exported_and_what_the_module_s_text_depends_on() -> None:
    source = "def f(a):\n    return g(a)\n\ndef g(a):\n    return Py_IncRef(a)\n"
    words = compiled(source, {"state": 3})
    assert (words.imported, words.exported) == (("Py_IncRef",), ("f", "g", "state"))
    assert words == compiled(source, {"state": 3})


# What is refused, the number of the line, and the words that are said of it.
_REFUSED = [
    ("    for i in a:\n        pass\n", 2, "no such statement: for i in a"),
    ("    a = 1\n    while a < 3:\n        a += 1\n    else:\n        a = 2\n", 3, "no such statement: while a < 3"),
    ("    b = c = 1\n", 2, "no such statement: b = c = 1"),
    ("    b: int = 1\n", 2, "no such statement: b: int = 1"),
    ("    del a\n", 2, "no such statement: del a"),
    ("    def g():\n        return 1\n", 2, "no such statement: def g"),
    ("    try:\n        a = 1\n    finally:\n        a = 2\n", 2, "no such statement: try"),
    ("    a.first += 1\n", 2, "no such statement: a.first \\+= 1"),
    ("    a //= 2\n", 2, "no such statement: a //= 2"),
    ("    a[0] = 1\n", 2, "cannot be assigned to: a\\[0\\]"),
    ("    a, b = 1\n", 2, "cannot be assigned to: \\(?a, b"),
    ("    if a:\n        return 1\n", 2, "a condition is a comparison, .*: a$"),
    ("    if 1 < a < 3:\n        return 1\n", 2, "a condition is a comparison, .*: 1 < a < 3"),
    ("    if a is 3:\n        return 1\n", 2, "a condition is a comparison, .*: a is 3"),
    ("    return a < 3\n", 2, "no such expression: a < 3"),
    ("    return a if 1 == 1 else 2\n", 2, "no such expression: "),
    ("    return 1.5\n", 2, "no such expression: 1.5"),
    ("    return 'text'\n", 2, "no such expression: 'text'"),
    ("    return a / 2\n", 2, "no such expression: a / 2"),
    ("    return a // 2\n", 2, "no such expression: a // 2"),
    ("    return a ** 2\n", 2, "no such expression: a \\*\\* 2"),
    ("    return ~a\n", 2, "no such expression: ~a"),
    ("    return a[0]\n", 2, "no such expression: a\\[0\\]"),
    ("    return [a]\n", 2, "no such expression: \\[a\\]"),
    ("    return a.first(1)\n", 2, "no such expression: a.first\\(1\\)"),
    ("    return f(a=1)\n", 2, "no such expression: f\\(a=1\\)"),
    ("    return unknown\n", 2, "not known: unknown"),
    ("    b = a\n\n    return a.third\n", 4, "field is not known: a.third"),
    ("    a.third = 1\n", 2, "field is not known: a.third"),
    ("    Py_IncRef(a)\n    Py_IncRef(a, a)\n", 3, "elsewhere it has 1 arguments: Py_IncRef\\(a, a\\)"),
]


@pytest.mark.filterwarnings("ignore:.*is.* with:SyntaxWarning")
@pytest.mark.parametrize(("body", "line", "said"), _REFUSED, ids=range(len(_REFUSED)))
def test_what_the_language_has_not_is_refused_with_its_line(body: str, line: int, said: str) -> None:
    with pytest.raises(SyntaxError, match=f"^f, line {line}: .*{said}"):
        compile_words(f"def f(a):\n{body}", FIELDS, CONSTANTS, {})


# Each of these is read as something else, or ends in an error that does not say where.
_SILENT = [
    "def f(a):\n    return g(a)\n\ndef g(a, b):\n    return a\n",
    "def f(a, *rest):\n    return a\n",
    "def f(a, b=1):\n    return a\n",
    "def f(a, *, b):\n    return a\n",
    "def f(a):\n    break\n",
    "def f(a):\n    continue\n",
    "def f(a):\n    return load()\n",
    "def f(a):\n    return load(a, a)\n",
    "def f(a):\n    return store(a)\n",
    "def f(a):\n    return int32(a, a)\n",
    "def f(a):\n    return address()\n",
    "def f(a):\n    return words(a)\n",
    "def f(a):\n    return 1 << 64 | 18446744073709551616\n",
    "x = 5\n\ndef f(a):\n    return a\n",
    "def f(a):\n    return a\n\ndef f(a):\n    return a + 1\n",
]


@pytest.mark.parametrize("source", _SILENT, ids=range(len(_SILENT)))
def test_what_would_be_compiled_to_something_else_is_refused(source: str) -> None:
    with pytest.raises(SyntaxError, match=r"line \d+: "):
        compile_words(source, FIELDS, CONSTANTS, {})
