"""The published corrupted test sets, where they lie on disk: CIFAR-10-C, CIFAR-100-C and ImageNet-C.

Layouts: CIFAR-C is a folder with `<corruption>.npy`, uint8 (50000, 32, 32, 3), the test images five times over, one
severity after the other, and `labels.npy` (50000,). ImageNet-C is `<corruption>/<severity>/<class>/<image>`, its
corruptions directly in the folder or in groups (noise, blur, weather, digital).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from workbench.analysis.inputs import Examples
from workbench.config import UsageError
from workbench.data.decode import centre, open_rgb
from workbench.draw import Draw

GROUPS = ("", "noise", "blur", "weather", "digital")
PICTURES = {".jpeg", ".jpg", ".png"}


class Files(ABC):
    """A published set, of which the same images are taken for every corruption and severity."""

    @abstractmethod
    def check(self, kinds: Sequence[str], levels: Sequence[int]) -> None:
        """UsageError that names what is missing."""

    @abstractmethod
    def examples(self, kind: str, level: int) -> Examples:
        """The chosen images of one corruption at one severity."""

    @abstractmethod
    def __len__(self) -> int:
        """How many images are taken of each."""


def files_of(path: str, data: Examples, classes: int, images: int | None, seed: int) -> Files:
    """The set in this folder, checked against the net's number of classes and the size of the data."""
    folder = Path(path).expanduser()
    if (folder / "labels.npy").is_file():
        return CifarFiles(folder, data, classes, images, seed)
    if folder.is_dir() and any((folder / group / "brightness").is_dir() for group in GROUPS):
        return FolderFiles(folder, data, classes, images, seed)
    raise UsageError(
        f"{path} holds no published corruptions (labels.npy and <corruption>.npy of CIFAR-10-C or CIFAR-100-C, or the "
        "folders <corruption>/<severity>/<class> of ImageNet-C); download them, or leave `official` out"
    )


def _rows(total: int, images: int | None, seed: int) -> np.ndarray:
    if images is None or images >= total:
        return np.arange(total)
    return np.sort(Draw(seed, stream="analysis").rng.permutation(total)[:images])


class CifarFiles(Files):
    """CIFAR-10-C or CIFAR-100-C: only the rows that are asked for are read."""

    def __init__(self, folder: Path, data: Examples, classes: int, images: int | None, seed: int) -> None:
        self.folder = folder
        labels = _labels(folder / "labels.npy")
        if len(np.unique(labels)) != classes or int(labels.max()) >= classes:
            found = f"{len(np.unique(labels))} classes up to {int(labels.max())}"
            raise UsageError(f"{folder} has {found}, the net knows {classes}; take the set that it was trained for")
        self.total = len(labels) // 5
        self.rows = _rows(self.total, images, seed)
        self.labels = torch.from_numpy(labels[self.rows].astype(np.int64))
        self.size = tuple(data.images.shape[2:])

    def __len__(self) -> int:
        return len(self.rows)

    def check(self, kinds: Sequence[str], levels: Sequence[int]) -> None:
        for kind in kinds:
            found, wanted = _array(self.folder / f"{kind}.npy"), (5 * self.total, *self.size, 3)
            if found.shape != wanted or found.dtype != np.uint8:
                got = f"{found.shape} {found.dtype}"
                raise UsageError(f"{self.folder / kind}.npy should be {wanted} uint8 for these data, got {got}")

    def examples(self, kind: str, level: int) -> Examples:
        pixels = _array(self.folder / f"{kind}.npy")[self.rows + (level - 1) * self.total]
        return Examples(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), self.labels)


def _labels(path: Path) -> np.ndarray:
    """(5 N,) class ids, the same N five times over."""
    labels = _array(path)
    whole = labels.ndim == 1 and len(labels) > 0 and len(labels) % 5 == 0 and labels.dtype.kind in "iu"
    if not whole or (labels.reshape(5, -1) != labels[: len(labels) // 5]).any() or labels.min() < 0:
        got = f"{labels.shape} {labels.dtype}"
        raise UsageError(f"{path} must hold five times the same class ids, from 0 on, got {got}")
    return labels


def _array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UsageError(f"{path} is not there; download the whole set, or name other corruptions") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} can't be read as an array: {' '.join(str(error).split())}") from None


class FolderFiles(Files):
    """ImageNet-C: pictures in folders, decoded as they are asked for."""

    def __init__(self, folder: Path, data: Examples, classes: int, images: int | None, seed: int) -> None:
        self.folder, self.side = folder, data.images.shape[-1]
        place = next(self._place(kind) for kind in ("brightness",))
        first = next((place / str(level) for level in range(1, 6) if (place / str(level)).is_dir()), place)
        names = sorted(entry.name for entry in first.iterdir() if entry.is_dir())
        if len(names) != classes:
            raise UsageError(f"{first} has {len(names)} classes, the net knows {classes}")
        ids = _ids(names, data.classes)
        pictures = [(n, f.name) for n in names for f in sorted((first / n).iterdir()) if f.suffix.lower() in PICTURES]
        if not pictures:
            raise UsageError(f"{first} has no pictures; download the whole set")
        self.chosen = [pictures[row] for row in _rows(len(pictures), images, seed)]
        self.labels = torch.tensor([ids[name] for name, _ in self.chosen])

    def __len__(self) -> int:
        return len(self.chosen)

    def _place(self, kind: str) -> Path:
        places = [self.folder / group / kind for group in GROUPS]
        return next((place for place in places if place.is_dir()), places[0])

    def check(self, kinds: Sequence[str], levels: Sequence[int]) -> None:
        for kind in kinds:
            for level in levels:
                if not (self._place(kind) / str(level)).is_dir():
                    where = self._place(kind) / str(level)
                    raise UsageError(f"{where} is not there; download the whole set, or name other corruptions")

    def examples(self, kind: str, level: int) -> Examples:
        place = self._place(kind) / str(level)
        pictures = [centre(open_rgb(place / name / file), self.side) for name, file in self.chosen]
        return Examples(torch.stack(pictures), self.labels)


def _ids(names: Sequence[str], classes: Sequence[str]) -> dict[str, int]:
    """Class ids of folders: by name where the data know the names, otherwise in alphabetical order, as they are
    numbered everywhere."""
    known = {name: number for number, name in enumerate(classes)}
    return {name: known.get(name, i) if set(names) <= set(known) else i for i, name in enumerate(names)}
