"""ResizeMix: the whole partner in a patch, against PyTorch's interpolate, image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from workbench.draw import Draw
from workbench.methods import ResizeMix
from workbench.methods.resizemix import boxes_inside, shrunk_places


def boxes_of(mask: torch.Tensor) -> np.ndarray:
    """(B, 2, 2) where the masks are 0."""
    hidden = mask[:, 0] == 0
    found = []
    for rows, columns in zip(hidden.any(2), hidden.any(1), strict=True):
        found.append([[int(v.nonzero()[0]), int(v.nonzero()[-1]) + 1] for v in (rows, columns)])
    return np.array(found)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(32, 32), (24, 40), (17, 9), (16, 16)])
def test_patch_is_the_whole_partner_resized(size: tuple[int, int], layout: torch.memory_format) -> None:
    x = torch.rand(24, 3, *size).contiguous(memory_format=layout)
    mixed = ResizeMix().mix(x, torch.zeros(24).long(), None, Draw(1))
    assert mixed.mask is not None and mixed.x.is_contiguous(memory_format=layout)
    for row, ((top, bottom), (left, right)) in enumerate(boxes_of(mixed.mask)):
        patch = F.interpolate(x[mixed.source[row, 1]][None], (bottom - top, right - left), mode="nearest")[0]
        expected = x[row].clone()
        expected[:, top:bottom, left:right] = patch
        assert torch.equal(mixed.x[row], expected)


def test_lambda_is_what_the_patch_leaves_and_nothing_is_clipped() -> None:
    """The benchmark's code clips patches at the border: there the pasted area averages 0.16 instead of 0.23."""
    n, side = 8000, 32
    mixed = ResizeMix().mix(torch.rand(n, 1, side, side), torch.zeros(n).long(), None, Draw(0))
    assert mixed.mask is not None
    boxes = boxes_of(mixed.mask[:500])
    sides = boxes[:, :, 1] - boxes[:, :, 0]
    np.testing.assert_array_equal(sides[:, 0], sides[:, 1])  # a clipped patch is no square
    np.testing.assert_allclose(mixed.weight[:500, 0], 1 - sides.prod(1) / side**2, atol=1e-6)
    assert float(1 - mixed.weight[:, 0].mean()) == pytest.approx(0.230, abs=0.006)


def test_mask_is_not_transposed() -> None:
    x = torch.zeros(64, 1, 20, 48)
    x[::2] = 1
    partner = np.arange(64).reshape(-1, 2)[:, ::-1].ravel().tolist()
    mixed = ResizeMix().mix(x, torch.zeros(64).long(), None, Draw(0, partner=partner))
    assert mixed.mask is not None
    own = mixed.x == x
    assert torch.equal(own, mixed.mask == 1)


def test_scale_is_uniform() -> None:
    n = 4000
    scale = np.sqrt(
        1 - ResizeMix().mix(torch.rand(n, 1, 256, 256), torch.zeros(n).long(), None, Draw(4)).weight[:, 0].numpy()
    )
    jitter = np.random.default_rng(0).uniform(0, 1 / 256, n)  # sides are whole pixels, rounded down
    assert stats.kstest(scale + jitter, stats.uniform(0.1, 0.7).cdf).pvalue > 1e-4


def test_patches_lie_around_a_uniform_centre_but_inside() -> None:
    n, side = 20_000, 100
    centre = Draw(0).pixels(side, side, n)
    boxes = boxes_inside(np.full(n, 0.4), centre, side, side)
    assert boxes.min() == 0 and boxes.max() == side
    counts = np.bincount(boxes[:, 0, 0], minlength=61)
    assert len(counts) == 61
    # 20 centres below, and 20 above, lead to the two ends; each other place has one of 100
    expected = np.array([21, *[1] * 59, 20]) / 100 * n
    assert stats.chisquare(counts, expected).pvalue > 1e-4


def test_a_patch_has_at_least_a_pixel() -> None:
    boxes = boxes_inside(np.array([0.0, 1.0]), np.array([[2, 3], [2, 3]]), 5, 7)
    assert (boxes[:, :, 1] - boxes[:, :, 0]).tolist() == [[1, 1], [5, 7]]
    rows, columns = shrunk_places(boxes, 5, 7)
    assert rows[1].tolist() == list(range(5)) and columns[1].tolist() == list(range(7))


def test_one_scale_a_batch_but_a_place_for_every_row() -> None:
    mask = ResizeMix(mode="batch").mix(torch.rand(32, 1, 32, 32), torch.zeros(32).long(), None, Draw(7)).mask
    assert mask is not None and len(mask.mean((1, 2, 3)).unique()) == 1
    assert len(np.unique(boxes_of(mask)[:, :, 0], axis=0)) > 10


@pytest.mark.parametrize("lam", [0.0, 0.5, 0.98])
def test_given_lambda_is_met(lam: float) -> None:
    mixed = ResizeMix().mix(torch.rand(4, 3, 200, 200), torch.zeros(4).long(), None, Draw(1, lam=lam))
    torch.testing.assert_close(mixed.weight[:, 0], torch.full((4,), lam), atol=0.01, rtol=0)
