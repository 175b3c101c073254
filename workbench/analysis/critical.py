"""The critical-difference diagram: mean ranks on a line, methods hung below it, bars over what is not told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from workbench.analysis.ranking import Ranking

STEP = 1.0
"""Height of a line of the diagram, in data units."""


def critical_differences(ax: Axes, result: Ranking) -> None:
    """Ranks run from the worst on the left to 1 on the right; the better half of the methods hangs on the right."""
    rank, methods = result.mean_rank, len(result.label)
    by_rank = np.argsort(rank, kind="stable")
    bars = cliques(rank[by_rank], result.critical_difference)
    depth = STEP * (len(bars) + 1)
    ax.set_axis_off()
    ax.plot((1, methods), (0, 0), color=style.INK, linewidth=0.8)
    ax.set_xlim(methods + 1.9 + 0.1 * methods, -0.9 - 0.1 * methods)  # rank 1 on the right
    numbered = range(1, methods + 1, _apart(ax, methods))
    for tick in range(1, methods + 1):
        ax.plot((tick, tick), (0, (0.35 if tick in numbered else 0.2) * STEP), color=style.INK, linewidth=0.8)
    for tick in numbered:
        ax.text(tick, 0.5 * STEP, str(tick), ha="center", va="bottom", fontsize="small")
    for level, (first, last) in enumerate(bars, 1):
        ends = rank[by_rank[first]] - 0.05, rank[by_rank[last]] + 0.05
        ax.plot(ends, (-level * STEP * 0.8,) * 2, color=style.INK, linewidth=2.2, solid_capstyle="butt")
    half = -(-methods // 2)
    for place, row in enumerate(by_rank):
        right = place < half
        low = -depth - STEP * (place if right else methods - 1 - place)
        edge = 1 - 0.35 if right else methods + 0.35
        color = style.look(result.method[row]).color
        ax.plot((rank[row], rank[row], edge), (0, low, low), color=color, linewidth=0.9)
        ax.text(edge, low, f" {result.label[row]} ", ha="left" if right else "right", va="center", color=style.INK)
    _scale(ax, result)
    ax.set_ylim(-depth - STEP * half, 3.4 * STEP)


def _apart(ax: Axes, methods: int) -> int:
    """Ranks from one number on the axis to the next, so that there is half a number's width between them."""
    figure = style.page(ax)
    number = style.text_size(figure, str(methods), 5 / 6 * style.points())[0]
    rank = ax.get_position().width * figure.get_figwidth() / abs(np.ptp(ax.get_xlim()))
    return max(1, int(np.ceil(1.5 * number / rank)))


def _scale(ax: Axes, result: Ranking) -> None:
    """The critical difference as a length, and what the diagram rests on, in words."""
    cd, methods = result.critical_difference, len(result.label)
    about = f"mean ranks by accuracy of the final weights\n{len(result.seeds)} seed"
    about += "s" if len(result.seeds) > 1 else ""
    if np.isnan(cd):
        ax.set_title(f"{about}: too few for a critical difference", fontsize="small")
        return
    shown = min(cd, methods - 1)
    ax.plot((methods, methods - shown), (2.2 * STEP,) * 2, color=style.INK, linewidth=1.2, marker="|", markersize=5)
    beyond = "" if shown == cd else ", longer than the axis"
    ax.text(methods, 2.5 * STEP, f"CD {cd:.2f}{beyond}", ha="left", va="bottom", fontsize="small")
    p = result.friedman
    tested = f"; Friedman p = {p:.2g}" if np.isfinite(p) else ""
    ax.set_title(f"{about}{tested}", fontsize="small")


def cliques(ranks: Sequence[float] | np.ndarray, critical: float) -> list[tuple[int, int]]:
    """First and last index of each largest set of neighbours, in rising ranks, that lie within `critical` of each
    other; sets of one are left out."""
    found: list[tuple[int, int]] = []
    for first, rank in enumerate(ranks):
        last = int(np.flatnonzero(np.asarray(ranks) - rank <= critical).max()) if critical == critical else first
        if last > first and not any(a <= first and last <= b for a, b in found):
            found.append((first, last))
    return found
