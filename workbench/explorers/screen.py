"""A figure on the screen: a picture widget as wide as a page or as a column, and as high as the figure comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.explorers import parts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDE, NARROW = 900, 620
"""Pixels of a figure over the page, and of one that is made for a column."""
ROOMY = 4.5
"""Inches from which a figure is one for the page."""
SHARP = 1.6
"""Pixels of the picture to one of the page: text stays crisp on dense screens."""


class Screen:
    """A place for a figure; empty until one is shown."""

    def __init__(self) -> None:
        self.widget = parts.picture(WIDE, 1)
        self.widget.layout.height = "auto"
        self.widget.layout.max_width = "calc(100% - 4px)"  # in a narrow notebook it shrinks, its margins kept
        self.clear()

    def show(self, figure: Figure) -> None:
        """Show a figure; text comes out at about one size, whatever the width in inches."""
        wide = figure.get_figwidth()
        pixels = WIDE if wide >= ROOMY else NARROW
        self.widget.layout.width = f"{pixels}px"
        self.widget.value = parts.figure_png(figure, dpi=SHARP * pixels / wide)
        self.widget.layout.display = None

    def clear(self) -> None:
        """Show nothing and take no room."""
        self.widget.value = parts.encode(np.full((1, 1, 3), 255, np.uint8))
        self.widget.layout.display = "none"
