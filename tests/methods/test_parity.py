"""Mixup and CutMix against torchvision's, in float64, both driven by the same lambda, centre and partner."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from workbench.draw import Draw, Mode
from workbench.methods import CutMix, Mixup

CLASSES = 5
SIZES = [(32, 32), (24, 40), (7, 13)]


class Given(Draw):
    """A draw whose numbers are given: lambda, the box's centre, and the row before as everybody's partner."""

    def __init__(self, rows: int, lam: float, centre: tuple[int, int] = (0, 0)) -> None:
        super().__init__(lam=lam, partner=np.roll(np.arange(rows), 1).tolist())
        self.centre = centre

    def pixels(self, height: int, width: int, n: int, mode: Mode = "sample") -> np.ndarray:
        return np.tile(self.centre, (n, 1))


def batch(height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, height, width, dtype=torch.float64, generator=generator)
    return images, torch.randint(CLASSES, (6,), generator=generator)


def cases(height: int, width: int, count: int = 40) -> list[tuple[float, tuple[int, int]]]:
    """Lambdas and centres over the whole range, the ends and corners among them."""
    rng = np.random.default_rng(0)
    corners = [(0, 0), (height - 1, width - 1), (0, width - 1), (height // 2, width // 2)]
    ends = [(float(lam), corner) for lam in (0.0, 0.25, 1.0) for corner in corners]
    drawn = [
        (float(np.float32(rng.random())), (int(rng.integers(height)), int(rng.integers(width)))) for _ in range(count)
    ]
    return ends + drawn


def of_torchvision(
    transform: v2.CutMix | v2.MixUp,
    x: Tensor,
    y: Tensor,
    lam: float,
    centre: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Tensor, Tensor]:
    """Its own geometry and arithmetic, from a lambda and a centre in place of its random numbers."""
    numbers = iter((centre[1], centre[0]))  # it asks for the column first
    monkeypatch.setattr(transform, "_dist", torch.distributions.Beta(torch.tensor([1.0]), torch.tensor([1.0])))
    monkeypatch.setattr(transform._dist, "sample", lambda *_: torch.tensor(lam, dtype=torch.float64))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "randint", lambda *_args, **_options: torch.tensor([next(numbers)]))
        return transform(x, y)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_mixup_is_torchvisions(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = batch(*size)
    for lam, centre in cases(*size, count=10):
        images, targets = Mixup(num_classes=CLASSES)(x, y, Given(len(x), lam))
        expected = of_torchvision(v2.MixUp(num_classes=CLASSES), x, y, lam, centre, monkeypatch)
        torch.testing.assert_close(images, expected[0], atol=1e-14, rtol=0)
        torch.testing.assert_close(targets.double(), expected[1].double(), atol=1e-7, rtol=0)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_cutmix_is_torchvisions(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = batch(*size)
    for lam, centre in cases(*size):
        images, targets = CutMix(num_classes=CLASSES)(x, y, Given(len(x), lam, centre))
        expected = of_torchvision(v2.CutMix(num_classes=CLASSES), x, y, lam, centre, monkeypatch)
        assert torch.equal(images, expected[0]), (lam, centre)
        torch.testing.assert_close(targets.double(), expected[1].double(), atol=1e-6, rtol=0)
