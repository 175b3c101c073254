"""The grid that compares maps: one row an image, one column a net, the image itself on the left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench import style
from workbench.analysis.attribution import MAPS
from workbench.analysis.side_by_side import fitting, short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from workbench.analysis.cam import Cam

CAPTION, GAP, TITLE = 0.2, 0.05, 0.3
"""Room under a picture for its text, between pictures, and above them for titles, in sides of a picture."""


def shape(result: Cam) -> float:
    """Height of the grid in widths."""
    columns, rows = 1 + len(result.runs), len(result.labels)
    return (rows * (1 + CAPTION) + TITLE) / (columns * (1 + GAP))


def grid(ax: Axes, result: Cam) -> None:
    """Pictures at whole places of the axes, first row on top. Under each map: the probability of the class that was
    asked, and the class where it is not the label."""
    titles = ["image", *short_names(result.runs)]
    pictures = np.moveaxis(result.images, 1, -1) / 255
    for i, picture in enumerate(pictures):
        _place(ax, picture, 0, i, result.class_name(int(result.labels[i])))
        for j, maps in enumerate(result.maps, 1):
            _place(ax, overlay(picture, maps[i]), j, i, _caption(result, j - 1, i))
            if len(result.masks):
                _outline(ax, result.masks[i], j, i)
    width, height = len(titles) * (1 + GAP) - GAP, len(pictures) * (1 + CAPTION)
    figure, small = style.page(ax), 5 / 6 * style.points()
    side = figure.get_figwidth() * ax.get_position().width / len(titles)
    for j, title in enumerate(titles):
        text = fitting(figure, title, side, small)
        ax.text(j * (1 + GAP) + 0.5, -0.06, text, ha="center", va="bottom", fontsize="small")
    ax.set(xlim=(0, width), ylim=(height, -TITLE), aspect="equal", xticks=(), yticks=())
    ax.spines[:].set_visible(False)
    ax.set_xlabel(f"{MAPS[result.kind].title} of the {result.target}; below a map, its probability", fontsize="small")


def overlay(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """(H, W, 3) in [0, 1]: the picture, (H, W, C) in [0, 1], in pale grey where the map (H, W) in [0, 1] is low, and
    under colour where it is high."""
    from matplotlib import colormaps

    grey = 0.35 + 0.65 * picture.mean(-1, keepdims=True)
    weight = 0.75 * heat[..., None] ** 0.75
    return np.clip((1 - weight) * grey + weight * colormaps["inferno"](0.2 + 0.7 * heat)[..., :3], 0, 1)


def _place(ax: Axes, picture: np.ndarray, column: int, row: int, caption: str) -> None:
    left, top = column * (1 + GAP), row * (1 + CAPTION)
    shown = picture[..., 0] if picture.shape[-1] == 1 else picture
    ax.imshow(shown, extent=(left, left + 1, top + 1, top), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.text(left + 0.5, top + 1.02, caption, ha="center", va="top", fontsize=style.SMALLEST)


def _outline(ax: Axes, mask: np.ndarray, column: int, row: int) -> None:
    """The border of the object, between its pixels and the others."""
    left, top = column * (1 + GAP), row * (1 + CAPTION)
    padded = np.pad(mask.astype(float), 1)
    x = left + (np.arange(padded.shape[1]) - 0.5) / mask.shape[1]
    y = top + (np.arange(padded.shape[0]) - 0.5) / mask.shape[0]
    if mask.any():
        ax.contour(x, y, padded, levels=[0.5], colors="white", linewidths=0.6)


def _caption(result: Cam, run: int, image: int) -> str:
    asked = int(result.asked[run, image])
    text = f"{result.probability[run, image]:.2f}"
    return text if asked == result.labels[image] else f"{result.class_name(asked)} {text}"
