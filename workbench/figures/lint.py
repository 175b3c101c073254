"""What is wrong with a figure: of its layout and colours, found by drawing it and looking at where everything landed,
and of the files that were written, found by reading them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workbench import style
from workbench.config import RunFailed
from workbench.figures.colorblind import confused
from workbench.style import fonts

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

TOLERANCE = 0.5
"""Points that an artist may stick out, or two texts may overlap: less than the width of a line."""


class Faulty(RunFailed):
    """Figures were written, but break the rules of a paper: a line a fault, then what was written all the same."""

    def __init__(self, faults: Sequence[str], written: Sequence[Path] = ()) -> None:
        listed = ["written all the same:", *(f"  {path}" for path in written)] if written else []
        super().__init__("\n".join([*faults, *listed]))
        self.faults, self.written = list(faults), list(written)


def faults(figure: Figure) -> list[str]:
    """What is wrong, a line each, naming the artist: parts that reach over the edge of the page and so are lost,
    texts that lie over each other, texts under `style.SMALLEST` points, characters that no font has, and what differs
    in its colour alone where the colour-blind see none. The figure is drawn, not changed."""
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
        *_boxes([text for text, _ in texts]),
        *(
            f"told apart by colour alone, alike to {vision} vision: {_labelled(a.artist, a.label)} and "
            f"{_labelled(b.artist, b.label)}"
            for a, b, vision in confused(figure)
        ),
    ]


def _boxes(texts: Sequence[Text]) -> list[str]:
    """What is drawn as boxes, in one line for all: such names come by the dozen."""
    missing = [(text, fonts.lacking(text.get_text(), text.get_fontfamily())) for text in texts]
    boxed = [(text, characters) for text, characters in missing if characters]
    if not boxed:
        return []
    listed = "".join(dict.fromkeys("".join(characters for _, characters in boxed)))
    more = f" and {len(boxed) - 1} more" if len(boxed) > 1 else ""
    return [f"no font here has {listed!r}: {_name(boxed[0][0])}{more} (looked for: {', '.join(fonts.WIDE)})"]


def file_faults(path: Path, width: float) -> list[str]:
    """What is wrong with a written file, a line each: fonts that are not TrueType (PDF), a page that is not `width`
    inches wide (PDF, SVG: to 1/100 point; PNG: to the pixel). Nothing for other kinds."""
    check = FILES.get(path.suffix)
    return check(path, width) if check else []


def _pdf_faults(path: Path, width: float) -> list[str]:
    plain = re.sub(rb"stream\r?\n.*?endstream", b"", path.read_bytes(), flags=re.DOTALL)
    boxes = re.findall(rb"/MediaBox\s*\[\s*([\d.]+)\s+([\d.]+)\s+([\d.]+)", plain)
    found = [_width_fault(float(right) - float(left), width) for left, _, right in boxes] or ["no page"]
    for thing in plain.split(b"endobj"):
        kind = re.search(rb"/Subtype\s*/(Type3|Type1C?|MMType1|CIDFontType0)\b|/(FontFile3?)\b", thing)
        if kind:
            name = re.search(rb"/(?:BaseFont|FontName)\s*/([^\s/<>\[\]]+)", thing)
            font = name[1].decode() if name else "without a name"
            found.append(f"font {font} is {(kind[1] or kind[2]).decode()}, not TrueType (Type 42)")
    return [fault for fault in found if fault]


def _svg_faults(path: Path, width: float) -> list[str]:
    page = re.search(r'<svg[^>]*?\swidth="([\d.]+)pt"', path.read_text(encoding="utf-8"))
    fault = _width_fault(float(page[1]), width) if page else "no page"
    return [fault] if fault else []


def _png_faults(path: Path, width: float) -> list[str]:
    from PIL import Image

    with Image.open(path) as picture:
        wide, dots = picture.width, float(picture.info.get("dpi", (72,))[0])
    return [] if abs(wide - width * dots) <= 1 else [f"page is {wide / dots:.3f} in wide, not {width:g} in"]


def _width_fault(points: float, width: float) -> str:
    return "" if abs(points - 72 * width) <= 0.01 else f"page is {points:.2f} pt wide, not {72 * width:.2f} pt"


FILES: Mapping[str, Callable[[Path, float], list[str]]] = {
    ".pdf": _pdf_faults,
    ".svg": _svg_faults,
    ".png": _png_faults,
}


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
            even = axis.get_transform().transform  # a logarithmic axis is even in the logarithm
            low, high = sorted(even(np.asarray(axis.get_view_interval(), float)))
            slack = 1e-6 * (high - low)
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not low - slack <= even(float(tick.get_loc())) <= high + slack:
                    undrawn.update(tick.findobj(Text))
    return undrawn


def _name(artist: Artist) -> str:
    text = getattr(artist, "get_text", str)()
    return f"{type(artist).__name__} {text!r}" if text else type(artist).__name__


def _labelled(artist: Artist, label: str) -> str:
    return f"{type(artist).__name__} {label!r}"
