"""Loss landscapes of several methods: lines on one axis beside the training curves, or planes side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench import style
from workbench.analysis import StoredRun, stored
from workbench.analysis.groups import Group, group, one_setting
from workbench.config import UsageError
from workbench.figures.curves import FEW, ROOMY, legend, seed_line
from workbench.figures.found import alike, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.analysis.landscape import Landscape

SMALLEST_PLANE = 1.45
"""Inches; as many planes stand in a row as fit."""


def landscape(runs: Sequence[StoredRun], *, venue: str = "cvpr", columns: int = 1) -> Figure:
    """Where the stored result is a line through several nets: test accuracy over the epochs, and the loss along one
    random direction; lines are means over seeds, bands their range (standard deviation from five seeds on). Where it
    is a plane: the contours of each run that has one stored, all at the same levels."""
    groups = group(runs)
    one_setting(groups, "figure landscape")
    found: Any = stored(list(runs), "landscape")[0]
    if found.way == "plane":
        return _planes(groups, venue, columns)
    if found.way == "interpolation":
        return _between(found, venue, columns)
    return _lines(groups, found, venue, columns)


def _lines(groups: Sequence[Group[StoredRun]], found: Landscape, venue: str, columns: int) -> Figure:
    import pandas as pd
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    covered = named(groups, found.nets)
    shown = [g for g, _ in covered]
    few = min(len(rows) for _, rows in covered) < FEW
    with style.paper(venue, columns) as width:
        beside = width >= ROOMY
        rows_of_legend = -(-len(shown) // style.legend_columns(width, [g.label for g in shown]))
        figure = style.new_figure(width, (0.32 if beside else 0.82) * width + 0.14 * (rows_of_legend + 1))
        accuracy, loss = figure.subplots(1, 2) if beside else figure.subplots(2, 1)
        for i, (g, rows) in enumerate(covered):
            shift = i / len(covered)
            histories = {run.config.seed: _accuracy(run) for run in g.items if run.name in found.nets}
            seed_line(accuracy, pd.DataFrame(histories).dropna(), g, shift, few)
            seed_line(loss, pd.DataFrame(found.loss[rows, :, 0].T, index=found.a), g, shift, few)
        accuracy.set(xlabel="epoch", ylabel="test accuracy (%)")
        accuracy.xaxis.get_major_locator().set_params(integer=True)
        loss.set(xlabel="step along a random direction", ylabel=f"loss of {found.images} test images")
        loss.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        loss.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        if found.loss.min() > 0:
            _logarithmic(loss)
        legend(figure, accuracy, [len(rows) for _, rows in covered], few)
        return figure


def _accuracy(run: StoredRun) -> Any:
    history = run.history
    if history.empty:
        raise UsageError(f"run {run.name} has not finished an epoch; `workbench resume` goes on with it")
    return 100 * history.set_index("epoch")["test_accuracy"]


def _logarithmic(ax: Axes) -> None:
    """A logarithmic loss with plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    ax.set_yscale("log")
    low, high = ax.get_ylim()
    subs = (1, 2, 5) if high / low < 100 else (1,)
    ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=8))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _between(found: Landscape, venue: str, columns: int) -> Figure:
    """The line between two nets, as its own plot has it."""
    with style.paper(venue, columns) as width:
        figure = style.new_figure(width, 0.62 * min(width, ROOMY))
        ax = figure.subplots()
        found.draw(ax)
        return figure


def _planes(groups: Sequence[Group[StoredRun]], venue: str, columns: int) -> Figure:
    """A panel a method: its first seed that has a plane stored."""
    planes = [(g, plane) for g in groups if (plane := _plane(g)) is not None]
    alike([plane for _, plane in planes], "landscape", "images", "a", "b")
    with style.paper(venue, columns) as width:
        across = min(len(planes), max(1, int(width / SMALLEST_PLANE)))
        down = math.ceil(len(planes) / across)
        across = math.ceil(len(planes) / down)
        side = min(width / across, 2.6)
        figure = style.new_figure(width, 1.12 * side * down + 0.3, layout="compressed")
        axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel().tolist()
        shades = _contours(axes, planes)
        for ax in axes[len(planes) :]:
            ax.set_visible(False)
        figure.supxlabel("first direction", fontsize="medium")
        figure.supylabel("second direction", fontsize="medium")
        _bar(figure, axes, shades)
        style.fit_height(figure)
        return figure


def _plane(g: Group[StoredRun]) -> Landscape | None:
    for run in g.items:
        try:
            found: Any = stored([run], "landscape")[0]
        except UsageError:  # none of this run: the others are shown
            continue
        if found.way == "plane":
            plane: Landscape = found
            return plane
    return None


def _contours(axes: Sequence[Axes], planes: Sequence[tuple[Group, Landscape]]) -> Any:
    from matplotlib.colors import LogNorm

    from workbench.analysis.contours import levels

    steps = levels(np.stack([plane.loss[0] for _, plane in planes]))
    norm = LogNorm(steps[0], steps[-1])
    for ax, (g, plane) in zip(axes, planes, strict=False):
        values = np.clip(np.where(np.isfinite(plane.loss[0]), plane.loss[0], steps[-1]).T, steps[0], steps[-1])
        shades = ax.contourf(plane.a, plane.b, values, levels=steps, norm=norm, cmap="viridis")
        ax.contour(plane.a, plane.b, values, levels=steps, norm=norm, colors="white", linewidths=0.3, alpha=0.6)
        ax.plot(0, 0, marker="+", color="white", markersize=6, linestyle="")
        ax.set(title=g.label, aspect="equal")
        ax.locator_params(nbins=3)
    return shades


def _bar(figure: Figure, axes: Sequence[Axes], shades: Any) -> None:
    """One scale for all panels, with five plain numbers."""
    steps = shades.levels
    ticks = steps[np.linspace(0, len(steps) - 1, 5).round().astype(int)]
    bar = figure.colorbar(shades, ax=list(axes), label="loss", ticks=ticks, fraction=0.04, pad=0.02, aspect=25)
    bar.ax.set_yticklabels([f"{value:.2g}" if value < 100 else f"{value:.0f}" for value in ticks])
    bar.ax.minorticks_off()
