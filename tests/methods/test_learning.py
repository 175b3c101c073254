"""Every method, in the real loop, on real digits: three short epochs that a net which learns nothing would not pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.methods.settings import SETTINGS
from workbench.config import RunConfig
from workbench.methods import METHODS
from workbench.runs import run

COMMON: dict[str, Any] = {"data": "digits", "size": 16, "epochs": 3, "device": "cpu", "score": "last"}
RESIDUAL: dict[str, Any] = {"model": "resnet8", "batch_size": 64, "lr": 0.2, "channels_last": True}
TOKENS: dict[str, Any] = {
    "model": "vit_tiny_patch16_224",
    "model_args": {"patch_size": 4, "depth": 2, "embed_dim": 64, "num_heads": 4, "global_pool": "avg"},
    "batch_size": 16,
    "optimizer": "adamw",
    "lr": 2e-3,
    "weight_decay": 0.0,
    "augment": "none",
}
CHANCE = 0.1


@pytest.mark.slow
@pytest.mark.parametrize("key", METHODS)
def test_three_epochs_learn_digits(key: str, tmp_path: Path) -> None:
    attentive = METHODS[key].family == "attention"
    config = RunConfig(method=key, **COMMON, **(TOKENS if attentive else RESIDUAL))
    finished = run(config, tmp_path, progress=False)
    # The transformer is slow to learn: without mixing it comes to about 0.6 in as many steps.
    assert finished.result["accuracy"] > (4 if attentive else 7) * CHANCE
    losses = finished.history["train_loss"]
    assert losses.iloc[-1] < losses.iloc[0]
    assert key in SETTINGS and json.loads((finished.path / "result.json").read_text())["state"] == "done"
