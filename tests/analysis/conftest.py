"""Two trained runs, for every test that analyses nets of stored runs."""

from __future__ import annotations

import dataclasses

import pytest

from workbench.config import RunConfig
from workbench.runs import Run
from workbench.runs import run as run_now


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two real runs of one data set that knows where its objects are. Tests may leave results in them, and no more."""
    config = RunConfig(
        data="shapes", size=16, model="resnet8", epochs=2, batch_size=256, device="cpu", score="last", keep_weights=1
    )
    root = tmp_path_factory.mktemp("runs")
    return [run_now(dataclasses.replace(config, method=key), root, progress=False) for key in ("cutmix", "mixup")]
