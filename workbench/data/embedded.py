"""Real images without a download: `digits` (from scikit-learn) and `photos` (from scikit-image and scikit-learn).

The pictures are read from the installed packages; none of them is part of this project.
"""

from __future__ import annotations

import importlib.util
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from workbench.config import UsageError
from workbench.data.imageset import ImageSet, Request, Split, statistics, train_statistics
from workbench.draw import Draw

# ------------------------------------------------------------------------------------------------------------ digits


def digits(request: Request) -> ImageSet:
    """1,797 handwritten digits, brought from 8x8 to 32x32; a fixed fifth of every class is the test split.

    Source: E. Alpaydin, C. Kaynak, Optical recognition of handwritten digits, UCI machine learning repository, 1998
    (its test part), as shipped by scikit-learn.
    """
    table = np.loadtxt(_shipped("sklearn", "datasets/data/digits.csv.gz"), delimiter=",", dtype=np.uint8)
    labels = torch.from_numpy(table[:, -1].astype(np.int64))
    small = torch.from_numpy(table[:, :-1].astype(np.float32)).view(-1, 1, 8, 8) * (255 / 16)
    side = request.size or 32
    images = F.interpolate(small, (side, side), mode="bicubic").round().clamp(0, 255).to(torch.uint8)
    rows = {split: torch.from_numpy(digit_rows(table[:, -1], split)) for split in ("train", "test")}
    mean, std = statistics(images[rows["train"]])
    return ImageSet(
        pixels=images[rows[request.split]],
        labels=labels[rows[request.split]],
        classes=tuple("0123456789"),
        mean=mean,
        std=std,
    )


def digit_rows(labels: np.ndarray, split: str) -> np.ndarray:
    """Rows of a split in their own order: of every class a fifth, drawn once for all, is for testing."""
    rng = Draw(0, stream="digits").rng
    chosen = [rng.permutation(np.flatnonzero(labels == k)) for k in np.unique(labels)]
    test = np.concatenate([rows[: round(len(rows) / 5)] for rows in chosen])
    return np.sort(test if split == "test" else np.setdiff1d(np.arange(len(labels)), test))


# ------------------------------------------------------------------------------------------------------------ photos

PHOTOS = {  # class: (package, file)
    "astronaut": ("skimage", "data/astronaut.png"),
    "cat": ("skimage", "data/chelsea.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "galaxies": ("skimage", "data/hubble_deep_field.jpg"),
    "tissue": ("skimage", "data/ihc.png"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
    "retina": ("skimage", "data/retina.jpg"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "pagoda": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
}
GRID = 3  # tiles a side into which a photograph is cut
SIDES = (0.1, 0.33)  # side of a crop, as a share of the photograph's shorter side
CROPS = {"train": 200, "test": 100}  # of every photograph, up to 64 pixels; a quarter of it above


def photos(request: Request) -> ImageSet:
    """Crops of ten photographs; the class is the photograph. Every photograph is cut into tiles, a third of which are
    for testing; a crop lies within one tile, so the two splits share no pixel. The classes take turns."""
    side = request.size or 32
    images = crops(request.split, side)
    mean, std = train_statistics(("photos", side), lambda: images if request.split == "train" else crops("train", side))
    labels = torch.arange(len(images)) % len(PHOTOS)
    return ImageSet(pixels=images, labels=labels, classes=tuple(PHOTOS), mean=mean, std=std)


def whole_photos(size: int) -> tuple[Tensor, tuple[str, ...]]:
    """The ten photographs, cut to the square in the middle: uint8 (10, 3, size, size), and their names."""
    squares = []
    for name in PHOTOS:
        photo = open_photo(name)
        short = min(photo.size)
        left, top = (photo.width - short) // 2, (photo.height - short) // 2
        squares.append(_shrink(photo, (left, top, left + short, top + short), size))
    return _stack(squares), tuple(PHOTOS)


def crops(split: Split, side: int) -> Tensor:
    """All crops of a split, uint8 (N, 3, side, side), the photographs taking turns."""
    n = CROPS[split] if side <= 64 else CROPS[split] // 4
    rows = [
        cut(open_photo(name), split, n, side, Draw(0, epoch=k, stream=f"photos {split}"))
        for k, name in enumerate(PHOTOS)
    ]
    return torch.stack([_stack(row) for row in rows], 1).flatten(0, 1)


def cut(photo: Image.Image, split: Split, n: int, side: int, draw: Draw) -> list[np.ndarray]:
    """`n` random square crops from the tiles of a split, brought to (side, side, 3): first a tile, then the crop's side
    (log-uniform within SIDES), then its place."""
    places = tiles(photo.width, photo.height, split)
    short = min(photo.size)
    chosen = draw.integers(len(places), n)
    sides = np.rint(np.exp(draw.rng.uniform(math.log(SIDES[0]), math.log(SIDES[1]), n)) * short).astype(int)
    across, down = draw.rng.random((2, n))
    found = []
    for place, length, u, v in zip(chosen, sides, across, down, strict=True):
        left, top, right, bottom = places[place]
        length = int(min(length, right - left, bottom - top))
        x, y = left + int(u * (right - left - length + 1)), top + int(v * (bottom - top - length + 1))
        found.append(_shrink(photo, (x, y, x + length, y + length), side))
    return found


def tiles(width: int, height: int, split: Split) -> list[tuple[int, int, int, int]]:
    """(left, top, right, bottom) of the tiles of a split: along rows and columns of a GRID x GRID board every third
    tile is for testing."""
    xs, ys = ([length * k // GRID for k in range(GRID + 1)] for length in (width, height))
    return [
        (xs[col], ys[row], xs[col + 1], ys[row + 1])
        for row in range(GRID)
        for col in range(GRID)
        if ((row + 2 * col) % 3 == 0) == (split == "test")
    ]


@lru_cache(maxsize=16)
def open_photo(name: str) -> Image.Image:
    """One of the photographs, RGB."""
    with Image.open(_shipped(*PHOTOS[name])) as photo:
        return photo.convert("RGB")


def _shipped(package: str, file: str) -> Path:
    """Where an installed package keeps a file; the package is not imported, which would take seconds."""
    spec = importlib.util.find_spec(package)
    path = Path((spec and spec.origin) or package).parent / file
    if not path.is_file():
        raise UsageError(f"the installed {package} has no {file}; install the versions that constraints.txt names")
    return path


def _shrink(photo: Image.Image, box: tuple[int, int, int, int], side: int) -> np.ndarray:
    """A part of a photograph as (side, side, 3). Cut out before it is scaled: scaling in place would let pixels from
    beyond the edge in."""
    return np.asarray(photo.crop(box).resize((side, side), Image.Resampling.BICUBIC))


def _stack(images: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
