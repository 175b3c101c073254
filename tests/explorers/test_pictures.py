"""Sources of pictures, and files that are bad, odd or large."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.config import UsageError
from workbench.data import load
from workbench.data.embedded import whole_photos
from workbench.explorers import pictures
from workbench.explorers.pictures import KEPT, open_picture, open_source, own_files, photographs, titles


def file(image: Image.Image, kind: str = "png", **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **settings)
    return buffer.getvalue()


def opened(data: bytes) -> tuple[np.ndarray, list[str]]:
    image, done = open_picture("mine", data)
    assert image.mode == "RGB"
    return np.asarray(image), done


def test_the_photographs_are_those_of_the_gallery():
    source = photographs()

    assert torch.equal(source.batch((1, 3), 32), whole_photos(32)[0][[1, 3]].float() / 255)
    assert source.names[1] == "cat"
    assert source.sides == (32, 64, 128, 224)


def test_a_data_set_offers_its_test_pictures_at_its_own_size():
    source, images = open_source("digits"), load("digits", "test")
    rows = images.showcase(2)

    assert torch.equal(source.batch((0, 1), 32), images.pictures(rows).float() / 255)
    assert source.names[0] == f"0 ({int(rows[0])})"
    assert source.sides == (32,)


def test_what_is_offered_is_there():
    assert titles(("folder:mine",))[:2] == ["photographs", "folder:mine"]
    assert "digits" in titles() and "shapes" in titles()


def test_a_row_that_is_not_there_is_told():
    with pytest.raises(UsageError, match="pictures 0 to 9, got 10"):
        photographs().batch((0, 10), 32)


def test_an_unknown_data_set_gets_the_nearest_name():
    with pytest.raises(UsageError, match="digits"):
        open_source("digit")


@pytest.mark.parametrize("data", [b"", b"hello", b"<svg/>", file(Image.new("RGB", (64, 64)))[:60]])
def test_what_is_no_picture_is_told_in_one_line(data):
    with pytest.raises(UsageError, match=r"mine is damaged or no picture \(.*\); expected PNG") as error:
        open_picture("mine", data)

    assert "\n" not in str(error.value)


def test_grey_becomes_rgb():
    found, done = opened(file(Image.new("L", (40, 30), 77)))

    assert (found == 77).all() and found.shape == (30, 40, 3)
    assert done == ["grey"]


def test_transparent_parts_become_white():
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    image.putpixel((0, 0), (255, 0, 0, 255))
    found, done = opened(file(image))

    assert found[0, 0].tolist() == [255, 0, 0]
    assert found[5, 5].tolist() == [255, 255, 255]
    assert done == ["transparent parts made white"]


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    found, done = opened(file(frames[0], "gif", save_all=True, append_images=frames[1:]))

    assert found[0, 0].tolist() == [255, 0, 0]
    assert "first frame of an animation" in done


def test_a_turned_photograph_is_set_upright():
    image = Image.new("RGB", (40, 20))
    exif = image.getexif()
    exif[0x0112] = 6
    found, done = opened(file(image, "jpeg", exif=exif))

    assert found.shape == (40, 20, 3)
    assert done == ["turned upright"]


def test_cmyk_becomes_rgb():
    found, done = opened(file(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "jpeg"))

    red, green, blue = found[0, 0].astype(int)
    assert red > 200 and green < 80 and blue < 80
    assert done == ["CMYK brought to RGB"]


def test_sixteen_bits_keep_their_upper_eight():
    found, done = opened(file(Image.fromarray(np.full((8, 8), 0x8040, np.uint16))))

    assert (found == 0x80).all()
    assert "16 bits cut to 8" in done


def test_fifty_megapixels_are_taken_and_not_held_whole():
    image, done = open_picture("mine", file(Image.new("L", (8000, 6250), 9)))

    assert min(image.size) == KEPT
    assert "scaled down from 8000 × 6250 px" in done


def test_more_than_the_limit_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(pictures, "MEGAPIXELS", 0.001)

    with pytest.raises(UsageError, match="mine has 40 × 30 pixels; at most"):
        open_picture("mine", file(Image.new("L", (40, 30))))


def test_own_files_are_cut_to_squares_and_bad_ones_left_out_with_a_word():
    wide = Image.new("RGB", (60, 20), "red")
    wide.paste("blue", (20, 0, 40, 20))
    source = own_files({"wide.png": file(wide), "notes.txt": b"hello"})

    assert source.names == ("wide.png", *photographs().names)
    assert source.batch((0,), 10)[0, :, 5, 5].tolist() == [0, 0, 1]
    assert any("notes.txt is damaged or no picture" in note for note in source.notes)


def test_a_single_picture_of_ones_own_has_the_photographs_to_be_mixed_with():
    source, others = own_files({"red.png": file(Image.new("RGB", (40, 40), "red"))}), photographs()

    assert source.batch((0,), 32)[0].mean((1, 2)).tolist() == [1, 0, 0]
    assert torch.equal(source.batch((1, 10), 32), others.batch((0, 9), 32))
    assert "B is one of the photographs" in source.notes[-1]


def test_when_no_file_is_a_picture_that_is_an_error(tmp_path):
    with pytest.raises(UsageError, match=r"notes\.txt"):
        own_files({"notes.txt": b"hello"})
    with pytest.raises(UsageError, match="can't be read"):
        own_files({"gone.png": tmp_path / "gone.png"})
