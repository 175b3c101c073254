"""Does the label tell what can be seen? A panel a method: label weights against visible shares of objects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench import style
from workbench.analysis import StoredRun
from workbench.analysis.groups import Group, group, one_setting
from workbench.config import UsageError
from workbench.figures.found import alike, around, of_groups

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.analysis.fidelity import Fidelity

SMALLEST_PANEL = 0.78
"""Inches; as many panels stand in a row as fit."""
LARGEST_PANEL = 2.2
CELLS = 24
"""Along each side of a panel."""


def fidelity(runs: Sequence[StoredRun], *, venue: str = "cvpr", columns: int = 1) -> Figure:
    """A panel a method: how often a source has this weight in the label and this share of its object visible (darker:
    more often), all seeds together. On the diagonal the label tells the truth. Below the name: the bias (label minus
    visible, in percentage points) and how often an object that the label gives weight is as good as gone (framed
    corner), means over seeds with standard deviation. Methods that mix nothing are left out."""
    groups = group(runs)
    one_setting(groups, "figure fidelity")
    found = [(g, of) for g, of in zip(groups, of_groups(groups, "fidelity"), strict=True) if len(of[0].weight)]
    if not found:
        raise UsageError("figure fidelity needs a run of a method that mixes, got vanilla alone; add one")
    every = [result for _, of_seeds in found for result in of_seeds]
    alike(every, "fidelity", "label_from", "visible_below")
    if any(len(np.unique(result.alpha)) > 1 for result in every):
        raise UsageError(
            "figure fidelity has one panel a method, but the stored results go through several alphas; run "
            "`workbench analyse fidelity` once over all of these runs, without alphas"
        )
    with style.paper(venue, columns) as width:
        across = min(len(found), int(width / SMALLEST_PANEL))
        down = math.ceil(len(found) / across)
        across = math.ceil(len(found) / down)
        figure = style.new_figure(width, 1.5 * down * min(width / across, LARGEST_PANEL), layout="compressed")
        axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
        for i, (ax, (g, of_seeds)) in enumerate(zip(axes, found, strict=False)):
            _panel(ax, g, of_seeds)
            ax.tick_params(labelbottom=i + across >= len(found))
            ax.set_ylabel("visible share" if i % across == 0 else "")
        for ax in axes[len(found) :]:
            ax.set_visible(False)
        figure.supxlabel("weight in the label (framed: object lost)", fontsize="medium")
        style.fit_height(figure)
        return figure


def _panel(ax: Axes, g: Group, results: Sequence[Fidelity]) -> None:
    """One method with its numbers."""
    histogram(ax, g, results)
    below = ax.annotate(
        _numbers(results), (0.5, 1), (0, 3), "axes fraction", "offset points", ha="center",
        fontsize=max(style.SMALLEST, 0.75 * style.points()), linespacing=1.05,
    )  # fmt: skip
    ax.set_title(g.label, pad=4 + 72 / style.page(ax).dpi * below.get_window_extent().height)


def histogram(ax: Axes, g: Group, results: Sequence[Fidelity]) -> None:
    """How often a source has this weight and this visible share; the diagonal; the corner of lost objects."""
    weight, visible = (np.concatenate([getattr(r, key) for r in results]) for key in ("weight", "visible"))
    counts, _, _ = np.histogram2d(visible, weight, bins=CELLS, range=((0, 1), (0, 1)))
    ax.imshow(_tinted(counts, style.look(g.method).color), extent=(0, 1, 0, 1), origin="lower", aspect="equal")
    ax.plot((0, 1), (0, 1), color=style.INK, linewidth=0.7, linestyle=(0, (4, 2)))
    low, high = results[0].label_from, results[0].visible_below
    ax.plot((low, low, 1, 1, low), (0, high, high, 0, 0), color=style.INK, linewidth=0.6, clip_on=False)
    ticks, texts = (0, 0.5, 1), ("0", "0.5", "1")
    ax.set(xlim=(0, 1), ylim=(0, 1), xticks=ticks, xticklabels=texts, yticks=ticks, yticklabels=texts)


def _numbers(results: Sequence[Fidelity]) -> str:
    """Bias in points, and the rate of lost objects, over seeds."""
    bias = f"bias {around([100 * r.bias for r in results])}"
    lost = [100 * r.lost for r in results if np.isfinite(r.lost)]
    return f"{bias}\nlost {around(lost)} %" if lost else bias


def _tinted(counts: np.ndarray, color: str) -> np.ndarray:
    """(H, W, 3): white for none, the method's colour where the square root of the count is half its highest, dark
    above."""
    from matplotlib.colors import LinearSegmentedColormap

    scale = LinearSegmentedColormap.from_list("tints", ["white", color, style.INK])
    shares = np.sqrt(counts / max(counts.max(), 1))
    picture: np.ndarray = scale(np.where(counts > 0, 0.12 + 0.78 * shares, 0))[..., :3]
    return picture
