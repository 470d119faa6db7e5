"""The native subset: what is compiled does what the same source does as Python, and what does not fit is an error."""

from __future__ import annotations

import ast
import ctypes
import enum
import functools
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import compiled_text

from tracejit.llvm.machine.native_subset import language
from tracejit.llvm.machine.native_subset.compiler import Compiled, compile_sources
from tracejit.llvm.machine.native_subset.language import Array, Struct, at, i8, i16, i32, i64, inline, layout_of, measured
from tracejit.llvm.machine.native_subset.source import Source, source_of
from tracejit.llvm.machine.native_subset.types import NativeSubsetError
from tracejit.runtime.native import arguments, dispatcher, function_types, guard_checks, layout, python_api, results


class Pair(Struct):
    first: i64
    second: i64
    low: i32
    high: i32
    small: i16
    beyond: i16
    tiny: i8
    items: Array[i64] = inline()


class Tree(Struct):
    left: Tree
    right: Tree
    pair: Pair
    visit: Callable[[Tree, i64], i64]
    wanders: i64 = measured()


class LongTree(Tree):
    more: i32
    far: i64 = at(64)
    last: i32


class Counters(Struct, size=128):
    count: i64
    state: i32


class Color(enum.IntEnum):
    RED = 0
    BLUE = 5


counters = language.memory(Counters, 2)
EMPTY = Pair(3)
SEVEN, BELOW, LARGE = 7, -3, 1 << 40
INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5)
WIDTHS = {"i8": 8, "i16": 16, "i32": 32, "i64": 64}
NAMES = {
    **{name: value for name, value in vars(language).items() if not name.startswith("_")},
    **{each.__name__: each for each in (Pair, Tree, LongTree, Counters, Color, Callable)},
    "counters": counters, "EMPTY": EMPTY, "SEVEN": SEVEN, "BELOW": BELOW, "LARGE": LARGE,
}  # fmt: skip
DECLARED = """
def PyObject_IsInstance(object: ptr, kind: ptr) -> i32: ...
def PyObject_IsTrue(object: ptr) -> i32: ...
def Py_IncRef(object: ptr) -> None: ...
def abs(number: i32) -> i32: ...
def snprintf(place: ptr, size: i64, text: ptr, *values) -> i32: ...
"""
_alive: list[Any] = []  # a module's code is gone with its library


def wrapped(number: int, bits: int = 64) -> int:
    """A Python integer as one of so many bits."""
    return (number + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


def source(text: str, name: str = "test.py") -> Source:
    text = textwrap.dedent(text)
    defined = {node.name: wrapped for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    return Source(name, text, NAMES | defined)


def compiled(text: str, exports: Any = None, offsets: Any = None) -> Compiled:
    return compile_sources([source(DECLARED + textwrap.dedent(text))], exports, offsets)


def loaded(text: str, offsets: Any = None) -> dict[str, int]:
    """The addresses of what `text` defines."""
    made = compiled(text, offsets=offsets)
    python = {name: getattr(ctypes.pythonapi, name) for name in made.imported if name.startswith("Py")}
    elsewhere = {name: ctypes.cast(function, ctypes.c_void_p).value or 0 for name, function in python.items()}
    functions, library = compiled_text(made.text, made.exported, elsewhere)
    _alive.append(library)
    return functions


@functools.cache
def native(text: str, name: str = "f") -> Callable[..., int]:
    """A function of `text`, compiled; its parameters and its result are i64 or addresses."""
    addresses = loaded(text)
    (definition,) = [node for node in ast.parse(textwrap.dedent(text)).body if getattr(node, "name", "") == name]
    arity = len(definition.args.args)  # type: ignore[attr-defined]
    return ctypes.PYFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * arity)(addresses[name])


@functools.cache
def python(text: str, name: str = "f") -> Callable[..., int]:
    """The same function, run as Python; a type that is called wraps around."""
    conversions = {name: functools.partial(wrapped, bits=bits) for name, bits in WIDTHS.items()}
    names = {"SEVEN": SEVEN, "BELOW": BELOW, "LARGE": LARGE, "Color": Color, **conversions}
    exec("from __future__ import annotations\n" + textwrap.dedent(text), names)
    return names[name]  # type: ignore[return-value]


# -- numbers

_ARITHMETIC = {
    "sum": "return a + b", "difference": "return a - b", "product": "return a * b", "and": "return a & b", "or": "return a | b",
    "exclusive or": "return a ^ b", "negation": "return -a + -(b)", "left": "return a << 3", "constants": "return a * SEVEN + BELOW - b",
    "nested": "return (a + b) * (a - b) ^ (a & 255) | (b << 1)", "enumeration": "return a + Color.BLUE",
    "constants alone": "return 3 * SEVEN - -4",
}  # fmt: skip


@pytest.mark.parametrize("body", _ARITHMETIC.values(), ids=_ARITHMETIC)
@given(a=INTEGERS, b=INTEGERS)
@settings(max_examples=60, deadline=None)
def test_arithmetic_wraps_around_at_64_bits(body: str, a: int, b: int) -> None:
    text = f"def f(a: i64, b: i64) -> i64:\n    {body}\n"
    assert native(text)(a, b) == wrapped(python(text)(a, b))


@given(a=INTEGERS, b=INTEGERS)
@settings(max_examples=60, deadline=None)
def test_arithmetic_of_less_wraps_around_there(a: int, b: int) -> None:
    text = """
    def f(a: i64, b: i64) -> i64:
        c = i32(a) * i32(b) + 5
        d = i16(a) - i16(b)
        return (i64(c) << 16) + i64(d) + i64(i8(-a))
    """
    expected = (wrapped(a * b + 5, 32) << 16) + wrapped(wrapped(a, 16) - wrapped(b, 16), 16) + wrapped(-a, 8)
    assert native(text)(a, b) == wrapped(expected)


@given(a=INTEGERS, by=st.integers(0, 63))
@settings(max_examples=60, deadline=None)
def test_a_shift_to_the_right_and_a_division_are_of_unsigned_integers(a: int, by: int) -> None:
    assert native("def f(a: i64, by: i64) -> i64:\n    return a >> by\n")(a, by) == wrapped(a % 2**64 >> by)
    assert native("def f(a: i64, by: i64) -> i64:\n    return a << by\n")(a, by) == wrapped(a << by)
    assert native("def f(a: i64, by: i64) -> i64:\n    return a // by\n")(a, by + 1) == wrapped(a % 2**64 // (by + 1))


@pytest.mark.parametrize("kind", WIDTHS)
@given(a=INTEGERS)
@settings(max_examples=60, deadline=None)
def test_a_type_that_is_called_keeps_the_sign(kind: str, a: int) -> None:
    assert native(f"def f(a: i64) -> i64:\n    return i64({kind}(a))\n")(a) == wrapped(a, WIDTHS[kind])


_CONDITIONS = [
    "a < b", "a <= b", "a > b", "a >= b", "a == b", "a != b", "not a < b", "a < b and b < c", "a < b or b < c", "not (a < b or b == c)",
    "a < b and b < c or a == c", "not a == b and (b != c or not a > c)", "not not a == c", "a == b and b == c and a == c",
    "(a < 0 or b < 0) and (b > 0 or c > 0) or not (a == 0 and c == 0)", "0 == 0 and 3 < a", "Color.BLUE == a",
]  # fmt: skip


@pytest.mark.parametrize("condition", _CONDITIONS)
@given(a=INTEGERS, b=INTEGERS, c=INTEGERS)
@settings(max_examples=60, deadline=None)
def test_conditions_are_signed_and_combine(condition: str, a: int, b: int, c: int) -> None:
    text = f"""
    def f(a: i64, b: i64, c: i64) -> i64:
        if {condition}:
            return 1
        return 0
    """
    assert native(text)(a, b, c) == python(text)(a, b, c)


_PROGRAMS = {
    "if, elif and else": """
    def f(n: i64, m: i64) -> i64:
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
    def f(n: i64, m: i64) -> i64:
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
    def f(n: i64, m: i64) -> i64:
        count = 0
        i = 0
        while i < n:
            j = 0
            while True:
                j += 1
                if j > m:
                    break
                if j & 1 == 1:
                    continue
                count ^= i * j
            i += 1
        return count
    """,
    "what is assigned before every end of a loop": """
    def f(n: i64, m: i64) -> i64:
        i = n
        while True:
            if i > m:
                r = i
                break
            elif i < -2:
                r = m
                break
            else:
                i += 3
        return r
    """,
    "a return on every path": """
    def f(n: i64, m: i64) -> i64:
        i = n
        while i > 0:
            if i == m:
                return i
            i -= 2
        if m > 2:
            return -1
        else:
            return -2
    """,
    "calls of one another": """
    def f(n: i64, m: i64) -> i64:
        if n <= 1:
            return g(m) + 1
        return f(n - 1, m) + g(n)

    def g(n: i64) -> i64:
        r = n
        r *= 3
        return r
    """,
}


@pytest.mark.parametrize("text", _PROGRAMS.values(), ids=_PROGRAMS)
@given(n=st.integers(-3, 40), m=st.integers(-3, 40))
@settings(max_examples=60, deadline=None)
def test_control_flow(text: str, n: int, m: int) -> None:
    assert native(text)(n, m) == wrapped(python(text)(n, m))


# -- fields


class PairMemory(ctypes.Structure):
    _fields_ = [
        ("first", ctypes.c_int64),
        ("second", ctypes.c_int64),
        ("low", ctypes.c_int32),
        ("high", ctypes.c_int32),
        ("small", ctypes.c_int16),
        ("beyond", ctypes.c_int16),
        ("tiny", ctypes.c_int8),
        ("items", ctypes.c_int64 * 4),
    ]


FIELDS = {"first": "i64", "second": "i64", "low": "i32", "high": "i32", "small": "i16", "beyond": "i16", "tiny": "i8"}


def test_a_structure_lies_as_in_c() -> None:
    fields = layout_of(Pair).fields
    assert {name: field.offset for name, field in fields.items()} == {name: getattr(PairMemory, name).offset for name in fields}
    assert layout_of(Pair).size == PairMemory.items.offset
    assert {name: field.offset for name, field in layout_of(LongTree).fields.items()} == {
        "left": 0, "right": 8, "pair": 16, "visit": 24, "wanders": None, "more": 32, "far": 64, "last": 72,
    }  # fmt: skip
    assert (layout_of(LongTree).size, layout_of(Counters).size) == (80, 128)


def test_a_field_is_declared_once() -> None:
    class Twice(Tree):
        left: Tree

    class Valued(Struct):
        count: i64 = 5

    for struct in (Twice, Valued):
        with pytest.raises(TypeError, match=r"\.(left|count): a field is declared once"):
            layout_of(struct)


@pytest.mark.parametrize(("name", "kind"), FIELDS.items())
@given(number=INTEGERS)
@settings(max_examples=40, deadline=None)
def test_a_field_is_read_with_sign_and_written_without_its_neighbours(name: str, kind: str, number: int) -> None:
    text = f"""
    def f(o: Pair, number: i64) -> i64:
        before = o.{name}
        o.{name} = {kind}(number)
        return i64(o.{name}) - i64(before)
    """
    one = PairMemory(1, 2, 3, 4, 5, 6, 7, (8, 9, 10, 11))
    others = [(each, list(one.items) if each == "items" else getattr(one, each)) for each in [*FIELDS, "items"] if each != name]
    before = getattr(one, name)
    difference = native(text)(ctypes.addressof(one), number)
    assert getattr(one, name) == wrapped(number, WIDTHS[kind])
    assert difference == wrapped(wrapped(number, WIDTHS[kind]) - before)
    assert [(each, list(one.items) if each == "items" else getattr(one, each)) for each, _ in others] == others


def test_fields_of_fields_bases_null_and_addresses_further_on() -> None:
    text = """
    def f(tree: LongTree, n: i64) -> i64:
        tree.left.pair.high = i32(n)
        if tree.left.right != null or tree.right == tree.left:
            return -1
        other: Tree = tree
        if other != tree.left.left or tree != other:
            return -2
        pairs = tree.pair
        pairs += 1
        pairs.first = (pairs - 1).first + 1
        raw = ptr(pairs) + 8
        Pair(ptr(i64(raw))).first = 77
        tree.far = i64(pairs) - i64(tree.pair)
        tree.last = -5
        return pairs.second + i64(tree.left.pair.high)
    """
    pairs = (PairMemory * 2)()
    size = layout_of(Pair).size
    long, short = (ctypes.c_int64 * 10)(), (ctypes.c_int64 * 4)()
    long[:3] = ctypes.addressof(short), 0, ctypes.addressof(pairs)
    short[:3] = ctypes.addressof(long), 0, ctypes.addressof(pairs)
    pairs[0].first = 5
    assert native(text)(ctypes.addressof(long), 40) == 117
    second = PairMemory.from_buffer(pairs, size)
    assert (pairs[0].high, second.first, second.second, long[8], ctypes.c_int32.from_buffer(long, 72).value) == (
        40,
        6,
        77,
        size,
        -5,
    )


def test_a_measured_field_lies_where_the_compiler_is_told() -> None:
    text = "def f(tree: LongTree, n: i64) -> i64:\n    tree.wanders = n\n    return tree.wanders + 1\n"
    call = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)
    slots = (ctypes.c_int64 * 12)()
    for place in (9, 11):
        assert call(loaded(text, {"Tree.wanders": 8 * place})["f"])(ctypes.addressof(slots), 5) == 6
        assert slots[place] == 5
    with pytest.raises(NativeSubsetError, match="has not been measured"):
        compiled(text)


_VARIABLES = ("a", "b", "c")


@st.composite
def _values(draw: Any, depth: int = 2) -> str:
    if depth == 0 or draw(st.booleans()):
        field = draw(st.sampled_from(list(FIELDS)))
        return draw(
            st.sampled_from(
                [
                    *_VARIABLES,
                    "SEVEN",
                    "BELOW",
                    str(draw(st.integers(-9, 9))),
                    f"i64(o.{field})",
                    f"o.items[{draw(st.sampled_from(_VARIABLES))} & 3]",
                ]
            )
        )
    left, right = draw(_values(depth - 1)), draw(_values(depth - 1))
    return f"i64({left} {draw(st.sampled_from(['+', '-', '*', '&', '|', '^']))} {right})"


@st.composite
def _conditions(draw: Any) -> str:
    one, other = (
        f"{draw(_values(1))} {draw(st.sampled_from(['<', '<=', '==', '!=', '>', '>=']))} {draw(_values(1))}" for _ in "12"
    )
    return draw(st.sampled_from([one, f"not {one}", f"{one} and {other}", f"{one} or not {other}"]))


@st.composite
def _blocks(draw: Any, depth: int = 2) -> list[str]:
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["variable", "field", "item", "change", "if", "while"] if depth else ["variable", "field"]))
        name, value = draw(st.sampled_from(_VARIABLES)), draw(_values())
        if kind == "variable":
            lines.append(f"{name} = {value}")
        elif kind == "field":
            field = draw(st.sampled_from(list(FIELDS)))
            lines.append(f"o.{field} = {FIELDS[field]}({value})")
        elif kind == "item":
            lines.append(f"o.items[{name} & 3] = {value}")
        elif kind == "change":
            lines += [f"{name} += {value}", f"{name} = i64({name})"]
        elif kind == "if":
            lines += [f"if {draw(_conditions())}:", *("    " + line for line in draw(_blocks(depth - 1)))]
            if draw(st.booleans()):
                lines += ["else:", *("    " + line for line in draw(_blocks(depth - 1)))]
        else:  # some turns of all loops together
            body = [
                *draw(_blocks(depth - 1)),
                f"if {draw(_conditions())}:",
                "    " + draw(st.sampled_from(["break", "continue"])),
            ]
            lines += ["while turns < 9:", "    turns += 1", *("    " + line for line in body)]
    return lines


@given(block=_blocks(), numbers=st.lists(INTEGERS, min_size=3, max_size=3), memory=st.binary(min_size=72, max_size=72))
@settings(max_examples=40, deadline=None)
def test_random_programs_do_what_they_do_in_python(block: list[str], numbers: list[int], memory: bytes) -> None:
    lines = ["turns = 0", "a = x", "b = y", "c = z", *block, "return i64(a ^ b ^ c)"]
    text = "def f(o: Pair, x: i64, y: i64, z: i64) -> i64:\n" + "".join(f"    {line}\n" for line in lines)
    one, other = (PairMemory.from_buffer_copy(memory.ljust(ctypes.sizeof(PairMemory))) for _ in "12")
    assert native(text)(ctypes.addressof(one), *numbers) == python(text)(other, *numbers), text
    assert bytes(one) == bytes(other), text
    _alive.clear()
    native.cache_clear()


# -- addresses and functions


def test_arrays_on_the_stack_and_addresses_of_variables_and_fields() -> None:
    text = """
    def fill(place: Array[i64], count: i64) -> None:
        i = 0
        while i < count:
            place[i] = i * i
            i += 1

    def change(place: Array[i64]) -> None:
        place[0] = place[0] + 100

    def f(n: i64, o: Pair) -> i64:
        place = array(i64, SEVEN)
        other = array(i32, 2)
        other[1] = 5
        fill(place, 7)
        total = n
        change(address(total))
        change(address(o.second))
        i = 0
        while i < 7:
            again = array(i64, 1)  # the same at every turn
            again[0] = place[i]
            total += again[0]
            i += 1
        end = place + 7
        return total + i64(other[1]) + (end - 1)[0]
    """
    one = PairMemory(second=1)
    assert native(text)(1000, ctypes.addressof(one)) == 1000 + 100 + sum(i * i for i in range(7)) + 5 + 36
    assert one.second == 101


def test_functions_are_values() -> None:
    text = """
    def twice(tree: Tree, a: i64) -> i64:
        return a * 2

    def apply(function: Callable[[Tree, i64], i64], a: i64) -> i64:
        if function == null:
            return -1
        return function(null, a)

    def f(tree: Tree, a: i64) -> i64:
        outside = tree.visit
        tree.visit = twice
        return apply(twice, a) * 10000 + outside(tree, 1) * 100 + tree.visit(tree, 3) + apply(null, 1)
    """
    add = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)(lambda _, b: b + 6)
    tree = (ctypes.c_int64 * 4)(0, 0, 0, ctypes.cast(add, ctypes.c_void_p).value or 0)
    assert native(text)(ctypes.addressof(tree), 21) == 42_07_05 + 10_000 * 0 + 0


def test_functions_of_c() -> None:
    text = """
    def f(o: ptr, kind: ptr) -> i64:
        return i64(PyObject_IsInstance(o, kind)) + 10 * i64(abs(-PyObject_IsTrue(o)))
    """
    assert native(text)(id(5), id(int)) == 11
    assert native(text)(id(0), id(int)) == 1
    assert compiled(text).imported == ("PyObject_IsInstance", "PyObject_IsTrue", "abs")


def test_a_function_with_any_number_of_arguments() -> None:
    text = """
    def f(place: ptr, text: ptr) -> i64:
        return i64(snprintf(place, 20, text, LARGE, i32(-7)))
    """
    place = ctypes.create_string_buffer(20)
    given = ctypes.c_char_p(b"%ld and %d")
    assert native(text)(ctypes.addressof(place), ctypes.cast(given, ctypes.c_void_p).value) == 20
    assert place.value == b"1099511627776 and -"


def test_memory_of_the_module_begins_as_zeros_and_stays() -> None:
    text = """
    def f(delta: i64) -> i64:
        (counters + 1).count = (counters + 1).count + delta
        return (counters + 1).count + counters.count
    """
    at = loaded(text)
    f = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(at["f"])
    assert [f(1), f(2), f(3)] == [1, 3, 6]
    assert (at["counters"] % 128, ctypes.c_int64.from_address(at["counters"] + 128).value) == (0, 6)


def test_constants_that_are_addresses() -> None:
    text = "def f(o: Pair) -> i64:\n    if o == EMPTY:\n        return i64(EMPTY)\n    return 0\n"
    assert (native(text)(3), native(text)(4)) == (3, 0)


def test_atomic_operations() -> None:
    text = """
    def f(o: Counters, a: i64) -> i64:
        place = address(o.state)
        seen = exchange(place, i32(a))
        missed = compare_exchange(place, 99, 1)
        hit = compare_exchange(place, i32(a), 7)
        atomic_store(address(o.count), 40, 'release')
        all = atomic_load(address(o.count), 'acquire') + atomic_load(address(o.count), 'monotonic')
        return all + i64(seen) * 1000 + i64(missed + hit) * 10000 + i64(atomic_load(place, 'seq_cst'))
    """
    slots = (ctypes.c_int64 * 2)(0, 3)
    assert native(text)(ctypes.addressof(slots), 5) == 80 + 3000 + 100_000 + 7
    written = compiled(text).text
    lines = [
        r"atomicrmw xchg ptr %\S+, i32 %\S+ seq_cst", r"cmpxchg ptr %\S+, i32 99, i32 1 seq_cst seq_cst",
        r"cmpxchg ptr %\S+, i32 %\S+, i32 7 seq_cst seq_cst", r"store atomic i64 40, ptr %\S+ release, align 8",
        r"load atomic i64, ptr %\S+ acquire, align 8", r"load atomic i64, ptr %\S+ monotonic, align 8",
        r"load atomic i32, ptr %\S+ seq_cst, align 4",
    ]  # fmt: skip
    assert [len(re.findall(line + "$", written, re.MULTILINE)) for line in lines] == [1] * len(lines)


# -- several sources


def test_sources_see_each_other_and_what_is_exported() -> None:
    header = "def pause() -> i64: ...\n"
    caller = source(
        header + "def f(a: i64) -> i64:\n    return a + pause() + helper(a)\n" + "def helper(a: i64) -> i64:\n    return 2\n",
        "a.py",
    )
    callee = source("def pause() -> i64:\n    return 100\n", "b.py")
    made = compile_sources([caller, callee], ["f"])
    assert (made.imported, made.exported) == ((), ("f",))
    assert "define i64 @f(" in made.text and "define internal i64 @pause(" in made.text and "declare" not in made.text
    functions, library = compiled_text(made.text, made.exported)
    _alive.append(library)
    assert ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(functions["f"])(5) == 107
    apart = compile_sources([caller], elsewhere=[callee])
    assert (apart.imported, apart.exported) == (("pause",), ("f", "helper"))
    assert apart == compile_sources([caller], elsewhere=[callee])
    with pytest.raises(NativeSubsetError, match=r"b.py:1: in pause: it is declared with other types elsewhere"):
        compile_sources([caller, source("def pause() -> i32:\n    return 100\n", "b.py")])
    with pytest.raises(NativeSubsetError, match="defined twice"):
        compile_sources([callee, callee])
    with pytest.raises(NativeSubsetError, match="is called missing"):
        compile_sources([callee], ["pause", "missing"])


def test_a_declared_function_may_be_linked_by_another_name() -> None:
    text = """
    @Symbol("llvm.bswap.i64")
    def swapped(a: i64) -> i64: ...

    def f(a: i64) -> i64:
        return swapped(a)
    """
    made = compiled(text)
    assert made.imported == ()
    assert native(text)(1) == 1 << 56


# -- what is refused

# What a body of `f(n: i64, o: Pair, t: Tree) -> i64` that begins with `a = n` is refused for, the number of the line without that
# one, and what is said of it.
_REFUSED = {
    "undeclared C function": ("    Py_DecReff(o)\n    return a\n", 2, "expected a function that is declared, and Py_DecReff is none: Py_DecReff\\(o\\)"),
    "misspelt function as a value": ("    t.visit = swapp\n    return a\n", 2, "expected a variable, a constant or a function, and swapp is none"),
    "too few arguments": ("    a = 1\n    Py_IncRef()\n    return a\n", 3, "Py_IncRef takes 1 argument, not 0"),
    "too many arguments": ("    return g(a, a, a)\n", 2, "g takes 2 arguments, not 3"),
    "type of an argument": ("    Py_IncRef(a)\n    return a\n", 2, "expected ptr, not i64: a$"),
    "type of an argument of one's own": ("    return g(a, t)\n", 2, "expected Pair, not Tree: t$"),
    "width of an argument": ("    return i64(abs(a))\n", 2, "expected i32, not i64: a$"),
    "constant that is too large": ("    return i64(abs(LARGE))\n", 2, "expected i32, which does not hold 1099511627776"),
    "argument of a function's value": ("    return t.visit(o, a)\n", 2, "expected Tree, not Pair: o$"),
    "number of arguments of a function's value": ("    return t.visit(t)\n", 2, "t.visit takes 2 arguments, not 1"),
    "result of nothing": ("    b = Py_IncRef(o)\n    return a\n", 2, "expected a value with a type, not nothing"),
    "result of nothing compared": ("    if Py_IncRef(o) == Py_IncRef(o):\n        return 1\n    return a\n", 2, "expected integers, not nothing"),
    "misspelt field": ("    b = a\n\n    return o.frist\n", 4, "Pair has no field frist: o.frist"),
    "misspelt field that is written": ("    o.frist = 1\n    return a\n", 2, "Pair has no field frist"),
    "field of another structure": ("    return t.first\n", 2, "Tree has no field first: t.first"),
    "field of a structure that goes on": ("    t.far = 1\n    return a\n", 2, "Tree has no field far"),
    "field of an integer": ("    return a.first\n", 2, "expected a structure, not i64: a.first"),
    "field that is an address": ("    o.items = null\n    return a\n", 2, "cannot be assigned: o.items"),
    "type of a field": ("    o.low = a\n    return a\n", 2, "expected i32, not i64: a$"),
    "structure in a field": ("    t.pair = t\n    return a\n", 2, "expected Pair, not Tree: t$"),
    "function in a field": ("    t.visit = g\n    return a\n", 2, r"expected Callable\[\[Tree, i64\], i64\], not Callable\[\[i64, Pair\], i64\]: g$"),
    "shorter structure": ("    l: LongTree = t\n    return a\n", 2, "expected LongTree, not Tree: t$"),
    "any address as a structure": ("    p: Pair = ptr(t)\n    return a\n", 2, "expected Pair, not ptr"),
    "array of something else": ("    p: Array[i32] = o.items\n    return a\n", 2, r"expected Array\[i32\], not Array\[i64\]"),
    "type of an item": ("    o.items[0] = t\n    return a\n", 2, "expected i64, not Tree: t$"),
    "item of a structure": ("    return o[0]\n", 2, "expected an array, not Pair: o\\[0\\]"),
    "item at an address": ("    return o.items[o]\n", 2, "expected i64, not Pair: o.items\\[o\\]"),
    "unassigned on one path": ("    if a > 0:\n        b = 1\n    return b\n", 4, "b is not assigned on every path that leads here: b$"),
    "unassigned in a loop": ("    while a > 0:\n        b = 1\n        a -= 1\n    return b\n", 5, "b is not assigned on every path"),
    "unassigned at a break": (
        "    while True:\n        if a > 0:\n            break\n        b = 1\n        if b > a:\n            break\n    return b\n", 8, "b is not assigned"),
    "unassigned, by an address": ("    if a > 0:\n        b = 1\n    return address(b)[0]\n", 4, "b is not assigned"),
    "unassigned, in a change": ("    b += 1\n    return a\n", 2, "expected a variable, a constant or a function, and b is none"),
    "parameter that is assigned": ("    n = 1\n    return a\n", 2, "n is a parameter, which keeps its value: n"),
    "parameter that is changed": ("    n += 1\n    return a\n", 2, "n is a parameter, which keeps its value: n"),
    "address of a parameter": ("    return address(n)[0]\n", 2, "expected a local variable or a field"),
    "variable of another type": ("    b = 1\n    b = o\n    return a\n", 3, "expected i64, not Pair: o$"),
    "variable of two types": ("    b: i64 = 1\n    b: Pair = o\n    return a\n", 3, "b is declared already"),
    "variable without a type": ("    b = null\n    return a\n", 2, "expected a value with a type, not null"),
    "variable that is the module's": ("    SEVEN = 1\n    return a\n", 2, "SEVEN is one of the module's"),
    "return of another type": ("    return o\n", 2, "expected i64, not Pair: return o"),
    "return of nothing": ("    return\n", 2, "expected a return of i64: return"),
    "no return on one path": ("    if a > 0:\n        return 1\n", 1, "expected a return of i64 on every path: def f"),
    "what is never reached": ("    return a\n    a = 1\n", 3, "this is never reached: a = 1"),
    "what is never reached after a loop": ("    while True:\n        a += 1\n    return a\n", 4, "this is never reached: return a"),
    "integers of two widths": ("    return i64(o.low + a)\n", 2, "expected i32, not i64: o.low \\+ a"),
    "comparison of two widths": ("    if o.low < a:\n        return 1\n    return a\n", 2, "expected i32, not i64"),
    "comparison of an address and an integer": ("    if o == 0:\n        return 1\n    return a\n", 2, "expected Pair, not an integer constant"),
    "comparison of structures": ("    if o == t:\n        return 1\n    return a\n", 2, "expected Pair, not Tree"),
    "order of addresses": ("    if o < o:\n        return 1\n    return a\n", 2, "expected integers, not Pair"),
    "sum of addresses": ("    return i64(o + o)\n", 2, "expected i64, not Pair"),
    "product of addresses": ("    return o * 2\n", 2, "expected an integer, not Pair: o \\* 2"),
    "negative address": ("    return -o\n", 2, "expected an integer, not Pair: -o"),
    "address as half an integer": ("    return i64(i32(o))\n", 2, "an address is an i64, not i32"),
    "integer as a structure": ("    return Pair(a).first\n", 2, "expected an address, not i64: Pair\\(a\\)"),
    "type that is none": ("    b: int = 1\n    return a\n", 2, "expected a type, and int is no type of the subset"),
    "type that is unknown": ("    b: Pear = o\n    return a\n", 2, "expected a type, and Pear is no type: name 'Pear' is not defined"),
    "conversion to what is none": ("    return Color(a)\n", 2, "expected a type, and Color is no type of the subset"),
    "member of an enumeration": ("    return Color.GREEN\n", 2, "Color has no GREEN"),
    "memory order": ("    return atomic_load(o.items, 'release')\n", 2, "expected a memory order, monotonic, acquire, seq_cst: 'release'"),
    "atomic operation on a structure": ("    return exchange(o, 1)\n", 2, "expected the address of an integer, not Pair"),
    "atomic operation of another width": ("    return exchange(o.items, o.low)\n", 2, "expected i64, not i32"),
    "address of a value": ("    return address(a + 1)[0]\n", 2, "expected a local variable or a field"),
    "array of unknown size": ("    return array(i64, a)[0]\n", 2, "expected a constant, how many there are"),
    "built-in with too few arguments": ("    return array(i64)[0]\n", 2, "array takes 2 arguments, not 1"),
    "arguments by name": ("    return g(b=o, a=a)\n", 2, "expected arguments by position"),
    "call of a value": ("    return a(1)\n", 2, "expected a function, not i64"),
    "for": ("    for i in a:\n        a = 1\n    return a\n", 2, "no such statement: for i in a"),
    "while and else": ("    while a < 3:\n        a += 1\n    else:\n        a = 2\n    return a\n", 2, "no such statement: while a < 3"),
    "two targets": ("    b = c = 1\n    return a\n", 2, "no such statement: b = c = 1"),
    "annotation alone": ("    b: i64\n    return a\n", 2, "no such statement: b: i64"),
    "del": ("    del a\n    return 1\n", 2, "no such statement: del a"),
    "function in a function": ("    def h() -> i64:\n        return 1\n    return a\n", 2, "no such statement: def h"),
    "try": ("    try:\n        a = 1\n    finally:\n        a = 2\n    return a\n", 2, "no such statement: try"),
    "change of a field": ("    o.first += 1\n    return a\n", 2, "no such statement: o.first \\+= 1"),
    "change by a power": ("    a **= 2\n    return a\n", 2, "no such statement: a \\*\\*= 2"),
    "value that goes nowhere": ("    a + 1\n    return a\n", 2, "no such statement: a \\+ 1"),
    "several targets": ("    a, b = 1\n    return a\n", 2, "expected a name, a field or an item to assign to: \\(?a, b"),
    "condition that is none": ("    if a:\n        return 1\n    return a\n", 2, "a condition is a comparison, .*: a$"),
    "comparison of three": ("    if 1 < a < 3:\n        return 1\n    return a\n", 2, "a condition is a comparison, .*: 1 < a < 3"),
    "is": ("    if a is 3:\n        return 1\n    return a\n", 2, "a condition is a comparison, .*: a is 3"),
    "comparison as a value": ("    return a < 3\n", 2, "no such expression: a < 3"),
    "condition as a value": ("    return a if 1 == 1 else 2\n", 2, "no such expression: "),
    "float": ("    return 1.5\n", 2, "no such expression: 1.5"),
    "text": ("    return 'text'\n", 2, "no such expression: 'text'"),
    "True": ("    return True\n", 2, "no such expression: True"),
    "division": ("    return a / 2\n", 2, "no such expression: a / 2"),
    "power": ("    return a ** 2\n", 2, "no such expression: a \\*\\* 2"),
    "inversion": ("    return ~a\n", 2, "no such expression: ~a"),
    "list": ("    return [a]\n", 2, "no such expression: \\[a\\]"),
    "integer of more than 64 bits": ("    return 9223372036854775808\n", 2, "expected i64, which does not hold 9223372036854775808"),
    "name that is unknown": ("    return unknown\n", 2, "expected a variable, a constant or a function, and unknown is none"),
    "break without a loop": ("    break\n", 2, "no loop to leave"),
    "continue without a loop": ("    continue\n", 2, "no loop to leave"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*is.* with:SyntaxWarning")
@pytest.mark.parametrize(("body", "line", "said"), _REFUSED.values(), ids=_REFUSED)
def test_what_does_not_fit_is_refused_with_file_line_and_function(body: str, line: int, said: str) -> None:
    text = (
        f"def f(n: i64, o: Pair, t: Tree) -> i64:\n    a = n\n{body}\ndef g(a: i64, b: Pair) -> i64:\n    return a\n{DECLARED}"
    )
    line += line > 1
    with pytest.raises(NativeSubsetError, match=rf"^test.py:{line}: in f: .*{said}") as refused:
        compile_sources([source(text)])
    assert (refused.value.file, refused.value.line, refused.value.function) == ("test.py", line, "f")


_NO_SOURCES = {
    "parameter without a type": ("def f(a) -> i64:\n    return 1\n", "the parameter a has no type"),
    "parameter of nothing": ("def f(a: None) -> i64:\n    return 1\n", "expected the type of a value"),
    "result without a type": ("def f(a: i64):\n    return 1\n", "the result has no type"),
    "type that is unknown": ("def f(a: i65) -> i64:\n    return 1\n", "i65 is no type"),
    "array of nothing": ("def f(a: Array[None]) -> i64:\n    return 1\n", "no type of the subset"),
    "any structure": ("def f(a: Struct) -> i64:\n    return 1\n", "no type of the subset"),
    "result of another type": ("def f(a: i64) -> None:\n    return a\n", "expected a return of nothing"),
    "any number of parameters": ("def f(*a) -> i64:\n    return 1\n", "expected parameters by position"),
    "default": ("def f(a: i64 = 1) -> i64:\n    return 1\n", "expected parameters by position"),
    "parameter by name": ("def f(a: i64, *, b: i64) -> i64:\n    return 1\n", "expected parameters by position"),
    "decorator": ("@wrapped\ndef f(a: i64) -> i64:\n    return 1\n", "expected no decorator"),
    "decorator of a definition": ("@Symbol('g')\ndef f(a: i64) -> i64:\n    return 1\n", "expected no decorator"),
    "statement": ("if 1:\n    x = 5\n", "a source has imports, structures, constants and functions only"),
    "two definitions": ("def f() -> i64:\n    return 1\n\ndef f() -> i64:\n    return 2\n", "it is defined twice"),
    "two declarations": ("def f() -> i64: ...\ndef f() -> i32: ...\n", "it is declared with other types elsewhere"),
    "no Python": ("def f(:\n", "invalid syntax"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), _NO_SOURCES.values(), ids=_NO_SOURCES)
def test_what_is_no_source_is_refused(text: str, said: str) -> None:
    with pytest.raises(NativeSubsetError, match=rf"^test.py:\d+: .*{said}"):
        compile_sources([Source("test.py", text, NAMES)])


# -- the native call path as it is


def call_path(replaced: str, by: str) -> Compiled:
    """The call path, with one text of its sources replaced."""
    made = [source_of(module) for module in (dispatcher, arguments, guard_checks, results)]
    assert any(replaced in each.text for each in made)
    changed = [each._replace(text=each.text.replace(replaced, by)) for each in made]
    return compile_sources(changed, None, layout.offsets(), [source_of(python_api), source_of(function_types)])


def test_what_the_call_path_takes_from_python_is_there() -> None:
    made = call_path("", "")
    assert "PyDict_Next" in made.imported
    for name in made.imported:
        assert name == "function_miss" or getattr(ctypes.pythonapi, name)


@pytest.mark.parametrize(
    ("replaced", "by", "module", "said"),
    [
        ("    Py_DecRef(owner)\n", "    Py_DecReff(owner)\n", dispatcher, "a function that is declared, and Py_DecReff is none"),
        ("program.stale = 1", "program.stalle = 1", dispatcher, "Program has no field stalle"),
        ("bind.value]", "bind.count]", dispatcher, "VariableBinding has no field count"),
        ("check.values[i]", "check.names", guard_checks, r"expected Object, not Array\[Object\]"),
        ("                PyErr_Clear()\n", "                PyErr_Clear(0)\n", guard_checks, "PyErr_Clear takes 0 arguments"),
        ("    nkeywords = 0\n    if", "    if", dispatcher, "nkeywords is not assigned on every path"),
        ("return AGAIN", "return 2", results, "expected Object, not an integer constant"),
    ],
)  # fmt: skip
def test_a_slip_in_the_call_path_is_an_error_with_its_line(replaced: str, by: str, module: Any, said: str) -> None:
    with pytest.raises(NativeSubsetError, match=rf"{Path(module.__file__).name}:\d+: in .*{said}") as refused:
        call_path(replaced, by)
    text = source_of(module).text.replace(replaced, by).splitlines()
    assert by.strip().splitlines()[0] in text[refused.value.line - 1] or "not assigned" in str(refused.value)
