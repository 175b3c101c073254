"""Backbones by name: published sizes, the CIFAR forms, what a wrong name or argument is told."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.config import UsageError
from workbench.models.create import create, to_cifar_form
from workbench.models.small import SMALL, PostActBlock, PreActBlock, SmallResNet


def millions(net: nn.Module) -> float:
    return sum(p.numel() for p in net.parameters()) / 1e6


# ------------------------------------------------------------------------------------------------ the small nets


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("resnet20", 0.27),  # He et al. 2015, table 6
        ("resnet56", 0.85),
        ("wrn28_8", 23.4),  # Zagoruyko & Komodakis 2016, table 4
        ("resnet18", 11.17),  # the CIFAR form; the ImageNet form has 11.18
    ],
)
def test_parameters_as_published(name: str, published: float) -> None:
    assert millions(create(name, 10)) == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize("name", SMALL)
def test_layers_are_counted_as_the_names_say(name: str) -> None:
    """Convolutions and the linear layer, without the shortcuts' projections."""
    net = create(name, 10)
    layers = [m for m in net.modules() if isinstance(m, nn.Linear) or getattr(m, "kernel_size", None) == (3, 3)]
    depth = {"resnet8": 8, "resnet20": 20, "resnet56": 56, "wrn28_8": 28 - 2}[name]  # WRN counts two projections
    assert len(layers) == depth


@pytest.mark.parametrize("name", ["resnet8", "resnet20"])
@pytest.mark.parametrize("size", [32, 33, 64])
def test_the_size_halves_twice(name: str, size: int) -> None:
    net = create(name, 10).eval()
    h = net.forward_features(torch.rand(1, 3, size, size))
    assert h.shape == (1, 64, -(-size // 4), -(-size // 4))
    assert net.forward_head(h, pre_logits=True).shape == (1, net.num_features)


def norm(h: Tensor, bn: nn.BatchNorm2d) -> Tensor:
    shape = (1, -1, 1, 1)
    scaled = (h - bn.running_mean.view(shape)) / (bn.running_var.view(shape) + bn.eps).sqrt()
    return scaled * bn.weight.view(shape) + bn.bias.view(shape)


def conv(h: Tensor, layer: nn.Conv2d, stride: int = 1) -> Tensor:
    return F.conv2d(h, layer.weight, stride=stride, padding=layer.weight.shape[-1] // 2)


def randomised(net: nn.Module) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.running_mean, module.bias):
                    nn.init.normal_(tensor, 0, 0.3)
                for tensor in (module.running_var, module.weight):
                    nn.init.uniform_(tensor, 0.5, 1.5)
    return net.double().eval()


def test_resnet8_written_out() -> None:
    net = randomised(create("resnet8", 7))
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    h = norm(conv(x, net.stem[0]), net.stem[1]).relu()
    for stage, stride in ((net.layer1, 1), (net.layer2, 2), (net.layer3, 2)):
        block = stage[0]
        skip = h if stride == 1 else norm(F.conv2d(h[:, :, ::2, ::2], block.shortcut[0].weight), block.shortcut[1])
        inner = norm(conv(h, block.conv1, stride), block.bn1).relu()
        h = (norm(conv(inner, block.conv2), block.bn2) + skip).relu()
    torch.testing.assert_close(net(x), h.flatten(2).mean(2) @ net.fc.weight.T + net.fc.bias)


def test_a_wide_net_written_out() -> None:
    """Norm and relu come before each convolution, a growing block's shortcut branches off behind them."""
    net = randomised(SmallResNet(PreActBlock, 2, 2, 7))
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    h = conv(x, net.stem)
    for stage, stride in ((net.layer1, 1), (net.layer2, 2), (net.layer3, 2)):
        for first, block in zip((True, False), stage, strict=True):
            step = stride if first else 1
            active = norm(h, block.bn1).relu()
            skip = F.conv2d(active[:, :, ::step, ::step], block.shortcut.weight) if first else h
            inner = norm(conv(active, block.conv1, step), block.bn2).relu()
            h = conv(inner, block.conv2) + skip
    pooled = norm(h, net.final[0]).relu().flatten(2).mean(2)
    torch.testing.assert_close(net(x), pooled @ net.fc.weight.T + net.fc.bias)


def test_small_nets_do_not_write_into_their_input() -> None:
    for block in (PostActBlock, PreActBlock):
        x = torch.randn(2, 3, 8, 8)
        kept = x.clone()
        SmallResNet(block, 1, 1, 3)(x)
        assert torch.equal(x, kept)


# ------------------------------------------------------------------------------------------------ nets of timm


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "seresnet18", "resnet18.a1_in1k"])
def test_the_cifar_form(name: str) -> None:
    net = create(name, 10, size=32)
    assert (net.conv1.kernel_size, net.conv1.stride) == ((3, 3), (1, 1))
    assert net.eval().forward_features(torch.rand(1, 3, 32, 32)).shape[2:] == (4, 4)


def test_a_deep_stem_only_loses_its_stride() -> None:
    net = create("test_resnet", 10, channels=1, size=32).eval()
    assert net.forward_features(torch.rand(1, 1, 32, 32)).shape[2:] == (4, 4)
    assert millions(net) == millions(timm.create_model("test_resnet", num_classes=10, in_chans=1))


def test_large_images_keep_the_imagenet_form() -> None:
    assert create("resnet18", 10, size=64).conv1.kernel_size == (3, 3)
    assert create("resnet18", 10, size=65).conv1.kernel_size == (7, 7)


def test_pretrained_weights_give_a_net_of_the_same_shape() -> None:
    """A stored net is built again without them, so the form may depend on the size alone."""
    net = timm.create_model("resnet18", num_classes=10)
    stem = net.conv1.weight.detach().clone()
    to_cifar_form(net, pretrained=True)
    fresh = create("resnet18", 10, size=32)
    assert {k: v.shape for k, v in net.state_dict().items()} == {k: v.shape for k, v in fresh.state_dict().items()}
    assert torch.equal(net.conv1.weight[:, :, 1, 1], stem[:, :, 3, 3])
    assert torch.equal(net.conv1.weight[:, :, 0, 2], stem[:, :, 2, 4])


@pytest.mark.parametrize(("size", "tokens"), [(8, 8), (28, 7), (32, 8), (36, 9), (60, 10), (64, 8)])
def test_a_small_image_is_cut_into_about_eight_by_eight_patches_and_none_is_lost(size: int, tokens: int) -> None:
    net = create("vit_tiny_patch16_224", 10, size=size, depth=1).eval()
    assert net.patch_embed.grid_size == (tokens, tokens)
    x = torch.zeros(1, 3, size, size, requires_grad=True)
    net(x).square().sum().backward()
    assert (x.grad.abs().sum(1) > 0).all()  # patches that do not divide the side would cut off its last pixels


def test_a_patch_size_that_is_given_is_kept() -> None:
    assert create("vit_tiny_patch16_224", 10, size=32, depth=1, patch_size=16).patch_embed.grid_size == (2, 2)
    assert create("deit_tiny_patch16_224", 10, size=96, depth=1).patch_embed.grid_size == (6, 6)


def test_a_seed_gives_the_weights_and_a_new_net_is_ready_to_train() -> None:
    nets = []
    for _ in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            nets.append(create("resnet18", 10))
            after = torch.rand(1)
            nets.append(after)
    first, first_after, second, second_after = nets
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert torch.equal(first_after, second_after)
    assert all(m.training for m in first.modules())
    assert all(int(m.num_batches_tracked) == 0 for m in first.modules() if isinstance(m, nn.BatchNorm2d))


# -------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("resnet-18", {}, "unknown model 'resnet-18'; did you mean 'resnet18'"),
        ("RESNET20", {}, "did you mean 'resnet20'"),
        ("", {}, "unknown model ''"),
        ("../../etc/passwd", {}, "unknown model"),
        ("hf-hub:timm/resnet18.a1_in1k", {}, "unknown model"),
        ("local-dir:/tmp", {}, "unknown model"),
        (7, {}, "unknown model 7"),
        ("resnet18.nonsense", {}, "Invalid pretrained tag"),
        ("resnet18.a/b", {}, "Invalid pretrained tag"),
        ("resnet18", {"nonsense": 1}, "nonsense"),
        ("resnet18", {"drop_path_rate": "much"}, "drop_path_rate"),
        ("resnet18", {"act_layer": "foo"}, "KeyError: 'foo'"),
        ("resnet18", {"block": "x"}, "expansion"),
        ("resnet18", {"features_only": True}, "must give (1, 10) logits"),
        ("resnet18", {"layers": [1, 1]}, "layer3"),
        ("resnet18", {"checkpoint_path": "/nowhere"}, "FileNotFoundError"),
        ("resnet18", {"in_chans": 2}, "in_chans"),
        ("resnet20", {"drop_path_rate": 0.1}, "no further arguments"),
        ("resnet20", {"pretrained": True}, "no pretrained weights"),
        ("inception_v3", {}, "can't take 3 x 32 x 32 images"),
        ("vit_tiny_patch16_224", {"patch_size": 64}, "can't take 3 x 32 x 32 images"),
        ("resnet20", {"num_classes": 0}, "num_classes must be a whole number from 1, got 0"),
        ("resnet18", {"num_classes": "10"}, "num_classes must be a whole number from 1, got '10'"),
        ("resnet20", {"channels": 0}, "channels"),
        ("resnet20", {"size": 31.5}, "size"),
    ],
)
def test_a_mistake_is_told_in_one_line(name: Any, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        create(name, **{"num_classes": 10, **arguments})
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
