"""What a traced function learns from its calls: how the next such call is found without the general path."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from typing import Any

from tracejit.context import context
from tracejit.llvm.machine.native_subset.language import offset_of
from tracejit.locks import Lock
from tracejit.runtime.entry import Entry
from tracejit.runtime.native import loader as native
from tracejit.runtime.native.records import Program, Record, link
from tracejit.runtime.native.structures import INSTANCES, FunctionObject
from tracejit.tracing.callshape import MOST_SHAPES, CallShape, Undescribable, call_shape
from tracejit.tracing.guards import changed
from tracejit.tracing.signature import Parameters
from tracejit.tracing.watches import Unwatchable, watches

# Slots of a function's object.
_RECORDS, _METHODS = (offset_of(FunctionObject, field) // 8 for field in ("records", "methods"))


class NativeCalls:
    """The records of one function, in its native object."""

    def __init__(self, is_method: bool):
        self._is_method = is_method
        self._records: list[Record] = []
        self._is_led_to = True
        self._lock = Lock()
        self._remembered: dict[int, weakref.ref[Any]] = {}

    def learn(self, function: Any, entry: Entry, parameters: Parameters, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Note how `entry` was called, after a call that the dispatcher left to Python."""
        if context.tapes or entry.only_general or entry.forgotten:
            return
        try:
            with self._lock:
                self._learn(function, entry, call_shape(parameters, args, kwargs))
        except _Changing:
            return
        except (Undescribable, Unwatchable) as reason:
            entry.only_general = str(reason)

    def _learn(self, function: Any, entry: Entry, shape: CallShape) -> None:
        if entry.program is None:
            entry.program = _program(entry)
        elif entry.program.stale:
            entry.program.watch(_watches(entry))
        elif not entry.program.has_frame:
            entry.program.add_frame()
        known = {(id(record.program), record.shape.form) for record in self._records}
        if (id(entry.program), shape.form) not in known and len(known) < MOST_SHAPES:
            self._keep([Record(entry.program, shape, entry.traced), *self._records], function)
        elif not self._is_led_to:
            self._lead_to(function)

    def forget(self, function: Any, entry: Entry) -> None:
        """Let go of the records of a trace that is not looked at any more."""
        with self._lock:
            self._keep([record for record in self._records if record.program is not entry.program], function)

    def _keep(self, records: list[Record], function: Any) -> None:
        self._is_led_to = False
        _slots_of(function)[_RECORDS] = 0
        before, self._records = self._records, records
        self._lead_to(function)
        del before  # now that nothing leads there any more

    def _lead_to(self, function: Any) -> None:
        """Let calls find the records. Where an interrupt or a fork comes before the end, the next call noted does so."""
        _slots_of(function)[_RECORDS] = link(self._records)
        if self._records:
            native.dispatch(function, self._is_method)
        self._is_led_to = True

    def remember(self, function: Any, instance: Any, method: Any) -> None:
        """Let `function.__get__` find the method of `instance` by itself, for as long as the instance lives."""
        slots = _slots_of(function)
        address = id(instance)
        place = (address >> 4) % INSTANCES
        first = _METHODS + 2 * place

        def forget(_: Any) -> None:
            if slots[first] == address:
                slots[first] = 0

        slots[first : first + 2] = address, id(method)
        self._remembered[place] = weakref.ref(instance, forget)


def _slots_of(function: Any) -> Any:
    return (ctypes.c_int64 * (_METHODS + 2 * INSTANCES)).from_address(id(function))


class _Changing(Exception):
    """What a trace captured changed while it was written down."""


def _watches(entry: Entry) -> Any:
    found = watches(entry.guards)
    if changed(entry.guards) is not None:
        raise _Changing
    return found


def _program(entry: Entry) -> Program:
    if entry.only:
        raise Undescribable("a variable is an argument, and captured as well where it is not called")
    return Program(entry.step, entry.traced, _watches(entry), entry.step.fail)
