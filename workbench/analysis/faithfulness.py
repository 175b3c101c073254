"""Does a map point at what the net uses? Insertion and deletion curves, and scores against the object's mask.

N images, C channels, H W pixels, S steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.draw import Draw
from workbench.models import Net

THRESHOLDS = np.round(np.arange(0.05, 0.96, 0.05), 2)
"""Shares of a map's highest value at which it is cut, to compare it with a mask."""
BLUR = 1 / 20
"""Standard deviation of the blur with which insertion starts, in sides of the image."""


# ------------------------------------------------------------------------------------------- against the object's mask


def mask_scores(maps: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maps (N, H, W) that are not negative and masks (N, H, W), 1 on the object -> pointing (N,), energy (N,) and
    IoU (thresholds, N).

    Pointing (Zhang et al., arXiv:1608.00507): whether the highest pixel lies on the object, without a margin; of
    several equally high pixels the share that does. Energy (Wang et al., arXiv:1910.01279): the share of the map's sum
    that lies on the object. IoU: of the object with the pixels of at least THRESHOLDS of the map's highest value. A map
    that is zero everywhere counts as one that is equal everywhere, so its pointing, energy and IoU are the object's
    share of the image. nan where the mask is empty.
    """
    m, on = maps.reshape(len(maps), -1).astype(np.float64), masks.reshape(len(masks), -1).astype(bool)
    m = np.where(m.max(1, keepdims=True) > 0, m, 1.0)
    highest = m.max(1, keepdims=True)
    peak = m == highest
    pointing = (peak & on).sum(1) / peak.sum(1)
    energy = (m * on).sum(1) / m.sum(1)
    iou = np.stack([_iou(m >= t * highest, on) for t in THRESHOLDS])
    unknown = ~on.any(1)
    return np.where(unknown, np.nan, pointing), np.where(unknown, np.nan, energy), np.where(unknown, np.nan, iou)


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) intersection over union of the rows of boolean arrays; a is nowhere empty."""
    return (a & b).sum(1) / (a | b).sum(1)


def best_threshold(iou: np.ndarray) -> int:
    """Row of (thresholds, N) IoUs with the highest mean over the images whose object is known; the first of equals."""
    known = ~np.isnan(iou[0])
    return int(iou[:, known].mean(1).argmax()) if known.any() else 0


# ------------------------------------------------------------------------------------------------ insertion, deletion


def order(maps: Tensor, seed: int = 0) -> Tensor:
    """(N, H, W) int64 rank of each pixel of maps (N, H, W): 0 for the highest. Equal pixels, of which a map cut off at
    zero has many, come in an order drawn with the seed, not from the top left to the bottom right."""
    flat = maps.flatten(1).cpu()
    drawn = torch.from_numpy(Draw(seed, stream="ties").rng.permutation(flat.shape[1]))
    by_height = flat[:, drawn].argsort(dim=1, descending=True, stable=True)
    ranks = torch.empty_like(by_height)
    places = torch.arange(flat.shape[1]).expand_as(by_height).contiguous()
    ranks.scatter_(1, drawn[by_height], places)
    return ranks.view(maps.shape).to(maps.device)


@torch.no_grad()
def perturbation_curve(
    net: Net, before: Tensor, after: Tensor, ranks: Tensor, classes: Tensor, counts: Sequence[int], chunk: int = 256
) -> Tensor:
    """(N, len(counts)) probability of each image's class (N,) when its first `count` pixels by rank are those of
    `after` and the others those of `before`, both (N, C, H, W). The net is in evaluation mode for it."""
    number = len(before)
    rows = torch.arange(number, device=before.device).repeat_interleave(len(counts))
    limits = torch.tensor(counts, device=before.device).repeat(number)
    found = []
    with net.probing():
        for part in torch.arange(len(rows), device=before.device).split(chunk):
            row, limit = rows[part], limits[part]
            changed = (ranks[row] < limit[:, None, None])[:, None]
            logits = net(torch.where(changed, after[row], before[row])).float()
            found.append(logits.softmax(1).gather(1, classes[row, None])[:, 0])
    return torch.cat(found).view(number, len(counts))


def blurred(images: Tensor) -> Tensor:
    """Images (N, C, H, W) after a Gaussian blur, mirrored at the border."""
    for axis in (2, 3):
        side = images.shape[axis]
        sigma = BLUR * side
        reach = min(int(np.ceil(3 * sigma)), side - 1)
        steps = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
        bell = torch.exp(-0.5 * (steps / sigma) ** 2)
        padding = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        kernel = (bell / bell.sum()).view(1, 1, *((-1, 1) if axis == 2 else (1, -1))).repeat(images.shape[1], 1, 1, 1)
        images = F.conv2d(F.pad(images, padding, mode="reflect"), kernel, groups=images.shape[1])
    return images


def area(curves: np.ndarray, share: np.ndarray) -> np.ndarray:
    """(...,) area under curves (..., S + 1) over rising shares (S + 1,) from 0 to 1, by the trapezoid rule."""
    return np.trapezoid(curves, share, axis=-1)


def counts_of(pixels: int, steps: int) -> list[int]:
    """Numbers of changed pixels, from none to all, in steps of about equal size."""
    return np.round(np.linspace(0, pixels, steps + 1)).astype(int).tolist()
