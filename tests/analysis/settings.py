"""Small inputs for every analysis, and when two results are the same. One without a row here fails the contract."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from workbench.analysis.compare import Score
from workbench.analysis.inputs import Examples
from workbench.analysis.ranking import Outcome
from workbench.config import RunConfig
from workbench.data import load
from workbench.methods import build
from workbench.models import Net

CLASSES = 4
FACTORS = ((0, 1.3), (2, 1.1), (4, 1.0))
"""Epochs, and how many times as large as at the end the weights were."""


def logits_and_labels() -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    return rng.normal(0, 2, (40, 4)), rng.integers(0, 4, 40)


def scores() -> tuple[Any, ...]:
    def one(method: str, seed: int, accuracy: float) -> Score:
        return Score(RunConfig(method=method, seed=seed), accuracy, 0.1, 0.2, 1e6, 100)

    return ([one("vanilla", 0, 0.7), one("vanilla", 1, 0.72), one("mixup", 0, 0.75), one("mixup", 1, 0.74)],)


def outcomes() -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    keys = ("vanilla", "mixup", "cutmix")
    return ([Outcome(RunConfig(method=key, seed=s), rng.random(60) < 0.7) for key in keys for s in range(3)],)


def small_net(seed: int = 0) -> Net:
    """A residual net that knows four classes of 16-pixel images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Net("resnet8", CLASSES, mean=[0.4] * 3, std=[0.3] * 3, size=16).eval()


def small_data(number: int = 12) -> Examples:
    """Images with objects and their masks."""
    shapes = load("shapes", "test", size=16)
    rows = torch.arange(len(shapes))[shapes.labels < CLASSES][:number]
    assert shapes.masks is not None
    return Examples(shapes.pictures(rows), shapes.labels[rows], shapes.masks[rows], shapes.classes[:CLASSES])


def net_and_data() -> tuple[Any, ...]:
    return small_net(), small_data()


def net_and_more_data() -> tuple[Any, ...]:
    return small_net(), small_data(24)


def nets_and_data() -> tuple[Any, ...]:
    return [("one", small_net(0)), ("two", small_net(1))], small_data()


def method_net_and_data() -> tuple[Any, ...]:
    return build("cutmix"), small_net(), small_data()


def states_net_and_data() -> tuple[Any, ...]:
    """Three epochs of a net that shrank."""
    net = small_net()
    states = {e: {k: v * f if v.is_floating_point() else v for k, v in net.state_dict().items()} for e, f in FACTORS}
    return states, net, small_data()


SETTINGS: Mapping[str, Callable[[], tuple[Any, ...]]] = {
    "calibration": logits_and_labels,
    "compare": scores,
    "ranking": outcomes,
    "hessian": net_and_data,
    "landscape": nets_and_data,
    "trajectory": states_net_and_data,
    "cam": nets_and_data,
    "embedding": nets_and_data,
    "robustness": net_and_data,
    "adversarial": net_and_data,
    "occlusion": net_and_data,
    "fourier": net_and_data,
    "ood": net_and_more_data,
    "fidelity": method_net_and_data,
    "cost": method_net_and_data,
}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "hessian": {"images": 12, "top": 1, "trace_probes": 2, "density_probes": 1, "steps": 4},
    "landscape": {"images": 12, "points": 5},
    "trajectory": {"images": 12, "points": 3},
    "cam": {"images": 3},
    "embedding": {"images": 12, "layers": True},
    "robustness": {"severities": (1, 5)},
    "adversarial": {"eps": (0.02,), "steps": 2},
    "occlusion": {"images": 12},
    "fourier": {"points": 3},
    "ood": {"images": 24},
    "fidelity": {"draws": 1},
    "cost": {"batch_size": 8, "steps": 0},
}
"""Options that make an analysis of a net short."""


def same(a: Any, b: Any) -> bool:
    """Equal in every field, nan being equal to nan."""
    pairs = zip(dataclasses.astuple(a), dataclasses.astuple(b), strict=True)
    return all(np.array_equal(x, y, equal_nan=np.asarray(x).dtype.kind == "f") for x, y in pairs)
