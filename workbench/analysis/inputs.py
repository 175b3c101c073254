"""What analyses of a net are given: a net, and test images as they are; how both are checked and left as found.

N images, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from workbench.config import UsageError, shown, whole
from workbench.data import ImageSet
from workbench.data.imageset import check_images
from workbench.draw import Draw
from workbench.models import Net


@dataclass(frozen=True, eq=False)
class Examples:
    """Images with labels that fit in memory."""

    images: Tensor
    """(N, C, H, W) uint8, or float32 in [0, 1], on the CPU."""
    labels: Tensor
    """(N,) int64 class ids."""
    masks: Tensor | None = None
    """(N, H, W) uint8, 1 on the object, where it is known."""
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, start: int, size: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Images float32 in [0, 1] and class ids, on the device."""
        images = self.images[start : start + size].to(device)
        floating = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        return floating, self.labels[start : start + size].to(device)

    def batches(self, size: int, device: torch.device | str = "cpu") -> Iterator[tuple[Tensor, Tensor]]:
        """All of them, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.batch(start, size, device)


Data: TypeAlias = ImageSet | tuple[Tensor, Tensor] | Examples
"""What may be given as data: a split of a data set; images (N, C, H, W), uint8 or floating point in [0, 1], with class
ids (N,); or examples that were chosen before."""


def examples(data: Data, number: int | None = None, seed: int = 0) -> Examples:
    """At most `number` images of the data, the same for the same seed, in the order of the data; None: all."""
    if isinstance(data, Examples):
        rows = _rows(len(data), number, seed)
        return data if len(rows) == len(data) else _chosen(data, rows)
    if isinstance(data, ImageSet):
        return _of_set(data, number, seed)
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise UsageError(f"data must be load('digits', 'test') or alike, or (images, class ids), got {shown(data)}")
    images, labels = _tensor(data[0], "images"), _tensor(data[1], "class ids")
    if images.dtype == torch.uint8:
        check_images(images, "data")
    elif images.dim() != 4 or not images.is_floating_point():
        raise UsageError(f"images must be (N, C, H, W), uint8 or from 0 to 1, got {tuple(images.shape)} {images.dtype}")
    else:
        check_floating(images)
    if labels.shape != images.shape[:1] or labels.is_floating_point():
        raise UsageError(f"{len(images)} images need as many class ids, got {tuple(labels.shape)} {labels.dtype}")
    return examples(Examples(images.cpu(), labels.long().cpu()), number, seed)


def _tensor(values: object, what: str) -> Tensor:
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError):  # lists of uneven lengths, texts, anything
        raise UsageError(f"{what} must be an array or a tensor, got {shown(values)}") from None


def check_floating(images: Tensor) -> None:
    """Refuse anything but floating point images (B, C, H, W) from 0 to 1."""
    if images.dim() != 4 or not images.is_floating_point():
        raise UsageError(
            f"images must be floating point (B, C, H, W) from 0 to 1, got {tuple(images.shape)} {images.dtype}"
        )
    if images.numel() and not (float(images.min()) >= 0 and float(images.max()) <= 1):
        low, high = float(images.min()), float(images.max())
        raise UsageError(
            f"floating point images must be from 0 to 1, got {low:g} to {high:g}; nets normalise themselves"
        )


def _rows(total: int, number: int | None, seed: int) -> Tensor:
    if total == 0:
        raise UsageError("an analysis needs at least one image, got none")
    if number is not None:
        number = whole("the number of images", number, 1)
    if number is None or number >= total:
        return torch.arange(total)
    return torch.from_numpy(Draw(seed, stream="analysis").rng.permutation(total)[:number]).sort().values


def _chosen(data: Examples, rows: Tensor) -> Examples:
    masks = None if data.masks is None else data.masks[rows]
    return Examples(data.images[rows], data.labels[rows], masks, data.classes)


def _of_set(data: ImageSet, number: int | None, seed: int) -> Examples:
    rows = _rows(len(data), number, seed)
    return Examples(data.pictures(rows), data.labels[rows], data.objects(rows), data.classes)


def device_of(net: Net) -> torch.device:
    """Where the net is; data is brought there."""
    return net.mean.device


def check_fit(net: nn.Module, data: Examples) -> None:
    """Refuse what is no `Net`, and data that it can't take: no images, other channels, labels beyond its classes, nan
    logits."""
    if not isinstance(net, Net):
        kind = type(net).__name__
        advice = "wrap a module of your own: Net(module, num_classes, size=32, mean=[0], std=[1])"
        raise UsageError(f"analyses take a workbench Net, got {kind}; {advice}")
    if not len(data):
        raise UsageError("an analysis needs at least one image, got none")
    if data.images.shape[1] != net.channels:
        raise UsageError(f"{net.name} takes images of {net.channels} channels, the data has {data.images.shape[1]}")
    if int(data.labels.min()) < 0:
        raise UsageError(f"labels must be class ids from 0, got {int(data.labels.min())}")
    if int(data.labels.max()) >= net.num_classes:
        raise UsageError(f"{net.name} knows {net.num_classes} classes, the data has class {int(data.labels.max())}")
    with net.probing(), torch.no_grad():
        images = data.batch(0, 2, device_of(net))[0]
        try:
            logits = net(images)
        except AssertionError as error:  # what timm's transformers say of another size
            form = " x ".join(map(str, images.shape[2:]))
            raise UsageError(f"{net.name} can't take images of {form}: it was made for {net.size} pixels") from error
    if not logits.isfinite().all():
        raise UsageError(f"{net.name} gives logits that are nan or infinite; its weights are broken")


@contextmanager
def same_numbers(seed: int) -> Iterator[None]:
    """Inside, PyTorch's own random numbers (which libraries draw from) follow from the seed; outside, as before."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
