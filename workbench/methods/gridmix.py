"""GridMix: the partner shows through the holes of a regular grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from torch import Tensor

from workbench.config import Range
from workbench.draw import Draw, Mode, send
from workbench.methods.base import Method, Mixed, Paper
from workbench.methods.masks import blend, box_mask, pair_weights, pairs

if TYPE_CHECKING:
    from workbench.models import Net

AREA, ASPECT = (0.5, 1.0), (0.5, 2.0)
"""Ranges of the area of the gridded part of an image, and of its height over its width."""


@dataclass(eq=False)
class GridMix(Method):
    """A part of the image is cut into square cells, and the upper left corner of each shows the partner: a square of
    sqrt(1 - lambda) times the cell's side, lambda from Beta(alpha, alpha). The label has the share that shows.

    Two methods have this name. This is the grid of holes that the benchmark runs under it (IlyaDobrynin/GridMixup,
    GridMask crossed with CutMix); that of the paper below takes whole cells of a fixed grid and adds a loss for each.
    Where we differ from that code: its gridded part can be larger than the image, which its slices then read as
    negative numbers (28 % of its draws), here it is cut to the image; and its loops over holes are closed forms.
    Every cell has a hole of at least a pixel and never of all pixels, so lambda comes near 1 or 0, but not there.
    We draw a grid a row; `mode="batch"` gives one a batch, as published.
    """

    paper = Paper(
        "GridMix: Strong regularization through local context mapping",
        "Baek, Bang, Shim",
        "Pattern Recognition 109, 2021",
    )

    alpha: Annotated[float, Range(0.05, 5)] = 1.0
    """Both parameters of the Beta distribution of what the holes leave of a cell."""
    cells_min: Annotated[int, Range(1, 32)] = 2
    """Fewest cells across the gridded part (or most: this and the next may be given in either order)."""
    cells_max: Annotated[int, Range(1, 32)] = 6
    """Most cells across."""
    mode: Mode = "sample"
    """One grid a sample, or one for the whole batch."""

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        n, (height, width) = len(x), x.shape[2:]
        lam = draw.lam(self.alpha, n, self.mode)
        drawn = draw.spread(draw.rng.random((n if self.mode == "sample" else 1, 5)), n)
        fewest, most = sorted((self.cells_min, self.cells_max))
        cells = fewest + (drawn[:, 4] * (most - fewest + 1)).astype(np.int64)
        rows, columns = grid_holes(gridded_part(drawn[:, :4], height, width), cells, lam, height, width)
        weight = pair_weights((1 - rows.mean(1) * columns.mean(1)).astype(np.float32))
        spared = ~rows[:, None, :, None], ~columns[:, None, None, :]
        above, beside, source, weights = send(x.device, *spared, pairs(draw.partner(n)), weight)
        mask = box_mask(above, beside, x.dtype)
        return Mixed(blend(x, source[:, 1], mask), source, weights, mask)


def gridded_part(drawn: np.ndarray, height: int, width: int) -> np.ndarray:
    """(B, 2, 2) int64 start and length, along rows and columns, of the part of the image that the grid covers.

    drawn: (B, 4) from 0 to 1, for area, aspect, and the place of the part among those that lie in the image.
    """
    area, aspect = (low + (high - low) * drawn[:, i] for i, (low, high) in enumerate((AREA, ASPECT)))
    across = np.sqrt(np.floor(area * height * width) / aspect).astype(np.int64)
    size = np.array([height, width])
    sides = np.stack([(across * aspect).astype(np.int64), across], 1).clip(1, size)
    return np.stack([((size - sides) * drawn[:, 2:]).astype(np.int64), sides], 2)


def grid_holes(
    part: np.ndarray, cells: np.ndarray, lam: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """(B, H) and (B, W) bool: which rows and columns of the image meet holes; a pixel is in one where both do.

    part: (B, 2, 2) start and length along rows and columns; cells: (B,) across the part; lam: (B,) what holes leave.
    """
    pitch = np.maximum(-(-part[:, 1, 1] // cells), 2)  # a cell of one pixel could not have a hole and a rest
    side = np.clip((pitch * np.sqrt(1 - lam.astype(np.float64))).astype(np.int64), 1, pitch - 1)
    place = np.arange(max(height, width)) - part[:, :, :1]
    inside = (place >= 0) & (place < part[:, :, 1:]) & (place % pitch[:, None, None] < side[:, None, None])
    return inside[:, 0, :height], inside[:, 1, :width]
