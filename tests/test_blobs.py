"""Units compiled apart: what becomes of them does not depend on what is compiled beside, is read back whole or not at all, and
computes what it should where it is loaded."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import math
import random
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracejit.llvm.machine import codegen, elf, mapping, units
from tracejit.llvm.machine.blob import CODE, DATA, ELSEWHERE, BadBlob, Blob, Place, Relocation
from tracejit.llvm.machine.loader import load
from tracejit.llvm.machine.units import Unit, compile_units

pytestmark = pytest.mark.skipif(not mapping.is_known(), reason="LLVM links here, as all other tests show")

COUNT = 8
SHARED = frozenset(
    [
        "declare double @sin(double)",
        "declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)",
        'attributes #0 = { nounwind "prefer-vector-width"="512" }',
        "define internal double @helper(double %x) #0 {\n  %y = fmul double %x, 1.0e+00\n  ret double %y\n}",
    ]
)
CASES = [3, 14, 15, 92, 65, 35, 89, 79]


def unit(number: int) -> Unit:
    """Has what kernels have: calls, constants of each size, tables of constants and of jumps, variables; and names in quotes.

    `k{number}(x)` is sin(x + number + 0.5), which it also writes to `last{number}`; `case {number}(i)` is CASES[i] + number, or 0;
    `vector{number}(p)` multiplies 16 floats by numbers of a table and adds the number to each; `table{number}(i)` is an element of
    a table; `small{number}(p)` adds the number to 64 bytes and to 32 shorts.
    """
    chosen = "\n".join(f"c{i}:\n  %r{i} = add i64 %i, {value + number - i}\n  ret i64 %r{i}" for i, value in enumerate(CASES))
    text = f"""
@last{number} = global double 3.0
@table.{number} = private constant [4 x i32] [i32 {number}, i32 7, i32 8, i32 9], align 64
define double @k{number}(double %x) #0 {{
  %h = call double @helper(double %x)
  %y = fadd double %h, {number}.5
  %z = call double @sin(double %y)
  store double %z, ptr @last{number}
  ret double %z
}}
define i64 @"case {number}"(i64 %i) #0 {{
  switch i64 %i, label %other [ {" ".join(f"i64 {i}, label %c{i}" for i in range(len(CASES)))} ]
other:
  ret i64 0
{chosen}
}}
define void @vector{number}(ptr %p) #0 {{
  %x = load <16 x float>, ptr %p, align 4
  %y = call <16 x float> @llvm.fma.v16f32(<16 x float> %x,
      <16 x float> <{", ".join(f"float {i + number}.0" for i in range(16))}>, <16 x float> splat (float {number}.0))
  store <16 x float> %y, ptr %p, align 4
  ret void
}}
define i32 @table{number}(i64 %i) #0 {{
  %p = getelementptr inbounds i32, ptr @table.{number}, i64 %i
  %x = load i32, ptr %p
  ret i32 %x
}}
define void @small{number}(ptr %p) #0 {{
  %q = getelementptr inbounds i8, ptr %p, i64 64
  %x = load <64 x i8>, ptr %p, align 1
  %y = load <32 x i16>, ptr %q, align 1
  %s = add <64 x i8> %x, splat (i8 {number})
  %t = add <32 x i16> %y, splat (i16 {number})
  store <64 x i8> %s, ptr %p, align 1
  store <32 x i16> %t, ptr %q, align 1
  ret void
}}
"""
    names = (f"k{number}", f"last{number}", f"case {number}", f"vector{number}", f"table{number}", f"small{number}")
    return Unit(names, text, SHARED)


def called(addresses: dict[str, int], name: str, result: type | None, argument: type) -> Callable[..., float]:
    return ctypes.CFUNCTYPE(result, argument)(addresses[name])


def check(addresses: dict[str, int], number: int) -> None:
    last = ctypes.c_double.from_address(addresses[f"last{number}"])
    last.value = 3.0
    assert called(addresses, f"k{number}", ctypes.c_double, ctypes.c_double)(1.0) == last.value == math.sin(1.5 + number)
    case = called(addresses, f"case {number}", ctypes.c_int64, ctypes.c_int64)
    assert [case(i) for i in range(-1, 9)] == [0, *(value + number for value in CASES), 0]
    floats = (ctypes.c_float * 16)(*range(16))
    called(addresses, f"vector{number}", None, ctypes.c_void_p)(ctypes.addressof(floats))
    assert list(floats) == [i * (i + number) + number for i in range(16)]
    table = called(addresses, f"table{number}", ctypes.c_int32, ctypes.c_int64)
    assert [table(i) for i in range(4)] == [number, 7, 8, 9]
    small = (ctypes.c_uint8 * 128)()
    called(addresses, f"small{number}", None, ctypes.c_void_p)(ctypes.addressof(small))
    assert bytes(small) == bytes([number]) * 64 + bytes([number, 0]) * 32


@functools.cache
def blobs() -> list[Blob]:
    return compile_units([unit(number) for number in range(COUNT)])


def many_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let also what is small be compiled in several groups."""
    monkeypatch.setattr(units, "_LEAST_OF_A_GROUP", 1)


# -- compiled


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_units_are_compiled_in_their_order_and_compute_right(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    many_groups(monkeypatch)
    made = compile_units([unit(number) for number in range(COUNT)], threads=threads)
    assert not any(blob.is_object for blob in made)
    addresses, _library = load([Blob.from_bytes(blob.to_bytes()) for blob in made], {})
    for number in range(COUNT):
        check(addresses, number)


@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize("cpu", ["", "x86-64-v3", "x86-64-v2"])
def test_code_is_the_same_alone_and_in_a_group(level: int, cpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if cpu:  # with other registers there are other constants
        known = codegen.facts()
        monkeypatch.setattr(codegen, "facts", lambda: known._replace(cpu=cpu, features=""))
    given = [without_small(unit(number)) for number in range(COUNT)]
    together = compile_units(given, level)
    assert together == [compile_units([each], level)[0] for each in given]
    assert together == compile_units(given[::-1], level)[::-1]
    addresses, _library = load(compile_units([unit(number) for number in range(COUNT)], level), {})
    for number in range(COUNT):
        check(addresses, number)


def test_the_units_of_these_tests_have_tables_of_jumps_and_large_constants() -> None:
    """Else they would test less than they say."""
    (blob,) = compile_units([unit(3)])
    places = {each.offset for each in blob.relocations if each.section == each.target == CODE}
    assert any({place + 8 * i for i in range(len(CASES))} <= places for place in places)
    assert {each.name for each in blob.relocations if each.target == ELSEWHERE} == {"sin"}
    assert blob.alignment >= 64 and len(blob.data) == 8


def without_small(given: Unit) -> Unit:
    """Without constants of 1 and 2 bytes, which come with what lies beside them."""
    return Unit(given.exports[:-1], given.text[: given.text.index("define void @small")], given.shared)


def test_code_is_the_same_from_any_number_of_threads_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    many_groups(monkeypatch)
    given = [without_small(unit(number)) for number in range(COUNT)]
    expected = compile_units(given)
    found: list[list[Blob]] = []

    def work(threads: int) -> None:
        for _ in range(3):
            found.append(compile_units(given, threads=threads))

    workers = [threading.Thread(target=work, args=(threads,)) for threads in (1, 2, 4, 8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 12 and all(each == expected for each in found)


def test_groups_are_about_equally_large_and_as_many_as_are_worth_it() -> None:
    assert units._groups([5], 6) == [[0]]
    assert units._groups([], 6) == []
    assert units._groups([10, 10, 10], 6) == [[0, 1, 2]]
    sizes = [90_000, 50_000, 10_000, 10_000, 10_000, 10_000]
    groups = units._groups(sizes, 3)
    assert groups[0] == [0] and sorted(number for group in groups for number in group) == list(range(6))
    totals = [sum(sizes[number] for number in group) for group in groups]
    assert totals == sorted(totals, reverse=True) == [90_000, 50_000, 40_000]


@pytest.mark.parametrize("threads", [1, 3])
def test_what_llvm_does_not_understand_is_an_error_with_its_text(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    many_groups(monkeypatch)
    wrong = Unit(("wrong",), "define i32 @wrong() {\n  ret i32 %nothing\n}\n")
    given = [unit(0), unit(1), wrong, unit(2)]
    with pytest.raises(RuntimeError, match="use of undefined value '%nothing'"):
        compile_units(given, threads=threads)
    with pytest.raises(RuntimeError, match="missing is not defined"):
        compile_units([Unit(("missing",), unit(0).text, SHARED)], threads=threads)
    assert compile_units([unit(0)]) == blobs()[:1]


def test_what_a_finalizer_compiles_in_the_middle_of_compiling_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A garbage collection runs in any thread, also in one for which the one that has LLVM's lock waits."""
    many_groups(monkeypatch)
    threads, inner = set(), []
    real = codegen._Thread.object_of

    def collecting(self: codegen._Thread, text: str) -> bytes:
        if "inner" not in text and threading.get_ident() not in threads:
            threads.add(threading.get_ident())
            inner.extend(compile_units([Unit(("inner",), "define i32 @inner() nounwind {\n  ret i32 3\n}")], threads=2))
            time.sleep(0.05)  # so that all threads come to it
        return real(self, text)

    monkeypatch.setattr(codegen._Thread, "object_of", collecting)
    ended: list[list[Blob]] = []
    worker = threading.Thread(
        target=lambda: ended.append(compile_units([unit(number) for number in range(COUNT)], threads=2)), daemon=True
    )
    worker.start()
    worker.join(60)
    assert len(ended) == 1 and len(threads) == len(inner) == 2
    addresses, _library = load(ended[0], {})
    check(addresses, 3)


def test_llvmlite_may_be_used_meanwhile() -> None:
    import llvmlite.binding as llvm

    text = "\n".join([*SHARED, unit(5).text])
    expected, ended, mine = compile_units([unit(number) for number in range(COUNT)], threads=2), threading.Event(), []

    def other() -> None:
        target = llvm.Target.from_triple(llvm.get_process_triple())
        while not ended.is_set():
            machine = target.create_target_machine(jit=True)
            module = llvm.parse_assembly(text)
            module.verify()
            mine.append(len(machine.emit_object(module)))
            with pytest.raises(RuntimeError):
                llvm.parse_assembly("define")

    threads = [threading.Thread(target=other) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            assert compile_units([unit(number) for number in range(COUNT)], threads=2) == expected
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert len(mine) > 2 and len(set(mine)) == 1


# -- linked by LLVM


def test_what_cannot_be_read_is_linked_by_llvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elf, "KNOWN", frozenset())
    objects = compile_units([unit(number) for number in range(3)])
    assert all(blob.is_object for blob in objects)
    monkeypatch.undo()
    mixed = [*(Blob.from_bytes(blob.to_bytes()) for blob in objects), *blobs()[3:5]]
    addresses, library = load(mixed, {})
    for number in range(5):
        check(addresses, number)
    calling = "define double @caller(double %x) nounwind {\n  %y = call double @k1(double %x)\n  ret double %y\n}"
    caller = compile_units([Unit(("caller",), calling, frozenset(["declare double @k1(double)"]))])
    both, _library = load([*objects, *caller], {})
    assert called(both, "caller", ctypes.c_double, ctypes.c_double)(1.0) == math.sin(2.5)
    del library


def test_where_memory_is_not_known_llvm_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "is_known", lambda: False)
    made = compile_units([unit(number) for number in range(3)], threads=2)
    assert all(blob.is_object for blob in made)
    addresses, _library = load(made, {})
    for number in range(3):
        check(addresses, number)


# -- read back


def test_a_truncated_blob_is_none() -> None:
    contents = blobs()[0].to_bytes()
    for size in range(len(contents)):
        with pytest.raises(BadBlob):
            Blob.from_bytes(contents[:size])
    with pytest.raises(BadBlob):
        Blob.from_bytes(contents + b"\0")


def loaded_or_refused(contents: bytes) -> bool:
    """Whether what may be damaged is refused. What is not can be loaded without harm, or names what is nowhere; it is not run."""
    try:
        blob = Blob.from_bytes(contents)
    except BadBlob:
        return True
    assert not blob.is_object or blob.code != blobs()[0].code
    if not blob.is_object:
        with contextlib.suppress(RuntimeError, MemoryError):
            load([blob], {})
    return False


def test_a_blob_with_a_bit_flipped_is_refused_or_loads_inside_of_itself() -> None:
    contents = blobs()[0].to_bytes()
    facts = len(contents) - len(blobs()[0].code) - len(blobs()[0].data)
    refused = 0
    for place in range(8 * facts):
        flipped = bytearray(contents)
        flipped[place // 8] ^= 1 << place % 8
        refused += loaded_or_refused(bytes(flipped))
    assert refused > 8 * facts // 3


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=20), st.integers(0, 600))
def test_a_blob_with_bytes_changed_is_refused_or_loads_inside_of_itself(changes: list[tuple[int, int]], within: int) -> None:
    contents = bytearray(blobs()[1].to_bytes())
    for place, value in changes:
        contents[place % (within + 1)] = value
    loaded_or_refused(bytes(contents))


@given(st.binary(max_size=300))
def test_any_bytes_are_no_blob(contents: bytes) -> None:
    assert loaded_or_refused(contents)
    assert loaded_or_refused(b"TJB1" + contents)


SMALL = Blob(b"\xc3" * 32, 16, b"d" * 16, 64, 8, {"f": Place(CODE, 0), "v": Place(DATA, 63)}, ())


def with_relocations(*relocations: Relocation) -> Blob:
    return SMALL._replace(relocations=relocations)


@pytest.mark.parametrize(
    "wrong",
    [
        with_relocations(Relocation(CODE, CODE, "", 25, 0)),  # 8 bytes, the last outside
        with_relocations(Relocation(DATA, CODE, "", 9, 0)),  # behind what the data begins with
        with_relocations(Relocation(CODE, CODE, "", 0, 33)),
        with_relocations(Relocation(CODE, DATA, "", 0, 65)),
        with_relocations(Relocation(CODE, CODE, "", 0, -1)),
        with_relocations(Relocation(CODE, CODE, "", 0, 0), Relocation(CODE, CODE, "", 7, 0)),  # they overlap
        with_relocations(Relocation(CODE, CODE, "", 8, 0), Relocation(CODE, CODE, "", 0, 0)),
        with_relocations(Relocation(ELSEWHERE, CODE, "", 0, 0)),
        with_relocations(Relocation(CODE, 3, "", 0, 0)),
        with_relocations(Relocation(CODE, ELSEWHERE, "", 0, 0)),
        SMALL._replace(exports={}),
        SMALL._replace(exports={"f": Place(CODE, 32)}),
        SMALL._replace(exports={"f": Place(DATA, 64)}),
        SMALL._replace(exports={"f": Place(ELSEWHERE, 0)}),
        SMALL._replace(exports={"": Place(CODE, 0)}),
        SMALL._replace(data_size=15),
        SMALL._replace(data_size=1 << 40),
        SMALL._replace(alignment=1 << 13),
        SMALL._replace(data_alignment=1 << 200),
        SMALL._replace(is_object=True),
    ],
)
def test_what_would_be_outside_is_refused(wrong: Blob) -> None:
    good = with_relocations(
        Relocation(CODE, DATA, "", 0, 64), Relocation(CODE, ELSEWHERE, "g", 24, -5), Relocation(DATA, CODE, "", 8, 32)
    )
    assert Blob.from_bytes(good.to_bytes()) == good
    with pytest.raises(BadBlob):
        Blob.from_bytes(wrong.to_bytes())


# -- objects that are damaged, or of another kind


def test_what_is_no_object_of_x86_64_is_unread() -> None:
    contents = elf_object()
    assert isinstance(elf.Object(contents).blob(["f"]), Blob)
    for wrong in (
        b"",
        contents[:63],
        b"\xcf\xfa\xed\xfe" + contents[4:],
        contents[:18] + struct.pack("<H", 183) + contents[20:],
    ):
        with pytest.raises(elf.Unread):
            elf.Object(wrong)


def test_a_damaged_object_is_unread_or_gives_a_blob_that_is_none() -> None:
    """An object comes from LLVM and is not untrusted. Yet nothing but these errors comes of one that is damaged."""
    contents, draw = elf_object(), random.Random(5)
    unread = 0
    for _ in range(3000):
        changed = bytearray(contents)
        for _ in range(draw.randrange(1, 4)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        try:
            Blob.from_bytes(elf.Object(bytes(changed)).blob(["f"]).to_bytes())
        except (elf.Unread, BadBlob, RuntimeError):
            unread += 1
    assert unread > 100


@functools.cache
def elf_object() -> bytes:
    from tracejit.llvm.machine.codegen import objects_of

    text = "@v = global i32 3\ndeclare i32 @g(ptr)\ndefine i32 @f() nounwind {\n  %y = call i32 @g(ptr @v)\n  ret i32 %y\n}\n"
    (code,) = objects_of([text], 2, 1)
    return code


# -- loaded


def test_what_is_nowhere_is_an_error_and_what_is_given_is_found() -> None:
    text = "define i32 @k() nounwind {\n  %y = call i32 @tracejit_nowhere()\n  ret i32 %y\n}"
    (blob,) = compile_units([Unit(("k",), text, frozenset(["declare i32 @tracejit_nowhere()"]))])
    with pytest.raises(RuntimeError, match="tracejit_nowhere"):
        load([blob], {})
    back = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 5)
    addresses, _library = load([blob], {"tracejit_nowhere": ctypes.cast(back, ctypes.c_void_p).value or 0})
    assert ctypes.CFUNCTYPE(ctypes.c_int)(addresses["k"])() == 5
    with pytest.raises(ValueError, match="two blobs"):
        load([blob, blob], {})
    assert load([], {})[0] == {}


def test_blobs_find_each_other() -> None:
    texts = [
        "define i64 @even(i64 %n) nounwind {\n  %z = icmp eq i64 %n, 0\n  br i1 %z, label %yes, label %more\nyes:\n  ret i64 1\n"
        "more:\n  %m = sub i64 %n, 1\n  %r = call i64 @odd(i64 %m)\n  ret i64 %r\n}",
        "define i64 @odd(i64 %n) nounwind {\n  %z = icmp eq i64 %n, 0\n  br i1 %z, label %no, label %more\nno:\n  ret i64 0\n"
        "more:\n  %m = sub i64 %n, 1\n  %r = call i64 @even(i64 %m)\n  ret i64 %r\n}",
    ]
    given = [
        Unit(("even",), texts[0], frozenset(["declare i64 @odd(i64)"])),
        Unit(("odd",), texts[1], frozenset(["declare i64 @even(i64)"])),
    ]
    apart = [compile_units([each])[0] for each in given]
    addresses, _library = load(apart, {"even": 0, "odd": 0})
    even = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(addresses["even"])
    assert [even(n) for n in range(4)] == [1, 0, 1, 0]


def mappings() -> int:
    with open("/proc/self/maps", encoding="ascii") as file:
        return len(file.readlines())


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def use(given: Sequence[Blob]) -> None:
    addresses, library = load(given, {})
    assert called(addresses, "k0", ctypes.c_double, ctypes.c_double)(1.0) == math.sin(1.5)
    del library


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux how much memory there is")
def test_memory_goes_with_its_last_user() -> None:
    kept, cycle = blobs(), []
    for _ in range(100):
        use(kept)
    before = mappings(), resident()
    for _ in range(3000):
        use(kept)
        cycle[:] = [load(kept[:1], {})[1], cycle]  # goes with a garbage collection
        cycle = [cycle]
        if len(gc.get_objects(0)) > 500:
            cycle = []
    cycle = []
    gc.collect()
    assert mappings() <= before[0] + 5
    assert resident() < before[1] + (2 << 20)
    with pytest.raises(RuntimeError):
        for _ in range(100):
            load(
                [
                    *kept,
                    compile_units(
                        [
                            Unit(
                                ("none",),
                                "define i32 @none() {\n  %x = call i32 @tracejit_nowhere()\n  ret i32 %x\n}",
                                frozenset(["declare i32 @tracejit_nowhere()"]),
                            )
                        ]
                    )[0],
                ],
                {},
            )
    gc.collect()
    assert mappings() <= before[0] + 5


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux how much memory there is")
def test_memory_of_what_llvm_links_goes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "is_known", lambda: False)
    objects = compile_units([unit(0)])
    monkeypatch.undo()
    for _ in range(50):
        use(objects)
    gc.collect()
    time.sleep(0.2)
    before = resident()
    for _ in range(300):
        use(objects)
    gc.collect()
    time.sleep(0.2)
    use(objects)  # which closes what is left
    assert resident() < before + (1 << 20)


def test_code_cannot_be_written_to_and_data_cannot_be_run() -> None:
    addresses, _library = load(blobs()[:1], {})
    with open("/proc/self/maps", encoding="ascii") as file:
        lines = [line.split() for line in file]

    def rights(address: int) -> str:
        for line in lines:
            first, last = (int(end, 16) for end in line[0].split("-"))
            if first <= address < last:
                return line[1]
        raise AssertionError("not mapped")

    assert (rights(addresses["k0"]), rights(addresses["last0"])) == ("r-xp", "rw-p")


def test_where_code_may_not_be_made_to_run_it_is_said() -> None:
    """Linux can be told so: PR_SET_MDWE."""
    program = """
    import ctypes
    from tracejit.llvm.machine.loader import load
    from tracejit.llvm.machine.units import Unit, compile_units
    blobs = compile_units([Unit(("k",), "define i32 @k() nounwind {\\n  ret i32 3\\n}")])
    if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) != 0:
        print("right")  # an older Linux
    else:
        try:
            load(blobs, {})
        except RuntimeError as error:
            print("right" if "may not run the code that it has made" in str(error) else error)
    """
    run_right(program)


def run_right(program: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "right", "")


# -- processes and interrupts

LONG = """
import os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of a fork beside threads: it is what is tested
from tracejit.llvm.machine.loader import load
from tracejit.llvm.machine.units import Unit, compile_units

def long(name, lines=2000):
    body = "\\n".join(f"  %v{n + 1} = call double @llvm.fma.f64(double %v{n}, double %x, double %v{n})" for n in range(lines))
    text = f"define double @{name}(double %v0, double %x) nounwind {{\\n{body}\\n  ret double %v{lines}\\n}}\\n"
    return Unit((name,), text, frozenset(["declare double @llvm.fma.f64(double, double, double)"]))

UNITS = [long(f"f{number}") for number in range(8)]
compile_units([long("first", 10)])
"""


@pytest.mark.slow
def test_a_fork_waits_for_who_compiles_and_the_child_can_compile() -> None:
    run_right(
        LONG
        + """
ended = []
thread = threading.Thread(target=lambda: ended.append(compile_units(UNITS, threads=3)))
thread.start()
wrong = 0
for delay in (0.0, 0.01, 0.05, 0.1):
    time.sleep(delay)
    child = os.fork()
    if not child:
        signal.alarm(60)
        os._exit(0 if len(compile_units(UNITS[:2], threads=2)) == 2 else 1)
    wrong += os.waitpid(child, 0)[1]
thread.join()
print("right" if wrong == 0 and len(ended[0]) == 8 else "wrong")
"""
    )


def test_an_interrupt_ends_the_waiting_and_what_is_left_is_not_compiled() -> None:
    run_right(
        LONG
        + """
expected = compile_units(UNITS[:2], threads=2)
many = [long(f"g{number}", 4000) for number in range(8)]
start = time.process_time()
threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
begun = time.monotonic()
try:
    compile_units(many, threads=2)
    print("not interrupted")
except KeyboardInterrupt:
    waited = time.monotonic() - begun
    again = compile_units(UNITS[:2], threads=2)
    taken = time.process_time() - start
    compile_units(many, threads=2)
    whole = time.process_time() - start - taken
    print("right" if again == expected and waited < 1 and taken < whole else (waited, taken, whole))
"""
    )


@pytest.mark.slow
def test_the_process_ends_while_threads_compile() -> None:
    for delay in (0.0, 0.05):
        run_right(
            LONG
            + f"""
for _ in range(2):
    threading.Thread(target=lambda: [compile_units(UNITS, threads=2) for _ in range(100)], daemon=True).start()
time.sleep({delay})
print("right")
"""
        )
