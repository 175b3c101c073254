"""Weather. Images are (B, C, H, W) in [0, 1]; lengths are pixels; results may leave that range, the caller clips."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.analysis.robustness import draws
from workbench.analysis.robustness.blur import filtered, streak

LUMA = (0.299, 0.587, 0.114)
ICE = (0.72, 0.84, 0.96)
"""Colour of thick frost; grey images take its mean."""


def snow(
    x: Tensor,
    rng: torch.Generator,
    mean: float,
    std: float,
    size: float,
    least: float,
    length: float,
    sigma: float,
    keep: float,
) -> Tensor:
    """Flakes: normal noise in grains of `size` pixels, of which only what is above `least` falls, in streaks; twice,
    the second time upside down. The image itself is whitened, `keep` of it staying."""
    coarse = [math.ceil(side / size) for side in x.shape[2:]]
    flakes = mean + std * draws.normal((len(x), 1, *coarse), rng, x)
    layer = F.interpolate(flakes, size=x.shape[2:], mode="bilinear", align_corners=True)
    layer = layer.masked_fill(layer < least, 0).clamp(0, 1)
    angle = draws.uniform((len(x),), rng, x, -3 * math.pi / 4, -math.pi / 4)
    layer = filtered(layer, streak(angle, length, sigma)).clamp(0, 1)
    whitened = torch.maximum(x, grey(x) * 1.5 + 0.5)
    return keep * x + (1 - keep) * whitened + layer + layer.flip(2, 3)


def frost(x: Tensor, rng: torch.Generator, keep: float, ice: float) -> Tensor:
    """`keep` of the image and `ice` of a sheet of ice. The published code pastes photographs of frosted glass, which
    are not at hand here: the ice is made, in veins of several sizes on a bluish ground."""
    return keep * x + ice * _ice(x, rng)


def fog(x: Tensor, rng: torch.Generator, amount: float, decay: float) -> Tensor:
    """A cloud of plasma on top, and the whole darkened so that the brightest value stays where it was."""
    side = 2 ** math.ceil(math.log2(max(x.shape[2:])))
    cloud = plasma(len(x), side, decay, rng, x)[:, None, : x.shape[2], : x.shape[3]]
    brightest = x.amax((1, 2, 3), keepdim=True)
    return (x + amount * cloud) * brightest / (brightest + amount)


def brightness(x: Tensor, rng: torch.Generator, more: float) -> Tensor:
    """The largest channel of each pixel (the V of HSV) grows by `more`, up to 1; hue and saturation stay."""
    value = x.amax(1, keepdim=True)
    raised = (value + more).clamp(max=1)
    return torch.where(value > 0, x * (raised / value.clamp(min=1e-12)), raised)


# ------------------------------------------------------------------------------------------------------------- parts


def grey(x: Tensor) -> Tensor:
    """(B, 1, H, W) luma of RGB images, mean of the channels of others."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    return (x * torch.tensor(LUMA).to(x).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _ice(x: Tensor, rng: torch.Generator) -> Tensor:
    """(B, C, H, W) veins: where noise of each size crosses its middle, the coarse ones widest."""
    batch, channels, *size = x.shape
    veins, cells, weight = torch.zeros(batch, 1, *size).to(x), 3, 1.0
    while cells <= min(size) and weight > 0.2:
        noise = draws.uniform((batch, 1, cells, cells), rng, x)
        smooth = F.interpolate(noise, size=size, mode="bicubic", align_corners=True)
        veins = torch.maximum(veins, weight * (1 - 3 * (smooth - 0.5).abs()).clamp(min=0))
        cells, weight = 2 * cells, 0.8 * weight
    color = torch.tensor(ICE).to(x) if channels == 3 else torch.full((channels,), sum(ICE) / 3).to(x)
    return (0.35 + 0.65 * veins) * color.view(1, -1, 1, 1)


def plasma(number: int, side: int, decay: float, rng: torch.Generator, like: Tensor) -> Tensor:
    """(number, side, side) clouds in [0, 1] by the diamond-square algorithm on a torus; `side` is a power of 2. The
    noise of each halving is smaller by `decay` squared."""
    cloud = torch.zeros(number, side, side).to(like)
    step, size = side, 1.0
    while step >= 2:
        half = step // 2
        corners = cloud[:, ::step, ::step]
        beside = corners + corners.roll(-1, 2)
        centres = _disturbed(beside + beside.roll(-1, 1), size, rng)
        cloud[:, half::step, half::step] = centres
        cloud[:, ::step, half::step] = _disturbed(beside + centres + centres.roll(1, 1), size, rng)
        below = corners + corners.roll(-1, 1)
        cloud[:, half::step, ::step] = _disturbed(below + centres + centres.roll(1, 2), size, rng)
        step, size = half, size / decay**2
    low, high = cloud.amin((1, 2), keepdim=True), cloud.amax((1, 2), keepdim=True)
    return (cloud - low) / (high - low).clamp(min=1e-12)


def _disturbed(four: Tensor, size: float, rng: torch.Generator) -> Tensor:
    """A quarter of the sums of four neighbours, and noise."""
    return four / 4 + draws.uniform(four.shape, rng, four, -size, size)
