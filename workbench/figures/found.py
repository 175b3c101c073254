"""What analyses found already, method by method: for figures, which compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from workbench.analysis import ANALYSES, StoredRun, base, stored
from workbench.analysis.cache import UNREADABLE
from workbench.analysis.compare import mean_interval
from workbench.analysis.groups import Group
from workbench.config import UsageError


def of_groups(groups: Sequence[Group[StoredRun]], name: str) -> list[list[Any]]:
    """The stored results of an analysis, a list a group with one a seed. UsageError, with the command that makes them,
    where some are missing."""
    left = iter(stored([run for g in groups for run in g.items], name))
    return [[next(left) for _ in g.items] for g in groups]


def counted(run: StoredRun) -> Any:
    """The newest stored cost of a run's method and net, wherever it was measured, or None: FLOPs and parameters, unlike
    times, are the same on every machine."""
    places = sorted((Path(run.path) / "analysis").glob("cost-*.npz"), key=lambda path: path.stat().st_mtime)
    for path in reversed(places):
        with suppress(*UNREADABLE):  # of an older version
            found: Any = base.load(ANALYSES["cost"].result, path)
            if (found.method, found.backbone) == (run.config.method, run.config.model):
                return found
    return None


def alike(results: Sequence[Any], name: str, *options: str) -> None:
    """UsageError unless all results were asked for with the same of these options."""
    for option in options:
        values = list(dict.fromkeys(_text(getattr(result, option)) for result in results))
        if len(values) > 1:
            raise UsageError(
                f"stored results of {name} differ in {option} ({' and '.join(values[:2])}); "
                f"run `workbench analyse {name}` once over all of these runs"
            )


def named(groups: Sequence[Group[StoredRun]], names: Sequence[str]) -> list[tuple[Group[StoredRun], list[int]]]:
    """The groups that a joint result over runs of these names covers, each with the places of its seeds in it."""
    places = [(g, [names.index(run.name) for run in g.items if run.name in names]) for g in groups]
    return [(g, rows) for g, rows in places if rows]


def around(values: Sequence[float], digits: str = ".1f") -> str:
    """`12.3 +- 0.4`: mean and sample standard deviation; without the latter where there is none. `digits`: a format;
    `+.1f` signs the mean."""
    mean, spread, *_ = mean_interval(np.asarray(values, float))
    sign, digits = ("+", digits[1:]) if digits.startswith("+") else ("", digits)
    beside = f" \N{PLUS-MINUS SIGN} {spread:{digits}}" if spread > 0 else ""
    return f"{mean:{sign}z{digits}}{beside}".replace("-", "\N{MINUS SIGN}")


def _text(value: Any) -> str:
    return ", ".join(map(str, np.atleast_1d(value).tolist()))
