"""Machines other than the one that the tests run on. Found by its name through pytest's `pythonpath`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tracejit.llvm.machine.host import host_target
from tracejit.llvm.machine.loader import Library, load
from tracejit.llvm.machine.units import Unit, compile_units
from tracejit.llvm.target import Target
from tracejit.runtime import compiled_function, concrete_function


def fits_host(target: Target) -> bool:
    """Whether this processor can stand in for the machine of `target`."""
    host, machine = host_target().machine, target.machine
    return machine.width <= host.width and machine.fma <= host.fma and machine.float16 <= host.float16


def use_target(monkeypatch: pytest.MonkeyPatch, target: Target) -> None:
    """Let graphs and functions be compiled for `target`."""
    for module in (compiled_function, concrete_function):
        monkeypatch.setattr(module, "host_target", lambda: target)


def change_machine(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """Let them be compiled for this machine, but for these fields."""
    use_target(monkeypatch, Target(host_target().machine._replace(**fields)))


def compiled_text(
    text: str, exports: Sequence[str], symbols: Mapping[str, int] | None = None
) -> tuple[dict[str, int], Library]:
    """What a module's text exports, compiled and loaded: the addresses, and what has to live as long."""
    return load(compile_units([Unit(tuple(exports), text)]), symbols or {})
