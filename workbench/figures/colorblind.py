"""Can readers with protan and deutan vision tell apart what a legend tells apart by colour?

Source of the matrices: Machado, Oliveira, Fernandes, "A physiologically-based model for simulation of color vision
deficiency", 2009, severity 1, on linear RGB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench import style

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VISIONS = {
    "normal": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
APART = 0.06
"""Distance in OKLab under which two colours are taken for one. The palette's nearest are 0.07 apart."""


@dataclass(frozen=True)
class Seen:
    """What a reader has to tell a labelled artist from others: colour, and everything else about its look."""

    artist: Artist
    label: str
    color: Any
    shape: tuple[Any, ...]


def confused(figure: Figure) -> list[tuple[Seen, Seen, str]]:
    """Pairs of labelled artists of one axes that differ in nothing but a colour which `vision` can't tell apart, and
    that no text in the axes names."""
    from matplotlib.axes import Axes

    found = []
    for ax in figure.findobj(Axes):
        for a, b in combinations(_seen(ax), 2):
            vision = _same_to(a, b)
            if vision:
                found.append((a, b, vision))
    return found


def distance(a: Any, b: Any, vision: str) -> float:
    """Of two colours in OKLab, as this vision sees them."""
    from matplotlib.colors import to_rgb

    pair = np.array([to_rgb(a), to_rgb(b)])
    linear = np.where(pair <= 0.04045, pair / 12.92, ((pair + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ VISIONS[vision].T, 0, 1)
    encoded = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    first, second = style.oklab(encoded)
    return float(np.linalg.norm(first - second))


def _same_to(a: Seen, b: Seen) -> str:
    """The vision to which both look alike; empty where all can tell them apart."""
    if a.label == b.label or a.shape != b.shape:
        return ""
    return next((vision for vision in VISIONS if distance(a.color, b.color, vision) < APART), "")


def _seen(ax: Axes) -> list[Seen]:
    """Lines, bars, points and areas with a label of their own that stands nowhere in the axes as text."""
    named = {text.get_text() for text in ax.texts}
    return [seen for seen in _looks(ax) if seen.label and not seen.label.startswith("_") and seen.label not in named]


def _looks(ax: Axes) -> Iterator[Seen]:
    from matplotlib.container import BarContainer, ErrorbarContainer

    for line in ax.lines:
        yield _line(line, str(line.get_label()))
    for container in ax.containers:
        if isinstance(container, ErrorbarContainer) and container.lines[0] is not None:
            yield _line(container.lines[0], str(container.get_label()))
        if isinstance(container, BarContainer) and container.patches:
            bar = container.patches[0]
            yield Seen(bar, str(container.get_label()), bar.get_facecolor(), ("bar", bar.get_hatch()))
    for area in ax.collections:
        if len(area.get_facecolor()):
            yield Seen(area, str(area.get_label()), area.get_facecolor()[0], (type(area).__name__, area.get_hatch()))


def _line(line: Any, label: str) -> Seen:
    dashes = str(getattr(line, "_unscaled_dash_pattern", line.get_linestyle()))  # no public name holds the pattern
    return Seen(line, label, line.get_color(), ("line", str(line.get_marker()), str(line.get_linestyle()), dashes))
