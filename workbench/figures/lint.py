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


def cut_off(figure: Figure) -> list[str]:
    """Names of the visible artists that reach over the edge of the page, so that a part of them is lost."""
    page = figure.bbox
    slack = TOLERANCE * figure.dpi / 72
    figure.draw_without_rendering()
    return [
        _name(artist)
        for artist, box in _boxes(figure)
        if box.x0 < page.x0 - slack or box.y0 < page.y0 - slack or box.x1 > page.x1 + slack or box.y1 > page.y1 + slack
    ]


def overlapping(figure: Figure) -> list[str]:
    """Pairs of visible texts that lie over each other."""
    from matplotlib.text import Text

    slack = TOLERANCE * figure.dpi / 72
    figure.draw_without_rendering()
    texts = [(text, Text.get_window_extent(text)) for text in _texts(figure)]  # without the arrows of annotations
    return [
        f"{_name(a)} and {_name(b)}"
        for (a, box_a), (b, box_b) in combinations(texts, 2)
        if min(box_a.x1, box_b.x1) - max(box_a.x0, box_b.x0) > slack
        and min(box_a.y1, box_b.y1) - max(box_a.y0, box_b.y0) > slack
    ]


def too_small(figure: Figure) -> list[str]:
    """Visible texts under `style.SMALLEST` points."""
    figure.draw_without_rendering()
    sizes = [(text, float(text.get_fontsize())) for text in _texts(figure)]
    return [f"{_name(text)} at {size:.1f} pt" for text, size in sizes if size < style.SMALLEST]


def _texts(figure: Figure) -> list[Text]:
    """All texts that are drawn."""
    from matplotlib.text import Text

    hidden = _undrawn(figure)
    return [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible() and t not in hidden]


def _boxes(figure: Figure) -> list[tuple[Artist, Bbox]]:
    """What each text, axes and legend covers, in pixels. Lines, bars and pictures are clipped to their axes."""
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend
    from matplotlib.text import Text

    frames = [a for a in figure.findobj(lambda a: isinstance(a, (Axes, Legend))) if a.get_visible()]
    return [(a, a.get_window_extent()) for a in frames] + [(t, Text.get_window_extent(t)) for t in _texts(figure)]


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
