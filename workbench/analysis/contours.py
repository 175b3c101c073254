"""A loss over a plane: contours at logarithmic levels, and the same as a surface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workbench import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVELS = 16
HIGHEST = 1e3
"""A loss that is so many times the lowest is drawn like this: far out it grows without bounds."""


def levels(loss: np.ndarray) -> np.ndarray:
    """Rising levels, evenly spaced in the logarithm, over the finite losses."""
    finite = loss[np.isfinite(loss)]
    high = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    low = max(float(finite.min()) if finite.size else high, high / HIGHEST)
    return np.geomspace(low, high if high > 1.0001 * low else 2 * low, LEVELS)


def contours(ax: Axes, across: np.ndarray, up: np.ndarray, loss: np.ndarray) -> None:
    """Lines and shades of the loss (across, up), both axes at one scale, with a bar that says what they mean."""
    steps = levels(loss)
    values = np.clip(np.ma.masked_invalid(loss.T), steps[0], steps[-1])
    looks: dict[str, Any] = {"levels": steps, "norm": _logarithm(steps)}
    shades = ax.contourf(across, up, values, cmap="viridis", **looks)
    ax.contour(across, up, values, colors="white", linewidths=0.3, alpha=0.6, **looks)
    ticks, texts = _ticks(steps)
    ax.set_aspect("equal")
    scale = ax.inset_axes((1.04, 0, 0.05, 1))  # as high as the plane is, whatever its shape
    bar = style.page(ax).colorbar(shades, cax=scale, label="loss", ticks=ticks)
    scale.set_yticklabels(texts)
    bar.ax.minorticks_off()


def surface(ax: Any, across: np.ndarray, up: np.ndarray, loss: np.ndarray) -> None:
    """The logarithm of the loss as a height, in axes of three dimensions; a face has the colour of its mean height."""
    steps = levels(loss)
    values = np.clip(np.where(np.isfinite(loss), loss, steps[-1]).T, steps[0], steps[-1])
    height, grid = np.log10(values), np.meshgrid(across, up)
    faces = (height[:-1, :-1] + height[:-1, 1:] + height[1:, :-1] + height[1:, 1:]) / 4
    colors = _colors(10**faces, steps)
    ax.plot_surface(*grid, height, facecolors=colors, rstride=1, cstride=1, linewidth=0, shade=False)
    ticks, texts = _ticks(steps)
    ax.set_zticks(np.log10(ticks), texts)
    ax.set_zlabel("loss", labelpad=-6)
    ax.xaxis.labelpad = ax.yaxis.labelpad = -5
    ax.tick_params(pad=-3)
    ax.set_box_aspect((4, 4, 3), zoom=0.95)
    ax.view_init(elev=38, azim=-55)


def _logarithm(steps: np.ndarray) -> Any:
    from matplotlib.colors import LogNorm

    return LogNorm(steps[0], steps[-1])


def _colors(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    from matplotlib import colormaps

    return colormaps["viridis"](_logarithm(steps)(values))


def _ticks(steps: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Five of the levels, from the lowest to the highest, and their numbers to two digits."""
    chosen = steps[np.linspace(0, len(steps) - 1, 5).round().astype(int)]
    return chosen, [f"{value:.2g}" if value < 100 else f"{value:.0f}" for value in chosen]
