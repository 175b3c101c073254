"""What a mixup method is: `Mixed`, the record of one mix, and `Method`, three verbs of which one is required.

B batch rows in, R rows out, K sources a row, C H W image.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.config import Range, UsageError, check_fields, hints
from workbench.draw import Draw
from workbench.methods.masks import enlarged

if TYPE_CHECKING:
    from workbench.models import Net


class Paper(NamedTuple):
    """The source card of a method."""

    title: str
    authors: str
    venue: str
    arxiv: str = ""


@dataclass(frozen=True)
class Mixed:
    """Everything that one mix drew and made; nothing is hidden on the method."""

    x: Tensor
    """(R, C, H, W) what the net sees."""
    source: Tensor
    """(R, K) int64: the rows of the batch that went in; the first is the row itself."""
    weight: Tensor
    """(R, K) float32: label share of each source, as realised; `weight[:, 0]` is lambda."""
    mask: Tensor | None = None
    """(R, K - 1, h, w): pixel share of every source but the last, which has the rest. For pairs this is the mask M of
    the papers, the share of the row itself. h and w are H and W, or less: a coarser mask is meant enlarged by nearest
    neighbour. None: pixels are not mixed."""
    aux: tuple[Callable[[], Tensor], ...] = ()
    """Further losses, each built only when called, so that the step can free one graph before it builds the next."""

    def __post_init__(self) -> None:
        rows, sources = self.source.shape
        if self.weight.shape != self.source.shape or len(self.x) != rows:
            got = f"{len(self.x)} images, source {tuple(self.source.shape)}, weight {tuple(self.weight.shape)}"
            raise UsageError(f"a mix needs one source and one weight for every row and its K sources, got {got}")
        if self.mask is None:
            return
        wanted, form = (sources - 1, *self.x.shape[2:]), tuple(self.mask.shape)
        if len(form) != 4 or form[0] not in (1, rows) or form[1] != wanted[0] or not _within(form[2:], wanted[1:]):
            what = f"(rows, K - 1, H, W) = ({rows}, {', '.join(map(str, wanted))}), or have a coarser H and W"
            raise UsageError(f"the mask of a mix must be {what}; got {form}")

    def shares(self) -> Tensor:
        """(R, K, H, W) pixel share of every source; sums to 1 over K."""
        if self.mask is None:
            raise UsageError("this mix has no pixel mask: it mixes features or labels, not pixels")
        mask = enlarged(self.mask.float(), self.x.shape[2:]).expand(len(self.x), -1, -1, -1)
        return torch.cat([mask, 1 - mask.sum(1, keepdim=True)], 1)

    def soft_labels(self, y: Tensor, num_classes: int) -> Tensor:
        """(R, num_classes) float32 targets from class ids (B,) or soft labels (B, num_classes)."""
        if y.dim() == 2:
            return torch.einsum("rk,rkc->rc", self.weight, y.float()[self.source])
        target = torch.zeros(len(self.source), num_classes, device=self.weight.device)
        return target.scatter_add_(1, y[self.source].long(), self.weight)


def _within(form: tuple[int, ...], limit: tuple[int, ...]) -> bool:
    return all(0 < side <= most for side, most in zip(form, limit, strict=True))


def soft_cross_entropy(logits: Tensor, y: Tensor, mixed: Mixed, smoothing: float = 0.0) -> Tensor:
    """(R,) cross-entropy of each row against its mixed target; of class ids no one-hot vector is made.

    The weights are applied to every row before any mean is taken: a mean over rows first would multiply the batch's
    mean lambda with the batch's mean loss, and per-row label weights would be lost.
    """
    nll = -F.log_softmax(logits.float(), 1)
    if y.dim() == 2:
        loss = (nll * mixed.soft_labels(y, nll.shape[1])).sum(1)
    else:
        loss = (nll.gather(1, y[mixed.source]) * mixed.weight).sum(1)
    if smoothing:
        loss = (1 - smoothing) * loss + smoothing * mixed.weight.sum(1) * nll.mean(1)
    return loss


@dataclass(eq=False)
class Method(nn.Module):
    """Base of all mixup methods. A subclass is a dataclass whose fields are the paper's parameters, with bounds.

    The training step is the same for all: `mix`, `predict`, `loss`, backward, optimiser, `after_step`.
    A method overrides what its paper changed, most often `mix` alone.
    """

    _: KW_ONLY
    num_classes: int | None = None
    """Width of the soft targets of the stand-alone call."""
    label_smoothing: Annotated[float, Range(0, 0.9)] = 0.0
    """Share of the target that is spread over all classes."""

    paper: ClassVar[Paper]
    family: ClassVar[str] = "input"
    """What is mixed or learned: baseline, input, saliency, feature, attention, learned or loss."""
    needs_net = False
    """Whether `mix` or `predict` look into the net, so that the method can't be used without it."""

    def __new__(cls, *_args: object, **_parameters: object) -> Method:
        # A dataclass assigns fields before any __init__ of ours runs, and a field may be a module.
        method = super().__new__(cls)
        nn.Module.__init__(method)
        return method

    def __init_subclass__(cls) -> None:
        """What every `mix` may rely on is checked once, here, whoever writes it."""
        super().__init_subclass__()
        if "mix" in cls.__dict__:
            cls.mix = _checked(cls.mix)  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        check_fields(self, type(self).__name__)
        for name, hint in hints(type(self)).items():
            if hint is Method and not isinstance(getattr(self, name), Method):
                what = f"{type(self).__name__}: {name} must be a method"
                raise UsageError(f"{what}, got {getattr(self, name)!r}; `build` also takes its key")

    def attach(self, net: Net) -> None:
        """Build the parts that need the net's shapes. Called once before training."""

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        """Mix a batch: x (B, C, H, W) in [0, 1], y (B,) class ids. Never writes into x."""
        raise NotImplementedError(f"{type(self).__name__} must say how it mixes")

    def predict(self, net: Net, mixed: Mixed) -> tuple[Tensor, Mixed]:
        """(R, classes) logits of the mix, and the mix, with new weights where the logits' pass decides them."""
        return net(mixed.x), mixed

    def loss(self, logits: Tensor, y: Tensor, mixed: Mixed) -> Tensor:
        """Scalar: mean over rows of the soft cross-entropy."""
        return soft_cross_entropy(logits, y, mixed, self.label_smoothing).mean()

    def after_step(self, net: Net, progress: float) -> None:
        """Called after the optimiser's step, with the share of all steps that are done; slow copies follow here."""

    def picture(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> tuple[Mixed, str]:
        """The mix as something to look at, and a note where that is not simply what the net sees."""
        return self.mix(x, y, net, draw), ""

    def losses(self, mixed: Mixed, y: Tensor, net: Net) -> tuple[Callable[[], Tensor], ...]:
        """The losses of one step, to be called and backed one after the other; the main one comes last."""

        labels = class_ids(y)

        def main() -> Tensor:
            logits, seen = self.predict(net, mixed)
            return self.loss(logits, labels, seen)

        return (*mixed.aux, main)

    def forward(self, images: Tensor, labels: Tensor, draw: Draw | None = None) -> tuple[Tensor, Tensor]:
        """Mix in anybody's loop or collate function, as torchvision's `v2.CutMix` is called.

        images: (B, C, H, W) floating point; labels: (B,) class ids or (B, num_classes) soft labels.
        Returns mixed images and (B, num_classes) soft targets. Without `draw`, the numbers come from a generator
        seeded by torch's, so that `torch.manual_seed` and the seeds of loader workers mean what they always mean.
        """
        if self.needs_net:
            raise UsageError(f"{type(self).__name__} looks into the net; call mix, predict and loss with one instead")
        check_batch(images, labels)
        classes = self._classes(labels)
        draw = draw or Draw(int(torch.empty((), dtype=torch.int64).random_()))
        mixed = self.mix(images, labels, None, draw)
        target = mixed.soft_labels(labels, classes)
        return mixed.x, (1 - self.label_smoothing) * target + self.label_smoothing / classes

    def _classes(self, labels: Tensor) -> int:
        """The number of classes: of soft labels, or as given, or, with a warning, what the batch's labels suggest."""
        if labels.dim() == 2:
            if self.num_classes not in (None, labels.shape[1]):
                raise UsageError(f"soft labels must have num_classes={self.num_classes} columns, got {labels.shape[1]}")
            return labels.shape[1]
        if self.num_classes is None:
            guess = int(labels.max()) + 1
            warnings.warn(
                f"{type(self).__name__}: took {guess} classes from this batch; pass num_classes", stacklevel=5
            )
            return guess
        if labels.device.type == "cpu" and int(labels.max()) >= self.num_classes:
            raise UsageError(f"labels must be below num_classes={self.num_classes}, got {int(labels.max())}")
        return self.num_classes


def check_base(owner: Method, base: Method) -> None:
    """Refuse a base whose own loss its owner would leave out."""
    if type(base).loss is not Method.loss:
        what, name = type(owner).__name__, type(base).__name__
        raise UsageError(f"{what} takes of its base the mix alone, and would leave out the loss of {name}; take cutmix")


def _checked(mix: Callable[..., Mixed]) -> Callable[..., Mixed]:
    """`mix`, given a batch of the right form, with class ids as int64, or a UsageError."""

    @functools.wraps(mix)
    def checked(self: Method, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        check_form(x, y)
        return mix(self, x, class_ids(y), net, draw)

    return checked


def class_ids(labels: Tensor) -> Tensor:
    """Whole numbers as int64; soft labels as they are."""
    return labels if labels.is_floating_point() else labels.long()


def need_class_ids(method: Method, labels: Tensor) -> None:
    """Refuse soft labels where a loss knows classes only."""
    if labels.dim() == 2:
        name = type(method).__name__
        raise UsageError(
            f"{name} needs labels as class ids (B,), got soft labels {tuple(labels.shape)}; take argmax(1)"
        )


def check_batch(images: Tensor, labels: Tensor) -> None:
    """`check_form`, and on the host's memory the values of the class ids too; else a UsageError."""
    check_form(images, labels)
    if labels.dim() == 1 and labels.device.type == "cpu" and int(labels.min()) < 0:
        raise UsageError(f"labels must not be negative, got {int(labels.min())}")


def check_form(images: Tensor, labels: Tensor) -> None:
    """Images (B, C, H, W) floating point with labels (B,) of whole numbers or (B, classes) soft; else a UsageError."""
    for what, value in (("images", images), ("labels", labels)):
        if not isinstance(value, Tensor):
            raise UsageError(f"{what} must be a tensor, got {type(value).__name__}; torch.as_tensor makes one")
    if images.dim() != 4 or not images.is_floating_point():
        got = f"{tuple(images.shape)} {images.dtype}"
        raise UsageError(f"images must be floating point (B, C, H, W), got {got}; divide uint8 images by 255")
    if len(labels) != len(images):
        raise UsageError(f"{len(images)} images but {len(labels)} labels")
    if not len(images):
        raise UsageError("a batch needs at least one image, got none")
    if labels.dim() == 2 and labels.is_floating_point():
        return
    if labels.dim() != 1 or labels.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        got = f"{tuple(labels.shape)} {labels.dtype}"
        raise UsageError(f"labels must be class ids (B,) or soft labels (B, classes), got {got}")
