"""Co-Mixup: a group of images becomes as many mixes, each of the most salient cells of several images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.config import Range, UsageError
from workbench.draw import Draw, send
from workbench.methods.base import Method, Mixed, Paper
from workbench.methods.masks import enlarged
from workbench.methods.parts.jointcut import PROHIBITIVE, Problem, solve
from workbench.saliency import gradient, on_grid

if TYPE_CHECKING:
    from workbench.models import Net

FINEST = 32
"""Pixels a side, at most, of the map on which the most salient window is looked for."""

LEAST_PRIOR = 1e-8
"""Shares below this cost no more."""


@dataclass(eq=False)
class CoMixup(Method):
    """Every cell of every output shows one input of the group, or two half and half; labels by the share of cells.

    For a group of m inputs, m outputs and a grid of N cells, `parts.jointcut` minimises the sum over all cells of
    -saliency - (eta / N) log(prior), plus beta / N for each border between cells that show different inputs, plus a
    cost of inputs that other outputs use already. The saliency is the input gradient's, which sums to 1 over an image.

    Paper and reference code (snu-mllab/Co-Mixup) differ in that last term: the paper bounds the similarity of all
    outputs together from below, a single hinge, while the code charges an output 2 gamma a cell for each image's worth
    of use that the others make of the input, as soon as that is above tau. We follow the code, because tau = 0.83, and
    all published results, belong to its form; under a single hinge one input may be used without end as long as the
    others make up for it. Cells of two inputs cost borders in proportion to the squared distance of the shares, which
    is the paper's cost for cells of one input and the code's for a mix beside one of its two.

    Where we differ from that code: belief propagation in place of graph cuts, all groups at once; the best sweep is
    kept, not the last; groups are as equal as they can be, so that any batch will do; outputs with the same inputs
    get no extra cost before the last sweep; `clean_weight` is 0 where its CIFAR runs have 1, at the price of one more
    pass. Rows have no lambda of their own, so a pinned lambda or partner changes nothing, and a row may have no part
    in its own output.
    """

    paper = Paper(
        "Co-Mixup: Saliency Guided Joint Mixup with Supermodular Diversity",
        "Kim, Choo, Jeong, Song",
        "ICLR 2021",
        "2102.03065",
    )
    family: ClassVar[str] = "saliency"
    needs_net = True

    beta: Annotated[float, Range(0, 10)] = 0.32
    """Cost of borders between cells that show different inputs."""
    gamma: Annotated[float, Range(0, 10)] = 1.0
    """Cost of inputs that other outputs use already."""
    eta: Annotated[float, Range(0, 10)] = 0.05
    """Weight of the prior of the inputs' shares."""
    tau: Annotated[float, Range(0, 10)] = 0.83
    """How much of an input the other outputs may use, in images, before its use costs anything."""
    omega: Annotated[float, Range(0, 1)] = 0.001
    """How much the use of inputs that are salient elsewhere counts as well."""
    alpha: Annotated[float, Range(0.05, 5)] = 2.0
    """All parameters of the Dirichlet distribution of the prior."""
    grid: Annotated[int, Range(1, 8)] = 4
    """Cells along each side of an image."""
    group: Annotated[int, Range(1, 64)] = 20
    """Inputs that are mixed among themselves, at most; the paper's ImageNet runs have 16."""
    sweeps: Annotated[int, Range(1, 16)] = 4
    """How often the solver goes through the outputs; the paper's ImageNet runs have 3."""
    clean_weight: Annotated[float, Range(0, 10)] = 0.0
    """Weight of the loss on the images as they came."""

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        if net is None:
            raise UsageError("CoMixup follows the gradient of a net; give it one")
        sides = min(self.grid, x.shape[2]), min(self.grid, x.shape[3])
        plan = drawn(draw, len(x), self.group, sides, self.sweeps, self.alpha)
        terms = Terms(self.beta, self.gamma, self.eta, self.tau, self.omega)
        mixed = comixed(x, gradient(net, x, y), plan, terms)
        return replace(mixed, aux=(self._clean_loss(x, y, net),)) if self.clean_weight else mixed

    def picture(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> tuple[Mixed, str]:
        return self.mix(x, y, net, draw), "the shares are the solver's: lambda and partner have no say in them"

    def _clean_loss(self, x: Tensor, y: Tensor, net: Net) -> Callable[[], Tensor]:
        return lambda: self.clean_weight * F.cross_entropy(net(x).float(), y, label_smoothing=self.label_smoothing)


class Terms(NamedTuple):
    """What the objective is made of; the fields of CoMixup of the same names."""

    beta: float = 0.32
    gamma: float = 1.0
    eta: float = 0.05
    tau: float = 0.83
    omega: float = 0.001


DEFAULTS = Terms()


class Plan(NamedTuple):
    """What is drawn for a batch of B rows in G groups of M places, of which those past `counts` are empty."""

    counts: np.ndarray
    """(G,) int64 rows of each group, which follow one another in the batch; they differ by one at most."""
    prior: np.ndarray
    """(G, M) float32 prior share of every place in its group's outputs."""
    start: np.ndarray
    """(G, M, N) int64 place whose input each of the N cells of each output shows at first."""
    orders: list[list[int]]
    """For every sweep, the places in the order in which their outputs are improved."""
    sides: tuple[int, int]
    """Rows and columns of the grid."""


def drawn(
    draw: Draw, n: int, group: int = 20, sides: tuple[int, int] = (4, 4), sweeps: int = 4, alpha: float = 2.0
) -> Plan:
    """All that is random about a mix of n rows: equal groups of at most `group`, Dirichlet(alpha) priors, a start and
    orders that are uniform."""
    groups = -(-n // group)
    counts = np.full(groups, n // groups) + (np.arange(groups) < n % groups)
    places = max(int(counts.max()), 3)  # the solver looks at the three inputs that an output uses most
    gamma = draw.rng.gamma(alpha, size=(groups, places)) * (np.arange(places) < counts[:, None])
    prior = (gamma / gamma.sum(1, keepdims=True)).astype(np.float32)
    start = draw.rng.integers(counts[:, None, None], size=(groups, places, sides[0] * sides[1]))
    orders = [draw.rng.permutation(int(counts.max())).tolist() for _ in range(sweeps)]
    return Plan(counts, prior, start, orders, sides)


@torch.no_grad()
def comixed(x: Tensor, saliency: Tensor, plan: Plan, terms: Terms = DEFAULTS) -> Mixed:
    """The mix of images x (B, C, H, W), given their saliency (B, H, W), not negative, of any scale: the method without
    a net."""
    groups, places = plan.prior.shape
    cells = plan.sides[0] * plan.sides[1]
    present = np.arange(places) < plan.counts[:, None]
    log_prior = np.log(np.maximum(plan.prior, LEAST_PRIOR))
    offset = np.where(present, -terms.eta / cells * log_prior, PROHIBITIVE).astype(np.float32)
    members, turned, source, own = _places(plan.counts, places)
    area = np.outer(*(_shares(side, n) for side, n in zip(x.shape[2:], plan.sides, strict=True))).reshape(-1)
    sent = send(x.device, present.astype(np.float32), offset, plan.start, members, turned, source, own, area)
    present_, offset_, start, members_, turned_, source_, own_, area_ = sent
    with torch.autocast(x.device.type, enabled=False):
        salient = on_grid(saliency, *plan.sides).flatten(1).index_select(0, members_.flatten())
        cost = offset_[:, None] - salient.view(groups, places, cells).mT
        position = _peaks(saliency).index_select(0, members_.flatten()).view(groups, places, 2)
        likeness = _likeness(position, present_, terms.omega)
        problem = Problem(cost, likeness, plan.sides, terms.beta / cells, terms.gamma, terms.tau)
        found = solve(problem, start, present_, plan.orders).flatten(0, 1).index_select(0, own_)
        share = found.gather(2, turned_[:, None].expand(-1, cells, -1)).mT
        most, which = share.topk(2, dim=1)
        rows = source_.gather(1, torch.where(most > 0, which, which[:, :1]).flatten(1)).view(-1, 2, *plan.sides)
        mixed = patchwork(x, rows[:, 0]).lerp_(patchwork(x, rows[:, 1]), 0.5)
        return Mixed(mixed, source_, share @ area_, share[:, :-1].unflatten(2, plan.sides))


def _places(counts: np.ndarray, places: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """How B rows lie in G groups of M places, int64:

    (G, M) the row in each place, any where it is empty; for every row (B, M) the places of its group from its own
    round, and then the empty ones, and (B, M) the rows in these, the row itself where they are empty; and (B,) the
    number of its own place among all G M.
    """
    first = (counts.cumsum() - counts)[:, None]
    count = counts.repeat(counts)[:, None]
    row, start = np.arange(counts.sum())[:, None], first.repeat(counts, 0)
    step = np.arange(places)
    turned = np.where(step < count, (row - start + step) % count, step)
    source = np.where(step < count, start + turned, row)
    group = np.arange(len(counts)).repeat(counts)
    return np.minimum(first + step, counts.sum() - 1), turned, source, (row - start)[:, 0] + group * places


def _cells(side: int, cells: int) -> np.ndarray:
    """(side,) int64: in which of so many cells each pixel along a side lies once a mask is `enlarged`."""
    return enlarged(torch.arange(cells).float().view(1, 1, 1, cells), (1, side)).flatten().long().numpy()


def _shares(side: int, cells: int) -> np.ndarray:
    """(cells,) float32: what each of so many cells takes of a side in pixels, which they need not divide."""
    return (np.bincount(_cells(side, cells), minlength=cells) / side).astype(np.float32)


def _peaks(saliency: Tensor) -> Tensor:
    """(B, 2) float32 row and column of the most salient window of a quarter of the image's sides."""
    height, width = saliency.shape[1:]
    coarse = F.adaptive_avg_pool2d(saliency[:, None].float(), (min(height, FINEST), min(width, FINEST)))
    windows = F.avg_pool2d(coarse, (-(-coarse.shape[2] // 4), -(-coarse.shape[3] // 4)), stride=1)
    place = windows.flatten(1).argmax(1)
    return torch.stack([place // windows.shape[3], place % windows.shape[3]], 1).float()


def _likeness(position: Tensor, present: Tensor, omega: float) -> Tensor:
    """(G, M, M) (1 - omega) I + omega D: D the L1 distances between positions (G, M, 2), scaled to sum to the number of
    the places that are present (G, M)."""
    apart = (position[:, :, None] - position[:, None]).abs().sum(3) * (present[:, :, None] * present[:, None])
    total = apart.sum((1, 2), keepdim=True)
    scaled = apart * present.sum(1)[:, None, None] / total.clamp(min=1)  # distances are whole numbers
    return omega * scaled + (1 - omega) * torch.eye(position.shape[1], device=position.device)


def patchwork(x: Tensor, rows: Tensor) -> Tensor:
    """Fresh (B, C, H, W) images whose cell (i, j) is that of x[rows[b, i, j]]; rows: (B, r, c) int64.

    The cells are those of a mask (B, K, r, c) that is enlarged. Where they are equally wide, all pixels of a cell in
    one line of memory are copied as one.
    """
    if x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return _copied(x.permute(0, 2, 3, 1).unsqueeze(1), rows).squeeze(1).permute(0, 3, 1, 2)
    return _copied(x.contiguous().unsqueeze(4), rows).squeeze(4)


def _copied(x: Tensor, rows: Tensor) -> Tensor:
    """`patchwork` for x (B, A, H, W, D), contiguous."""
    planes, height, width, _ = x.shape[1:]
    runs, across = rows.shape[2], _cells(width, rows.shape[2])
    down, columns = send(x.device, _cells(height, rows.shape[1]), across)
    rows = rows.index_select(1, down)
    if (across != np.arange(width) * runs // width).any() or width % runs:
        return x.gather(0, rows.index_select(2, columns)[:, None, :, :, None].expand_as(x))
    plane, line, run = (torch.arange(many, device=x.device) for many in (planes, height, runs))
    plane = (rows * planes)[:, None] + plane[:, None, None]
    where = (plane * height + line[:, None]) * runs + run
    return x.view(where.numel(), -1).index_select(0, where.flatten()).view(x.shape)
