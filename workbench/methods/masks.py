"""Shared mixing geometry: pairs, boxes, blending.

B rows, C H W image. A mask is always the share of the row itself, never of its partner.
A box is (2, 2) int64: its half-open edges, [[top, bottom], [left, right]].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from workbench.draw import Draw, Mode

Array = TypeVar("Array", np.ndarray, Tensor)
"""NumPy where the host draws a box, tensors where the device finds its centre: the same lines serve both."""

BOTH_WAYS = np.array([-1, 1])


def pairs(partner: np.ndarray) -> np.ndarray:
    """(B, 2) int64 sources: each row and its partner."""
    return np.stack([np.arange(len(partner)), partner], 1)


def pair_weights(lam: Array) -> Array:
    """(B, 2) label shares: lambda for the row itself, the rest for its partner."""
    return (np.stack if isinstance(lam, np.ndarray) else torch.stack)([lam, 1 - lam], 1)


def take(x: Tensor, rows: Tensor) -> Tensor:
    """A fresh tensor of the given rows of x, in x's own memory order.

    `index_select` is up to four times faster than `x[rows]`, but by itself it would undo channels-last.
    """
    if x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)
    return x.index_select(0, rows)


def blend(x: Tensor, partner: Tensor, mask: Tensor) -> Tensor:
    """mask * x + (1 - mask) * x[partner], with one fresh batch of memory; exact where the mask is 0 or 1.

    mask: (B, 1, H, W) or broadcastable to x. It takes 2 to 2.5 clones of the batch where the formula as written takes
    4.5 to 9.
    """
    return take(x, partner).lerp_(x, mask.to(x.dtype))


def enlarged(mask: Tensor, size: Sequence[int]) -> Tensor:
    """(B, K, H, W) the mask (B, K, h, w) at `size` (H, W) by nearest neighbour: pixel i shows cell floor(i h / H).

    In whole numbers: PyTorch's `interpolate` computes the cell in float32 and misses it at some sizes, 2 cells of 41
    pixels for example.
    """
    (height, width), (rows, columns) = size, mask.shape[2:]
    if (rows, columns) in ((height, width), (1, 1)):
        return mask.expand(-1, -1, height, width)
    if height % rows == 0 and width % columns == 0:
        blocks = mask[:, :, :, None, :, None]
        return blocks.expand(-1, -1, -1, height // rows, -1, width // columns).flatten(4, 5).flatten(2, 3)
    down, across = (torch.arange(n, device=mask.device) * cells // n for n, cells in ((height, rows), (width, columns)))
    return mask.index_select(2, down).index_select(3, across)


# ------------------------------------------------------------------------------------------------------------- boxes


def draw_boxes(draw: Draw, lam: np.ndarray, height: int, width: int, mode: Mode = "sample") -> np.ndarray:
    """(B, 2, 2) boxes as CutMix draws them: of area 1 - lam before they are clipped to the image, around a centre that
    is uniform over its pixels."""
    centre = draw.pixels(height, width, len(lam), mode)
    return boxes_around(centre, box_reach(lam, height, width), np.array([height, width]))


def box_reach(lam: np.ndarray, height: int, width: int) -> np.ndarray:
    """(B, 2, 2) int64: how far the edges of a box of area 1 - lam lie from its centre (half the side, rounded down)."""
    half = np.sqrt(1 - lam.astype(np.float64))[:, None] * (height / 2, width / 2)
    return half.astype(np.int64)[:, :, None] * BOTH_WAYS


def boxes_around(centre: Array, reach: Array, size: Array) -> Array:
    """(B, 2, 2) boxes, clipped to the image. centre: (B, 2) row and column; reach: (B, 2, 2); size: (2,) H and W."""
    limit = size[:, None]
    return (centre[:, :, None] + reach).clip(0 * limit, limit)


def outside_share(boxes: Array, height: int, width: int) -> Array:
    """(B,) the share of the image that a box leaves to the row itself."""
    sides = boxes[:, :, 1] - boxes[:, :, 0]
    return 1 - sides[:, 0] * sides[:, 1] / (height * width)


def outside_box(boxes: Array, pixels: Array, height: int, width: int) -> tuple[Array, Array]:
    """(B, 1, H, 1) and (B, 1, 1, W): whether a row, or a column, of the image passes the box by.

    pixels: 0, 1, ..., max(H, W) - 1.
    """
    outside = (pixels < boxes[:, :, :1]) | (pixels >= boxes[:, :, 1:])
    return outside[:, :1, :height, None], outside[:, 1:, None, :width]


def box_mask(rows: Tensor, columns: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, 1, H, W), 0 in the box and 1 elsewhere, from the two parts of `outside_box`."""
    return torch.maximum(rows.to(dtype), columns.to(dtype))
