"""Maps of what matters in an image, batched and on the image's device.

B images, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.config import UsageError

if TYPE_CHECKING:
    from workbench.models import Net

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey value (ITU-R BT.601)."""

RADII = (12, 24, 48, 28, 56, 112)
"""Half sides of the surrounds that a pixel is compared with, as OpenCV has them."""

LOSS_SCALE = 1024.0
"""By which a loss is multiplied before its gradient is taken, so that half precision does not lose small gradients."""


def gradient(net: Net, images: Tensor, labels: Tensor) -> Tensor:
    """(B, H, W) float32 length of the input gradient: the root of the mean over channels of (d loss_b / d x_b)^2.

    images: (B, C, H, W); labels: (B,) class ids or (B, classes) soft. The loss is the cross-entropy; its scale means
    nothing here. The net is in evaluation mode for it, so that no image sees the others, and its weights are frozen,
    which halves the price of the backward pass; it is left as found.
    """
    with torch.inference_mode(False), torch.enable_grad(), net.probing():
        images = (images.clone() if images.is_inference() else images.detach()).requires_grad_()
        loss = F.cross_entropy(net(images).float(), labels, reduction="sum")
        (slope,) = torch.autograd.grad(loss * LOSS_SCALE, images)
    return slope.float().square().mean(1).sqrt()


@torch.no_grad()
def activation(net: Net, images: Tensor) -> Tensor:
    """(B, h, w) float32 mean over the channels of the net's last feature map, at that map's own resolution.

    images: (B, C, H, W). The net is in evaluation mode for it and is left as found.
    """
    if len(net.depths) < 2:
        raise UsageError(f"{net.name} does not name its depths; take a ResNet, ConvNeXt, ViT or Swin")
    with net.probing():
        return net.features(images, net.depths[-1]).float().mean(1)


def resized(images: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, *size) by bilinear interpolation, averaged where that is smaller; the images themselves if they fit."""
    if images.shape[2:] == tuple(size):
        return images
    return F.interpolate(images.float(), tuple(size), mode="bilinear", antialias=True)


def on_grid(saliency: Tensor, rows: int, columns: int) -> Tensor:
    """(B, rows, columns) float32 mean saliency of each cell of a grid, which sums to 1 over an image.

    saliency: (B, H, W), not negative. Where it is nowhere above 0, or not finite, every cell has the same.
    """
    cells = F.adaptive_avg_pool2d(saliency.detach().float(), (rows, columns)).clamp(min=0)
    total = cells.sum((1, 2), keepdim=True)
    usable = (total > 0) & total.isfinite()
    return torch.where(usable, cells / total, 1 / (rows * columns))


@torch.no_grad()
def fine_grained(images: Tensor) -> Tensor:
    """(B, H, W) float32 fine-grained static saliency of images (B, C, H, W) in [0, 1]; the highest value is 1 to 2.

    On-centre and off-centre contrast: how much a pixel is brighter, and darker, than the mean of the squares around it,
    in whole grey levels, summed over six sizes of square; each of the two is divided by its highest value and they are
    added. A constant image has no contrast and gives zeros.

    Source: Montabone and Soto, Human detection using a mobile platform and novel features derived from a visual
    saliency mechanism, Image and Vision Computing 28(3), 2010, in the form that OpenCV's StaticSaliencyFineGrained
    computes for 8-bit images. OpenCV keeps its sums in 8 bits, where they can wrap round; these can't.
    """
    on, off = _contrasts(images)
    return _scaled(on).add_(_scaled(off))


@torch.no_grad()
def peak(images: Tensor) -> Tensor:
    """(B, 2) int64 row and column where the fine-grained saliency of each image is highest.

    The brightest and the darkest spot nearly always share that value, since the contrasts of both are scaled to 1: of
    equals it is the one with more contrast in grey levels, then the image's centre, then the first.
    """
    on, off = _contrasts(images)
    width = on.shape[2]
    centre = on.shape[1] // 2 * width + width // 2
    contrast = on + off
    saliency = _scaled(on).add_(_scaled(off))
    highest = saliency >= saliency.amax((1, 2), keepdim=True)
    contrast[:, centre // width, centre % width] += 0.5  # contrasts are whole numbers; a constant image has none
    place = torch.where(highest, contrast, -1.0).flatten(1).argmax(1)
    return torch.stack([place // width, place % width], 1)


def _contrasts(images: Tensor) -> tuple[Tensor, Tensor]:
    """(B, H, W) float32 on-centre and off-centre contrast, in whole grey levels, summed over the squares."""
    grey = _blur(_blur(_grey(images))).int()
    sums = F.pad(grey.cumsum(1, dtype=grey.dtype).cumsum(2, dtype=grey.dtype), (1, 0, 1, 0))
    radii = [min(radius, max(grey.shape[1:])) for radius in RADII]
    both, difference = (torch.zeros_like(sums[:, 1:, 1:]) for _ in range(2))
    for radius in sorted(set(radii)):
        levels = _contrast(grey, sums, radius).int()  # cuts off what is behind the point, as floor does above 0
        times = radii.count(radius)  # squares that are larger than the image are all alike
        difference.add_(levels, alpha=times)
        both.add_(levels.abs_(), alpha=times)
    off = (both - difference) >> 1
    return both.sub_(off).float(), off.float()


def _grey(images: Tensor) -> Tensor:
    """(B, H, W) int16 grey values from 0 to 255; the mean of the channels where they are not red, green and blue."""
    images = images.float()
    if images.shape[1] != 3:
        return (images.mean(1) * 255 + 0.5).short()
    red, green, blue = images.unbind(1)
    grey = (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])
    return grey.mul_(255).add_(0.5).short()


def _blur(grey: Tensor) -> Tensor:
    """A 3x3 Gaussian, (1 2 1) / 4 along both axes and mirrored at the border, rounded to whole grey values."""
    for axis in (1, 2):
        last = grey.shape[axis] - 1
        blurred = grey * 2
        blurred.narrow(axis, 1, last).add_(grey.narrow(axis, 0, last))
        blurred.narrow(axis, 0, last).add_(grey.narrow(axis, 1, last))
        blurred.narrow(axis, 0, 1).add_(grey.narrow(axis, min(1, last), 1))
        blurred.narrow(axis, last, 1).add_(grey.narrow(axis, max(last - 1, 0), 1))
        grey = blurred
    return (grey + 8) >> 4


def _contrast(grey: Tensor, sums: Tensor, radius: int) -> Tensor:
    """Each pixel less the mean of the square around it, which is clipped to the image and leaves the pixel out."""
    height, width = grey.shape[1:]
    ones = (torch.arange(side + 1, dtype=grey.dtype, device=grey.device) for side in (height, width))
    rows, columns = (_window(running, 0, radius) for running in ones)
    area = rows[:, None] * columns
    total = _window(_window(sums, 1, radius), 2, radius)
    # grey - (total - grey) / (area - 1), exact up to the division
    return (grey * area).sub_(total).float().div_((area - 1).clamp(min=1).float())


def _window(sums: Tensor, axis: int, radius: int) -> Tensor:
    """Sums over [i - radius + 1, i + radius + 1) for every i, from running sums that begin with 0.

    Slices do what two gathers would, since all that index a window are ramps cut off at the ends; that is ten times
    faster along the last axis.
    """
    side = sums.shape[axis] - 1
    within = max(side - radius, 0)
    to_end = sums.narrow(axis, side, 1).expand(*sums.shape[:axis], side - within, *sums.shape[axis + 1 :])
    window = torch.cat([sums.narrow(axis, side + 1 - within, within), to_end], axis)
    window.narrow(axis, side - within, within).sub_(sums.narrow(axis, 1, within))
    return window


def _scaled(contrast: Tensor) -> Tensor:
    """Divided by the highest value of each map, which is a whole number; zeros stay zeros."""
    return contrast / contrast.amax((1, 2), keepdim=True).clamp(min=1)
