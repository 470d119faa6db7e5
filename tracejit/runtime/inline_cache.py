"""The inline cache of a traced function: how a call like one before is found without the general path."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from typing import Any

from tracejit.context import context
from tracejit.llvm.machine.native_subset.language import offset_of
from tracejit.locks import Lock
from tracejit.runtime.concrete_function import ConcreteFunction
from tracejit.runtime.native import loader as native
from tracejit.runtime.native.cache_entries import CacheEntry, Program, link
from tracejit.runtime.native.structures import INSTANCES, FunctionObject
from tracejit.tracing.callshape import MOST_SHAPES, CallShape, Undescribable, call_shape
from tracejit.tracing.guard_checks import Uncheckable, guard_checks
from tracejit.tracing.guards import changed
from tracejit.tracing.signature import Parameters

# Slots of a function's object.
_ENTRIES, _METHODS = (offset_of(FunctionObject, field) // 8 for field in ("entries", "methods"))


class InlineCache:
    """The entries of one function, in its native object."""

    def __init__(self, is_method: bool):
        self._is_method = is_method
        self._entries: list[CacheEntry] = []
        self._is_led_to = True
        self._lock = Lock()
        self._remembered: dict[int, weakref.ref[Any]] = {}

    def populate(
        self, function: Any, concrete: ConcreteFunction, parameters: Parameters, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> None:
        """Note how `concrete` was called, after a call that the dispatcher left to Python."""
        if context.tapes or concrete.only_general or concrete.forgotten:
            return
        try:
            with self._lock:
                self._populate(function, concrete, call_shape(parameters, args, kwargs))
        except _Changing:
            return
        except (Undescribable, Uncheckable) as reason:
            concrete.only_general = str(reason)

    def _populate(self, function: Any, concrete: ConcreteFunction, shape: CallShape) -> None:
        if concrete.program is None:
            concrete.program = _program(concrete)
        elif concrete.program.stale:
            concrete.program.set_checks(_checks(concrete))
        elif not concrete.program.has_frame:
            concrete.program.add_frame()
        known = {(id(entry.program), entry.shape.form) for entry in self._entries}
        if (id(concrete.program), shape.form) not in known and len(known) < MOST_SHAPES:
            self._keep([CacheEntry(concrete.program, shape, concrete.traced), *self._entries], function)
        elif not self._is_led_to:
            self._lead_to(function)

    def forget(self, function: Any, concrete: ConcreteFunction) -> None:
        """Let go of the entries of a trace that is not looked at any more."""
        with self._lock:
            self._keep([entry for entry in self._entries if entry.program is not concrete.program], function)

    def _keep(self, entries: list[CacheEntry], function: Any) -> None:
        self._is_led_to = False
        _slots_of(function)[_ENTRIES] = 0
        before, self._entries = self._entries, entries
        self._lead_to(function)
        del before  # now that nothing leads there any more

    def _lead_to(self, function: Any) -> None:
        """Let calls find the entries. Where an interrupt or a fork comes before the end, the next call noted does so."""
        _slots_of(function)[_ENTRIES] = link(self._entries)
        if self._entries:
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


def _checks(concrete: ConcreteFunction) -> Any:
    found = guard_checks(concrete.guards)
    if changed(concrete.guards) is not None:
        raise _Changing
    return found


def _program(concrete: ConcreteFunction) -> Program:
    if concrete.only:
        raise Undescribable("a variable is an argument, and captured as well where it is not called")
    return Program(concrete.compiled, concrete.traced, _checks(concrete), concrete.compiled.fail)
