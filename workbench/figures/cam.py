"""Where nets look: one row an image, one column a method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from workbench import style
from workbench.analysis import StoredRun, stored
from workbench.analysis.groups import Group, group, one_setting
from workbench.figures.found import named

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from workbench.analysis.cam import Cam

SMALLEST_PICTURE, LARGEST_PICTURE = 0.52, 1.0
"""Inches; more methods than fit stand in further bands, each with the images on its left."""
NOTE, APART = 0.15, 0.12
"""Inches for the line at the bottom, and between two blocks of images."""
TALLEST = 8.4
"""Inches of a figure; as many images are shown as fit."""


def cam(runs: Sequence[StoredRun], *, venue: str = "cvpr", columns: int = 1, images: int | None = None) -> Figure:
    """The stored maps over their images, a column a method (its first seed among them), the outline of the object where
    the data knows it, and below each map the probability of the class that was asked.

    `images`: how many of them; as many as there are and fit.
    """
    groups = group(runs)
    one_setting(groups, "figure cam")
    found: Any = stored(list(runs), "cam")[0]
    covered = named(groups, found.runs)
    from workbench.analysis.cam_grid import rooms, wide

    with style.paper(venue, columns) as width:
        across = min(len(covered), max(1, int(width / _smallest(covered)) - 1))
        bands = math.ceil(len(covered) / across)
        across = math.ceil(len(covered) / bands)
        side = min(width / wide(across), LARGEST_PICTURE)
        caption, title = rooms(side)
        fitting = int((TALLEST / bands - title * side) / ((1 + caption) * side))
        rows = max(1, min(images or len(found.labels), len(found.labels), fitting))
        parts = [[_part(found, covered[i : i + across], 0, rows)] for i in range(0, len(covered), across)]
        half = (width - APART) / 2 / wide(across)
        if bands == 1 and rows > 1 and half >= SMALLEST_PICTURE:
            side, middle = half, -(-rows // 2)
            parts = [[_part(found, covered, 0, middle), _part(found, covered, middle, rows)]]
        return _draw(parts, width, side)


def _smallest(covered: Sequence[tuple[Group, list[int]]]) -> float:
    """Inches of a picture under which the longest label fits."""
    probe = style.new_figure(1, 1, layout="none")
    return max(SMALLEST_PICTURE, *(style.text_size(probe, g.label, 5 / 6 * style.points())[0] for g, _ in covered))


def _part(found: Cam, chosen: Sequence[tuple[Group, list[int]]], first: int, last: int) -> Cam:
    """The result of some of the methods, under their labels, and of some of the images."""
    rows = slice(first, last)
    nets = [places[0] for _, places in chosen]
    return replace(
        found,
        runs=tuple(g.label for g, _ in chosen),
        images=found.images[rows],
        labels=found.labels[rows],
        masks=found.masks[rows],
        maps=found.maps[nets, rows],
        asked=found.asked[nets, rows],
        probability=found.probability[nets, rows],
    )


def _draw(bands: Sequence[Sequence[Cam]], width: float, side: float) -> Figure:
    """The bands under one another, all with pictures of one size; of a band, the parts side by side."""
    from workbench.analysis.cam_grid import grid, rooms, wide

    figure, (caption, title) = style.new_figure(width, 1.0, layout="none"), rooms(side)
    across = [[side * wide(len(part.runs)) for part in band] for band in bands]
    tall = [side * (len(band[0].labels) * (1 + caption) + title) for band in bands]
    height = sum(tall) + NOTE
    figure.set_figheight(height)
    edge = (width - max(sum(w) + APART * (len(w) - 1) for w in across)) / 2
    top = height
    for band, widths, room in zip(bands, across, tall, strict=True):
        left = edge
        for part, w in zip(band, widths, strict=True):
            ax = figure.add_axes((left / width, (top - room) / height, w / width, room / height))
            grid(ax, part)
            ax.set_ylim(len(band[0].labels) * (1 + caption), -title)
            what = ax.get_xlabel()
            ax.set_xlabel("")
            left += w + APART
        top -= room
    figure.text(0.5, NOTE / 3 / height, what, ha="center", fontsize="small")
    return figure
