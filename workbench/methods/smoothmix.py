"""SmoothMix: a soft round spot of the row itself on its partner; labels by the spot's mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from torch import Tensor

from workbench.config import Range
from workbench.draw import Draw, Mode, send
from workbench.methods.base import Method, Mixed, Paper
from workbench.methods.masks import blend, pair_weights, pairs

if TYPE_CHECKING:
    from workbench.models import Net

SOLVER_STEPS = 40
"""Halvings of the logarithm of sigma, over a range of about 23: far below float32's precision."""


@dataclass(eq=False)
class SmoothMix(Method):
    """M = exp(-((i - cy)^2 + (j - cx)^2) / (2 sigma^2)), with a centre uniform over the image and sigma uniform from
    `sigma_min` to `sigma_max` times the shorter side; lambda is the mean of M.

    There is no Beta distribution here: lambda follows from sigma and the centre, and averages 0.43 by default. Where
    lambda is given, sigma is solved for. The benchmark's code (Westlake-AI/openmixup) draws an alpha and does not use
    it, and has the labels swapped: its image gets weight 1 - M of the row itself and its label mean(M). Here pixels
    and label agree. We draw a spot a row; `mode="batch"` gives one a batch, as published. The paper's second shape,
    a square with soft edges, is left out: no code of its authors is public that would say how soft.
    """

    paper = Paper(
        "SmoothMix: A Simple Yet Effective Data Augmentation to Train Robust Classifiers",
        "Lee, Zaheer, Astrid, Lee",
        "CVPR Workshops 2020",
    )

    sigma_min: Annotated[float, Range(0.01, 5)] = 0.25
    """Smallest sigma, in sides of the image, the shorter one (or largest: the two may be given in either order)."""
    sigma_max: Annotated[float, Range(0.01, 5)] = 0.5
    """Largest sigma."""
    mode: Mode = "sample"
    """One spot a sample, or one for the whole batch."""

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        n, (height, width) = len(x), x.shape[2:]
        centre = draw.pixels(height, width, n, self.mode)
        if draw.pinned_lam is None:
            sigma = draw.uniform(self.sigma_min, self.sigma_max, n, self.mode) * min(height, width)
        else:
            sigma = sigma_for(draw.pinned_lam, centre, height, width)
        rows, columns = bells(centre, sigma, height, width)
        lam = rows.mean(1, dtype=np.float64) * columns.mean(1, dtype=np.float64)
        parts = (pairs(draw.partner(n)), pair_weights(lam.astype(np.float32)), rows, columns)
        source, weight, down, across = send(x.device, *parts)
        mask = (down[:, None, :, None] * across[:, None, None, :]).to(x.dtype)
        return Mixed(blend(x, source[:, 1], mask), source, weight, mask)


def bells(centre: np.ndarray, sigma: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(B, H) and (B, W) float32, whose outer product is the spot. centre: (B, 2) row and column; sigma: (B,) pixels."""
    across = np.arange(max(height, width), dtype=np.float32) - centre[:, :, None]
    bell = np.exp(-0.5 * np.square(across / sigma[:, None, None], dtype=np.float32))
    return bell[:, 0, :height], bell[:, 1, :width]


def sigma_for(lam: float, centre: np.ndarray, height: int, width: int) -> np.ndarray:
    """(B,) float32 the sigmas, in pixels, whose spots around the centres have the mean lam; found by bisection."""
    low, high = (np.full(len(centre), bound) for bound in np.log([1e-3, 1e4 * max(height, width)]))
    for _ in range(SOLVER_STEPS):
        middle = (low + high) / 2
        rows, columns = bells(centre, np.exp(middle).astype(np.float32), height, width)
        small = rows.mean(1) * columns.mean(1) < lam
        low, high = np.where(small, middle, low), np.where(small, high, middle)
    return np.exp(high).astype(np.float32)
