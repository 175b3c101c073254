"""Grids of square pictures with labels, captions and small masks, at exactly the width of a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.style.pages import EDGE, SMALLEST, new_figure, points, text_size, wrap
from workbench.style.palette import MUTED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GAP, LINE, MARK = 0.03, 0.105, 0.3
"""Inches between pictures, of a line of notes; a small picture's side in sides of one."""


@dataclass(frozen=True)
class GridRow:
    """A row of pictures: (H, W) or (H, W, 3) arrays, uint8 or float in [0, 1]. Under each picture may stand a small
    picture (a mask) and a few characters of text."""

    label: str
    pictures: Sequence[np.ndarray]
    captions: Sequence[str] = ()
    small: Sequence[np.ndarray] = ()


Box = tuple[float, float, float]
"""Left edge, top edge (from the bottom of the page) and side of a square, in inches."""


def image_grid(blocks: Sequence[Sequence[GridRow]], width: float, *, notes: Sequence[str] = ()) -> Figure:
    """Square pictures in rows at exactly `width` inches: labels on the left, notes below, height as it comes.
    Several blocks of rows stand side by side, their rows at one height.

    Placed by hand and not by constrained layout, which leaves uneven gaps around pictures of fixed aspect.
    """
    figure = new_figure(width, 1.0, layout="none")
    rows = [row for block in blocks for row in block]
    labels = max(text_size(figure, row.label, points())[0] for row in rows) + 2 * GAP
    block_width = (width - 2 * EDGE + 3 * GAP) / len(blocks)
    number = max(len(row.pictures) for row in rows)
    side = (block_width - 3 * GAP - labels + GAP) / number - GAP
    strips = [max(_strip(figure, r, side) for r in level if r) for level in zip_longest(*blocks)]
    lines = [line for note in notes for line in wrap(figure, note, width - 2 * EDGE, SMALLEST)]
    figure.set_figheight(2 * EDGE + sum(side + strip + GAP for strip in strips) + len(lines) * LINE)
    for i, block in enumerate(blocks):
        top = figure.get_figheight() - EDGE
        for row, strip in zip(block, strips, strict=False):
            _grid_row(figure, row, (EDGE + i * block_width + labels, top, side))
            top -= side + strip + GAP
    for i, line in enumerate(reversed(lines)):
        _write(figure, EDGE, EDGE + (i + 0.5) * LINE, line, fontsize=SMALLEST, color=MUTED)
    return figure


def _strip(figure: Figure, row: GridRow, side: float) -> float:
    """Inches below the pictures of a row for small pictures and captions."""
    if not row.captions and not row.small:
        return 0.0
    return max(text_size(figure, "0", SMALLEST)[1], MARK * side if row.small else 0.0) + GAP


def _grid_row(figure: Figure, row: GridRow, first: Box) -> None:
    """Label, pictures, and what stands under each, centred together."""
    x, top, side = first
    _write(figure, x - 2 * GAP, top - side / 2, row.label, ha="right")
    for i, pixels in enumerate(row.pictures):
        _picture(figure, pixels, (x, top, side))
        caption = row.captions[i] if row.captions else ""
        mark = max(text_size(figure, "0", SMALLEST)[1], MARK * side) if row.small else 0.0
        middle = top - side - GAP / 2 - (mark or text_size(figure, "0", SMALLEST)[1]) / 2
        between = GAP if mark and caption else 0.0
        start = x + (side - mark - between - text_size(figure, caption, SMALLEST)[0]) / 2
        if row.small:
            _picture(figure, row.small[i], (start, middle + mark / 2, mark), frame=True)
        _write(figure, start + mark + between, middle, caption, fontsize=SMALLEST)
        x += side + GAP


def _picture(figure: Figure, pixels: np.ndarray, box: Box, *, frame: bool = False) -> None:
    (left, top, side), (width, height) = box, figure.get_size_inches()
    ax = figure.add_axes((left / width, (top - side) / height, side / width, side / height))
    ax.imshow(pixels, cmap="gray", vmin=0, vmax=255 if pixels.dtype == np.uint8 else 1)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=frame, linewidth=0.4, edgecolor=MUTED)


def _write(figure: Figure, x: float, y: float, text: str, **looks: Any) -> None:
    width, height = figure.get_size_inches()
    if text:
        figure.text(x / width, y / height, text, va="center_baseline", **looks)
