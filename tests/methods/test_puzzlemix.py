"""PuzzleMix: the energy against its formula; what the mask, the weights and transport have to do with each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import binom, chisquare, kstest
from torch import Tensor

from tests.methods.settings import noise_batch, residual_net, telling_batch
from workbench.config import UsageError
from workbench.draw import Draw
from workbench.methods import PuzzleMix, puzzlemix
from workbench.methods.parts.mincut import energy, solve
from workbench.methods.parts.transport import matched, moved
from workbench.methods.puzzlemix import Terms, costs, puzzle
from workbench.saliency import on_grid

SWAP = torch.tensor([1, 0])


def random_pair(height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two images that are partners, and saliency for them."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, 3, height, width, generator=generator), torch.rand(2, height, width, generator=generator)


def as_written(x: Tensor, own: Tensor, other: Tensor, lam: float, terms: Terms, mask: Tensor) -> tuple[float, float]:
    """Data, prior and smoothness of one pair of images (2, C, H, W) at a mask (n, n) of 0 and 1, cell by cell, in the
    paper's form; and the part of the smoothness that no mask can change, by which ours is larger."""
    grid = len(own)
    block = [side // grid for side in x.shape[2:]]
    t_y, t_x = (max(t for t in (1, 2, 3, 4) if side % t == 0) for side in block)
    colours = F.avg_pool2d(x.double(), (t_y, t_x))
    k, m = block[0] // t_y, block[1] // t_x
    total, fixed = 0.0, 0.0
    smooth = terms.beta / (16 * grid)
    for i in range(grid):
        for j in range(grid):
            value = mask[i, j].item()
            total += value * other[i, j].item() + (1 - value) * own[i, j].item()
            most = terms.labels - 1
            total -= terms.eta / grid**2 * binom.logpmf(round(value * most), most, lam)
            for down in (True, False):
                ni, nj = (i + 1, j) if down else (i, j + 1)
                if max(ni, nj) == grid:
                    continue
                if down:
                    above = colours[:, :, ni * k - 1, j * m : (j + 1) * m]
                    below = colours[:, :, ni * k, j * m : (j + 1) * m]
                else:
                    above = colours[:, :, i * k : (i + 1) * k, nj * m - 1]
                    below = colours[:, :, i * k : (i + 1) * k, nj * m]

                def apart(a: int, b: int, above: Tensor = above, below: Tensor = below) -> float:
                    return (above[1 - a] - below[1 - b]).abs().mean().item()  # image 1 is row 0, image 0 row 1

                one, two = round(value), round(mask[ni, nj].item())
                total += smooth * ((one != two) + terms.gamma * apart(one, two))
                fixed += smooth * terms.gamma / 2 * (apart(0, 1) + apart(1, 0))
    return total, fixed


def cells(saliency: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    own = on_grid(saliency, grid, grid)
    return own, own[SWAP]


# ----------------------------------------------------------------------------------------------------------- the energy


@pytest.mark.parametrize(("grid", "size"), [(2, (28, 16)), (4, (32, 32)), (4, (16, 24)), (3, (30, 15))])
def test_energy_is_that_of_the_paper(grid: int, size: tuple[int, int]) -> None:
    """28 pixels in 2 cells are 14 a cell, which 4 does not divide: an error in the reference, 2 here."""
    x, saliency = random_pair(*size)
    own, other = cells(saliency, grid)
    terms = Terms(labels=2, beta=2.0, gamma=0.7, eta=0.3)
    parts = costs(x, SWAP, own, other, torch.tensor([0.3, 0.6]), terms)
    for seed in range(4):
        mask = (torch.rand(grid, grid, generator=torch.Generator().manual_seed(seed)) < 0.5).float()
        expected, fixed = as_written(x, own[0], other[0], 0.3, terms, mask)
        got = energy(mask.expand(2, -1, -1), *parts)[0].item()
        assert got == pytest.approx(expected + fixed, abs=1e-5)


def test_prior_of_three_labels() -> None:
    x = torch.zeros(2, 3, 32, 32)
    own = torch.full((2, 4, 4), 1 / 16)
    unary, _, _ = costs(x, SWAP, own, own, torch.tensor([0.3, 0.9]), Terms(3, eta=1.0))
    for row, lam in enumerate((0.3, 0.9)):
        expected = -torch.from_numpy(binom.logpmf([0, 1, 2], 2, lam)).float() / 16 + 1 / 16
        torch.testing.assert_close(unary[row, 2, 1], expected)


def test_prior_at_the_ends_stays_finite_and_convex() -> None:
    own = torch.full((4, 4, 4), 1 / 16)
    lam = torch.tensor([0.0, 1.0, 1e-9, 0.5])
    unary, _, _ = costs(torch.zeros(4, 3, 32, 32), torch.tensor([1, 2, 3, 0]), own, own, lam, Terms(3))
    assert unary.isfinite().all()
    assert (unary.diff(dim=3).diff(dim=3) >= 0).all()


def test_weights_are_never_negative() -> None:
    x, saliency = random_pair(32, 32)
    _, down, right = costs((x > 0.5).float(), SWAP, *cells(saliency, 16), torch.tensor([0.5, 0.5]), Terms(gamma=1.0))
    assert down.min() >= 0 and right.min() >= 0


@pytest.mark.parametrize("grid", [4, 8])
def test_swapped_images_swap_the_mask(grid: int) -> None:
    x, saliency = random_pair(32, 32)
    own, other = cells(saliency**3, grid)
    parts = costs(x, SWAP, own, other, torch.tensor([0.3, 0.7]), Terms())
    mask = solve(*parts)
    paid = energy(mask, *parts)
    torch.testing.assert_close(energy(1 - mask.flip(0), *parts), paid.flip(0))
    torch.testing.assert_close(paid[0], paid[1], rtol=2e-3, atol=0)


# ------------------------------------------------------------------------------------------------------------- the mask


def test_each_image_shows_what_is_salient_in_it() -> None:
    """One pays the saliency that is hidden: with swapped roles each image would show what says nothing."""
    saliency = torch.full((2, 32, 32), 0.01)
    saliency[0, :16], saliency[1, 16:] = 1, 1
    for grid in (2, 4, 8, 16):
        mixed, mask = puzzle(telling_batch(2)[0], SWAP, saliency, torch.full((2,), 0.5), grid, Terms(labels=2))
        top, bottom = mask[:, 0, : grid // 2], mask[:, 0, grid // 2 :]
        assert (top[0] == 1).all() and (bottom[0] == 0).all()
        assert (top[1] == 0).all() and (bottom[1] == 1).all()
        assert torch.equal(mixed[0, 0], F.interpolate(mask[:1], (32, 32))[0, 0])


@pytest.mark.parametrize(("lam", "level"), [(0.05, 0.0), (0.45, 0.5), (0.55, 0.5), (0.95, 1.0)])
def test_uniform_saliency_gives_the_mode_of_the_prior(lam: float, level: float) -> None:
    saliency = torch.ones(2, 32, 32)
    for grid in (2, 4, 8, 16):
        _, mask = puzzle(torch.rand(2, 3, 32, 32), SWAP, saliency, torch.full((2,), lam), grid, Terms(gamma=0.0))
        assert (mask == level).all()


def test_a_strong_prior_decides() -> None:
    x, saliency = random_pair(32, 32)
    for lam in (0.0, 1.0):
        mixed, mask = puzzle(x, SWAP, saliency, torch.full((2,), lam), 8, Terms(eta=100.0))
        assert (mask == lam).all()
        assert torch.equal(mixed, x if lam else x[SWAP])


def test_every_row_has_a_prior_of_its_own() -> None:
    """lambda averaged over the batch would give both rows the same mask."""
    x = torch.rand(2, 3, 32, 32)
    lam = torch.tensor([0.02, 0.98])
    _, mask = puzzle(x, SWAP, torch.ones(2, 32, 32), lam, 8)
    assert mask[0].max() == 0 and mask[1].min() == 1


@pytest.mark.parametrize("labels", [2, 3, 5])
def test_mask_has_the_values_of_its_labels(labels: int) -> None:
    x, saliency = random_pair(32, 32)
    _, mask = puzzle(x, SWAP, saliency, torch.full((2,), 0.5), 8, Terms(labels))
    assert set((mask * (labels - 1)).unique().tolist()) <= set(range(labels))


@pytest.mark.parametrize("wrong", [0.0, float("nan"), float("inf")])
def test_an_image_without_saliency_has_the_same_everywhere(wrong: float) -> None:
    x, saliency = random_pair(32, 32)
    saliency[1] = wrong
    same = saliency.clone()
    same[1] = 1
    results = [puzzle(x, SWAP, s, torch.full((2,), 0.5), 4) for s in (saliency, same)]
    assert torch.equal(results[0][1], results[1][1]) and results[0][0].isfinite().all()


# --------------------------------------------------------------------------------------------- images and their weights


def test_mix_is_both_moved_images_under_the_mask() -> None:
    x, saliency = random_pair(32, 48, seed=3)
    saliency = saliency**12
    own, other = cells(saliency, 8)
    mixed, mask = puzzle(x, SWAP, saliency, torch.full((2,), 0.5), 8, t_eps=0.05)
    plans = matched(own, mask[:, 0] > 0, 0.05), matched(other, mask[:, 0] < 1, 0.05)
    assert all((plan != torch.arange(64)).any() for plan in plans)
    share = F.interpolate(mask, (32, 48))
    torch.testing.assert_close(mixed, share * moved(x, plans[0]) + (1 - share) * moved(x[SWAP], plans[1]))


@pytest.mark.parametrize("transport", [True, False])
def test_a_row_that_is_its_own_partner_stays(transport: bool) -> None:
    x, y = noise_batch(6)
    method = PuzzleMix(grids=[8], transport=transport, t_eps=0.0)
    partner = [0, 2, 1, 3, 5, 4]
    torch.manual_seed(0)
    mixed = method.mix(x, y, residual_net(3, 32, 32), Draw(lam=0.5, partner=partner))
    assert torch.equal(mixed.x[[0, 3]], x[[0, 3]])
    assert not torch.equal(mixed.x[1], x[1])


@pytest.mark.parametrize(("height", "width"), [(17, 23), (33, 32), (40, 24)])
def test_weight_is_the_mean_of_the_rows_mask_at_full_size(height: int, width: int) -> None:
    x, y = noise_batch(8, height=height, width=width)
    for grid in (2, 4, 8):
        mixed = PuzzleMix(grids=[grid], t_eps=0.01).mix(x, y, residual_net(3, height, width), Draw(grid))
        torch.testing.assert_close(mixed.weight, mixed.shares().mean((2, 3)))
        assert mixed.mask is not None and mixed.mask.shape == (8, 1, grid, grid)
        assert mixed.x.min() >= 0 and mixed.x.max() <= 1


def test_weights_of_one_prior_still_differ() -> None:
    saliency = torch.full((2, 32, 32), 0.01)
    saliency[0, :8], saliency[1, 8:] = 1, 1
    _, mask = puzzle(torch.zeros(2, 3, 32, 32), SWAP, saliency, torch.full((2,), 0.5), 8)
    assert mask[0].mean() < 0.4 and mask[1].mean() > 0.6


# ------------------------------------------------------------------------------------------------------------- the draw


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, int]]:
    """(prior lambda, grid) of every mix, which is not solved."""
    found = []

    def noted(x: Tensor, partner: Tensor, saliency: Tensor, lam: Tensor, grid: int, *_: Any) -> tuple[Tensor, Tensor]:
        found.append((lam, grid))
        return x, torch.ones(len(x), 1, grid, grid)

    monkeypatch.setattr(puzzlemix, "puzzle", noted)
    monkeypatch.setattr(puzzlemix, "gradient", lambda net, x, y: x[:, 0])
    return found


@pytest.mark.parametrize("alpha", [0.2, 1.0, 2.0])
def test_prior_is_beta_and_every_grid_as_likely(alpha: float, asked: list[tuple[Tensor, int]]) -> None:
    x, y = torch.zeros(16, 1, 32, 32), torch.zeros(16, dtype=torch.int64)
    net = residual_net(1, 32, 32)
    for step in range(400):
        PuzzleMix(alpha=alpha).mix(x, y, net, Draw(11, 0, step))
    lam = torch.cat([lam for lam, _ in asked]).double().numpy()
    assert kstest(lam, "beta", (alpha, alpha)).pvalue > 1e-3
    grids, counts = np.unique([grid for _, grid in asked], return_counts=True)
    assert grids.tolist() == [2, 4, 8, 16] and chisquare(counts).pvalue > 1e-3


def test_one_prior_a_batch(asked: list[tuple[Tensor, int]]) -> None:
    x, y = torch.zeros(16, 1, 32, 32), torch.zeros(16, dtype=torch.int64)
    for mode in ("batch", "sample"):
        PuzzleMix(mode=mode).mix(x, y, residual_net(1, 32, 32), Draw(2))
    assert [len(lam.unique()) for lam, _ in asked] == [1, 16]


def test_grids_with_cells_of_less_than_two_pixels_are_left_out(asked: list[tuple[Tensor, int]]) -> None:
    x, y = torch.zeros(2, 1, 31, 64), torch.zeros(2, dtype=torch.int64)
    for step in range(60):
        PuzzleMix().mix(x, y, residual_net(1, 31, 64), Draw(0, 0, step))
    assert {grid for _, grid in asked} == {2, 4, 8}


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize("grids", [[], [1], [4, 17], [2.0], 4, [True], None])
def test_grids_that_do_not_exist(grids: Any) -> None:
    with pytest.raises(UsageError, match=r"PuzzleMix: grids must be a list of whole numbers from 2 to 16.*; got"):
        PuzzleMix(grids=grids)


def test_what_does_not_fit_is_told() -> None:
    x, y = noise_batch(2, height=12)
    with pytest.raises(UsageError, match=r"images of 12x32 are too small for grids \[8\]"):
        PuzzleMix(grids=[8]).mix(x, y, residual_net(3, 12, 32), Draw())
    with pytest.raises(UsageError, match="PuzzleMix follows the gradient of a net"):
        PuzzleMix().mix(x, y, None, Draw())
