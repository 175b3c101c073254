"""The generators of learned methods: masks for images that go into one mix, from their features.

B rows, N images a mix, C h w features, d channels of the attention, H W image. Scores, softmax and masks are computed
in float32 whatever the training's precision. A 1x1 convolution of a constant channel is a bias, and one of features
times a number is that number times the convolution: so the batch is projected once, whatever the pairs and lambdas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from workbench.methods.masks import take

GRID = 16
"""Largest side of a mask before it is enlarged: that of the paper's nets is 7 to 16. Larger feature maps are averaged
down to it, since the attention's memory grows with the fourth power of this side."""

START = 0.01
"""Standard deviation of the weights of a new generator, as in the reference code: its masks are nearly constant."""


class MixBlock(nn.Module):
    """AutoMix: what of the partner shows where, by attention of the row to its partner.

    Q = W f, K = W f', P = softmax_j(Q_i K_j / sqrt(d)), M = 1 - sigmoid(P (u f')). With `lam_embed`, lambda is a
    further channel of f and 1 - lambda one of f'.
    """

    def __init__(self, channels: int, lam_embed: bool = True) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, max(channels // 2, 1), 1)
        self.value = nn.Conv2d(channels, 1, 1)
        self.project_lam = nn.Parameter(torch.empty(self.project.out_channels)) if lam_embed else None
        self.value_lam = nn.Parameter(torch.empty(1)) if lam_embed else None
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=START)
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
            return torch.sigmoid(-attended(query, key, value)).unflatten(2, features.shape[2:])


class MixingAttention(nn.Module):
    """SAMix: what of the partner shows where, by attention of the pair to itself.

    With f modulated to f (1 + l) and f' to f' (2 - l), l = modulated(lambda, k), and u = [f; f'] their 2 C channels:
    Q = W u + b, K = V u, P = softmax_j(Q_i K_j / sqrt(d)), logits of M = -P v, v = t elu(norm(U f') (2 - l)).

    The norm is a GroupNorm of f' as it is, where the reference code has a BatchNorm of f' modulated: that would make a
    mask depend on the rest of the batch and on what came before, and it divides the modulation out again. K has no
    bias, since the softmax takes no notice of one.
    """

    k: Tensor

    def __init__(self, channels: int, k: float = 0.25) -> None:
        super().__init__()
        self.width = max(channels // 2, 1)
        self.project = nn.Conv2d(channels, 5 * self.width, 1, bias=False)
        """Of every image: its part in Q as f, in Q as f', in K as f, in K as f', and U f."""
        self.bias = nn.Parameter(torch.zeros(self.width, 1))
        self.norm = nn.GroupNorm(math.gcd(32, self.width), self.width)
        self.score = nn.Parameter(torch.empty(1, self.width))
        self.register_buffer("k", torch.tensor(float(k)))
        for parameter in (self.project.weight, self.score):
            nn.init.normal_(parameter, std=START)

    def forward(self, features: Tensor, partner: Tensor, lam: Tensor) -> Tensor:
        """(B, 1, h, w) float32 logits of the share of each row itself. features: (B, C, h, w); partner, lam: (B,)."""
        with torch.autocast(features.device.type, enabled=False):
            own = 1 + modulated(lam.float(), self.k)[:, None, None]
            other = 3 - own
            projected = self.project(features.float()).flatten(2).split(self.width, 1)
            query = torch.addcmul(self.bias + own * projected[0], other, projected[1].index_select(0, partner))
            key = torch.addcmul(own * projected[2], other, projected[3].index_select(0, partner))
            value = self.score @ F.elu(other * self.norm(projected[4]).index_select(0, partner))
            return -attended(query, key, value).unflatten(2, features.shape[2:])


class SourceAttention(nn.Module):
    """AdAutoMix: what of each of N images shows where, by attention of every image to all others of its mix.

    a_n = softmax_j(q_n (sum of k_m over the others)_j / sqrt(d)) v_n: every image reads its own value, where AutoMix
    reads the partner's. With `lam_embed`, the weight w_n is a further channel of f_n. The key goes without it and
    without a bias, since the softmax takes no notice of either.
    """

    def __init__(self, channels: int, lam_embed: bool = True) -> None:
        super().__init__()
        self.width = max(channels // 2, 1)
        self.project = nn.Conv2d(channels, 2 * self.width + 1, 1, bias=False)
        """Of every image: q, k and v."""
        self.query_bias, self.value_bias = (nn.Parameter(torch.zeros(d, 1)) for d in (self.width, 1))
        self.query_lam = nn.Parameter(torch.empty(self.width, 1)) if lam_embed else None
        self.value_lam = nn.Parameter(torch.empty(1, 1)) if lam_embed else None
        for parameter in (self.project.weight, self.query_lam, self.value_lam):
            if parameter is not None:
                nn.init.normal_(parameter, std=START)

    def forward(self, features: Tensor, source: Tensor, weight: Tensor) -> Tensor:
        """(B, N, h, w) float32 logits of each source's share. features: (B, C, h, w); source, weight: (B, N)."""
        with torch.autocast(features.device.type, enabled=False):
            projected = self.project(features.float()).flatten(2).split([self.width, self.width, 1], 1)
            images = [[part.index_select(0, rows) for part in projected] for rows in source.unbind(1)]
            keys = torch.stack([key for _, key, _ in images]).sum(0)
            shown = [
                self._shown(query, keys - key, value, w.float()[:, None, None])
                for (query, key, value), w in zip(images, weight.unbind(1), strict=True)
            ]
            return torch.cat(shown, 1).unflatten(2, features.shape[2:])

    def _shown(self, query: Tensor, key: Tensor, value: Tensor, weight: Tensor) -> Tensor:
        """(B, 1, h w) what one image shows where, given the sum of the others' keys."""
        query, value = query + self.query_bias, value + self.value_bias
        if self.query_lam is not None and self.value_lam is not None:
            query, value = query + weight * self.query_lam, value + weight * self.value_lam
        return attended(query, key, value)


def attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(B, 1, T) the value read at every place: softmax over j of Q_i K_j / sqrt(d). query, key: (B, d, T); value:
    (B, 1, T).

    The (B, T, T) scores are made again in the backward pass: kept, they would be the step's highest memory.
    """
    if not torch.is_grad_enabled():
        return _attended(query, key, value)
    shown: Tensor = checkpoint(_attended, query, key, value, use_reentrant=False, preserve_rng_state=False)
    return shown


def _attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scores = (query.transpose(1, 2) / math.sqrt(query.shape[1])) @ key
    return (scores.softmax(2) @ value.transpose(1, 2)).transpose(1, 2)


def modulated(lam: Tensor, k: Tensor | float) -> Tensor:
    """lambda' = (4/3 lambda^3 - 2 lambda^2 + (k + 1) lambda) / (k + 1/3): 0, 1/2 and 1 stay, and near 1/2 it is flat,
    the flatter the smaller k is."""
    return (((4 / 3) * lam - 2) * lam + k + 1) * lam / (k + 1 / 3)


def at_most(features: Tensor, side: int) -> Tensor:
    """(B, C, h, w) features with neither h nor w above `side`, averaged where they were larger."""
    return F.adaptive_avg_pool2d(features, (min(features.shape[2], side), min(features.shape[3], side)))


def smooth(logits: Tensor, size: Sequence[int]) -> Tensor:
    """(B, K, H, W) float32 logits enlarged bilinearly; the sigmoid or softmax comes after it."""
    return F.interpolate(logits.float(), tuple(size), mode="bilinear")


def mix_pair(x: Tensor, partner: Tensor, mask: Tensor) -> Tensor:
    """mask * x + (1 - mask) * x[partner], with a gradient for the mask."""
    return torch.lerp(take(x, partner), x, mask)


def mix_sources(x: Tensor, source: Tensor, shares: Tensor) -> Tensor:
    """sum_n shares_n x[source_n], in x's type, with a gradient for the shares. source: (B, N), first the row itself;
    shares: (B, N, H or 1, W or 1)."""
    mixed = x * shares[:, :1]
    for n in range(1, source.shape[1]):
        mixed = mixed.addcmul_(take(x, source[:, n]), shares[:, n : n + 1])
    return mixed.to(x.dtype)
