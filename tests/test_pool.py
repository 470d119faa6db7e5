"""The threads that share a large kernel: how it is divided, that numbers do not depend on them, that they harm nobody."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from tracejit.ir.types import float32
from tracejit.llvm import engine
from tracejit.llvm.builder import Lanes
from tracejit.llvm.engine import Target
from tracejit.llvm.kernel import KernelBuilder

# -- what a kernel is divided with


def kernel_of(units: int, *, parallel: bool) -> KernelBuilder:
    """out[i] = i for each unit i that the call does; out[units] is their sum."""
    b = KernelBuilder('"k"', ["out"], Target(width=16, fma=False), parallel)

    def body(index: Lanes, carried: list[Lanes]) -> list[Lanes]:
        value = b.cast(index, float32)
        b.store_at(value, b.address("%out", float32, index=index))
        return [b.add(carried[0], value)]

    (total,) = b.loop_between(*b.span(units), body, [b.const(0, float32)])
    b.store_at(total, b.address("%out", float32, units))
    return b


@pytest.mark.parametrize(("first", "last"), [(0, 10), (3, 7), (9, 10), (4, 4), (5, 2)])
def test_a_divided_kernel_does_the_units_that_it_is_told(first: int, last: int) -> None:
    b = kernel_of(10, parallel=True)
    assert b.units == 10
    text = b.text().replace("define internal", "define") + "\nattributes #0 = { nounwind }"
    functions, _library = engine.load_object(engine.compile_text(text), ["k"], {})
    out = np.full(11, -1, np.float32)
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(functions["k"])
    assert call(out.ctypes.data, first, last) == 0
    done = range(first, last)
    assert out.tolist() == [i if i in done else -1 for i in range(10)] + [sum(done)]


@pytest.mark.parametrize(("units", "parallel"), [(10, False), (1, True), (0, True)])
def test_a_kernel_that_is_not_divided_is_as_it_was_without(units: int, parallel: bool) -> None:
    b = kernel_of(units, parallel=parallel)
    assert b.units is None
    assert "%first" not in b.text()
    plain = KernelBuilder('"k"', ["out"], Target(width=16, fma=False))

    def body(index: Lanes, carried: list[Lanes]) -> list[Lanes]:
        value = plain.cast(index, float32)
        plain.store_at(value, plain.address("%out", float32, index=index))
        return [plain.add(carried[0], value)]

    (total,) = plain.loop(units, body, [plain.const(0, float32)])
    plain.store_at(total, plain.address("%out", float32, units))
    assert b.text() == plain.text()


def test_a_kernel_is_divided_once() -> None:
    b = kernel_of(10, parallel=True)
    with pytest.raises(AssertionError, match="divided already"):
        b.span(10)
