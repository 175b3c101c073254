"""Anybody's own images: `folder:PATH` (one folder a class) and `npz:PATH` (arrays in one file)."""

from __future__ import annotations

import hashlib
import logging
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from workbench.data.layout import find_masks, list_splits, masks_below
from workbench.data.masks import MEND as MEND_MASK
from workbench.data.masks import MaskFiles, check_background, verify_masks

log = logging.getLogger(__name__)

RESIDENT_BYTES = 512 << 20  # decoded size of both splits up to which a folder is held in memory
SAMPLE = 256  # images of the train split that the statistics of a folder are taken from
KEYS = ("train_images", "train_labels", "test_images", "test_labels", "class_names")


# ------------------------------------------------------------------------------------------------------------ folder


def folder(request: Request) -> ImageSet:
    """Images in PATH/train/CLASS/ and PATH/test/CLASS/ (or val), or in PATH/CLASS/, then split 80 to 20.

    They are brought to squares (shorter side to `size`, middle cut out). If both splits take at most RESIDENT_BYTES
    that way they are decoded now and stay in memory; otherwise the files are checked now and decoded when needed.

    Masks of their objects are PNG files in PATH/masks/, under the names that the images have below PATH/, or below
    PATH/images/ if there is such a folder; they are checked now and decoded when needed.
    """
    root, side = Path(request.path).expanduser(), request.size or 224
    train, test, notes = list_splits(root)
    part = train if request.split == "train" else test
    where = f"folder {root} ({request.split})"
    masks, told = find_masks((train, test))
    notes += told
    if request.split == "train":
        for note in notes:
            log.warning(note)
    paths = part.paths
    labels = torch.tensor([k for k, files in enumerate(part.found.values()) for _ in files], dtype=torch.int64)
    number = len(train.paths) + len(test.paths)
    pixels, faults = _take_in(paths, side, 3 * side * side * number <= RESIDENT_BYTES, request.damaged)
    decoded = (pixels, faults) if request.split == "train" and isinstance(pixels, Tensor) else None
    if faults:
        notes += (_tell(list(faults.values()), where, request.damaged, "left out {} damaged file(s)", MEND),)
        keep = torch.tensor([row for row in range(len(labels)) if row not in faults], dtype=torch.int64)
        pixels, labels = pixels[keep] if isinstance(pixels, Tensor) else pixels.take(keep), labels[keep]
        check_every_class(labels, list(part.found), where)
        paths = tuple(path for row, path in enumerate(paths) if row not in faults)
    objects, told = _masks_of(paths, masks, side, where, request.damaged)
    mean, std = train_statistics((train.paths, side), lambda: _sample(train.paths, side, decoded))
    return ImageSet(
        pixels=pixels,
        labels=labels,
        classes=tuple(part.found),
        mean=mean,
        std=std,
        masks=objects,
        notes=notes + told,
    )


def _masks_of(
    paths: tuple[str, ...], masks: Mapping[str, str], side: int, where: str, damaged: Literal["refuse", "skip"]
) -> tuple[MaskFiles | None, tuple[str, ...]]:
    """The masks of these images, None if not one has any, and notes on what is missing. Masks that don't fit are
    refused, or their images go without."""
    if not masks:
        return None, ()
    found, notes = MaskFiles(paths, tuple(masks.get(path, "") for path in paths), side), []
    faults = verify_masks(found, where)
    if faults:
        notes.append(_tell(list(faults.values()), where, damaged, "go without {} mask(s)", MEND_MASK))
        found = replace(found, paths=tuple("" if row in faults else path for row, path in enumerate(found.paths)))
    bare = [image for image, path in zip(paths, found.paths, strict=True) if not path]
    if bare:
        notes.append(f"{where}: {len(bare)} of {len(paths)} images have no mask, the first: {bare[0]}")
        log.warning(notes[-1])
    return found if len(bare) < len(paths) else None, tuple(notes)


def _take_in(
    paths: tuple[str, ...], side: int, resident: bool, damaged: Literal["refuse", "skip"]
) -> tuple[Tensor | Files, dict[int, str]]:
    """The images, decoded or as files, and what is wrong with the damaged ones. Before files are skipped every one is
    decoded once, since nothing can be left out of a running epoch."""
    if resident:
        return decode(paths, side)
    return Files(paths, side), verify(paths, thorough=damaged == "skip")


def _tell(faults: Sequence[str], where: str, damaged: Literal["refuse", "skip"], done: str, mend: str) -> str:
    """Refuse faulty files, or log what is done about them (`done`, with {} for their number) and return that as a
    note."""
    more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
    named = "; ".join(faults[:3]) + more
    if damaged == "refuse":
        raise UsageError(f"{where}: {named}; {mend}")
    note = f"{where}: {done.format(len(faults))}: {named}"
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


def masks_version(name: str) -> str | None:
    """What changes when masks of a data set come, go or are written anew, for caches: "" where it has none that are
    files; None where its files are not here."""
    key, _, place = name.partition(":")
    path = Path(place).expanduser()
    if key not in ("folder", "npz"):
        return ""
    try:
        if key == "folder":
            files = masks_below(path)
        else:
            with _open_npz(path) as arrays:
                files = [str(path)] if {"train_masks", "test_masks"} & set(arrays.files) else []
        seen = [(os.path.relpath(file, path), os.stat(file).st_size, os.stat(file).st_mtime_ns) for file in files]
    except (OSError, UsageError):  # whoever reads the data will say what is wrong
        return None
    return hashlib.sha256(repr(sorted(seen)).encode()).hexdigest()[:12] if seen else ""


# --------------------------------------------------------------------------------------------------------------- npz


def npz(request: Request) -> ImageSet:
    """Arrays of one file: train_images, test_images uint8 (N, H, W, 3) or (N, H, W); train_labels, test_labels whole
    numbers (N,); class_names, texts; and, if they are there, train_masks, test_masks, bool or whole numbers
    (N, H, W), above 0 on the object. Never unpickled."""
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
    masks = _masks_in(arrays, request.split, images, path)
    if request.size:
        images = resize(images, request.size)
        masks = None if masks is None else resize(masks[:, None], request.size, "nearest-exact")[:, 0]
    return ImageSet(pixels=images, labels=labels, classes=classes, mean=mean, std=std, masks=masks)


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


def _masks_in(arrays: np.lib.npyio.NpzFile, split: Split, images: Tensor, path: Path) -> Tensor | None:
    """Masks of a split as uint8 (N, H, W), 1 on the object; None where the file has none."""
    key = f"{split}_masks"
    if key not in arrays.files:
        return None
    array, expected = _array(arrays, key, path), (len(images), *images.shape[2:])
    if array.dtype.kind not in "biu":
        raise UsageError(
            f"{path}: {key}: masks must be bool or whole numbers, above 0 on the object, got {array.dtype}"
        )
    if array.shape != expected:
        raise UsageError(f"{path}: {key}: expected one mask an image, shape {expected}, got shape {array.shape}")
    check_background(array > 0, f"{path}: {key}")
    return torch.from_numpy((array > 0).astype(np.uint8))


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
