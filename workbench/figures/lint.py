"""What is wrong with a figure's layout, found by drawing it and looking at where everything landed."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from workbench import style

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

TOLERANCE = 0.5
"""Points that an artist may stick out, or two texts may overlap: less than the width of a line."""


def faults(figure: Figure) -> list[str]:
    """What is wrong, a line each, naming the artist: parts that reach over the edge of the page and so are lost,
    texts that lie over each other, texts under `style.SMALLEST` points. The figure is drawn, not changed."""
    from matplotlib.text import Text

    figure.draw_without_rendering()
    texts = [(text, Text.get_window_extent(text)) for text in _texts(figure)]  # without the arrows of annotations
    cut = [artist for artist, box in [*_frames(figure), *texts] if _sticks_out(box, figure)]
    covered = [(a, b) for (a, box), (b, other) in combinations(texts, 2) if _overlap(box, other, figure)]
    small = [text for text, _ in texts if float(text.get_fontsize()) < style.SMALLEST]
    return [
        *(f"cut off: {_name(artist)}" for artist in cut),
        *(f"on each other: {_name(a)} and {_name(b)}" for a, b in covered),
        *(f"{text.get_fontsize():g} pt, too small: {_name(text)}" for text in small),
    ]


def _sticks_out(box: Bbox, figure: Figure) -> bool:
    page, slack = figure.bbox, TOLERANCE * figure.dpi / 72
    low, high = min(box.x0 - page.x0, box.y0 - page.y0), max(box.x1 - page.x1, box.y1 - page.y1)
    return low < -slack or high > slack


def _overlap(a: Bbox, b: Bbox, figure: Figure) -> bool:
    slack = TOLERANCE * figure.dpi / 72
    wide, tall = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
    return wide > slack and tall > slack


def _frames(figure: Figure) -> list[tuple[Artist, Bbox]]:
    """What axes and legends cover, in pixels. Lines, bars and pictures are clipped to their axes."""
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend

    found = figure.findobj(lambda artist: isinstance(artist, (Axes, Legend)) and artist.get_visible())
    return [(artist, artist.get_window_extent()) for artist in found]


def _texts(figure: Figure) -> list[Text]:
    """All texts that are drawn."""
    from matplotlib.text import Text

    hidden = _undrawn(figure)
    return [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible() and t not in hidden]


def _undrawn(figure: Figure) -> set[Artist]:
    """Texts that axes hold but don't draw: all of an axis that is off, labels of ticks outside the limits."""
    from matplotlib.axes import Axes
    from matplotlib.text import Text

    undrawn: set[Artist] = set()
    for ax in figure.findobj(Axes):
        if not ax.get_visible():
            undrawn.update(ax.findobj(Text))
        for axis in (ax.xaxis, ax.yaxis):
            if not (ax.axison and axis.get_visible()):
                undrawn.update(axis.findobj(Text))
            low, high = sorted(axis.get_view_interval())
            slack = 1e-6 * (high - low)
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not low - slack <= tick.get_loc() <= high + slack:
                    undrawn.update(tick.findobj(Text))
    return undrawn


def _name(artist: Artist) -> str:
    text = getattr(artist, "get_text", str)()
    return f"{type(artist).__name__} {text!r}" if text else type(artist).__name__
