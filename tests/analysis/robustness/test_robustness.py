"""Accuracy under corruption: counted by hand, and read from made-up copies of the published files."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from workbench.analysis.robustness import draws, robustness
from workbench.analysis.robustness.corruptions import CORRUPTIONS, corrupt
from workbench.config import UsageError
from workbench.models import Net


class Mean(Net):
    """Class 0 for dark images, 1 for bright ones."""

    def forward(self, x: Tensor) -> Tensor:
        value = x.mean((1, 2, 3))
        return torch.stack([1 - value, value], 1)


def mean_net() -> Mean:
    return Mean("resnet8", 2, size=16).eval()


def grey(n: int = 10) -> Any:
    """Images a little darker than half, which class 0 is."""
    return torch.full((n, 3, 16, 16), 0.45), torch.zeros(n, dtype=torch.int64)


def test_counts_right_answers() -> None:
    """Brightness adds 0.05, 0.1, ...: from the second severity on, dark images are taken for bright ones."""
    found = robustness(mean_net(), grey(), kinds=("brightness", "contrast"), severities=(2, 5), name="run")
    np.testing.assert_array_equal(found.accuracy, [[0, 0], [1, 1]])
    assert (found.clean, found.images, found.source) == (1, 10, "C-style")
    assert found.mean_corruption_error == 0.5
    summary = found.summary().iloc[0]
    assert (summary.worst, summary.worst_accuracy, summary.lost) == ("brightness", 0, 0.5)
    frame = found.to_frame()
    assert list(frame.corruption) == ["clean", "brightness", "brightness", "contrast", "contrast"]
    assert list(frame.severity) == [0, 2, 5, 2, 5]
    assert list(frame.accuracy) == [1, 0, 0, 1, 1]


def test_is_the_accuracy_on_corrupt_images() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Net("resnet8", 4, size=16).eval()
    x = torch.rand(20, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = net(x).argmax(1)
        found = robustness(net, (x, y), kinds=("snow",), severities=(4,), seed=7)
        damaged = corrupt(x, "snow", 4, draws.generator(7, "corruption snow", 0))
        assert found.accuracy[0, 0] == pytest.approx(float((net(damaged).argmax(1) == y).float().mean()))


def test_all_fifteen_unless_named() -> None:
    found = robustness(mean_net(), grey(4))
    assert found.kinds == tuple(CORRUPTIONS)
    assert found.accuracy.shape == (15, 3)


def test_against_a_baseline_by_hand() -> None:
    found = robustness(mean_net(), grey(), kinds=("fog", "snow"), severities=(1, 2))
    ours = replace(found, accuracy=np.array([[0.8, 0.6], [0.9, 0.9]]), clean=0.9)
    theirs = replace(found, accuracy=np.array([[0.5, 0.3], [0.8, 0.8]]), clean=0.8)
    frame = ours.against(theirs)
    np.testing.assert_allclose(frame.ce, [0.3 / 0.6, 0.1 / 0.2, 0.5])
    np.testing.assert_allclose(frame.relative_ce, [0.2 / 0.4, np.nan, np.nan])
    assert list(frame.corruption) == ["fog", "snow", "mean"]
    np.testing.assert_allclose(ours.against(ours).ce, 1)
    with pytest.raises(UsageError, match="same corruptions"):
        ours.against(robustness(mean_net(), grey(), kinds=("fog",), severities=(1, 2)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ("frog",)}, "unknown corruption 'frog'; did you mean 'fog'"),
        ({"severities": (0,)}, "from 1 to 5, got 0"),
        ({"severities": ()}, "at least one severity"),
        ({"severities": True}, "from 1 to 5, got True"),
        ({"severities": np.array(7)}, "from 1 to 5, got 7"),
        ({"official": "nowhere"}, "nowhere holds no published corruptions"),
    ],
)
def test_mistakes_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        robustness(mean_net(), grey(), **options)


# ------------------------------------------------------------------------------------------------ published files


def cifar(folder: Path, n: int = 6) -> str:
    """Dark images that are bright at severities 4 and 5, the last of them, of class 1, at severity 3 too."""
    folder.mkdir()
    pixels = np.full((5, n, 16, 16, 3), 50, np.uint8)
    pixels[3:] = 200
    pixels[2, -1] = 200
    np.save(folder / "fog.npy", pixels.reshape(-1, 16, 16, 3))
    np.save(folder / "labels.npy", np.tile(np.arange(n) == n - 1, 5).astype(np.uint8))
    return str(folder)


def test_reads_the_files_of_cifar_c(tmp_path: Path) -> None:
    path = cifar(tmp_path / "C")
    found = robustness(mean_net(), grey(), kinds=("fog",), severities=(1, 3, 4), official=path, images=None)
    np.testing.assert_allclose(found.accuracy, [[5 / 6, 1, 1 / 6]])
    assert (found.images, found.source) == (6, f"official: {path}")
    some = robustness(mean_net(), grey(), kinds=("fog",), severities=(1, 3, 5), official=path, images=4)
    assert some.images == 4
    assert some.accuracy[0, 0] + some.accuracy[0, 2] == 1  # every image is right at one of them


def test_cifar_c_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = Path(cifar(tmp_path / "C"))
    with pytest.raises(UsageError, match=r"snow\.npy is not there"):
        robustness(mean_net(), grey(), kinds=("fog", "snow"), official=str(path))
    np.save(path / "snow.npy", np.zeros((30, 32, 32, 3), np.uint8))
    with pytest.raises(UsageError, match=r"should be \(30, 16, 16, 3\) uint8 for these data, got \(30, 32, 32, 3\)"):
        robustness(mean_net(), grey(), kinds=("snow",), official=str(path))
    np.save(path / "frost.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(UsageError, match="can't be read as an array"):
        robustness(mean_net(), grey(), kinds=("frost",), official=str(path))
    np.save(path / "snow.npy", np.zeros((30, 16, 16, 3), np.float32))
    with pytest.raises(UsageError, match=r"uint8 for these data, got \(30, 16, 16, 3\) float32"):
        robustness(mean_net(), grey(), kinds=("snow",), official=str(path))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full(30, 7), "has 1 classes up to 7, the net knows 2"),
        (np.zeros(30, np.uint8), "has 1 classes up to 0, the net knows 2"),
        (np.arange(30) % 2, None),
        (np.arange(30) // 15, "five times the same class ids"),
        (np.arange(30) % 2 - 1, "from 0 on"),
        ((np.arange(30) % 2).astype(np.float32), "got .30,. float32"),
        (np.arange(31) % 2, "got .31,. int64"),
    ],
)
def test_labels_of_cifar_c_that_do_not_fit_are_refused(tmp_path: Path, labels: np.ndarray, message: str | None) -> None:
    path = cifar(tmp_path / "C")
    np.save(tmp_path / "C" / "labels.npy", labels)
    with nullcontext() if message is None else pytest.raises(UsageError, match=message):
        robustness(mean_net(), grey(), kinds=("fog",), official=path)


@pytest.mark.parametrize("group", ["", "weather"])
def test_reads_the_folders_of_imagenet_c(tmp_path: Path, group: str) -> None:
    for kind, value in (("brightness", 230), ("fog", 40)):
        for level in (1, 5):
            for label in ("n01", "n02"):
                place = tmp_path / group / kind / str(level) / label
                place.mkdir(parents=True)
                for i in range(3):
                    Image.new("RGB", (24, 20), (value,) * 3).save(place / f"{i}.JPEG")
    options: dict[str, Any] = {
        "kinds": ("brightness", "fog"),
        "severities": (1, 5),
        "official": str(tmp_path),
        "images": None,
    }
    found = robustness(mean_net(), grey(), **options)
    assert found.images == 6
    np.testing.assert_allclose(found.accuracy, 0.5)  # n01 is class 0, n02 class 1
    with pytest.raises(UsageError, match=r"snow.1 is not there"):
        robustness(mean_net(), grey(), **(options | {"kinds": ("snow",)}))
    with pytest.raises(UsageError, match=r"2 is not there"):
        robustness(mean_net(), grey(), **(options | {"severities": (2,)}))
    three = Net("resnet8", 3, size=16).eval()
    with pytest.raises(UsageError, match="has 2 classes, the net knows 3"):
        robustness(three, grey(), **options)
