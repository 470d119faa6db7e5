"""Every place in the code at which an interrupt can come, and an interrupt at one of them: where a timer hits seldom."""

from __future__ import annotations

import dis
import functools
import random
import sys
from collections import Counter
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

# Where CPython looks whether there is a signal: as a function begins, when a call of one that is not Python's has come back,
# and as a loop goes round.
_LOOKS = {dis.opmap[name] for name in ("RESUME", "JUMP_BACKWARD", "CALL", "CALL_KW", "CALL_FUNCTION_EX") if name in dis.opmap}
_LOOKED_AT = ("/tracejit/", "/llvmlite/", "/weakref.py")

Moment = tuple[str, str, int, int]


@functools.cache
def _is_looked_at(code: CodeType) -> bool:
    return any(part in code.co_filename for part in _LOOKED_AT) and "/tests/" not in code.co_filename


@functools.cache
def _bytes(code: CodeType) -> bytes:
    return code.co_code


class _Tracer:
    """Counts the moments that come, and ends what runs at one of them where it comes for the `nth` time."""

    def __init__(self, end_at: Moment | None, nth: int):
        self.seen: Counter[Moment] = Counter()
        self.ended = False
        self._end_at, self._nth = end_at, nth
        self._returned = False
        self.last: dict[FrameType, int] = {}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_lines = False
        frame.f_trace_opcodes = _is_looked_at(frame.f_code)
        return self._local

    def _local(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "return":
            self._returned = True
            self.last.pop(frame, None)
        elif event == "exception":
            self._returned = True  # a call that raises looks for no signal
        elif event == "opcode":
            last, self.last[frame] = self.last.get(frame), frame.f_lasti
            returned, self._returned = self._returned, False
            code = frame.f_code
            if last is not None and not returned and _bytes(code)[last] in _LOOKS:
                moment = (code.co_filename, code.co_qualname, code.co_firstlineno, frame.f_lasti)
                self.seen[moment] += 1
                if moment == self._end_at and self.seen[moment] == self._nth:
                    self.ended = True
                    raise KeyboardInterrupt
        return self._local


def moments(body: Callable[[], Any]) -> Counter[Moment]:
    """How often which moment comes while `body` runs."""
    tracer = _Tracer(None, 0)
    _run(body, tracer)
    return tracer.seen


def interrupted(body: Callable[[], Any], known: Counter[Moment], rng: random.Random) -> str:
    """Where `body` was interrupted: at one of the `known` moments, each as likely; "" where it did not come to that."""
    moment = rng.choice(sorted(known))
    file, name, first, offset = moment
    place = f"{file.rpartition('/')[2]}:{name} (line {first}, offset {offset})"
    return place if interrupted_at(body, moment, rng.choice((1, 1, rng.randint(1, known[moment])))) else ""


def interrupted_at(body: Callable[[], Any], moment: Moment, nth: int = 1) -> bool:
    """Whether `body` was interrupted at a moment, as it came for the `nth` time."""
    tracer = _Tracer(moment, nth)
    _run(body, tracer)
    return tracer.ended


def _run(body: Callable[[], Any], tracer: _Tracer) -> None:
    sys._getframe().f_trace_opcodes = True  # Python 3.12 asks no tracer for them else
    sys.settrace(tracer)
    try:
        body()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
        tracer.last.clear()  # frames keep alive what they hold
