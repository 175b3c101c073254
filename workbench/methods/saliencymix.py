"""SaliencyMix: CutMix whose box lies around the most salient pixel of the partner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from workbench.config import Range
from workbench.draw import Draw, Mode, send
from workbench.methods.base import Method, Mixed, Paper
from workbench.methods.masks import (
    blend,
    box_mask,
    box_reach,
    boxes_around,
    outside_box,
    outside_share,
    pair_weights,
    pairs,
    take,
)
from workbench.methods.parts.graphs import replayed
from workbench.saliency import peak

if TYPE_CHECKING:
    from workbench.models import Net


@dataclass(eq=False)
class SaliencyMix(Method):
    """The partner shows through a box of area 1 - lambda around the peak of its own saliency.

    The saliency is the fine-grained static one of OpenCV that the paper names. Where we differ from the reference code
    (afm-shahab-uddin/SaliencyMix): it passes OpenCV a normalised float image, which that function reads as bytes, so
    its boxes lie where chance puts them; and it takes one image's peak for the whole batch. Here every row has a true
    peak, of its own partner; of several equal ones it is that of most contrast, where the code has the topmost.
    `mode="batch"` gives one lambda and one box a batch, around the peak of the first row's partner. The label weight
    is the share that is left after the box was clipped to the image, as in CutMix.
    """

    paper = Paper(
        "SaliencyMix: A Saliency Guided Data Augmentation Strategy for Better Regularization",
        "Uddin, Monira, Shin, Chung, Bae",
        "ICLR 2021",
        "2006.01791",
    )
    family: ClassVar[str] = "saliency"

    alpha: Annotated[float, Range(0.05, 5)] = 1.0
    """Both parameters of the Beta distribution of the box's area."""
    prob: Annotated[float, Range(0, 1)] = 1.0
    """How often a row is mixed at all; the paper's CIFAR runs have 0.5."""
    mode: Mode = "sample"
    """One lambda and peak a sample, or one for the whole batch."""

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        n, (height, width) = len(x), x.shape[2:]
        wished = box_reach(draw.lam(self.alpha, n, self.mode, self.prob), height, width)
        reach, size, source = send(x.device, wished, np.array([height, width]), pairs(draw.partner(n)))
        partner = source[:, 1]
        shown = take(x, partner if self.mode == "sample" else partner[:1])
        centre = replayed(peak, (shown,)).expand(n, 2)
        boxes = boxes_around(centre, reach, size)
        pixels = torch.arange(max(height, width), device=x.device)
        mask = box_mask(*outside_box(boxes, pixels, height, width), x.dtype)
        return Mixed(blend(x, partner, mask), source, pair_weights(outside_share(boxes, height, width)), mask)
