"""AlignMixup: the features of two images are put on one another by optimal transport, and then mixed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from torch import Tensor

from workbench.config import Range, UsageError, nearest
from workbench.draw import Draw, Mode, send
from workbench.methods.base import Method, Mixed, Paper
from workbench.methods.manifoldmix import INPUT, MixedInside
from workbench.methods.masks import blend, pair_weights, pairs
from workbench.methods.parts.sinkhorn import sinkhorn, squared_distances

if TYPE_CHECKING:
    from workbench.models import Net


@dataclass(frozen=True)
class MixedAligned(MixedInside):
    """A mix of aligned features, unless the depth is "input"."""

    partner_moves: Tensor | None = None
    """(B,) bool: whether the partner's features go to the places of the row's, or the other way round."""


@dataclass(eq=False)
class AlignMix(Method):
    """Half of the batches are plain Mixup of the images; in the others features A, A' of r places are mixed, after one
    has been moved onto the other: lambda A + (1 - lambda) R A', or lambda R^T A + (1 - lambda) A', by a coin.

    R / r is the plan of entropic optimal transport between the places, for squared distances of their features; no
    gradient goes through it. Its columns sum to 1 exactly, its rows as far as `iterations` bring them.

    A trap of the published form: after the last stage comes a global average pool, and the mean of R A' is that of A',
    so that there the alignment has no effect on the logits (the other way round, only through rows that are not yet at
    their sums). What is left is Mixup of images half of the time, and of pooled embeddings the other half. It matters
    at an earlier `depth`, such as the last stage but one, which is what to take if one wants to align; this deviates
    from the paper's tables. In a transformer that reads its class token, the places of the last block have no effect
    at all; prefix tokens are mixed by lambda alone.

    Where we differ from the reference code (shashankvkt/AlignMixup_CVPR22): eps falls over a fixed number of
    iterations, where that has at most 100 at constant eps and asks the device after each whether to stop, which it
    then hardly ever does; lambda and the direction are one a row (`mode="batch"`: one a batch, as published). Whether
    features are mixed is drawn for the batch, as published. The benchmark's code has ManifoldMix for the other half,
    we have Mixup, as in the paper's code.
    """

    paper = Paper(
        "AlignMixup: Improving Representations By Interpolating Aligned Features",
        "Venkataramanan, Kijak, Amsaleg, Avrithis",
        "CVPR 2022",
        "2103.15375",
    )
    family: ClassVar[str] = "feature"
    needs_net = True

    alpha: Annotated[float, Range(0.05, 5)] = 2.0
    """Both parameters of the Beta distribution of lambda."""
    prob_features: Annotated[float, Range(0, 1)] = 0.5
    """How often a batch is mixed in its features, and not in its images."""
    depth: str | None = None
    """Where features are aligned: one of the net's `depths` but the input; left out: the last stage. It takes memory
    for several times r^2 numbers an image, which is much for maps of r > 1000 places."""
    eps: Annotated[float, Range(0.001, 1000)] = 0.1
    """Weight of the plan's entropy, in units of the cost: squared distances of features."""
    iterations: Annotated[int, Range(1, 1000)] = 30
    """Iterations of Sinkhorn's algorithm."""
    mode: Mode = "sample"
    """One lambda and direction a sample, or one for the whole batch."""

    def attach(self, net: Net) -> None:
        self.place(net)

    def place(self, net: Net) -> str:
        """The depth where features are aligned, checked against those that the net has."""
        inside = net.depths[1:]
        if not inside:
            raise UsageError(f"AlignMix: {net.name} names no depths; take a ResNet, ConvNeXt, ViT or Swin")
        if self.depth is not None and self.depth not in inside:
            raise UsageError(f"AlignMix: {net.name} has no inner depth {self.depth!r}{nearest(self.depth, inside)}")
        return self.depth or inside[-1]

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> MixedAligned:
        if net is None:
            raise UsageError("AlignMix mixes inside a net; give it one")
        place = self.place(net)
        inside = draw.happens(self.prob_features, 1)[0]
        return self._mixed(x, draw, place if inside else INPUT)

    def predict(self, net: Net, mixed: Mixed) -> tuple[Tensor, Mixed]:
        if not isinstance(mixed, MixedAligned) or mixed.depth == INPUT or mixed.partner_moves is None:
            return net(mixed.x), mixed
        lam, moves = mixed.weight[:, 0], mixed.partner_moves

        def aligned(h: Tensor) -> Tensor:
            return align(h, mixed.source[:, 1], lam, moves, self.eps, self.iterations, *_layout(net, mixed.depth, h))

        with net.edit(mixed.depth, aligned):
            return net(mixed.x), mixed

    def picture(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> tuple[Mixed, str]:
        return self._mixed(x, draw, INPUT), "half the time mixed in aligned features; shown at the input"

    def _mixed(self, x: Tensor, draw: Draw, depth: str) -> MixedAligned:
        n = len(x)
        partner, lam, moves = draw.partner(n), draw.lam(self.alpha, n, self.mode), draw.happens(0.5, n, self.mode)
        source, weight, partner_moves = send(x.device, pairs(partner), pair_weights(lam), moves)
        if depth != INPUT:
            return MixedAligned(x, source, weight, depth=depth, partner_moves=partner_moves)
        mask = weight[:, :1, None, None]
        return MixedAligned(blend(x, source[:, 1], mask), source, weight, mask)


def _layout(net: Net, depth: str, h: Tensor) -> tuple[bool, int]:
    """Whether the channels of features come last, and how many of their tokens are no places of the image."""
    if h.dim() == 3:
        return True, h.shape[1] - math.prod(net.backbone.patch_embed.grid_size)
    width = net.width(depth)
    last = getattr(net.backbone, "output_fmt", "") == "NHWC"
    return h.shape[3] == width and (last or h.shape[1] != width), 0


def align(
    h: Tensor,
    partner: Tensor,
    lam: Tensor,
    partner_moves: Tensor,
    eps: float = AlignMix.eps,
    iterations: int = AlignMix.iterations,
    channels_last: bool = False,
    prefix: int = 0,
) -> Tensor:
    """Aligned and mixed features, of the shape of h: (B, C, h, w), or, `channels_last`, (B, h, w, C) or tokens (B, N,
    C), of which the first `prefix` are mixed without being aligned.

    partner: (B,) int64; lam: (B,) share of the row itself; partner_moves: (B,) bool.
    """
    if not channels_last:
        inner = h.permute(0, 2, 3, 1)
        return align(inner, partner, lam, partner_moves, eps, iterations, True).permute(0, 3, 1, 2)
    if prefix:
        parts = h[:, :prefix], h[:, prefix:]
        front = blend(parts[0], partner, lam[:, None, None])
        return torch.cat([front, align(parts[1], partner, lam, partner_moves, eps, iterations, True)], 1)
    places = h.flatten(1, -2)
    with torch.autocast(h.device.type, enabled=False):
        if places.stride(2) == 1:
            other = places.index_select(0, partner)
            own_part, other_part = _parts(places, other, lam, partner_moves, eps, iterations)
            mixed = torch.bmm(own_part, places).baddbmm_(other_part, other)
        else:  # a map whose channels come first in memory, and shall again
            other = places.mT.index_select(0, partner)
            own_part, other_part = _parts(places, other.mT, lam, partner_moves, eps, iterations)
            mixed = torch.bmm(places.mT, own_part.mT).baddbmm_(other, other_part.mT).mT
    return mixed.view(h.shape)


@torch.no_grad()
def _parts(
    a: Tensor, b: Tensor, lam: Tensor, partner_moves: Tensor, eps: float, iterations: int
) -> tuple[Tensor, Tensor]:
    """(B, r, r) each: by what the features a and b (B, r, C) are multiplied from the left before they are added."""
    plan = sinkhorn(squared_distances(a, b), eps, iterations).mul_(a.shape[1])
    stay, share, moves = torch.eye(a.shape[1], device=a.device), lam[:, None, None], partner_moves[:, None, None]
    own, other = torch.where(moves, stay, plan.mT) * share, torch.where(moves, plan, stay) * (1 - share)
    return own.to(a.dtype), other.to(a.dtype)
