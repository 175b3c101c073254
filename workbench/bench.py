"""How fast it is, as ratios taken in one run: absolute times of a shared machine say little."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from workbench.config import RunConfig
from workbench.draw import Draw
from workbench.methods import build
from workbench.runs.environment import describe_environment
from workbench.train import Training, assemble

MIXED = ("mixup", "cutmix")


def bench_train(model: str = "resnet18", batch_size: int = 128, rounds: int = 5, out: str | Path = "out/bench") -> str:
    """What our loop costs over a bare PyTorch loop of the same net, data and precision, and mixing within a step.

    Every round times one step of each, in turn, so that a machine that drifts slows all alike; the ratio is taken
    within the round. Returns a table as text and writes `train.csv` with the machine's description.
    """
    config = RunConfig(
        method="vanilla", model=model, data="photos", size=32, batch_size=batch_size, epochs=1000, augment="none"
    )
    ours, bare = assemble(config), assemble(config)
    device = ours.accelerator.device
    x, y = next(iter(ours.train.epoch(0)))
    timed: dict[str, Callable[[int], object]] = {
        "bare loop": _bare_step(bare),
        "our loop": _our_step(ours),
        **{f"mixing: {name}": _mixing(name, x, y) for name in MIXED},
    }
    for step in timed.values():
        step(0)
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for index in tqdm(range(1, rounds + 1), desc="bench train", unit="round"):
        for name in timed if index % 2 else reversed(timed):
            seconds[name].append(_clock(timed[name], index, device))
    table = _table(seconds)
    _write(table, Path(out), model, batch_size)
    return _text(table, model, batch_size, device)


def _clock(fn: Callable[[int], object], index: int, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    fn(index)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _bare_step(training: Training) -> Callable[[int], object]:
    """What anybody would write: index, normalise, forward, backward, step."""
    net, optimizer = training.net.train(), training.optimizer
    images, labels = training.train.dataset.images, training.train.dataset.labels
    images, labels = images.to(training.accelerator.device), labels.to(training.accelerator.device)
    size, generator = training.config.batch_size, torch.Generator().manual_seed(0)

    def step(index: int) -> None:
        rows = torch.randperm(len(images), generator=generator)[:size].to(images.device)
        loss = F.cross_entropy(net(images[rows].float() / 255), labels[rows])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _our_step(training: Training) -> Callable[[int], object]:
    """One turn of the real loop: the loader's next batch and `Training.step`."""
    training.objective.train()
    batches = (
        batch
        for epoch in range(10**6)
        for batch in training.train.epoch(epoch)
        if len(batch[0]) == training.config.batch_size
    )

    def step(index: int) -> None:
        x, y = next(batches)
        training.step(x, y, 0, index % len(training.train))

    return step


def _mixing(name: str, x: Tensor, y: Tensor) -> Callable[[int], object]:
    """Drawing and mixing alone."""
    method = build(name)
    return lambda index: method.mix(x, y, None, Draw(0, 0, index))


def _table(seconds: dict[str, list[float]]) -> pd.DataFrame:
    """Medians and ranges: milliseconds, and ratios to the step of the same round."""
    rows = []
    for name, times in seconds.items():
        against = "our loop" if name.startswith("mixing") else "bare loop"
        ratios = [a / b for a, b in zip(times, seconds[against], strict=True)]
        rows.append(
            {
                "what": name,
                "milliseconds": 1000 * statistics.median(times),
                "of": against,
                "ratio": statistics.median(ratios),
                "lowest": min(ratios),
                "highest": max(ratios),
                "rounds": len(times),
            }
        )
    return pd.DataFrame(rows)


def _write(table: pd.DataFrame, out: Path, model: str, batch_size: int) -> None:
    machine = describe_environment()
    facts = {"model": model, "batch": batch_size, "torch": machine["packages"]["torch"], "cpu": machine["cpu"]}
    facts |= {"threads": machine["threads"], "gpu": "; ".join(machine["gpu"])}
    out.mkdir(parents=True, exist_ok=True)
    table.assign(**facts).to_csv(out / "train.csv", index=False)


def _text(table: pd.DataFrame, model: str, batch_size: int, device: torch.device) -> str:
    threads, version = torch.get_num_threads(), torch.__version__
    head = f"{model}, batch {batch_size} of 3x32x32, {device}, {threads} threads, torch {version}"
    lines = [
        f"{r.what:16s} {r.milliseconds:10.2f} ms   {r.ratio:8.4f} of {r.of}  "
        f"({r.lowest:.4f} to {r.highest:.4f} in {r.rounds} rounds)"
        for r in table.itertuples()
    ]
    return "\n".join([head, *lines])
