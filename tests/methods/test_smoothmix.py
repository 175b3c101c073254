"""SmoothMix: a Gaussian spot that shows the row itself, and a label that says as much."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from workbench.draw import Draw
from workbench.methods import SmoothMix
from workbench.methods.smoothmix import bells, sigma_for


def test_spot_against_the_formula() -> None:
    height, width = 12, 20
    centre, sigma = np.array([[3, 15], [0, 0]]), np.array([2.5, 6.0], np.float32)
    rows, columns = bells(centre, sigma, height, width)
    i, j = np.mgrid[:height, :width].astype(float)
    for b, (cy, cx) in enumerate(centre):
        expected = np.exp(-((i - cy) ** 2 + (j - cx) ** 2) / (2 * float(sigma[b]) ** 2))
        np.testing.assert_allclose(rows[b][:, None] * columns[b], expected, atol=1e-6)


def test_highest_at_a_centre_that_is_uniform() -> None:
    x, y = torch.rand(512, 1, 16, 24), torch.zeros(512, dtype=torch.int64)
    mask = SmoothMix().mix(x, y, None, Draw(1)).mask
    assert mask is not None and mask.max() <= 1
    place = mask[:, 0].flatten(1).argmax(1)
    assert (mask[:, 0].flatten(1).amax(1) == 1).all()  # the centre is a pixel
    for found, side in ((place // 24, 16), (place % 24, 24)):
        counts = np.bincount(found.numpy(), minlength=side)
        assert stats.chisquare(counts).pvalue > 1e-4


def test_constant_images_show_what_the_label_says() -> None:
    """The benchmark's code has the labels swapped: there this difference is 0.24 on average."""
    x = torch.zeros(64, 3, 32, 32)
    x[::2] = 1
    y = torch.arange(64)
    mixed = SmoothMix().mix(x, y, None, Draw(0, partner=np.arange(64).reshape(-1, 2)[:, ::-1].ravel().tolist()))
    ones = torch.where(y % 2 == 0, mixed.weight[:, 0], mixed.weight[:, 1])
    torch.testing.assert_close(mixed.x.mean((1, 2, 3)), ones, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["sample", "batch"])
def test_sigma_is_uniform(mode: str) -> None:
    sigma = []
    for step in range(400 if mode == "batch" else 4):
        mask = (
            SmoothMix(mode=mode).mix(torch.rand(100, 1, 64, 64), torch.zeros(100).long(), None, Draw(0, 0, step)).mask
        )
        assert mask is not None
        rows = mask[:, 0].amax(2).double()
        peak = rows.argmax(1)
        beside = rows.gather(1, (peak + torch.where(peak < 32, 8, -8))[:, None])[:, 0]
        sigma.append((8 / (-2 * beside.log()).sqrt() / 64).numpy()[: 1 if mode == "batch" else None])
    assert stats.kstest(np.concatenate(sigma), stats.uniform(0.25, 0.25).cdf).pvalue > 1e-4


def test_mean_of_lambda() -> None:
    weight = SmoothMix().mix(torch.rand(4000, 1, 32, 32), torch.zeros(4000).long(), None, Draw(2)).weight[:, 0]
    assert weight.mean() == pytest.approx(0.43, abs=0.01)  # measured on the benchmark's spots


@pytest.mark.parametrize("lam", [0.03, 0.3, 0.5, 0.97])
def test_given_lambda_is_met(lam: float) -> None:
    mixed = SmoothMix().mix(torch.rand(32, 3, 24, 40), torch.zeros(32).long(), None, Draw(5, lam=lam))
    torch.testing.assert_close(mixed.weight[:, 0], torch.full((32,), lam), atol=2e-3, rtol=0)
    assert sigma_for(0.0, np.array([[3, 3]]), 8, 8) < 0.1


def test_the_ends_of_the_range_may_be_swapped() -> None:
    a = SmoothMix(sigma_min=0.6, sigma_max=0.1).mix(torch.rand(256, 1, 32, 32), torch.zeros(256).long(), None, Draw(0))
    assert a.weight[:, 0].min() > 0.02 and a.weight[:, 0].max() < 0.95
