"""Stored results of analyses of nets, with plausible numbers, for run folders as `tests.fake_runs` writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tests.fake_runs import FakeRun, pictures
from workbench.analysis import ANALYSES, base, cache
from workbench.analysis.base import Result
from workbench.analysis.cam import Cam
from workbench.analysis.cost import Cost
from workbench.analysis.fidelity import Fidelity
from workbench.analysis.hessian import Hessian
from workbench.analysis.landscape import Landscape
from workbench.analysis.robustness import Robustness
from workbench.analysis.robustness.corruptions import CORRUPTIONS


def hessian(run: FakeRun) -> Hessian:
    rng = _rng(run)
    tail = np.sort(rng.uniform(5, 60, (2, 8)), 1) * rng.uniform(0.5, 3)
    nodes = np.concatenate([rng.normal(0, 0.3, (2, 4)), tail], 1)
    weights = np.concatenate([np.full((2, 4), 0.2499), np.full((2, 8), 5e-5)], 1)
    top = np.array([tail.max(), 0.8 * tail.max()])
    return Hessian(
        name=run.name, eigenvalues=top, residuals=0.01 * top, trace_samples=rng.normal(3 * tail.sum(), 9, 6),
        nodes=nodes, weights=weights, width=0.01 * float(np.ptp(nodes)), parameters=75000, images=64, products=30,
    )  # fmt: skip


def robustness(run: FakeRun) -> Robustness:
    clean, rng = run.result["accuracy"], _rng(run)
    lost = rng.uniform(0, 0.4, (15, 1)) * np.array([0.3, 0.6, 1.0])
    kinds = tuple(CORRUPTIONS)
    return Robustness(run.name, kinds, np.array([1, 3, 5]), clean * (1 - lost), clean, 200, "C-style")


def fidelity(run: FakeRun) -> Fidelity:
    rng = _rng(run)
    pairs = 0 if run.config.method == "vanilla" else 300
    weight = rng.uniform(0, 1, pairs)
    visible = np.clip(weight + rng.normal(0, 0.25, pairs), 0, 1)
    order = np.arange(pairs) % 2
    return Fidelity(run.name, run.config.method, "", weight, visible, order, np.ones(pairs), 0.3, 0.05)


def cost(run: FakeRun) -> Cost:
    return Cost(
        name=run.name, method=run.config.method, backbone="resnet8", device="cpu", precision="float32",
        batch_size=16, image_size=32,
        net_parameters=75000, method_parameters=0, forward_flops=10**8, flops=4 * 10**8, plain_flops=3 * 10**8,
        seconds=0.12, plain_seconds=0.1, memory_bytes=2**27, plain_memory_bytes=2**27,
    )  # fmt: skip


def landscape(runs: Sequence[FakeRun]) -> Landscape:
    a = np.arange(-5, 6) / 5
    width = np.array([[_rng(run).uniform(1, 3)] for run in runs])
    loss = (0.8 + width * a**2 + (width * a) ** 4)[..., None]
    return Landscape("", "line", tuple(r.name for r in runs), a, np.zeros(1), loss, 1 / (1 + loss), "running", 200)


def plane(run: FakeRun) -> Landscape:
    a = np.arange(-3, 4) / 3
    loss = 0.8 + _rng(run).uniform(1, 3) * (a[:, None] ** 2 + 2 * a[None] ** 2)[None]
    return Landscape(run.name, "plane", (run.name,), a, a, loss, 1 / (1 + loss), "running", 200)


def cam(runs: Sequence[FakeRun]) -> Cam:
    images = pictures()
    n, side = len(images), images.shape[-1]
    rows, columns = np.mgrid[:side, :side] / side
    maps = np.empty((len(runs), n, side, side), np.float32)
    for i, run in enumerate(runs):
        for j, (y, x) in enumerate(_rng(run).uniform(0.2, 0.8, (n, 2))):
            maps[i, j] = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 0.05)
    some = np.full((len(runs), n), 0.5)
    curve = np.full((len(runs), n, 3), 0.5)
    masks = ((rows - 0.5) ** 2 + (columns - 0.5) ** 2 < 0.1).astype(np.uint8)
    return Cam(
        name="", runs=tuple(run.name for run in runs), kind="gradcam", target="label", images=images,
        labels=np.arange(n), classes=tuple(f"class {i}" for i in range(8)), masks=np.stack([masks] * n), maps=maps,
        asked=np.tile(np.arange(n), (len(runs), 1)), probability=some, pointing=some, energy=some, iou=some,
        threshold=some[:, 0], share=np.array([0, 0.5, 1]), insertion_curve=curve, deletion_curve=curve,
    )  # fmt: skip


EACH: Mapping[str, Callable[[FakeRun], Result]] = {
    "hessian": hessian,
    "robustness": robustness,
    "fidelity": fidelity,
    "cost": cost,
}
JOINT: Mapping[str, Callable[[Sequence[FakeRun]], Result]] = {"landscape": landscape, "cam": cam}


def store(runs: Sequence[FakeRun], name: str, result: Result, **options: Any) -> None:
    """Keep a result where the analysis of these runs, with these options, would have kept it."""
    for run in runs:
        (run.path / "weights.safetensors").write_text(run.name)
    path = cache._place(runs, name, ANALYSES[name], options)
    base.save(result, path, {"options": options, "runs": [run.name for run in runs]})


def store_all(runs: Sequence[FakeRun]) -> list[FakeRun]:
    """Every result that figures show, of all these runs; gives the runs."""
    for name, make in EACH.items():
        for run in runs:
            store([run], name, make(run))
    for name, of_all in JOINT.items():
        store(runs, name, of_all(runs))
    return list(runs)


def _rng(run: FakeRun) -> np.random.Generator:
    return np.random.default_rng([run.config.seed, *run.config.method.encode()])
