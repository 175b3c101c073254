"""What processing does to pictures. Images are (B, C, H, W) in [0, 1]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.analysis.robustness import draws
from workbench.analysis.robustness.blur import filtered, gaussian, mapped


def contrast(x: Tensor, rng: torch.Generator, keep: float) -> Tensor:
    """Distance to each image's mean (channel by channel) times `keep`."""
    return torch.lerp(x.mean((2, 3), keepdim=True), x, keep)


def elastic_transform(x: Tensor, rng: torch.Generator, tilt: float, bend: float, smooth: float) -> Tensor:
    """An affine map that moves three corners by up to `tilt`, then a smooth field of displacements: `bend` is their
    root mean square along each axis, `smooth` the Gaussian that smooths them. All are shares of the shorter side."""
    side = min(x.shape[2:])
    moved = _affine(x, rng, tilt * side) + bend * side * _field(x, rng, smooth * side)
    height, width = x.shape[2:]
    ends = torch.tensor([(width - 1) / 2, (height - 1) / 2]).to(x)  # pixel (x, y) -> [-1, 1]
    return F.grid_sample(x, moved / ends.clamp(min=0.5) - 1, padding_mode="reflection", align_corners=True)


def pixelate(x: Tensor, rng: torch.Generator, share: float) -> Tensor:
    """Shrunk to `share` of the side and back, both by boxes."""
    return mapped(x, *(_boxes(side, share) for side in x.shape[2:]))


# ------------------------------------------------------------------------------------------------------------- parts


def _affine(x: Tensor, rng: torch.Generator, reach: float) -> Tensor:
    """(B, H, W, 2) where each pixel (x, y) is taken from: three corners of the inner third are moved."""
    height, width = x.shape[2:]
    middle, third = torch.tensor([width // 2, height // 2]).to(x), max(1, min(height, width) // 3)
    corners = middle + third * torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]).to(x)
    shift = draws.uniform((len(x), 3, 2), rng, x, -reach, reach)
    plane = torch.linalg.inv(torch.cat([corners, torch.ones(3, 1).to(x)], 1)) @ shift  # (B, 3, 2)
    down, right = torch.meshgrid(torch.arange(height).to(x), torch.arange(width).to(x), indexing="ij")
    pixel = torch.stack([right, down], -1)
    return pixel + torch.cat([pixel, torch.ones_like(pixel[..., :1])], -1) @ plane[:, None]


def _field(x: Tensor, rng: torch.Generator, sigma: float) -> Tensor:
    """(B, H, W, 2) smoothed uniform noise with a root mean square of 1."""
    kernel = gaussian(max(sigma, 0.3))
    noise = draws.uniform((len(x), 2, *x.shape[2:]), rng, x, -1, 1)
    return (filtered(noise, kernel) * (3**0.5 / float(kernel.norm()))).permute(0, 2, 3, 1)


def _boxes(side: int, share: float) -> Tensor:
    """(side, side) matrix that shrinks a line to `share` of its length and enlarges it again."""
    small = max(1, int(side * share))
    return _box(side, small) @ _box(small, side)


def _box(into: int, source: int) -> Tensor:
    """(into, source) mean of the pixels whose centres lie in each target pixel, one on an edge counting half; or, to
    enlarge, the pixel in which each target's centre lies."""
    scale = source / into
    centre = (torch.arange(into, dtype=torch.float64) + 0.5) * scale
    if scale < 1:
        return F.one_hot(centre.long(), source).double()
    away = (torch.arange(source, dtype=torch.float64) + 0.5 - centre[:, None]) / scale
    weight = (away.abs() < 0.5 - 1e-9).double() + (away.abs() < 0.5 + 1e-9)
    return weight / weight.sum(1, keepdim=True)
