"""Spectra of the loss's Hessian, a strip a method above one another on one axis of eigenvalues."""

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

    from workbench.analysis.hessian import Hessian

ROOMY, MANY = 4.5, 6
"""Inches, and methods, from which the strips stand in two columns."""
STRIP, LOWEST = 0.52, 0.34
"""Inches of a strip, and of the lowest where there are many."""
TALLEST = 7.5
"""Inches of all strips."""
POINTS = 1200
"""Of a curve."""


def hessian(runs: Sequence[StoredRun], *, venue: str = "cvpr", columns: int = 1) -> Figure:
    """A strip a method: the smoothed density of the Hessian's eigenvalues on a logarithmic axis (thin lines: seeds;
    tinted: their mean), the largest eigenvalue as a mark, and beside it the numbers, mean and standard deviation over
    seeds. All strips have the same axes, so that sharper minima reach further to the right."""
    groups = group(runs)
    one_setting(groups, "figure hessian")
    results = of_groups(groups, "hessian")
    every = [result for of_seeds in results for result in of_seeds]
    alike(every, "hessian", "images", "parameters")
    if not all(result.nodes.size for result in every):
        raise UsageError("figure hessian shows densities, which these results lack; take density_probes above 0")
    with style.paper(venue, columns) as width:
        across = 2 if width >= ROOMY and len(groups) > MANY else 1
        down = math.ceil(len(groups) / across)
        figure = style.new_figure(width, max(LOWEST, min(STRIP, TALLEST / down)) * down + 0.45)
        axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).T.ravel().tolist()
        grid, floor = _grid(every), _floor(every)
        highest = max(_strip(ax, g, of, grid, floor) for ax, g, of in zip(axes, groups, results, strict=False))
        axes[0].set(yscale="log", ylim=(floor, highest * 30), xlim=(grid[0], grid[-1]))
        _finish(figure, axes, len(groups), down, 4 if TALLEST / down >= STRIP else 2)
        return figure


def _grid(results: Sequence[Hessian]) -> np.ndarray:
    """Eigenvalues from the lowest to the highest of all results, closer where there are nodes."""
    seen = np.concatenate([np.concatenate([r.nodes.ravel(), r.eigenvalues]) for r in results])
    room = max(4 * max(r.width for r in results), 0.03 * float(np.ptp(seen)))
    fine = [(r.nodes.ravel()[:, None] + r.width * np.linspace(-4, 4, 17)).ravel() for r in results]
    return np.unique(np.concatenate([np.linspace(seen.min() - room, seen.max() + room, POINTS), *fine]))


def _floor(results: Sequence[Hessian]) -> float:
    """A tenth of what a single eigenvalue makes where the curves are smoothest: lower values are noise."""
    return float(min(1 / (10 * r.parameters * r.width * math.sqrt(2 * math.pi)) for r in results))


def _strip(ax: Axes, g: Group, results: Sequence[Hessian], grid: np.ndarray, floor: float) -> float:
    """Draw a method; gives the highest density."""
    color = style.look(g.method).color
    densities = np.maximum([result.density(grid) for result in results], floor)
    ax.fill_between(grid, densities.mean(0), floor, color=color, alpha=0.25, linewidth=0)
    for density in densities:
        ax.plot(grid, density, color=color, linewidth=0.7)
    tops = [float(result.eigenvalues[0]) for result in results if len(result.eigenvalues)]
    ax.plot(tops, np.full(len(tops), 0.09), "v", color=style.INK, markersize=3, transform=ax.get_xaxis_transform())
    ax.text(0.99, 0.96, f"{g.label}\n{_numbers(results, tops)}", transform=ax.transAxes, ha="right", va="top",
            fontsize="small", linespacing=1.15)  # fmt: skip
    return float(densities.max())


def _numbers(results: Sequence[Hessian], tops: Sequence[float]) -> str:
    traces = [result.trace for result in results if np.isfinite(result.trace)]
    largest = [rf"$\lambda_1$ {around(tops, _digits(tops))}"] if tops else []
    return "   ".join([*largest, *([f"trace {around(traces, _digits(traces))}"] if traces else [])])


def _digits(values: Sequence[float]) -> str:
    """About three digits of the mean."""
    size = abs(float(np.mean(values)))
    return f".{max(0, 2 - math.floor(math.log10(size)))}f" if size > 0 else ".1f"


def _finish(figure: Figure, axes: Sequence[Axes], number: int, down: int, ticks: int) -> None:
    """Names of the axes; `ticks`: at most so many numbers on a strip's scale."""
    from matplotlib.ticker import LogLocator, NullLocator

    for ax in axes:
        ax.yaxis.set_major_locator(LogLocator(numticks=ticks))
        ax.yaxis.set_minor_locator(NullLocator())
    for i, ax in enumerate(axes[:number]):
        last = i % down == down - 1 or i == number - 1
        ax.tick_params(labelbottom=last, bottom=last)
        ax.set_xlabel("eigenvalue (mark: the largest)" if last else "")
    for ax in axes[number:]:
        ax.set_visible(False)
    figure.supylabel("density", fontsize="medium")
