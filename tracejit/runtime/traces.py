"""The traces of one function: which there are, which fits a call, which are no longer kept, and why each was made."""

from __future__ import annotations

import collections
import itertools
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from tracejit.locks import Lock
from tracejit.runtime.concrete_function import ConcreteFunction
from tracejit.tracing.signature import Parameters, describe_difference, differs

# A function that is traced this often for Python numbers or strings is told so, once.
_RETRACES_TOLD = 5
# The traces that are kept of one signature, for different captured values; what the cause of a new one ends with.
_KEPT = 8
_CHANGED = " has changed"
# The traces no longer kept of which something is still told.
_TOLD_OF = 50
# A thread waits so long for another that traces the same function, since it may find its trace there; not longer, since the
# other may be waiting for it. It traces on its own then.
_PATIENCE_SECONDS = 1.0


def _frames_to_user() -> int:
    """How far out the first frame is that is not tracejit's, as a stacklevel of the caller's warning."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "tracejit":
        frame, level = frame.f_back, level + 1
    return level


class Traces:
    """The traces of the function called `name`, by signature. `drop` is told of each that is no longer kept."""

    def __init__(self, name: str, parameters: Parameters, drop: Callable[[ConcreteFunction], None]):
        self.count = 0  # of all that were made
        self._name, self._parameters, self._drop = name, parameters, drop
        self._by_key: dict[Any, list[ConcreteFunction]] = {}
        self._dropped: collections.deque[tuple[int, str]] = collections.deque(maxlen=_TOLD_OF)
        self._causes: collections.deque[str] = collections.deque(maxlen=_RETRACES_TOLD)
        self._told = False
        self._lock, self._tracing = Lock(), Lock()

    @property
    def kept(self) -> list[ConcreteFunction]:
        """Those that are kept, by age."""
        return sorted(itertools.chain(*list(self._by_key.values())), key=lambda concrete: concrete.number)

    def find(self, key: Any, leaves: Sequence[Any]) -> ConcreteFunction | None:
        """The trace for a call with this signature, whose captured values are still what they were."""
        for concrete in self._by_key.get(key, ()):
            if concrete.fits(leaves) is None:
                return concrete
        return None

    def add(self, key: Any, leaves: Sequence[Any], make: Callable[[str], ConcreteFunction]) -> ConcreteFunction:
        """A new trace for a call: `make(cause)`; or the one that another thread has made meanwhile."""
        # No lock is held for longer while the user's code runs, which may wait for any thread.
        try:
            self._tracing.acquire(timeout=_PATIENCE_SECONDS)  # in here, since an interrupt may come before its result does
            concrete = self.find(key, leaves)
            if concrete is not None:
                return concrete
            count = self.count
            concrete = self._publish(make(self._cause(key, leaves)), leaves, count)
        finally:
            try:  # noqa: SIM105  # a call before the release could be interrupted
                self._tracing.release()
            except RuntimeError:
                pass  # another thread has it
        self._tell_of_retraces()
        return concrete

    def _publish(self, concrete: ConcreteFunction, leaves: Sequence[Any], count: int) -> ConcreteFunction:
        """`concrete` among the traces of the function; or one that does as well, where another thread has made it since there
        were `count`."""
        concretes = self._by_key.setdefault(concrete.key, [])
        with self._lock:
            for other in concretes:
                if other.number >= count and other.fits(leaves) is None:
                    return other
            concrete.number = self.count
            self.count += 1
            self._causes.append(concrete.cause)
            # A trace whose captured values have changed is not used again: the newest is looked at first.
            concretes.insert(0, concrete)
            for old in concretes[_KEPT:]:
                self._drop(old)
                old.forget()
                self._dropped.append((old.number, old.describe()))
            del concretes[_KEPT:]
        return concrete

    def _cause(self, key: Any, leaves: Sequence[Any]) -> str:
        """Why a call needs a new trace, in words."""
        kept = self.kept
        if not kept:
            return "first call"
        for concrete in self._by_key.get(key, ()):
            return f"{concrete.fits(leaves) or 'a captured value'}{_CHANGED}"
        nearest = min(kept, key=lambda concrete: sum(differs(a, b) for a, b in zip(concrete.key, key, strict=False)))
        return describe_difference(self._parameters, key, nearest.key)

    def _tell_of_retraces(self) -> None:
        causes = list(self._causes)[1:]
        if self._told or len(causes) < _RETRACES_TOLD - 1:
            return
        if all(": the " in cause for cause in causes):
            advice = "A Python number is a constant of the trace; pass it as a tensor, such as tj.constant(x), to trace once"
        elif all(cause.endswith(_CHANGED) for cause in causes):
            advice = "What a trace captured is a constant of it; keep what changes in a Variable, or pass it, to trace once"
        else:
            return
        self._told = True
        warnings.warn(
            f"{self._name} was traced {self.count} times, lately for {causes[-1]}. {advice}",
            stacklevel=_frames_to_user(),
        )

    def describe(self) -> list[str]:
        """A line on the function, and one on each trace of which something is known."""
        lines = [f"{self._name}: {self.count} trace{'' if self.count == 1 else 's'}"]
        known = dict(self._dropped) | {concrete.number: concrete.describe() for concrete in self.kept}
        if len(known) < self.count:
            lines.append(f"  {self.count - len(known)} of the oldest, dropped since")
        return lines + [f"  {number}: {known[number]}" for number in sorted(known)]
