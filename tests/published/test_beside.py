"""Own runs beside published numbers: the difference, the z-score by hand, the nearest protocol."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from tests.fake_runs import TEST_IMAGES, write_run
from workbench.config import RunConfig, UsageError
from workbench.published import results
from workbench.published.beside import Beside, beside, to_frame, z_score


def own(root: Path, method: str, accuracies: list[float], **settings: object) -> list:
    chosen = {"data": "cifar100", "model": "resnet18", "epochs": 200} | settings
    return [
        write_run(root, RunConfig(method=method, seed=seed, **chosen), accuracy=accuracy)
        for seed, accuracy in enumerate(accuracies)
    ]


def test_z_score_by_hand() -> None:
    """80 +- 1 over 4 seeds on 400 images, published 78 on 100: S^2 = 1 (1/4 + 1) = 1.25, I^2 = 1600/400 + 1716/100."""
    seed, image, z = z_score(80, 1, 4, 400, 78, 100)
    assert seed**2 == pytest.approx(1.25)
    assert image**2 == pytest.approx(4 + 17.16)
    assert z == pytest.approx(2 / math.sqrt(1.25 + 21.16))
    seed, _, three = z_score(80, 1, 4, 400, 78, 100, trainings=3)
    assert seed**2 == pytest.approx(1 / 4 + 1 / 3)
    assert three > z


def test_one_seed_leaves_the_spread_out() -> None:
    seed, image, z = z_score(80, math.nan, 1, 400, 78, 100)
    assert math.isnan(seed)
    assert z == pytest.approx(2 / image)
    assert abs(z) > abs(z_score(80, 1, 2, 400, 78, 100)[2])


def test_runs_beside_numbers(tmp_path: Path) -> None:
    runs = own(tmp_path, "mixup", [0.78, 0.80]) + own(tmp_path, "smmix", [0.7])
    mixup, smmix = beside(runs, results("cifar100", "resnet18"))
    assert (mixup.own, mixup.published, mixup.published_epochs) == (pytest.approx(79), 78.52, 200)
    assert mixup.difference == pytest.approx(0.48)
    assert mixup.own_sd == pytest.approx(math.sqrt(2))
    assert mixup.seed_error**2 == pytest.approx(2 * 1.5)
    assert mixup.image_error**2 == pytest.approx(79 * 21 / TEST_IMAGES + 78.52 * 21.48 / 10_000)
    assert mixup.z == pytest.approx(0.48 / math.hypot(mixup.seed_error, mixup.image_error))
    assert "batch size 128, published 100" in mixup.differs
    assert math.isnan(smmix.published) and math.isnan(smmix.z) and smmix.differs == ()


@pytest.mark.parametrize(("epochs", "nearest"), [(20, 200), (250, 200), (330, 400), (2000, 1200)])
def test_the_nearest_length_of_training(tmp_path: Path, epochs: int, nearest: int) -> None:
    (row,) = beside(own(tmp_path, "cutmix", [0.7], epochs=epochs), results("cifar100", "resnet18"))
    assert row.published_epochs == nearest
    assert f"epochs {epochs}, published {nearest}" in row.differs


def test_the_nearest_protocol_of_several_settings(tmp_path: Path) -> None:
    settings = {"data": "folder:somewhere/imagenet", "model": "resnet50", "size": 224, "epochs": 100}
    runs = own(tmp_path, "mixup", [0.7], batch_size=256, optimizer="momentum", weight_decay=1e-4, **settings)
    (row,) = beside(runs, results("imagenet1k", "resnet50"))
    assert row.published_setting == "pytorch"
    rsb = {"batch_size": 2048, "optimizer": "lamb", "lr": 0.008, "weight_decay": 0.02, "warmup_epochs": 5}
    (row,) = beside(
        own(tmp_path / "rsb", "mixup", [0.7], **(settings | {"size": 160} | rsb)), results("imagenet1k", "resnet50")
    )
    assert row.published_setting == "rsb-a3"


def test_runs_of_other_data_are_refused(tmp_path: Path) -> None:
    runs = own(tmp_path, "cutmix", [0.7], data="cifar10")
    with pytest.raises(UsageError, match=r"the table is of cifar100, run .* of cifar10; choose runs of one data set"):
        beside(runs, results("cifar100", "resnet18"))
    with pytest.raises(UsageError, match="at least one"):
        beside([], results("cifar100", "resnet18"))


def test_frame(tmp_path: Path) -> None:
    frame = to_frame(beside(own(tmp_path, "mixup", [0.78]), results("cifar100", "resnet18")))
    assert list(frame.columns) == list(Beside.__dataclass_fields__)
    assert isinstance(frame, pd.DataFrame) and "; " in frame["differs"][0]
