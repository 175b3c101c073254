"""The reliability diagram: accuracy by confidence, the gap between them, and where the predictions lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workbench import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.analysis.calibration import Calibration


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
    ticks, texts = (0, 0.5, 1), ("0", "0.5", "1")
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=ticks, xticklabels=texts, yticks=ticks, yticklabels=texts)


def _gap_looks(kind: str, color: str) -> dict[str, Any]:
    """Hatched on white for confidence that is not borne out, on a tint for accuracy that was not expected."""
    from matplotlib.colors import to_rgb

    tint = tuple(0.3 * part + 0.7 for part in to_rgb(color))
    face, hatch = ("white", "//////") if kind == "over" else (tint, "")
    return {"facecolor": face, "edgecolor": color, "hatch": hatch, "linewidth": 0.5}


def gap_legend(place: Figure | Axes) -> None:
    """Which gap is over-confidence and which under-confidence: below a figure, or in the middle of empty axes."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    kinds = {
        "accuracy": {"facecolor": style.MUTED},
        "over-confident": _gap_looks("over", style.MUTED),
        "under-confident": _gap_looks("under", style.MUTED),
    }
    patches = [Patch(label=text, **looks) for text, looks in kinds.items()]
    below = isinstance(place, Figure)
    where = {"loc": "outside lower center", "ncols": 3} if below else {"loc": "center"}
    place.legend(handles=patches, handlelength=1.4, **where)


def counts_strip(ax: Axes, result: Calibration) -> Axes:
    """A strip under the diagram, on the same x axis: the share of the predictions in each bin. The number in it is
    the share of its highest bar."""
    strip = ax.inset_axes((0, -0.34, 1, 0.24), sharex=ax)
    low, widths, share = result.edges[:-1], np.diff(result.edges), result.share
    strip.bar(low, share, widths, align="edge", color=style.FAINT, edgecolor="white", linewidth=0.4)
    ax.tick_params(labelbottom=False)
    right = share[low < 0.4].max() > share[low >= 0.6].max()
    strip.text(
        0.97 if right else 0.03, 0.95, f"{share.max():.2f}", transform=strip.transAxes, fontsize=style.SMALLEST,
        ha="right" if right else "left", va="top",
    )  # fmt: skip
    strip.set(ylim=(0, share.max()), yticks=())
    return strip


def name_sides(ax: Axes, strip: Axes) -> None:
    """Names of the two vertical axes, one above the other."""
    ax.set_ylabel("accuracy")
    width = 72 * style.text_size(style.page(ax), "0.5", 5 / 6 * style.points())[0]
    strip.set_ylabel("share", labelpad=width + 7)  # where the diagram has its ticks and their labels


def signed(value: float) -> str:
    """One decimal, with its sign (a true minus)."""
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")
