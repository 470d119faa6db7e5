"""The two ways to end a loop over vectors, run by a builder that counts instead of writing."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tracejit.llvm.kernels.tails import masked_loop, overlapped_loop


class Counting:
    """Of a builder what tails need, on Python's numbers."""

    def const(self, value: int, dtype: Any) -> int:
        return value

    def compare(self, predicate: str, x: int, y: int) -> bool:
        assert predicate == "lt"
        return x < y

    def select(self, condition: bool, x: int, y: int) -> int:
        return x if condition else y

    def loop(self, count: int, body: Any, *, step: int) -> None:
        for index in range(0, count, step):
            body(index, [])


@given(st.integers(1, 40), st.integers(0, 200))
def test_overlapped_vectors_stay_inside_and_leave_nothing_out(step: int, more: int) -> None:
    count, starts = step + more, []
    overlapped_loop(Counting(), count, step, starts.append)  # type: ignore[arg-type]
    done = Counter(element for first in starts for element in range(first, first + step))
    assert sorted(done) == list(range(count))
    assert len(starts) == -(-count // step) and max(done.values()) <= 2


@given(st.integers(1, 40), st.integers(0, 200))
def test_masked_vectors_do_each_element_once(lanes: int, count: int) -> None:
    done: list[int] = []

    def vector(first: int, ahead: int, active: int | None) -> None:
        assert active is None or 0 < active < lanes
        done.extend(range(first + ahead, first + ahead + (lanes if active is None else active)))

    masked_loop(Counting(), count, lanes, vector)  # type: ignore[arg-type]
    assert done == list(range(count))
