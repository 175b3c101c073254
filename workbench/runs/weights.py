"""What a run's net and method learned, as files of its folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from workbench.config import UsageError
from workbench.methods import Method
from workbench.methods.parts.frozen import ORIGIN
from workbench.models import Net
from workbench.models.stored import WEIGHTS, net_bytes, tensors_of
from workbench.runs.folder import write_bytes
from workbench.train.setup import make_method

if TYPE_CHECKING:
    from workbench.runs.handle import Run


TRAJECTORY = "trajectory"
"""Folder below that of the run, for nets of earlier epochs."""
KEPT = re.compile(r"epoch-(\d{4,})\.safetensors")


def save_net(path: Path, net: Net, model_args: dict[str, object]) -> None:
    """Store a net's weights with what is needed to build it again."""
    write_bytes(path, net_bytes(net, model_args))


def keep_net(run: Path, epoch: int, net: Net, model_args: dict[str, object]) -> None:
    """Keep a net as it is after `epoch` epochs; 0 is before training."""
    (run / TRAJECTORY).mkdir(exist_ok=True)
    save_net(run / TRAJECTORY / f"epoch-{epoch:04d}.safetensors", net, model_args)


def load_trajectory(run: Run) -> tuple[list[int], list[dict[str, Tensor]]]:
    """What `keep_net` kept, by rising epoch, and the finished net. UsageError where nothing was kept."""
    kept = {int(found[1]): path for path in (run.path / TRAJECTORY).glob("*") if (found := KEPT.fullmatch(path.name))}
    if not kept:
        again = "train it with keep_weights=1, say"
        raise UsageError(f"run {run.name} kept no weights but the last; {again} (`--keep-weights 1`)")
    last = run.path / WEIGHTS
    places = sorted(kept.items()) + ([(run.config.epochs, last)] if last.is_file() else [])
    return [epoch for epoch, _ in places], [_tensors(path) for _, path in places]


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UsageError(f"{path} is damaged ({error}); delete the run's folder and train it again") from None


def save_method(path: Path, method: Method) -> None:
    """Store what a method learned; nothing is written for one that does not learn."""
    tensors = tensors_of(method)
    if tensors:
        write_bytes(path, save(tensors))


def load_method(run: Run) -> Method:
    """The method of a run with what it learned, on the CPU."""
    method = make_method(run.config)
    stored = run.path / "method.safetensors"
    if stored.exists():
        tensors = load_file(stored)
        if not any(name.rpartition(".")[2] == ORIGIN for name in tensors):  # else they build what they need themselves
            method.attach(run.net())
        method.load_state_dict(tensors)
    return method.eval()
