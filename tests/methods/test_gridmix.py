"""GridMix: holes of a grid, against a loop that paints them one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from workbench.draw import Draw
from workbench.methods import GridMix
from workbench.methods.gridmix import grid_holes


def painted(
    top: int, left: int, rows: int, columns: int, cells: int, lam: float, height: int, width: int
) -> np.ndarray:
    """(H, W) bool, hole by hole."""
    pitch = max(int(np.ceil(columns / cells)), 2)
    side = min(max(int(pitch * np.sqrt(1 - lam)), 1), pitch - 1)
    image = np.zeros((height, width), bool)
    for y in range(0, rows, pitch):
        for x in range(0, columns, pitch):
            part = image[top : top + rows, left : left + columns]
            part[y : y + side, x : x + side] = True
    return image


def test_against_a_loop_over_holes() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        height, width = rng.integers(8, 40, 2)
        sides = rng.integers(1, [height + 1, width + 1])
        corner = rng.integers(0, [height - sides[0] + 1, width - sides[1] + 1])
        cells, lam = int(rng.integers(1, 9)), float(rng.random())
        part = np.array([[[corner[0], sides[0]], [corner[1], sides[1]]]])
        rows, columns = grid_holes(part, np.array([cells]), np.array([lam]), height, width)
        expected = painted(*corner, *sides, cells, lam, height, width)
        np.testing.assert_array_equal(rows[0][:, None] & columns[0], expected)


def masks(method: GridMix, n: int, size: tuple[int, int] = (32, 32), **draw: float) -> torch.Tensor:
    mask = method.mix(torch.rand(n, 1, *size), torch.zeros(n).long(), None, Draw(3, **draw)).mask  # type: ignore[arg-type]
    assert mask is not None
    return mask[:, 0]


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (9, 7)])
def test_the_grid_lies_within_the_image_and_always_has_holes(size: tuple[int, int]) -> None:
    """The reference code's part can be larger than the image; its holes then wrap round or vanish."""
    found = masks(GridMix(), 3000, size)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    lam = found.mean((1, 2))
    assert lam.min() > 0 and lam.max() < 1
    covered = (found == 0).any(2).float(), (found == 0).any(1).float()
    for axis, side in enumerate(size):  # no border is spared, as it would be if parts were shifted or wrapped
        share = covered[axis].mean(0)
        assert share[:-1].min() > 0.02, (axis, side)  # the last line is the end of a cell, where no hole is


def test_holes_leave_lambda_of_a_full_grid() -> None:
    full = np.array([[[0, 240], [0, 240]]])
    for lam in (0.2, 0.5, 0.8):
        rows, columns = grid_holes(full, np.array([4]), np.array([lam]), 240, 240)
        assert 1 - rows.mean() * columns.mean() == pytest.approx(lam, abs=0.02)


def test_number_of_cells_is_uniform() -> None:
    """Counted along a row of the image that meets holes."""
    found = masks(GridMix(), 4000, (120, 120), lam=0.5)
    lines = torch.stack([m[int((m == 0).any(1).int().argmax())] for m in found])
    starts = (lines[:, 1:] - lines[:, :-1] == -1).sum(1) + (lines[:, 0] == 0)
    counts = np.bincount(starts.numpy(), minlength=7)
    assert counts[:2].sum() == 0 and len(counts) <= 7
    assert stats.chisquare(counts[2:]).pvalue > 1e-4


def test_hole_side_follows_a_beta_distribution() -> None:
    """KS of what one cell's hole leaves, on large cells, against Beta(alpha, alpha)."""
    alpha, side = 0.7, 4000
    lam = np.concatenate([Draw(0, 0, step).lam(alpha, 500) for step in range(4)])
    part = np.tile(np.array([[[0, side], [0, side]]]), (len(lam), 1, 1))
    rows, columns = grid_holes(part, np.full(len(lam), 1), lam, side, side)
    left = 1 - rows.mean(1) * columns.mean(1)
    assert stats.kstest(left, stats.beta(alpha, alpha).cdf).pvalue > 1e-4
    drawn = masks(GridMix(alpha=alpha, cells_min=1, cells_max=1), 64)
    assert len(drawn.mean((1, 2)).unique()) > 32


def test_rows_and_columns_are_not_confused() -> None:
    """An area of half the image and an aspect of 2 can only be tall: seen on wide images, parts are cut in height."""
    found = masks(GridMix(), 500, (16, 64))
    assert ((found == 0).any(1).sum(1) > 16).float().mean() > 0.2  # wider than the image is high


def test_the_ends_of_the_range_may_be_swapped() -> None:
    assert torch.equal(masks(GridMix(cells_min=2, cells_max=6), 16), masks(GridMix(cells_min=6, cells_max=2), 16))
