"""`ImageSet`: one split of a data set, with everything that training and analyses ask about it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.config import UsageError
from workbench.data.bar import bar
from workbench.data.decode import Files
from workbench.data.masks import MaskFiles

Split = Literal["train", "test"]
Augment = Literal["crop-flip", "crop", "none"]
"""Random crops and left-right flips; crops only, where a mirror image means something else; neither."""

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel, in units of [0, 1]."""

CHUNK = 1024  # images worked on at once, so that a large set needs no second copy of itself


@dataclass(frozen=True)
class Request:
    """What the builder of a data set is asked for. `size` and `path` are empty where the caller left them out."""

    split: Split
    size: int | None = None
    root: Path | None = None
    path: str = ""
    damaged: Literal["refuse", "skip"] = "refuse"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ImageSet:
    """One split of a data set.

    `pixels` is either a uint8 tensor (N, C, H, W) with 1 or 3 channels ("resident") or, for sets too large for that,
    a list of `Files` that the batches decode as they go. `labels` is int64 (N,), an index into `classes`.
    `mean` and `std` are per channel, over all pixels of the train split, in units of [0, 1], for both splits the same.
    `masks` is uint8 (N, H, W), 1 on the object, or a list of `MaskFiles`, where a set knows its objects; an image whose
    object is not known has a mask of 0. `notes` says what a reader should know about how this split came about, e.g.
    which files were skipped.
    """

    pixels: Tensor | Files
    labels: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    name: str = "images"
    split: Split = "train"
    licence: str = "not stated"
    source: str = "not stated"
    augment: Augment = "crop-flip"
    masks: Tensor | MaskFiles | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = f"data set {self.name}"
        if isinstance(self.pixels, Tensor):
            check_images(self.pixels, where)
        check_labels(self.labels, len(self.pixels), self.classes, where)
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise UsageError(
                f"{where}: expected {self.channels} means and standard deviations, one a channel, "
                f"got {len(self.mean)} and {len(self.std)}"
            )
        if self.masks is not None:
            check_masks(self.masks, (len(self), *self.size), where)

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        height, width = self.size
        where = "" if self.resident else ", read from disk"
        return (
            f"{self.name}/{self.split}: {len(self):,} images of {self.channels}x{height}x{width}, "
            f"{len(self.classes)} classes{where}"
        )

    @property
    def resident(self) -> bool:
        """Whether all images are in memory."""
        return isinstance(self.pixels, Tensor)

    @property
    def images(self) -> Tensor:
        """All images, uint8 (N, C, H, W); only for resident sets."""
        if isinstance(self.pixels, Tensor):
            return self.pixels
        raise UsageError(
            f"{self.name} is too large to be held in memory and is read from disk; take some rows with pictures(rows)"
        )

    @property
    def channels(self) -> int:
        """1 or 3."""
        return self.pixels.shape[1] if isinstance(self.pixels, Tensor) else 3

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an image."""
        if isinstance(self.pixels, Tensor):
            return self.pixels.shape[2], self.pixels.shape[3]
        return self.pixels.side, self.pixels.side

    def pictures(self, rows: Sequence[int] | np.ndarray | Tensor) -> Tensor:
        """The images of these rows as they are, without augmentation: uint8 (B, C, H, W), a copy."""
        rows = torch.as_tensor(rows, dtype=torch.int64)
        if isinstance(self.pixels, Tensor):
            return self.pixels.index_select(0, rows)
        return torch.stack([self.pixels.view(row) for row in rows.tolist()])

    def objects(self, rows: Sequence[int] | np.ndarray | Tensor) -> Tensor | None:
        """The masks of these rows, uint8 (B, H, W), 1 on the object; None for a set that has none."""
        rows = torch.as_tensor(rows, dtype=torch.int64)
        if isinstance(self.masks, MaskFiles):
            return torch.stack([self.masks.view(row) for row in rows.tolist()])
        return None if self.masks is None else self.masks.index_select(0, rows)

    @property
    def known_objects(self) -> int:
        """Number of images whose object is known."""
        if isinstance(self.masks, MaskFiles):
            return sum(path != "" for path in self.masks.paths)
        return 0 if self.masks is None else int(self.masks.flatten(1).any(1).sum())

    def showcase(self, n: int) -> Tensor:
        """(n,) int64: the first rows of every class in turn, for looking at; fewer if the set is smaller."""
        labels = self.labels.numpy()
        order = np.argsort(labels, kind="stable")
        turn = np.empty(len(labels), np.int64)
        turn[order] = np.arange(len(labels)) - np.searchsorted(labels[order], labels[order])
        return torch.from_numpy(np.lexsort((labels, turn))[:n])

    def subset(self, rows: Sequence[int] | np.ndarray | Tensor) -> ImageSet:
        """The same set with these rows only; statistics and classes stay."""
        rows = torch.as_tensor(rows, dtype=torch.int64)
        pixels = self.pixels.index_select(0, rows) if isinstance(self.pixels, Tensor) else self.pixels.take(rows)
        masks = self.masks.take(rows) if isinstance(self.masks, MaskFiles) else self.objects(rows)
        return replace(self, pixels=pixels, labels=self.labels.index_select(0, rows), masks=masks)


# ------------------------------------------------------------------------------------------------------------ checks


def check_images(images: Tensor, where: str) -> None:
    """Raise a UsageError unless `images` is uint8 (N, C, H, W) with 1 or 3 channels and at least one image."""
    if images.dtype != torch.uint8:
        raise UsageError(f"{where}: images must be uint8 (0 to 255), got {_dtype(images)}; convert them before saving")
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape[2:]:
        raise UsageError(
            f"{where}: images must be (N, C, H, W) with 1 or 3 channels, got shape {tuple(images.shape)}; "
            "a file holds them as (N, H, W, C) or, if grey, (N, H, W)"
        )
    if len(images) == 0:
        raise UsageError(f"{where}: no images at all")


def check_labels(labels: Tensor, images: int, classes: Sequence[str], where: str) -> None:
    """Raise a UsageError unless `labels` is int64 (images,) with values from 0 to len(classes) - 1."""
    if labels.dtype != torch.int64:
        raise UsageError(f"{where}: labels must be whole numbers (int64), got {_dtype(labels)}")
    if labels.ndim != 1 or len(labels) != images:
        raise UsageError(f"{where}: expected one label an image, shape ({images},), got shape {tuple(labels.shape)}")
    low, high = (int(v) for v in labels.aminmax())
    if low < 0 or high >= len(classes):
        raise UsageError(
            f"{where}: labels must be from 0 to {len(classes) - 1} ({len(classes)} classes), got {low} to {high}"
        )


def check_masks(masks: Tensor | MaskFiles, expected: tuple[int, int, int], where: str) -> None:
    """Raise a UsageError unless `masks` is uint8 (N, H, W) as expected, or files that give that."""
    shape = (len(masks), masks.side, masks.side) if isinstance(masks, MaskFiles) else tuple(masks.shape)
    kind = torch.uint8 if isinstance(masks, MaskFiles) else masks.dtype
    if kind != torch.uint8 or shape != expected:
        raise UsageError(
            f"{where}: masks must be uint8 of shape {expected}, got {str(kind).removeprefix('torch.')} of shape {shape}"
        )


def check_every_class(labels: Tensor, classes: Sequence[str], where: str) -> None:
    """Raise a UsageError if a class has no image."""
    empty = [classes[k] for k in range(len(classes)) if not bool((labels == k).any())]
    if empty:
        raise UsageError(
            f"{where}: no image of class {', '.join(map(repr, empty[:5]))}"
            f"{f' and {len(empty) - 5} more' if len(empty) > 5 else ''}; add some or leave the class out"
        )


def check_size(size: object, low: int = 8, high: int = 1024) -> None:
    """Raise a UsageError unless `size` is None or a whole number of pixels within bounds."""
    if size is None:
        return
    if isinstance(size, bool) or not hasattr(size, "__index__") or not low <= operator.index(size) <= high:
        raise UsageError(f"size must be a whole number of pixels from {low} to {high}, got {size!r}")


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


# ------------------------------------------------------------------------------------------- statistics and resizing


def statistics(images: Tensor) -> Statistics:
    """Mean and standard deviation of each channel over all pixels of uint8 images (N, C, H, W), in units of [0, 1].

    Exact, from the counts of the 256 levels. The deviation is at least one level, so that a flat channel can be
    divided by it.
    """
    counts = np.zeros((images.shape[1], 256), np.int64)
    for chunk in images.split(CHUNK):
        for channel, count in enumerate(counts):
            count += np.bincount(chunk[:, channel].reshape(-1).numpy(), minlength=256)
    share = counts / counts.sum(1, keepdims=True)
    levels = np.arange(256) / 255
    mean = share @ levels
    std = np.sqrt((share * (levels - mean[:, None]) ** 2).sum(1)).clip(min=1 / 255)
    return tuple(mean.tolist()), tuple(std.tolist())


_known: dict[Hashable, Statistics] = {}


def train_statistics(key: Hashable, train_images: Callable[[], Tensor]) -> Statistics:
    """`statistics` of the images that `train_images` gives, which is asked once for each `key` while the process
    lives: the test split has the same statistics as the train split that was loaded before it."""
    if key not in _known:
        _known[key] = statistics(train_images())
    return _known[key]


def resize(images: Tensor, side: int, mode: Literal["bicubic", "nearest-exact"] = "bicubic") -> Tensor:
    """Uint8 images (N, C, H, W) with the shorter side brought to `side` (bicubic, antialiased; masks by the nearest
    pixel) and the centre cut out: (N, C, side, side). Images that have this size already are returned as they are."""
    height, width = images.shape[2:]
    if height == width == side:
        return images
    scale = side / min(height, width)
    scaled = (max(side, round(height * scale)), max(side, round(width * scale)))
    top, left = (scaled[0] - side) // 2, (scaled[1] - side) // 2
    out = torch.empty(len(images), images.shape[1], side, side, dtype=torch.uint8)
    chunks = zip(images.split(CHUNK), out.split(CHUNK), strict=True)
    for chunk, target in bar(chunks, "resizing", -(-len(images) // CHUNK)):
        larger = F.interpolate(chunk, scaled, mode=mode, antialias=mode == "bicubic")
        target.copy_(larger[:, :, top : top + side, left : left + side])
    return out
