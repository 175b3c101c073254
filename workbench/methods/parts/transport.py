"""Moving the patches of an image to where its mask shows it: PuzzleMix's transport, as a stable matching and a gather.

B images, n x n patches, N = n^2; C H W image.

A patch i that goes to place j costs t_eps |i - j|^2 / (n - 1)^2, and gains its saliency s_i if j is seen. Patches
propose to their cheapest place, a place keeps the cheapest that proposes, and the others go on to their next one. As
every place that is seen pays the same saliency, a patch prefers them by distance alone: one table of neighbours serves
all images, and no (B, N, N) matrix of costs is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor

TABLE = 2**22
"""Bytes, about, of the largest table that matching takes."""


def matched(saliency: Tensor, seen: Tensor, t_eps: float) -> Tensor:
    """(B, N) int64: which patch comes to each place; a place that no patch gains from keeps its own.

    saliency: (B, n, n) float32, sums to 1 over an image, not negative, n up to 16; seen: (B, n, n) bool. Of n rounds of
    proposals, as published. No two places that are seen get one patch, and each has one, since its own patch proposes
    to it first.
    """
    side = saliency.shape[1]
    near, fares = _neighbours(side, t_eps, saliency.device)
    # The batch comes last, so that one table of neighbours picks contiguous rows; some at a time, for memory's sake.
    gain, shown = (t.flatten(1).t().split(TABLE // side**4, 1) for t in (saliency, seen))
    plans = [_match(g.contiguous(), z.contiguous(), near, fares, side) for g, z in zip(gain, shown, strict=True)]
    return torch.cat(plans, 1).t()


def _match(gain: Tensor, seen: Tensor, near: Tensor, fares: Tensor, rounds: int) -> Tensor:
    """(N, B) the plan for saliencies (N, B) and what is seen (N, B)."""
    count = len(gain)
    upcoming = _next_seen(near, seen)
    own = torch.arange(count, device=gain.device)[:, None].expand_as(gain)
    rank, target, winner = upcoming[0].long(), own, own
    for turn in range(rounds):
        if turn:  # who was refused goes on to the next place that is seen
            refused = winner.gather(0, target) != own
            following = upcoming.gather(0, (rank + 1).clamp_(max=count - 1)[None])[0].long()
            rank = torch.where(refused, following, rank)
        entry = (rank * count + own).flatten()
        target = near.flatten().index_select(0, entry).view_as(own)
        fare = fares.flatten().index_select(0, entry).view_as(gain)
        winner = _winners(target, torch.where(seen.gather(0, target), gain - fare, 0), own)
    return torch.where(winner < count, winner, own)


def _winners(target: Tensor, profit: Tensor, own: Tensor) -> Tensor:
    """(N, B) which patch each place keeps: the one of highest profit above 0, of equal ones the first; or N."""
    highest = torch.zeros_like(profit).scatter_reduce_(0, target, profit, "amax")
    wins = (profit > 0) & (profit == highest.gather(0, target))
    none = torch.full_like(target, len(own))
    return none.scatter_reduce_(0, target, torch.where(wins, own, len(own)), "amin")


def _neighbours(side: int, t_eps: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """(N, N) int64 the k-th nearest place of each patch i, at [k, i], of equally far ones the first; and its fare."""
    row, column = (torch.arange(side**2, device=device) // part % side for part in (side, 1))
    far = (row[:, None] - row).square() + (column[:, None] - column).square()
    far, near = far.sort(dim=0, stable=True)
    return near, far * (t_eps / max(side - 1, 1) ** 2)


def _next_seen(near: Tensor, seen: Tensor) -> Tensor:
    """(N, N, B) uint8: at [k, i] the rank, from k on, of the next neighbour of patch i that is seen, or else the last.

    The least of all ranks from k on that are seen: in runs of n ranks first, then from run to run.
    """
    side, ranks = round(len(near) ** 0.5), torch.arange(len(near), device=near.device)
    unseen = seen.logical_not().byte().mul_(255)  # so that | rank is the rank where seen, and 255 elsewhere
    table = unseen.index_select(0, near.flatten()).view(*near.shape, -1)
    table.bitwise_or_(ranks.byte()[:, None, None])
    runs = table.unflatten(0, (side, side))
    for k in range(side - 2, -1, -1):
        torch.minimum(runs[:, k], runs[:, k + 1], out=runs[:, k])
    for k in range(side - 2, -1, -1):
        torch.minimum(runs[k], runs[k + 1, 0], out=runs[k])
    return table.clamp_(max=len(near) - 1)


def moved(x: Tensor, plan: Tensor) -> Tensor:
    """A fresh batch like x (B, C, H, W) in which place j has the patch plan[:, j]; plan: (B, N).

    The pixels of row y belong to the patches of row floor(y n / H). Where n does not divide H or W, patches differ by
    one pixel in size: a place then has the pixels from where its patch begins, as many as it has room for, or from a
    little before where the image would end.
    """
    (height, width), side = x.shape[2:], round(plan.shape[1] ** 0.5)
    plan = plan.unflatten(1, (side, side))
    down, to_row = _ways(plan // side, height, 1)
    right, to_column = _ways(plan % side, width, 2)
    ways = (down * width + right).index_select(1, to_row).index_select(2, to_column).flatten(1)
    pixel = ways.add_(torch.arange(height * width, device=x.device))
    if not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        lines = x.permute(0, 2, 3, 1).flatten(1, 2)
        return lines.gather(1, pixel[:, :, None].expand_as(lines)).unflatten(1, (height, width)).permute(0, 3, 1, 2)
    lines = x.flatten(2)
    return lines.gather(2, pixel[:, None].expand_as(lines)).unflatten(2, (height, width))


def _ways(origin: Tensor, length: int, axis: int) -> tuple[Tensor, Tensor]:
    """(B, n, n) by how many pixels each place's patch moves along one axis, and (length,) the place of each pixel.

    origin: (B, n, n) row, or column, in the grid that the patch comes from.
    """
    side = origin.shape[axis]
    edges = (torch.arange(side + 1, device=origin.device) * length + side - 1) // side
    place = torch.arange(length, device=origin.device) * side // length
    start, room = (edges_of.view(-1, 1) if axis == 1 else edges_of for edges_of in (edges[:-1], edges.diff()))
    return torch.minimum(edges[origin], length - room) - start, place
