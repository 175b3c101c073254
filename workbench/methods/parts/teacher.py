"""What the methods share that learn to mix: a slow copy of the net as the teacher of a generator of masks."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.config import Range, UsageError, nearest
from workbench.draw import Draw, Mode
from workbench.methods.base import Method, Mixed
from workbench.methods.parts.mixblock import GRID, at_most

if TYPE_CHECKING:
    from workbench.models import Net

EMA_WARMUP = 0.1
"""Share of the training during which the teacher's momentum stays at its first value."""


@dataclass(eq=False)
class Learned(Method):
    """Base of AutoMix and what came of it: a generator makes masks from the features of a teacher, which follows the
    net as a moving average of its weights.

    The teacher's weights are frozen; what it says of a mix has a gradient for the generator alone. Dropout and
    stochastic depth are off in it. Its batch norms see their own batches' statistics, as in the reference code
    (Westlake-AI/openmixup), and their running statistics are its own; in evaluation mode they too are still.
    """

    family: ClassVar[str] = "learned"
    needs_net = True

    alpha: Annotated[float, Range(0.05, 5)] = 2.0
    """Both parameters of the Beta distribution of lambda."""
    lam_margin: Annotated[float, Range(0, 0.5)] = 0.08
    """How near to 0 or 1 lambda may come before plain Mixup takes over."""
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
        self.generator: nn.Module | None = None
        self.depth = ""

    def make_generator(self, channels: int) -> nn.Module:
        """The generator of masks from features of so many channels."""
        raise NotImplementedError(f"{type(self).__name__} must say what generates its masks")

    def attach(self, net: Net) -> None:
        self.depth = self.tap or net.middle
        if self.depth not in net.depths[1:]:
            name = type(self).__name__
            raise UsageError(
                f"{name}: {net.name} has no inner depth {self.depth!r}{nearest(self.depth, net.depths[1:])}"
            )
        self.generator = self.make_generator(net.width(self.depth)).to(net.mean.device)
        self.teacher = copy.deepcopy(net).requires_grad_(False)
        self.train(self.training)

    def parts(self) -> tuple[Net, nn.Module]:
        """The teacher and the generator, or a UsageError if there are none yet."""
        if self.teacher is None or self.generator is None:
            raise UsageError(f"{type(self).__name__} learns with a net; call attach(net) once before it is used")
        return self.teacher, self.generator

    def given(self, net: Net | None) -> Net:
        """The net that `mix` was given, or a UsageError if that is none or nothing was attached to it."""
        self.parts()
        if net is None:
            raise UsageError(f"{type(self).__name__} learns with a net; give it to mix too")
        return net

    def train(self, mode: bool = True) -> Learned:
        """Of the teacher, the batch norms alone ever leave evaluation mode: its features depend on nothing random."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
            for module in self.teacher.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.train(mode)
        return self

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """(B, C, h, w) the teacher's features of the batch; its pass stops there. h and w are at most GRID."""
        teacher, _ = self.parts()
        return at_most(teacher.features(x, self.depth), GRID)

    @torch.no_grad()
    def features_and_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The features, and from the same pass the teacher's logits (B, classes)."""
        teacher, _ = self.parts()
        seen: list[Tensor] = []

        def keep(h: Tensor) -> Tensor:
            seen.append(h)
            return h

        with teacher.edit(self.depth, keep):
            logits = teacher(x)
        return at_most(teacher.as_map(seen[0], self.depth), GRID), logits

    def clean_loss(self, x: Tensor, y: Tensor, net: Net) -> Callable[[], Tensor]:
        """The net's cross-entropy on the images as they came."""
        return lambda: F.cross_entropy(net(x).float(), y, label_smoothing=self.label_smoothing)

    @torch.no_grad()
    def after_step(self, net: Net, progress: float) -> None:
        """Move the teacher's parameters towards the net's; its buffers are its own."""
        teacher, _ = self.parts()
        keep = momentum_at(progress, self.momentum, self.end_momentum)
        torch._foreach_lerp_(list(teacher.parameters()), list(net.parameters()), 1 - keep)

    def picture(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> tuple[Mixed, str]:
        with torch.no_grad():
            return self.mix(x, y, net, draw), "labels have the drawn lambda, not the mask's mean"

    def near_ends(self, lam: Tensor) -> Tensor:
        """(B, 1, 1, 1) bool: where lambda is so near to 0 or 1 that plain Mixup takes over."""
        wide = lam[:, None, None, None]
        return torch.minimum(wide, 1 - wide) <= self.lam_margin


def momentum_at(progress: float, start: float, end: float) -> float:
    """Momentum of the teacher when a share `progress` of the training is done: constant, then along a cosine."""
    if progress < EMA_WARMUP:
        return start
    return end - (end - start) * (1 + math.cos(math.pi * progress)) / 2
