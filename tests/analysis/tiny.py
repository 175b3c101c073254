"""A net of a few weights and ten images for it: a slice of its loss takes no time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.analysis.inputs import Examples
from workbench.models import Net

CLASSES, IMAGES = 3, 10


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


def tiny(seed: int, dtype: torch.dtype = torch.float64) -> Net:
    """With weights and statistics that are not those of a fresh net."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Net("resnet8", CLASSES, channels=1, size=8)
        net.backbone = Tiny()
        with torch.no_grad():
            for p in net.parameters():
                p.add_(0.5 * torch.randn_like(p))
            net.backbone.norm.running_mean.normal_()
            net.backbone.norm.running_var.uniform_(0.05, 0.2)
    return net.to(dtype).eval()


def images() -> Examples:
    """Noise, in the classes that such a net knows."""
    generator = torch.Generator().manual_seed(0)
    return Examples(torch.rand(IMAGES, 1, 8, 8, generator=generator), torch.arange(IMAGES) % CLASSES)
