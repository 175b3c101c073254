"""Published accuracies against what the training took: hours and GPU memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from workbench import style
from workbench.config import UsageError, choose
from workbench.figures.tradeoff import ROOMY
from workbench.published import names, results

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
        _tell_lacking(figure, panels)
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


def _tell_lacking(figure: Figure, panels: Mapping[str, pd.DataFrame]) -> None:
    """Above the panels: methods that can't be shown."""
    told = [
        f"no accuracy was published for {', '.join(table.attrs['lacking'])} on {names.BACKBONES.get(net, net)}"
        for net, table in panels.items()
        if table.attrs["lacking"]
    ]
    if told:
        lines = style.wrap(figure, "; ".join(told), figure.get_figwidth() - 0.1, style.SMALLEST)
        figure.suptitle("\n".join(lines), fontsize=style.SMALLEST, color=style.MUTED)


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
