"""The one home of looks: a fixed colour, marker and line for every method (`palette`), the venues' page widths and new
figures (`pages`), grids of pictures (`grids`), and the style sheet `workbench.mplstyle`.

Nothing here changes matplotlib's global settings: figures are made inside `paper(venue, columns)`, which starts from
matplotlib's defaults, adds the sheet, and puts everything back. Sizes are inches, text sizes points.
"""

from workbench.style.grids import GridRow, image_grid
from workbench.style.pages import (
    SMALLEST,
    VENUES,
    Venue,
    fit_height,
    legend_columns,
    new_axes,
    new_figure,
    page,
    page_width,
    paper,
    points,
    settle,
    text_size,
    wrap,
)
from workbench.style.palette import (
    FAINT,
    INK,
    LABELS,
    LINES,
    MARKERS,
    MUTED,
    PALETTE,
    Look,
    dark,
    label,
    look,
    oklab,
    rank,
)

__all__ = [
    "FAINT",
    "INK",
    "LABELS",
    "LINES",
    "MARKERS",
    "MUTED",
    "PALETTE",
    "SMALLEST",
    "VENUES",
    "GridRow",
    "Look",
    "Venue",
    "dark",
    "fit_height",
    "image_grid",
    "label",
    "legend_columns",
    "look",
    "new_axes",
    "new_figure",
    "oklab",
    "page",
    "page_width",
    "paper",
    "points",
    "rank",
    "settle",
    "text_size",
    "wrap",
]
