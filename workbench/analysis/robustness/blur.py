"""Blur. Images are (B, C, H, W) in [0, 1]; lengths are pixels."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.analysis.robustness import draws


def defocus_blur(x: Tensor, rng: torch.Generator, radius: float, softness: float) -> Tensor:
    """A disc, its edge softened by a Gaussian of `softness` pixels; a disc under one pixel is the Gaussian alone."""
    return filtered(x, disc(radius, softness))


def glass_blur(x: Tensor, rng: torch.Generator, sigma: float, reach: float, rounds: float) -> Tensor:
    """Pixels change places with others about `reach` away, between two Gaussian blurs; each starts `rounds` swaps.

    The published code swaps pixel by pixel over the whole image. Here pixels 2 `reach` + 1 apart, whose surroundings
    can't touch, swap at once, and the grid of them is moved over all places: the same swaps in another order.
    """
    soft = gaussian(sigma)
    return filtered(swapped(filtered(x, soft), rng, reach, rounds), soft)


def motion_blur(x: Tensor, rng: torch.Generator, length: float, sigma: float) -> Tensor:
    """Half a Gaussian of `sigma` along a line of its own for each image, within 45 degrees of horizontal, cut off at
    `length`."""
    angle = draws.uniform((len(x),), rng, x, -math.pi / 4, math.pi / 4)
    return filtered(x, streak(angle, length, sigma))


def zoom_blur(x: Tensor, rng: torch.Generator, largest: float, step: float) -> Tensor:
    """Mean of the image and of enlargements about its centre by 1, 1 + `step`, ..., `largest`."""
    number = round((largest - 1) / step) + 1
    total = x.clone()
    for factor in torch.linspace(1, largest, number, dtype=torch.float64).tolist():
        total += mapped(x, enlarging(x.shape[2], factor), enlarging(x.shape[3], factor))
    return total / (number + 1)


# ------------------------------------------------------------------------------------------------------------- parts


def filtered(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolution of (B, C, H, W) with one kernel (k, k), k odd, or with one for each image (B, k, k). The border is
    mirrored, or repeated where the kernel is larger than the image."""
    reach, (height, width) = kernel.shape[-1] // 2, x.shape[2:]
    padded = F.pad(x, [reach] * 4, mode="reflect" if reach < min(height, width) else "replicate")
    if kernel.dim() == 2 and reach <= 2:
        return _added(padded, kernel, height, width)
    side = [-(-n // 8) * 8 for n in padded.shape[2:]]  # lengths that the transform is quick with
    spectrum = torch.fft.rfft2(kernel.to(x), s=side)
    spectrum = spectrum.unsqueeze(1) if kernel.dim() == 3 else spectrum
    product = torch.fft.irfft2(torch.fft.rfft2(padded, s=side) * spectrum, s=side)
    return product[:, :, 2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width]


def _added(padded: Tensor, kernel: Tensor, height: int, width: int) -> Tensor:
    """Convolution with a small kernel: shifted copies, weighted. PyTorch's own is slow with single channels."""
    total = torch.zeros(*padded.shape[:2], height, width, dtype=padded.dtype, device=padded.device)
    for i, row in enumerate(kernel.flip(0, 1).tolist()):
        for j, weight in enumerate(row):
            total.add_(padded[:, :, i : i + height, j : j + width], alpha=weight)
    return total


def mapped(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(B, C, h, w): the columns of (B, C, H, W) images mapped by (h, H), their rows by (w, W)."""
    return ((x @ columns.to(x).T).mT @ rows.to(x).T).mT


def gaussian(sigma: float, reach: int | None = None) -> Tensor:
    """(k, k) float64 Gaussian kernel, cut off at three sigma if nothing else is said."""
    reach = max(1, math.ceil(3 * sigma)) if reach is None else reach
    steps = torch.arange(-reach, reach + 1, dtype=torch.float64)
    line = torch.exp(-(steps**2) / (2 * sigma**2))
    line /= line.sum()
    return torch.outer(line, line)


def disc(radius: float, softness: float) -> Tensor:
    """(k, k) float64 kernel: the pixels whose centres lie within `radius`, blurred over 3 pixels (5 from a radius of
    8 on)."""
    reach = math.floor(radius)
    steps = torch.arange(-reach, reach + 1)
    inside = (steps[:, None] ** 2 + steps**2 <= radius**2).double()
    soft = gaussian(softness, reach=1 if radius <= 8 else 2)
    margin = 2 * (soft.shape[0] // 2)
    blurred = F.conv2d(F.pad(inside, [margin] * 4)[None, None], soft[None, None])[0, 0]
    return blurred / blurred.sum()


def streak(angle: Tensor, length: float, sigma: float) -> Tensor:
    """(B, k, k) kernels: half a Gaussian from the centre in the direction of each angle (radians)."""
    taps = math.ceil(min(length, 3 * sigma))
    along = torch.arange(taps + 1).to(angle)
    weight = torch.exp(-(along**2) / (2 * sigma**2))
    places = torch.arange(-taps, taps + 1).to(angle)
    rows = (1 - (places - (along * angle.sin()[:, None])[..., None]).abs()).clamp(min=0)
    columns = (1 - (places - (along * angle.cos()[:, None])[..., None]).abs()).clamp(min=0)
    return torch.einsum("t,bty,btx->byx", weight / weight.sum(), rows, columns)


def enlarging(side: int, factor: float) -> Tensor:
    """(side, side) float64 matrix that enlarges a line about its middle, by linear interpolation."""
    places = torch.arange(side, dtype=torch.float64)
    source = (places - (side - 1) / 2) / factor + (side - 1) / 2
    return (1 - (source[:, None] - places).abs()).clamp(min=0)


def swapped(x: Tensor, rng: torch.Generator, reach: float, rounds: float) -> Tensor:
    """The images with pixels swapped, all channels alike.

    The offset along an axis is uniform within `reach` + 1/2 pixels, rounded. Of the last of the `rounds` only a part
    happens where it is no whole number.
    """
    (batch, _, height, width), border = x.shape, math.ceil(reach)
    if min(height, width) <= 2 * border:
        return x
    pixels, stride = torch.arange(height * width, device=x.device).repeat(batch, 1), 2 * border + 1
    for turn in range(math.ceil(rounds) * stride**2):
        top, left = divmod(turn % stride**2, stride)
        rows = torch.arange(height - border, device=x.device)[border + top :: stride]  # none, in a small image
        columns = torch.arange(width - border, device=x.device)[border + left :: stride]
        here = (rows[:, None] * width + columns).flatten().expand(batch, -1)
        down, right, chance = draws.uniform((3, *here.shape), rng, x).sub_(0.5).unbind()
        happens = chance + 0.5 < rounds - turn // stride**2
        offset = (down * (2 * reach + 1)).round() * width + (right * (2 * reach + 1)).round()
        there = here + offset.long() * happens
        mine, other = pixels.gather(1, here), pixels.gather(1, there)
        pixels.scatter_(1, here, other).scatter_(1, there, mine)
    return x.flatten(2).gather(2, pixels.unsqueeze(1).expand(-1, x.shape[1], -1)).view(x.shape)
