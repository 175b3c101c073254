"""Mixing somebody's own pictures: what is refused before any work, what is said about the label, what is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from workbench.config import UsageError
from workbench.figures import mix, samples
from workbench.figures.mix import mix_files


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A white and a black picture: the mean of a mix is A's share of it."""
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    Image.new("RGB", (60, 40), "white").save(a)
    Image.new("RGB", (40, 60), "black").save(b)
    return a, b


def test_the_mix_and_its_label(pair: tuple[Path, Path], tmp_path: Path) -> None:
    lines = mix_files("mixup", pair, 0.3, tmp_path / "new" / "m.png", size=32)
    assert lines[0] == "label: a.png 0.300, b.png 0.700"
    assert not any("asked for" in line for line in lines)
    made = np.asarray(Image.open(tmp_path / "new" / "m.png"))
    assert made.shape == (32, 32, 3) and abs(made.mean() / 255 - 0.3) < 0.005
    assert (tmp_path / "new" / "m-how.png").exists()


def test_a_weight_that_is_not_the_one_asked_for_is_told(pair: tuple[Path, Path], tmp_path: Path) -> None:
    told, quiet = 0, 0
    for seed in range(12):
        lines = mix_files("cutmix", pair, 0.75, tmp_path / "m.png", size=32, seed=seed)
        share = np.asarray(Image.open(tmp_path / "m.png")).mean() / 255
        if abs(share - 0.75) > 0.01:
            assert lines[1].startswith(f"asked for 0.75 of A, got {share:.2f}: label weight as realised")
            told += 1
        else:
            assert not any("asked for" in line for line in lines)
            quiet += 1
    assert told and quiet
    assert any("asked for 0.20 of A, got 1.00" in x for x in mix_files("vanilla", pair, 0.2, tmp_path / "m.png"))


def test_a_white_mask_has_an_edge() -> None:
    mask = np.ones((32, 32), np.float32)
    framed = samples.framed(mask)
    assert (framed[1:-1, 1:-1] == 1).all() and (mask == 1).all()
    assert all((side == samples.FRAME).all() for side in (framed[0], framed[-1], framed[:, 0], framed[:, -1]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 7}, "size must be from 8 to 4096 pixels, got 7"),
        ({"size": 5000}, "size must be from 8 to 4096"),
        ({"lam": 1.2}, "lam .* from 0 to 1, got 1.2"),
        ({"lam": float("nan")}, "lam .* from 0 to 1"),
        ({"out": "m.mixed"}, "must end in a kind of picture"),
        ({"out": "m"}, "must end in a kind of picture"),
        ({"out": "m.psd"}, "must end in a kind of picture"),
        ({"out": "m.xbm"}, "must end in a kind of picture"),
        ({"out": "a.png"}, "a.png is one of the pictures to mix"),
        ({"out": "new/../b.png"}, "b.png is one of the pictures to mix"),
        ({"params": {"alpha": 0.5}, "run": Path("runs/x")}, "--params and --run can't be combined"),
        ({"images": ("a.png",)}, "two pictures, got 1"),
        ({"images": ("a.png", "c.png")}, "no picture at .*c.png"),
    ],
)
def test_what_is_refused_before_any_work(
    settings: dict[str, Any], message: str, pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mix, "_mixer", lambda *args: pytest.fail("a method was built"))
    monkeypatch.setattr(mix, "open_rgb", lambda path: pytest.fail("a picture was read"))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    given: dict[str, Any] = {"images": ("a.png", "b.png"), "lam": 0.5, "out": "m.png", **settings}
    given["images"] = [tmp_path / name for name in given["images"]]
    given["out"] = tmp_path / given["out"]
    with pytest.raises(UsageError, match=message) as caught:
        mix_files("cutmix", **given)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_picture_where_the_sheet_would_go_is_kept(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    pair[0].rename(tmp_path / "m-how.png")
    with pytest.raises(UsageError, match=r"m-how\.png is one of the pictures to mix"):
        mix_files("mixup", [tmp_path / "m-how.png", pair[1]], 0.5, tmp_path / "m.jpg")


def test_a_damaged_picture_gets_no_advice_about_data_sets(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    pair[1].write_bytes(pair[1].read_bytes()[:60])
    with pytest.raises(UsageError, match=r"b\.png is damaged") as caught:
        mix_files("mixup", pair, 0.5, tmp_path / "m.png")
    assert "skip" not in str(caught.value)


def test_a_place_that_can_t_be_written_is_told_in_one_line(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match=r"must be a folder, but .* is a file"):
        mix_files("mixup", pair, 0.5, pair[0] / "m.png", size=16)
