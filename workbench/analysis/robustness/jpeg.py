"""JPEG's losses on a whole batch: colour at half resolution, and the cosine transform of 8 x 8 blocks in whole steps.

No bytes are written: what JPEG then stores is stored without loss. Source: ITU-T T.81, annex K (tables, transform),
and the quality scale of the Independent JPEG Group.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8 for _ in range(4)),
)
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
TO_RGB = ((1, 0, 1.402), (1, -0.344136, -0.714136), (1, 1.772, 0))


def jpeg_compression(x: Tensor, rng: torch.Generator, quality: float) -> Tensor:
    """RGB images as JPEG with 4:2:0 colour; images of another number of channels as so many grey ones."""
    height, width = x.shape[2:]
    whole = F.pad((x * 255).round(), [0, -width % 16, 0, -height % 16], mode="replicate")
    decoded = _color(whole, quality) if x.shape[1] == 3 else _quantised(whole, LUMA, quality)
    return decoded[:, :, :height, :width] / 255


def _color(whole: Tensor, quality: float) -> Tensor:
    ycc = torch.einsum("dc,bchw->bdhw", torch.tensor(TO_YCC).to(whole), whole)
    luma = _quantised(ycc[:, :1].round(), LUMA, quality)
    coarse = (F.avg_pool2d(ycc[:, 1:], 2) + 128).round()
    chroma = F.interpolate(_quantised(coarse, CHROMA, quality) - 128, scale_factor=2, mode="bilinear")
    rgb = torch.einsum("dc,bchw->bdhw", torch.tensor(TO_RGB).to(whole), torch.cat([luma, chroma], 1))
    return rgb.round().clamp(0, 255)


def _quantised(planes: Tensor, table: tuple[tuple[int, ...], ...], quality: float) -> Tensor:
    """(B, C, H, W) values from 0 to 255, H and W multiples of 8, after their coefficients were rounded."""
    batch, channels, height, width = planes.shape
    steps, basis = _steps(table, quality).to(planes), _basis().to(planes)
    blocks = planes.view(batch, channels, height // 8, 8, width // 8, 8).transpose(3, 4).reshape(-1, 64)
    coefficients = ((blocks - 128) @ basis.T / steps).round() * steps
    decoded = (coefficients @ basis + 128).round().clamp(0, 255)
    return decoded.view(batch, channels, height // 8, width // 8, 8, 8).transpose(3, 4).reshape(planes.shape)


def _steps(table: tuple[tuple[int, ...], ...], quality: float) -> Tensor:
    """(64,) size of a step of each coefficient, 1 to 255."""
    quality = min(max(quality, 1), 100)
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    return torch.floor((torch.tensor(table, dtype=torch.float64).flatten() * scale + 50) / 100).clamp(1, 255)


def _basis() -> Tensor:
    """(64, 64) orthonormal cosine transform of an 8 x 8 block, flattened."""
    place = torch.arange(8, dtype=torch.float64)
    line = torch.cos(math.pi / 8 * place[:, None] * (place + 0.5)) / 2
    line[0] /= 2**0.5
    return torch.kron(line, line)
