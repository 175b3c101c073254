"""What the contract test has to know of each method. A method without a row here fails the contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pytest
import torch
from torch import Tensor

from workbench.methods import Method, build
from workbench.methods.parts.teacher import Learned
from workbench.models import Net

CLASSES = 8


def residual_net(channels: int, height: int, width: int) -> Net:
    """A small ResNet, which takes images of any size."""
    return Net("resnet8", CLASSES, mean=[0.4] * channels, std=[0.3] * channels, channels=channels)


def token_net(channels: int, height: int, width: int) -> Net:
    """A tiny vision transformer with a class token, made for square images of one size."""
    return Net(
        "vit_tiny_patch16_224",
        CLASSES,
        mean=[0.4] * channels,
        std=[0.3] * channels,
        channels=channels,
        size=height if height == width else 32,
        depth=2,
        embed_dim=16,
        num_heads=2,
    )


@dataclass(frozen=True)
class Case:
    """One method, as the contract test meets it."""

    make_net: Callable[[int, int, int], Net] = residual_net
    """A net that suits the method, from channels, height, width."""
    label: Literal["pixels", "lambda", "features"] = "pixels"
    """What the label weights are held against: the share of the pixels; the lambda that was drawn, because the paper
    has it so; or, for a mix inside the net, the pixels of the picture that is shown of it."""
    random: bool = True
    """Whether the mix depends on the draw."""
    moves: bool = False
    """Whether content changes its place or size, so that an image mixed with itself is not itself any more."""
    by_content: bool = False
    """Whether the weights follow from what an image shows, so that one draw a batch does not make them alike."""
    alone: bool = True
    """Whether the stand-alone call `Method()(images, labels)` works; if not, it must say why."""

    def attached(self, key: str, channels: int = 3, height: int = 32, width: int = 32, **params: object) -> Ready:
        """The method and its net, with weights that are always the same."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net, method = self.make_net(channels, height, width), build(key, params)
            method.attach(net)
        return Ready(net, method)


@dataclass(frozen=True)
class Ready:
    """A net and a method that was attached to it."""

    net: Net
    method: Method

    def to(self, device: str) -> Ready:
        self.net.to(device)
        self.method.to(device)
        return self


SETTINGS = {
    "vanilla": Case(random=False),
    "mixup": Case(),
    "cutmix": Case(),
    "deit": Case(),
    "smoothmix": Case(),
    "gridmix": Case(),
    "resizemix": Case(moves=True),
    "fmix": Case(),
    "manifoldmix": Case(label="features", alone=False),
    "saliencymix": Case(),
    "attentivemix": Case(alone=False),
    "puzzlemix": Case(by_content=True, alone=False),
    "comixup": Case(alone=False),
    "alignmix": Case(label="features", alone=False),
    "automix": Case(label="lambda", alone=False),
    "samix": Case(label="lambda", alone=False),
    "adautomix": Case(label="lambda", alone=False),
    "transmix": Case(make_net=token_net, alone=False),
    "smmix": Case(make_net=token_net, alone=False),
    "decouplemix": Case(alone=False),
}


def case(key: str) -> Case:
    if key not in SETTINGS:
        pytest.fail(f"add a row for {key!r} to SETTINGS in tests/methods/settings.py")
    return SETTINGS[key]


def awake(kind: type[Learned], **params: object) -> Ready:
    """Net and method as after some training: a generator far from its start, where every mask is nearly one half, and
    a teacher that is no longer a copy of the net."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net, method = residual_net(3, 32, 32), kind(**params)
        method.attach(net)
        for parameter in method.generator.parameters():
            torch.nn.init.normal_(parameter, std=1.0)
        for parameter in method.teacher.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    return Ready(net, method)


def telling_batch(rows: int, height: int = 32, width: int = 32) -> tuple[Tensor, Tensor]:
    """Images that reveal their row: image i is 1 in channel i and 0 elsewhere, and its label is i.

    So the mean over the pixels of a mixed image IS the share that every row has in it.
    """
    images = torch.eye(rows)[:, :, None, None].expand(rows, rows, height, width).contiguous()
    return images, torch.arange(rows)


def noise_batch(rows: int, channels: int = 3, height: int = 32, width: int = 32) -> tuple[Tensor, Tensor]:
    """Random images in [0, 1] and labels."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(rows, channels, height, width, generator=generator)
    return images, torch.randint(CLASSES, (rows,), generator=generator)
