"""What analyses take from run folders: predictions, nets, methods, test images."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.analysis.base import StoredRun
from workbench.config import RunConfig, UsageError, load_config, naming

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.data import ImageSet
    from workbench.methods import Method
    from workbench.models import Net
    from workbench.runs import Run


@dataclass(frozen=True)
class Need:
    """What an analysis takes from a run: how to get it, and the file of the run folder that it comes from."""

    fetch: Callable[[Any], tuple]
    file: str


def predictions(run: StoredRun) -> tuple[np.ndarray, np.ndarray]:
    """(N, classes) logits and (N,) labels of the test images."""
    logits, labels = run.predictions()
    return logits, labels


def _net(run: Run) -> tuple[Net, ImageSet]:
    """The net, on a GPU if there is one, and the test images."""
    return _on_device(run.net()), _test_images(run)


def _method(run: Run) -> tuple[Method, Net, ImageSet]:
    """The method with what it learned, its net, and the test images."""
    net = _on_device(run.net())
    return run.method().to(net.mean.device), net, _test_images(run)


def _trajectory(run: Run) -> tuple[dict[int, dict[str, Tensor]], Net, ImageSet]:
    """The net's state by epoch, the finished net, and the test images."""
    epochs, states = run.trajectory()
    return dict(zip(epochs, states, strict=True)), _on_device(run.net()), _test_images(run)


def nets(runs: Sequence[Any]) -> tuple[list[tuple[str, Net]], ImageSet]:
    """The nets of several runs by name, and the test images that all of them were tested on."""
    settings = {(run.config.data, run.config.size) for run in runs}
    if len(settings) > 1:
        listed = "; ".join(sorted(f"{data} at {size or 'its own'} px" for data, size in settings))
        raise UsageError(f"runs of one data set and size are needed to look at them together, got {listed}")
    found = []
    for run in runs:
        with naming(f"run {run.name}"):
            found.append((run.name, _on_device(run.net())))
    return found, _test_images(runs[0])


def _on_device(net: Net) -> Net:
    import torch

    return net.to(torch.accelerator.current_accelerator(check_available=True) or "cpu")


def _test_images(run: Run) -> ImageSet:
    from workbench.data import load

    config = run.config
    return load(config.data, "test", size=config.size, damaged=config.damaged)


WEIGHTS = "weights.safetensors"
NEEDS: Mapping[str, Need] = {
    "predictions": Need(predictions, "predictions.npz"),
    "net": Need(_net, WEIGHTS),
    "method": Need(_method, WEIGHTS),
    "trajectory": Need(_trajectory, WEIGHTS),
}


def hardware(run: StoredRun) -> str:
    """What a run's times and bytes were measured on, from its folder: the GPU, or the processor and its threads, and
    the number of processes; empty where that is not known."""
    try:
        about = json.loads((Path(run.path) / "environment.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # a run from elsewhere, or one that was cut off while it began
        return ""
    on_gpu = str(run.result.get("device", "")).startswith("cuda") and about.get("gpu")
    name = about["gpu"][0] if on_gpu else f"{about.get('cpu', 'a CPU')}, {about.get('threads', '?')} threads"
    processes = about.get("processes", 1)
    return f"{processes} x {name}" if processes > 1 else str(name)


def settings_beside(runs: Sequence[StoredRun]) -> tuple[RunConfig, ...]:
    """Settings of all runs, finished or not, in the folders that these runs lie in, and one folder further down."""
    roots = {Path(run.path).resolve().parent for run in runs}
    places = {path for root in roots for depth in ("*", "*/*") for path in root.glob(f"{depth}/config.yaml")}
    found = []
    for place in sorted(places):
        with suppress(UsageError):  # a file of this name that is none of a run
            found.append(load_config(place))
    return tuple(found)


def source(run: StoredRun, name: str, file: str) -> Path:
    """The file of a run that an analysis is made from. UsageError where it is missing."""
    path = Path(run.path) / file
    if not path.is_file():
        raise UsageError(f"run {run.name} has no {file}, which {name} needs; finish it with `workbench resume`")
    return path
