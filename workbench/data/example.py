"""An example of somebody's own data: a folder of JPEG files, one folder a class, cut from the embedded photographs."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from workbench.config import UsageError
from workbench.data import load
from workbench.data.imageset import Split


def example_folder(path: str | Path, per_class: int = 60, classes: int = 4, size: int = 48) -> Path:
    """Write `train/CLASS/*.jpg` and, a third as many, `val/CLASS/*.jpg`, but nothing over; gives the folder.

    classes: the first so many of the data set `photos`. UsageError where the folder holds something else.
    """
    path = Path(path)
    if path.exists() and {p.name for p in path.iterdir()} - {"train", "val"}:
        raise UsageError(f"{path} holds something else; name a new folder for the example")
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
                    Image.fromarray(picture.transpose(1, 2, 0)).save(file, quality=95)
    return path
