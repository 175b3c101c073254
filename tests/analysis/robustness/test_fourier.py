"""The Fourier map: waves of one frequency, of the norm asked for, on every place of the map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from workbench.analysis.robustness import fourier as module
from workbench.analysis.robustness.fourier import fourier, frequencies, wave
from workbench.config import UsageError
from workbench.models import Net


@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, 0), (0, -5), (7, 2), (-8, 8), (6, -8)])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 16)])
def test_a_wave_has_one_frequency_and_norm_one(down: int, right: int, height: int, width: int) -> None:
    pattern = wave(down, right, height, width).numpy()
    assert np.linalg.norm(pattern) == pytest.approx(1)
    power = np.abs(np.fft.fft2(pattern)) ** 2
    share = power / power.sum()
    places = {(down % height, right % width), (-down % height, -right % width)}
    assert sum(share[place] for place in places) == pytest.approx(1)
    np.testing.assert_allclose(pattern, wave(-down, -right, height, width).numpy(), atol=1e-12)


@pytest.mark.parametrize(("side", "points"), [(16, 11), (32, 5), (32, 31), (8, 1001), (9, 7), (16, 1), (16, 4)])
def test_frequencies_are_symmetric_and_reach_the_end(side: int, points: int) -> None:
    found = frequencies(side, points)
    np.testing.assert_array_equal(found, -found[::-1])
    assert (np.diff(found) > 0).all()
    assert found[len(found) // 2] == 0
    assert points == 1 or found[-1] == side // 2
    assert len(found) <= min(points + 1, side + 1)


class Detector(Net):
    """Says 1 where an image holds a certain frequency, else 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        power = torch.fft.rfft2(x).abs()[:, :, 4, 2].mean(1)
        return torch.stack([torch.ones_like(power), power], 1)


def detector() -> Detector:
    return Detector("resnet8", 2, size=16).eval()


def grey(n: int = 6, height: int = 16, width: int = 16) -> Any:
    return torch.full((n, 3, height, width), 0.5), torch.zeros(n, dtype=torch.int64)


def test_the_map_shows_the_frequency_that_disturbs() -> None:
    """Rows are vertical frequencies, columns horizontal ones, and opposite points the same."""
    found = fourier(detector(), grey(), points=17, norm=1.0)
    expected = np.zeros((17, 17))
    expected[8 + 4, 8 + 2] = expected[8 - 4, 8 - 2] = 1
    np.testing.assert_array_equal(found.error, expected)
    assert found.clean_error == 0
    frame = found.to_frame()
    wrong = frame[frame.error == 1]
    assert sorted(zip(wrong.down, wrong.right, strict=True)) == [(-4, -2), (4, 2)]


@pytest.mark.parametrize("norm", [None, 0.7])
def test_noise_has_the_norm(norm: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def look(net: Net, images: torch.Tensor, *_: Any) -> int:
        seen.append(images - 0.5)
        return 0

    monkeypatch.setattr(module, "hits", look)
    found = fourier(detector(), grey(height=16, width=16), points=3, norm=norm)
    assert found.norm == pytest.approx(4 * 16 / 32 if norm is None else norm)
    for noise in seen:
        torch.testing.assert_close(noise.norm(dim=(2, 3)), torch.full((6, 3), found.norm), atol=1e-4, rtol=0)
    assert {float(s) for s in seen[0][:, :, 0, 0].sign().unique()} == {-1.0, 1.0}


def test_images_may_be_wider_than_high() -> None:
    found = fourier(detector(), grey(height=16, width=20), points=5)
    assert (found.down[-1], found.right[-1]) == (8, 10)
    assert found.error.shape == (len(found.down), len(found.right))


def test_no_noise_is_clean() -> None:
    x = torch.rand(20, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = fourier(detector(), (x, torch.arange(20) % 2), points=3, norm=0)
    np.testing.assert_allclose(found.error, found.clean_error)


@pytest.mark.parametrize("options", [{"points": 0}, {"points": 2.5}, {"norm": -1.0}, {"norm": float("nan")}])
def test_mistakes_are_told(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="must be a"):
        fourier(detector(), grey(), **options)
