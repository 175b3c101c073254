"""A page that is filled from the top: texts, formulas, rows of pictures, panels; as high as what is on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EDGE = 0.03
"""Inches left free on each side."""
LEADING = 1.25
"""Of a line of text, in its size."""

Draw = Callable[[float], None]
"""Draws a block whose top is so many inches above the bottom of the page."""


class Sheet:
    """Blocks are added one under another, and drawn by `finish`, which knows how high the page is. Sizes in inches,
    of text in points. To be used inside `style.paper`."""

    def __init__(self, width: float) -> None:
        self.width = width
        self.figure: Figure = style.new_figure(width, 1.0, layout="none")
        self.left, self.right = EDGE, width - EDGE
        self._blocks: list[tuple[float, Draw]] = []

    @property
    def room(self) -> float:
        """Inches across."""
        return self.right - self.left

    def beside(self, makers: Sequence[Callable[[], None]], starts: Sequence[float]) -> None:
        """What each maker adds in a column of its own, which starts so far from the left."""
        before, left, right = self._blocks, self.left, self.right
        parts = []
        for make, start, end in zip(makers, starts, [*(s - 0.12 for s in starts[1:]), right], strict=True):
            self._blocks, self.left, self.right = [], start, end
            make()
            parts.append(self._blocks)
        self._blocks, self.left, self.right = before, left, right

        def draw(top: float) -> None:
            for part in parts:
                _draw_down(part, top)

        self._blocks.append((max(sum(height for height, _ in part) for part in parts), draw))

    def rule(self) -> None:
        """A thin line across, with air around it."""
        from matplotlib.lines import Line2D

        left, right = self.left, self.right

        def draw(top: float) -> None:
            y = (top - 0.05) / self.height
            x = left / self.width, right / self.width
            self.figure.add_artist(Line2D(x, (y, y), color=style.FAINT, linewidth=0.5))

        self._blocks.append((0.1, draw))

    def text(self, text: str, size: float, indent: float = 0.0, **looks: Any) -> None:
        """Wrapped to the column from `indent` on."""
        for line in style.wrap(self.figure, text, self.room - indent, size):
            self._line(line, size, self.left + indent, LEADING * size / 72, looks)

    def named(self, name: str, text: str, size: float, indent: float) -> None:
        """A name in grey, and its text beside it."""
        before = len(self._blocks)
        self.text(text, size, indent)
        (height, draw), left = self._blocks[before], self.left

        def both(top: float) -> None:
            self._write(name, size, left, top - (height - size / 72) / 2, {"color": style.MUTED})
            draw(top)

        self._blocks[before] = (height, both)

    def formula(self, text: str, size: float) -> None:
        """A line of mathtext, smaller where it would not fit."""
        wide, tall = style.text_size(self.figure, text, size)
        size = max(style.SMALLEST, min(size, size * self.room / wide))
        self._line(text, size, self.left, max(LEADING * size / 72, tall + 0.03), {})

    def pictures(self, rows: Sequence[style.GridRow], side: float, labels: float) -> None:
        """Rows of pictures with a label on the left and captions below."""
        for row in rows:
            self._blocks.append((side + (0.12 if row.captions else 0.03), self._picture_row(row, side, labels)))

    def panels(self, draws: Sequence[Callable[[Axes], None]], side: float, margins: tuple[float, float, float]) -> None:
        """Square axes of `side` in a row, evenly over the page; `margins`: left of, above and below each."""
        left, above, below = margins
        step, start = self.room / len(draws), self.left

        def draw(top: float) -> None:
            for i, paint in enumerate(draws):
                x = start + i * step + left + max(0.0, step - left - side - 0.08) / 2
                paint(self._axes(x, top - above - side, side, side))

        self._blocks.append((above + side + below, draw))

    @property
    def height(self) -> float:
        return sum(height for height, _ in self._blocks) + 2 * EDGE

    def finish(self) -> Figure:
        """Draw everything."""
        self.figure.set_figheight(self.height)
        _draw_down(self._blocks, self.height - EDGE)
        return self.figure

    def _line(self, text: str, size: float, left: float, height: float, looks: dict[str, Any]) -> None:
        self._blocks.append((height, lambda top: self._write(text, size, left, top - (height - size / 72) / 2, looks)))

    def _write(self, text: str, size: float, left: float, top: float, looks: dict[str, Any]) -> None:
        self.figure.text(left / self.width, top / self.height, text, fontsize=size, va="top", **looks)

    def _axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        box = (left / self.width, bottom / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box)

    def _picture_row(self, row: style.GridRow, side: float, labels: float) -> Draw:
        start = self.left

        def draw(top: float) -> None:
            middle = (top - side / 2) / self.height
            self.figure.text(start / self.width, middle, row.label, va="center", fontsize="small", color=style.MUTED)
            for i, pixels in enumerate(row.pictures):
                left = start + labels + i * (side + 0.03)
                self._picture(pixels, left, top - side, side)
                if row.captions:
                    x = (left + side / 2) / self.width
                    y = (top - side - 0.02) / self.height
                    self.figure.text(x, y, row.captions[i], ha="center", va="top", fontsize=style.SMALLEST)

        return draw

    def _picture(self, pixels: np.ndarray, left: float, bottom: float, side: float) -> None:
        ax = self._axes(left, bottom, side, side)
        ax.imshow(pixels, cmap="gray", vmin=0, vmax=255 if pixels.dtype == np.uint8 else 1)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)


def _draw_down(blocks: Sequence[tuple[float, Draw]], top: float) -> None:
    for height, draw in blocks:
        draw(top)
        top -= height
