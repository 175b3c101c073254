"""The solver of Co-Mixup: which cell of which output shows which input, for all groups of a batch at once.

G groups, J outputs and I inputs of a group (as many), N = rows x columns cells of the grid, L labels a cell may have.
An assignment z (G, J, N, I) holds the share of every input in every cell: one input alone, or two, half and half.

Everything is gathered and summed, where matrices of zeros and ones would be shorter: products so small cost more to
spread over threads than to compute.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.draw import send
from workbench.methods.parts.graphs import replayed

PROHIBITIVE = 1e6
"""Cost of what must not be chosen, far above every real cost."""

HALF_BONUS = 5e-4
"""By how much a cell that two inputs share is cheaper than the mean of the two, as in the released code."""

MESSAGE_ROUNDS = 4
"""Rounds of message passing for each output."""

DAMPING = 0.3
"""What a message keeps of itself in a round."""

PAIRS = np.array([[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]])
"""Labels of the three inputs that an output uses most: each alone, and each two of them half and half."""


@dataclass(frozen=True)
class Problem:
    """What is to be minimised, for every group: `objective`."""

    cost: Tensor
    """(G, N, I) float32 cost of showing input i in cell k of any output."""
    likeness: Tensor
    """(G, I, I) how much using one input counts as using the other; symmetric, near the identity."""
    grid: tuple[int, int]
    """Rows and columns."""
    smoothness: float
    """Cost of a border between two cells that show different inputs."""
    diversity: float
    """Cost of a cell for each image's worth of use that the other outputs make of its input, where that is too much."""
    limit: float
    """Use by the other outputs, in images, up to which an input is free."""


class Tables(NamedTuple):
    """A grid with E directed edges between neighbouring cells, and the labels of its cells. All but `distance` are
    int64 row numbers; one past the last stands for a row of zeros."""

    start: Tensor
    """(E,) the cell where an edge starts."""
    onward: Tensor
    """(E 3) the edges that lead to there, but for the edge's own reverse."""
    inward: Tensor
    """(N 4) the edges that end at a cell."""
    around: Tensor
    """(N 4) the cells around a cell."""
    red: Tensor
    """(N, 1) bool: the red cells of a chequerboard, no two of which are neighbours."""
    alone: Tensor
    """(I,) the inputs."""
    pairs: Tensor
    """(2, 6) `PAIRS`."""
    distance: Tensor
    """(L + 1, L) float32 half the squared distance between what two labels show: 0 for the same, 1 for two inputs,
    between 1/4 and 3/4 where two inputs share a cell; then zeros."""


@functools.lru_cache(maxsize=8)
def tables(rows: int, columns: int, inputs: int, device: torch.device) -> Tables:
    """The tables for cells that have up to four neighbours, sent in one transfer."""
    cell = np.arange(rows * columns).reshape(rows, columns)
    one_way = [*zip(cell[:, :-1].flat, cell[:, 1:].flat, strict=True), *zip(cell[:-1].flat, cell[1:].flat, strict=True)]
    edges = np.array([*one_way, *((b, a) for a, b in one_way)], np.int64).reshape(-1, 2)
    start, end = edges.T
    reverse = np.roll(np.arange(len(edges)), len(one_way))
    to_start = (start[:, None] == end) & (np.arange(len(edges)) != reverse[:, None])
    to_cell = cell.reshape(-1, 1) == end
    around = np.append(start, cell.size)[_listed(to_cell, 4)]
    red = (np.add.outer(np.arange(rows), np.arange(columns)) % 2 == 0).reshape(-1, 1)
    return Tables(
        *send(device, start, _listed(to_start, 3), _listed(to_cell, 4), around),
        *send(device, red, np.arange(inputs), PAIRS, _distances(inputs)),
    )


def _listed(chosen: np.ndarray, most: int) -> np.ndarray:
    """(rows * most,) int64 columns that are chosen (rows, columns) in each row, filled up with the number of them."""
    columns = np.where(chosen, np.arange(chosen.shape[1]), chosen.shape[1])
    columns = np.pad(np.sort(columns, 1), [(0, 0), (0, most)], constant_values=chosen.shape[1])
    return columns[:, :most].reshape(-1)


def _distances(inputs: int) -> np.ndarray:
    """(L + 1, L) `Tables.distance`: the inputs of `PAIRS` are not counted among the others."""
    shown = np.zeros((inputs + 6, inputs + 3), np.float32)
    shown[:inputs, :inputs] = np.eye(inputs)
    shown[inputs:, inputs:] = (np.eye(3)[PAIRS[0]] + np.eye(3)[PAIRS[1]]) / 2
    distance = np.square(shown[:, None] - shown).sum(2) / 2
    return np.pad(distance, [(0, 1), (0, 0)])


# --------------------------------------------------------------------------------------------------- the objective


def objective(problem: Problem, z: Tensor) -> Tensor:
    """(G,) what an assignment z (G, J, N, I) costs:

    sum_jk cost_k . z_jk  +  smoothness sum_j sum_kl |z_jk - z_jl|^2 / 2  -  HALF_BONUS (cells of two inputs)
    + N diversity sum_ji area_ji use_ji [use_ji > limit],

    where kl are neighbouring cells, area_j the shares of the inputs in output j, and use_j = likeness (sum of the
    areas of all outputs but j).
    """
    area, cells = z.mean(2), z.unflatten(2, problem.grid)
    borders = cells.diff(dim=2).square().sum((1, 2, 3, 4)) + cells.diff(dim=3).square().sum((1, 2, 3, 4))
    halves = 2 * (z.sum(3) - z.square().sum(3)).sum((1, 2))  # |z_jk|^2 is 1/2 where two inputs share a cell
    reused = (area * _charged(problem, area.sum(1, keepdim=True) - area)).sum((1, 2))
    shown = (problem.cost[:, None] * z).sum((1, 2, 3))
    return shown + problem.smoothness / 2 * borders - HALF_BONUS * halves + z.shape[2] * problem.diversity * reused


def _charged(problem: Problem, others: Tensor) -> Tensor:
    """(G, J, I) the use of every input by the others, or 0 where that is free; others: (G, J, I) their shares."""
    use = (others[:, :, None] * problem.likeness[:, None]).sum(3)
    return F.threshold(use, problem.limit, 0.0)


def _assigned(problem: Problem, inputs: Tensor, present: Tensor) -> Tensor:
    """(G, J, N, I) the assignment of which inputs (2, N, G, J) int64 lists the first and the second of every cell."""
    shares = torch.zeros(*inputs.shape[1:], problem.cost.shape[2], device=inputs.device)
    for one in inputs:
        shares.scatter_add_(3, one[..., None], torch.full_like(shares[..., :1], 0.5))
    return (shares * present[..., None]).permute(1, 2, 0, 3)


# ------------------------------------------------------------------------------------------------------ the solver


def solve(problem: Problem, start: Tensor, present: Tensor, orders: Sequence[Sequence[int]]) -> Tensor:
    """The best assignment (G, J, N, I) after a sweep over the outputs for each of `orders`, and never a worse one for
    more sweeps.

    start: (G, J, N) int64 input of every cell to begin with; present: (G, J) 1, or 0 for an output that only fills up
    its group and uses nothing. I is at least 3. The outputs are improved one after the other, each with the others as
    they are then: all at once, every output would take the same inputs that nobody uses yet. Thresholds move while
    that is done, so that one sweep can end above another.
    """
    table = tables(*problem.grid, problem.cost.shape[2], start.device)
    (turns,) = send(start.device, np.array(orders, np.int64))
    tensors = (problem.cost, problem.likeness, start, present, turns, *table)
    return replayed(_searched, tensors, problem.grid, problem.smoothness, problem.diversity, problem.limit)


def _searched(cost: Tensor, likeness: Tensor, start: Tensor, present: Tensor, turns: Tensor, *rest: Any) -> Tensor:
    """`solve`, reading tensors alone; turns: the orders (sweeps, J); rest: `Tables`, then the numbers of `Problem`."""
    table, numbers = Tables(*rest[: len(Tables._fields)]), rest[len(Tables._fields) :]
    problem = Problem(cost, likeness, *numbers)
    cost = problem.cost.transpose(0, 1).contiguous()
    inputs = start.permute(2, 0, 1).repeat(2, 1, 1, 1)
    best = _assigned(problem, inputs, present)
    area, lowest = best.mean(2), objective(problem, best)
    total = area.sum(1)
    for sweep, order in enumerate(turns):
        for j in order.split(1):
            own = area.index_select(1, j)[:, 0]
            total -= own
            penalty = 2 * problem.diversity * _charged(problem, total[:, None])[:, 0]
            found = _improved(problem, table, cost + penalty, own, halves=sweep > 0)
            own = _areas(found, problem.cost.shape[2]) * present.index_select(1, j)
            inputs.index_copy_(3, j, found[..., None])
            area.index_copy_(1, j, own[:, None])
            total += own
        reached = _assigned(problem, inputs, present)
        cost_reached = objective(problem, reached)
        best = torch.where((cost_reached < lowest)[:, None, None, None], reached, best)
        lowest = torch.minimum(cost_reached, lowest)
    return best


def _areas(found: Tensor, inputs: int) -> Tensor:
    """(G, I) shares of the inputs in an output, of which `found` (2, N, G) lists both inputs of every cell."""
    of_group = found.flatten(0, 1).t()
    counts = torch.zeros(len(of_group), inputs, device=found.device)
    return counts.scatter_add_(1, of_group, torch.ones_like(of_group, dtype=counts.dtype)) / of_group.shape[1]


def _improved(problem: Problem, table: Tables, unary: Tensor, area: Tensor, halves: bool) -> Tensor:
    """(2, N, G) int64 the first and second input of every cell of an output, the same where it shows one alone, chosen
    for the cost `unary` (N, G, I) of each input and the smoothness.

    area: (G, I) shares of the inputs in the output as it was. The cost of diversity is linear in one output's shares
    but for its thresholds, which are taken as they are; it is twice in `unary`, since the others' cost rises with this
    output's use as its own does with theirs.
    """
    shown, offset = _labels(table, area, halves)
    first, second = (unary.gather(2, inputs.expand(len(unary), -1, -1)) for inputs in shown)
    cost = first.add_(second).mul_(0.5).add_(offset)
    label = _settled(table, cost, problem.smoothness, _passed(table, cost, problem.smoothness).argmin(2))
    return shown.gather(2, label.t().expand(2, -1, -1)).transpose(1, 2)


def _labels(table: Tables, area: Tensor, halves: bool) -> tuple[Tensor, Tensor]:
    """(2, G, L) int64 the two inputs that each label shows, and (G, L) what it costs besides.

    First comes every input alone, then `PAIRS`. Inputs of `PAIRS` are prohibited among the others, so that the
    distances between labels don't depend on which they are; so are halves of what the output does not use.
    """
    most, which = area.topk(3)
    pairs = which.index_select(1, table.pairs.flatten()).view(-1, 2, 6).transpose(0, 1)
    shown = torch.cat([table.alone.expand(2, len(area), -1), pairs], 2)
    least = most.index_select(1, table.pairs[1, 3:])
    half = torch.where(least > 0, -HALF_BONUS, PROHIBITIVE) if halves else torch.full_like(least, PROHIBITIVE)
    among = torch.zeros_like(area).scatter_(1, which, PROHIBITIVE)
    return shown, torch.cat([among, torch.zeros_like(most), half], 1)


def _summed(rows: Tensor, numbers: Tensor, each: int) -> Tensor:
    """(numbers / each, ...) sums of so many rows each; one past the last row is a row of zeros."""
    return F.pad(rows, (0, 0, 0, 0, 0, 1)).index_select(0, numbers).unflatten(0, (-1, each)).sum(1)


def _passed(table: Tables, cost: Tensor, smoothness: float) -> Tensor:
    """(N, G, L) min-marginals of the labels of every cell by min-sum belief propagation, from their costs (N, G, L).

    What a cell tells its neighbour of a label is the least that it would cost by itself to go with it, and at most
    `smoothness` above the least of all: two different inputs are that far apart. The shorter ways between `PAIRS` are
    looked at one by one.
    """
    near = smoothness * table.distance[-7:-1, -6:]
    base = cost.index_select(0, table.start)
    message = torch.zeros_like(base)
    for _ in range(MESSAGE_ROUNDS):
        heard = _summed(message, table.onward, 3).add_(base)
        heard -= heard.amin(2, keepdim=True)
        told = heard.clamp(max=smoothness)
        told[:, :, -6:] = torch.minimum(told[:, :, -6:], (heard[:, :, None, -6:] + near).amin(3))
        message = told.lerp_(message, DAMPING)
    return _summed(message, table.inward, 4).add_(cost)


def _settled(table: Tables, cost: Tensor, smoothness: float, label: Tensor) -> Tensor:
    """(N, G) labels after every red, then every black cell has taken the best one for its neighbours' labels."""
    distance = smoothness * table.distance
    for active in (table.red, ~table.red):
        neighbours = F.pad(label, (0, 0, 0, 1), value=cost.shape[2]).index_select(0, table.around)
        around = distance.index_select(0, neighbours.flatten()).view(-1, 4, *cost.shape[1:]).sum(1)
        label = torch.where(active, around.add_(cost).argmin(2), label)
    return label
