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
    return [f"{_name(t)} at {t.get_fontsize():.1f} pt" for t in _texts(figure) if t.get_fontsize() < style.SMALLEST]


def _texts(figure: Figure) -> list[Text]:
    """All texts that are drawn, tick labels inside the limits of their axis included."""
    from matplotlib.text import Text

    hidden = _ticks_out_of_range(figure)
    return [
        text
        for text in figure.findobj(Text)
        if text.get_text().strip() and text not in hidden and _is_drawn(text, figure)
    ]


def _boxes(figure: Figure) -> list[tuple[Artist, Bbox]]:
    """What each text, axes and legend covers, in pixels; lines and bars are clipped to their axes."""
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend

    drawn: list[Artist] = [*_texts(figure)]
    drawn += [a for a in figure.findobj(lambda a: isinstance(a, (Axes, Legend))) if _is_drawn(a, figure)]
    free = [a for a in figure.findobj() if getattr(a, "get_clip_on", bool)() is False and hasattr(a, "axes") and a.axes]
    drawn += [a for a in free if _is_drawn(a, figure) and hasattr(a, "get_path")]
    return [(artist, artist.get_window_extent()) for artist in drawn]


def _ticks_out_of_range(figure: Figure) -> set[Text]:
    """Labels that an axis holds but does not draw, because their tick lies outside its limits."""
    hidden: set[Text] = set()
    for ax in figure.findobj(lambda a: hasattr(a, "get_xaxis") and hasattr(a, "get_yaxis")):
        for axis in (ax.get_xaxis(), ax.get_yaxis()):
            shown = {id(tick) for tick in axis._update_ticks()} if axis.get_visible() else set()
            for tick in [*axis.majorTicks, *axis.minorTicks]:
                if id(tick) not in shown:
                    hidden |= {tick.label1, tick.label2}
    return hidden


def _is_drawn(artist: Artist, figure: Figure) -> bool:
    """Visible, and so is everything that it stands in."""
    if not artist.get_visible():
        return False
    ax = getattr(artist, "axes", None)
    return ax is None or (ax.get_visible() and (ax.axison or artist not in [*ax.xaxis.get_children(), *ax.yaxis.get_children()]))


def _name(artist: Artist) -> str:
    text = getattr(artist, "get_text", str)()
    return f"{type(artist).__name__} {text!r}" if text else type(artist).__name__
