"""The grid that compares maps: one row an image, one column a net, the image itself on the left. Nets whose names would
not fit above their column stand in further bands below, with the images again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench import style
from workbench.analysis.attribution import MAPS
from workbench.analysis.run_names import short_names
from workbench.analysis.side_by_side import cut, fitting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.analysis.cam import Cam

GAP = 0.05
"""Between pictures, in sides of a picture."""
LINE = 1.3
"""Height of a line of text with what hangs below it, in sizes of the text."""
NOTE = 0.2
"""Inches for the line under the grid."""


def shape(result: Cam, width: float) -> float:
    """Height in widths of a figure of `width` inches."""
    figure = style.new_figure(width, 1, layout="none")
    across = _across(result, figure, width)
    side = width / wide(across)
    return bands_of(result, across) * _tall(result, side, _lines(result, figure, side)) * side / width + NOTE / width


def rooms(side: float, lines: int = 1) -> tuple[float, float]:
    """Room under a picture for its text, and above the first ones for titles of so many lines, in sides of a picture
    (`side`, in inches): text does not become smaller with them."""
    caption, title = LINE * style.SMALLEST / 72, lines * LINE * _small() / 72
    return max(0.2, 0.03 + caption / side), max(0.3, 0.06 + title / side)


def grid(ax: Axes, result: Cam) -> None:
    """Pictures at whole places of the axes, first row on top. Under each map: the probability of the class that was
    asked, and the class where it is not the label."""
    ax.set(xticks=(), yticks=(), autoscale_on=False)  # else every picture sets limits of its own
    ax.spines[:].set_visible(False)
    ax.set_xlabel(f"{MAPS[result.kind].title} of the {result.target}; below a map, its probability", fontsize="small")
    figure = style.page(ax)
    if figure.get_layout_engine() is not None:
        style.settle(figure)
    box = ax.get_position(original=True)
    width, height = box.width * figure.get_figwidth(), box.height * figure.get_figheight()
    across, names = _across(result, figure, width), short_names(result.runs)
    bands, side = bands_of(result, across), width / wide(across)
    lines = _lines(result, figure, side)
    for _ in range(4):  # smaller pictures need more room for their texts
        side = min(width / wide(across), height / (bands * _tall(result, side, lines)))
    title = rooms(side, lines)[1]
    ax.set(xlim=(0, wide(across)), ylim=(bands * _tall(result, side, lines) - title, -title), aspect="equal")
    for first in range(0, len(names), across):
        nets = range(first, min(first + across, len(names)))
        top = first // across * _tall(result, side, lines)
        _band(ax, result, nets, ["image", *(names[net] for net in nets)], top, side)


def _across(result: Cam, figure: Figure, width: float) -> int:
    """Nets in a band of `width` inches: as many as leave room for the longest word of a name above a picture."""
    words = [word for name in short_names(result.runs) for word in name.split()]
    longest = max(style.text_size(figure, word, _small())[0] for word in ["image", *words])
    fit = max(1, int((1.01 * width / longest + GAP) / (1 + GAP)) - 1)
    return math.ceil(len(result.runs) / math.ceil(len(result.runs) / fit))


def wide(across: int) -> float:
    """Width of the images and so many nets, in sides of a picture."""
    return (1 + across) * (1 + GAP) - GAP


def bands_of(result: Cam, across: int) -> int:
    return math.ceil(len(result.runs) / across)


def _tall(result: Cam, side: float, lines: int) -> float:
    """Height of a band, in sides of a picture, with titles of so many lines."""
    caption, title = rooms(side, lines)
    return len(result.labels) * (1 + caption) + title


def _lines(result: Cam, figure: Figure, side: float) -> int:
    """Of the longest title."""
    return max(_title(figure, name, side).count("\n") for name in short_names(result.runs)) + 1


def _title(figure: Figure, name: str, side: float) -> str:
    return fitting(figure, name, 1.01 * side, _small())


def _small() -> float:
    return 5 / 6 * style.points()


def _band(ax: Axes, result: Cam, nets: Sequence[int], titles: Sequence[str], top: float, side: float) -> None:
    """The images, and the maps of some of the nets, from `top` downwards. `side`: of a picture, in inches."""
    figure, below = style.page(ax), rooms(side)[0]
    room = (1 + GAP) * side - 0.6 * style.SMALLEST / 72  # captions of neighbours stay apart
    for j, title in enumerate(titles):
        text = _title(figure, title, side)
        ax.text(j * (1 + GAP) + 0.5, top - 0.06, text, ha="center", va="bottom", fontsize="small", linespacing=1.0)
    for i, picture in enumerate(np.moveaxis(result.images, 1, -1) / 255):
        shown = [(picture, result.class_name(int(result.labels[i])))]
        shown += [(overlay(picture, result.maps[net, i]), _caption(result, net, i)) for net in nets]
        for j, (pixels, caption) in enumerate(shown):
            place = (j * (1 + GAP), top + i * (1 + below))
            _place(ax, pixels, place, cut(figure, caption, room, style.SMALLEST))
            if j and len(result.masks):
                _outline(ax, result.masks[i], place)


def overlay(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """(H, W, 3) in [0, 1]: the picture, (H, W, C) in [0, 1], in pale grey where the map (H, W) in [0, 1] is low, and
    under colour where it is high."""
    from matplotlib import colormaps

    grey = 0.35 + 0.65 * picture.mean(-1, keepdims=True)
    weight = 0.75 * heat[..., None] ** 0.75
    return np.clip((1 - weight) * grey + weight * colormaps["inferno"](0.2 + 0.7 * heat)[..., :3], 0, 1)


def _place(ax: Axes, picture: np.ndarray, place: tuple[float, float], caption: str) -> None:
    left, top = place
    shown = picture[..., 0] if picture.shape[-1] == 1 else picture
    ax.imshow(shown, extent=(left, left + 1, top + 1, top), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.text(left + 0.5, top + 1.02, caption, ha="center", va="top", fontsize=style.SMALLEST)


def _outline(ax: Axes, mask: np.ndarray, place: tuple[float, float]) -> None:
    """The border of the object, between its pixels and the others."""
    left, top = place
    padded = np.pad(mask.astype(float), 1)
    x = left + (np.arange(padded.shape[1]) - 0.5) / mask.shape[1]
    y = top + (np.arange(padded.shape[0]) - 0.5) / mask.shape[0]
    if mask.any():
        ax.contour(x, y, padded, levels=[0.5], colors="white", linewidths=0.6)


def _caption(result: Cam, run: int, image: int) -> str:
    asked = int(result.asked[run, image])
    text = f"{result.probability[run, image]:.2f}"
    return text if asked == result.labels[image] else f"{result.class_name(asked)} {text}"
