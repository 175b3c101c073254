"""Labels written beside points, placed where they cover nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.transforms import Bbox

from workbench import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEAR = 4.0
"""Points between a marker's centre and its label."""
RINGS = (1.0, 1.8, 3.0, 4.5)
DIRECTIONS = tuple(math.radians(a) for a in (0, 180, 90, 270, 45, 135, 315, 225, 20, 160, 340, 200))
ROUNDS = 6
BAD = 3.0
"""Cost from which a label visibly covers something: a tenth of its area."""


@dataclass(frozen=True)
class Point:
    """A point in data coordinates, the half lengths of its error bars, and what to write beside it."""

    x: float
    y: float
    x_error: float
    y_error: float
    text: str
    color: str


@dataclass(frozen=True)
class Place:
    """Where a label could stand: offset of its centre from the point in points, its box in pixels, how far it is."""

    offset: tuple[float, float]
    box: Bbox
    ring: float


def find_places(ax: Axes, points: Sequence[Point]) -> list[Place] | None:
    """Where every point's label can stand inside the axes without touching another label, a marker or an error bar;
    None where they don't all fit. The figure's layout is settled first."""
    figure = style.page(ax)
    figure.draw_without_rendering()
    obstacles = [box for p in points for box in _ink(ax, p)]
    choices = [_choices(ax, p) for p in points]
    chosen = [places[0] for places in choices]
    for _ in range(ROUNDS):
        for i, places in enumerate(choices):
            others = obstacles + [c.box for j, c in enumerate(chosen) if j != i]
            chosen[i] = min(places, key=lambda place: _cost(place, others, ax.bbox))
    worst = max(
        _cost(place, obstacles + [c.box for j, c in enumerate(chosen) if j != i], ax.bbox)
        for i, place in enumerate(chosen)
    )
    return chosen if worst < BAD else None


def write_labels(ax: Axes, points: Sequence[Point], places: Sequence[Place]) -> None:
    """Write the labels; a thin line leads to one that had to stand away from its point."""
    for point, place in zip(points, places, strict=True):
        _write(ax, point, place)


def _ink(ax: Axes, p: Point) -> list[Bbox]:
    """Pixels that the marker and the error bars of a point take, with a little air."""
    unit = style.page(ax).dpi / 72
    x, y = ax.transData.transform((p.x, p.y))
    left, low = ax.transData.transform((p.x - p.x_error, p.y - p.y_error))
    half, air = 3 * unit, 2 * unit
    wide, tall = max(x - left + air, half), max(y - low + air, half)
    return [Bbox.from_extents(x - wide, y - half, x + wide, y + half),
            Bbox.from_extents(x - half, y - tall, x + half, y + tall)]  # fmt: skip


def _choices(ax: Axes, p: Point) -> list[Place]:
    """Around the point, on rings: the label's nearest edge or corner lies on the ring."""
    figure = style.page(ax)
    unit = figure.dpi / 72
    width, height = (72 * inches for inches in style.text_size(figure, p.text, _size()))
    x, y = ax.transData.transform((p.x, p.y))
    places = []
    for ring in RINGS:
        for angle in DIRECTIONS:
            dx = math.cos(angle) * (ring * NEAR + width / 2)
            dy = math.sin(angle) * (ring * NEAR + height / 2)
            center = (x + dx * unit, y + dy * unit)
            box = Bbox.from_bounds(
                center[0] - width * unit / 2, center[1] - height * unit / 2, width * unit, height * unit
            )
            places.append(Place((dx, dy), box, ring))
    return places


def _cost(place: Place, others: Sequence[Bbox], inside: Bbox) -> float:
    """Pixels covered, in areas of the label; outside the axes counts most, then distance breaks ties."""
    area = place.box.width * place.box.height
    covered = sum(_overlap(place.box, other) for other in others) / area
    outside = 1 - _overlap(place.box, inside) / area
    return 20 * outside + 30 * covered + 0.3 * (place.ring - 1)


def _overlap(a: Bbox, b: Bbox) -> float:
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(width, 0.0) * max(height, 0.0)


def _write(ax: Axes, p: Point, place: Place) -> None:
    line = {"arrowstyle": "-", "color": style.FAINT, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
    note = ax.annotate(
        p.text, (p.x, p.y), place.offset, textcoords="offset points", ha="center", va="center", fontsize="small",
        color=p.color, arrowprops=line if place.ring > RINGS[1] else None,
    )  # fmt: skip
    note.set_in_layout(False)


def _size() -> float:
    return style.points() * 5 / 6
