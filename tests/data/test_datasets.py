"""The contract over the table of data sets: what every set promises, whatever it is made of."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.config import UsageError
from workbench.data import DATASETS, load
from workbench.data.imageset import ImageSet

EMBEDDED = ("digits", "photos", "shapes")


def write_idx(path: Path, array: np.ndarray) -> None:
    """The format of MNIST: magic number, sizes, bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(head + array.astype(np.uint8).tobytes())


def write_fashion_mnist(root: Path, zipped: bool = False) -> None:
    rng = np.random.default_rng(0)
    for part, n in (("train", 40), ("t10k", 20)):
        images, labels = rng.integers(0, 256, (n, 28, 28)), np.arange(n) % 10
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            path = root / "FashionMNIST" / "raw" / f"{part}-{kind}-ubyte"
            write_idx(path, array)
            if zipped:
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
                path.unlink()


def write_npz(path: Path, **changes: object) -> Path:
    rng = np.random.default_rng(0)
    arrays: dict[str, object] = {
        "train_images": rng.integers(0, 256, (12, 10, 14, 3), dtype=np.uint8),
        "train_labels": np.arange(12) % 3,
        "test_images": rng.integers(0, 256, (6, 10, 14, 3), dtype=np.uint8),
        "test_labels": np.arange(6) % 3,
        "class_names": np.array(["a", "b", "c"]),
    }
    arrays |= changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def write_folder(root: Path, per_class: int = 5) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for k in range(per_class):
                noise = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
                Image.fromarray(noise).save(root / split / name / f"{k}.png")
    return root


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[ImageSet, ImageSet]]:
    """Both splits of every kind of set that needs no network."""
    root = tmp_path_factory.mktemp("data")
    write_fashion_mnist(root)
    npz, folder = write_npz(root / "mine.npz"), write_folder(root / "mine")
    names = {**dict.fromkeys(EMBEDDED, None), "fashion_mnist": None, f"npz:{npz}": None, f"folder:{folder}": 16}
    return {
        name: (load(name, "train", size=size, root=root), load(name, "test", size=size, root=root))
        for name, size in names.items()
    }


KINDS = (*EMBEDDED, "fashion_mnist", "npz", "folder")


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest, sets: dict[str, tuple[ImageSet, ImageSet]]) -> tuple[ImageSet, ImageSet]:
    return next(found for name, found in sets.items() if name.partition(":")[0] == request.param)


def test_every_kind_of_set_is_under_test() -> None:
    untested = {"cifar10", "cifar100", "stl10"}  # read by the same code as fashion_mnist; test_downloads.py
    assert set(KINDS) | untested == set(DATASETS)


def test_images_and_labels(pair: tuple[ImageSet, ImageSet]) -> None:
    for split, found in zip(("train", "test"), pair, strict=True):
        assert found.split == split
        assert found.images.dtype == torch.uint8 and found.labels.dtype == torch.int64
        assert found.images.shape == (len(found), found.channels, *found.size)
        assert found.images.is_contiguous()
        assert sorted(set(found.labels.tolist())) == list(range(len(found.classes)))
        assert len(set(found.classes)) == len(found.classes)


def test_facts_come_from_the_table(pair: tuple[ImageSet, ImageSet]) -> None:
    for found in pair:
        entry = DATASETS[found.name.partition(":")[0]]
        assert (found.augment, found.licence, found.source) == (entry.augment, entry.licence, entry.source)
        assert len(found.licence) > 2 and len(found.source) > 2


@pytest.mark.parametrize("name", EMBEDDED)
def test_numbers_of_the_table(name: str, sets: dict[str, tuple[ImageSet, ImageSet]]) -> None:
    entry, (train, test) = DATASETS[name], sets[name]
    assert (entry.train, entry.test) == (len(train), len(test))
    assert (entry.classes, entry.channels) == (len(train.classes), train.channels)
    assert train.size == test.size == (entry.size, entry.size)


def test_statistics_are_those_of_the_train_split(pair: tuple[ImageSet, ImageSet]) -> None:
    train, test = pair
    pixels = train.images.permute(1, 0, 2, 3).flatten(1).numpy().astype(np.float64) / 255
    np.testing.assert_allclose(train.mean, pixels.mean(1), atol=1e-9)
    np.testing.assert_allclose(train.std, pixels.std(1), atol=1e-9)
    assert (test.mean, test.std) == (train.mean, train.std)


@pytest.mark.parametrize("name", EMBEDDED)
def test_loading_again_gives_the_same(name: str, sets: dict[str, tuple[ImageSet, ImageSet]]) -> None:
    for split, first in zip(("train", "test"), sets[name], strict=True):
        again = load(name, split)
        assert torch.equal(again.images, first.images) and torch.equal(again.labels, first.labels)


@pytest.mark.parametrize("name", EMBEDDED)
def test_statistics_of_the_test_split_alone(
    name: str, sets: dict[str, tuple[ImageSet, ImageSet]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.data.imageset._known", {})  # as in a process that loads the test split first
    assert load(name, "test").mean == sets[name][0].mean


@pytest.mark.parametrize("name", EMBEDDED)
def test_no_test_image_is_a_train_image(name: str, sets: dict[str, tuple[ImageSet, ImageSet]]) -> None:
    train, test = ({image.numpy().tobytes() for image in found.images} for found in sets[name])
    assert not train & test


@pytest.mark.parametrize(("name", "size"), [("digits", 16), ("photos", 64), ("shapes", 48)])
def test_other_sizes(name: str, size: int) -> None:
    found = load(name, "test", size=size)
    assert found.size == (size, size)
    assert len(found) == DATASETS[name].test


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "photo"}, r"unknown data set 'photo'; did you mean 'photos'\?"),
        ({"name": "folder"}, "folder needs a path: folder:PATH"),
        ({"name": "npz:"}, "npz needs a path: npz:PATH"),
        ({"name": "photos:here"}, "'photos' takes no path"),
        ({"split": "val"}, r"unknown split 'val' \(known: test, train\)"),
        ({"size": 4}, "size must be a whole number of pixels from 8 to 1024, got 4"),
        ({"size": 32.0}, "got 32.0"),
        ({"size": True}, "got True"),
        ({"damaged": "ignore"}, "unknown way with damaged files 'ignore'"),
        ({"name": "folder:/nowhere/at/all"}, "no folder at /nowhere/at/all"),
        ({"name": "npz:/nowhere/at.npz"}, "no file at /nowhere/at.npz"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load(**{"name": "digits", "split": "train", **arguments})
    assert "\n" not in str(caught.value)
