"""ResizeMix: the whole partner, made small, pasted somewhere; labels by area."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from torch import Tensor

from workbench.config import Range
from workbench.draw import Draw, Mode, send
from workbench.methods.base import Method, Mixed, Paper
from workbench.methods.masks import box_mask, outside_box, outside_share, pair_weights, pairs

if TYPE_CHECKING:
    from workbench.models import Net


@dataclass(eq=False)
class ResizeMix(Method):
    """The partner is resized by tau, uniform from `scale_min` to `scale_max`, and pasted: nothing of it is cut off.

    lambda is 1 - the pasted area, 0.77 on average by default. As in the authors' code the patch is resized by nearest
    neighbour, keeps the image's aspect ratio, and lies around a uniform centre but shifted into the image, so that
    places at the border are the likeliest. Others differ: the benchmark (Westlake-AI/openmixup) clips the box at the
    border and squeezes the partner into the rest, and returns the mask transposed; mmpretrain draws lambda where the
    paper draws tau. We draw a scale a row; `mode="batch"` gives one a batch, as published, with a place for every row.
    """

    paper = Paper(
        "ResizeMix: Mixing Data with Preserved Object Information and True Labels",
        "Qin, Fang, Zhang, Liu, Wang, Wang",
        "arXiv 2020",
        "2012.11101",
    )

    scale_min: Annotated[float, Range(0.01, 1)] = 0.1
    """Smallest side of the patch, in sides of the image (or largest: the two may be given in either order)."""
    scale_max: Annotated[float, Range(0.01, 1)] = 0.8
    """Largest side."""
    mode: Mode = "sample"
    """One scale a sample, or one for the whole batch."""

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        n, (height, width) = len(x), x.shape[2:]
        boxes = boxes_inside(self._scale(draw, n), draw.pixels(height, width, n), height, width)
        lam = outside_share(boxes, height, width).astype(np.float32)
        outside = outside_box(boxes, np.arange(max(height, width)), height, width)
        shrunk = shrunk_places(boxes, height, width)
        parts = send(x.device, *outside, *shrunk, pairs(draw.partner(n)), pair_weights(lam))
        above, beside, rows, columns, source, weight = parts
        mask = box_mask(above, beside, x.dtype)
        return Mixed(picked(x, source[:, 1], rows, columns).lerp_(x, mask), source, weight, mask)

    def _scale(self, draw: Draw, n: int) -> np.ndarray:
        """(B,) sides of the patches, in sides of the image."""
        if draw.pinned_lam is not None:
            return np.full(n, np.sqrt(1 - draw.pinned_lam))
        return draw.uniform(self.scale_min, self.scale_max, n, self.mode)


def boxes_inside(scale: np.ndarray, centre: np.ndarray, height: int, width: int) -> np.ndarray:
    """(B, 2, 2) boxes of `scale` times the image's sides, at least a pixel, around (B, 2) centres where they fit in."""
    size = np.array([height, width])
    sides = np.clip((scale[:, None] * size).astype(np.int64), 1, size)
    start = np.clip(centre - sides // 2, 0, size - sides)
    return np.stack([start, start + sides], 2)


def shrunk_places(boxes: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(B, H) and (B, W) int64: which row and column of a whole image each row and column of its patch shows.

    Nearest neighbour as PyTorch's `interpolate` has it, floor(i n / n') in float32; outside the box, something valid.
    """
    places = []
    for axis, side in enumerate((height, width)):
        start, end = boxes[:, axis, :1], boxes[:, axis, 1:]
        step = (np.float32(side) / (end - start).astype(np.float32)).astype(np.float32)
        place = np.floor((np.arange(side) - start).astype(np.float32) * step)
        places.append(place.astype(np.int64).clip(0, side - 1))
    return places[0], places[1]


def picked(x: Tensor, partner: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """x[partner] with its rows and columns picked, image by image, in a fresh tensor of x's memory order.

    partner: (B,); rows: (B, H); columns: (B, W). Whole rows are copied first, the partner's at once; that leaves the
    slow gather for the columns alone.
    """
    n, channels, height, width = x.shape
    if not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        lines = x.permute(0, 2, 3, 1).reshape(n * height, width * channels)
        index = (partner[:, None] * height + rows).flatten()
        across = columns[:, None, :, None].expand(n, height, width, channels)
        return lines.index_select(0, index).view(across.shape).gather(2, across).permute(0, 3, 1, 2)
    planes = partner[:, None] * channels + torch.arange(channels, device=x.device)
    index = (planes[:, :, None] * height + rows[:, None]).flatten()
    across = columns[:, None, None].expand(n, channels, height, width)
    return x.reshape(n * channels * height, width).index_select(0, index).view(across.shape).gather(3, across)
