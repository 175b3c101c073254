"""The reliability diagram: accuracy by confidence, the gap between them, and where the predictions lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.analysis.calibration import Calibration


PERCENT = {0: "0", 0.5: "50", 1: "100"}
"""Ticks of both axes, in percent."""
TOPS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
"""Where the scale of a strip of counts may end."""


def reliability_diagram(ax: Axes, result: Calibration, color: str = style.PALETTE["mixup"]) -> None:
    """Bars up to each bin's accuracy. The gap to its confidence is hatched: above the bar where the confidence is too
    high, tinted inside it where it is too low. The dashed line is perfect calibration. Labels are the caller's."""
    full = result.count > 0
    low, width = result.edges[:-1][full], np.diff(result.edges)[full]
    accuracy, confidence = result.bin_accuracy[full], result.bin_confidence[full]
    bottom, over = np.minimum(accuracy, confidence), confidence > accuracy
    ax.bar(low, bottom, width, align="edge", color=color, edgecolor="white", linewidth=0.4)
    for chosen, kind in ((over, "over"), (~over, "under")):
        tall = np.abs(accuracy - confidence)[chosen]
        ax.bar(low[chosen], tall, width[chosen], bottom[chosen], align="edge", **_gap_looks(kind, color))
    ax.plot((0, 1), (0, 1), color=style.INK, linewidth=0.7, linestyle=(0, (4, 2)), zorder=3)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", yticks=list(PERCENT), yticklabels=list(PERCENT.values()))
    _percent_below(ax)


def _percent_below(ax: Axes) -> None:
    """The outer numbers end with the axis, so that they don't touch those of the next diagram."""
    ax.set_xticks(list(PERCENT), list(PERCENT.values()))
    first, *_, last = ax.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")


def _gap_looks(kind: str, color: str) -> dict[str, Any]:
    """Hatched on white for confidence that is not borne out, on a tint for accuracy that was not expected."""
    from matplotlib.colors import to_rgb

    tint = tuple(0.3 * part + 0.7 for part in to_rgb(color))
    face, hatch = ("white", "//////") if kind == "over" else (tint, "")
    return {"facecolor": face, "edgecolor": color, "hatch": hatch, "linewidth": 0.5}


def gap_legend(place: Figure | Axes, *, below: bool = False) -> None:
    """Which gap is over-confidence and which under-confidence: below a figure, `below` the name of the x axis of axes,
    or in the middle of empty ones."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
    from matplotlib.transforms import ScaledTranslation

    kinds = {
        "accuracy": {"facecolor": style.MUTED},
        "over-confident": _gap_looks("over", style.MUTED),
        "under-confident": _gap_looks("under", style.MUTED),
    }
    patches = [Patch(label=text, **looks) for text, looks in kinds.items()]
    where: dict[str, Any] = {"loc": "center"}
    if isinstance(place, Figure):
        where = {"loc": "outside lower center", "ncols": 3}
    elif below:
        lower = ScaledTranslation(0, -2.8 * style.points() / 72, style.page(place).dpi_scale_trans)
        where |= {"loc": "upper center", "ncols": 3, "bbox_to_anchor": (0.5, 0)}
        where["bbox_transform"] = place.transAxes + lower
    place.legend(handles=patches, handlelength=1.4, **where)


def counts_strip(ax: Axes, result: Calibration, top: float = 0.0) -> Axes:
    """A strip under the diagram, on the same x axis: the share of the images in each bin, on a scale from 0 to `top`,
    which diagrams that stand side by side have in common (`strip_top`); by itself to the next round number."""
    strip = ax.inset_axes((0, -0.34, 1, 0.24), sharex=ax)
    top = top or strip_top([result])
    strip.bar(
        result.edges[:-1], result.share, np.diff(result.edges), align="edge", color=style.FAINT, edgecolor="white",
        linewidth=0.4,
    )  # fmt: skip
    ax.tick_params(labelbottom=False)
    _percent_below(strip)
    strip.set(ylim=(0, top), yticks=(0, top), yticklabels=("", f"{100 * top:g}"))
    strip.get_yticklabels()[1].set_verticalalignment("top")  # clear of the diagram's 0
    return strip


def strip_top(results: Sequence[Calibration]) -> float:
    """The round share up to which the strips of these results reach."""
    highest = max(float(result.share.max()) for result in results)
    return next(top for top in TOPS if highest <= top + 1e-9)


def name_sides(ax: Axes, strip: Axes) -> None:
    """Names of the two vertical axes, one above the other."""
    ax.set_ylabel("accuracy (%)")
    strip.set_ylabel("images\n(%)", fontsize="small", linespacing=1.1)


def signed(value: float) -> str:
    """One decimal, with its sign (a true minus)."""
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")
