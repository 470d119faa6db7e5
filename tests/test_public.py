"""What users see: the names of the public modules, each with a description."""

from __future__ import annotations

import inspect
import types

import pytest

import tracejit as tj

MODULES = [tj, *(value for name in tj.__all__ if isinstance(value := getattr(tj, name), types.ModuleType))]
NAMES = [(module, name) for module in MODULES for name in module.__all__]


def test_the_public_modules():
    found = {module.__name__.rpartition(".")[2] for module in MODULES}
    assert found == {"tracejit", "bitwise", "config", "errors", "inspect", "ir", "linalg", "math", "nn", "random"}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_dir_is_what_is_public(module):
    assert {name for name in dir(module) if not (name.startswith("__") and name.endswith("__"))} == set(module.__all__)
    assert len(module.__all__) == len(set(module.__all__))
    assert not any(name.startswith("_") for name in module.__all__)


@pytest.mark.parametrize(("module", "name"), NAMES, ids=[f"{module.__name__}.{name}" for module, name in NAMES])
def test_a_public_name_is_there_and_says_what_it_is(module, name):
    value = getattr(module, name)
    if value is not None:  # newaxis
        assert (inspect.getdoc(value) or "").strip()
    if inspect.isfunction(value) or inspect.isclass(value):
        assert value.__module__.startswith("tracejit"), "it is another library's"


@pytest.mark.parametrize("name", ["os", "annotations", "builtins", "np", "Any"])
def test_what_a_module_needs_itself_is_no_name_of_tracejit(name):
    assert not hasattr(tj, name)


def test_a_star_gives_the_public_names():
    names: dict[str, object] = {}
    exec("from tracejit import *", names)
    assert set(names) - {"__builtins__"} == set(tj.__all__)
