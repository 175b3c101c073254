"""The example of somebody's own images: a folder that loads as one, and that overwrites nobody's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.config import UsageError
from workbench.data import bar as module
from workbench.data import load
from workbench.data.bar import bar
from workbench.data.example import example_folder


def test_it_loads_as_a_folder_of_images(tmp_path: Path) -> None:
    made = example_folder(tmp_path / "mine", per_class=7, classes=3, size=24)
    train, test = (load(f"folder:{made}", split, size=24) for split in ("train", "test"))
    assert train.classes == test.classes and set(train.classes) == set(load("photos", "train").classes[:3])
    assert torch.bincount(train.labels).tolist() == [7, 7, 7] and torch.bincount(test.labels).tolist() == [3, 3, 3]
    name = train.classes[0]
    photos = load("photos", "train", size=24)
    row = (photos.labels == photos.classes.index(name)).nonzero()[0]
    wanted = photos.pictures(row)[0].numpy().transpose(1, 2, 0).astype(float)
    found = np.asarray(Image.open(made / "train" / name / "000.jpg"), float)
    assert found.shape == (24, 24, 3) and np.abs(found - wanted).mean() < 12  # JPEG's loss


def test_a_second_call_writes_nothing_over_and_completes_what_is_missing(tmp_path: Path) -> None:
    made = example_folder(tmp_path, per_class=3, classes=2, size=16)
    files = sorted(made.rglob("*.jpg"))
    files[0].write_bytes(b"mine")
    files[1].unlink()
    example_folder(tmp_path, per_class=3, classes=2, size=16)
    assert sorted(made.rglob("*.*")) == files and files[0].read_bytes() == b"mine"


@pytest.mark.parametrize("place", ["notes.txt", "train/my_cats/1.jpg", "val/other.txt"])
def test_somebody_elses_folder_is_left_alone(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("mine")
    with pytest.raises(UsageError, match=r"holds something else .*; name a new folder"):
        example_folder(tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / place]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"per_class": 0}, "per_class must be 1 to 200, got 0"),
        ({"per_class": 201}, "per_class must be 1 to 200, got 201"),
        ({"classes": 11}, "classes must be 2 to 10, got 11"),
        ({"classes": 1}, "classes must be 2 to 10, got 1"),
    ],
)
def test_numbers_that_the_photographs_have_not(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        example_folder(tmp_path / "new", **settings)
    assert not (tmp_path / "new").exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file; name a new folder"):
        example_folder(tmp_path / "file")


def test_bars_are_hidden_in_the_processes_of_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(bar(range(3))) == [0, 1, 2] and not bar(total=3).disable
    monkeypatch.setattr(module.multiprocessing, "parent_process", lambda: object())
    hidden = bar(range(3), "reading")
    assert hidden.disable and list(hidden) == [0, 1, 2]
