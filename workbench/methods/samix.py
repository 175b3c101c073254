"""SAMix: AutoMix with a generator that looks at both images, a balanced objective, and a variant trained before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.config import Range
from workbench.draw import Draw, send
from workbench.methods.base import Mixed, Paper, need_class_ids
from workbench.methods.masks import pair_weights, pairs
from workbench.methods.parts.frozen import Reusable
from workbench.methods.parts.mixblock import MixingAttention, mix_pair, smooth

if TYPE_CHECKING:
    from workbench.models import Net

VARIANCE = 2.0
"""Weight of a mask's variance, which is rewarded, within the mask loss."""


@dataclass(eq=False)
class SAMix(Reusable):
    """AutoMix's step with another generator (`MixingAttention`), masks enlarged bilinearly before the sigmoid, and
    another loss of the generator: local + `eta` global + `mask_loss_weight` (max(0, |mean(M) - lambda| -
    `mask_loss_margin`) - 2 var(M)). local is the cross-entropy between the pair's two classes, global that of both
    together against all others; with `eta` 1 their sum is Mixup's cross-entropy. The student keeps that one.

    Where we differ from the reference code (Westlake-AI/openmixup): there `eta` has no effect, as it multiplies terms
    whose target is 0, so the released results are those of `eta` 1; `mask_adjust` brings the mask to the lambda of the
    labels, there to that of the generator's own mix; mean and variance are each mask's own, there the batch's; the
    generator's norm is explained at `MixingAttention`, and it has no dropout; the mask loss keeps its weight, which
    ImageNet's settings there lower to 0. And what is said of the head, lambda and the teacher in `AutoMix` holds here.

    With `pretrained` this is SAMix-P: teacher and generator of a finished run, frozen, make the masks for a new net,
    which may be of another architecture and have other classes. Both are stored with the new run too.
    """

    paper = Paper(
        "Boosting Discriminative Visual Representation Learning with Scenario-Agnostic Mixup",
        "Li, Liu, Wang, Wu, Liu, Li",
        "arXiv 2021",
        "2111.15454",
    )

    key: ClassVar[str] = "samix"

    eta: Annotated[float, Range(0, 1)] = 0.5
    """Weight of the global term of the generator's loss."""
    lam_k: Annotated[float, Range(0, 100)] = 0.25
    """How little the generator is told of small differences of lambda near 1/2: k of `modulated`. 0.25 for CIFAR, 1 for
    CUB; 100 is lambda itself, as on ImageNet."""
    mask_adjust: Annotated[float, Range(0, 1)] = 0.0
    """How often a mask of the student is scaled so that its mean is lambda; 0.25 in the benchmark's best CIFAR run."""
    mask_loss_weight: Annotated[float, Range(0, 10)] = 0.1
    """Weight of the loss that draws the mask's mean to lambda and its values to 0 and 1."""
    mask_loss_margin: Annotated[float, Range(0, 1)] = 0.1
    """How far the mask's mean may be from lambda at no loss."""

    def make_generator(self, channels: int) -> MixingAttention:
        return MixingAttention(channels, self.lam_k)

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        need_class_ids(self, y)
        net, n = self.given(net), len(x)
        drawn = [(pairs(draw.partner(n)), pair_weights(draw.lam(self.alpha, n, self.mode))) for _ in range(2)]
        happens = draw.happens(self.mask_adjust, n, self.mode)
        features = self.features(x)
        source, weight, own_source, own_weight, adjust = send(x.device, *drawn[0], *drawn[1], happens)
        with torch.no_grad():
            mask = self._student_mask(features, source[:, 1], weight[:, 0], adjust, x.shape[2:]).to(x.dtype)
            mixed = mix_pair(x, source[:, 1], mask)
        aux = [self.clean_loss(x, y, net)]
        if not self.frozen:
            aux.insert(0, self._generator_loss(features, y, Mixed(x, own_source, own_weight)))
        return Mixed(mixed, source, weight, mask, tuple(aux))

    def _student_mask(
        self, features: Tensor, partner: Tensor, lam: Tensor, adjust: Tensor, size: Sequence[int]
    ) -> Tensor:
        """(B, 1, H, W) the generator's masks, some of them `adjusted`; lambda itself where that is nearly 0 or 1."""
        mask = smooth(self.parts()[1](features, partner, lam), size).sigmoid_()
        wide = lam[:, None, None, None]
        if self.mask_adjust:
            mask = torch.where(adjust[:, None, None, None], adjusted(mask, wide), mask)
        return torch.where(self.near_ends(lam), wide, mask)

    def _generator_loss(self, features: Tensor, y: Tensor, clean: Mixed) -> Callable[[], Tensor]:
        teacher, generator = self.parts()

        def loss() -> Tensor:
            partner, lam = clean.source[:, 1], clean.weight[:, 0]
            mask = smooth(generator(features, partner, lam), clean.x.shape[2:]).sigmoid()
            logits = teacher(mix_pair(clean.x, partner, mask.to(clean.x.dtype)))
            balanced = balanced_cross_entropy(logits, y, y[partner], lam, self.eta)
            if self.label_smoothing:
                spread = -F.log_softmax(logits.float(), 1).mean(1)
                balanced = torch.lerp(balanced, spread, self.label_smoothing)
            return (balanced + self.mask_loss_weight * mask_loss(mask, lam, self.mask_loss_margin)).mean()

        return loss


def balanced_cross_entropy(logits: Tensor, own: Tensor, partner: Tensor, lam: Tensor, eta: float) -> Tensor:
    """(B,) local + eta global. logits: (B, classes); own, partner: (B,) classes of the pair; lam: (B,).

    local = lambda softplus(z_b - z_a) + (1 - lambda) softplus(z_a - z_b) tells the two classes from each other,
    global = LSE(z) - LSE(z_a, z_b) tells both from the rest. A pair of one class has the global term alone.
    """
    z = logits.float()
    a, b = (z.gather(1, y[:, None].long())[:, 0] for y in (own, partner))
    pair = torch.where(own == partner, a, torch.logaddexp(a, b))
    local = pair - torch.lerp(b, a, lam)
    return local + eta * (z.logsumexp(1) - pair)


def mask_loss(mask: Tensor, lam: Tensor, margin: float) -> Tensor:
    """(B,) max(0, |mean(M) - lambda| - margin) - 2 var(M) of masks (B, 1, H, W), each one's own: its mean is drawn to
    lambda and its values to 0 and 1."""
    variance, mean = torch.var_mean(mask, (1, 2, 3), correction=0)
    return ((mean - lam).abs() - margin).clamp(min=0) - VARIANCE * variance


def adjusted(mask: Tensor, lam: Tensor) -> Tensor:
    """(B, 1, H, W) M scaled down, or 1 - M, so that its mean is lambda (B, 1, 1, 1)."""
    mean = mask.mean((1, 2, 3), keepdim=True)
    tiny = torch.finfo(mask.dtype).tiny
    lower, higher = lam / mean.clamp(min=tiny), (1 - lam) / (1 - mean).clamp(min=tiny)
    return torch.where(mean > lam, mask * lower, 1 - (1 - mask) * higher)
