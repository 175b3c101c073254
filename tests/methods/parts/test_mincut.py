"""The batched minimum cut against exact ones: all labellings, and SciPy's maximum flow."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow
from torch import Tensor

from tests.methods.settings import residual_net
from workbench.data import load
from workbench.methods.parts import mincut
from workbench.methods.parts.mincut import energy, solve
from workbench.methods.puzzlemix import Terms, costs
from workbench.saliency import gradient, on_grid

Energy = tuple[Tensor, Tensor, Tensor]
SCALE = 1e6
NEVER = 2**30


def random_energy(rows: int, height: int, width: int, labels: int, seed: int = 0, smooth: float = 0.3) -> Energy:
    """Costs that are convex in the label, and weights."""
    generator = torch.Generator().manual_seed(seed)
    slope = torch.randn(rows, height, width, 1, generator=generator)
    bend = torch.rand(rows, height, width, 1, generator=generator)
    value = torch.linspace(0, 1, labels)
    down = smooth * torch.rand(rows, height - 1, width, generator=generator)
    right = smooth * torch.rand(rows, height, width - 1, generator=generator)
    return slope * value + bend * value**2, down, right


def on_photographs(grid: int, labels: int, pairs: int = 12, sharper: float = 1) -> Energy:
    """PuzzleMix's energy of pairs of photographs, with the gradient saliency of a small net."""
    photos = load("photos", "train", size=32)
    rows = torch.arange(pairs) * 150
    x, y = photos.images[rows].float() / 255, torch.as_tensor(photos.labels)[rows].long() % 8
    torch.manual_seed(0)
    saliency = gradient(residual_net(3, 32, 32), x, y) ** sharper
    own, partner = on_grid(saliency, grid, grid), torch.arange(pairs).roll(1)
    lam = torch.from_numpy(np.random.default_rng(grid).uniform(size=pairs).astype(np.float32))
    return costs(x, partner, own, own[partner], lam, Terms(labels))


def by_trying(unary: Tensor, down: Tensor, right: Tensor) -> float:
    """The least energy of all labellings of one image."""
    height, width, labels = unary.shape[1:]
    every = torch.tensor(list(itertools.product(range(labels), repeat=height * width)))
    masks = every.view(-1, height, width) / (labels - 1)
    parts = (t.expand(len(masks), *t.shape[1:]) for t in (unary, down, right))
    return energy(masks, *parts).min().item()


def by_flow(unary: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """(1, h, w) the mask of least energy of one image (1, h, w, L), from the minimum cut of Ishikawa's graph.

    A cell is a chain of L - 1 nodes from the source (0) to the sink (1); its label is how many are on the source's
    side. Neighbours are joined node by node, each to each, which costs more than w (l - l')^2 by what depends on one
    label alone, taken back from the chains.
    """
    u, w_down, w_right = (t[0].double().numpy() for t in (unary, down, right))
    (height, width, labels), top = u.shape, u.shape[2] - 1
    cell, label = np.arange(height * width).reshape(height, width), np.arange(labels)
    around = np.zeros((height, width))
    edges = ((cell[:-1], cell[1:], w_down / top**2), (cell[:, :-1], cell[:, 1:], w_right / top**2))
    for one, other, weight in edges:
        np.add.at(around.reshape(-1), one, weight)
        np.add.at(around.reshape(-1), other, weight)
    chain = (u - around[:, :, None] * label * (top - label)).reshape(-1, labels)
    chain = chain - chain.min(1, keepdims=True) + 0.01
    arcs: list[tuple[np.ndarray, ...]] = []

    def join(start: int | np.ndarray, end: int | np.ndarray, capacity: int | np.ndarray) -> None:
        arcs.append(tuple(part.ravel() for part in np.broadcast_arrays(start, end, capacity)))

    node = 2 + cell.ravel()[:, None] * top + np.arange(top)
    join(0, node[:, 0], np.round(chain[:, 0] * SCALE))
    join(node[:, -1], 1, np.round(chain[:, -1] * SCALE))
    for k in range(top - 1):
        join(node[:, k], node[:, k + 1], np.round(chain[:, k + 1] * SCALE))
        join(node[:, k + 1], node[:, k], NEVER)
    for (one, other, weight), k, j in itertools.product(edges, range(top), range(top)):
        join(node[one, k], node[other, j], np.round(weight * SCALE))
        join(node[other, j], node[one, k], np.round(weight * SCALE))
    start, end, capacity = (np.concatenate(part) for part in zip(*arcs, strict=True))
    graph = csr_matrix((capacity.astype(np.int32), (start, end)), shape=(2 + node.size,) * 2)
    rest = graph - maximum_flow(graph, 0, 1).flow
    rest.data[rest.data < 0] = 0
    rest.eliminate_zeros()
    reached = np.zeros(2 + node.size)
    reached[breadth_first_order(rest, 0, return_predecessors=False)] = 1
    return torch.from_numpy(reached[node].sum(1).reshape(1, height, width) / top).float()


def least(parts: Energy) -> Tensor:
    """(B,) the energy of the exact cut of every row."""
    rows = [tuple(part[b : b + 1] for part in parts) for b in range(len(parts[0]))]
    return torch.cat([energy(by_flow(*row), *row) for row in rows])


# -------------------------------------------------------------------------------------------------------------- oracles


@pytest.mark.parametrize("labels", [2, 3])
def test_the_flow_and_the_solver_find_the_best_of_all_labellings(labels: int) -> None:
    parts = random_energy(6, 2, 4, labels)
    mask = solve(*parts)
    for b in range(6):
        row: Energy = tuple(part[b : b + 1] for part in parts)  # type: ignore[assignment]
        best = by_trying(*row)
        assert energy(by_flow(*row), *row).item() == pytest.approx(best, abs=1e-4)
        assert energy(mask[b : b + 1], *row).item() == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("grid", [2, 4, 8, 16])
def test_within_a_percent_of_the_exact_cut_on_photographs(grid: int, labels: int) -> None:
    parts = on_photographs(grid, labels)
    mask, best = solve(*parts), least(parts)
    assert set(mask.unique().tolist()) <= {k / (labels - 1) for k in range(labels)}
    gap = energy(mask, *parts) / best - 1
    assert gap.min() > -1e-4  # else the oracle is not one
    assert gap.max() < 0.01
    if grid > 2:  # the line means something: each cell's own best label is far above it
        assert (energy(parts[0].argmin(3) / (labels - 1), *parts) / best - 1).max() > 0.01


@pytest.mark.parametrize("labels", [2, 3, 4])
def test_steps_agree_with_the_exact_rows(labels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = random_energy(32, 5, 3, labels, seed=1)
    exact = solve(*parts)
    monkeypatch.setattr(mincut, "EXACT_STATES", 0)
    assert not torch.allclose(energy(torch.zeros(32, 5, 3), *parts), energy(exact, *parts))
    torch.testing.assert_close(energy(solve(*parts), *parts), energy(exact, *parts), rtol=0, atol=5e-3)


@pytest.mark.parametrize("height_width", [(5, 9), (9, 5), (1, 7), (7, 1)])
def test_any_form_of_grid(height_width: tuple[int, int]) -> None:
    parts = random_energy(5, *height_width, 3, seed=2)
    torch.testing.assert_close(energy(solve(*parts), *parts), least(parts), rtol=2e-3, atol=2e-3)


def test_nearly_equal_cuts_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """With strong smoothness and no label preferred, the steps end between the two flat labellings, and rounding at
    one half alone gives a mixture of both that costs far more than either."""
    unary, down, right = random_energy(24, 16, 16, 2, seed=5, smooth=3)
    unary[..., 1] -= unary[..., 1].mean((1, 2), keepdim=True)
    parts = unary, down, right
    best = least(parts)
    torch.testing.assert_close(energy(solve(*parts), *parts), best, rtol=0, atol=1e-2)
    monkeypatch.setattr(mincut, "ROUNDINGS", (0.5,))
    assert (energy(solve(*parts), *parts) - best).max() > 1


@pytest.mark.parametrize("scale", [1e-6, 1e4])
def test_the_unit_of_the_costs_means_nothing(scale: float) -> None:
    parts = random_energy(8, 8, 8, 3, seed=3)
    unary, down, right = (part * scale for part in parts)
    mask = solve(unary, down, right)
    torch.testing.assert_close(energy(mask, *parts), least(parts), rtol=0, atol=2e-3)


def test_costs_that_are_all_alike() -> None:
    mask = solve(torch.zeros(2, 8, 8, 3), torch.ones(2, 7, 8), torch.ones(2, 8, 7))
    assert energy(mask, torch.zeros(2, 8, 8, 3), torch.ones(2, 7, 8), torch.ones(2, 8, 7)).tolist() == [0, 0]


# ---------------------------------------------------------------------------------------------------------- known traps


def test_a_cell_with_all_the_saliency_keeps_its_label() -> None:
    """256 times the mean saliency in one cell: 32-bit integer costs, as in the graph-cut package, turn their sign."""
    own, other = torch.zeros(1, 16, 16), torch.zeros(1, 16, 16)
    own[0, 3, 4] = other[0, 12, 11] = 1
    x = torch.zeros(2, 3, 32, 32)
    parts = costs(x[:1], torch.zeros(1, dtype=torch.int64), own, other, torch.tensor([0.5]))
    mask = solve(*parts)
    assert mask[0, 3, 4] == 1 and mask[0, 12, 11] == 0
    torch.testing.assert_close(energy(mask, *parts), least(parts), rtol=1e-3, atol=0)


def test_sharp_saliency() -> None:
    parts = on_photographs(16, 3, pairs=6, sharper=4)
    assert (energy(solve(*parts), *parts) / least(parts) - 1).max() < 0.01


def test_autocast_does_not_reach_the_solver() -> None:
    for width in (3, 8):
        parts = random_energy(4, 6, width, 3)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mask = solve(*parts)
        assert mask.dtype == torch.float32
        assert torch.equal(mask, solve(*parts))


def test_rows_do_not_see_each_other() -> None:
    parts = random_energy(5, 8, 8, 3)
    alone = [solve(unary[None], down[None], right[None]) for unary, down, right in zip(*parts, strict=True)]
    assert torch.equal(solve(*parts), torch.cat(alone))
