"""Units compiled apart: what becomes of them is read back whole or not at all, and loaded code computes what it should."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable

import pytest

from tracejit.llvm.machine import elf
from tracejit.llvm.machine.blob import BadBlob, Blob
from tracejit.llvm.machine.loader import load
from tracejit.llvm.machine.units import Unit, compile_units


def unit(number: int) -> Unit:
    """`k{number}(x)` is sin(x + number + 0.5), which it also writes to `last{number}`."""
    text = f"""
define double @k{number}(double %x) nounwind {{
  %y = fadd double %x, {number}.5
  %z = call double @sin(double %y)
  store double %z, ptr @last{number}
  ret double %z
}}
@last{number} = global double 3.0
"""
    return Unit((f"k{number}", f"last{number}"), text, frozenset(["declare double @sin(double)"]))


def function(address: int) -> Callable[[float], float]:
    return ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(address)


def check(blobs: list[Blob], numbers: range) -> None:
    addresses, library = load(blobs, {})
    for number in numbers:
        last = ctypes.c_double.from_address(addresses[f"last{number}"])
        assert last.value == 3.0
        assert function(addresses[f"k{number}"])(1.0) == last.value == math.sin(1.5 + number)
    del library


def test_units_are_compiled_and_loaded() -> None:
    blobs = compile_units([unit(number) for number in range(5)])
    check([Blob.from_bytes(blob.to_bytes()) for blob in blobs], range(5))


def test_what_cannot_be_read_is_linked_by_llvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elf, "KNOWN", frozenset())
    blobs = compile_units([unit(number) for number in range(3)])
    assert all(blob.is_object for blob in blobs)
    monkeypatch.undo()
    check([*(Blob.from_bytes(blob.to_bytes()) for blob in blobs), *compile_units([unit(3)])], range(4))


def test_a_truncated_blob_is_none() -> None:
    contents = compile_units([unit(1)])[0].to_bytes()
    for size in range(len(contents)):
        with pytest.raises(BadBlob):
            Blob.from_bytes(contents[:size])


def test_what_is_nowhere_is_an_error() -> None:
    text = "define i32 @k() nounwind {\n  %y = call i32 @tracejit_nowhere()\n  ret i32 %y\n}"
    (blob,) = compile_units([Unit(("k",), text, frozenset(["declare i32 @tracejit_nowhere()"]))])
    with pytest.raises(RuntimeError, match="tracejit_nowhere"):
        load([blob], {})
    back = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 5)
    addresses, _library = load([blob], {"tracejit_nowhere": ctypes.cast(back, ctypes.c_void_p).value or 0})
    assert ctypes.CFUNCTYPE(ctypes.c_int)(addresses["k"])() == 5
    with pytest.raises(ValueError, match="two blobs"):
        load([blob, blob], {})
