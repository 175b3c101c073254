"""A backbone by name: the small residual nets, or any classifier of timm, fitted to the images' size."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import timm
import torch
from timm.models.resnet import ResNet
from torch import nn

from workbench.config import UsageError, nearest, shown
from workbench.models.small import SMALL, SmallResNet

CIFAR_FORM_UP_TO = 64
"""Up to this side in pixels a timm ResNet gets the CIFAR form: 3x3 stem of stride 1, no max-pooling."""


def create(
    name: str | nn.Module,
    num_classes: int,
    channels: int = 3,
    size: int = 32,
    pretrained: bool = False,
    **model_args: Any,
) -> nn.Module:
    """A classifier with `num_classes` outputs for images of `channels` x `size` x `size`; a module of the caller's own
    is tried out, and given back as it is."""
    numbers: dict[str, Any] = {"num_classes": num_classes, "channels": channels, "size": size}
    for what, number in numbers.items():
        if not isinstance(number, Integral) or number < 1:
            raise UsageError(f"{what} must be a whole number from 1, got {shown(number)}")
    if isinstance(name, nn.Module):
        return _own(name, (channels, size, size), num_classes, pretrained or model_args)
    if name in SMALL:
        if pretrained or model_args:
            raise UsageError(f"{name} is one of the small nets: it has no pretrained weights and no further arguments")
        block, blocks, width = SMALL[name]
        return SmallResNet(block, blocks, width, num_classes, channels)
    check_name(name)
    try:
        arguments = {**_fitting(name, size), **model_args}
        net = timm.create_model(name, pretrained, num_classes=num_classes, in_chans=channels, **arguments)
    except Exception as error:  # a wrong argument shows as anything from KeyError to OSError in timm's builders
        raise UsageError(f"timm could not build {name} with {shown(model_args)}: {_told(error)}") from error
    if isinstance(net, ResNet) and size <= CIFAR_FORM_UP_TO:
        to_cifar_form(net, pretrained)
    _try_out(net, name, (channels, size, size), num_classes)
    return net


def _own(net: nn.Module, shape: tuple[int, int, int], num_classes: int, further: object) -> nn.Module:
    """A module of the caller's own, which must do what any backbone does; its mode stays."""
    if further:
        raise UsageError(f"{type(net).__name__} is a module that is built already: it takes no further arguments")
    modes = [(module, module.training) for module in net.modules()]
    try:
        _try_out(net, type(net).__name__, shape, num_classes)
    finally:
        for module, training in modes:
            module.training = training
    return net


def check_name(name: str) -> None:
    """Raise a UsageError, with the nearest name, unless this is one of the small nets or a model of timm."""
    known = [*timm.list_models(), *SMALL]
    plain = str(name).split(".")[0]
    if plain not in known:
        raise UsageError(f"unknown model {shown(name)}{nearest(plain, known)}")


def _try_out(net: nn.Module, name: str, shape: tuple[int, int, int], num_classes: int) -> None:
    """Show a new net one blank image: what can't work at this size is told now, not in the middle of a run."""
    net.eval()
    try:
        with torch.no_grad():
            logits = net(torch.zeros(1, *shape, device=next((p.device for p in net.parameters()), None)))
    except Exception as error:  # each architecture fails in its own way
        images = " x ".join(map(str, shape))
        raise UsageError(f"{name} can't take {images} images ({_told(error)}); change size or model") from error
    if not isinstance(logits, torch.Tensor) or logits.shape != (1, num_classes):
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise UsageError(
            f"{name} must give (1, {num_classes}) logits for an image, got {got}; change num_classes or model_args"
        )
    net.train()


def _told(error: Exception) -> str:
    """The kind of an error and what it says, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _fitting(name: str, size: int) -> dict[str, Any]:
    """The arguments with which a transformer of fixed input size takes images of another."""
    arguments: dict[str, Any] = {}
    config = timm.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        arguments["img_size"] = size
    if _is_plain_vit(name) and size <= CIFAR_FORM_UP_TO:
        arguments["patch_size"] = _patch_size(size)
    return arguments


def _patch_size(size: int) -> int:
    """The divisor of a small image's side that comes nearest to 8 x 8 tokens; patches of 16 would leave 2 x 2 at
    32 pixels, and a patch that is no divisor would cut pixels off."""
    return min((p for p in range(1, size + 1) if size % p == 0), key=lambda p: abs(p - size / 8))


def _is_plain_vit(name: str) -> bool:
    entry = timm.model_entrypoint(name.split(".")[0])
    return entry.__module__ in ("timm.models.vision_transformer", "timm.models.deit")


def to_cifar_form(net: ResNet, pretrained: bool = False) -> None:
    """Give a ResNet a 3x3 stem of stride 1 and no max-pooling, as the benchmark's CIFAR ResNets have it.

    A 7x7 stem is replaced, a pretrained one by the middle of its kernels; of a deep stem, three 3x3 convolutions
    already, the first loses its stride.
    """
    old = net.conv1
    if isinstance(old, nn.Conv2d):
        net.conv1 = nn.Conv2d(old.in_channels, old.out_channels, 3, 1, 1, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
        if pretrained:
            net.conv1.weight.data.copy_(old.weight.data[:, :, 2:5, 2:5])
    else:
        old[0].stride = (1, 1)
    net.maxpool = nn.Identity()
