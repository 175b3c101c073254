"""Digits and photos: the real images, splits that share nothing."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.config import UsageError
from workbench.data import embedded as E
from workbench.data import load, whole_photos
from workbench.draw import Draw


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    original = load_digits()
    for split in ("train", "test"):
        found = load("digits", split)
        rows = E.digit_rows(original.target, split)
        np.testing.assert_array_equal(found.labels, original.target[rows])
        blocks = found.images.double().view(-1, 8, 4, 8, 4).mean((2, 4)) * (16 / 255)
        correlation = np.corrcoef(blocks.flatten(), original.images[rows].flatten())[0, 1]
        assert correlation > 0.98  # every digit is where it was; scaling only smooths
        assert found.images.max() == 255 and found.images.min() == 0


def test_digits_are_split_by_class_and_share_no_row() -> None:
    labels = np.random.default_rng(3).integers(0, 10, 1797)
    train, test = (E.digit_rows(labels, split) for split in ("train", "test"))
    assert sorted([*train, *test]) == list(range(1797))
    for k in range(10):
        assert (labels[test] == k).sum() == round((labels == k).sum() / 5)
    assert not np.array_equal(test, np.arange(len(test))), "the first rows are not a random fifth"


@pytest.mark.parametrize("size", [(451, 300), (64, 64), (101, 199)])
@pytest.mark.parametrize(("side", "sides"), [(16, E.SIDES), (96, E.SIDES), (32, (0.2, 0.9))])
def test_no_pixel_of_a_test_tile_reaches_a_train_crop(
    size: tuple[int, int], side: int, sides: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paint the tiles of one split white on black: the crops of the other one stay black to the last pixel, whether
    they are scaled up or down, and even if they were to be larger than a tile."""
    monkeypatch.setattr(E, "SIDES", sides)
    for painted, cropped in (("test", "train"), ("train", "test")):
        photo = Image.new("RGB", size)
        for box in E.tiles(*size, painted):
            photo.paste("white", box)
        crops = np.stack(E.cut(photo, cropped, 200, side, Draw(0)))
        assert crops.max() == 0
        assert np.stack(E.cut(photo, painted, 20, side, Draw(0))).min() == 255


@pytest.mark.parametrize("size", [(451, 300), (64, 64), (101, 199)])
def test_tiles_cover_a_photograph_once(size: tuple[int, int]) -> None:
    painted = np.zeros(size[::-1], int)
    for split in ("train", "test"):
        for left, top, right, bottom in E.tiles(*size, split):
            painted[top:bottom, left:right] += 1
    assert (painted == 1).all()
    assert len(E.tiles(*size, "test")) * 2 == len(E.tiles(*size, "train"))


def test_crops_have_many_sides_and_lie_all_over() -> None:
    """A photograph whose red grows to the right and whose green grows downwards tells where a crop was taken."""
    x, y = np.meshgrid(np.arange(256), np.arange(256))
    photo = Image.fromarray(np.stack([x, y, 0 * x], 2).astype(np.uint8))
    crops = np.stack(E.cut(photo, "train", 300, 32, Draw(0))).astype(float)
    spans = np.ptp(crops[..., 0], axis=(1, 2)) / 255
    low, high = E.SIDES
    assert low * 0.8 < spans.min() < low * 1.2 and high * 0.85 < spans.max() <= high * 1.02
    middles = crops.mean((1, 2))[:, :2]
    for left, top, right, bottom in E.tiles(256, 256, "train"):
        inside = (middles > [left, top]).all(1) & (middles < [right, bottom]).all(1)
        assert 25 < inside.sum() < 80  # 50 on average


def test_photo_classes_take_turns_and_look_like_their_photograph() -> None:
    found = load("photos", "train")
    assert found.labels[:20].tolist() == [*range(10), *range(10)]
    for k, name in enumerate(found.classes):
        whole = np.asarray(E.open_photo(name)).reshape(-1, 3).mean(0)
        crops = found.images[found.labels == k].double().mean((0, 2, 3)).numpy()
        assert np.abs(whole - crops).max() < 32, name


def test_large_photos_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(E, "CROPS", {"train": 8, "test": 4})
    assert E.crops("train", 64).shape == (80, 3, 64, 64)
    assert E.crops("test", 96).shape == (10, 3, 96, 96)


def test_whole_photos() -> None:
    images, names = whole_photos(100)
    assert images.shape == (10, 3, 100, 100) and images.dtype == torch.uint8
    assert names == load("photos", "test").classes
    from skimage import data

    shown = Image.fromarray(data.coffee()).crop((100, 0, 500, 400)).resize((100, 100), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(images[names.index("coffee")].permute(1, 2, 0), shown)


def test_a_package_without_the_photograph_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(E.PHOTOS, "cat", ("skimage", "data/no_such_cat.png"))
    E.open_photo.cache_clear()
    with pytest.raises(UsageError, match=r"installed skimage has no data/no_such_cat.png"):
        E.open_photo("cat")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"installed sklearn has no"):
        load("digits", "test")
