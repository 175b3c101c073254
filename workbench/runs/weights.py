"""What a run's net and method learned, as files of its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file, save

from workbench.methods import Method
from workbench.methods.parts.frozen import ORIGIN
from workbench.models import Net
from workbench.models.stored import net_bytes, tensors_of
from workbench.runs.folder import write_bytes
from workbench.train.setup import make_method

if TYPE_CHECKING:
    from workbench.runs.handle import Run


def save_net(path: Path, net: Net, model_args: dict[str, object]) -> None:
    """Store a net's weights with what is needed to build it again."""
    write_bytes(path, net_bytes(net, model_args))


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
