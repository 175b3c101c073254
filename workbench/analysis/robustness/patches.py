"""Hiding and shuffling square parts of images, each image in its own way.

Images are (B, C, H, W); the cells of a grid are as equal as whole pixels allow.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.analysis.robustness import draws


def hide(x: Tensor, share: float, grid: int, fill: Tensor, rng: torch.Generator) -> Tensor:
    """The images with `share` (0 to 1) of the cells of a `grid` x `grid` board replaced by `fill`, (1 or C, 1, 1) or
    of the images' shape. A larger share of the same draw hides the same cells and more."""
    height, width = x.shape[2:]
    order = draws.uniform((len(x), grid * grid), rng, x).argsort(1)
    hidden = torch.zeros_like(order, dtype=torch.bool)
    hidden.scatter_(1, order[:, : hidden_cells(share, grid)], True)
    rows = torch.arange(height, device=x.device) * grid // height
    columns = torch.arange(width, device=x.device) * grid // width
    mask = hidden[:, rows[:, None] * grid + columns].unsqueeze(1)
    return torch.where(mask, fill.to(x), x)


def hidden_cells(share: float, grid: int) -> int:
    """The whole number of cells that comes nearest to a share of the board."""
    return round(share * grid**2)


def shuffle(x: Tensor, grid: int, rng: torch.Generator) -> Tensor:
    """The images cut into `grid` x `grid` equal squares, which change places; 1 leaves them as they are. Rows and
    columns of pixels that are left over, fewer than `grid`, stay at the right and at the bottom."""
    (batch, channels, height, width), order = x.shape, draws.uniform((len(x), grid * grid), rng, x).argsort(1)
    tall, wide = height // grid, width // grid
    part = x[:, :, : tall * grid, : wide * grid].reshape(batch, channels, grid, tall, grid, wide)
    cells = part.permute(0, 2, 4, 1, 3, 5).reshape(batch, grid * grid, -1)
    moved = cells.gather(1, order.unsqueeze(2).expand_as(cells)).view(batch, grid, grid, channels, tall, wide)
    out = x.clone()
    out[:, :, : tall * grid, : wide * grid] = moved.permute(0, 3, 1, 4, 2, 5).reshape(
        batch, channels, tall * grid, wide * grid
    )
    return out
