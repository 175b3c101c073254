"""TransMix: labels by what a vision transformer attends to in the mix."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.config import Range, UsageError
from workbench.draw import Draw
from workbench.methods.base import Method, Mixed, Paper, check_base
from workbench.methods.deit import DeiT
from workbench.methods.masks import pair_weights

if TYPE_CHECKING:
    from workbench.models import Net


@dataclass(eq=False)
class TransMix(Method):
    """lambda = (area + attention) / 2, where the attention's part is the share of the class token's attention, in the
    last block and meaned over its heads, that falls on tokens of the row itself.

    The attention comes from the same forward pass that the loss is taken of, and no gradient flows into it. A mask of
    one value, such as Mixup's, keeps its lambda: its share of any attention is that value. Here lambda_attn is the
    mask's mean weighted by attention, with the mask sampled at the token grid, as in the reference code
    (Beckschen/TransMix); that code knows pasted boxes only, this takes soft masks too.
    """

    paper = Paper(
        "TransMix: Attend to Mix for Vision Transformers", "Chen, Sun, He, Torr, Yuille, Bai", "CVPR 2022", "2111.09833"
    )
    family: ClassVar[str] = "attention"
    needs_net = True

    base: Method = field(default_factory=lambda: DeiT(switch_prob=0.8))
    """What mixes the pixels: any method with a pixel mask for pairs. The paper's is CutMix (alpha 1) with probability
    0.8 and else Mixup (alpha 0.8)."""
    label_smoothing: Annotated[float, Range(0, 0.9)] = 0.1
    """Share of the target that is spread over all classes; that of the base is not used."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_base(self, self.base)

    def attach(self, net: Net) -> None:
        with net.attention():  # says at once if there is no class token
            self.base.attach(net)
        if self.base.family != "learned":  # such a base would learn from the trial
            images = torch.zeros(2, net.channels, net.size, net.size, device=net.mean.device)
            self.mix(images, torch.zeros(2, dtype=torch.int64, device=images.device), net, Draw())

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        mixed = self.base.mix(x, y, net, draw)
        if mixed.mask is None or mixed.source.shape[1] != 2:
            name = type(self.base).__name__
            raise UsageError(f"TransMix needs a base that mixes the pixels of pairs, got {name}; take deit or cutmix")
        return mixed

    def predict(self, net: Net, mixed: Mixed) -> tuple[Tensor, Mixed]:
        with net.attention() as probe:
            logits, mixed = self.base.predict(net, mixed)
        lam = (mixed.weight[:, 0] + attended_share(mixed.shares()[:, :1], probe.cls())) / 2
        return logits, dataclasses.replace(mixed, weight=pair_weights(lam))

    @torch.no_grad()
    def picture(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> tuple[Mixed, str]:
        if net is None:
            raise UsageError("TransMix takes its labels from a net's attention; give it one")
        mixed, note = self.base.picture(x, y, net, draw)
        with net.probing():
            return self.predict(net, mixed)[1], note

    def after_step(self, net: Net, progress: float) -> None:
        self.base.after_step(net, progress)


def attended_share(mask: Tensor, attention: Tensor) -> Tensor:
    """(B,) sum(M a) / sum(a) over tokens: mask (B, 1, H, W), resized to the attention's grid (B, h, w) by nearest
    neighbour. Where no patch is attended to at all, the plain mean of M."""
    on_grid = F.interpolate(mask, attention.shape[1:], mode="nearest")[:, 0]
    weight = attention + 1e-12
    return (on_grid * weight).sum((1, 2)) / weight.sum((1, 2))
