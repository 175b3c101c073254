"""Accuracy under corruption: a panel a family of corruptions, in it a bar a method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench import style
from workbench.analysis import StoredRun
from workbench.analysis.compare import count_of_seeds
from workbench.analysis.groups import Group, group, one_setting
from workbench.config import choose
from workbench.figures.found import alike, of_groups

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.analysis.robustness import Robustness

NARROWEST = 0.78
"""Inches of a panel; as many stand in a row as fit."""
NAMES = 0.85
"""Inches for the methods' names, about."""
ROW = 0.135
"""Inches a method."""
BY = {"family": "family", "kind": "kind"}
Panels = Mapping[str, Sequence[int]]
"""The corruptions, as places in a result, whose mean a panel shows."""


def corruptions(runs: Sequence[StoredRun], *, venue: str = "cvpr", columns: int = 1, by: str = "family") -> Figure:
    """Accuracy, mean over the corruptions of a family and all stored severities, of each method: bars are means over
    seeds, thin lines from the lowest to the highest seed, upright marks the accuracy on clean images.

    `by`: a panel a "family" (all, noise, blur, weather, digital) or a "kind" of corruption.
    """
    choose(BY, by, "way to group corruptions")
    groups = group(runs)
    one_setting(groups, "figure corruptions")
    results = of_groups(groups, "robustness")
    every = [result for of_seeds in results for result in of_seeds]
    alike(every, "robustness", "kinds", "severities", "source", "images")
    panels = panels_of(every[0].kinds, by)
    with style.paper(venue, columns) as width:
        across = min(len(panels), max(1, int((width - NAMES) / NARROWEST)))
        down = math.ceil(len(panels) / across)
        across = math.ceil(len(panels) / down)
        figure = style.new_figure(width, down * (ROW * len(groups) + 0.24) + 0.5)
        axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel().tolist()
        for ax, (title, rows) in zip(axes, panels.items(), strict=False):
            _panel(ax, groups, results, rows)
            ax.set_title(title, fontsize="small")
        for i, ax in enumerate(axes):
            ax.set_visible(i < len(panels))
            ax.tick_params(labelbottom=i + across >= len(panels))
        _finish(figure, axes, groups, every)
        return figure


def panels_of(kinds: Sequence[str], by: str = "family") -> Panels:
    """Which of these kinds of corruption stand together; "all" first where there are several families."""
    from workbench.analysis.robustness.corruptions import CORRUPTIONS

    if by == "kind":
        return {kind.replace("_", " "): [i] for i, kind in enumerate(kinds)}
    families = [CORRUPTIONS[kind].family for kind in kinds]
    found = {family: [i for i, one in enumerate(families) if one == family] for family in dict.fromkeys(families)}
    return ({"all": list(range(len(kinds)))} if len(found) > 1 else {}) | found


def _panel(ax: Axes, groups: Sequence[Group], results: Sequence[Sequence[Robustness]], rows: Sequence[int]) -> None:
    for place, (g, of_seeds) in enumerate(zip(groups, results, strict=True)):
        values = 100 * np.array([result.accuracy[list(rows)].mean() for result in of_seeds])
        clean = 100 * float(np.mean([result.clean for result in of_seeds]))
        color = style.look(g.method).color
        ax.barh(place, values.mean(), height=0.72, color=color)
        ax.text(2, place, f"{values.mean():.1f}", color=on(color), fontsize=style.SMALLEST, va="center_baseline")
        ax.plot((values.min(), values.max()), (place, place), color=style.INK, linewidth=0.8, solid_capstyle="butt")
        ax.plot((clean, clean), (place - 0.42, place + 0.42), color=style.INK, linewidth=1.1, solid_capstyle="butt")


def on(color: str) -> str:
    """What text reads well on this colour: white, or nearly black."""
    from matplotlib.colors import to_rgb

    return "white" if style.oklab(np.array(to_rgb(color)))[0] < 0.62 else style.INK


def _finish(figure: Figure, axes: Sequence[Axes], groups: Sequence[Group], every: Sequence[Robustness]) -> None:
    """Names, and what the marks mean: above the panels, or where one is left over."""
    from matplotlib.lines import Line2D

    ax, spare = axes[0], [one for one in axes if not one.get_visible()]
    ax.set_yticks(range(len(groups)), [g.label for g in groups])
    ax.set(ylim=(len(groups) - 0.5, -0.5), xlim=(0, None))
    ax.locator_params(axis="x", nbins=4)
    for one in axes:
        one.tick_params(axis="y", length=0)
    severities = ", ".join(map(str, every[0].severities.tolist()))
    shown = f"accuracy (%) on {every[0].images:,} test images, mean over severities {severities}"
    lines = style.wrap(figure, shown, figure.get_figwidth() - 0.1, style.points())
    figure.supxlabel("\n".join(lines), fontsize="medium")
    seeds = np.array([len(g.items) for g in groups])
    marks = [Line2D([], [], color=style.INK, marker="|", linestyle="", markersize=6, markeredgewidth=1.1)]
    texts = ["clean images"]
    if seeds.max() > 1:
        marks.append(Line2D([], [], color=style.INK, linewidth=0.8))
        texts.append(f"range of {count_of_seeds(seeds)}")
    if spare:
        spare[0].set_visible(True)
        spare[0].axis("off")
        spare[0].legend(marks, texts, loc="center", handlelength=1.2)
    else:
        figure.legend(marks, texts, loc="outside upper center", ncols=2, handlelength=1.2)
