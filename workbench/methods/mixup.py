"""Mixup: the convex combination of two images and of their labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from torch import Tensor

from workbench.config import Range
from workbench.draw import Draw, Mode, send
from workbench.methods.base import Method, Mixed, Paper
from workbench.methods.masks import blend, pair_weights, pairs

if TYPE_CHECKING:
    from workbench.models import Net


@dataclass(eq=False)
class Mixup(Method):
    """x~ = lambda x + (1 - lambda) x', with lambda from Beta(alpha, alpha).

    Where we differ from the reference code (facebookresearch/mixup-cifar10): one lambda a row instead of one a batch
    (`mode="batch"` gives the published behaviour). Lambda is not folded to be at least one half.
    """

    paper = Paper(
        "mixup: Beyond Empirical Risk Minimization", "Zhang, Cisse, Dauphin, Lopez-Paz", "ICLR 2018", "1710.09412"
    )

    alpha: Annotated[float, Range(0.05, 5)] = 1.0
    """Both parameters of the Beta distribution: small leaves images nearly unmixed, large mixes them half and half."""
    mode: Mode = "sample"
    """One lambda a sample, or one for the whole batch."""

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        lam, partner = draw.lam(self.alpha, len(x), self.mode), draw.partner(len(x))
        source, weight = send(x.device, pairs(partner), pair_weights(lam))
        mask = weight[:, :1, None, None]
        return Mixed(blend(x, source[:, 1], mask), source, weight, mask)
