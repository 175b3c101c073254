"""Residual nets made for 32-pixel images: resnet8/20/56 for CPUs, and wrn28_8 of the benchmark."""

from __future__ import annotations

from torch import Tensor, nn


def conv3x3(inside: int, outside: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size, or divides it by the stride."""
    return nn.Conv2d(inside, outside, 3, stride, 1, bias=False)


class PostActBlock(nn.Module):
    """conv-norm-relu, conv-norm, plus the input, relu (He et al. 2015, arXiv 1512.03385)."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv3x3(inside, outside, stride), nn.BatchNorm2d(outside)
        self.conv2, self.bn2 = conv3x3(outside, outside), nn.BatchNorm2d(outside)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = _shortcut(inside, outside, stride)

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(h)) + self.shortcut(x))


class PreActBlock(nn.Module):
    """norm-relu-conv twice, plus the input (Zagoruyko & Komodakis 2016, arXiv 1605.07146)."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inside), conv3x3(inside, outside, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outside), conv3x3(outside, outside)
        self.relu = nn.ReLU(inplace=True)
        grows = inside != outside or stride > 1
        self.shortcut = nn.Conv2d(inside, outside, 1, stride, bias=False) if grows else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.bn1(x))
        skip = x if self.shortcut is None else self.shortcut(h)
        return self.conv2(self.relu(self.bn2(self.conv1(h)))) + skip


def _shortcut(inside: int, outside: int, stride: int) -> nn.Module:
    if inside == outside and stride == 1:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))


class SmallResNet(nn.Module):
    """Three stages of residual blocks over a 3x3 stem; the size halves twice.

    It names its depths in `feature_info` as timm's models do, so that `Net` treats all alike.
    """

    def __init__(self, block: type, blocks: int, width: int, num_classes: int, in_chans: int = 3) -> None:
        super().__init__()
        widths = [16, 16 * width, 32 * width, 64 * width]
        preact = block is PreActBlock
        self.stem = conv3x3(in_chans, 16) if preact else _stem(in_chans)
        self.layer1, self.layer2, self.layer3 = (
            _stage(block, blocks, widths[i], widths[i + 1], stride) for i, stride in enumerate((1, 2, 2))
        )
        self.final = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True)) if preact else nn.Identity()
        self.fc = nn.Linear(widths[-1], num_classes)
        self.num_features = widths[-1]
        self.feature_info = [
            {"module": f"layer{i}", "num_chs": widths[i], "reduction": 2 ** (i - 1)} for i in (1, 2, 3)
        ]
        self.apply(_initialise)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, 64 * width, H / 4, W / 4) the last feature map."""
        return self.final(self.layer3(self.layer2(self.layer1(self.stem(x)))))

    def forward_head(self, h: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, classes) logits, or with `pre_logits` the pooled features (B, 64 * width)."""
        pooled = h.mean((2, 3))
        return pooled if pre_logits else self.fc(pooled)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def _stem(in_chans: int) -> nn.Sequential:
    return nn.Sequential(conv3x3(in_chans, 16), nn.BatchNorm2d(16), nn.ReLU(inplace=True))


def _stage(block: type, blocks: int, inside: int, outside: int, stride: int) -> nn.Sequential:
    first = block(inside, outside, stride)
    return nn.Sequential(first, *(block(outside, outside, 1) for _ in range(blocks - 1)))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


SMALL = {
    "resnet8": (PostActBlock, 1, 1),
    "resnet20": (PostActBlock, 3, 1),
    "resnet56": (PostActBlock, 9, 1),
    "wrn28_8": (PreActBlock, 4, 8),
}
"""Name -> block, blocks a stage, widening factor."""
