"""Options of an analysis, as words or values: names and types checked once, before anything is computed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from workbench.config import UsageError, nearest, shown


def complete(compute: Callable[..., Any], name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All options of the analysis, the defaults filled in, so that `bins=15` and nothing are one cache entry."""
    known = {
        p.name: p.default
        for p in inspect.signature(compute).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.name != "name"
    }
    for key in given:
        if key not in known:
            raise UsageError(f"{name} has no option {key!r}{nearest(key, known)}")
    kinds = get_type_hints(compute)
    return known | {key: _fitting(f"{name}: {key}", value, kinds[key]) for key, value in given.items()}


def _fitting(what: str, value: Any, kind: Any) -> Any:
    """The value of an option, held to its annotation; one alone stands for a list of one."""
    wanted = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    for one in wanted:
        inner = get_args(one)
        if get_origin(one) in (Sequence, tuple, list) and inner:
            items = [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)
            if all(_is(item, inner[0]) for item in items):
                return items if isinstance(value, list) or not isinstance(value, Sequence) else value
        elif _is(value, one):
            return value
    raise UsageError(
        f"{what} must be {' or '.join(getattr(k, '__name__', str(k)) for k in wanted)}, got {shown(value)}"
    )


def _is(value: Any, kind: Any) -> bool:
    if kind in (Any, None, type(None)):
        return kind is Any or value is None
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
