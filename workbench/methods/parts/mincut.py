"""Labelling a grid at the least energy: PuzzleMix's cut for a whole batch at once, on the images' device.

B images, h x w cells, L labels; label l stands for the mask value l / (L - 1), the share of the first image.

    E(m) = sum_p unary_p(m_p) + sum_pq w_pq (m_p - m_q)^2,    w_pq >= 0, unary_p convex in the label

Such an energy is exactly as low on whole labels as on the numbers between them, where it is interpolated linearly
from label to label (it is L-natural convex; Murota, Discrete Convex Analysis, SIAM 2003). So a convex solver finds
the minimum cut that the paper's graph-cut package computes image by image.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable

import torch
from torch import Tensor

STEPS = 100
"""Primal-dual steps; the energy was then within 0.1 % of the minimum cut on every pair of photographs tried."""
RELAXATION = 1.8
PRIMAL_SHARE = 0.7
"""The primal step, in units of the dual one, where there are two labels and the costs are one a cell on average."""
ROUNDINGS = (0.1, 0.3, 0.5, 0.7, 0.9)
EXACT_STATES = 81
"""Labellings of one row of cells up to which the rows are solved exactly: four cells of three labels."""


def energy(mask: Tensor, unary: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """(B,) energy of masks (B, h, w) whose values are l / (L - 1).

    unary: (B, h, w, L) cost of each label. down: (B, h - 1, w) and right: (B, h, w - 1) weights of the squared
    difference between a cell and the one below it, and the one to its right.
    """
    label = (mask * (unary.shape[3] - 1)).round().long()
    single = unary.gather(3, label[..., None]).sum((1, 2, 3))
    below = (down * mask.diff(dim=1).square()).sum((1, 2))
    return single + below + (right * mask.diff(dim=2).square()).sum((1, 2))


def solve(unary: Tensor, down: Tensor, right: Tensor, steps: int = STEPS) -> Tensor:
    """(B, h, w) float32 masks of the least energy, with the arguments of `energy`; float32, convex, weights >= 0.

    Exact where a row has at most `EXACT_STATES` labellings (4 cells of 3 labels). Else `steps` over-relaxed primal-dual
    steps (Chambolle and Pock, JMIV 2011) and the best of several roundings.
    """
    with torch.autocast(unary.device.type, enabled=False):
        if unary.shape[3] ** unary.shape[2] <= EXACT_STATES:
            return _by_rows(unary, down, right)
        # The batch comes last, so that neighbours are contiguous slices.
        label = _relaxed(unary.permute(3, 1, 2, 0).contiguous(), down.movedim(0, 2), right.movedim(0, 2), steps)
        return _rounded(label.movedim(2, 0), unary, down, right)


# ------------------------------------------------------------------------------------------------------ narrow grids


def _by_rows(unary: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Dynamic programming from the top row to the bottom one; a state is a labelling of one row."""
    _, height, width, labels = unary.shape
    digits = _digits(width, labels, unary.device)  # (width, states)
    levels = digits / (labels - 1)
    chosen = (digits[:, None] == torch.arange(labels, device=unary.device)[:, None]).to(unary.dtype)
    alone = unary.flatten(2) @ chosen.flatten(0, 1) + right @ levels.diff(dim=0).square()  # (B, height, states)
    apart = (levels[:, :, None] - levels[:, None, :]).square().flatten(1)  # (width, states * states)
    best, came = alone[:, 0], []
    for row in range(1, height):
        step = (down[:, row - 1] @ apart).unflatten(1, (digits.shape[1], -1)).add_(best[:, :, None])
        best, origin = step.min(1)
        best = best + alone[:, row]
        came.append(origin)
    states = [best.argmin(1, keepdim=True)]
    for origin in reversed(came):
        states.insert(0, origin.gather(1, states[0]))
    return levels.t()[torch.cat(states, 1)]


def _digits(width: int, labels: int, device: torch.device) -> Tensor:
    """(width, labels ** width) every labelling of a row of cells."""
    number = torch.arange(labels**width, device=device)
    return torch.stack([number // labels**place % labels for place in range(width)])


# ------------------------------------------------------------------------------------------------------- wide grids


def _relaxed(unary: Tensor, down: Tensor, right: Tensor, steps: int) -> Tensor:
    """(h, w, B) labels between whole numbers, from primal-dual steps. unary: (L, h, w, B); down and right likewise.

    The dual variable of an edge is divided by the dual step, so that this step does not appear below. The norm of the
    difference operator K squared is at most 8 on a grid, and the product of both steps is 1 / 8.
    """
    top = len(unary) - 1
    slope = unary.diff(dim=0)
    tau = PRIMAL_SHARE / math.sqrt(8 * top) / slope.abs().mean((0, 1, 2)).clamp(min=1e-12)  # steps that suit the costs
    slopes = [tau * part + k for k, part in enumerate(slope)]
    bend = _edges(down, right) * (tau * (8 / top**2))
    corners = [(-corner, corner) for corner in (bend * (2 * k + 1) + k for k in range(top - 1))]
    least, most = bend * (1 - 2 * top), bend * (2 * top - 1)
    label = unary.argmin(0).to(unary.dtype)
    dual, ahead = torch.zeros_like(bend), torch.zeros_like(bend)
    for _ in range(steps):
        aim = label.sub(_transposed(dual), alpha=1 / 8)
        new = _sum((aim - part).clamp_(0, 1) for part in slopes)
        _differences(torch.lerp(label, new, 2, out=aim), ahead)
        label.lerp_(new, RELAXATION)
        dual.lerp_(_proximal(ahead.add_(dual), corners).clamp_(least, most), RELAXATION)
    return label


def _sum(parts: Iterable[Tensor]) -> Tensor:
    return functools.reduce(Tensor.add_, parts)


def _edges(down: Tensor, right: Tensor) -> Tensor:
    """(2, h, w, B): what belongs to the edge below each cell, and to its right; 0 where the grid ends."""
    height, width = right.shape[0], down.shape[1]
    edges = down.new_zeros(2, height, width, down.shape[2])
    edges[0, :-1], edges[1, :, :-1] = down, right
    return edges


def _differences(label: Tensor, out: Tensor) -> None:
    """K: each cell less the one below it, and less the one to its right, into `out` (2, h, w, B)."""
    torch.sub(label[:-1], label[1:], out=out[0, :-1])
    torch.sub(label[:, :-1], label[:, 1:], out=out[1, :, :-1])


def _transposed(dual: Tensor) -> Tensor:
    """The transpose of K: (h, w, B) from (2, h, w, B)."""
    pulled = dual[0] + dual[1]
    pulled[1:] -= dual[0, :-1]
    pulled[:, 1:] -= dual[1, :, :-1]
    return pulled


def _proximal(dual: Tensor, corners: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The proximal point of the conjugate of bend t^2, interpolated linearly between whole t; its domain is left to
    the caller. Where the derivative jumps, at t = k, the dual rests for a length of 1, beyond that corner."""
    rest = [(dual - dual.clamp(*corner)).clamp_(-1, 1) for corner in corners]
    return dual.sub_(_sum(rest)) if rest else dual


def _rounded(label: Tensor, unary: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """(B, h, w) the masks of least energy among several roundings of labels (B, h, w) between whole numbers.

    Energies average over all roundings to that of `label`, so one of them is as low; where two cuts are nearly equal,
    steps end between them and rounding at one half alone can be a few percent off.
    """
    top = unary.shape[3] - 1
    masks = torch.stack([(label + up).floor_().clamp_(0, top).div_(top) for up in ROUNDINGS])
    paid = torch.stack([energy(mask, unary, down, right) for mask in masks])
    return masks.gather(0, paid.argmin(0).view(1, -1, 1, 1).expand_as(masks[:1]))[0]
