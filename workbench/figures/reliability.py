"""Reliability diagrams side by side: does each method's confidence mean what it says?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench import style
from workbench.analysis import StoredRun, analyse
from workbench.analysis.calibration import Calibration, counts_strip, gap_legend, pool, reliability_diagram, signed
from workbench.analysis.compare import mean_interval
from workbench.analysis.groups import Group, group, one_setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALLEST_PANEL = 1.05
"""Inches; as many diagrams stand in a row as fit."""


def reliability(runs: Sequence[StoredRun], *, venue: str = "cvpr", columns: int = 1, bins: int = 15) -> Figure:
    """A diagram a method: the predictions of all seeds pooled; the ECE is the mean of the seeds' own, with their
    sample standard deviation, and the gap is confidence minus accuracy (negative: under-confident)."""
    groups = group(runs)
    one_setting(groups, "figure reliability")
    results = [analyse(list(g.items), "calibration", bins=bins) for g in groups]
    with style.paper(venue, columns) as width:
        across = min(len(groups), int(width / SMALLEST_PANEL))
        down = math.ceil(len(groups) / across)
        across = math.ceil(len(groups) / down)
        figure = style.new_figure(width, 2 * down * width / across, layout="compressed")
        axes = figure.subplots(down, across, squeeze=False)
        for i, ax in enumerate(axes.flat):
            if i < len(groups):
                _panel(ax, groups[i], results[i], first=i % across == 0, last=i + across >= len(groups))
            else:
                ax.remove()
        gap_legend(figure)
        style.fit_height(figure)
        return figure


def _panel(ax: Axes, g: Group, results: Sequence[Calibration], *, first: bool, last: bool) -> None:
    color = style.look(g.method).color
    pooled = pool(results)
    reliability_diagram(ax, pooled, color)
    numbers, small = _numbers(results), 5 / 6 * style.points()
    ax.annotate(numbers, (0.5, 1), (0, 3), "axes fraction", "offset points", ha="center", fontsize=small)
    lines = 72 * style.text_size(ax.get_figure(), numbers, small)[1]
    ax.set_title(g.label, pad=4 + lines)
    strip = counts_strip(ax, pooled)
    strip.set_xlabel("confidence" if last else "")
    if first:
        ax.set_ylabel("accuracy")
        strip.set_ylabel("share")


def _numbers(results: Sequence[Calibration]) -> str:
    ece, spread, *_ = mean_interval(100 * np.array([r.ece for r in results]))
    gap = 100 * float(np.mean([r.signed_gap for r in results]))
    around = f" \N{PLUS-MINUS SIGN} {spread:.1f}" if len(results) > 1 else ""
    return f"ECE {ece:.1f}{around} %\ngap {signed(gap)} %"
