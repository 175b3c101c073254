"""Published accuracies against what the training took: hours and GPU memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench import style
from workbench.config import UsageError, choose
from workbench.figures.tradeoff import ROOMY
from workbench.published import names, results

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ASIDE = [side * d for d in range(30) for side in ((1, -1) if d else (1,))]
"""Points by which a mark may be moved aside, the nearest first."""
APART = 0.9
"""Smallest distance of two marks, in the sum of their radii."""
NOTE = "marks that would cover others are moved aside: a thin line leads to their cost"
COSTS = {"train_hours": "whole training (hours)", "memory_gb": "GPU memory (GB)"}


def published_cost(
    backbones: Sequence[str] = (), dataset: str = "cifar100", *, venue: str = "cvpr", columns: int = 1
) -> Figure:
    """Panels for training time and memory, for each net of which both were published: up and to the left is better.

    backbones: nets; when left out, all of which every method with a cost has an accuracy too. The accuracies are those
    of the training whose hours were published. Hours and memory are the benchmark's own, on its own GPUs. UsageError
    where no costs were published.
    """
    frame = results(dataset)
    tables = {str(net): _points(part) for net, part in frame.groupby("backbone") if set(COSTS) <= set(part["metric"])}
    if not tables:
        raise UsageError(f"no training times were published on {dataset}; there are some on cifar100")
    whole = [net for net, table in tables.items() if not table.attrs["lacking"]]
    chosen = [names.backbone(net) for net in backbones] or whole or list(tables)
    panels = {net: choose(tables, net, f"net with published costs on {dataset}") for net in chosen}
    with style.paper(venue, columns) as width:
        across = len(panels) if width >= ROOMY and len(panels) < 3 else 1  # nets side by side
        down = -(-len(panels) // across)
        figure = style.new_figure(width, down * min(1.7, 1.1 * width / (2 * across)) + 0.6)
        grid = figure.subplots(down, 2 * across, squeeze=False).reshape(len(panels), 2)
        for axes, table in zip(grid, panels.values(), strict=True):
            _panels(list(axes), table)
            axes[0].set_ylabel(f"{names.DATASETS[names.dataset(dataset)].title} top-1 (%)")
        handles = {label: h for ax in grid.flat for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        shown = sorted(handles, key=[names.method(key) for key in style.LABELS].index)
        ncols = style.legend_columns(width, shown)
        figure.legend([handles[label] for label in shown], shown, loc="outside lower center", ncols=ncols)
        _tell(figure, [*_lacking(panels), NOTE])  # before the marks are moved, which depends on the panels' size
        figure.draw_without_rendering()
        for ax in grid.flat:
            _spread(ax)
        return figure


def _points(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a method: accuracy (`top1`) of the training whose hours were published, and the costs. `attrs` hold the
    net, its epochs, and the methods that are left out because no accuracy of that training was published."""
    epochs = int(frame[frame["metric"] == "train_hours"]["epochs"].max())
    mine = frame[frame["epochs"].isna() | frame["epochs"].eq(epochs).fillna(False)]
    table = mine.pivot_table(index="method", columns="metric", values="value", aggfunc="first")
    table = table.reindex(columns=["top1", *COSTS])
    table = table.loc[sorted(table.index, key=style.rank)]
    lacking = [names.method(str(method)) for method in table.index[table.isna().any(axis=1)]]
    whole = table.dropna()
    whole.attrs.update(net=frame["backbone"].iloc[0], epochs=epochs, lacking=lacking)
    return whole


def _panels(axes: Sequence[Axes], table: pd.DataFrame) -> None:
    """The panels of one net, its name above the first."""
    for ax, cost in zip(axes, COSTS, strict=True):
        _panel(ax, table, cost)
    axes[1].tick_params(labelleft=False)  # the same accuracies, and so the same axis, as beside it
    net = str(table.attrs["net"])
    axes[0].set_title(f"{names.BACKBONES.get(net, net)}, {table.attrs['epochs']} epochs", loc="left")


def _lacking(panels: Mapping[str, pd.DataFrame]) -> list[str]:
    """Methods that can't be shown."""
    return [
        f"no accuracy was published for {', '.join(table.attrs['lacking'])} on {names.BACKBONES.get(net, net)}"
        for net, table in panels.items()
        if table.attrs["lacking"]
    ]


def _tell(figure: Figure, told: Sequence[str]) -> None:
    """Above the panels, in small print."""
    lines = style.wrap(figure, "; ".join(told), figure.get_figwidth() - 0.1, style.SMALLEST)
    figure.suptitle("\n".join(lines), fontsize=style.SMALLEST, color=style.MUTED)


def _spread(ax: Axes) -> None:
    """Move marks that would lie on others aside, as little as will do, each with a thin line to where it belongs: the
    cheap methods have one printed cost. The data of the lines stay as they are."""
    from matplotlib.transforms import ScaledTranslation

    figure = style.page(ax)
    taken: list[tuple[np.ndarray, float]] = []
    for line in sorted(ax.lines, key=lambda line: -np.asarray(line.get_ydata(), float)[0]):
        x, y = np.asarray(line.get_xydata(), float)[0]
        (left, height), radius = 72 / figure.dpi * ax.transData.transform((x, y)), line.get_markersize() / 2
        aside = next(d for d in ASIDE if d == ASIDE[-1] or _free(np.array([left + d, height]), radius, taken))
        taken.append((np.array([left + aside, height]), radius))
        if aside:
            line.set_transform(ax.transData + ScaledTranslation(aside / 72, 0, figure.dpi_scale_trans))
            lead = {"arrowstyle": "-", "color": style.MUTED, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 0}
            note = ax.annotate("", (x, y), (aside, 0), textcoords="offset points", arrowprops=lead, zorder=1)
            note.set_in_layout(False)


def _free(here: np.ndarray, radius: float, taken: Sequence[tuple[np.ndarray, float]]) -> bool:
    """Whether a mark leaves the others to be seen; places and radii in points."""
    return all(np.hypot(*(here - place)) >= APART * (radius + other) for place, other in taken)


def _panel(ax: Axes, table: pd.DataFrame, cost: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for method, row in table.iterrows():
        look = style.look(str(method))
        ax.plot(
            row[cost], row["top1"], linestyle="none", color=look.color, marker=look.marker,
            markersize=1.3 * look.size, markeredgecolor="white", markeredgewidth=0.3, label=names.method(str(method)),
        )  # fmt: skip
    ax.set_xlabel(COSTS[cost])
    ax.set_xlim(0, 1.08 * table[cost].max())
    ax.margins(y=0.08)
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    ax.grid(axis="y")
