"""Reliability diagrams side by side: does each method's confidence mean what it says?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench import style
from workbench.analysis import StoredRun, analyse
from workbench.analysis.calibration import Calibration, pool
from workbench.analysis.compare import mean_interval
from workbench.analysis.diagram import counts_strip, gap_legend, name_sides, reliability_diagram, signed
from workbench.analysis.groups import Group, group, one_setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALLEST_PANEL = 0.8
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
        axes = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
        for i, (ax, g, of_seeds) in enumerate(zip(axes, groups, results, strict=False)):
            _panel(ax, g, of_seeds, first=i % across == 0, last=i + across >= len(groups))
        for ax in axes[len(groups) :]:
            ax.axis("off")
        gap_legend(figure if len(axes) == len(groups) else axes[-1])
        style.fit_height(figure)
        return figure


def _panel(ax: Axes, g: Group, results: Sequence[Calibration], *, first: bool, last: bool) -> None:
    pooled = pool(results)
    reliability_diagram(ax, pooled, style.look(g.method).color)
    below = ax.annotate(
        _numbers(results), (0.5, 1), (0, 3), "axes fraction", "offset points", ha="center", fontsize="small",
        linespacing=1.05,
    )  # fmt: skip
    ax.set_title(g.label, pad=4 + 72 / style.page(ax).dpi * below.get_window_extent().height)
    strip = counts_strip(ax, pooled)
    if first:
        name_sides(ax, strip)
    strip.set_xlabel("confidence" if last else "")


def _numbers(results: Sequence[Calibration]) -> str:
    ece, spread, *_ = mean_interval(100 * np.array([r.ece for r in results]))
    gap = 100 * float(np.mean([r.signed_gap for r in results]))
    around = f" \N{PLUS-MINUS SIGN} {spread:.1f}" if len(results) > 1 else ""
    return f"ECE {ece:.1f}{around} %\ngap {signed(gap)} %"
