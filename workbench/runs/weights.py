"""Nets and methods as safetensors: tensors and a few words about their shape, never code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from workbench.config import UsageError
from workbench.methods import Method
from workbench.models import Net
from workbench.runs.folder import write_bytes
from workbench.train.setup import make_method

if TYPE_CHECKING:
    from workbench.runs.handle import Run


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}


def save_net(path: Path, net: Net, model_args: dict[str, object]) -> None:
    """Store a net's weights with what is needed to build it again."""
    shape = {"name": net.name, "num_classes": net.num_classes, "channels": net.channels, "size": net.size}
    described = json.dumps({**shape, **model_args})
    write_bytes(path, save(_tensors(net), metadata={"net": described, "format": "pt"}))


def load_net(path: Path) -> Net:
    """A stored net, in evaluation mode, on the CPU."""
    try:
        with safe_open(path, "pt") as file:
            described: dict[str, Any] = json.loads((file.metadata() or {})["net"])
        tensors = load_file(path)
    except FileNotFoundError:
        raise UsageError(f"no weights at {path}: the run is not finished") from None
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise UsageError(f"{path} does not hold a net of this workbench: {error}") from None
    mean, std = (tensors[name].flatten().tolist() for name in ("mean", "std"))
    net = Net(**described, mean=mean, std=std)
    net.load_state_dict(tensors)
    return net.eval()


def save_method(path: Path, method: Method) -> None:
    """Store what a method learned; nothing is written for one that does not learn."""
    tensors = _tensors(method)
    if tensors:
        write_bytes(path, save(tensors))


def load_method(run: Run) -> Method:
    """The method of a run with what it learned, on the CPU."""
    method = make_method(run.config)
    stored = run.path / "method.safetensors"
    if stored.exists():
        method.attach(run.net())
        method.load_state_dict(load_file(stored))
    return method.eval()
