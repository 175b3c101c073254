"""The cost of mixing: how many copies of the batch each method's mix takes, ours beside public implementations."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workbench import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.15
"""Inches a method."""
MARKS = ("s", "^", "D", "v", "P", "X")
OURS = "workbench"
APART = 0.2
"""Rows between the marks of two public implementations."""


def mixing_cost(table: pd.DataFrame, *, venue: str = "cvpr") -> Figure:
    """A panel an image size: dots on a logarithmic axis, one colour a method for ours and grey marks for others, with
    lines from the lowest to the highest round. table: as `workbench bench methods` writes it."""
    names = list(dict.fromkeys(_name(r) for r in _ordered(table)))
    sizes = list(dict.fromkeys(zip(table["size"], table["batch"], strict=True)))
    others = sorted({who for who in table["who"] if who != OURS})
    with style.paper(venue, 2) as width:
        figure = style.new_figure(width, ROW * len(names) + 0.9)
        axes = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
        for ax, (size, batch) in zip(axes, sizes, strict=True):
            _panel(ax, _ordered(table[table["size"] == size]), names, others)
            ax.set(
                xlabel="copies of the batch",
                title=f"{batch} \N{MULTIPLICATION SIGN} 3 \N{MULTIPLICATION SIGN} "
                f"{size} \N{MULTIPLICATION SIGN} {size}",
            )
        axes[0].set_yticks(range(len(names)), names)
        axes[0].set_ylim(len(names) - 0.5, -0.5)
        if others:
            handles, labels = axes[0].get_legend_handles_labels()
            once = dict(zip(labels, handles, strict=True))
            figure.legend(once.values(), once.keys(), loc="outside lower center", ncols=3)
        return figure


def _ordered(table: pd.DataFrame) -> list[dict[Hashable, Any]]:
    order = {key: place for place, key in enumerate(style.LABELS)}
    return sorted(table.to_dict("records"), key=lambda row: order.get(row["method"], len(order)))


def _name(row: Mapping[Hashable, Any]) -> str:
    """A method's line in the figure: PuzzleMix has one a grid."""
    label = style.LABELS.get(row["method"], row["method"])
    return f"{label}, {row['note'].split(',')[0]}" if str(row["note"]).startswith("grid") else label


def _panel(ax: Axes, rows: Sequence[Mapping[Hashable, Any]], names: Sequence[str], others: Sequence[str]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.grid(axis="x")
    for row in rows:
        ours = row["who"] == OURS
        number = 0 if ours else others.index(row["who"])
        ax.errorbar(
            row["ratio"],
            names.index(_name(row)) + (0 if ours else APART * (number - (len(others) - 1) / 2)),
            xerr=[[row["ratio"] - row["lowest"]], [row["highest"] - row["ratio"]]],
            fmt="o" if ours else MARKS[number % len(MARKS)],
            color=style.PALETTE.get(row["method"], style.MUTED) if ours else style.MUTED,
            markersize=4 if ours else 3,
            elinewidth=0.8,
            label=None if ours else row["who"],
        )
