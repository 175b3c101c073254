"""folder:PATH: any layout, any kind of picture, and what is wrong with a folder in one line."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.config import UsageError
from workbench.data import files, load
from workbench.data.decode import check, open_rgb
from workbench.data.layout import list_splits


def picture(path: Path, colour: tuple[int, int, int] = (10, 20, 30), size: tuple[int, int] = (12, 9)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def two_splits(root: Path, test: str = "test", each: int = 3) -> Path:
    """Red value = class, green = split, blue = number; class b has one image more."""
    for s, split in enumerate(("train", test)):
        for k, name in enumerate("ab"):
            for n in range(each + k):
                picture(root / split / name / f"{n}.png", (100 * k, 100 * s, 10 * n))
    return root


def truncate(path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.fixture(params=[True, False], ids=["resident", "on disk"])
def resident(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:
        monkeypatch.setattr(files, "RESIDENT_BYTES", 0)
    return request.param


# ---------------------------------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize("test", ["test", "val"])
def test_folders_with_splits(tmp_path: Path, test: str, resident: bool) -> None:
    root = two_splits(tmp_path, test)
    for split, green in (("train", 0), ("test", 100)):
        found = load(f"folder:{root}", split, size=8)
        assert found.resident == resident
        assert found.classes == ("a", "b") and found.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
        shown = found.pictures(range(7))
        assert shown.shape == (7, 3, 8, 8)
        assert shown[:, :, 4, 4].tolist() == [[100 * k, green, 10 * n] for k in (0, 1) for n in range(3 + k)]
        assert found.notes == ()


def test_the_default_size_is_224(tmp_path: Path) -> None:
    assert load(f"folder:{two_splits(tmp_path)}", "test").size == (224, 224)


def test_statistics_are_those_of_the_train_images(tmp_path: Path, resident: bool) -> None:
    root = two_splits(tmp_path)
    for split in ("train", "test"):
        found = load(f"folder:{root}", split, size=8)
        red, blue = [0] * 3 + [100] * 4, [0, 10, 20, 0, 10, 20, 30]
        np.testing.assert_allclose(found.mean, np.array([np.mean(red), 0, np.mean(blue)]) / 255, atol=1e-9)
        np.testing.assert_allclose(found.std, np.array([np.std(red), 1, np.std(blue)]) / 255, atol=1e-9)


def test_folders_without_splits_are_divided_by_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for k, (name, n) in enumerate((("a", 20), ("b", 11), ("c", 2))):
        for i in range(n):
            picture(tmp_path / name / f"{i}.png", (k, i, 0))
    with caplog.at_level(logging.WARNING):
        train, test = (load(f"folder:{tmp_path}", split, size=8) for split in ("train", "test"))
    assert np.bincount(train.labels).tolist() == [16, 9, 1] and np.bincount(test.labels).tolist() == [4, 2, 1]
    pixels = [tuple(p[:2]) for found in (train, test) for p in found.images[:, :, 0, 0].tolist()]
    assert sorted(pixels) == [(k, i) for k, n in enumerate((20, 11, 2)) for i in range(n)]
    assert [i for k, i in pixels[26:] if k == 0] != sorted(range(20), key=str)[:4], "not a random fifth"
    assert "split 80 to 20" in caplog.text and "split 80 to 20" in train.notes[0]
    again = load(f"folder:{tmp_path}", "test", size=8)
    assert torch.equal(again.images, test.images)


def test_the_division_does_not_depend_on_where_the_folder_lies(tmp_path: Path) -> None:
    names = []
    for root in (tmp_path / "here", tmp_path / "far" / "away"):
        for i in range(10):
            picture(root / "a" / f"{i}.png")
            picture(root / "b" / f"{i}.png")
        _, test, _ = list_splits(root)
        names.append([Path(path).relative_to(root).as_posix() for path in test.paths])
    assert names[0] == names[1]


def test_what_is_no_image_is_passed_over_and_subfolders_are_entered(tmp_path: Path) -> None:
    root = two_splits(tmp_path)
    picture(root / "train" / "a" / "deep" / "er" / "x.JPG".replace("JPG", "jpg"), (0, 0, 250))
    Image.new("RGB", (9, 9)).save(root / "train" / "a" / "BIG.PNG")
    for stray in (
        "train/a/notes.txt",
        "train/a/.hidden.png",
        "train/a/.cache/y.png",
        "train/.git/z.png",
        "train/x.csv",
    ):
        (root / stray).parent.mkdir(exist_ok=True)
        (root / stray).write_text("not an image")
    found = load(f"folder:{root}", "train", size=8)
    assert np.bincount(found.labels).tolist() == [5, 4] and found.classes == ("a", "b")


# ----------------------------------------------------------------------------------------------------- kinds of files

HALF = np.tile(np.repeat([[0, 255]], 8, axis=1), (16, 1)).astype(np.uint8)  # left black, right white


def alpha(mode: str) -> Image.Image:
    """Left half opaque red (or grey), right half fully transparent with black beneath."""
    opaque = Image.fromarray(255 - HALF)
    if mode == "LA":
        return Image.merge("LA", [Image.fromarray(HALF * 0 + 76), opaque])
    red = Image.merge("RGBA", [Image.fromarray(HALF * 0 + 255), *[Image.fromarray(HALF * 0)] * 2, opaque])
    return red.quantize(4) if mode == "P" else red


@pytest.mark.parametrize(
    ("name", "image", "left", "right"),
    [
        ("grey.png", Image.fromarray(HALF), (0, 0, 0), (255, 255, 255)),
        ("bits.png", Image.fromarray(HALF).convert("1"), (0, 0, 0), (255, 255, 255)),
        ("deep.png", Image.fromarray(HALF.astype(np.uint16) * 128 + 5), (0, 0, 0), (127, 127, 127)),
        ("alpha.png", alpha("RGBA"), (255, 0, 0), (255, 255, 255)),
        ("grey-alpha.png", alpha("LA"), (76, 76, 76), (255, 255, 255)),
        ("palette.png", Image.fromarray(HALF).convert("RGB").quantize(8), (0, 0, 0), (255, 255, 255)),
        ("palette-alpha.png", alpha("P"), (255, 0, 0), (255, 255, 255)),
        ("print.jpg", Image.new("CMYK", (16, 16), (0, 255, 255, 0)), (255, 0, 0), (255, 0, 0)),
        ("moving.gif", Image.fromarray(HALF), (0, 0, 0), (255, 255, 255)),
    ],
)
def test_every_mode_becomes_rgb(tmp_path: Path, name: str, image: Image.Image, left: tuple, right: tuple) -> None:
    image.save(tmp_path / name)
    shown = np.asarray(open_rgb(tmp_path / name)).astype(int)
    assert shown.shape == (16, 16, 3)
    assert np.abs(shown[8, 2] - left).max() <= 3 and np.abs(shown[8, 13] - right).max() <= 3


def test_cameras_that_were_held_upright(tmp_path: Path) -> None:
    """EXIF orientation 6: the stored picture must be turned clockwise by a quarter to be seen as it was taken."""
    stored = Image.fromarray(HALF)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(tmp_path / "phone.jpg", exif=exif, quality=95)
    shown = np.asarray(open_rgb(tmp_path / "phone.jpg")).astype(int)[..., 0]
    np.testing.assert_allclose(shown, np.rot90(HALF, -1), atol=3)


@pytest.mark.parametrize("size", [(40, 24), (24, 40)])
def test_the_middle_is_cut_out(tmp_path: Path, size: tuple[int, int]) -> None:
    root = two_splits(tmp_path, each=1)
    wide = Image.new("RGB", size, "white")
    wide.paste("black", ((size[0] - 24) // 2, (size[1] - 24) // 2, (size[0] + 24) // 2, (size[1] + 24) // 2))
    wide.save(root / "train" / "a" / "0.png")
    image = load(f"folder:{root}", "train", size=12).images[0]
    assert image[:, 1:-1, 1:-1].max() == 0 and image.max() < 40  # its edge is scaled together with what lies beyond


def test_large_jpegs_are_read_smaller_but_look_the_same(tmp_path: Path) -> None:
    y, x = np.mgrid[:640, :960]
    smooth = np.stack([128 + 100 * np.sin(x / 90), 128 + 100 * np.cos(y / 70), x / 4], 2).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "large.jpg", quality=95)
    small = open_rgb(tmp_path / "large.jpg", at_least=100)
    assert 100 <= min(small.size) <= 200
    whole = Image.fromarray(smooth).resize(small.size, Image.Resampling.BOX)
    assert np.abs(np.asarray(small).astype(int) - np.asarray(whole)).mean() < 3


# ---------------------------------------------------------------------------------------------------------- mistakes


def test_damaged_images_are_named_and_refused(tmp_path: Path, resident: bool) -> None:
    root = two_splits(tmp_path)
    truncate(root / "train" / "b" / "1.png")
    (root / "train" / "a" / "2.png").write_text("not an image at all")
    with pytest.raises(UsageError) as caught:
        load(f"folder:{root}", "train", size=8)
    text = str(caught.value)
    assert "b/1.png is damaged" in text and "a/2.png is damaged or no image (not a format" in text
    assert text.endswith("or leave damaged files out: damaged='skip' (--damaged skip)") and "\n" not in text
    load(f"folder:{root}", "test", size=8)


def test_damaged_images_are_skipped_on_request(
    tmp_path: Path, resident: bool, caplog: pytest.LogCaptureFixture
) -> None:
    root = two_splits(tmp_path)
    truncate(root / "train" / "a" / "1.png")
    with caplog.at_level(logging.WARNING):
        found = load(f"folder:{root}", "train", size=8, damaged="skip")
    assert found.labels.tolist() == [0, 0, 1, 1, 1, 1]
    assert found.pictures(range(6))[:, 2, 0, 0].tolist() == [0, 20, 0, 10, 20, 30]
    assert "left out 1 damaged file(s)" in found.notes[0] and "a/1.png" in caplog.text
    assert load(f"folder:{root}", "test", size=8, damaged="skip").mean == found.mean


def test_many_damaged_images_are_told_in_short(tmp_path: Path) -> None:
    root = two_splits(tmp_path, each=6)
    for n in range(6):
        (root / "train" / "b" / f"{n}.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"0\.png.*1\.png.*2\.png.*; and 3 more; mend") as caught:
        load(f"folder:{root}", "train", size=8)
    assert "3.png" not in str(caught.value)


def test_a_class_of_damaged_images_only_is_empty(tmp_path: Path) -> None:
    root = two_splits(tmp_path)
    for n in range(3):
        truncate(root / "train" / "a" / f"{n}.png")
    with pytest.raises(UsageError, match="no image of class 'a'"):
        load(f"folder:{root}", "train", size=8, damaged="skip")


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "bmp"])
def test_the_quick_check_sees_a_cut_end(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    check(str(path))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 9 // 10])
    with pytest.raises(UsageError, match="is damaged"):
        check(str(path))


def test_the_quick_check_sees_a_changed_byte_of_a_png_and_lets_jpegs_with_a_trailer_pass(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is damaged"):
        check(str(path))
    camera = picture(tmp_path / "camera.jpg", size=(64, 64))
    camera.write_bytes(camera.read_bytes() + bytes(500))
    check(str(camera))


def test_pixels_in_floating_point_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(UsageError, match="floating-point"):
        open_rgb(tmp_path / "x.tif")


def empty_class(root: Path) -> None:
    two_splits(root)
    (root / "train" / "c").mkdir()
    (root / "test" / "c").mkdir()


def no_images(root: Path) -> None:
    for name in ("train/a", "test/a"):
        (root / name).mkdir(parents=True)


def no_classes(root: Path) -> None:
    picture(root / "x.png")


def no_test(root: Path) -> None:
    picture(root / "train" / "a" / "x.png")


def unlike(root: Path) -> None:
    two_splits(root)
    picture(root / "test" / "c" / "x.png")


def lonely(root: Path) -> None:
    picture(root / "a" / "x.png")
    picture(root / "b" / "x.png")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (empty_class, r"no images in class folder .*train/c; add some or remove the folder"),
        (no_images, r"no images at all in .*train; known endings: \.jpg"),
        (no_classes, r"no class folders in .*; expected images as .*CLASS/any.jpg"),
        (no_test, r"has train/ but no test/ or val/; add one, or move"),
        (unlike, r"train/ and test/ must have the same class folders, they differ in \['c'\]"),
        (lonely, r"class folder .*a has one image; a train and a test split need two"),
    ],
)
def test_a_folder_that_is_no_data_set(tmp_path: Path, make: object, message: str) -> None:
    make(tmp_path)
    for split in ("train", "test"):
        with pytest.raises(UsageError, match=message) as caught:
            load(f"folder:{tmp_path}", split)
        assert "\n" not in str(caught.value)
