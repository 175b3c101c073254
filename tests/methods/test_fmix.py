"""FMix: fields that are alike in all directions, and masks of exactly the wished area."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from workbench.draw import Draw
from workbench.methods import FMix
from workbench.methods.fmix import draw_field, frequencies


def fields(n: int, height: int, width: int, decay: float = 3.0) -> np.ndarray:
    lines, basis = draw_field(Draw(0), n, height, width, decay)
    return (lines @ basis).astype(np.float64)


def test_field_against_a_fourier_transform() -> None:
    """The two small products are the transform of the same noise, laid out on the full grid of frequencies."""
    height, width, decay = 24, 40, 3.0
    found = fields(3, height, width, decay)
    down = frequencies(height, width, decay)
    across = frequencies(width, width, decay)
    across = across[across >= 0]
    noise = Draw(0).rng.standard_normal((3, len(down), len(across), 2), np.float32).astype(np.float64)
    spectrum = np.zeros((3, height, width), complex)
    for a, ky in enumerate(down):
        for b, kx in enumerate(across):
            if kx or ky:
                fy, fx = ky / height, kx / width
                amplitude = (np.hypot(fy, fx) * width) ** -decay / (np.sqrt(2) if kx == 0 else 1)
                spectrum[:, ky, kx] = (noise[:, a, b, 0] + 1j * noise[:, a, b, 1]) * amplitude
    expected = np.fft.ifft2(spectrum).real * height * width
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_alike_along_both_axes() -> None:
    """The reference code's fields have no energy beyond one period across the width."""
    power = (np.abs(np.fft.rfft2(fields(4000, 32, 32))) ** 2).mean(0)
    for k in (1, 2, 3, 4):
        assert power[k, 0] / power[0, k] == pytest.approx(1, abs=0.15)
    assert power[:, 2:].sum() / power.sum() > 0.01


@pytest.mark.parametrize("decay", [2.0, 3.0])
def test_power_falls_with_frequency_as_the_decay_says(decay: float) -> None:
    power = (np.abs(np.fft.fft2(fields(2000, 64, 64, decay))) ** 2).mean(0)
    k = np.arange(1, 5)
    slope = np.polyfit(np.log(k), np.log(power[k, 0] + power[0, k]), 1)[0]
    assert slope == pytest.approx(-2 * decay, abs=0.25)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 64), (20, 8)])
def test_area_is_the_drawn_lambda_to_a_pixel(size: tuple[int, int]) -> None:
    n = 64
    mixed = FMix().mix(torch.rand(n, 3, *size), torch.zeros(n).long(), None, Draw(2))
    lam = Draw(2).lam(1.0, n)
    assert mixed.mask is not None and set(mixed.mask.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(mixed.mask.mean((1, 2, 3)), mixed.weight[:, 0])
    assert np.abs(mixed.weight[:, 0].numpy() - lam).max() < 2 / (size[0] * size[1])


def test_area_of_large_images() -> None:
    mixed = FMix().mix(torch.rand(32, 1, 224, 160), torch.zeros(32).long(), None, Draw(2))
    assert np.abs(mixed.weight[:, 0].numpy() - Draw(2).lam(1.0, 32)).max() < 0.01


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_area_follows_a_beta_distribution(alpha: float) -> None:
    n = 4000
    weight = FMix(alpha=alpha).mix(torch.rand(n, 1, 32, 32), torch.zeros(n).long(), None, Draw(1)).weight[:, 0].numpy()
    jitter = np.random.default_rng(0).uniform(-0.5, 0.5, n) / 32**2  # areas are whole pixels
    assert stats.kstest((weight + jitter).clip(0, 1), stats.beta(alpha, alpha).cdf).pvalue > 1e-4


def test_rounding_goes_both_ways() -> None:
    n = 2000
    weight = FMix().mix(torch.rand(n, 1, 5, 7), torch.zeros(n).long(), None, Draw(3, lam=0.5)).weight[:, 0]
    shares = (weight * 35).round()
    assert set(shares.tolist()) == {17.0, 18.0}
    assert 0.4 < float((shares == 17).float().mean()) < 0.6


def test_all_or_nothing() -> None:
    x = torch.rand(6, 3, 32, 32)
    for lam in (0.0, 1.0):
        mixed = FMix().mix(x, torch.zeros(6).long(), None, Draw(0, lam=lam))
        assert torch.equal(mixed.x, x[mixed.source[:, int(lam == 0)]]) and (mixed.weight[:, 0] == lam).all()
