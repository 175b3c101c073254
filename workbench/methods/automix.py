"""AutoMix: a small generator draws the mask, and learns from a slow copy of the net which masks keep both classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor

from workbench.config import Range
from workbench.draw import Draw, send
from workbench.methods.base import Mixed, Paper, soft_cross_entropy
from workbench.methods.masks import enlarged, pair_weights, pairs
from workbench.methods.parts.mixblock import MixBlock, mix_pair
from workbench.methods.parts.teacher import Learned

if TYPE_CHECKING:
    from workbench.models import Net


@dataclass(eq=False)
class AutoMix(Learned):
    """The student learns from clean images and from mixes; the generator from the teacher's loss on mixes of its own.

    A step, losses taken one after the other, so that only one graph is alive at a time:
    1. the teacher's features of the clean batch, once, up to the `tap`, without gradient;
    2. the generator: cross-entropy of the frozen teacher on a mix with its own lambda and partners, plus
       `mask_loss_weight` max(0, |mean(M) - lambda| - `mask_loss_margin`), the gradient going to the generator alone;
    3. the student on the clean batch; 4. the student on a mix whose mask has no gradient.

    Labels have the lambda that was drawn, not the mask's mean: that is the paper's, and an exception here. Rows with
    lambda or 1 - lambda of at most `lam_margin` are mixed by plain Mixup on the student's side.

    Where we differ from the reference code (Westlake-AI/openmixup): the net has one head, as in the paper's formula,
    where that code has two, for clean and mixed images; lambda is one a row (`mode="batch"`: one a batch, as
    published), and so the mask's mean is held to lambda row by row, where that code takes it over the batch; dropout
    and stochastic depth are off in the teacher, while its batch norms see their own batches' statistics, as there.
    """

    paper = Paper(
        "AutoMix: Unveiling the Power of Mixup for Stronger Classifiers",
        "Liu, Li, Wu, Liu, Chen, Wu, Li",
        "ECCV 2022",
        "2103.13027",
    )

    lam_embed: bool = True
    """Whether the generator is told lambda, as in the paper; the benchmark's CIFAR settings leave it out."""
    mask_loss_weight: Annotated[float, Range(0, 10)] = 0.1
    """Weight of the loss that draws the mask's mean to lambda."""
    mask_loss_margin: Annotated[float, Range(0, 1)] = 0.1
    """How far the mask's mean may be from lambda at no loss."""

    def make_generator(self, channels: int) -> MixBlock:
        return MixBlock(channels, self.lam_embed)

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        net, n = self.given(net), len(x)
        drawn = [(pairs(draw.partner(n)), pair_weights(draw.lam(self.alpha, n, self.mode))) for _ in range(2)]
        features = self.features(x)
        source, weight, own_source, own_weight = send(x.device, *drawn[0], *drawn[1])
        with torch.no_grad():
            mask = enlarged(self._student_mask(features, source[:, 1], weight[:, 0]), x.shape[2:]).to(x.dtype)
            mixed = mix_pair(x, source[:, 1], mask)
        own = Mixed(x, own_source, own_weight)
        aux = (self._generator_loss(features, y, own), self.clean_loss(x, y, net))
        return Mixed(mixed, source, weight, mask, aux)

    def _student_mask(self, features: Tensor, partner: Tensor, lam: Tensor) -> Tensor:
        """(B, 1, h, w) the generator's masks, and lambda itself where that is nearly 0 or 1."""
        mask = self.parts()[1](features, partner, lam)
        return torch.where(self.near_ends(lam), lam[:, None, None, None], mask)

    def _generator_loss(self, features: Tensor, y: Tensor, clean: Mixed) -> Callable[[], Tensor]:
        teacher, generator = self.parts()

        def loss() -> Tensor:
            partner, lam = clean.source[:, 1], clean.weight[:, 0]
            mask = generator(features, partner, lam)
            wide = enlarged(mask, clean.x.shape[2:]).to(clean.x.dtype)
            logits = teacher(mix_pair(clean.x, partner, wide))
            excess = (mask.mean((1, 2, 3)) - lam).abs() - self.mask_loss_margin
            cross_entropy = soft_cross_entropy(logits, y, clean, self.label_smoothing)
            return (cross_entropy + self.mask_loss_weight * excess.clamp(min=0)).mean()

        return loss
