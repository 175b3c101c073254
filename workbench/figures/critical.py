"""The critical-difference diagram of a set of runs, as a figure of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench import style
from workbench.analysis import StoredRun, analyse
from workbench.config import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def critical(runs: Sequence[StoredRun], *, venue: str = "cvpr", columns: int = 1) -> Figure:
    """Mean ranks of the methods over seeds; bars join what Nemenyi's test does not tell apart at 5 %."""
    found = analyse(list(runs), "ranking")
    if len(found.label) < 2:
        raise UsageError(f"figure critical needs at least two methods to rank, got {found.label[0]} alone; add one")
    with style.paper(venue, columns) as width:
        figure = style.new_figure(width, found.height * min(width, 4.5))
        ax = figure.subplots()
        found.draw(ax)
        style.settle(figure)
        return figure
