"""Nets as safetensors: tensors and a few words about their shape, never code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from workbench.config import UsageError
from workbench.models import Net

WEIGHTS = "weights.safetensors"
"""The file of a run folder that holds its net."""


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, as safetensors takes them: contiguous, on the CPU, without gradients."""
    return {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}


def net_bytes(net: Net, model_args: dict[str, object]) -> bytes:
    """A net's weights with what is needed to build it again: what `load_net` reads."""
    shape = {"name": net.name, "num_classes": net.num_classes, "channels": net.channels, "size": net.size}
    described = json.dumps({**shape, **model_args})
    return save(tensors_of(net), metadata={"net": described, "format": "pt"})


def load_net(path: str | Path) -> Net:
    """A stored net, in evaluation mode, on the CPU. path: a file of weights, or the run folder that it lies in."""
    path = Path(path) / WEIGHTS if Path(path).is_dir() else Path(path)
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
