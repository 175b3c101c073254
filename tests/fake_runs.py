"""Run folders as `workbench.runs` writes them, with plausible numbers and real pictures, made in a second."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from skimage import data as photographs
from skimage.transform import resize

from workbench.config import RunConfig, UsageError, dump, load_config

TOUR = ("vanilla", "mixup", "cutmix", "manifoldmix", "automix")
CLASSES = 8
TEST_IMAGES = 600
PICTURES = 6

# accuracy, inverse temperature of the logits (low: under-confident), seconds a step, megabytes
CHARACTER = {
    "vanilla": (0.71, 1.6, 0.100, 210),
    "mixup": (0.74, 0.55, 0.103, 212),
    "cutmix": (0.765, 0.7, 0.104, 211),
    "manifoldmix": (0.75, 0.6, 0.109, 236),
    "automix": (0.79, 0.8, 0.192, 258),
}


@dataclass(frozen=True)
class FakeRun:
    """A stored run, read without `workbench.runs` (and so without torch)."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def config(self) -> RunConfig:
        return load_config(self.path / "config.yaml")

    @property
    def history(self) -> pd.DataFrame:
        lines = (self.path / "history.jsonl").read_text().splitlines()
        return pd.DataFrame([json.loads(line) for line in lines])

    @property
    def result(self) -> dict[str, Any]:
        if not (self.path / "result.json").exists():
            raise UsageError(f"run {self.name} has no result yet")
        return json.loads((self.path / "result.json").read_text())

    def predictions(self) -> tuple[np.ndarray, np.ndarray]:
        stored = np.load(self.path / "predictions.npz")
        return stored["logits"], stored["labels"]

    def samples(self) -> dict[str, np.ndarray] | None:
        path = self.path / "samples.npz"
        return dict(np.load(path)) if path.exists() else None


def write_run(root: Path, config: RunConfig, name: str | None = None, **numbers: Any) -> FakeRun:
    """A finished run's folder. `numbers` replace entries of result.json."""
    path = root / (name or config.run_id)
    path.mkdir(parents=True)
    accuracy, sharpness, seconds, megabytes = CHARACTER.get(config.method) or _character(config.method)
    rng = np.random.default_rng([config.seed, sum(config.method.encode())])
    accuracy += rng.normal(0, 0.006)
    (path / "config.yaml").write_text(dump(config))
    (path / "history.jsonl").write_text("".join(json.dumps(r) + "\n" for r in _history(config, accuracy, rng)))
    logits, labels = _predictions(accuracy, sharpness, rng)
    np.savez_compressed(path / "predictions.npz", logits=logits, labels=labels)
    arrays: dict[str, Any] = dict(sample_arrays(config.method))
    np.savez_compressed(path / "samples.npz", **arrays)
    result = {
        "accuracy": round(accuracy, 4),
        "score": config.score,
        "epochs": config.epochs,
        "seconds_per_step": seconds * (1 + rng.normal(0, 0.02)),
        "memory_bytes": int(megabytes * 2**20),
        "test_images": TEST_IMAGES,
        "classes": [f"class {i}" for i in range(CLASSES)],
        "state": "done",
    }
    (path / "result.json").write_text(json.dumps(result | numbers))
    return FakeRun(path)


def write_runs(
    root: Path, methods: Sequence[str] = TOUR, seeds: Sequence[int] = (0, 1), **settings: Any
) -> list[FakeRun]:
    """A run for every method and seed: `settings` are those of RunConfig."""
    chosen: dict[str, Any] = {"data": "photos", "size": 32, "model": "resnet8", "epochs": 20} | settings
    return [write_run(root, RunConfig(method=m, seed=s, **chosen)) for m in methods for s in seeds]


def _character(method: str) -> tuple[float, float, float, float]:
    """Numbers of a method that CHARACTER doesn't have, from its name."""
    low, high = np.array([0.72, 0.5, 0.105, 212]), np.array([0.80, 1.2, 0.25, 330])
    accuracy, sharpness, seconds, megabytes = np.random.default_rng(list(method.encode())).uniform(low, high)
    return accuracy, sharpness, seconds, megabytes


def _history(config: RunConfig, accuracy: float, rng: np.random.Generator) -> list[dict[str, Any]]:
    epochs = np.arange(1, config.epochs + 1)
    rise = 1 - np.exp(-4 * epochs / config.epochs)
    test = np.clip(accuracy * rise / rise[-1] + rng.normal(0, 0.02, len(epochs)) * (1 - rise + 0.15), 0, 1)
    floor = 0.15 if config.method == "vanilla" else 0.9
    loss = floor + (2.1 - floor) * np.exp(-3.5 * epochs / config.epochs) + rng.normal(0, 0.02, len(epochs))
    return [
        {"epoch": int(e), "train_loss": float(t), "test_loss": float(1.2 * t), "test_accuracy": float(a), "lr": 0.1,
         "seconds": 1.0, "steps": 10, "images": 1280, "memory_bytes": 2**27}
        for e, t, a in zip(epochs, loss, test, strict=True)
    ]  # fmt: skip


def _predictions(accuracy: float, sharpness: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(N, K) float32 logits and (N,) labels: labels are drawn from softmax(z), then z is sharpened or flattened."""
    z = rng.normal(0, 0.8, (TEST_IMAGES, CLASSES))
    z[np.arange(TEST_IMAGES), rng.integers(0, CLASSES, TEST_IMAGES)] += 8 * accuracy**2
    labels = (z + rng.gumbel(size=z.shape)).argmax(1)
    return (z * sharpness).astype(np.float32), labels


@lru_cache
def pictures(side: int = 32) -> np.ndarray:
    """(PICTURES, 3, side, side) uint8: crops of scikit-image's photographs."""
    chosen = (photographs.astronaut, photographs.chelsea, photographs.coffee, photographs.rocket,
              photographs.immunohistochemistry, photographs.hubble_deep_field)  # fmt: skip
    crops = []
    for photograph in chosen[:PICTURES]:
        full = photograph()
        edge = min(full.shape[:2])
        crop = resize(full[:edge, :edge], (side, side), anti_aliasing=True)
        crops.append(np.moveaxis((255 * crop).round().astype(np.uint8), -1, 0))
    return np.stack(crops)


def sample_arrays(method: str, side: int = 32) -> dict[str, np.ndarray]:
    """samples.npz of a method: every picture mixed with the next one at lambda 0.5."""
    sources = pictures(side)
    partner = np.roll(np.arange(PICTURES), -1)
    arrays: dict[str, np.ndarray] = {"sources": sources, "note": np.array("")}
    if method == "vanilla":
        weight = np.tile(np.float32([1, 0]), (PICTURES, 1))
        return arrays | {"mixed": sources, "partner": np.arange(PICTURES), "weight": weight}
    mask = _mask(method, side)
    share = np.full((PICTURES, 1, side, side), 0.5, np.float32) if mask is None else mask
    mixed = (share * sources + (1 - share) * sources[partner]).round().astype(np.uint8)
    weight = np.stack([share.mean((1, 2, 3)), 1 - share.mean((1, 2, 3))], 1).astype(np.float32)
    if method == "manifoldmix":
        arrays["note"] = np.array("mixed in features; shown at depth 0")
    arrays |= {"mixed": mixed, "partner": partner, "weight": weight}
    return arrays if mask is None else arrays | {"mask": mask}


def _mask(method: str, side: int) -> np.ndarray | None:
    """(PICTURES, 1, side, side) share of the row itself: boxes, smooth blobs, or none."""
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[:side, :side] / side
    if method == "cutmix":
        corners = rng.uniform(0, 0.5, (PICTURES, 2))
        boxes = [(rows >= r) & (rows < r + 0.7) & (columns >= c) & (columns < c + 0.7) for r, c in corners]
        return 1 - np.stack(boxes)[:, None].astype(np.float32)
    if method in ("automix", "samix", "adautomix"):
        angles = rng.uniform(0, 2 * np.pi, PICTURES)
        slopes = [np.cos(a) * (rows - 0.5) + np.sin(a) * (columns - 0.5) for a in angles]
        return (1 / (1 + np.exp(-12 * np.stack(slopes))))[:, None].astype(np.float32)
    return None
