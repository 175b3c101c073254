"""The venues' page widths, new figures and axes in the looks of a paper, and how much room text takes.

Sizes are inches, text sizes points.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.config import UsageError, choose
from workbench.style import fonts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHEET = Path(__file__).with_name("workbench.mplstyle")
SMALLEST = 6.0
"""Points of the smallest text in any figure."""
EDGE = 0.015
"""Inches left free around what is in a page of pictures."""
WORD = r"\S+(?: (?:\N{PLUS-MINUS SIGN} \S+|%\S*))*"
"""What a line may not be broken in."""
PASSES, STILL = 8, 1e-4
"""Passes of a layout at most, and the share of the figure by which axes may move when it has come to rest."""


@dataclass(frozen=True)
class Venue:
    """Inches of one column and of the whole text (the same where the page has one column), points of the text in
    figures (about one below the venue's captions)."""

    column: float
    text: float
    font: float


VENUES: Mapping[str, Venue] = {
    "cvpr": Venue(3.25, 6.875, 8),
    "iccv": Venue(3.25, 6.875, 8),  # the template of CVPR
    "eccv": Venue(4.8, 4.8, 8),
    "icml": Venue(3.25, 6.75, 8),
    "neurips": Venue(5.5, 5.5, 9),
    "iclr": Venue(5.5, 5.5, 9),
    "tpami": Venue(3.5, 7.16, 8),  # IEEE's author guide: 21 and 43 picas
}


def page_width(venue: str, columns: int = 1) -> float:
    """Inches of `columns` (1 or 2) columns of a venue's page."""
    page = choose(VENUES, venue, "venue")
    if columns not in (1, 2):
        raise UsageError(f"columns must be 1 or 2, got {columns!r}")
    return page.column if columns == 1 else page.text


@contextmanager
def paper(venue: str = "cvpr", columns: int = 1) -> Iterator[float]:
    """Inside: the looks of a paper at this venue, whatever was set before. Gives the width of the page in inches."""
    import matplotlib.style
    from matplotlib import pyplot  # noqa: F401  # a notebook's backend changes settings when it is first imported

    width = page_width(venue, columns)
    own = {"font.family": fonts.families(), "font.size": VENUES[venue].font, "figure.figsize": (width, 0.62 * width)}
    with matplotlib.style.context(["default", str(SHEET), own]):
        yield width


def new_figure(width: float, height: float, layout: str = "constrained") -> Figure:
    """An empty figure that nobody else holds: nothing leaks, and a notebook shows it once (as a cell's value).
    `layout`: constrained, compressed (panels that keep their shape) or none; the first two come to rest at every
    drawing (`settle`)."""
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(width, height), layout=_layout(layout))
    plt.close(figure)
    return figure


def new_axes(height: float = 0.62) -> Axes:
    """Axes in a figure of its own, which a notebook shows at the end of the cell; for `.plot()` without an `ax`.
    `height` in widths of the page."""
    from matplotlib import pyplot as plt

    width = plt.rcParams["figure.figsize"][0]
    return plt.figure(figsize=(width, height * width), layout=_layout("constrained")).add_subplot()


def page(ax: Axes) -> Figure:
    """The figure that the axes stand in."""
    figure = ax.get_figure(root=True)
    assert figure is not None  # axes are only without one after they were removed
    return figure


def _layout(kind: str) -> Any:
    """matplotlib's own layout of this name, repeated at every drawing until the axes stay where they are: one pass
    changes the axes, and with them which ticks fit, so that the next drawing would look different, or be cut."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if kind == "none":
        return kind

    class Settled(ConstrainedLayoutEngine):
        def execute(self, fig: Figure) -> Any:
            before = _places(fig)
            for _ in range(PASSES):
                grids = super().execute(fig)
                after = _places(fig)
                if before.shape == after.shape and np.allclose(before, after, rtol=0, atol=STILL):
                    break
                before = after
            return grids

    return Settled(compress=kind == "compressed")


def _places(figure: Figure) -> np.ndarray:
    """(axes, 4) edges of all axes, in shares of the figure."""
    return np.array([ax.get_position().extents for ax in figure.axes])


def settle(figure: Figure) -> None:
    """Let the constrained layout of anybody's figure come to rest; those of `new_figure` do so by themselves."""
    for _ in range(3):
        figure.draw_without_rendering()


def fit_height(figure: Figure) -> None:
    """Make the figure as high as what is in it; for layouts whose panels keep their shape at a given width."""
    for _ in range(3):  # a new height moves things a little
        figure.draw_without_rendering()
        content = figure.get_tightbbox()
        figure.set_figheight(content.height + 2 * EDGE)


def text_size(figure: Figure, text: str, size: float) -> tuple[float, float]:
    """(width, height) in inches that a text of `size` points takes in this figure."""
    probe = figure.text(0, 0, text, fontsize=size)
    box = probe.get_window_extent()
    probe.remove()
    return box.width / figure.dpi, box.height / figure.dpi


def wrap(figure: Figure, text: str, width: float, size: float) -> list[str]:
    """The text in lines of at most `width` inches, broken at spaces, but for those around a plus-minus sign and before
    a percent sign."""
    lines: list[str] = []
    for word in (found[0] for found in re.finditer(WORD, text)):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_size(figure, longer, size)[0] <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def legend_columns(width: float, labels: Sequence[str]) -> int:
    """As many columns of a legend as fit into `width` inches, in rows of about equal length."""
    small = 5 / 6 * points()
    probe = new_figure(1, 1, layout="none")
    longest = max(text_size(probe, text, small)[0] for text in labels) + 4 * small / 72  # with its piece of line
    fitting = max(1, int(width / longest))
    rows = -(-len(labels) // fitting)
    return -(-len(labels) // rows)


def points() -> float:
    """Size of ordinary text, inside `paper`."""
    import matplotlib

    return matplotlib.rcParams["font.size"]
