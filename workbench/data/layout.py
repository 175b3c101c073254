"""What lies where in somebody's folder of images: classes, splits, and the masks that belong to the images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.config import UsageError

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
TEST_NAMES = ("test", "val", "valid", "validation")
IMAGES, MASKS, MASK_ENDING = "images", "masks", ".png"

Found = dict[str, list[str]]
"""Image files by class."""


@dataclass(frozen=True)
class Part:
    """The image files of one split. What an image is called below `images`, its mask is called below `masks`."""

    found: Found
    images: Path
    masks: Path | None

    @property
    def paths(self) -> tuple[str, ...]:
        """All files, class by class."""
        return tuple(path for files in self.found.values() for path in files)


# ------------------------------------------------------------------------------------------------------------ images


def list_splits(root: Path) -> tuple[Part, Part, tuple[str, ...]]:
    """The files of the train and of the test split, and notes on how the split was made."""
    if not root.is_dir():
        raise UsageError(f"no folder at {root.absolute()}; expected images as {_layout(root)}")
    images, masks = _trees(root)
    below = _folders(images)
    test = next((name for name in TEST_NAMES if name in below), None)
    if "train" in below and test:
        train_part, test_part = _part(images, masks, "train"), _part(images, masks, test)
        if list(train_part.found) != list(test_part.found):
            odd = sorted(set(train_part.found) ^ set(test_part.found))
            raise UsageError(f"{images}: train/ and {test}/ must have the same class folders, they differ in {odd}")
        return train_part, test_part, ()
    if "train" in below and _folders(images / "train"):
        raise UsageError(f"{images} has train/ but no test/ or val/; add one, or move the class folders up to {images}")
    train_files, test_files = _divide(_by_class(images), images)
    note = f"{images} has no train/ and test/: every class is split 80 to 20 by a hash of the file names"
    return Part(train_files, images, masks), Part(test_files, images, masks), (note,)


def _trees(folder: Path) -> tuple[Path, Path | None]:
    """Where the images below a folder are and where their masks: masks/ beside images/, or beside what is there."""
    names = _folders(folder)
    masks = folder / MASKS if (folder / MASKS).is_dir() else None
    return folder / IMAGES if IMAGES in names and (masks or len(names) == 1) else folder, masks


def _part(images: Path, masks: Path | None, split: str) -> Part:
    """A split; it may have masks/ of its own."""
    own_images, own_masks = _trees(images / split)
    found = _by_class(own_images)
    return Part(found, own_images, own_masks) if own_masks else Part(found, images, masks)


def _by_class(folder: Path) -> Found:
    """Image files below each class folder, sorted; hidden files and folders are left out."""
    names = _folders(folder)
    if not names:
        raise UsageError(f"no class folders in {folder.absolute()}; expected images as {_layout(folder)}")
    found = {name: _files(folder / name) for name in names}
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
    """Folders of splits or classes; masks/ is neither."""
    names = (entry.name for entry in os.scandir(folder) if entry.is_dir())
    return sorted(name for name in names if not name.startswith(".") and name != MASKS)


def _files(folder: Path) -> list[str]:
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


# ------------------------------------------------------------------------------------------------------------- masks


def find_masks(parts: Sequence[Part]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The mask file of every image of these splits that has one, and notes on files in masks/ that belong to none."""
    found: dict[str, str] = {}
    notes = []
    for masks in dict.fromkeys(part.masks for part in parts if part.masks):
        images = _by_key([part for part in parts if part.masks == masks])
        files = _files(masks)
        ours = {_key(path, masks): path for path in files if path.lower().endswith(MASK_ENDING)}
        ours = {key: path for key, path in ours.items() if key in images}
        if not ours:
            key, image = next(iter(images.items()))
            raise UsageError(
                f"{masks} has no mask of any image: expected {masks / key}{MASK_ENDING} for {image}, and so on; "
                f"a class can't be named {MASKS}"
            )
        found |= {images[key]: path for key, path in ours.items()}
        strays = sorted(set(files) - set(ours.values()))
        if strays:
            notes.append(
                f"{masks}: {len(strays)} file(s) are the mask of no image ({MASK_ENDING} of its name), "
                f"the first: {strays[0]}"
            )
    return found, tuple(notes)


def masks_below(root: Path) -> list[str]:
    """All files in masks/ of a data set and of its splits, without a look at its images."""
    images, masks = _trees(root)
    splits = [_trees(images / name)[1] for name in ("train", *TEST_NAMES) if (images / name).is_dir()]
    return [path for one in (masks, *splits) if one for path in _files(one)]


def _key(path: str, below: Path) -> str:
    """What an image shares with its mask: its place in its tree, without the ending."""
    return Path(path).relative_to(below).with_suffix("").as_posix()


def _by_key(parts: Sequence[Part]) -> dict[str, str]:
    """Images by what they share with their masks. Two that would share one mask are refused."""
    found: dict[str, str] = {}
    for part in parts:
        for path in part.paths:
            other = found.setdefault(_key(path, part.images), path)
            if other != path:
                raise UsageError(f"{other} and {path} would have the same mask; give them different names")
    return found
