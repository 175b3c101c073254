"""AutoMix: a small generator draws the mask, and learns from a slow copy of the net which masks keep both classes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from workbench.config import Range, UsageError
from workbench.draw import Draw, Mode, send
from workbench.methods.base import Method, Mixed, Paper, soft_cross_entropy
from workbench.methods.masks import enlarged, pair_weights, pairs
from workbench.methods.mixblock import GRID, MixBlock, at_most, mix_pair

if TYPE_CHECKING:
    from workbench.models import Net

EMA_WARMUP = 0.1
"""Share of the training during which the teacher's momentum stays at its first value."""


@dataclass(eq=False)
class AutoMix(Method):
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
    family: ClassVar[str] = "learned"
    needs_net = True

    alpha: Annotated[float, Range(0.05, 5)] = 2.0
    """Both parameters of the Beta distribution of lambda."""
    lam_embed: bool = True
    """Whether the generator is told lambda, as in the paper; the benchmark's CIFAR settings leave it out."""
    lam_margin: Annotated[float, Range(0, 0.5)] = 0.08
    """How near to 0 or 1 lambda may come before plain Mixup takes over."""
    mask_loss_weight: Annotated[float, Range(0, 10)] = 0.1
    """Weight of the loss that draws the mask's mean to lambda."""
    mask_loss_margin: Annotated[float, Range(0, 1)] = 0.1
    """How far the mask's mean may be from lambda at no loss."""
    momentum: Annotated[float, Range(0, 1)] = 0.999
    """What the teacher keeps of itself at every step, at first. It follows the net with a half-life of
    0.7 / (1 - momentum) steps, 700 by default: a run of a few hundred steps needs about 0.9 (7 steps), or its teacher
    stays near its random start and has nothing to teach."""
    end_momentum: Annotated[float, Range(0, 1)] = 0.999999
    """The same at the end of training, reached along a cosine; 0.99 to 0.999 suits a run of a few hundred steps."""
    tap: str | None = None
    """The depth whose features the generator reads; left out: the net's middle, its last stage but one."""
    mode: Mode = "sample"
    """One lambda a sample, or one for the whole batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.teacher: Net | None = None
        self.generator: MixBlock | None = None

    def attach(self, net: Net) -> None:
        tap = self.tap or net.middle
        self.generator = MixBlock(net.width(tap), self.lam_embed).to(net.mean.device)
        self.teacher = copy.deepcopy(net).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> AutoMix:
        """Of the teacher, the batch norms alone ever leave evaluation mode: its features depend on nothing random."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
            for module in self.teacher.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.train(mode)
        return self

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        if self.teacher is None or self.generator is None or net is None:
            raise UsageError("AutoMix learns with a net; call attach(net) once before mix, and give mix the net")
        n = len(x)
        drawn = [(pairs(draw.partner(n)), pair_weights(draw.lam(self.alpha, n, self.mode))) for _ in range(2)]
        source, weight, own_source, own_weight = send(x.device, *drawn[0], *drawn[1])
        with torch.no_grad():
            features = at_most(self.teacher.features(x, self.tap or self.teacher.middle), GRID)
            mask = enlarged(self._student_mask(features, source[:, 1], weight[:, 0]), x.shape[2:]).to(x.dtype)
            mixed = mix_pair(x, source[:, 1], mask)
        own = Mixed(x, own_source, own_weight)
        aux = (self._generator_loss(features, y, own), self._clean_loss(x, y, net))
        return Mixed(mixed, source, weight, mask, aux)

    def _student_mask(self, features: Tensor, partner: Tensor, lam: Tensor) -> Tensor:
        """(B, 1, h, w) the generator's masks, and lambda itself where that is nearly 0 or 1."""
        assert self.generator is not None
        mask = self.generator(features, partner, lam)
        wide = lam[:, None, None, None]
        return torch.where(torch.minimum(wide, 1 - wide) <= self.lam_margin, wide, mask)

    def _generator_loss(self, features: Tensor, y: Tensor, clean: Mixed) -> Callable[[], Tensor]:
        teacher, generator = self.teacher, self.generator
        assert teacher is not None and generator is not None

        def loss() -> Tensor:
            partner, lam = clean.source[:, 1], clean.weight[:, 0]
            # The attention's maps are made again in the backward pass: kept, they would be the step's highest memory.
            mask = checkpoint(generator, features, partner, lam, use_reentrant=False, preserve_rng_state=False)
            wide = enlarged(mask, clean.x.shape[2:]).to(clean.x.dtype)
            logits = teacher(mix_pair(clean.x, partner, wide))
            excess = (mask.mean((1, 2, 3)) - lam).abs() - self.mask_loss_margin
            cross_entropy = soft_cross_entropy(logits, y, clean, self.label_smoothing)
            return (cross_entropy + self.mask_loss_weight * excess.clamp(min=0)).mean()

        return loss

    def _clean_loss(self, x: Tensor, y: Tensor, net: Net) -> Callable[[], Tensor]:
        return lambda: F.cross_entropy(net(x).float(), y, label_smoothing=self.label_smoothing)

    @torch.no_grad()
    def after_step(self, net: Net, progress: float) -> None:
        """Move the teacher's parameters towards the net's; its buffers are its own."""
        if self.teacher is None:
            raise UsageError("AutoMix learns with a net; call attach(net) once before training")
        keep = momentum_at(progress, self.momentum, self.end_momentum)
        torch._foreach_lerp_(list(self.teacher.parameters()), list(net.parameters()), 1 - keep)

    def picture(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> tuple[Mixed, str]:
        with torch.no_grad():
            return self.mix(x, y, net, draw), "labels have the drawn lambda, not the mask's mean"


def momentum_at(progress: float, start: float, end: float) -> float:
    """Momentum of the teacher when a share `progress` of the training is done: constant, then along a cosine."""
    if progress < EMA_WARMUP:
        return start
    return end - (end - start) * (1 + math.cos(math.pi * progress)) / 2
