"""Layouts against NumPy's: every method of `Strided` addresses what NumPy's view does, and `reshape` is None where NumPy copies."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from graphs import Case, all_cases
from hypothesis import given
from hypothesis import strategies as st

from tracejit import ops
from tracejit.ir import make
from tracejit.ir.op import Alias
from tracejit.ir.strided import Strided, collapse, collapsed, contiguous_strides, in_memory_order
from tracejit.ir.types import TensorType, float32, int32
from tracejit.llvm.plan.views import Buffer, View
from tracejit.llvm.text.arrays import Array

SIZES = st.sampled_from([0, 1, 1, 2, 3, 4, 6])


class Pair(NamedTuple):
    """A layout and NumPy's view with the same history, of memory whose elements are their own numbers."""

    layout: Strided
    array: np.ndarray


def begin(shape: tuple[int, ...]) -> Pair:
    """A contiguous array that begins 5 elements behind the beginning of its memory."""
    memory = np.arange(5 + math.prod(shape), dtype=np.int32)
    return Pair(Strided(shape, contiguous_strides(shape), 5, int32), memory[5:].reshape(shape))


def transpose(draw: Callable, pair: Pair) -> Pair:
    order = draw(st.permutations(range(pair.array.ndim)))
    return Pair(pair.layout.transpose(order), pair.array.transpose(order))


def oriented(draw: Callable, pair: Pair) -> Pair:
    if pair.array.ndim < 2:
        return pair
    return Pair(pair.layout.oriented(True).oriented(False), pair.array.swapaxes(-1, -2))


def reverse(draw: Callable, pair: Pair) -> Pair:
    axes = [axis for axis in range(pair.array.ndim) if draw(st.booleans())]
    turned = tuple(slice(None, None, -1) if axis in axes else slice(None) for axis in range(pair.array.ndim))
    return Pair(pair.layout.reverse(axes), pair.array[(*turned, ...)])


def sliced(draw: Callable, pair: Pair) -> Pair:
    starts = [draw(st.integers(0, size)) for size in pair.array.shape]
    strides = [draw(st.integers(1, 3)) for _ in starts]
    taken = tuple(slice(start, None, stride) for start, stride in zip(starts, strides, strict=True))
    array = pair.array[(*taken, ...)]
    return Pair(pair.layout.slice(starts, array.shape, strides), array)


def broadcast(draw: Callable, pair: Pair) -> Pair:
    """New axes between the old ones, and those of size 1 repeated."""
    rank = min(pair.array.ndim + draw(st.integers(0, 2)), 6)
    axes = sorted(draw(st.permutations(range(rank)))[: pair.array.ndim])
    shape = [draw(st.integers(0, 3)) for _ in range(rank)]
    for axis, size in zip(axes, pair.array.shape, strict=True):
        shape[axis] = shape[axis] if size == 1 else size
    grown = pair.array[(*(slice(None) if axis in axes else None for axis in range(rank)), ...)]
    return Pair(pair.layout.broadcast(tuple(shape), axes), np.broadcast_to(grown, shape))


def reshape(draw: Callable, pair: Pair) -> Pair:
    """Another shape where NumPy gives a view; else there is none."""
    shape, left = [], pair.array.size
    for _ in range(draw(st.integers(0, 4))):
        shape.append(draw(st.sampled_from([each for each in range(1, left + 1) if left % each == 0] or [1])))
        left //= shape[-1]
    shape.append(left)
    layout, array = pair.layout.reshape(tuple(shape)), pair.array.reshape(shape)
    if array.size and not np.may_share_memory(array, pair.array):
        assert layout is None
        return pair
    assert layout is not None
    return Pair(layout, array)


@st.composite
def pairs(draw: Callable) -> Pair:
    """A random history of up to five views."""
    pair = begin(tuple(draw(st.lists(SIZES, max_size=4))))
    for view in draw(st.lists(st.sampled_from([transpose, oriented, reverse, sliced, broadcast, reshape]), max_size=5)):
        if pair.array.size <= 1000:
            pair = view(draw, pair)
    return pair


def elements(layout: Strided) -> list[int]:
    """The numbers of the elements of the memory that it addresses, in row-major order."""
    return [
        layout.offset + sum(place * stride for place, stride in zip(index, layout.strides, strict=True))
        for index in np.ndindex(*layout.shape)
    ]


@given(pairs())
def test_views_are_numpy_s(pair: Pair) -> None:
    layout, array = pair
    assert layout.shape == array.shape
    assert elements(layout) == array.reshape(-1).tolist()
    assert layout.nbytes == array.nbytes
    for size, stride, own in zip(array.shape, array.strides, layout.strides, strict=True):
        assert stride == own * 4 or size == 1 or not array.size


@given(pairs())
def test_contiguous_is_numpy_s(pair: Pair) -> None:
    assert pair.layout.contiguous == pair.array.flags.c_contiguous


@given(pairs())
def test_reshape_moves_nothing(pair: Pair) -> None:
    """To one axis, and to its own shape with axes of size 1."""
    layout, array = pair
    flat = layout.reshape((array.size,))
    assert (flat is None) == (array.size > 0 and not np.may_share_memory(array.reshape(-1), array))
    if flat is not None:
        assert elements(flat) == elements(layout)
    longer = layout.reshape((1, *array.shape, 1))
    assert longer is not None and elements(longer) == elements(layout)


@given(st.data())
def test_as_few_axes_as_possible(data: st.DataObject) -> None:
    """Of several layouts of one shape: the same elements together, no axis of size 1, no two that could be one."""
    first = data.draw(pairs())
    order = data.draw(st.permutations(range(first.array.ndim)))
    held = Strided(first.array.shape, contiguous_strides(first.array.shape), 0, int32)
    moved = begin(tuple(first.array.shape[axis] for axis in order)).layout.transpose(np.argsort(order).tolist())
    layouts = [first.layout, held, moved]
    found = collapsed(layouts)
    assert list(map(elements, found)) == list(map(elements, layouts))
    shape = found[0].shape
    assert 1 not in shape and all(each.shape == shape for each in found)
    for axis in range(len(shape) - 1):
        assert any(each.strides[axis] != shape[axis + 1] * each.strides[axis + 1] for each in found)
    assert collapse(first.array.shape, [each.strides for each in layouts]) == (shape, [each.strides for each in found])


@given(pairs(), st.data())
def test_in_memory_order(pair: Pair, data: st.DataObject) -> None:
    """The same pairs of elements, the first one's as they lie."""
    other = Strided(pair.array.shape, contiguous_strides(pair.array.shape), 0, int32)
    first, second = in_memory_order(pair.layout, other)
    assert first.shape == second.shape
    together = sorted(zip(elements(first), elements(second), strict=True))
    assert together == sorted(zip(elements(pair.layout), elements(other), strict=True))
    assert not pair.array.size or list(first.strides) == sorted(map(abs, first.strides), reverse=True)
    if len(set(elements(first))) == pair.array.size:
        assert elements(first) == sorted(elements(first))


@pytest.mark.parametrize("case", [case for case in all_cases() if isinstance(case.op.lower, Alias)], ids=str)
def test_an_alias_is_what_the_op_gives(case: Case) -> None:
    shape = case.arrays[0].shape
    node = make(case.op, make(ops.parameter, type=TensorType(shape, int32), name="x"), **case.attrs)
    layout, array = begin(shape)
    assert elements(case.op.lower.layout(layout, node)) == case.op.evaluate(array, **case.attrs).reshape(-1).tolist()


def test_what_was_found_by_hand() -> None:
    x = Strided((4, 6), (6, 1), 0, float32)
    assert x.transpose((1, 0)) == Strided((6, 4), (1, 6), 0, float32)
    assert x.reverse((1,)) == Strided((4, 6), (6, -1), 5, float32)
    assert x.slice((1, 2), (2, 2), (2, 3)) == Strided((2, 2), (12, 3), 8, float32)
    assert x.slice((4, 6), (0, 0), (1, 1)).offset == 0
    assert Strided((0, 3), (3, 1), 0, float32).reverse((0,)).offset == 0
    assert x.broadcast((4, 3, 6), (0, 2)).strides == (6, 0, 1)
    assert x.transpose((1, 0)).reshape((24,)) is None
    assert x.transpose((1, 0)).reshape((2, 3, 4)) == Strided((2, 3, 4), (3, 1, 6), 0, float32)
    assert x.reshape((24,)) == Strided((24,), (1,), 0, float32)


def test_a_view_stays_in_its_buffer_and_an_array_behind_its_pointer() -> None:
    buffer = Buffer("result", 0, 96)
    view = View.whole_of(buffer, TensorType((4, 6), float32))
    assert view.whole and view.transpose((1, 0)).buffer is buffer and not view.transpose((1, 0)).whole
    array = Array(view.shape, view.strides, 0, float32, "%p", nontemporal=True)
    assert array.slice((1, 0), (2, 6), (1, 1)) == Array((2, 6), (6, 1), 6, float32, "%p")
    assert array != view


def test_a_layout_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Strided((1,), (1,), 0, float32).offset = 1  # type: ignore[misc]
