"""One image file to pixels: upright, RGB, cut to size; and telling which files are damaged."""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from workbench.config import UsageError
from workbench.data.bar import bar

# What Pillow raises for a file that it can't read: it depends on the format and on where the damage is.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
TAIL = 32  # bytes at the end of a JPEG in which its end marker is looked for
MEND = "mend or delete it, or leave damaged files out: damaged='skip' (--damaged skip)"
BLOCK = 16  # files a thread takes at a time


@dataclass(frozen=True)
class Files:
    """Images that stay on disk, delivered as squares of `side` pixels."""

    paths: tuple[str, ...]
    side: int

    def __len__(self) -> int:
        return len(self.paths)

    def view(self, row: int) -> Tensor:
        """The middle of one image, uint8 (3, side, side)."""
        return centre(open_rgb(self.paths[row], at_least=2 * self.side), self.side)

    def random_view(self, row: int, rng: np.random.Generator, flip: bool) -> Tensor:
        """A random part of one image, brought to uint8 (3, side, side), and mirrored by half a chance if `flip`."""
        image = open_rgb(self.paths[row])
        left, top, width, height = random_box(rng, *image.size)
        mirrored = flip and rng.random() < 0.5
        part = resized_crop(image, left, top, width, height, self.side)
        return pixels(ImageOps.mirror(part) if mirrored else part)

    def take(self, rows: Tensor) -> Files:
        """These rows only."""
        return Files(tuple(self.paths[row] for row in rows.tolist()), self.side)


# --------------------------------------------------------------------------------------------------------- one image


def open_rgb(path: str | Path, at_least: int | None = None) -> Image.Image:
    """A file as an upright RGB picture. A JPEG may come smaller than it is, but never with a side under `at_least`
    pixels, which is several times faster for photographs of many megapixels.

    Raises a UsageError that names the file if it is damaged.
    """
    try:
        with Image.open(path) as image:
            if at_least:
                image.draft(None, (at_least, at_least))
            return to_rgb(ImageOps.exif_transpose(image))
    except DAMAGE as error:
        raise UsageError(f"{path} is damaged or no image ({reason(error)}); {MEND}") from None


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode of Pillow as RGB. Transparent parts turn white; 16-bit grey keeps its upper eight bits (Pillow's own
    conversion would clip nearly all of it to white)."""
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 bits a channel")
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64)
        image = Image.fromarray((grey >> 8).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def centre(image: Image.Image, side: int) -> Tensor:
    """The largest square in the middle, brought to uint8 (3, side, side): the same as shorter side to `side`, then
    centre crop."""
    return pixels(image.resize((side, side), Image.Resampling.BICUBIC, box=middle(*image.size)))


def middle(width: int, height: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the largest square in the middle."""
    short = min(width, height)
    left, top = (width - short) // 2, (height - short) // 2
    return left, top, left + short, top + short


def resized_crop(image: Image.Image, left: int, top: int, width: int, height: int, side: int) -> Image.Image:
    """A part of a picture, brought to a square of `side` pixels; to the bit what torchvision's function of this name
    does to a picture of Pillow, without the two seconds that importing torchvision costs every loader process."""
    part = image.crop((left, top, left + width, top + height))
    return part.resize((side, side), Image.Resampling.BILINEAR)


def pixels(image: Image.Image) -> Tensor:
    """An RGB picture as uint8 (3, H, W)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def random_box(rng: np.random.Generator, width: int, height: int) -> tuple[int, int, int, int]:
    """(left, top, width, height) of a part with 8 to 100 % of the area and an aspect of 3:4 to 4:3, the usual
    augmentation of ImageNet; the largest middle part of such an aspect if ten tries do not fit.

    Source: Szegedy et al., Going deeper with convolutions, 2015 (arXiv 1409.4842), section 6.
    """
    area = rng.uniform(0.08, 1.0, 10) * width * height
    aspect = np.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3), 10))
    where = rng.random(2)
    widths, heights = np.rint(np.sqrt(area * aspect)).astype(int), np.rint(np.sqrt(area / aspect)).astype(int)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    if not fits.any():
        w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
        return (width - w) // 2, (height - h) // 2, w, h
    first = int(fits.argmax())
    w, h = int(widths[first]), int(heights[first])
    return int(where[0] * (width - w + 1)), int(where[1] * (height - h + 1)), w, h


# -------------------------------------------------------------------------------------------------------- many images


def decode(paths: Sequence[str], side: int) -> tuple[Tensor, dict[int, str]]:
    """The middles of all images, uint8 (N, 3, side, side), and what is wrong with the damaged ones by row."""
    out = torch.zeros(len(paths), 3, side, side, dtype=torch.uint8)
    files = Files(tuple(paths), side)

    def work(row: int) -> None:
        out[row] = files.view(row)

    return out, faults_of(work, len(paths), "decoding")


def verify(paths: Sequence[str], thorough: bool) -> dict[int, str]:
    """What is wrong with the damaged files by row; `thorough` decodes every one."""
    return faults_of(lambda row: open_rgb(paths[row]) if thorough else check(paths[row]), len(paths), "checking")


def check(path: str) -> None:
    """Raise a UsageError for a damaged file, without decoding it if that can be helped: a PNG has check sums, a JPEG
    an end marker."""
    try:
        with Image.open(path) as image:
            kind = image.format
            image.verify()
    except DAMAGE:
        kind = None
    whole = kind == "PNG" or (kind == "JPEG" and _ends_whole(path))
    if not whole:  # some cameras write after the end of a JPEG: only decoding tells
        open_rgb(path)


def _ends_whole(path: str) -> bool:
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - TAIL))
        return b"\xff\xd9" in file.read()


def faults_of(work: Callable[[int], object], n: int, what: str) -> dict[int, str]:
    """Do `work` for every row, in threads (Pillow decodes outside the interpreter's lock); what UsageErrors say is
    wrong, by row. Shows a progress bar if it takes more than a second."""

    def attempt(rows: range) -> dict[int, str]:
        faults = {}
        for row in rows:
            try:
                work(row)
            except UsageError as error:
                faults[row] = str(error).removesuffix(f"; {MEND}")
        return faults

    found: dict[int, str] = {}
    blocks = [range(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]
    pool = ThreadPoolExecutor(max(1, torch.get_num_threads()))
    try:
        with bar(desc=what, total=n, unit="file") as done:
            for block, faults in zip(blocks, pool.map(attempt, blocks), strict=True):
                found |= faults
                done.update(len(block))
    finally:
        pool.shutdown(cancel_futures=True)  # or an interrupt would wait for all files
    return found


def reason(error: Exception) -> str:
    """The error's text on one line, without the path that the caller names anyway."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    return "not a format that Pillow reads" if text.startswith("cannot identify") else text or type(error).__name__
