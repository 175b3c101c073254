"""The generator of learned methods: a mask for a pair of images from their features.

B rows, C h w features, H W image.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.methods.masks import take

GRID = 16
"""Largest side of a mask before it is enlarged: that of the paper's nets is 7 to 16. Larger feature maps are averaged
down to it, since the attention's memory grows with the fourth power of this side."""


class MixBlock(nn.Module):
    """Mask of a pair from its features: what of the partner shows where, by attention of the row to its partner.

    Q = W f, K = W f', P = softmax_j(Q_i K_j / sqrt(d)), M = 1 - sigmoid(P (u f')). With `lam_embed`, lambda is a
    further channel of f and 1 - lambda one of f'. A 1x1 convolution of a constant channel is a bias, so the features
    are projected once, whatever the pairs and lambdas.
    """

    def __init__(self, channels: int, lam_embed: bool = True) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, max(channels // 2, 1), 1)
        self.value = nn.Conv2d(channels, 1, 1)
        self.project_lam = nn.Parameter(torch.empty(self.project.out_channels)) if lam_embed else None
        self.value_lam = nn.Parameter(torch.empty(1)) if lam_embed else None
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.01)
        for conv in (self.project, self.value):
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)

    def forward(self, features: Tensor, partner: Tensor, lam: Tensor) -> Tensor:
        """(B, 1, h, w) float32 share of each row itself. features: (B, C, h, w); partner, lam: (B,)."""
        with torch.autocast(features.device.type, enabled=False):
            projected = self.project(features.float()).flatten(2)
            values = self.value(features.float()).flatten(2)
            query, key = projected, projected.index_select(0, partner)
            value = values.index_select(0, partner)
            if self.project_lam is not None and self.value_lam is not None:
                lam = lam.float()[:, None, None]
                query = query + lam * self.project_lam[:, None]
                key = key + (1 - lam) * self.project_lam[:, None]
                value = value + (1 - lam) * self.value_lam
            scores = (query.transpose(1, 2) / math.sqrt(query.shape[1])) @ key
            shown = scores.softmax(2) @ value.transpose(1, 2)
            return torch.sigmoid(-shown).transpose(1, 2).unflatten(2, features.shape[2:])


def at_most(features: Tensor, side: int) -> Tensor:
    """(B, C, h, w) features with neither h nor w above `side`, averaged where they were larger."""
    return F.adaptive_avg_pool2d(features, (min(features.shape[2], side), min(features.shape[3], side)))


def mix_pair(x: Tensor, partner: Tensor, mask: Tensor) -> Tensor:
    """mask * x + (1 - mask) * x[partner], with a gradient for the mask."""
    return torch.lerp(take(x, partner), x, mask)
