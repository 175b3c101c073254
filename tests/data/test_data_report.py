"""What the command line says about data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workbench.config import UsageError
from workbench.data import DATASETS, report


def test_the_table_has_every_set_and_says_what_is_missing(tmp_path: Path) -> None:
    frame = report.frame(tmp_path)
    assert [name.partition(":")[0] for name in frame["name"]] == list(DATASETS)
    ready = dict(zip(frame["name"], frame["ready"], strict=True))
    assert ready["digits"] == ready["folder:PATH"] == "yes"
    assert ready["cifar10"] == "workbench data --download cifar10"
    text = report.table(tmp_path)
    assert all(name in text for name in DATASETS) and max(map(len, text.splitlines())) < 200


def test_a_set_that_is_there_is_described_in_full() -> None:
    text = report.describe("digits")
    assert "1,438 images of 1x32x32, 10 classes" in text and "359 images" in text
    assert "CC BY 4.0" in text and "0, 1, 2" in text


def test_a_set_that_is_missing_is_described_with_how_to_get_it(tmp_path: Path) -> None:
    text = report.describe("stl10", tmp_path)
    assert "workbench data --download stl10" in text and str(tmp_path) in text.replace("\n             ", "")


def test_sets_of_the_callers_own(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for n in range(5):
            Image.fromarray(np.full((9, 9), n, np.uint8)).save(tmp_path / name / f"{n}.png")
    text = report.describe(f"folder:{tmp_path}")
    assert "8 images of 3x224x224, 2 classes" in text and "split 80 to 20" in text
    assert "as npz:PATH" in report.describe("npz")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, "which data set. can be downloaded: cifar10, cifar100, fashion_mnist, stl10"),
        ("digits", "digits needs no download; can be downloaded: cifar10"),
        ("stl", "unknown data set 'stl'; did you mean 'stl10'"),
    ],
)
def test_fetching_what_can_not_be_fetched(name: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        report.fetch(name)


def test_unknown_sets() -> None:
    with pytest.raises(UsageError, match="did you mean 'shapes'"):
        report.describe("shape")
