"""Anybody's own images: `folder:PATH` (one folder a class) and `npz:PATH` (arrays in one file)."""

from __future__ import annotations

import hashlib
import logging
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from workbench.config import UsageError
from workbench.data.decode import MEND, Files, decode, verify
from workbench.data.imageset import (
    ImageSet,
    Request,
    Split,
    check_every_class,
    check_images,
    check_labels,
    resize,
    statistics,
    train_statistics,
)

log = logging.getLogger(__name__)

RESIDENT_BYTES = 512 << 20  # decoded size of both splits up to which a folder is held in memory
SAMPLE = 256  # images of the train split that the statistics of a folder are taken from
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
TEST_NAMES = ("test", "val", "valid", "validation")
KEYS = ("train_images", "train_labels", "test_images", "test_labels", "class_names")

Found = dict[str, list[str]]
"""Image files by class."""


# ------------------------------------------------------------------------------------------------------------ folder


def folder(request: Request) -> ImageSet:
    """Images in PATH/train/CLASS/ and PATH/test/CLASS/ (or val), or in PATH/CLASS/, then split 80 to 20.

    They are brought to squares (shorter side to `size`, middle cut out). If both splits take at most RESIDENT_BYTES
    that way they are decoded now and stay in memory; otherwise the files are checked now and decoded when needed.
    """
    root, side = Path(request.path).expanduser(), request.size or 224
    train, test, notes = list_splits(root)
    if notes and request.split == "train":
        log.warning(notes[0])
    found = train if request.split == "train" else test
    labels = torch.tensor([k for k, files in enumerate(found.values()) for _ in files], dtype=torch.int64)
    number = sum(len(files) for part in (train, test) for files in part.values())
    pixels, faults = _take_in(_flat(found), side, 3 * side * side * number <= RESIDENT_BYTES, request.damaged)
    decoded = (pixels, faults) if request.split == "train" and isinstance(pixels, Tensor) else None
    if faults:
        where = f"folder {root} ({request.split})"
        notes = (*notes, _tell_damaged(list(faults.values()), where, request.damaged))
        keep = torch.tensor([row for row in range(len(labels)) if row not in faults], dtype=torch.int64)
        pixels, labels = pixels[keep] if isinstance(pixels, Tensor) else pixels.take(keep), labels[keep]
        check_every_class(labels, list(found), where)
    mean, std = train_statistics((_flat(train), side), lambda: _sample(_flat(train), side, decoded))
    return ImageSet(pixels=pixels, labels=labels, classes=tuple(found), mean=mean, std=std, notes=notes)


def _flat(found: Found) -> tuple[str, ...]:
    return tuple(path for files in found.values() for path in files)


def _take_in(
    paths: tuple[str, ...], side: int, resident: bool, damaged: Literal["refuse", "skip"]
) -> tuple[Tensor | Files, dict[int, str]]:
    """The images, decoded or as files, and what is wrong with the damaged ones. Before files are skipped every one is
    decoded once, since nothing can be left out of a running epoch."""
    if resident:
        return decode(paths, side)
    return Files(paths, side), verify(paths, thorough=damaged == "skip")


def _tell_damaged(faults: Sequence[str], where: str, damaged: Literal["refuse", "skip"]) -> str:
    """Refuse the damaged files, or log that they are left out and return that as a note."""
    more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
    named = "; ".join(faults[:3]) + more
    if damaged == "refuse":
        raise UsageError(f"{where}: {named}; {MEND}")
    note = f"{where}: left out {len(faults)} damaged file(s): {named}"
    log.warning(note)
    return note


def _sample(train: tuple[str, ...], side: int, decoded: tuple[Tensor, dict[int, str]] | None) -> Tensor:
    """Up to SAMPLE train images, evenly spaced in the list, for the statistics; damaged ones are left out. They are
    taken from `decoded`, all images and what is wrong with some, if that is at hand."""
    rows = np.linspace(0, len(train) - 1, min(SAMPLE, len(train))).round().astype(int).tolist()
    if decoded:
        return decoded[0][[row for row in rows if row not in decoded[1]]]
    images, faults = decode([train[row] for row in rows], side)
    if len(faults) == len(rows):
        raise UsageError(f"not one of {len(rows)} train images could be read: {faults[0]}")
    return images[[k for k in range(len(rows)) if k not in faults]]


def list_splits(root: Path) -> tuple[Found, Found, tuple[str, ...]]:
    """The files of the train and of the test split by class, and notes on how the split was made."""
    if not root.is_dir():
        raise UsageError(f"no folder at {root.absolute()}; expected images as {_layout(root)}")
    below = _folders(root)
    test = next((name for name in TEST_NAMES if name in below), None)
    if "train" in below and test:
        train_files, test_files = _by_class(root / "train"), _by_class(root / test)
        if list(train_files) != list(test_files):
            odd = sorted(set(train_files) ^ set(test_files))
            raise UsageError(f"{root}: train/ and {test}/ must have the same class folders, they differ in {odd}")
        return train_files, test_files, ()
    if "train" in below and _folders(root / "train"):
        raise UsageError(f"{root} has train/ but no test/ or val/; add one, or move the class folders up to {root}")
    train_files, test_files = _divide(_by_class(root), root)
    note = f"{root} has no train/ and test/: every class is split 80 to 20 by a hash of the file names"
    return train_files, test_files, (note,)


def _by_class(folder: Path) -> Found:
    """Image files below each class folder, sorted; hidden files and folders are left out."""
    names = _folders(folder)
    if not names:
        raise UsageError(f"no class folders in {folder.absolute()}; expected images as {_layout(folder)}")
    found = {name: _images(folder / name) for name in names}
    if not any(found.values()):
        raise UsageError(f"no images at all in {folder.absolute()}; known endings: {' '.join(ENDINGS)}")
    empty = [name for name, files in found.items() if not files]
    if empty:
        raise UsageError(f"no images in class folder {folder / empty[0]}; add some or remove the folder")
    return found


def _divide(found: Found, root: Path) -> tuple[Found, Found]:
    """Every class split 80 to 20, at least one image on each side. The order is that of hashes of the names, so it is
    the same on every machine, unrelated to the names' own order, and hardly changes when files are added."""

    def shuffled(path: str) -> bytes:
        return hashlib.sha256(Path(path).relative_to(root).as_posix().encode()).digest()

    train, test = {}, {}
    for name, files in found.items():
        if len(files) < 2:
            raise UsageError(f"class folder {root / name} has one image; a train and a test split need two")
        order = sorted(files, key=shuffled)
        n = max(1, round(len(files) / 5))
        test[name], train[name] = sorted(order[:n]), sorted(order[n:])
    return train, test


def _folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def _images(folder: Path) -> list[str]:
    found = []
    for where, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            os.path.join(where, name) for name in files if name.lower().endswith(ENDINGS) and not name.startswith(".")
        ]
    return sorted(found)


def _layout(root: Path) -> str:
    of_split, plain = Path("CLASS") / "any.jpg", root / "CLASS" / "any.jpg"
    return f"{root / 'train' / of_split} and {root / 'test' / of_split}, or {plain}"


# --------------------------------------------------------------------------------------------------------------- npz


def npz(request: Request) -> ImageSet:
    """Arrays of one file: train_images, test_images uint8 (N, H, W, 3) or (N, H, W); train_labels, test_labels whole
    numbers (N,); class_names, texts. Never unpickled."""
    path = Path(request.path).expanduser()
    arrays = _open_npz(path)
    classes = _class_names(arrays, path)
    images, labels = _split(arrays, request.split, classes, path)
    train = images if request.split == "train" else _images_of(arrays, "train", path)
    if train.shape[1:] != images.shape[1:]:
        raise UsageError(
            f"{path}: train and test images differ in shape, {tuple(train.shape[1:])} and {tuple(images.shape[1:])}"
        )
    mean, std = statistics(train)
    pixels = resize(images, request.size) if request.size else images
    return ImageSet(pixels=pixels, labels=labels, classes=classes, mean=mean, std=std)


def _open_npz(path: Path) -> np.lib.npyio.NpzFile:
    try:
        arrays = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UsageError(f"no file at {path.absolute()}; expected an .npz with {', '.join(KEYS)}") from None
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise UsageError(f"{path} is not an .npz file ({_line(error)}); write it with numpy.savez") from None
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise UsageError(f"{path} holds one array, not an .npz with {', '.join(KEYS)}; write it with numpy.savez")
    missing = [key for key in KEYS if key not in arrays.files]
    if missing:
        raise UsageError(f"{path} lacks {', '.join(missing)}; it has {', '.join(arrays.files) or 'nothing'}")
    return arrays


def _array(arrays: np.lib.npyio.NpzFile, key: str, path: Path) -> np.ndarray:
    try:
        return arrays[key]
    except ValueError as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            raise UsageError(
                f"{path}: {key} is pickled (dtype object) and is not read, because a pickle can run code; "
                "save plain numbers and texts"
            ) from None
        raise UsageError(f"{path}: {key} is damaged ({_line(error)}); write the file again") from None
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: {key} is damaged ({_line(error)}); write the file again") from None


def _class_names(arrays: np.lib.npyio.NpzFile, path: Path) -> tuple[str, ...]:
    names = _array(arrays, "class_names", path)
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) == 0:
        raise UsageError(f"{path}: class_names must be a list of texts, got {names.dtype} of shape {names.shape}")
    return tuple(names.tolist())


def _images_of(arrays: np.lib.npyio.NpzFile, split: Split, path: Path) -> Tensor:
    """Images of a split as uint8 (N, C, H, W)."""
    array = _array(arrays, f"{split}_images", path)
    where = f"{path}: {split}_images"
    if array.dtype != np.uint8:
        raise UsageError(f"{where}: images must be uint8 (0 to 255), got {array.dtype}; convert them before saving")
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] not in (1, 3)):
        raise UsageError(f"{where}: images must be (N, H, W, 3) or, if grey, (N, H, W), got shape {array.shape}")
    images = torch.from_numpy(array if array.ndim == 4 else array[..., None]).permute(0, 3, 1, 2).contiguous()
    check_images(images, where)
    return images


def _split(arrays: np.lib.npyio.NpzFile, split: Split, classes: tuple[str, ...], path: Path) -> tuple[Tensor, Tensor]:
    """Images and labels of a split; every class must occur among the labels of the train split."""
    images = _images_of(arrays, split, path)
    where = f"{path}: {split}_labels"
    array = _array(arrays, f"{split}_labels", path)
    if array.dtype.kind not in "iu":
        raise UsageError(f"{where}: labels must be whole numbers, got {array.dtype}; save them as int64")
    labels = torch.from_numpy(array.astype(np.int64))
    check_labels(labels, len(images), classes, where)
    if split == "train":
        check_every_class(labels, classes, where)
    return images, labels


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
