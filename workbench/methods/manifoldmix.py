"""ManifoldMix: Mixup of the features at a place that is drawn for every batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from torch import Tensor

from workbench.config import Range, UsageError, nearest
from workbench.draw import Draw, Mode, send
from workbench.methods.base import Method, Mixed, Paper
from workbench.methods.masks import blend, pair_weights, pairs

if TYPE_CHECKING:
    from workbench.models import Net

INPUT = "input"


@dataclass(frozen=True)
class MixedInside(Mixed):
    """A mix that happens within the net: unless the depth is "input", `x` is the batch as it came."""

    depth: str = INPUT
    """Where the net's features are mixed."""


@dataclass(eq=False)
class ManifoldMix(Method):
    """h~ = lambda h + (1 - lambda) h' at one of the net's depths, lambda from Beta(alpha, alpha); the rest of the net
    sees the mix only.

    Where we differ from the reference code (vikasverma1077/manifold_mixup): the loss is the soft cross-entropy, where
    that has the binary cross-entropy of the softmax probabilities; and lambda is one a row instead of one a batch
    (`mode="batch"` gives the published behaviour). The depth is one a batch, as published.
    """

    paper = Paper(
        "Manifold Mixup: Better Representations by Interpolating Hidden States",
        "Verma, Lamb, Beckham, Najafi, Mitliagkas, Courville, Lopez-Paz, Bengio",
        "ICML 2019",
        "1806.05236",
    )
    family: ClassVar[str] = "feature"
    needs_net = True

    alpha: Annotated[float, Range(0.05, 5)] = 1.0
    """Both parameters of the Beta distribution. The paper's CIFAR runs, of 2000 epochs, have 2."""
    depths: Sequence[str] | None = None
    """Where to mix: names among the net's `depths`, each as likely. Left out: the input and the first two places after
    a stem, which are the {0, 1, 2} of the paper."""
    mode: Mode = "sample"
    """One lambda a sample, or one for the whole batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depths is not None and (not isinstance(self.depths, Sequence) or not self.depths):
            raise UsageError(f"ManifoldMix: depths must be names of a net's depths, got {self.depths!r}")

    def attach(self, net: Net) -> None:
        self.places(net)

    def places(self, net: Net) -> tuple[str, ...]:
        """The depths to draw from, checked against those that the net has."""
        if self.depths is None:
            inside = [depth for depth in net.depths if depth not in (INPUT, "stem")]
            if not inside:
                raise UsageError(f"ManifoldMix: {net.name} names no depths; take a ResNet, ConvNeXt, ViT or Swin")
            return (INPUT, *inside[:2])
        wished = (self.depths,) if isinstance(self.depths, str) else tuple(self.depths)
        for depth in wished:
            if depth not in net.depths:
                raise UsageError(f"ManifoldMix: {net.name} has no depth {depth!r}{nearest(depth, net.depths)}")
        return wished

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> MixedInside:
        if net is None:
            raise UsageError("ManifoldMix mixes inside a net; give it one")
        places = self.places(net)
        return self._mixed(x, draw, places[int(draw.integers(len(places), 1)[0])])

    def predict(self, net: Net, mixed: Mixed) -> tuple[Tensor, Mixed]:
        if not isinstance(mixed, MixedInside) or mixed.depth == INPUT:
            return net(mixed.x), mixed
        with net.edit(mixed.depth, lambda h: _blend_features(h, mixed)):
            return net(mixed.x), mixed

    def picture(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> tuple[Mixed, str]:
        return self._mixed(x, draw, INPUT), "mixed in features; shown at the input"

    def _mixed(self, x: Tensor, draw: Draw, depth: str) -> MixedInside:
        partner, lam = draw.partner(len(x)), draw.lam(self.alpha, len(x), self.mode)
        source, weight = send(x.device, pairs(partner), pair_weights(lam))
        if depth != INPUT:
            return MixedInside(x, source, weight, depth=depth)
        mask = weight[:, :1, None, None]
        return MixedInside(blend(x, source[:, 1], mask), source, weight, mask)


def _blend_features(h: Tensor, mixed: Mixed) -> Tensor:
    """Features (B, ...) mixed as the rows of the batch are: maps, or tokens, which are mixed place by place."""
    return blend(h, mixed.source[:, 1], mixed.weight[:, 0].view(-1, *[1] * (h.dim() - 1)))
