"""npz:PATH: arrays in, an image set out, and every mistake in the file told in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.config import UsageError
from workbench.data import load


def contents() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "train_images": rng.integers(0, 256, (12, 10, 14, 3), dtype=np.uint8),
        "train_labels": np.arange(12) % 3,
        "test_images": rng.integers(0, 256, (6, 10, 14, 3), dtype=np.uint8),
        "test_labels": np.arange(6) % 3,
        "class_names": np.array(["a", "b", "c"]),
    }


def written(path: Path, **changes: np.ndarray | None) -> Path:
    np.savez(path, **{key: array for key, array in (contents() | changes).items() if array is not None})
    return path


def test_arrays_come_back_with_channels_first(tmp_path: Path) -> None:
    arrays = contents()
    path = written(tmp_path / "x.npz")
    for split in ("train", "test"):
        found = load(f"npz:{path}", split)
        np.testing.assert_array_equal(found.images.permute(0, 2, 3, 1), arrays[f"{split}_images"])
        np.testing.assert_array_equal(found.labels, arrays[f"{split}_labels"])
        assert (found.classes, found.size) == (("a", "b", "c"), (10, 14))
        np.testing.assert_allclose(found.mean, arrays["train_images"].mean((0, 1, 2)) / 255)


def test_grey_images_and_small_label_types(tmp_path: Path) -> None:
    grey = {f"{split}_images": contents()[f"{split}_images"][..., 0] for split in ("train", "test")}
    path = written(tmp_path / "x.npz", **grey, train_labels=contents()["train_labels"].astype(np.uint8))
    found = load(f"npz:{path}", "train")
    assert found.images.shape == (12, 1, 10, 14) and found.labels.dtype == torch.int64
    np.testing.assert_array_equal(found.images[:, 0], grey["train_images"])


def test_compressed_files_and_a_wished_size(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", **contents())
    assert load(f"npz:{tmp_path / 'x.npz'}", "test", size=8).images.shape == (6, 3, 8, 8)


def test_a_class_may_lack_test_images_but_not_train_images(tmp_path: Path) -> None:
    path = written(tmp_path / "x.npz", test_labels=np.zeros(6, int))
    assert load(f"npz:{path}", "test").labels.sum() == 0
    path = written(tmp_path / "y.npz", train_labels=np.arange(12) % 2)
    with pytest.raises(UsageError, match=r"y\.npz: train_labels: no image of class 'c'"):
        load(f"npz:{path}", "train")


MASKS = {f"{split}_masks": contents()[f"{split}_images"][..., 0] > 99 for split in ("train", "test")}


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int32])
def test_masks_of_any_kind_of_number(tmp_path: Path, kind: type) -> None:
    path = written(tmp_path / "x.npz", **{key: (7 * masks).astype(kind) for key, masks in MASKS.items()})
    for split in ("train", "test"):
        found = load(f"npz:{path}", split)
        masks = found.objects(range(len(found)))
        assert masks is not None and masks.dtype == torch.uint8
        np.testing.assert_array_equal(masks, MASKS[f"{split}_masks"])
    assert found.subset([5, 2]).known_objects == 2


def test_values_below_0_are_no_object(tmp_path: Path) -> None:
    path = written(tmp_path / "x.npz", train_masks=np.where(MASKS["train_masks"], 1, -1))
    np.testing.assert_array_equal(load(f"npz:{path}", "train").objects(range(12)), MASKS["train_masks"])  # type: ignore[arg-type]
    assert load(f"npz:{path}", "test").masks is None


@pytest.mark.parametrize("shape", [(30, 44), (44, 30)])
def test_masks_lie_on_their_objects_at_a_wished_size(tmp_path: Path, shape: tuple[int, int]) -> None:
    """The object is white, everything else black; what is neither after resizing is the edge."""
    masks = np.zeros((12, *shape), bool)
    for n in range(12):
        masks[n, 5 + n : 22, 8 : 12 + n] = True
    white = np.repeat((masks * 255).astype(np.uint8)[..., None], 3, 3)
    path = written(tmp_path / "x.npz", train_images=white, train_masks=masks, test_images=white[:6])
    for side in (8, 15, 30, 64):
        found = load(f"npz:{path}", "train", size=side)
        objects, grey = found.objects(range(12)), found.images[:, 0]
        assert objects is not None and objects.shape == (12, side, side)
        assert int((grey > 253).sum()) > 0 and bool((objects[grey > 253] == 1).all())
        assert bool((objects[grey < 2] == 0).all())


IMAGES = contents()["train_images"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_images": None, "class_names": None}, "lacks test_images, class_names; it has train_images, train_"),
        ({"train_images": IMAGES / 255}, r"train_images: images must be uint8 \(0 to 255\), got float64"),
        ({"train_images": IMAGES.astype(np.int64)}, "images must be uint8.*got int64"),
        ({"train_images": IMAGES.transpose(0, 3, 1, 2)}, r"must be \(N, H, W, 3\).*got shape \(12, 3, 10, 14\)"),
        ({"train_images": IMAGES[0, 0]}, r"got shape \(14, 3\)"),
        ({"train_images": IMAGES[:0], "train_labels": np.arange(0)}, "train_images: no images at all"),
        ({"train_labels": np.arange(12) % 3 + 1}, r"labels must be from 0 to 2 \(3 classes\), got 1 to 3"),
        ({"train_labels": np.arange(12) % 3 - 1}, "got -1 to 1"),
        ({"train_labels": np.arange(12) / 3}, "train_labels: labels must be whole numbers, got float64"),
        ({"train_labels": np.array(["a"] * 12)}, "labels must be whole numbers, got <U1"),
        ({"train_labels": np.eye(12, 3, dtype=int)}, r"one label an image, shape \(12,\), got.*\(12, 3\)"),
        ({"train_labels": np.arange(11) % 3}, r"expected one label an image, shape \(12,\), got shape \(11,\)"),
        ({"class_names": np.arange(3)}, r"class_names must be a list of texts, got int64 of shape \(3,\)"),
        ({"class_names": np.array("abc")}, r"class_names must be a list of texts, got <U3 of shape \(\)"),
        ({"class_names": np.array(["a", "b", "c"], object)}, "class_names is pickled .* a pickle can run code"),
        ({"train_images": np.array([IMAGES[0], None], object)}, "train_images is pickled"),
        (
            {"train_masks": MASKS["train_masks"][:11]},
            r"train_masks: expected one mask an image, shape \(12, 10, 14\), got",
        ),
        ({"train_masks": MASKS["train_masks"][..., None]}, r"expected one mask.*got shape \(12, 10, 14, 1\)"),
        ({"train_masks": MASKS["train_masks"].transpose(0, 2, 1)}, r"got shape \(12, 14, 10\)"),
        ({"train_masks": MASKS["train_masks"] / 2}, "train_masks: masks must be bool or whole numbers.*got float64"),
        (
            {"train_masks": MASKS["train_masks"] + 1},
            "train_masks: masks must be 0 on the background.*got none with a 0",
        ),
        ({"train_masks": np.array([None] * 12, object)}, "train_masks is pickled"),
    ],
)
def test_mistakes_in_the_arrays(tmp_path: Path, changes: dict[str, np.ndarray | None], message: str) -> None:
    path = written(tmp_path / "x.npz", **changes)
    with pytest.raises(UsageError, match=message) as caught:
        load(f"npz:{path}", "train")
    assert "\n" not in str(caught.value) and "x.npz" in str(caught.value)


def test_splits_of_different_shapes(tmp_path: Path) -> None:
    path = written(tmp_path / "x.npz", test_images=contents()["test_images"][:, :5])
    with pytest.raises(UsageError, match=r"train and test images differ in shape, \(3, 10, 14\) and \(3, 5, 14\)"):
        load(f"npz:{path}", "test")


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    """An object that leaves a file behind when it is unpickled."""

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return open, (str(tmp_path / "sprung"), "w")

    path = written(tmp_path / "x.npz", train_labels=np.array([Trap()] * 12, object))
    with pytest.raises(UsageError, match="train_labels is pickled"):
        load(f"npz:{path}", "train")
    assert not (tmp_path / "sprung").exists()


def test_what_is_no_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "text.npz").write_text("not an array")
    whole = written(tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    changed = bytearray(whole)
    changed[2000] ^= 255
    (tmp_path / "changed.npz").write_bytes(changed)
    for name, message in (
        ("one.npy", "holds one array, not an .npz with train_images"),
        ("text.npz", "is not an .npz file"),
        ("cut.npz", "is not an .npz file"),
        ("changed.npz", "train_images is damaged"),
        ("none.npz", "no file at .*none.npz; expected an .npz with train_images, train_labels"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            load(f"npz:{tmp_path / name}", "train")
        assert "\n" not in str(caught.value)
