"""An example of somebody's own data: a folder of JPEG files, one folder a class, cut from the embedded photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from workbench.config import UsageError
from workbench.data import DATASETS, load
from workbench.data.imageset import Split


def example_folder(path: str | Path, per_class: int = 60, classes: int = 4, size: int = 48) -> Path:
    """Write `train/CLASS/*.jpg` and, a third as many, `val/CLASS/*.jpg`, but nothing over; gives the folder.

    classes: the first so many of the data set `photos`; per_class: at most as many as it has. UsageError for numbers
    that it has not, and where the folder holds something else.
    """
    path = Path(path)
    names = load("photos", "train", size=size).classes
    _check(path, per_class, classes, names)
    splits: tuple[tuple[str, Split, int], ...] = (("train", "train", per_class), ("val", "test", -(-per_class // 3)))
    for split, source, count in splits:
        images = load("photos", source, size=size)
        for k in range(classes):
            place = path / split / images.classes[k]
            place.mkdir(parents=True, exist_ok=True)
            rows = (images.labels == k).nonzero()[:count, 0]
            for number, picture in zip(range(count), images.pictures(rows).numpy(), strict=False):
                file = place / f"{number:03d}.jpg"
                if not file.exists():
                    part = file.with_suffix(".part")  # a file is there whole or not at all
                    Image.fromarray(picture.transpose(1, 2, 0)).save(part, format="jpeg", quality=95)
                    part.replace(file)
    return path


def _check(path: Path, per_class: int, classes: int, names: Sequence[str]) -> None:
    most = DATASETS["photos"].train
    if per_class < 1 or (most is not None and per_class > most // len(names)):
        raise UsageError(f"per_class must be 1 to {(most or 0) // len(names)}, got {per_class}")
    if not 2 <= classes <= len(names):
        raise UsageError(f"classes must be 2 to {len(names)}, got {classes}")
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file; name a new folder for the example")
    ours = {place / name for place in (path / "train", path / "val") for name in names}
    foreign = [p for p in [*path.glob("*"), *path.glob("*/*")] if p not in ours and p.name not in ("train", "val")]
    if foreign:
        raise UsageError(f"{path} holds something else ({foreign[0].name}); name a new folder for the example")
