"""Training curves: how test accuracy and training loss went, by method, over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench import style
from workbench.analysis import StoredRun
from workbench.analysis.compare import count_of_seeds
from workbench.analysis.groups import Group, group, one_setting
from workbench.config import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW = 5
"""From so many seeds on the band is the standard deviation; below, the smallest and the largest seed."""
ROOMY = 4.5
"""Inches from which the panels stand side by side."""
MARKED = 6
"""Markers a line."""


def curves(runs: Sequence[StoredRun], *, venue: str = "cvpr", columns: int = 1) -> Figure:
    """Two panels over the epochs: test accuracy, and the loss that was trained on, which for a mixing method is that
    of mixed pictures with mixed labels and so is no measure of fit next to vanilla's.

    Lines are means over seeds, bands the range of the seeds (their standard deviation from five seeds on).
    """
    groups = group(runs)
    one_setting(groups, "figure curves")
    few = min(len(g.items) for g in groups) < FEW
    with style.paper(venue, columns) as width:
        beside = width >= ROOMY
        legend_rows = -(-len(groups) // style.legend_columns(width, [g.label for g in groups]))
        figure = style.new_figure(width, (0.32 if beside else 0.82) * width + 0.14 * (legend_rows + 1))
        accuracy, loss = figure.subplots(1, 2) if beside else figure.subplots(2, 1, sharex=True)
        for i, g in enumerate(groups):
            shift = i / len(groups)
            seed_line(accuracy, 100 * _by_seed(g, "test_accuracy"), g, shift, few)
            seed_line(loss, _by_seed(g, "train_loss"), g, shift, few)
        accuracy.set_ylabel("test accuracy (%)")
        loss.set_ylabel("training loss (mixed labels)")
        for ax in (accuracy, loss) if beside else (loss,):
            ax.set_xlabel("epoch")
            ax.xaxis.get_major_locator().set_params(integer=True)
        legend(figure, accuracy, [len(g.items) for g in groups], few)
        return figure


def _by_seed(g: Group[StoredRun], column: str) -> pd.DataFrame:
    """A column of the histories: a row an epoch that all seeds have, a column a seed."""
    histories = {}
    for run in g.items:
        history = run.history
        if column not in history or history.empty:
            raise UsageError(f"run {run.name} has no {column} in its history; it has not finished an epoch")
        histories[run.config.seed] = history.set_index("epoch")[column]
    return pd.DataFrame(histories).dropna()


def seed_line(ax: Axes, values: pd.DataFrame, g: Group, shift: float, few: bool) -> None:
    """The mean over seeds (a column each) with its band. `shift`, from 0 to 1, moves the markers along, so that they
    show where lines cover each other; `few`: the band is the seeds' range, else their standard deviation."""
    look = style.look(g.method)
    mean = values.mean(axis=1)
    low, high = (values.min(axis=1), values.max(axis=1)) if few else _deviation(values)
    step = max(1, len(mean) // MARKED)
    ax.plot(
        mean.index, mean, color=look.color, linestyle=look.line, marker=look.marker, markersize=look.size,
        label=g.label, markevery=(int(shift * step), step), markeredgewidth=0,
    )  # fmt: skip
    if values.shape[1] > 1:
        ax.fill_between(mean.index, low, high, color=look.color, alpha=0.2, linewidth=0)


def _deviation(values: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    mean, sd = values.mean(axis=1), values.std(axis=1, ddof=1)
    return mean - sd, mean + sd


def legend(figure: Figure, ax: Axes, numbers: Sequence[int], few: bool) -> None:
    """One legend for all panels, above them; it says what the bands are. `numbers` of seeds."""
    handles, labels = ax.get_legend_handles_labels()
    seeds = np.array(numbers)
    band = "smallest to largest" if few else "\N{PLUS-MINUS SIGN} 1 standard deviation"
    title = f"mean over {count_of_seeds(seeds)}, band: {band}" if seeds.max() > 1 else "one seed"
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=style.legend_columns(figure.get_figwidth(), labels),
        title=title,
    )
