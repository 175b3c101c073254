"""Noise. Images are (B, C, H, W) in [0, 1]; results may leave that range, the caller clips."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.analysis.robustness import draws


def gaussian_noise(x: Tensor, rng: torch.Generator, std: float) -> Tensor:
    """Normal noise, each channel for itself."""
    return torch.add(x, draws.normal(x.shape, rng, x), alpha=std)


def shot_noise(x: Tensor, rng: torch.Generator, photons: float) -> Tensor:
    """The noise of counting: white is `photons` on average, and every value a Poisson count of its share."""
    return draws.poisson(x * photons, rng) / photons


def impulse_noise(x: Tensor, rng: torch.Generator, amount: float) -> Tensor:
    """Salt and pepper: a share `amount` of the values becomes 0 or 1, half of it each."""
    u = draws.uniform(x.shape, rng, x)
    return x.masked_fill(u < amount / 2, 0).masked_fill(u > 1 - amount / 2, 1)
