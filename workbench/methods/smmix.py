"""SMMix: what a vision transformer attends to most, pasted where it attends least; three losses from one more pass."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.config import Range, UsageError
from workbench.draw import Draw, Mode, send
from workbench.methods.base import Method, Mixed, Paper, need_class_ids, soft_cross_entropy
from workbench.methods.masks import enlarged, pair_weights, pairs, take
from workbench.methods.parts.squares import corners_of, inside_squares, moved
from workbench.saliency import resized

if TYPE_CHECKING:
    from workbench.models import Net


@dataclass(frozen=True, kw_only=True)
class MixedSquares(Mixed):
    """A mix with what SMMix's losses need of it. G tokens of the grid, row by row."""

    pasted: Tensor
    """(B, G) float32: 1 on the tokens that show the partner, 0 elsewhere; all 0 in rows of Mixup."""
    clean: Tensor
    """(B, 2, classes) float32 logits of each row's two clean images, without gradient."""
    regions: Tensor | None = None
    """(B, 2, classes) logits of the token head for the row's own tokens and for the pasted ones."""


@dataclass(eq=False)
class SMMix(Method):
    """A square of r x r patches of the partner, where that is attended to most, replaces the square of the row itself
    that is attended to least; lambda = 1 - r^2 / N.

    Attention of a patch: what it gets from all patches in the last block, mean over heads and queries, the class token
    left out. It comes from a pass of the clean batch through the net that is being trained, in evaluation mode and
    without gradient, whose logits z_A and z_B serve again. The loss of a row adds up

    - the cross-entropy of the mix;
    - half of the cross-entropies of a linear token head, for y_A on the mean of the own tokens and for y_B on that of
      the pasted ones, after the last norm and in the pass of the mix itself;
    - KL(softmax(lambda z_A + (1 - lambda) z_B) || softmax(z)), of mixed logits, not of mixed probabilities.

    Rows that the coin gives to Mixup have the first alone, and their images are not looked at. A row whose partner is
    itself stays as it is. Images whose size the token grid does not divide have a square that is a pixel off at most.

    Where we differ from the reference code (ChenMnZ/SMMix): coin and r are drawn for every row (`mode="batch"`: one a
    batch, as there), and the partner is a random permutation where that mirrors the batch. The benchmark's version
    (Westlake-AI/openmixup) takes the class token's attention in training mode, drops both further losses, and
    multiplies the batch's mean lambda with its mean loss; here lambda is the row's own until all losses are summed.
    """

    paper = Paper(
        "SMMix: Self-Motivated Image Mixing for Vision Transformers",
        "Chen, Lin, Lin, Zhang, Chao, Ji",
        "ICCV 2023",
        "2212.12977",
    )
    family: ClassVar[str] = "attention"
    needs_net = True

    min_side: Annotated[float, Range(0, 1)] = 0.25
    """Shortest side of the square, as a share of the token grid's."""
    max_side: Annotated[float, Range(0, 1)] = 0.75
    """Longest side of the square; where that is below `min_side`, every square has `min_side`."""
    switch_prob: Annotated[float, Range(0, 1)] = 0.5
    """Probability of a square; else Mixup."""
    mixup_alpha: Annotated[float, Range(0.05, 5)] = 0.8
    """Parameter of Mixup's Beta distribution."""
    mode: Mode = "sample"
    """One coin, side and lambda a sample, or one for the whole batch."""
    label_smoothing: Annotated[float, Range(0, 0.9)] = 0.1
    """Share of the target that is spread over all classes, in all cross-entropies."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.token_head: nn.Linear | None = None

    def attach(self, net: Net) -> None:
        with net.attention():  # says at once if there is none to be read
            self.token_head = nn.Linear(net.width(net.depths[-1]), net.num_classes).to(net.mean.device)

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> MixedSquares:
        need_class_ids(self, y)
        if net is None:
            raise UsageError("SMMix looks at the images with a net; give it one")
        with net.attention() as probe:
            grid = probe.grid
        pair, side, linear = self._drawn(draw, len(x), grid)
        source, sides, lam, *seen = send(x.device, pair, side, linear, *rows_to_see(pair, side > 0))
        clean, attention = look(net, take(x, seen[0]), grid)
        corners = corners_of(attention[seen[1]], sides, source[:, 0] == source[:, 1])
        inside = inside_squares(corners[:, 0], sides, grid)
        mask = torch.where(inside, 0, lam[:, None, None])[:, None]
        wide = enlarged(mask, x.shape[2:])
        mixed = moved(x, source[:, 1], corners, grid).lerp_(x, wide.to(x.dtype))
        weight = pair_weights(wide.mean((1, 2, 3)))
        return MixedSquares(mixed, source, weight, mask, pasted=inside.flatten(1).float(), clean=clean[seen[1]])

    def _drawn(self, draw: Draw, n: int, grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(n, 2) each row and its partner; (n,) the side of its square, 0 for Mixup; (n,) Mixup's lambda, else 1."""
        coin, lam = draw.happens(self.switch_prob, n, self.mode), draw.lam(self.mixup_alpha, n, self.mode)
        side = np.where(coin, self._sides(draw, n, grid), 0)
        return pairs(draw.partner(n)), side, np.where(coin, np.float32(1), lam)

    def _sides(self, draw: Draw, n: int, grid: tuple[int, int]) -> np.ndarray:
        """(n,) int64 sides of the squares in tokens; for a lambda that is pinned, the one that comes nearest."""
        most = min(grid)
        if draw.pinned_lam is not None:
            side = round(math.sqrt((1 - draw.pinned_lam) * math.prod(grid)))
            return np.full(n, min(side, most))
        shortest = max(int(self.min_side * most), 1)
        longest = max(int(self.max_side * most), shortest)
        return shortest + draw.integers(longest - shortest + 1, n, self.mode)

    def predict(self, net: Net, mixed: Mixed) -> tuple[Tensor, Mixed]:
        if self.token_head is None or not isinstance(mixed, MixedSquares):
            raise UsageError("SMMix learns with a net; call attach(net) once, then predict with what its own mix gave")
        logits, tokens = net.logits_and_tokens(mixed.x)
        regions = self.token_head(region_means(tokens, mixed.pasted))
        return logits, dataclasses.replace(mixed, regions=regions)

    def loss(self, logits: Tensor, y: Tensor, mixed: Mixed) -> Tensor:
        if not isinstance(mixed, MixedSquares) or mixed.regions is None:
            raise UsageError("the loss of SMMix needs the mix that its predict gave")
        fine = region_loss(mixed.regions, y[mixed.source], self.label_smoothing)
        further = fine + consistency_loss(logits, mixed.clean, mixed.weight)
        square = mixed.pasted.amax(1)  # 1 if there is one, else 0
        return (soft_cross_entropy(logits, y, mixed, self.label_smoothing) + square * further).mean()


def rows_to_see(pair: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S,) the rows of the batch that any square needs, and (B, 2) where each row and its partner stand among them.

    pair: (B, 2) rows; squares: (B,) bool. Rows without a square point to the first.
    """
    seen, place = np.unique(pair[squares], return_inverse=True)
    places = np.zeros_like(pair)
    places[squares] = place.reshape(-1, 2)
    return seen, places


@torch.no_grad()
def look(net: Net, images: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(S, classes) float32 logits of clean images and (S, h, w) attention of their patches, in evaluation mode.

    Images of another size than the net's are resized for it. No images: one row of zeros, to point to.
    """
    if not len(images):
        zeros = torch.zeros(1, net.num_classes + math.prod(grid), device=images.device)
        return zeros[:, : net.num_classes], zeros[:, net.num_classes :].unflatten(1, grid)
    with net.probing(), net.attention() as probe:
        logits = net(resized(images, (net.size, net.size)))
        return logits.float(), probe.received()


def region_means(tokens: Tensor, pasted: Tensor) -> Tensor:
    """(B, 2, C) mean of a row's own tokens and of the pasted ones, 0 where there are none. tokens: (B, G, C)."""
    which = torch.stack([1 - pasted, pasted], 1)
    return which.to(tokens.dtype) @ tokens / which.sum(2, keepdim=True).clamp(min=1)


def region_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """(B,) mean of the two cross-entropies of regions (B, 2, classes) against their class ids (B, 2)."""
    both = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), reduction="none", label_smoothing=smoothing)
    return both.view(-1, 2).mean(1)


def consistency_loss(logits: Tensor, clean: Tensor, weight: Tensor) -> Tensor:
    """(B,) KL(softmax(sum_k weight_k clean_k) || softmax(logits)). logits: (B, classes); clean: (B, 2, classes)."""
    wished = (weight[:, :, None] * clean).sum(1).log_softmax(1)
    return F.kl_div(logits.float().log_softmax(1), wished, reduction="none", log_target=True).sum(1)
