"""The one home of looks: a fixed colour, marker and line for every method, the venues' page widths, axes, grids of
pictures.

Nothing here changes matplotlib's global settings: figures are made inside `paper(venue, columns)`, which starts from
matplotlib's defaults, adds `workbench.mplstyle`, and puts everything back. Sizes are inches, text sizes points.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.config import UsageError, choose

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHEET = Path(__file__).with_name("workbench.mplstyle")
SMALLEST = 6.0
"""Points of the smallest text in any figure."""
EDGE, GAP, LINE, MARK = 0.015, 0.03, 0.105, 0.3
"""Inches around a page of pictures, between pictures, of a line of notes; a small picture's side in sides of one."""
INK, MUTED, FAINT = "#222222", "#666666", "#b8b8b8"
"""Text and axes; secondary text; guide lines and frames."""

# ---------------------------------------------------------------------------------------------- a look per method

LABELS: Mapping[str, str] = {
    "vanilla": "Vanilla",
    "mixup": "Mixup",
    "cutmix": "CutMix",
    "deit": "DeiT",
    "smoothmix": "SmoothMix",
    "gridmix": "GridMix",
    "resizemix": "ResizeMix",
    "fmix": "FMix",
    "manifoldmix": "ManifoldMix",
    "saliencymix": "SaliencyMix",
    "attentivemix": "AttentiveMix+",
    "puzzlemix": "PuzzleMix",
    "comixup": "Co-Mixup",
    "alignmix": "AlignMix",
    "automix": "AutoMix",
    "samix": "SAMix",
    "adautomix": "AdAutoMix",
    "transmix": "TransMix",
    "smmix": "SMMix",
    "decouplemix": "DecoupleMix",
}
"""Display names, in the order in which tables and legends list the methods."""

# Searched for the largest smallest distance (OKLab) between any two, seen with normal, protan and deutan vision;
# vanilla, mixup, cutmix, manifoldmix and automix also lie a tenth of the lightness scale apart.
PALETTE: Mapping[str, str] = {
    "vanilla": "#808080",
    "mixup": "#17458f",
    "cutmix": "#f2a81d",
    "deit": "#1774a1",
    "smoothmix": "#80b5fb",
    "gridmix": "#9f9a1d",
    "resizemix": "#b66610",
    "fmix": "#fd7a6f",
    "manifoldmix": "#27b594",
    "saliencymix": "#35600a",
    "attentivemix": "#7ce588",
    "puzzlemix": "#408df2",
    "comixup": "#b687c8",
    "alignmix": "#1ce3ee",
    "automix": "#bd1747",
    "samix": "#630055",
    "adautomix": "#7f55ce",
    "transmix": "#5b2a0b",
    "smmix": "#824c74",
    "decouplemix": "#eeb3c1",
}

# Twenty colours can't all be told apart, by anybody: the marker is each method's own, the line tells its kind.
MARKERS: Mapping[str, Any] = {
    "vanilla": "o",
    "mixup": "s",
    "cutmix": "^",
    "deit": "p",
    "smoothmix": "8",
    "gridmix": "P",
    "resizemix": "v",
    "fmix": "h",
    "manifoldmix": "D",
    "saliencymix": "<",
    "attentivemix": ">",
    "puzzlemix": "X",
    "comixup": "d",
    "alignmix": "H",
    "automix": "*",
    "samix": (6, 1, 0),
    "adautomix": (4, 1, 0),
    "transmix": (4, 1, 45),
    "smmix": (8, 1, 0),
    "decouplemix": (5, 0, 180),
}
_PIXELS, _SALIENCY, _FEATURES, _LEARNED, _LABELS = (
    "-",
    (0, (5, 1.2)),
    (0, (1.2, 1)),
    (0, (6, 1.2, 1.2, 1.2)),
    (0, (3, 1)),
)
LINES: Mapping[str, Any] = {
    **dict.fromkeys(("vanilla", "mixup", "cutmix", "deit", "smoothmix", "gridmix", "resizemix", "fmix"), _PIXELS),
    **dict.fromkeys(("saliencymix", "attentivemix", "puzzlemix", "comixup"), _SALIENCY),
    **dict.fromkeys(("manifoldmix", "alignmix"), _FEATURES),
    **dict.fromkeys(("automix", "samix", "adautomix"), _LEARNED),
    **dict.fromkeys(("transmix", "smmix", "decouplemix"), _LABELS),
}


@dataclass(frozen=True)
class Look:
    """How a method is drawn, everywhere."""

    color: str
    marker: Any
    line: Any

    @property
    def size(self) -> float:
        """Marker size in points: thin shapes are drawn larger, to weigh the same."""
        star = self.marker == "*" or (isinstance(self.marker, tuple) and self.marker[1] == 1)
        return 5.5 if star else 3.5


def look(method: str) -> Look:
    """The look of a method; one that the tables don't know (a user's own) gets one that depends on its name alone."""
    if method in PALETTE:
        return Look(PALETTE[method], MARKERS[method], LINES[method])
    seed = zlib.crc32(method.encode())
    markers = list(MARKERS.values())
    return Look(_own_color(seed), markers[seed % len(markers)], _LABELS)


def dark(color: str) -> str:
    """A darker shade of a colour, for text."""
    return "#" + "".join(f"{round(0.65 * 255 * part):02x}" for part in _rgb(color))


def label(method: str) -> str:
    """Display name of a method; a user's own keeps its name."""
    return LABELS.get(method, method)


def rank(method: str) -> tuple[int, str]:
    """Sort key: the order of LABELS, then unknown methods by name."""
    known = list(LABELS)
    return (known.index(method) if method in known else len(known), method)


def _own_color(seed: int) -> str:
    """Of 64 colours drawn with the seed, the one farthest from the palette."""
    drawn = np.random.default_rng(seed).integers(30, 200, (64, 3)) / 255
    known = oklab(np.array([_rgb(c) for c in PALETTE.values()]))
    distance = np.linalg.norm(oklab(drawn)[:, None] - known[None], axis=-1).min(1)
    red, green, blue = np.round(drawn[distance.argmax()] * 255).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _rgb(color: str) -> list[float]:
    return [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def oklab(rgb: np.ndarray) -> np.ndarray:
    """(..., 3) sRGB in [0, 1] -> OKLab (lightness, green-red, blue-yellow), where distances are about as seen.

    Source: B. Ottosson, "A perceptual color space for image processing", 2020.
    """
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return np.cbrt(linear @ to_cones.T) @ to_lab.T


# ------------------------------------------------------------------------------------------------------- the page


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

    width = page_width(venue, columns)
    own = {"font.size": VENUES[venue].font, "figure.figsize": (width, 0.62 * width)}
    with matplotlib.style.context(["default", str(SHEET), own]):
        yield width


def new_figure(width: float, height: float, layout: str = "constrained") -> Figure:
    """An empty figure that nobody else holds: nothing leaks, and a notebook shows it once (as a cell's value)."""
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(width, height), layout=layout)
    plt.close(figure)
    return figure


def new_axes(height: float = 0.62) -> Axes:
    """Axes in a figure of its own, which a notebook shows at the end of the cell; for `.plot()` without an `ax`.
    `height` in widths of the page."""
    from matplotlib import pyplot as plt

    width = plt.rcParams["figure.figsize"][0]
    return plt.figure(figsize=(width, height * width), layout="constrained").add_subplot()


def page(ax: Axes) -> Figure:
    """The figure that the axes stand in."""
    figure = ax.get_figure(root=True)
    assert figure is not None  # axes are only without one after they were removed
    return figure


def settle(figure: Figure) -> None:
    """Let constrained layout come to rest, so that the first drawing looks like all later ones."""
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
    """The text in lines of at most `width` inches, broken at spaces."""
    lines: list[str] = []
    for word in text.split():
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


# ----------------------------------------------------------------------------------------------- grids of pictures


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


def points() -> float:
    """Size of ordinary text, inside `paper`."""
    import matplotlib

    return matplotlib.rcParams["font.size"]


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
