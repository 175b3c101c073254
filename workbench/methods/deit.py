"""DeiT's recipe: Mixup or CutMix by the toss of a coin, with label smoothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from torch import Tensor

from workbench.config import Range
from workbench.draw import Draw, Mode, send
from workbench.methods.base import Method, Mixed, Paper
from workbench.methods.masks import blend, box_mask, draw_boxes, outside_box, outside_share, pair_weights, pairs

if TYPE_CHECKING:
    from workbench.models import Net


@dataclass(eq=False)
class DeiT(Method):
    """Each row is mixed by CutMix with probability `switch_prob`, else by Mixup.

    The mechanics are those of timm's `Mixup` with DeiT's arguments. We differ in the partner (a random permutation,
    timm mirrors the batch and so needs an even one) and in tossing for every row; `mode="batch"` tosses once a batch.
    """

    paper = Paper(
        "Training data-efficient image transformers & distillation through attention",
        "Touvron, Cord, Douze, Massa, Sablayrolles, Jegou",
        "ICML 2021",
        "2012.12877",
    )

    mixup_alpha: Annotated[float, Range(0.05, 5)] = 0.8
    """Parameter of Mixup's Beta distribution."""
    cutmix_alpha: Annotated[float, Range(0.05, 5)] = 1.0
    """Parameter of CutMix's Beta distribution."""
    switch_prob: Annotated[float, Range(0, 1)] = 0.5
    """Probability of CutMix."""
    mode: Mode = "sample"
    """One toss, lambda and box a sample, or one for the whole batch."""
    label_smoothing: Annotated[float, Range(0, 0.9)] = 0.1
    """Share of the target that is spread over all classes."""

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        n, (height, width) = len(x), x.shape[2:]
        cut = draw.happens(self.switch_prob, n, self.mode)
        linear = draw.lam(self.mixup_alpha, n, self.mode)
        drawn = draw_boxes(draw, draw.lam(self.cutmix_alpha, n, self.mode), height, width, self.mode)
        lam = np.where(cut, outside_share(drawn, height, width), linear).astype(np.float32)
        beside, above = outside_box(drawn, np.arange(max(height, width)), height, width)
        # A row of Mixup is a box over the whole image that lets lambda of the row itself through: no branch.
        mixup = ~cut[:, None, None, None]
        beside, above = np.where(mixup, linear[:, None, None, None], beside), np.where(mixup, False, above)
        rows, columns, source, weight = send(x.device, beside, above, pairs(draw.partner(n)), pair_weights(lam))
        mask = box_mask(rows, columns, x.dtype)
        return Mixed(blend(x, source[:, 1], mask), source, weight, mask)
