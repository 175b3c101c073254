"""Drawings of an embedding: the shared map, a panel a net, and the matrix of similarities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workbench import style
from workbench.analysis.run_names import short_names
from workbench.analysis.side_by_side import fitting

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from workbench.analysis.embedding import Embedding

GAP = 0.06
"""Between panels, in sides of a panel."""
LEGEND_ROOM = 0.16
"""Of the figure, in widths, where there are classes to name."""
MOST = 20
"""Classes up to which colours are named; more can't be told apart."""
WRITTEN = 8
"""Rows of a matrix up to which its numbers are written into it."""


def height(result: Embedding) -> float:
    """Of a figure, in widths."""
    if result.view == "cka":
        return 0.85
    rows, columns = _layout(len(result.runs))
    room = LEGEND_ROOM if len(np.unique(result.labels)) <= MOST else 0.0
    return rows * (1 + 2 * GAP) / (columns * (1 + GAP)) + room


def _layout(number: int) -> tuple[int, int]:
    """Rows and columns of panels: at most three beside each other."""
    columns = min(3, number)
    return -(-number // columns), columns


def panels(ax: Axes, result: Embedding) -> None:
    """One square a net, all cut from the same map; the grey points in each are all nets' points."""
    flat = result.position.reshape(-1, 2)
    low, span = flat.min(0), max(float(np.ptp(flat, axis=0).max()), 1e-12)
    unit = 0.04 + 0.92 * ((result.position - low) / span + (1 - np.ptp(flat, axis=0) / span) / 2)
    rows, columns = _layout(len(result.runs))
    figure, small = style.page(ax), 5 / 6 * style.points()
    side = figure.get_figwidth() * ax.get_position().width / columns
    size = min(12.0, 900 / len(result.labels) / columns + 1)
    for i, title in enumerate(short_names(result.runs)):
        left, bottom = (i % columns) * (1 + GAP), -(i // columns) * (1 + 2.4 * GAP)
        behind = unit.reshape(-1, 2) + np.array((left, bottom))
        ax.scatter(behind[:, 0], behind[:, 1], s=size, color="0.92", linewidth=0, rasterized=True)
        _panel(ax, unit[i] + np.array((left, bottom)), result, size)
        ax.add_patch(_frame(left, bottom))
        ax.text(
            left + 0.5, bottom + 1.01, fitting(figure, title, side, small), ha="center", va="bottom", fontsize="small"
        )
    ax.set(
        xlim=(-0.01, columns * (1 + GAP) - GAP + 0.01), ylim=(-(rows - 1) * (1 + 2.4 * GAP) - 0.01, 1 + 2 * GAP),
        aspect="equal", xticks=(), yticks=(),
    )  # fmt: skip
    ax.spines[:].set_visible(False)
    _legend(ax, result)


def _panel(ax: Axes, points: np.ndarray, result: Embedding, size: float) -> None:
    for label, color in _colors(result).items():
        chosen = points[result.labels == label]
        ax.scatter(
            chosen[:, 0], chosen[:, 1], s=size, color=color, linewidth=0, alpha=0.85, rasterized=len(points) > 2000
        )


def _frame(left: float, bottom: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((left, bottom), 1, 1, fill=False, edgecolor=style.FAINT, linewidth=0.5)


def _colors(result: Embedding) -> dict[int, Any]:
    """Class id -> colour."""
    from matplotlib import colormaps

    found = [int(label) for label in np.unique(result.labels)]
    table = "tab10" if len(found) <= 10 else "tab20" if len(found) <= MOST else "turbo"
    steps = range(len(found)) if len(found) <= MOST else np.linspace(0, 1, len(found))
    return {label: colormaps[table](step) for label, step in zip(found, steps, strict=True)}


def _legend(ax: Axes, result: Embedding) -> None:
    from matplotlib.lines import Line2D

    colors = _colors(result)
    if len(colors) > MOST:
        return
    names = [result.class_name(label) for label in colors]
    box = ax.get_position()
    width = style.page(ax).get_figwidth() * box.width
    handles = [
        Line2D([], [], marker="o", linestyle="", color=c, label=n) for c, n in zip(colors.values(), names, strict=True)
    ]
    ax.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=style.legend_columns(width, names),
        handlelength=1.0, fontsize="small",
    )  # fmt: skip


def matrix(ax: Axes, result: Embedding) -> None:
    """Similarity of every place with every other; with layers, nets are set apart by lines."""
    import matplotlib

    number = len(result.cka)
    ax.imshow(result.cka, vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
    if number <= WRITTEN:
        for (i, j), value in np.ndenumerate(result.cka):
            color = "white" if value > 0.6 else style.INK
            ax.text(j, i, "–" if np.isnan(value) else f"{value:.2f}", ha="center", va="center", color=color)
    short = dict(zip(result.runs, short_names(result.runs), strict=True))
    names = [short[run] for run in result.place_runs]
    one_net_a_row = number == len(result.runs)
    texts = names if one_net_a_row else list(result.place_layers)
    ax.set_xticks(range(number), texts, rotation=0 if one_net_a_row and number < 4 else 90)
    ax.set_yticks(range(number), texts)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title("linear CKA", fontsize="small")
    if not one_net_a_row:
        _nets_apart(ax, names, matplotlib.rcParams["axes.linewidth"])


def _nets_apart(ax: Axes, names: list[str], width: float) -> None:
    """Lines between the blocks of two nets, and the nets' names along the right side."""
    starts = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    side = style.page(ax).get_figheight() * ax.get_position().height / len(names)
    for start, end in zip(starts, [*starts[1:], len(names)], strict=True):
        shown = fitting(style.page(ax), names[start], (end - start) * side, style.points())
        ax.text(len(names) - 0.3, (start + end - 1) / 2, shown, rotation=270, ha="left", va="center")
        for line in (ax.axhline, ax.axvline) if start else ():
            line(start - 0.5, color="white", linewidth=3 * width)
