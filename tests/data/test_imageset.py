"""ImageSet: checks, statistics, resizing, choosing rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.config import UsageError
from workbench.data.imageset import ImageSet, check_every_class, resize, statistics


def make(n: int = 12, classes: int = 3, **changes: object) -> ImageSet:
    """Image = its row number everywhere; labels in blocks."""
    settings: dict[str, object] = {
        "pixels": torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 3, 8, 6).contiguous(),
        "labels": torch.arange(n) * classes // n,
        "classes": tuple("abcdefgh"[:classes]),
        "mean": (0.5,) * 3,
        "std": (0.2,) * 3,
    }
    return ImageSet(**{**settings, **changes})


def test_size_and_text() -> None:
    found = make(name="mine", split="test")
    assert (found.size, found.channels, len(found), found.resident) == ((8, 6), 3, 12, True)
    assert repr(found) == "mine/test: 12 images of 3x8x6, 3 classes"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels": torch.zeros(12, 3, 8, 6)}, r"images must be uint8 \(0 to 255\), got float32"),
        ({"pixels": torch.zeros(12, 8, 6, 3, dtype=torch.uint8)}, r"must be \(N, C, H, W\).*got shape \(12, 8, 6, 3\)"),
        ({"pixels": torch.zeros(12, 8, 6, dtype=torch.uint8)}, r"got shape \(12, 8, 6\)"),
        ({"pixels": torch.zeros(0, 3, 8, 6, dtype=torch.uint8)}, "no images at all"),
        ({"labels": torch.zeros(12)}, r"labels must be whole numbers \(int64\), got float32"),
        ({"labels": torch.zeros(11, dtype=torch.int64)}, r"expected one label an image, shape \(12,\), got.*\(11,\)"),
        ({"labels": torch.full((12,), 3)}, r"labels must be from 0 to 2 \(3 classes\), got 3 to 3"),
        ({"labels": torch.full((12,), -1)}, "got -1 to -1"),
        ({"mean": (0.5,)}, "expected 3 means and standard deviations, one a channel, got 1 and 3"),
        ({"masks": torch.zeros(12, 6, 8, dtype=torch.uint8)}, r"masks must be uint8 of shape \(12, 8, 6\)"),
        ({"masks": torch.zeros(12, 8, 6)}, "masks must be uint8.*got float32"),
    ],
)
def test_wrong_parts_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        make(**changes)
    assert "\n" not in str(caught.value)


def test_empty_classes_are_named() -> None:
    with pytest.raises(UsageError, match="no image of class 'b', 'd'; add some"):
        check_every_class(torch.tensor([0, 2, 2]), "abcd", "x")
    check_every_class(torch.tensor([0, 2, 1]), "abc", "x")


def test_statistics_of_unlike_channels() -> None:
    images = torch.tensor([[[[0, 255]], [[51, 51]]], [[[0, 255]], [[102, 102]]]], dtype=torch.uint8)
    mean, std = statistics(images)
    np.testing.assert_allclose(mean, [0.5, 0.3])
    np.testing.assert_allclose(std, [0.5, 0.1])


def test_flat_images_get_a_deviation_that_can_divide() -> None:
    assert statistics(torch.full((2, 1, 3, 3), 7, dtype=torch.uint8)) == ((7 / 255,), (1 / 255,))


def test_statistics_go_on_over_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.arange(7 * 4, dtype=torch.uint8).view(7, 1, 2, 2)
    whole = statistics(images)
    monkeypatch.setattr("workbench.data.imageset.CHUNK", 3)
    assert statistics(images) == whole


@pytest.mark.parametrize(("shape", "side"), [((40, 40), 16), ((40, 60), 16), ((61, 33), 24), ((12, 17), 32)])
@pytest.mark.parametrize("channels", [1, 3])
def test_resize_agrees_with_pillow(shape: tuple[int, int], side: int, channels: int) -> None:
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(rough).resize(shape[::-1], Image.Resampling.BICUBIC))[..., :channels]
    images = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None]
    scale = side / min(shape)
    h, w = (max(side, round(n * scale)) for n in shape)
    top, left = (h - side) // 2, (w - side) // 2
    for channel in range(channels):
        scaled = Image.fromarray(picture[..., channel]).resize((w, h), Image.Resampling.BICUBIC)
        expected = np.asarray(scaled)[top : top + side, left : left + side].astype(int)
        assert np.abs(resize(images, side)[0, channel].numpy().astype(int) - expected).max() <= 1


def test_resize_returns_what_fits_already() -> None:
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    assert resize(images, 8) is images


def test_pictures_subset_and_showcase() -> None:
    masks = torch.arange(12, dtype=torch.uint8).view(12, 1, 1).expand(12, 8, 6).contiguous()
    found = make(masks=masks)
    assert found.pictures([7, 2])[:, 0, 0, 0].tolist() == [7, 2]
    part = found.subset([9, 0, 4])
    assert part.images[:, 0, 0, 0].tolist() == part.masks[:, 0, 0].tolist() == [9, 0, 4]
    assert part.labels.tolist() == [2, 0, 1]
    assert found.showcase(7).tolist() == [0, 4, 8, 1, 5, 9, 2]
    assert len(found.showcase(99)) == 12


def test_pictures_are_a_copy() -> None:
    found = make()
    found.pictures([0]).fill_(200)
    assert found.images[0].max() == 0


def test_replace_keeps_the_checks() -> None:
    with pytest.raises(UsageError, match="labels must be from 0 to 0"):
        replace(make(), classes=("a",))
