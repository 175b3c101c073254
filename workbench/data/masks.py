"""Masks of objects: a file to 0 and 1, upright and cut to size just as its image is; and telling which don't fit.

The object is what is not 0, in a palette's indices, grey levels, bits or colours alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from workbench.config import UsageError
from workbench.data.decode import DAMAGE, faults_of, middle, reason

ORIENTATION = 0x0112  # the EXIF tag
TURNED = range(2, 9)  # its values that mirror or turn; from 5 on width and height change places
MEND = "mend or delete it, or go without such masks: damaged='skip' (--damaged skip)"
SAMPLE = 16  # masks that are looked at for a background


@dataclass(frozen=True)
class MaskFiles:
    """Masks that stay on disk, delivered as squares of `side` pixels: of every image its own file, and that of its
    mask, "" where it has none."""

    images: tuple[str, ...]
    paths: tuple[str, ...]
    side: int

    def __len__(self) -> int:
        return len(self.paths)

    def view(self, row: int) -> Tensor:
        """The middle of one mask, uint8 (side, side), 1 on the object, by the nearest pixel; 0 everywhere without a
        file. It lies on `Files.view` of the image, but for large JPEGs, which are shifted by up to half a pixel."""
        if not self.paths[row]:
            return torch.zeros(self.side, self.side, dtype=torch.uint8)
        mask = open_mask(self.paths[row], self.images[row])
        size = (self.side, self.side)
        return torch.from_numpy(np.array(mask.resize(size, Image.Resampling.NEAREST, box=middle(*mask.size))))

    def take(self, rows: Tensor) -> MaskFiles:
        """These rows only."""
        chosen = rows.tolist()
        return MaskFiles(tuple(self.images[row] for row in chosen), tuple(self.paths[row] for row in chosen), self.side)


def open_mask(path: str, image: str) -> Image.Image:
    """A mask as the upright picture of its image's size, 0 and 1. Raises a UsageError that names the file if it can't
    be read or does not fit the image."""
    try:
        with Image.open(path) as mask:
            _check_kind(mask, path)
            turn = _turn(mask, path, image, thorough=True)
            values = np.asarray(mask)
    except DAMAGE as error:
        raise _unreadable(path, error) from None
    found = Image.fromarray((values if values.ndim == 2 else values.any(2)).astype(bool).astype(np.uint8))
    found.getexif()[ORIENTATION] = turn
    return ImageOps.exif_transpose(found)


def check_mask(path: str, image: str) -> None:
    """Raise a UsageError for a mask that can't be read or does not fit its image, without decoding either."""
    try:
        with Image.open(path) as mask:
            _check_kind(mask, path)
            _turn(mask, path, image, thorough=False)
            mask.verify()
    except DAMAGE as error:
        raise _unreadable(path, error) from None


def verify_masks(masks: MaskFiles, where: str) -> dict[int, str]:
    """What is wrong with masks, by row. Raises a UsageError if none of some masks has a background."""
    rows = [row for row, path in enumerate(masks.paths) if path]
    found = faults_of(lambda k: check_mask(masks.paths[rows[k]], masks.images[rows[k]]), len(rows), "checking masks")
    faults = {rows[k]: text for k, text in found.items()}
    sound = [row for row in rows if row not in faults]
    chosen = np.linspace(0, len(sound) - 1, min(SAMPLE, len(sound))).round().astype(int)
    check_background([np.asarray(open_mask(masks.paths[sound[k]], masks.images[sound[k]])) for k in chosen], where)
    return faults


def check_background(masks: Sequence[np.ndarray] | np.ndarray, where: str) -> None:
    """Raise a UsageError if all masks (H, W), and there are some, are object everywhere: then the background is not 0,
    as in the trimaps of the Oxford pets (1 animal, 2 background, 3 outline)."""
    if len(masks) and all(mask.all() for mask in masks):
        raise UsageError(
            f"{where}: masks must be 0 on the background and above 0 on the object, got none with a 0; write them "
            "anew (in trimaps of the Oxford pets the background is 2)"
        )


def _check_kind(mask: Image.Image, path: str) -> None:
    if mask.format != "PNG":
        raise UsageError(f"{path} is {mask.format}; masks must be PNG, which keeps every value; write it again")
    if mask.mode not in ("1", "L", "P", "RGB") and not mask.mode.startswith("I"):
        raise UsageError(f"{path} is {mask.mode}, a mask with transparency; write it as grey levels, 0 off the object")


def _turn(mask: Image.Image, path: str, image: str, thorough: bool) -> int:
    """The EXIF orientation by which a mask has to be turned: that of its image if it was drawn on the picture as it is
    stored, 1 (not at all) if on the upright one. `thorough` decodes a PNG image, whose tag may stand at the end."""
    size, turned = _frame(image, thorough)
    upright = size[::-1] if turned >= 5 else size
    if mask.size not in (size, upright):
        wide, high = upright
        raise UsageError(
            f"{path} has {mask.width} x {mask.height} pixels, its image {image} {wide} x {high}; "
            "a mask must be of the size of its image"
        )
    if turned == 1:
        return 1
    if size == upright:
        raise UsageError(
            f"{path}: its image {image} is turned upright (EXIF orientation {turned}), and the size does not tell "
            "whether the mask is upright too; save the image upright, without the tag"
        )
    return 1 if mask.size == upright else turned


def _frame(image: str, thorough: bool) -> tuple[tuple[int, int], int]:
    """Size of a picture as it is stored, and its EXIF orientation, 1 where it has none."""
    try:
        with Image.open(image) as file:
            known = thorough or file.format != "PNG" or "exif" in file.info
            turned = file.getexif().get(ORIENTATION, 1) if known else 1
            return file.size, turned if turned in TURNED else 1
    except DAMAGE as error:
        raise UsageError(f"{image} is damaged or no image ({reason(error)}); mend or delete it") from None


def _unreadable(path: str, error: Exception) -> UsageError:
    """What to tell of a mask: what we said ourselves, or that it is damaged."""
    if isinstance(error, UsageError):
        return error
    return UsageError(f"{path} is damaged or no image ({reason(error)}); write it again")
