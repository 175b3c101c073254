"""Labels written beside points, placed where they cover nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEAR = 4.0
"""Points between a marker's centre and its label."""
RINGS = (1.0, 1.8, 3.0, 4.5)
DIRECTIONS = np.radians((0, 180, 90, 270, 45, 135, 315, 225, 20, 160, 340, 200))
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
class Places:
    """Where the label of one point could stand, L places."""

    offset: np.ndarray
    """(L, 2) of the label's centre from the point, in points."""
    box: np.ndarray
    """(L, 4) left, bottom, right, top in pixels."""
    ring: np.ndarray
    """(L,) how far out, 1 being next to the point."""


def find_places(ax: Axes, points: Sequence[Point]) -> list[tuple[Places, int]] | None:
    """The places of every point's label and which of them was chosen, such that labels stand inside the axes and
    touch no other label, marker or error bar; None where they don't all fit. The layout is settled first."""
    style.page(ax).draw_without_rendering()
    ink = np.concatenate([_ink(ax, p) for p in points])
    places = [_places(ax, p) for p in points]
    chosen = [0] * len(points)
    costs: list[float] = []
    for _ in range(ROUNDS):
        before, costs = list(chosen), []
        for i, own in enumerate(places):
            others = [p.box[k] for j, (p, k) in enumerate(zip(places, chosen, strict=True)) if j != i]
            cost = _cost(own, np.concatenate([ink, *(o[None] for o in others)]), ax)
            chosen[i] = int(cost.argmin())
            costs.append(float(cost[chosen[i]]))
        if chosen == before:
            break
    return list(zip(places, chosen, strict=True)) if max(costs) < BAD else None


def write_labels(ax: Axes, points: Sequence[Point], found: Sequence[tuple[Places, int]]) -> None:
    """Write the labels; a thin line leads to one that had to stand away from its point, unless it stands straight
    beyond an error bar, which leads there itself."""
    line = {"arrowstyle": "-", "color": style.FAINT, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
    for point, (places, k) in zip(points, found, strict=True):
        led = places.ring[k] > RINGS[1] and np.abs(places.offset[k]).min() > 1e-6
        note = ax.annotate(
            point.text, (point.x, point.y), tuple(places.offset[k]), textcoords="offset points", ha="center",
            va="center", fontsize="small", color=point.color, arrowprops=line if led else None,
        )  # fmt: skip
        note.set_in_layout(False)


def _ink(ax: Axes, p: Point) -> np.ndarray:
    """(2, 4) boxes in pixels that marker and error bars take, across and up, with a little air."""
    unit = style.page(ax).dpi / 72
    x, y = ax.transData.transform((p.x, p.y))
    left, low = ax.transData.transform((p.x - p.x_error, p.y - p.y_error))
    half, air = 3 * unit, 2 * unit
    wide, tall = max(x - left + air, half), max(y - low + air, half)
    return np.array([[x - wide, y - half, x + wide, y + half], [x - half, y - tall, x + half, y + tall]])


def _places(ax: Axes, p: Point) -> Places:
    """Around the point, on rings: the label's nearest edge or corner lies on the ring."""
    figure = style.page(ax)
    size = 72 * np.array(style.text_size(figure, p.text, 5 / 6 * style.points()))
    ring, angle = (grid.ravel() for grid in np.meshgrid(RINGS, DIRECTIONS, indexing="ij"))
    toward = np.stack([np.cos(angle), np.sin(angle)], 1)
    offset = toward * (NEAR * ring[:, None] + size / 2)
    center = ax.transData.transform((p.x, p.y)) + offset * figure.dpi / 72
    half = size / 2 * figure.dpi / 72
    return Places(offset, np.concatenate([center - half, center + half], 1), ring)


def _cost(places: Places, others: np.ndarray, ax: Axes) -> np.ndarray:
    """(L,) what is covered of other boxes, in areas of the label; being outside the axes counts most, then distance
    breaks ties."""
    area = np.prod(places.box[0, 2:] - places.box[0, :2])
    covered = overlap(places.box, others).sum(1) / area
    air = style.page(ax).dpi / 72 * np.array([2, 2, -2, -2])  # two points off the edges
    outside = 1 - overlap(places.box, np.array([ax.bbox.extents + air]))[:, 0] / area
    return 20 * outside + 30 * covered + 0.3 * (places.ring - 1)


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(A, 4) and (B, 4) boxes -> (A, B) areas that they share."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    return np.prod(np.maximum(sides, 0), axis=-1)
