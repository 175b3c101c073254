"""What a whole training step costs with each method: time and peak memory as multiples of plain training."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm.auto import tqdm

from workbench.bench.timing import check_counts, clock, headline, interleaved, spread, warm_heap, write_table
from workbench.bench.train import Untested, training_of
from workbench.config import RunConfig, choose
from workbench.methods import METHODS
from workbench.runs.folder import make_folder
from workbench.train import deterministic
from workbench.train.memory import peak_of

SMALL_VIT = "vit_tiny_patch16_224"
"""For methods that read a class token's attention; they are compared with plain training of the same net."""
ON_GPU = 10
"""Steps of a round on a GPU, where the host runs ahead of the device within a round, as it does in a training."""
PATCHES = 14
"""Most patches along a side of that net, as at 224 pixels; fewer where a patch would be below 4 pixels."""


def bench_steps(
    model: str = "resnet18",
    batch_size: int = 128,
    rounds: int = 5,
    out: str | Path = "out/bench",
    *,
    size: int = 32,
    only: Sequence[str] = (),
) -> str:
    """Every method's step (mix, all losses and their backward passes, optimiser, slow copies) over vanilla's.

    The steps of all methods are interleaved, one a round (`ON_GPU` on CUDA), with deterministic algorithms, as a run
    has them, and each ratio is taken within its round. Peak memory is that of a step, with weights and optimiser
    state. On CUDA a step is also made where PyTorch raises an error at anything that waits for the device. Returns a
    table as text and writes `steps.csv`.
    """
    check_counts(batch_size=batch_size, rounds=rounds, size=size)
    keys = [key for key in METHODS if not only or key in only or key == "vanilla"]
    for key in only:
        choose(METHODS, key, "method")
    heap = warm_heap()
    trainings = {name: training_of(config, 1) for name, config in _configs(keys, model, batch_size, size).items()}
    device = trainings["vanilla"].accelerator.device
    make_folder(Path(out))  # after a mistake there is no folder, and before the work one that can be written
    steps = ON_GPU if device.type == "cuda" else 1

    def measure(name: str, index: int) -> float:
        training = trainings[name]
        x, y = training.train.batch(0, 0)
        numbers = range(index * steps, (index + 1) * steps)
        return clock(lambda: [training.step(x, y, 1, number) for number in numbers], device) / steps

    with deterministic():
        memory = {name: _warm_up(t) for name, t in tqdm(trainings.items(), desc="bench steps, warm-up", unit="method")}
        waits = {name: _waits(training) for name, training in trainings.items()} if device.type == "cuda" else {}
        seconds = interleaved(list(trainings), rounds, "bench steps", measure)
    table = _table(seconds, memory, {name: t.config.model for name, t in trainings.items()}, waits)
    write_table(table, Path(out) / "steps.csv", device, batch=batch_size, size=size, heap=heap)
    return _text(table, headline(device, batch=f"{batch_size} of 3x{size}x{size}", heap=heap))


def _configs(keys: Sequence[str], model: str, batch_size: int, size: int) -> dict[str, RunConfig]:
    """Settings by name; the ViT's own vanilla comes along where a method needs that net."""
    common: dict[str, Any] = {"data": "photos", "size": size, "batch_size": batch_size, "epochs": 1000}
    common |= {"augment": "none"}
    patch = max(size // PATCHES, 4)
    attentive = [key for key in keys if METHODS[key].family == "attention"]
    configs = {key: RunConfig(method=key, model=model, **common) for key in keys if key not in attentive}
    for key in ["vanilla", *attentive] if attentive else []:
        name = "vanilla, ViT" if key == "vanilla" else key
        configs[name] = RunConfig(method=key, model=SMALL_VIT, model_args={"patch_size": patch}, **common)
    return configs


def _warm_up(training: Untested) -> int:
    """Two steps; bytes at the peak of the second, since the optimiser makes its state in the first."""
    training.objective.train()
    x, y = training.train.batch(0, 0)
    training.step(x, y, 0, 0)
    rise = peak_of(lambda: training.step(x, y, 0, 0), training.accelerator.device)
    return rise + training.resident_bytes()


def _waits(training: Untested) -> str:
    """What in a step waits for the GPU, in PyTorch's words; "" if nothing does."""
    x, y = training.train.batch(0, 0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        training.step(x, y, 0, 0)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return ""


def _table(
    seconds: dict[str, list[float]], memory: dict[str, int], models: dict[str, str], waits: dict[str, str]
) -> pd.DataFrame:
    """One row a method: medians and ranges of its ratio to vanilla of the same net, round by round."""
    rows = []
    for name, times in seconds.items():
        plain = "vanilla, ViT" if models[name] == SMALL_VIT and "vanilla, ViT" in seconds else "vanilla"
        ratios = [a / b for a, b in zip(times, seconds[plain], strict=True)]
        row = {"method": name, "model": models[name], **spread(ratios), "memory": memory[name] / memory[plain]}
        row |= {"milliseconds": 1000 * statistics.median(times), "rounds": len(times)}
        rows.append(row | ({"waits": waits[name]} if waits else {}))
    return pd.DataFrame(rows)


def _text(table: pd.DataFrame, head: str) -> str:
    lines = [
        f"{row['method']:14s} {row['ratio']:6.2f} ({row['lowest']:.2f} to {row['highest']:.2f})  memory "
        f"{row['memory']:5.2f}  {row['milliseconds']:9.1f} ms  {row['model']}"
        + (f"  waits: {row['waits']}" if row.get("waits") else "")
        for row in table.to_dict("records")
    ]
    return "\n".join([head, "multiples of plain training of the same net, medians and ranges over the rounds", *lines])
