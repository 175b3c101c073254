"""The last block's attention of a timm ViT, read while its fused kernel keeps the map to itself.

B images, N patch tokens, T = N + prefix tokens, h heads.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Attention
from torch import Tensor, nn

from workbench.config import UsageError


class AttentionProbe:
    """Holds the input of the last attention of the latest forward pass, and computes from it what is asked.

    Queries and keys are projected again for the rows that are wanted only, so that the class token's row costs
    next to nothing; everything is detached.
    """

    def __init__(self, module: Attention, prefix: int, grid: tuple[int, int]) -> None:
        self.module, self.prefix, self.grid = module, prefix, grid
        self._input: Tensor | None = None

    def keep(self, _module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Forward pre-hook: remember the tokens that enter the attention."""
        self._input = inputs[0].detach()

    @torch.no_grad()
    def rows(self, queries: slice = slice(None)) -> Tensor:
        """(B, h, queries, T) attention of the given query tokens over all tokens; rows sum to 1, float32."""
        if self._input is None:
            raise UsageError("no forward pass was made inside `with net.attention()`")
        m, tokens = self.module, self._input.to(self.module.qkv.weight.dtype)
        weights, biases = m.qkv.weight.chunk(3), [None] * 3 if m.qkv.bias is None else m.qkv.bias.chunk(3)
        parts = (F.linear(u, weights[i], biases[i]) for i, u in enumerate((tokens[:, queries], tokens)))
        query, key = (p.unflatten(2, (m.num_heads, -1)).transpose(1, 2) for p in parts)
        query, key = m.q_norm(query), m.k_norm(key)
        with torch.autocast(query.device.type, enabled=False):  # else the product would be rounded to 16 bits again
            return ((query.float() * m.scale) @ key.float().transpose(-2, -1)).softmax(-1)

    def cls(self) -> Tensor:
        """(B, H', W') attention of the class token over the patches, mean over heads; does not sum to 1, since
        the share that goes to the class token itself is left out."""
        patches = self.rows(slice(0, 1))[:, :, 0, self.prefix :].mean(1)
        return patches.unflatten(1, self.grid)

    def received(self) -> Tensor:
        """(B, H', W') attention that each patch gets from the patches, mean over heads and queries; does not sum to 1,
        since the share that goes to the prefix tokens is left out."""
        between = self.rows(slice(self.prefix, None))[:, :, :, self.prefix :]
        return between.mean((1, 2)).unflatten(1, self.grid)


def last_attention(backbone: nn.Module, name: str) -> Attention:
    """The attention module of the last block, or an error that names the nets which have a class token's row."""
    blocks = getattr(backbone, "blocks", None)
    attention = getattr(blocks[-1], "attn", None) if isinstance(blocks, nn.Sequential) and len(blocks) else None
    # Exactly timm's plain attention: others add a position bias or rotate their queries, which would be missed here.
    if type(attention) is not Attention or getattr(backbone, "cls_token", None) is None:
        raise UsageError(
            f"{name} has no class token whose plain attention could be read; take a ViT or DeiT, "
            "e.g. vit_tiny_patch16_224 or deit_small_patch16_224"
        )
    return attention
