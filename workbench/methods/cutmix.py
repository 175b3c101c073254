"""CutMix: a box of the partner, pasted at the same place; labels by area."""

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
class CutMix(Method):
    """The partner shows through a box of area 1 - lambda, lambda from Beta(alpha, alpha).

    The box is clipped to the image and lambda is then recomputed from what was really pasted, as in the reference
    code (clovaai/CutMix-PyTorch). So its mean is not one half: the pasted share averages 0.32 for alpha = 1 (77/240 in
    the continuous limit). We differ in drawing a box a row instead of one a batch; `mode="batch"` gives that back.
    """

    paper = Paper(
        "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
        "Yun, Han, Oh, Chun, Choe, Yoo",
        "ICCV 2019",
        "1905.04899",
    )

    alpha: Annotated[float, Range(0.05, 5)] = 1.0
    """Both parameters of the Beta distribution of the box's area."""
    prob: Annotated[float, Range(0, 1)] = 1.0
    """How often a row is mixed at all; the paper's CIFAR runs have 0.5, its ImageNet runs 1."""
    mode: Mode = "sample"
    """One box a sample, or one for the whole batch."""

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        n, (height, width) = len(x), x.shape[2:]
        boxes = draw_boxes(draw, draw.lam(self.alpha, n, self.mode, self.prob), height, width, self.mode)
        lam = outside_share(boxes, height, width).astype(np.float32)
        outside = outside_box(boxes, np.arange(max(height, width)), height, width)
        rows, columns, source, weight = send(x.device, *outside, pairs(draw.partner(n)), pair_weights(lam))
        mask = box_mask(rows, columns, x.dtype)
        return Mixed(blend(x, source[:, 1], mask), source, weight, mask)
