"""What is current: the trace that is being made and the tapes that record, in `context`, one a thread.

Tensors and variables, of which tapes and traces are made, ask here; what they ask is said by the two protocols.
"""

from __future__ import annotations

import contextvars
import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np


class RecordingTape(Protocol):
    """A tape as those see it whom it records. Its handle of a value is the tensor, while tracing the tensor's node."""

    # Held while the tape's `with` block runs; and the key of the tape among `interpreting`.
    block: Any
    entry: object
    # The handles that `watch` was told, by their ids.
    watched: dict[int, Any]

    def record(self, op: Any, operands: Sequence[Any], attrs: Mapping[str, Any], results: Sequence[Any]) -> None:
        """Note that `op` was applied; operands and results are handles."""

    def note_read(self, variable: Any, tensor: Any) -> None:
        """Note that `variable` was read as `tensor`."""

    def follow(self, handles: Mapping[int, Any]) -> None:
        """Record what is computed of `handles` as well, which a tape around this one watches."""


class OpenTrace(Protocol):
    """A trace in the making, as eager mode sees it. Its nodes are those of the graph that it becomes."""

    def node(self, tensor: Any) -> Any:
        """The node of a tensor."""

    def tensor(self, node: Any) -> Any:
        """A traced tensor of a node."""

    def constant(self, array: np.ndarray, original: Any) -> Any:
        """A traced tensor of `array`, made of the user's `original`."""

    def apply(self, op: Any, operands: Sequence[Any], attrs: dict[str, Any]) -> Any:
        """What `op` gives on tensors."""

    def read(self, variable: Any) -> Any:
        """The value of a variable."""

    def assign(self, variable: Any, tensor: Any) -> None:
        """Note the new value of a variable."""

    def created(self, variable: Any, value: Any) -> Any:
        """The initial value of a new variable, as a tensor with a value."""

    def custom_gradient(self, outputs: Sequence[Any], operands: Sequence[Any], backward: Callable[..., list[Any]]) -> list[Any]:
        """`outputs` with a rule of the user's."""

    def differentiate(self, entries: Any, targets: Sequence[Any], seeds: Sequence[Any], sources: Sequence[Any]) -> list[Any]:
        """The cotangents of the nodes `sources`, derived now."""


def quiet_context() -> contextvars.Context:
    """A context in which NumPy does not warn of overflow and division by zero, as TensorFlow does not. To run a
    function in it costs a sixth of np.errstate."""
    context = contextvars.copy_context()
    context.run(np.seterr, all="ignore")
    return context


class _Context(threading.local):
    def __init__(self) -> None:
        self.trace: OpenTrace | None = None
        self.tapes: tuple[RecordingTape, ...] = ()
        self.quiet = quiet_context()


context = _Context()


def quietly(function: Callable[..., Any], *args: Any) -> Any:
    """What `function` gives in the quiet context. That cannot be entered twice: what a signal handler or a finalizer runs in
    the middle of an op has one of its own."""
    before = context.quiet
    if not is_entered(before):
        return before.run(function, *args)
    context.quiet = quiet_context()
    try:
        return context.quiet.run(function, *args)
    finally:
        context.quiet = before


def is_entered(quiet: contextvars.Context) -> bool:
    """Whether something runs in a quiet context now."""
    try:
        quiet.run(int)
    except RuntimeError:
        return True
    return False


# What makes functions run as Python, in any thread: an entry for each tape that records, with the lock that its block holds,
# for each trace in the making, and for the switch. While the number of entries is not 0, no call is native. The two change
# together, with no call between: CPython looks at signals and lets other threads run at calls and jumps only.
interpreting: dict[Any, Any] = {}
interpreted = ctypes.c_int64(0)


def settle() -> None:
    """Let go of the tapes whose block has been left. The entries go last: while there is one, it is tried again."""
    if context.tapes:
        context.tapes = tuple([tape for tape in context.tapes if tape.block.locked()])
    for entry, block in list(interpreting.items()):
        if block is not None and not block.locked() and entry in interpreting:
            del interpreting[entry]
            interpreted.value = interpreted.value - 1
