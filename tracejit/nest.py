"""Structures: tuples, lists, dicts and namedtuples of leaves, flattened and packed again. Dicts go by sorted key.

A container of a class of the user's is one as well, and is packed as one of that class; one that contains itself is a
ValueError.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tracejit.objects import is_a, items, pairs, type_name, with_items


class Leaf:
    """A tuple of this kind is one leaf."""

    __slots__: tuple[str, ...] = ()


def is_structure(value: Any) -> bool:
    """Whether `value` is no leaf."""
    kind = type(value)
    return issubclass(kind, (tuple, list, dict)) and not issubclass(kind, Leaf)


def sorted_pairs(value: dict[Any, Any]) -> list[tuple[Any, Any]]:
    """Keys and values by sorted key; in the order of insertion where keys cannot be compared."""
    content = pairs(value)
    try:
        return sorted(content, key=lambda pair: pair[0])
    except Exception:  # that of a key's own comparison too
        return content


def _children(value: Any) -> list[Any]:
    """What a structure holds, in order."""
    return [item for _, item in sorted_pairs(value)] if is_a(value, dict) else items(value)


def flatten(value: Any, what: str = "a structure") -> list[Any]:
    """The leaves of `value`, depth first; `[value]` for a leaf. ValueError, said of `what`, where it contains itself."""
    leaves: list[Any] = []
    try:
        _flatten(value, leaves)
    except RecursionError:
        check_finite(value, what)
        raise
    return leaves


def _flatten(value: Any, leaves: list[Any]) -> None:
    kind = type(value)
    if kind is list or kind is tuple:  # the commonest, and quickly told
        for child in value:
            _flatten(child, leaves)
    elif is_structure(value):
        for child in _children(value):
            _flatten(child, leaves)
    else:
        leaves.append(value)


def pack(structure: Any, leaves: Iterator[Any]) -> Any:
    """A structure like `structure` with its leaves taken from `leaves`."""
    if not is_structure(structure):
        return next(leaves)
    if is_a(structure, dict):
        packed = {key: pack(item, leaves) for key, item in sorted_pairs(structure)}
        return with_items(structure, [(key, packed[key]) for key, _ in pairs(structure)])
    return with_items(structure, [pack(child, leaves) for child in items(structure)])


def same_structure(first: Any, second: Any) -> bool:
    """Whether the two differ in nothing but their leaves. A list may stand for a tuple."""
    if not (is_structure(first) and is_structure(second)):
        return is_structure(first) is is_structure(second)
    if is_a(first, dict) is not is_a(second, dict):
        return False
    if is_a(first, dict) and [key for key, _ in sorted_pairs(first)] != [key for key, _ in sorted_pairs(second)]:
        return False
    children, others = _children(first), _children(second)
    return len(children) == len(others) and all(map(same_structure, children, others))


def check_finite(structure: Any, what: str = "a structure") -> None:
    """ValueError, which says it of `what`, where a container contains itself."""
    pending: list[tuple[Any, tuple[int, ...]]] = [(structure, ())]
    while pending:
        value, above = pending.pop()
        if id(value) in above:
            raise ValueError(f"{what} has a {type_name(value)} that contains itself")
        if is_structure(value):
            pending.extend([(child, (*above, id(value))) for child in _children(value)])


def containers(value: Any) -> list[tuple[Any, list[Any]]]:
    """Every container of a structure, with what it holds now."""
    if not is_structure(value):
        return []
    content = [(value, _content(value))]
    for child in _children(value):
        content += containers(child)
    return content


def are_unchanged(before: list[tuple[Any, list[Any]]]) -> bool:
    """Whether containers hold the very objects that `containers` found in them."""
    for container, content in before:
        now = _content(container)
        if len(now) != len(content) or any(one is not other for one, other in zip(now, content, strict=True)):
            return False
    return True


def _content(value: Any) -> list[Any]:
    return [each for pair in pairs(value) for each in pair] if is_a(value, dict) else items(value)
