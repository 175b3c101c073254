"""Learned methods that may take teacher and generator, frozen, from a finished run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from workbench.config import UsageError, load_config
from workbench.methods.parts.teacher import Learned
from workbench.models import Net
from workbench.models.stored import load_net

ORIGIN = "origin"
"""Name of the tensor among a method's that describes its frozen teacher: what `to_tensor` makes."""

LEARNED = "method.safetensors"
"""The file of a run folder that holds what its method learned."""


@dataclass(eq=False)
class Reusable(Learned):
    """A learned method whose teacher and generator may come from another run.

    They then learn no more, the teacher is in evaluation mode, and a step has the student's losses alone. They are
    stored with the new run, so that their own may go.
    """

    key: ClassVar[str]
    """The method's name in the settings of a run."""

    pretrained: str | None = None
    """Folder of a finished run of this method, whose teacher and generator are used, frozen, as they are. What the
    generator is told of lambda and where it looks is then as it was there, and the parameters of its training mean
    nothing. The new net may be of another architecture and have other classes, but must read as many channels."""

    @property
    def frozen(self) -> bool:
        """Whether teacher and generator come from another run."""
        return self.pretrained is not None

    def attach(self, net: Net) -> None:
        if self.pretrained is None:
            return super().attach(net)
        self.teacher = None
        try:
            self.load_state_dict(read_run(self.pretrained, self.key))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise UsageError(
                f"pretrained: {self.pretrained} holds another generator than this version's: {reason}"
            ) from None
        theirs = self.parts()[0].channels
        if theirs != net.channels:
            raise UsageError(
                f"pretrained: the net of {self.pretrained} reads {theirs} channels, this one {net.channels}"
            )
        self.to(net.mean.device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """A state with a frozen teacher says how to build it, so that it is read without the run it came from."""
        origin = state_dict.get(prefix + ORIGIN)
        if origin is not None and self.teacher is None:
            words = from_tensor(origin)
            self.teacher, self.depth = Net(**words["net"]), words["tap"]
            self.generator = self.make_generator(self.teacher.width(self.depth))
            self.register_buffer(ORIGIN, origin.clone())
            self.requires_grad_(False).train(self.training)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def train(self, mode: bool = True) -> Reusable:
        super().train(mode)
        if self.frozen and self.teacher is not None:
            self.teacher.eval()
        return self

    def after_step(self, net: Net, progress: float) -> None:
        if not self.frozen:
            super().after_step(net, progress)


def read_run(folder: str, method: str) -> dict[str, Tensor]:
    """What the method of a finished run learned, by name, and under ORIGIN how to build its teacher.

    folder: of a run of that method, by key. What is wrong with it is told in a UsageError of one line.
    """
    path = Path(folder)
    if not (path / "config.yaml").is_file():
        what = "a folder that is no run: it has no config.yaml" if path.is_dir() else "no folder"
        raise UsageError(f"pretrained must be the folder of a finished run of {method}; at {folder} there is {what}")
    config = load_config(path / "config.yaml")
    if config.method != method:
        raise UsageError(f"pretrained must be the folder of a finished run of {method}; {folder} is of {config.method}")
    if not (path / LEARNED).is_file():
        raise UsageError(
            f"pretrained: {folder} has no {LEARNED}: the run is not finished (`workbench resume {folder}`)"
        )
    try:
        tensors = load_file(path / LEARNED)
    except SafetensorError as error:
        raise UsageError(f"pretrained: {path / LEARNED} can't be read: {error}") from None
    if ORIGIN not in tensors:
        net = load_net(path)
        tap = config.params.get("tap") or net.middle
        tensors[ORIGIN] = to_tensor({"net": {**words_of(net), **config.model_args}, "tap": tap})
    return tensors


def words_of(net: Net) -> dict[str, Any]:
    """What builds a net of the same shape; further arguments of its timm model are not among it."""
    shape = {"name": net.name, "num_classes": net.num_classes, "channels": net.channels, "size": net.size}
    return {**shape, "mean": net.mean.flatten().tolist(), "std": net.std.flatten().tolist()}


def to_tensor(words: dict[str, Any]) -> Tensor:
    """Plain values as uint8 (bytes,), so that they can lie among a module's tensors."""
    return torch.frombuffer(bytearray(json.dumps(words).encode()), dtype=torch.uint8)


def from_tensor(tensor: Tensor) -> dict[str, Any]:
    """The plain values of `to_tensor`."""
    words: dict[str, Any] = json.loads(bytes(tensor.tolist()))
    return words
