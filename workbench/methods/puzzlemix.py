"""PuzzleMix: the mask with which each image shows most of what is salient in it, by a minimum cut; then transport."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.config import Range, UsageError, shown
from workbench.draw import Draw, Mode, send
from workbench.methods.base import Method, Mixed, Paper
from workbench.methods.masks import blend, enlarged, pair_weights, pairs, take
from workbench.methods.parts.graphs import replayed
from workbench.methods.parts.mincut import solve
from workbench.methods.parts.transport import matched, moved
from workbench.saliency import gradient, on_grid

if TYPE_CHECKING:
    from workbench.models import Net

LARGEST_GRID = 16
NEIGHBOUR = 4
"""Pixels, at most, over which an image is averaged before the colours on both sides of an edge are compared."""
LEAST_LAM = 1e-4
"""Nearer to 0 or 1, lambda costs no more. The reference adds 1e-8 to a probability: the same highest cost with three
labels, but a cost that is not convex, for which no exact cut is known."""


@dataclass(eq=False)
class PuzzleMix(Method):
    """x~ = M T(x) + (1 - M) T'(x'): M has one value a cell of an n x n grid, n drawn for every batch, and T, T' move
    the cells of each image to where M shows it.

    The saliency of an image is the length of the loss's gradient with respect to it. M is the labelling of least
    energy (`costs`): a cell pays the saliency of the image that it hides, neighbours pay for different values, more so
    where the colours would not fit, and values far from lambda, drawn from Beta(alpha, alpha), pay too. So lambda only
    is a prior; the label weight is what came of it, the mean of each row's mask. `transport` is the stable matching of
    `matched`; at t_eps = 0.8 it moves next to nothing on ordinary saliency, as in the reference.

    Where we differ from the reference code (snu-mllab/PuzzleMix): the cut is solved for the whole batch on the device
    instead of image by image with a package, whose integer costs overflow where a cell has 21 times the mean saliency;
    the saliency pass is in evaluation mode with frozen weights, and is not a training term (their `clean_lam`, 0 on
    CIFAR), nor is there adversarial noise (their `adv_p`, 0 by default); lambda is one a row (`mode="batch"`: one
    a batch, as published); the colours on an edge are averaged over the largest divisor of the cell's side up to 4,
    where 14-pixel cells are an error there; transport is on the grid of the mask (their `t_size`, -1 by default); a row
    that is its own partner is not moved; an image without saliency has the same everywhere, there NaN; and the loss is
    the soft cross-entropy, where their CIFAR code has the binary cross-entropy of the softmax probabilities.
    Rows and columns that n does not divide belong to the nearest cell.
    """

    paper = Paper(
        "Puzzle Mix: Exploiting Saliency and Local Statistics for Optimal Mixup",
        "Kim, Choo, Song",
        "ICML 2020",
        "2009.06962",
    )
    family: ClassVar[str] = "saliency"
    needs_net = True

    alpha: Annotated[float, Range(0.05, 5)] = 1.0
    """Both parameters of the Beta distribution of lambda, the prior."""
    grids: Sequence[int] = (2, 4, 8, 16)
    """Cells a side of the mask, 2 to 16, each as likely; those with cells of less than 2 pixels a side are left out."""
    labels: Annotated[int, Range(2, 5)] = 3
    """How many values a mask can have: 0, 1 / (labels - 1), ..., 1."""
    beta: Annotated[float, Range(0, 10)] = 1.2
    """Weight of the smoothness of the mask."""
    gamma: Annotated[float, Range(0, 1)] = 0.5
    """Weight of the colours' difference across the edges of the mask, in relation to beta."""
    eta: Annotated[float, Range(0, 100)] = 0.2
    """Weight of the prior."""
    transport: bool = True
    """Whether the cells are moved to where the mask shows them."""
    t_eps: Annotated[float, Range(0, 100)] = 0.8
    """Cost of moving all of an image's saliency by its side, squared."""
    mode: Mode = "sample"
    """One prior a sample, or one for the whole batch; the masks and weights differ in any case."""

    def __post_init__(self) -> None:
        super().__post_init__()
        listed = isinstance(self.grids, Sequence) and len(self.grids) > 0
        if not listed or not all(type(n) is int and 2 <= n <= LARGEST_GRID for n in self.grids):
            what = f"a list of whole numbers from 2 to {LARGEST_GRID}, such as [4]"
            raise UsageError(f"PuzzleMix: grids must be {what}; got {shown(self.grids)}")

    def attach(self, net: Net) -> None:
        self._fitting((net.size, net.size))

    def _fitting(self, size: Sequence[int]) -> list[int]:
        """The grids whose cells have at least two pixels a side."""
        grids = [n for n in self.grids if 2 * n <= min(size)]
        if not grids:
            form = "x".join(map(str, size))
            raise UsageError(f"PuzzleMix: images of {form} are too small for grids {shown(self.grids)}; take smaller")
        return grids

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        if net is None:
            raise UsageError("PuzzleMix follows the gradient of a net; give it one")
        grids = self._fitting(x.shape[2:])
        drawn, partner = draw.lam(self.alpha, len(x), self.mode), draw.partner(len(x))
        grid = grids[int(draw.integers(len(grids), 1)[0])]
        lam, source = send(x.device, drawn, pairs(partner))
        terms = Terms(self.labels, self.beta, self.gamma, self.eta)
        t_eps = self.t_eps if self.transport else None
        mixed, mask = puzzle(x, source[:, 1], gradient(net, x, y), lam, grid, terms, t_eps)
        return Mixed(mixed, source, pair_weights(_share(mask, x.shape[2:])), mask)


class Terms(NamedTuple):
    """What the energy is made of; the fields of PuzzleMix of the same names."""

    labels: int = 3
    beta: float = 1.2
    gamma: float = 0.5
    eta: float = 0.2


DEFAULTS = Terms()


@torch.no_grad()
def puzzle(
    x: Tensor,
    partner: Tensor,
    saliency: Tensor,
    lam: Tensor,
    grid: int,
    terms: Terms = DEFAULTS,
    t_eps: float | None = PuzzleMix.t_eps,
) -> tuple[Tensor, Tensor]:
    """The mixed images (B, C, H, W) and their masks (B, 1, grid, grid), given the saliency: the method without a net.

    x: (B, C, H, W) in [0, 1]; partner: (B,) int64; saliency: (B, H, W), not negative, of any scale; lam: (B,) float32;
    t_eps: None for no transport.
    """
    if 2 * grid > min(x.shape[2:]):
        raise UsageError(f"a grid of {grid} cells a side needs images of {2 * grid} pixels, got {tuple(x.shape[2:])}")
    with torch.autocast(x.device.type, enabled=False):
        own = on_grid(saliency, grid, grid)
        other = take(own, partner)
        mask = replayed(solve, costs(x, partner, own, other, lam, terms))
        share = enlarged(mask[:, None].to(x.dtype), x.shape[2:])
        if t_eps is None:
            return blend(x, partner, share), mask[:, None]
        plan = replayed(matched, (torch.cat([own, other]), torch.cat([mask > 0, mask < 1])), t_eps)
        alone = (partner == torch.arange(len(x), device=x.device)).repeat(2)[:, None]
        plan = torch.where(alone, torch.arange(grid**2, device=x.device), plan)
        mixed = moved(take(x, partner), plan[len(x) :])
        return mixed.lerp_(moved(x, plan[: len(x)]), share), mask[:, None]


def _share(mask: Tensor, size: Sequence[int]) -> Tensor:
    """(B,) the mean of masks (B, 1, n, n) at full size, where cells can differ by a pixel."""
    steps = torch.arange(mask.shape[2] + 1, device=mask.device)
    rows, columns = ((steps * side).add_(mask.shape[2] - 1).floor_divide_(mask.shape[2]).diff() for side in size)
    return (mask[:, 0] * (rows[:, None] * columns)).sum((1, 2)) / math.prod(size)


def costs(
    x: Tensor, partner: Tensor, own: Tensor, other: Tensor, lam: Tensor, terms: Terms = DEFAULTS
) -> tuple[Tensor, Tensor, Tensor]:
    """The energy of each pair as `energy` and `solve` take it: unary (B, n, n, L), down (B, n - 1, n), right.

    own, other: (B, n, n) saliency of the row and of its partner, which sum to 1. A cell of value m costs
    m other + (1 - m) own, and eta / n^2 times the prior. With beta' = beta / (16 n), neighbours of values a and b cost,
    for a and b 0 or 1, beta' ([a != b] + gamma d_ab), d_ab being how far the colours of image a on the one side of
    their edge are from those of image b on the other, and between that a square; what depends on one cell alone of
    it is in the unary costs.
    """
    grid = own.shape[1]
    smooth = terms.beta / (16 * grid)
    hidden, covered, weights = own.clone(), other.clone(), []  # what a cell costs whose value is 0, and 1
    pooled = _pooled(x, grid)
    for axis, colours in ((1, pooled), (2, pooled.transpose(2, 3))):
        d00, d01, d10, d11 = _apart(colours, partner, grid)
        if axis == 2:
            d00, d01, d10, d11 = (d.transpose(1, 2) for d in (d00, d01, d10, d11))
        half = smooth * terms.gamma / 2
        weights.append((d10 + d01 - d11 - d00).mul_(half).add_(smooth))
        for cost, near, far in ((hidden, d01 + d00, d10 + d00), (covered, d10 + d11, d01 + d11)):
            cost.narrow(axis, 0, grid - 1).add_(near, alpha=half)
            cost.narrow(axis, 1, grid - 1).add_(far, alpha=half)
    values = torch.arange(terms.labels, device=x.device) / (terms.labels - 1)
    unary = torch.lerp(hidden[..., None], covered[..., None], values)
    prior = _prior(lam, terms.labels)[:, None, None]
    return unary.add_(prior, alpha=terms.eta / grid**2), weights[0], weights[1]


def _pooled(x: Tensor, grid: int) -> Tensor:
    """(B, C, n k, n l) float32: the image averaged so that a cell has k x l colours."""
    blocks = [side // grid for side in x.shape[2:]]
    rows, columns = (grid * block // max(t for t in range(1, NEIGHBOUR + 1) if block % t == 0) for block in blocks)
    return F.adaptive_avg_pool2d(x.float(), (rows, columns))


def _apart(colours: Tensor, partner: Tensor, grid: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """d_00, d_01, d_10, d_11, each (B, n - 1, n): the mean distance, over the edge between each cell and the one below
    it, of the colours of image a above the edge from those of image b below; 1 is the row itself, 0 its partner."""
    cell = colours.shape[2] // grid
    above, below = colours[:, :, cell - 1 : -1 : cell], colours[:, :, cell::cell]

    def distance(one: Tensor, two: Tensor) -> Tensor:
        return (one - two).abs_().mean(1).unflatten(2, (grid, -1)).mean(3)

    d11 = distance(above, below)
    d01, d10 = distance(take(above, partner), below), distance(above, take(below, partner))
    return take(d11, partner), d01, d10, d11


def _prior(lam: Tensor, labels: int) -> Tensor:
    """(B, labels) minus the log of Binomial(labels - 1, lambda): of the value 0 first."""
    lam = lam.clamp(LEAST_LAM, 1 - LEAST_LAM)[:, None]
    most = labels - 1
    k = torch.arange(labels, device=lam.device)
    ways = math.lgamma(labels) - (k + 1.0).lgamma() - (labels - k.float()).lgamma()
    return -(ways + k * lam.log() + (most - k) * (1 - lam).log())
