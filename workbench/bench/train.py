"""What the training loop costs over a bare one."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from workbench.bench.timing import check_counts, clock, headline, interleaved, write_table
from workbench.config import RunConfig
from workbench.data.batches import Batches
from workbench.draw import Draw
from workbench.methods import build
from workbench.runs.execute import Pulse
from workbench.runs.folder import make_folder
from workbench.train import Training, assemble, fit
from workbench.train.fit import OnStep
from workbench.train.setup import make_optimizer

MIXED = ("mixup", "cutmix")


class Untested(Training):
    """A training whose epochs end without a look at the test images, so that an epoch is the loop alone."""

    def evaluate(self) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((0, self.net.num_classes), np.float32), np.zeros(0, np.int64)


def bench_train(
    model: str = "resnet18",
    batch_size: int = 128,
    rounds: int = 5,
    out: str | Path = "out/bench",
    steps: int | None = None,
) -> str:
    """What our loop costs over a bare PyTorch loop of the same net, data and precision, and mixing within a step.

    Our loop is `fit` as a run has it: the loader, the record of the losses, the look for infinities, progress and
    status file, deterministic algorithms. Only the evaluation is left out. Every round times an epoch of `steps`
    steps of ours and as many bare ones, in turn, so that a machine that drifts slows all alike; the ratio is taken
    within the round. What comes once an epoch is spread over few steps here (4, on a GPU 100, when `steps` is left
    out), so a real run costs less. Returns a table as text and writes `train.csv` with the machine's description.
    """
    steps = steps or (100 if torch.cuda.is_available() else 4)
    check_counts(batch_size=batch_size, rounds=rounds, steps=steps)
    config = RunConfig(
        method="vanilla",
        model=model,
        data="photos",
        size=32,
        batch_size=batch_size,
        epochs=rounds + 1,
        augment="none",
    )
    ours, bare = (training_of(config, steps) for _ in range(2))
    make_folder(Path(out))
    with tempfile.TemporaryDirectory() as folder, tqdm(disable=True) as bar:
        pulse = Pulse(Path(folder), config.epochs, steps, bar)
        seconds = _measure(_timed(ours, bare, pulse), rounds, ours.accelerator.device)
    table = _table(seconds, steps)
    device = ours.accelerator.device
    write_table(table, Path(out) / "train.csv", device, model=model, batch=batch_size)
    return _text(table, headline(device, model=model, batch=f"{batch_size} of 3x32x32"))


def training_of(config: RunConfig, steps: int) -> Untested:
    """A training with epochs of so many steps, over as many images of the data set as they take."""
    whole = assemble(config)
    parts = {part.name: getattr(whole, part.name) for part in fields(whole) if part.init}
    dataset = whole.train.dataset
    rows = torch.arange(config.batch_size * steps) % len(dataset)  # a set too small is gone through again
    device = whole.accelerator.device
    parts["train"] = Batches(
        dataset.subset(rows), config.batch_size, train=True, seed=config.seed, device=device, augment=config.augment
    )
    return Untested(**parts)


def _timed(ours: Training, bare: Training, pulse: OnStep) -> dict[str, Callable[[int], object]]:
    """What is timed, by name: each does the steps of one epoch, given the number of the round."""
    x, y = ours.train.batch(0, 0)
    steps = len(ours.train)
    return {
        "bare loop": _bare_epoch(bare),
        "our loop": lambda index: _our_epoch(ours, index, pulse),
        **{f"mixing: {name}": _mixing(name, x, y, steps) for name in MIXED},
    }


def _measure(timed: Mapping[str, Callable[[int], object]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each, a number a round. Round 0 warms up: a training's first steps run under the memory meter."""
    for work in timed.values():
        work(0)

    def measure(name: str, index: int) -> float:
        return clock(lambda: timed[name](index), device)

    return interleaved(list(timed), rounds, "bench train", measure)


def _bare_epoch(training: Training) -> Callable[[int], object]:
    """What anybody would write: index, normalise, forward, backward, step. The optimiser is PyTorch's own, without
    accelerate's wrapper."""
    net, optimizer = training.net.train(), make_optimizer(training.net, training.config)
    device, size = training.accelerator.device, training.config.batch_size
    images, labels = training.train.dataset.images.to(device), training.train.dataset.labels.to(device)
    generator = torch.Generator().manual_seed(0)

    def epoch(index: int) -> None:
        for rows in torch.randperm(len(images), generator=generator).to(device).split(size):
            loss = F.cross_entropy(net(images[rows].float() / 255), labels[rows])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    return epoch


def _our_epoch(training: Training, index: int, pulse: OnStep) -> None:
    """One epoch of the real loop. `fit` is closed after it, so that the bare loop has not its deterministic
    algorithms."""
    with closing(cast("Generator[dict[str, Any], None, None]", fit(training, index, pulse))) as records:
        next(records)


def _mixing(name: str, x: Tensor, y: Tensor, steps: int) -> Callable[[int], object]:
    """Drawing and mixing alone."""
    method = build(name)
    return lambda index: [method.mix(x, y, None, Draw(0, index, step)) for step in range(steps)]


def _table(seconds: Mapping[str, list[float]], steps: int) -> pd.DataFrame:
    """Medians and ranges: milliseconds a step, and ratios to the loop of the same round."""
    rows = []
    for name, times in seconds.items():
        against = "our loop" if name.startswith("mixing") else "bare loop"
        ratios = [a / b for a, b in zip(times, seconds[against], strict=True)]
        rows.append(
            {
                "what": name,
                "milliseconds": 1000 * statistics.median(times) / steps,
                "of": against,
                "ratio": statistics.median(ratios),
                "lowest": min(ratios),
                "highest": max(ratios),
                "rounds": len(times),
                "steps": steps,
            }
        )
    return pd.DataFrame(rows)


def _text(table: pd.DataFrame, head: str) -> str:
    lines = [
        f"{r.what:16s} {r.milliseconds:10.2f} ms   {r.ratio:8.4f} of {r.of}  "
        f"({r.lowest:.4f} to {r.highest:.4f} in {r.rounds} rounds of {r.steps} steps)"
        for r in table.itertuples()
    ]
    return "\n".join([head, *lines])
