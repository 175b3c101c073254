"""Public implementations that pip can install, to be measured beside ours: torchvision, timm, kornia if it is there."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple

from torch import Tensor

IN_PLACE = "writes into its input"


class Peer(NamedTuple):
    """One call of a public implementation."""

    method: str
    """The key of ours that it stands beside."""
    who: str
    call: Callable[[], Any]
    note: str = ""


def peers(x: Tensor, y: Tensor, classes: int) -> Iterator[Peer]:
    """Every public implementation that is installed, on the batch x (B, C, H, W), y (B,)."""
    yield from _torchvision(x, y, classes)
    yield from _timm(x.clone(), y, classes)
    if importlib.util.find_spec("kornia") is not None:
        yield from _kornia(x, y)


def _torchvision(x: Tensor, y: Tensor, classes: int) -> Iterator[Peer]:
    from torchvision.transforms import v2

    who = f"torchvision {version('torchvision')}, one a batch"
    mixup, cutmix = v2.MixUp(num_classes=classes), v2.CutMix(num_classes=classes)
    yield Peer("mixup", who, partial(mixup, x, y))
    yield Peer("cutmix", who, partial(cutmix, x, y))


def _timm(x: Tensor, y: Tensor, classes: int) -> Iterator[Peer]:
    from timm.data.mixup import Mixup

    for mode, drawn in (("batch", "one a batch"), ("elem", "one a row")):
        who = f"timm {version('timm')}, {drawn}"
        for method, alphas in (("mixup", (1.0, 0.0)), ("cutmix", (0.0, 1.0))):
            mix = Mixup(*alphas, mode=mode, num_classes=classes)
            yield Peer(method, who, partial(mix, x, y), IN_PLACE)


def _kornia(x: Tensor, y: Tensor) -> Iterator[Peer]:
    from kornia.augmentation import RandomCutMixV2, RandomMixUpV2

    who, keys = f"kornia {version('kornia')}, one a row", ["input", "class"]
    mixup = RandomMixUpV2(p=1.0, data_keys=keys)
    cutmix = RandomCutMixV2(p=1.0, data_keys=keys, use_correct_lambda=True)
    yield Peer("mixup", who, partial(mixup, x, y))
    yield Peer("cutmix", who, partial(cutmix, x, y))
