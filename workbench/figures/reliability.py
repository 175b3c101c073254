"""Reliability diagrams side by side: does each method's confidence mean what it says?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench import style
from workbench.analysis import StoredRun, analyse
from workbench.analysis.calibration import Calibration, pool
from workbench.analysis.diagram import counts_strip, gap_legend, name_sides, reliability_diagram, strip_top
from workbench.analysis.groups import Group, group, one_setting
from workbench.figures.found import around

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALLEST_PANEL = 0.8
"""Inches; as many diagrams stand in a row as fit."""


def reliability(runs: Sequence[StoredRun], *, venue: str = "cvpr", columns: int = 1, bins: int = 15) -> Figure:
    """A diagram a method: the predictions of all seeds pooled, and in the strip below how many of the images lie where,
    on one scale for all. The ECE and the gap, confidence minus accuracy (negative: under-confident), are the means of
    the seeds' own, with their sample standard deviation. All in percent."""
    groups = group(runs)
    one_setting(groups, "figure reliability")
    results = [analyse(list(g.items), "calibration", bins=bins) for g in groups]
    pooled = [pool(of_seeds) for of_seeds in results]
    top = strip_top(pooled)
    with style.paper(venue, columns) as width:
        across = min(len(groups), int(width / SMALLEST_PANEL))
        down = math.ceil(len(groups) / across)
        across = math.ceil(len(groups) / down)
        figure = style.new_figure(width, 2 * down * width / across, layout="compressed")
        axes = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
        for i, (ax, g, of_seeds) in enumerate(zip(axes, groups, results, strict=False)):
            strip = _panel(ax, g, pooled[i], top, _numbers(of_seeds))
            strip.set_xlabel("confidence (%)" if i + across >= len(groups) else "")
            if i % across == 0:
                name_sides(ax, strip)
            else:
                strip.tick_params(labelleft=False)
        for ax in axes[len(groups) :]:
            ax.axis("off")
        gap_legend(figure if len(axes) == len(groups) else axes[-1])
        style.fit_height(figure)
        return figure


def _panel(ax: Axes, g: Group, pooled: Calibration, top: float, numbers: str) -> Axes:
    """Draw a diagram with its name and numbers above; gives its strip."""
    reliability_diagram(ax, pooled, style.look(g.method).color)
    below = ax.annotate(
        numbers, (0.5, 1), (0, 3), "axes fraction", "offset points", ha="center", fontsize="small", linespacing=1.05
    )
    ax.set_title(g.label, pad=4 + 72 / style.page(ax).dpi * below.get_window_extent().height)
    return counts_strip(ax, pooled, top)


def _numbers(results: Sequence[Calibration]) -> str:
    ece, gap = ([100 * getattr(r, key) for r in results] for key in ("ece", "signed_gap"))
    return f"ECE {around(ece)} %\ngap {around(gap, '+.1f')} %"
