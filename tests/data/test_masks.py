"""Masks beside a folder's images: they lie on the objects whatever is done to the images, and what is wrong with them
is told in one line. In the made images the object is red, everything else blue."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.test_image_files import truncate
from workbench.analysis.inputs import examples
from workbench.config import UsageError
from workbench.data import ImageSet, files, load, report
from workbench.data.masks import MaskFiles, open_mask

LANDSCAPE, PORTRAIT = (60, 36), (36, 60)


def shape(size: tuple[int, int] = LANDSCAPE, turn: int = 0) -> np.ndarray:
    """(H, W) bool: an object that looks different from every side and is not in the middle."""
    y, x = np.mgrid[: size[1], : size[0]] / np.array(size[::-1])[:, None, None]
    first = (x > 0.3) & (x < 0.5) & (y > 0.2) & (y < 0.9)
    return first | ((x > 0.3) & (x < 0.62 + 0.02 * turn) & (y > 0.7) & (y < 0.9))


def put_image(path: Path, on: np.ndarray, orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = np.where(on[..., None], (255, 0, 0), (0, 0, 255)).astype(np.uint8)
    Image.fromarray(picture).save(path, exif=exif, quality=100, subsampling=0)
    return path


def put_mask(path: Path, on: np.ndarray, kind: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = on + np.pad(on[:, 1:] & on[:, :-1], ((0, 0), (0, 1)))  # 1 and 2 on the object, as the Oxford pets' outlines
    made = {
        "L": lambda: Image.fromarray((on * 255).astype(np.uint8)),
        "faint": lambda: Image.fromarray(on.astype(np.uint8)),
        "1": lambda: Image.fromarray(on),
        "I;16": lambda: Image.fromarray(on.astype(np.uint16)),
        "RGB": lambda: Image.fromarray(np.where(on[..., None], (0, 128, 0), 0).astype(np.uint8)),
        "P": lambda: Image.fromarray(bands.astype(np.uint8), "P"),
    }[kind]()
    if kind == "P":
        made.putpalette([255, 255, 255, 0, 0, 0, 0, 0, 0])  # index 0 is white: colours must not count
    made.save(path)
    return path


def dataset(root: Path, images: str = "images", masks: str = "masks", each: int = 4) -> Path:
    """Classes a and b in two splits, landscape and portrait in turn, every image with a mask."""
    for split in ("train", "test"):
        for name in "ab":
            for n in range(each):
                on = shape((LANDSCAPE, PORTRAIT)[n % 2], n)
                put_image(root / images.format(split) / split / name / f"{n}.png", on)
                put_mask(root / masks.format(split) / split / name / f"{n}.png", on)
    return root


def lies_on_it(found: ImageSet, known: int | None = None) -> None:
    """Every mask is 1 where the image is purely red and 0 where it is purely blue; what is neither is the edge."""
    rows = range(len(found))
    red, blue = found.pictures(rows)[:, 0], found.pictures(rows)[:, 2]
    masks = found.objects(rows)
    assert masks is not None and masks.dtype == torch.uint8 and masks.shape == red.shape
    has = masks.flatten(1).any(1)
    assert int(has.sum()) == found.known_objects == (len(found) if known is None else known)
    for k in has.nonzero()[:, 0].tolist():
        inside, outside = (red[k] > 250) & (blue[k] < 5), (blue[k] > 250) & (red[k] < 5)
        assert 0 < int(inside.sum()) < int(outside.sum())
        assert bool((masks[k][inside] == 1).all()) and bool((masks[k][outside] == 0).all())


# --------------------------------------------------------------------------------------------------------- alignment


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("side", [12, 24, 50])
def test_masks_lie_on_their_objects(tmp_path: Path, side: int, resident: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not resident:
        monkeypatch.setattr(files, "RESIDENT_BYTES", 0)
    root = dataset(tmp_path)
    for split in ("train", "test"):
        found = load(f"folder:{root}", split, size=side)
        assert found.resident == resident and found.notes == () and len(found) == 8
        lies_on_it(found)
        lies_on_it(found.subset([6, 1, 3]))
    part = found.subset([6, 1, 3]).objects([0, 2])
    assert part is not None and torch.equal(part, found.objects([6, 3]))
    assert torch.equal(examples(found, 3).masks, found.objects(examples_rows(found, 3)))


def examples_rows(found: ImageSet, number: int) -> list[int]:
    """Which rows an analysis takes, by their images."""
    chosen = examples(found, number).images
    return [int((found.pictures(range(len(found))) == image).flatten(1).all(1).nonzero()[0, 0]) for image in chosen]


@pytest.mark.parametrize("kind", ["L", "faint", "1", "I;16", "RGB", "P"])
def test_every_kind_of_mask_counts_above_0(tmp_path: Path, kind: str) -> None:
    on = shape()
    image, mask = put_image(tmp_path / "x.jpg", on), put_mask(tmp_path / "x.png", on, kind)
    np.testing.assert_array_equal(np.asarray(open_mask(str(mask), str(image))), on.astype(np.uint8))


def test_large_photographs_that_are_decoded_smaller(tmp_path: Path) -> None:
    on = shape((999, 601))
    for n in range(2):
        for name in "ab":
            put_image(tmp_path / "images" / name / f"{n}.jpg", on)
            put_mask(tmp_path / "masks" / name / f"{n}.png", on)
    lies_on_it(load(f"folder:{tmp_path}", "train", size=32))


@pytest.mark.parametrize("drawn", ["stored", "upright"])
@pytest.mark.parametrize("ending", ["jpg", "png"])
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_masks_are_turned_with_their_images(tmp_path: Path, orientation: int, ending: str, drawn: str) -> None:
    on = shape()
    upright = {5: on.T, 6: np.rot90(on, -1), 7: on[::-1, ::-1].T, 8: np.rot90(on)}[orientation]
    for n in range(2):
        for name in "ab":
            put_image(tmp_path / name / f"{n}.{ending}", on, orientation)
            put_mask(tmp_path / "masks" / name / f"{n}.png", on if drawn == "stored" else upright)
    lies_on_it(load(f"folder:{tmp_path}", "train", size=24))


@pytest.mark.parametrize(("size", "orientation"), [(LANDSCAPE, 3), ((40, 40), 6)])
def test_a_turned_image_whose_size_does_not_tell_is_refused(
    tmp_path: Path, size: tuple[int, int], orientation: int
) -> None:
    root = dataset(tmp_path)
    put_image(root / "images/train/a/0.png", shape(size), orientation)
    put_mask(root / "masks/train/a/0.png", shape(size))
    with pytest.raises(UsageError, match=rf"turned upright \(EXIF orientation {orientation}\), and the size does not"):
        load(f"folder:{root}", "train", size=24)


# ------------------------------------------------------------------------------------------------------------ layouts


@pytest.mark.parametrize(
    ("images", "masks"), [("images", "masks"), (".", "masks"), ("{}/images/..", "{}/masks"), ("x", "x/masks")]
)
def test_layouts_with_splits(tmp_path: Path, images: str, masks: str) -> None:
    if "{" in images:  # images/ and masks/ within each split
        for split in ("train", "test"):
            for name in "ab":
                for n in range(4):
                    put_image(tmp_path / split / "images" / name / f"{n}.png", shape(PORTRAIT, n))
                    put_mask(tmp_path / split / "masks" / name / f"{n}.png", shape(PORTRAIT, n))
    else:
        dataset(tmp_path, images, masks)
    root = tmp_path / "x" if images == "x" else tmp_path
    for split in ("train", "test"):
        found = load(f"folder:{root}", split, size=24)
        assert found.classes == ("a", "b") and found.notes == () and len(found) == 8
        lies_on_it(found)


def undivided(root: Path, below: str) -> Path:
    for name in "ab":
        for n in range(10):
            put_image(root / below / name / "deep" / f"{n}.v2.jpg", shape(turn=n))
    return root


def test_the_division_is_the_same_with_and_without_masks(tmp_path: Path) -> None:
    bare, beside, around = (
        undivided(tmp_path / name, "images" if name == "around" else ".") for name in ("bare", "beside", "around")
    )
    for root in (beside, around):
        for name in "ab":
            for n in range(10):
                put_mask(root / "masks" / name / "deep" / f"{n}.v2.PNG", shape(turn=n))
    for split, number in (("train", 16), ("test", 4)):
        found = [load(f"folder:{root}", split, size=24) for root in (bare, beside, around)]
        assert [len(one) for one in found] == [number] * 3 and found[0].masks is None and found[0].known_objects == 0
        assert torch.equal(found[0].images, found[1].images) and torch.equal(found[0].images, found[2].images)
        lies_on_it(found[1])
        lies_on_it(found[2])
        assert all("split 80 to 20" in one.notes[0] and len(one.notes) == 1 for one in found)


def test_the_images_need_no_other_name_once_the_masks_are_gone(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    (root / "masks").rename(tmp_path / ".away")
    found = load(f"folder:{root}", "train", size=24)
    assert found.classes == ("a", "b") and found.masks is None and found.notes == ()


def test_the_description_tells_how_many_masks_there_are(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    (root / "masks/test/b/1.png").unlink()
    text = " ".join(report.describe(f"folder:{root}").split())
    assert "masks of 8 train and 7 test images" in text and "1 of 8 images have no mask" in text
    assert "  masks " not in report.describe("digits")


# ----------------------------------------------------------------------------------------------------- what is missing


def test_images_without_a_mask_are_told_and_have_an_empty_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = dataset(tmp_path)
    for gone in ("a/1", "b/0", "b/3"):
        (root / "masks" / "train" / f"{gone}.png").unlink()
    with caplog.at_level(logging.WARNING):
        found = load(f"folder:{root}", "train", size=24)
    assert found.notes == (
        f"folder {root} (train): 3 of 8 images have no mask, the first: {root}/images/train/a/1.png",
    )
    assert found.notes[0] in caplog.text
    lies_on_it(found, known=5)
    objects = found.objects(range(8))
    assert objects is not None and (objects.sum((1, 2)) == 0).nonzero()[:, 0].tolist() == [1, 4, 7]
    lies_on_it(load(f"folder:{root}", "test", size=24))


def test_masks_for_one_split_only(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    (root / "masks" / "train").rename(tmp_path / "away")
    found = load(f"folder:{root}", "train", size=24)
    assert found.masks is None and "8 of 8 images have no mask" in found.notes[0]
    lies_on_it(load(f"folder:{root}", "test", size=24))


def test_masks_of_no_image_are_told(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    put_mask(root / "masks/test/b/77.png", shape())
    (root / "masks/test/a/0.jpg").write_text("no PNG")
    found = load(f"folder:{root}", "train", size=24)
    assert found.notes == (
        f"{root}/masks: 2 file(s) are the mask of no image (.png of its name), the first: {root}/masks/test/a/0.jpg",
    )
    lies_on_it(found)


# ---------------------------------------------------------------------------------------------------------- mistakes


def other_size(mask: Path) -> None:
    put_mask(mask, shape((61, 36)))


def cut_short(mask: Path) -> None:
    mask.write_bytes(mask.read_bytes()[:-40])


def text(mask: Path) -> None:
    mask.write_text("not an image")


def lossy(mask: Path) -> None:
    Image.fromarray(shape()).convert("L").save(mask, format="jpeg")


def see_through(mask: Path) -> None:
    Image.new("RGBA", LANDSCAPE).save(mask)


FAULTS = [
    (
        other_size,
        r"masks/train/a/0.png has 61 x 36 pixels, its image .*images/train/a/0.png 60 x 36; a mask must be of",
    ),
    (cut_short, r"masks/train/a/0.png is damaged or no image \(.*\); write it again"),
    (text, r"masks/train/a/0.png is damaged or no image \(not a format that Pillow reads\); write it again"),
    (lossy, r"masks/train/a/0.png is JPEG; masks must be PNG"),
    (see_through, r"masks/train/a/0.png is RGBA, a mask with transparency; write it as grey levels"),
]


@pytest.mark.parametrize(("spoil", "message"), FAULTS)
def test_masks_that_do_not_fit_are_refused_or_gone_without(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    root = dataset(tmp_path)
    lazy = load(f"folder:{root}", "train", size=24)
    spoil(root / "masks/train/a/0.png")
    with pytest.raises(UsageError, match=message) as caught:
        load(f"folder:{root}", "train", size=24)
    assert "\n" not in str(caught.value) and str(caught.value).endswith("damaged='skip' (--damaged skip)")
    with pytest.raises(UsageError, match=message):
        lazy.objects([0])
    found = load(f"folder:{root}", "train", size=24, damaged="skip")
    assert len(found) == 8 and "go without 1 mask(s)" in found.notes[0] and "1 of 8 images" in found.notes[1]
    lies_on_it(found, known=7)
    lies_on_it(load(f"folder:{root}", "test", size=24))


def test_an_image_that_is_left_out_takes_its_mask_along(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    truncate(root / "images/train/a/1.png")
    found = load(f"folder:{root}", "train", size=24, damaged="skip")
    assert len(found) == 7 and len(found.notes) == 1
    lies_on_it(found)


def flat_masks(root: Path) -> str:
    for n, mask in enumerate(sorted((root / "masks").rglob("*.png"))):
        mask.rename(root / "masks" / f"{n}.png")
    return (
        r"masks has no mask of any image: expected .*masks/train/a/0.png for .*images/train/a/0.png, and so on; a cla"
    )


def flat_images(root: Path) -> str:
    for n, image in enumerate(sorted((root / "images").rglob("*.png"))):
        image.rename(root / "images" / f"{n}.png")
    for folder in sorted((root / "images").rglob("*/"), reverse=True):
        if folder != root / "images":
            folder.rmdir()
    return r"no class folders in .*images; expected images as .*images/train/CLASS/any.jpg"


def a_class_of_this_name(root: Path) -> str:
    for split in ("train", "test"):
        put_image(root / f"images/{split}/masks/0.png", shape())
    return r"images/train/masks has no mask of any image: expected .*a class can't be named masks"


def trimaps(root: Path) -> str:
    for mask in (root / "masks").rglob("*.png"):
        Image.fromarray((2 - np.asarray(Image.open(mask)) // 255).astype(np.uint8)).save(mask)
    return r"masks must be 0 on the background and above 0 on the object, got none with a 0"


def one_mask_for_two(root: Path) -> str:
    put_image(root / "images/train/a/0.jpg", shape())
    return r"images/train/a/0.jpg and .*images/train/a/0.png would have the same mask"


@pytest.mark.parametrize("make", [flat_masks, flat_images, a_class_of_this_name, trimaps, one_mask_for_two])
def test_layouts_that_can_not_be_meant(tmp_path: Path, make: Callable[[Path], str]) -> None:
    message = make(dataset(tmp_path))
    for split in ("train", "test"):
        with pytest.raises(UsageError, match=message) as caught:
            load(f"folder:{tmp_path}", split, size=24)
        assert "\n" not in str(caught.value)


def test_files_that_do_not_suit_the_images_are_refused() -> None:
    nothing = MaskFiles(("x.png",) * 2, ("", ""), 8)
    assert int(nothing.view(0).sum()) == 0
    with pytest.raises(UsageError, match=r"masks must be uint8 of shape \(3, 8, 8\), got uint8 of shape \(2, 8, 8\)"):
        ImageSet(
            pixels=torch.zeros(3, 3, 8, 8, dtype=torch.uint8),
            labels=torch.zeros(3).long(),
            classes=("a",),
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
            masks=nothing,
        )
