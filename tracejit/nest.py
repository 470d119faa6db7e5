"""Structures: tuples, lists, dicts and namedtuples of leaves, flattened and packed again. Dicts go by sorted key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def _children(value: Any) -> list[Any] | None:
    """What `value` holds, in order; None for a leaf."""
    if isinstance(value, (tuple, list)):
        return list(value)
    if isinstance(value, dict):
        return [value[key] for key in sorted_keys(value)]
    return None


def sorted_keys(value: dict[Any, Any]) -> list[Any]:
    """The keys sorted; in the order of insertion where they cannot be compared."""
    try:
        return sorted(value)
    except TypeError:
        return list(value)


def flatten(value: Any) -> list[Any]:
    """The leaves of `value`, depth first; `[value]` for a leaf."""
    children = _children(value)
    if children is None:
        return [value]
    leaves: list[Any] = []
    for child in children:
        leaves.extend(flatten(child)) if isinstance(child, (tuple, list, dict)) else leaves.append(child)
    return leaves


def pack(structure: Any, leaves: Iterator[Any]) -> Any:
    """A structure like `structure` with its leaves taken from `leaves`."""
    if isinstance(structure, tuple):
        items = [pack(child, leaves) for child in structure]
        return type(structure)(*items) if hasattr(structure, "_fields") else tuple(items)
    if isinstance(structure, list):
        return [pack(child, leaves) for child in structure]
    if isinstance(structure, dict):
        packed = {key: pack(structure[key], leaves) for key in sorted_keys(structure)}
        return {key: packed[key] for key in structure}
    return next(leaves)


def same_structure(first: Any, second: Any) -> bool:
    """Whether the two differ in nothing but their leaves. A list may stand for a tuple."""
    children, others = _children(first), _children(second)
    if children is None or others is None:
        return children is others is None
    if isinstance(first, dict) is not isinstance(second, dict) or len(children) != len(others):
        return False
    if isinstance(first, dict) and sorted_keys(first) != sorted_keys(second):
        return False
    return all(map(same_structure, children, others))
