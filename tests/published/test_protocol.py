"""The fields in which a run differs from what was published are found, and no others."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from workbench.config import RunConfig
from workbench.published import results
from workbench.published.protocol import differences, published

THEIRS: dict[str, Any] = {
    "data": "cifar100", "model": "resnet18", "epochs": 200, "batch_size": 100, "optimizer": "momentum", "lr": 0.1,
    "weight_decay": 1e-4,
}  # fmt: skip
"""The benchmark's recipe for CIFAR-100 and a ResNet-18, as its page and settings files have it."""
ALWAYS = "no decay on biases and norms, published nothing"
MIXED = "lambda drawn for every image, published once a batch"


def row(dataset: str, backbone: str, method: str, epochs: int, **more: Any) -> pd.Series:
    frame = results(dataset, backbone, method, "top1", epochs, **more)
    assert len(frame) == 1
    return frame.iloc[0]


def test_the_same_protocol() -> None:
    assert differences(RunConfig(method="vanilla", **THEIRS), row("cifar100", "resnet18", "vanilla", 200)) == (ALWAYS,)
    config = RunConfig(method="fmix", params={"alpha": 0.2, "mode": "batch"}, **THEIRS)
    assert differences(config, row("cifar100", "resnet18", "fmix", 200)) == (ALWAYS,)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"epochs": 20}, "epochs 20, published 200"),
        ({"batch_size": 128}, "batch size 128, published 100"),
        ({"lr": 0.05}, "lr 0.05, published 0.1"),
        ({"min_lr": 0.01}, "min lr 0.01, published 0"),
        ({"optimizer": "sgd"}, "optimizer sgd with Nesterov momentum, published sgd"),
        ({"optimizer": "adamw"}, "optimizer adamw, published sgd"),
        ({"weight_decay": 5e-4}, "weight decay 0.0005, published 0.0001"),
        ({"momentum": 0.5}, "momentum 0.5, published 0.9"),
        ({"schedule": "constant"}, "schedule constant, published cosine"),
        ({"warmup_epochs": 5}, "warm-up epochs 5, published 0"),
        ({"clip_grad": 1.0}, "clip grad 1, published none"),
        ({"label_smoothing": 0.1}, "label smoothing 0.1, published none"),
        ({"ema_decay": 0.999}, "EMA decay 0.999, published none"),
        ({"score": "best"}, "score best, published median_last10"),
        ({"size": 64}, "size 64, published 32"),
        ({"model": "resnet20"}, "model resnet20, published resnet18"),
        ({"precision": "bf16"}, "precision mixed, published fp32"),
        ({"pretrained": True}, "start pretrained, published scratch"),
        ({"augment": "none"}, "augment none, published RandomCrop + RandomHorizontalFlip"),
    ],
)
def test_each_field(changed: dict[str, Any], told: str) -> None:
    found = differences(RunConfig(method="vanilla", **(THEIRS | changed)), row("cifar100", "resnet18", "vanilla", 200))
    assert [field for field in found if field != ALWAYS] == [told]


def test_alpha_and_lambda() -> None:
    config = RunConfig(method="cutmix", **THEIRS)
    found = differences(config, row("cifar100", "resnet18", "cutmix", 200))
    assert set(found) == {ALWAYS, MIXED, "alpha 1, published 0.2"}
    deit = row("cifar100", "deit_s", "deit", 200)
    assert published(deit)["alpha"] == "0.8,1"
    told = differences(RunConfig(method="deit", data="cifar100"), deit)
    assert not any(field.startswith(("alpha", "label smoothing")) for field in told)
    told = differences(RunConfig(method="deit", data="cifar100", params={"mixup_alpha": 0.5}), deit)
    assert "alpha 0.5,1, published 0.8,1" in told


def test_what_a_method_changes_of_the_recipe() -> None:
    """AutoMix ends at another learning rate; cutting methods on ResNeXt-50 have another weight decay."""
    assert published(row("cifar100", "resnet18", "automix", 200))["min lr"] == 0.05
    assert published(row("cifar100", "resnet18", "mixup", 200))["min lr"] == 0
    assert published(row("cifar100", "resnext50", "cutmix", 200))["weight decay"] == 5e-4
    assert published(row("cifar100", "resnext50", "mixup", 200))["weight decay"] == 1e-4


def test_what_is_not_stated_is_not_compared() -> None:
    zoo = results("imagenet1k", "resnet50", metric="top1", setting="zoo").iloc[0]
    assert set(published(zoo)) == {"model"}
