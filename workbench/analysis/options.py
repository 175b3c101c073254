"""Options of an analysis, as words or values: names and types checked once, before anything is computed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from workbench.config import UsageError, is_number, nearest, shown

TOLD = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", NoneType: "none"}
"""Types as an error line names them."""
LISTS = {float: "[0.2,1.0]", int: "[1,3,5]", str: "[fog,snow]"}
"""A list of each type, as one would write it."""


def complete(compute: Callable[..., Any], name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All options of the analysis, the defaults filled in, so that `bins=15` and nothing are one cache entry."""
    known = {
        p.name: p.default
        for p in inspect.signature(compute).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.name != "name"
    }
    for key in given:
        if not known:
            raise UsageError(f"{name} has no options, got {key!r}; leave it out")
        if key not in known:
            raise UsageError(f"{name} has no option {key!r}{nearest(key, known)}")
    kinds = get_type_hints(compute)
    return known | {key: _fitting(f"{name}: {key}", plain(value), kinds[key]) for key, value in given.items()}


def plain(value: Any) -> Any:
    """Python's own numbers and lists in place of NumPy's and PyTorch's; anything else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def _fitting(what: str, value: Any, kind: Any) -> Any:
    """The value of an option, held to its annotation; one alone, or several with commas, stand for a list."""
    wanted = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    for one in wanted:
        if get_origin(one) is Sequence:
            (inner,) = get_args(one)
            items = _listed(value, inner)
            if all(_is(item, inner) for item in items):
                return value if isinstance(value, tuple) else items
        elif _is(value, one):
            return value
    raise UsageError(f"{what} must be {' or '.join(map(_told, wanted))}, got {shown(value)}{_hint(value, wanted)}")


def _listed(value: Any, inner: Any) -> list[Any]:
    """The items of a list, also of one that was written `0.2,1.0`, and of a single value."""
    if isinstance(value, str):
        return [_read(word.strip(), inner) for word in value.split(",")]
    return [plain(item) for item in value] if isinstance(value, Sequence) else [value]


def _read(word: str, inner: Any) -> Any:
    """A word as a number where one is wanted, and it is one."""
    try:
        return inner(word) if inner in (int, float) else word
    except ValueError:
        return word


def _told(kind: Any) -> str:
    """A type as an error line names it."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(repr, get_args(kind)))}"
    if get_origin(kind) is Sequence:
        inner = get_args(kind)[0]
        return f"a list of {TOLD[inner].removeprefix('a ')}s, such as {LISTS[inner]}"
    return TOLD.get(kind, str(kind))


def _hint(value: Any, wanted: Sequence[Any]) -> str:
    """The nearest of the choices, where there are some; they are listed already."""
    choices = [choice for kind in wanted if get_origin(kind) is Literal for choice in get_args(kind)]
    return nearest(str(value), choices).partition(" (known")[0] if choices else ""


def _is(value: Any, kind: Any) -> bool:
    if kind in (Any, None, NoneType):
        return kind is Any or value is None
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind is float:
        return is_number(value)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
