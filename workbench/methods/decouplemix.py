"""DecoupleMix: a regulariser that asks for both mixed classes, each as if the other were not there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from torch import Tensor

from workbench.config import Range, UsageError
from workbench.draw import Draw
from workbench.methods.base import Method, Mixed, Paper, check_base, need_class_ids, soft_cross_entropy
from workbench.methods.cutmix import CutMix

if TYPE_CHECKING:
    from workbench.models import Net


@dataclass(eq=False)
class DecoupleMix(Method):
    """loss = mixed cross-entropy + eta R, over the mixes of any method of pairs.

    R has no lambda, as in the paper; the OpenMixup code weights it by lambda, and takes lambda from one row for the
    whole batch. Rows that mix a class with itself, or of which one source has no share at all, have no R.
    """

    paper = Paper(
        "Harnessing Hard Mixed Samples with Decoupled Regularizer",
        "Liu, Li, Wang, Liu, Wu, Chen, Li",
        "NeurIPS 2023",
        "2203.10761",
    )
    family: ClassVar[str] = "loss"

    base: Method = field(default_factory=CutMix)
    """What mixes: any method of pairs, whole, by its key, or as a mapping with `method` and its parameters. Its label
    smoothing is not used, this method's is."""
    eta: Annotated[float, Range(0, 10)] = 0.1
    """Weight of the regulariser."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_base(self, self.base)
        self.needs_net = self.base.needs_net

    def attach(self, net: Net) -> None:
        self.base.attach(net)

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        need_class_ids(self, y)
        mixed = self.base.mix(x, y, net, draw)
        if mixed.source.shape[1] != 2:
            name, sources = type(self.base).__name__, mixed.source.shape[1]
            raise UsageError(f"DecoupleMix needs a base that mixes pairs, got {name} with {sources} sources a row")
        return mixed

    def predict(self, net: Net, mixed: Mixed) -> tuple[Tensor, Mixed]:
        return self.base.predict(net, mixed)

    def loss(self, logits: Tensor, y: Tensor, mixed: Mixed) -> Tensor:
        loss = soft_cross_entropy(logits, y, mixed, self.label_smoothing)
        regulariser = decoupled(logits, *y[mixed.source].unbind(1))
        shown = (mixed.weight > 0).all(1)
        return (loss + self.eta * torch.where(shown, regulariser, 0)).mean()

    def after_step(self, net: Net, progress: float) -> None:
        self.base.after_step(net, progress)

    def picture(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> tuple[Mixed, str]:
        return self.base.picture(x, y, net, draw)

    def forward(self, images: Tensor, labels: Tensor, draw: Draw | None = None) -> tuple[Tensor, Tensor]:
        raise UsageError("DecoupleMix is a loss, which soft targets can't carry; call mix, predict and loss instead")


def decoupled(logits: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """(B,) R = -log softmax_{all but second}(z)_first - log softmax_{all but first}(z)_second, 0 where the two classes
    are one. logits: (B, classes); first, second: (B,) class ids."""
    z = logits.float()
    lowest = torch.finfo(z.dtype).min
    total = torch.zeros_like(z[:, 0])
    for wanted, rival in ((first, second), (second, first)):
        others = z.scatter(1, rival[:, None], lowest).logsumexp(1)
        total = total + others - z.gather(1, wanted[:, None])[:, 0]
    return torch.where(first == second, 0, total)
