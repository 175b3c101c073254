"""Hidden and shuffled patches: shares, cells and places, on images that tell where each pixel came from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from workbench.analysis.robustness.occlusion import occlusion
from workbench.analysis.robustness.patches import hide, shuffle
from workbench.config import UsageError
from workbench.models import Net


def places(n: int, height: int, width: int) -> torch.Tensor:
    """(n, 1, H, W) images whose pixels are numbered from 1."""
    return torch.arange(1.0, height * width + 1).view(1, 1, height, width).repeat(n, 1, 1, 1)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 1])
def test_the_share_is_hidden_in_whole_cells(share: float) -> None:
    x = places(5, 16, 16)
    hidden = hide(x, share, 4, torch.zeros(1, 1, 1), rng()) == 0
    np.testing.assert_allclose(hidden.double().mean((1, 2, 3)), share)
    cells = hidden.view(5, 4, 4, 4, 4).double().mean((2, 4))
    assert set(cells.unique().tolist()) <= {0.0, 1.0}
    if 0 < share < 1:
        assert not torch.equal(hidden[0], hidden[1])


def test_a_larger_share_hides_the_same_and_more() -> None:
    x = places(5, 16, 16)
    few, many = (hide(x, share, 8, torch.zeros(1, 1, 1), rng()) == 0 for share in (0.25, 0.6))
    assert (many | ~few).all()


def test_any_size_has_every_cell() -> None:
    out = hide(places(1, 13, 10), 1, 8, torch.zeros(1, 1, 1), rng())
    assert not out.any()


@pytest.mark.parametrize(("height", "width", "grid"), [(16, 16, 4), (16, 12, 2), (13, 10, 3), (8, 8, 8)])
def test_squares_change_places_whole(height: int, width: int, grid: int) -> None:
    x = places(6, height, width)
    before = x.clone()
    out = shuffle(x, grid, rng())
    assert torch.equal(x, before)
    assert torch.equal(out.flatten(1).sort(1).values, x.flatten(1))
    tall, wide = height // grid, width // grid
    corners = out[:, 0, : tall * grid : tall, : wide * grid : wide]
    square = (torch.arange(tall)[:, None] * width + torch.arange(wide)).float()
    for i in range(grid):
        for j in range(grid):
            found = out[:, 0, i * tall : (i + 1) * tall, j * wide : (j + 1) * wide]
            torch.testing.assert_close(found, corners[:, i, j, None, None] + square)
    assert torch.equal(out[..., tall * grid :, :], x[..., tall * grid :, :])
    assert len({tuple(image.flatten().tolist()) for image in out}) > 1


def test_one_square_is_the_image() -> None:
    x = places(2, 9, 7)
    assert torch.equal(shuffle(x, 1, rng()), x)


def net_and_data() -> tuple[Net, Any]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Net("resnet8", 4, mean=[0.4, 0.5, 0.6], std=[0.25] * 3, size=16).eval()
    x = torch.rand(30, 3, 16, 16, generator=rng(3))
    with torch.no_grad():
        return net, (x, net(x).argmax(1))


def test_nothing_hidden_and_nothing_shuffled_is_clean() -> None:
    net, data = net_and_data()
    found = occlusion(net, data, shares=(0, 1), grids=(1, 8))
    assert (found.clean, found.hidden[0], found.shuffled[0]) == (1, 1, 1)
    assert found.hidden[1] < 1


@pytest.mark.parametrize("fill", ["mean", "black"])
def test_everything_hidden_leaves_one_answer(fill: Any) -> None:
    net, (x, y) = net_and_data()
    color = net.mean if fill == "mean" else torch.zeros(1, 3, 1, 1)
    with torch.no_grad():
        answer = int(net(color.expand(1, 3, 16, 16)).argmax())
    found = occlusion(net, (x, y), shares=(1,), fill=fill)
    assert found.hidden[0] == pytest.approx(float((y == answer).float().mean()))


def test_shares_are_told_as_they_were() -> None:
    found = occlusion(*net_and_data(), shares=(0.1, 0.5), cells=4, grids=(2,), name="run")
    np.testing.assert_allclose(found.shares, [2 / 16, 0.5])
    frame = found.to_frame()
    assert list(frame.change) == ["hidden", "hidden", "shuffled"]
    assert list(frame.level) == [2 / 16, 0.5, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shares": (1.2,)}, "shares must be a list of numbers from 0 to 1"),
        ({"cells": 17}, "cells must be a whole number from 1 to 16"),
        ({"grids": (0,)}, "a grid must be a whole number from 1 to 16"),
        ({"grids": 4}, "grids must be a list"),
        ({"fill": "gray"}, "unknown fill 'gray'"),
    ],
)
def test_mistakes_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        occlusion(*net_and_data(), **options)
