"""Accuracy against what it costs: step time and peak memory, as multiples of vanilla's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench import style
from workbench.analysis import StoredRun, analyse
from workbench.analysis.compare import Comparison, count_of_seeds
from workbench.analysis.groups import group, one_setting
from workbench.config import UsageError
from workbench.figures.labels import Point, find_places, write_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROOMY = 4.5
"""Inches from which the panels stand side by side."""
LEAST = 0.1
"""Least width of an axis of costs, in multiples of vanilla."""
COSTS = {
    "seconds": "step time (\N{MULTIPLICATION SIGN} vanilla)",
    "memory": "peak memory (\N{MULTIPLICATION SIGN} vanilla)",
}


def tradeoff(runs: Sequence[StoredRun], *, venue: str = "cvpr", columns: int = 1) -> Figure:
    """A panel for step time and one for memory (left out where it was not measured): up and to the left is better.

    Bars are one sample standard deviation over seeds, both ways.
    """
    one_setting(group(runs), "figure tradeoff")
    found: Comparison = analyse(list(runs), "compare")
    known = [cost for cost in COSTS if not np.isnan(getattr(found, cost)).all()]
    if not known:
        raise UsageError(f"figure tradeoff measures cost in multiples of vanilla: {found.note}; add such a run")
    with style.paper(venue, columns) as width:
        beside = width >= ROOMY
        tall = 0.37 * width if beside else 0.52 * width * len(known)
        figure = style.new_figure(width, tall)
        grid = (1, len(known)) if beside else (len(known), 1)
        axes = list(figure.subplots(*grid, sharey=beside, squeeze=False).flat)
        for ax, cost in zip(axes, known, strict=True):
            ax.set_xlabel(COSTS[cost])
            ax.margins(0.12, 0.12)
        for ax in axes[:1] if beside else axes:
            ax.set_ylabel("test accuracy (%)")
        panels = [_points(ax, found, cost) for ax, cost in zip(axes, known, strict=True)]
        for ax in axes:
            _at_least(ax, LEAST)
        figure.suptitle(
            f"bars: \N{PLUS-MINUS SIGN} 1 standard deviation over {count_of_seeds(found.seeds)}", size="small"
        )
        _name_points(figure, axes, panels)
        return figure


def _at_least(ax: Axes, span: float) -> None:
    """Widen the axis of costs to so much: a thousandth more must not look like a price."""
    low, high = ax.get_xlim()
    missing = max(0.0, span - (high - low)) / 2
    ax.set_xlim(low - missing, high + missing)


def _name_points(figure: Figure, axes: Sequence[Axes], panels: Sequence[list[Point]]) -> None:
    """A label beside every point, or a legend below where there are too many points for that."""
    places = [find_places(ax, points) for ax, points in zip(axes, panels, strict=True)]
    if any(found is None for found in places):
        handles, labels = axes[0].get_legend_handles_labels()
        columns = style.legend_columns(figure.get_figwidth(), labels)
        figure.legend(handles, labels, loc="outside lower center", ncols=columns)
        return
    for ax, points, found in zip(axes, panels, places, strict=True):
        write_labels(ax, points, found or [])


def _points(ax: Axes, found: Comparison, cost: str) -> list[Point]:
    """Draw the rows that have this cost; gives where they landed."""
    points = []
    for row, method in enumerate(found.method):
        x, y = getattr(found, cost)[row], 100 * found.accuracy[row]
        if np.isnan(x):
            continue
        x_error, y_error = np.nan_to_num([getattr(found, f"{cost}_sd")[row], 100 * found.accuracy_sd[row]])
        look = style.look(method)
        ax.errorbar(
            x, y, y_error, x_error, color=look.color, marker=look.marker, markersize=1.3 * look.size, elinewidth=0.7,
            label=found.label[row],
        )  # fmt: skip
        points.append(Point(x, y, x_error, y_error, found.label[row], style.dark(look.color)))
    return points
