"""AdAutoMix: a generator of masks for two to four images that makes mixes hard and easy in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.config import Range
from workbench.draw import Draw, Mode, send
from workbench.methods.base import Mixed, Paper, soft_cross_entropy
from workbench.methods.masks import pair_weights
from workbench.methods.parts.mixblock import SourceAttention, mix_sources, smooth
from workbench.methods.parts.teacher import Learned

if TYPE_CHECKING:
    from workbench.models import Net


@dataclass(eq=False)
class AdAutoMix(Learned):
    """Every mix has `sources` images, the row itself and random partners, with a softmax over the images at every
    pixel. Losses of a step, one after the other:

    1. the generator, on a mix with its own partners, scored by the frozen teacher; first step, third step, ...:
       -`beta` CE + (1 - `beta`) `cosine_sign` C; second, fourth, ...: CE. C is the mean over the images, by weight, of
       the cosine between the teacher's logits of the mix and of the image;
    2. the student on the clean batch; 3. with more than two images, on their plain weighted mean; 4. on the mix. With
       more than two images, 2 and 3 count one half each.

    Labels have the weights that were drawn. Of two images they are lambda from Beta(alpha, alpha) and the rest, another
    lambda for the generator; of more, numbers from Beta(alpha, alpha) divided by their sum (no Dirichlet), the same for
    the generator. Rows whose own weight is within `lam_margin` of 0 or 1 are mixed by plain weights on the student's
    side, 3 in 100 for three images: the authors' code tests this so, OpenMixup's copy has the sign turned, and there
    the student never sees a learned mask.

    Where we differ from the authors' code (JinXins/Adversarial-AutoMixup): weights are drawn for every row
    (`mode="batch"`: for every batch, as published); the first image of a mix is the row itself, which is the same up to
    the order of the rows; the number of images is fixed, where some of its settings draw it; and what is said of the
    head and the teacher in `AutoMix`. That code adds the cosine to what is minimised, so that the generator is paid for
    leaving its sources, while the paper would have it stay near them: `cosine_sign` turns it.
    """

    paper = Paper("Adversarial AutoMixup", "Qin, Jin, Jiang, El-Yacoubi, Gao", "ICLR 2024", "2312.11954")

    alpha: Annotated[float, Range(0.05, 5)] = 1.0
    """Both parameters of the Beta distribution of the weights."""
    lam_margin: Annotated[float, Range(0, 0.5)] = 0.03
    """How near to 0 or 1 the row's own weight may come before plain weights take over."""
    sources: Annotated[int, Range(2, 4)] = 3
    """Images in a mix: 3 for CIFAR and Tiny-ImageNet, 2 for ImageNet."""
    beta: Annotated[float, Range(0, 1)] = 0.3
    """How much the generator's adversarial step is about the loss, and not about the cosine: 0.3 for CIFAR, 0.4 for
    Tiny-ImageNet, 0.1 for ImageNet."""
    cosine_sign: Literal[1, -1] = 1
    """1: the generator is paid for logits unlike those of the sources, as released; -1: for logits like them."""
    lam_embed: bool = True
    """Whether the generator is told the weights; the CIFAR and Tiny-ImageNet settings leave it out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.steps = 0

    def get_extra_state(self) -> Tensor:
        """The number of steps that are done, which says whether the next is adversarial; kept on the host."""
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Tensor) -> None:
        self.steps = int(state)

    def after_step(self, net: Net, progress: float) -> None:
        super().after_step(net, progress)
        self.steps += 1

    def make_generator(self, channels: int) -> SourceAttention:
        return SourceAttention(channels, self.lam_embed)

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        net = self.given(net)
        source, weight, own_source, own_weight = send(x.device, *self._drawn(draw, len(x)))
        cooperative = self.steps % 2 == 1
        features, clean_logits = (self.features(x), None) if cooperative else self.features_and_logits(x)
        with torch.no_grad():
            shares = self._student_shares(features, source, weight, x.shape[2:])
            mixed = mix_sources(x, source, shares)
        aux = [
            self._generator_loss(features, clean_logits, y, Mixed(x, own_source, own_weight)),
            self._halved(self.clean_loss(x, y, net)),
        ]
        if self.sources > 2:
            aux.append(self._halved(self._linear_loss(y, net, Mixed(x, source, weight))))
        return Mixed(mixed, source, weight, shares[:, :-1].to(x.dtype), tuple(aux))

    def _drawn(self, draw: Draw, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(n, N) sources and weights of the student's mix, and of the generator's."""
        how = (draw, self.alpha, n, self.sources, self.mode)
        source, weight = draw_sources(draw, n, self.sources), draw_weights(*how)
        own_source = draw_sources(draw, n, self.sources)
        return source, weight, own_source, draw_weights(*how) if self.sources == 2 else weight

    def _student_shares(self, features: Tensor, source: Tensor, weight: Tensor, size: Sequence[int]) -> Tensor:
        """(B, N, H, W) the generator's masks, and the weights themselves where the row's own is nearly 0 or 1."""
        shares = smooth(self.parts()[1](features, source, weight), size).softmax(1)
        return torch.where(self.near_ends(weight[:, 0]), weight[:, :, None, None], shares)

    def _generator_loss(
        self, features: Tensor, clean_logits: Tensor | None, y: Tensor, clean: Mixed
    ) -> Callable[[], Tensor]:
        teacher, generator = self.parts()

        def loss() -> Tensor:
            coarse = generator(features, clean.source, clean.weight)
            shares = smooth(coarse, clean.x.shape[2:]).softmax(1)
            logits = teacher(mix_sources(clean.x, clean.source, shares))
            cross_entropy = soft_cross_entropy(logits, y, clean, self.label_smoothing).mean()
            if clean_logits is None:
                return cross_entropy
            cosine = cosine_to_sources(logits, clean_logits, clean).mean()
            return (1 - self.beta) * self.cosine_sign * cosine - self.beta * cross_entropy

        return loss

    def _halved(self, loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Half the loss, if the mixes have more than two images."""
        return (lambda: loss() / 2) if self.sources > 2 else loss

    def _linear_loss(self, y: Tensor, net: Net, clean: Mixed) -> Callable[[], Tensor]:
        """The net's cross-entropy on the images' plain weighted mean."""

        def loss() -> Tensor:
            mixed = mix_sources(clean.x, clean.source, clean.weight[:, :, None, None])
            return soft_cross_entropy(net(mixed), y, clean, self.label_smoothing).mean()

        return loss


def cosine_to_sources(logits: Tensor, clean_logits: Tensor, mixed: Mixed) -> Tensor:
    """(B,) cosine between the logits of a mix and those of its sources, mean by their weights. Logits: (B, classes)."""
    direction, clean = (F.normalize(z.float(), dim=1) for z in (logits, clean_logits))
    return ((clean[mixed.source] * direction[:, None]).sum(2) * mixed.weight).sum(1)


def draw_sources(draw: Draw, n: int, sources: int) -> np.ndarray:
    """(n, N) int64: the row itself, its partner, the partner of a second permutation of that one, and so on: each is
    uniform and independent of the others."""
    columns = [np.arange(n)]
    for _ in range(sources - 1):
        columns.append(draw.partner(n)[columns[-1]])
    return np.stack(columns, 1)


def draw_weights(draw: Draw, alpha: float, n: int, sources: int, mode: Mode) -> np.ndarray:
    """(n, N) float32 that sum to 1: for two, lambda and the rest; for more, numbers from Beta(alpha, alpha) over their
    sum. With lambda pinned the first weight is that, and the others share the rest."""
    if sources == 2:
        return pair_weights(draw.lam(alpha, n, mode))
    weight = draw.spread(draw.rng.beta(alpha, alpha, (n if mode == "sample" else 1, sources)), n)
    weight /= weight.sum(1, keepdims=True)
    if draw.pinned_lam is not None:
        others = weight[:, 1:] / weight[:, 1:].sum(1, keepdims=True)
        weight = np.c_[np.full(n, draw.pinned_lam), (1 - draw.pinned_lam) * others]
    return weight.astype(np.float32)
