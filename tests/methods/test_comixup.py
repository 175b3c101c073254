"""Co-Mixup: groups of any size, images put together as the shares say, labels by the share of the pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from tests.methods.settings import noise_batch, residual_net, telling_batch
from workbench.config import UsageError
from workbench.draw import Draw
from workbench.methods import build
from workbench.methods.comixup import CoMixup, Terms, _likeness, _peaks, _places, _shares, comixed, drawn, patchwork
from workbench.models import Net
from workbench.saliency import gradient


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return residual_net(3, 32, 32).eval()


def saliency_of(rows: int, height: int = 32, width: int = 32) -> Tensor:
    return torch.rand(rows, height, width, generator=torch.Generator().manual_seed(3)) ** 2


# ------------------------------------------------------------------------------------------------------ the groups


@pytest.mark.parametrize("n", [1, 2, 3, 7, 19, 20, 21, 41, 128])
def test_groups_are_equal_and_hold_every_row_once(n: int) -> None:
    plan = drawn(Draw(), n)
    assert plan.counts.sum() == n and plan.counts.max() <= 20 and np.ptp(plan.counts) <= 1
    assert len(plan.counts) == -(-n // 20)
    members, turned, source, own = _places(plan.counts, plan.prior.shape[1])
    assert members.shape == plan.prior.shape and turned.shape == source.shape
    assert source[:, 0].tolist() == list(range(n)) and members.reshape(-1)[own].tolist() == list(range(n))
    first = 0
    for count in plan.counts:
        group = range(first, first + count)
        for row in group:
            assert sorted(source[row, :count]) == list(group)
            assert (source[row, count:] == row).all() and (turned[row, count:] >= count).all()
            assert sorted(turned[row]) == list(range(source.shape[1]))
        first += count


def test_sources_by_hand() -> None:
    _, turned, source, own = _places(np.array([3, 2]), 3)
    assert source.tolist() == [[0, 1, 2], [1, 2, 0], [2, 0, 1], [3, 4, 3], [4, 3, 4]]
    assert turned.tolist() == [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2], [1, 0, 2]]
    assert own.tolist() == [0, 1, 2, 3, 4]
    assert _places(np.array([2, 1]), 3)[3].tolist() == [0, 1, 3]


@pytest.mark.parametrize("rows", [1, 2, 5, 21, 27])
@pytest.mark.parametrize("size", [(32, 32), (17, 23), (24, 40), (3, 9)])
def test_image_and_labels_are_made_of_the_shares(rows: int, size: tuple[int, int]) -> None:
    """Also the test of swapped labels: an image reveals its row, and the weights must tell the same."""
    x, y = telling_batch(rows, *size)
    plan = drawn(Draw(1), rows, sides=(min(4, size[0]), 4))
    mixed = comixed(x, saliency_of(rows, *size), plan)
    torch.testing.assert_close(mixed.soft_labels(y, rows), mixed.x.mean((2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(mixed.weight.sum(1), torch.ones(rows))
    torch.testing.assert_close(mixed.weight, mixed.shares().mean((2, 3)), atol=1e-6, rtol=0)
    expected = torch.einsum("rkhw,rkchw->rchw", mixed.shares(), x[mixed.source])
    torch.testing.assert_close(mixed.x, expected)


def test_most_rows_are_made_of_several() -> None:
    x, _ = telling_batch(20)
    mixed = comixed(x, saliency_of(20) ** 3, drawn(Draw(4), 20))
    assert (mixed.weight > 0).sum(1).float().mean() > 1.5


# ------------------------------------------------------------------------------------------------------- the image


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(8, 8), (7, 8), (8, 7), (9, 13), (4, 4)])
def test_patchwork_by_loop(size: tuple[int, int], memory: torch.memory_format) -> None:
    x = torch.rand(3, 2, *size).contiguous(memory_format=memory)
    rows = torch.randint(3, (3, 4, 2))
    made, before = patchwork(x, rows), x.clone()
    for b in range(3):
        for h in range(size[0]):
            for w in range(size[1]):
                assert torch.equal(made[b, :, h, w], x[rows[b, h * 4 // size[0], w * 2 // size[1]], :, h, w])
    assert made.is_contiguous(memory_format=memory) and torch.equal(x, before)
    sliced = torch.rand(3, 2, size[0], 2 * size[1])[:, :, :, ::2]
    assert torch.equal(patchwork(sliced, rows), patchwork(sliced.contiguous(), rows))


@pytest.mark.parametrize(("side", "cells"), [(82, 2), (82, 4), (123, 3), (74, 6), (9, 4)])
def test_cells_of_the_image_are_those_of_the_enlarged_mask(side: int, cells: int) -> None:
    """Also at sizes where the rounding of floating point numbers moves a border by a pixel."""
    x, y = telling_batch(5, side, side)
    mixed = comixed(x, saliency_of(5, side, side), drawn(Draw(1), 5, sides=(cells, cells)))
    expected = torch.einsum("rkhw,rkchw->rchw", mixed.shares(), x[mixed.source])
    torch.testing.assert_close(mixed.x, expected)
    torch.testing.assert_close(mixed.soft_labels(y, 5), mixed.x.mean((2, 3)), atol=1e-6, rtol=0)
    assert _shares(side, cells).sum() == pytest.approx(1)


def test_identical_images_stay() -> None:
    x = torch.rand(1, 3, 17, 23).expand(6, -1, -1, -1)
    mixed = comixed(x, saliency_of(6, 17, 23), drawn(Draw(), 6))
    assert torch.equal(mixed.x, x)


# --------------------------------------------------------------------------------------------- saliency and prior


def test_only_the_relative_saliency_matters() -> None:
    x, saliency = torch.rand(8, 3, 32, 32), saliency_of(8)
    scale = 2.0 ** torch.arange(8)[:, None, None]
    one, other = (comixed(x, s, drawn(Draw(3), 8)) for s in (saliency, scale * saliency))
    assert torch.equal(one.x, other.x) and torch.equal(one.weight, other.weight)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_no_usable_saliency_is_saliency_everywhere(value: float) -> None:
    x = torch.rand(4, 3, 32, 32)
    mixed = comixed(x, torch.full((4, 32, 32), value), drawn(Draw(), 4))
    expected = comixed(x, torch.ones(4, 32, 32), drawn(Draw(), 4))
    assert mixed.x.isfinite().all() and torch.equal(mixed.x, expected.x)


def test_without_other_costs_cells_go_to_the_most_salient() -> None:
    x, _ = telling_batch(8)
    saliency = saliency_of(8)
    mixed = comixed(x, saliency, drawn(Draw(), 8), Terms(beta=0, gamma=0, eta=0))
    cells = F.adaptive_avg_pool2d(saliency, 4)
    best = (cells / cells.sum((1, 2), keepdim=True)).argmax(0)
    assert torch.equal(F.adaptive_avg_pool2d(mixed.x, 4).argmax(1), best.expand(8, -1, -1))


def test_without_saliency_cells_go_to_the_highest_prior() -> None:
    x, _ = telling_batch(8)
    plan = drawn(Draw(5), 8)
    mixed = comixed(x, torch.ones(8, 32, 32), plan, Terms(beta=0, gamma=0))
    assert (mixed.x[:, int(plan.prior[0].argmax())] == 1).all()


def test_most_salient_window() -> None:
    saliency = torch.zeros(3, 32, 32)
    saliency[0, 4:12, 20:28] = 1
    saliency[1, 24:, :8] = 1
    assert _peaks(saliency).tolist() == [[4, 20], [24, 0], [0, 0]]
    wide = torch.zeros(1, 64, 224)
    wide[0, 16:32, 56:112] = 1
    assert _peaks(wide).tolist() == [[8, 8]]  # on the map of 32 x 32


def test_likeness_by_hand() -> None:
    position = torch.tensor([[[0.0, 0], [3, 4], [0, 2], [9, 9]]])
    likeness = _likeness(position, torch.tensor([[1.0, 1, 1, 0]]), 0.25)[0]
    apart = torch.tensor([[0.0, 7, 2], [7, 0, 5], [2, 5, 0]])
    torch.testing.assert_close(likeness[:3, :3], 0.75 * torch.eye(3) + 0.25 * 3 * apart / 28)
    assert likeness[3].tolist() == [0, 0, 0, 0.75]
    same = _likeness(torch.zeros(1, 3, 2), torch.ones(1, 3), 0.25)
    torch.testing.assert_close(same[0], 0.75 * torch.eye(3))  # where all positions are one, no 0 / 0


def test_what_is_drawn() -> None:
    plans = [drawn(Draw(0, 0, step), 40, group=10) for step in range(100)]
    prior = np.concatenate([plan.prior for plan in plans])
    assert prior.sum(1) == pytest.approx(1)
    assert stats.kstest(prior[:, 0], stats.beta(2, 18).cdf).pvalue > 1e-4
    assert stats.kstest(prior[:, 9], stats.beta(2, 18).cdf).pvalue > 1e-4
    start = np.concatenate([plan.start.reshape(-1) for plan in plans])
    assert stats.chisquare(np.bincount(start, minlength=10)).pvalue > 1e-4
    orders = [order for plan in plans for order in plan.orders]
    assert stats.chisquare(np.bincount([order[0] for order in orders], minlength=10)).pvalue > 1e-4
    assert all(sorted(order) == list(range(10)) for order in orders)
    smaller = drawn(Draw(), 19, group=10)  # groups of 10 and 9
    assert smaller.prior[1, 9] == 0 and smaller.start[1].max() < 9


# ------------------------------------------------------------------------------------------------------ the method


def test_the_method_is_the_function(net: Net) -> None:
    x, y = noise_batch(7)
    method = CoMixup(group=4, grid=2, sweeps=3, beta=0.5)
    mixed = method.mix(x, y, net, Draw(2))
    expected = comixed(x, gradient(net, x, y), drawn(Draw(2), 7, 4, (2, 2), 3), Terms(beta=0.5))
    assert torch.equal(mixed.x, expected.x) and torch.equal(mixed.weight, expected.weight) and not mixed.aux


def test_pinned_lambda_and_partner_change_nothing(net: Net) -> None:
    x, y = noise_batch(3)
    pinned, _ = CoMixup().picture(x, y, net, Draw(2, lam=0.5, partner=[1, 2, 0]))
    assert torch.equal(pinned.x, CoMixup().mix(x, y, net, Draw(2)).x)


@pytest.mark.parametrize("rows", [2, 3, 4, 6])
def test_a_few_images_are_mixed_as_well(net: Net, rows: int) -> None:
    x, y = noise_batch(rows)
    picture, _ = CoMixup().picture(x, y, net, Draw(1))
    assert len(picture.x) == rows and (picture.weight >= 0).all()
    peaked = torch.rand(rows, 4, 4, generator=torch.Generator().manual_seed(3)) ** 4  # as that of trained nets is
    mixed = [comixed(x, peaked, drawn(Draw(seed), rows)) for seed in range(5)]
    assert torch.cat([(one.weight > 0).sum(1) for one in mixed]).float().mean() > 1.5


def test_clean_loss(net: Net) -> None:
    x, y = noise_batch(4)
    mixed = CoMixup(clean_weight=0.5).mix(x, y, net, Draw())
    (clean,) = mixed.aux
    torch.testing.assert_close(clean(), 0.5 * F.cross_entropy(net(x), y))
    assert torch.equal(mixed.x, CoMixup().mix(x, y, net, Draw()).x)


def test_autocast_does_not_reach_the_solver() -> None:
    x, saliency = torch.rand(8, 3, 32, 32), saliency_of(8)
    exact = comixed(x, saliency, drawn(Draw(), 8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = comixed(x, saliency, drawn(Draw(), 8))
    assert torch.equal(mixed.x, exact.x) and torch.equal(mixed.weight, exact.weight)


def test_without_a_net() -> None:
    x, y = noise_batch(2)
    with pytest.raises(UsageError, match="give it one"):
        CoMixup().mix(x, y, None, Draw())


@pytest.mark.parametrize(
    "params", [{"grid": 1}, {"grid": 8}, {"group": 1}, {"group": 2}, {"group": 64, "sweeps": 1}, {"alpha": 0.05}]
)
def test_extreme_parameters(params: dict[str, int]) -> None:
    net = residual_net(5, 24, 40)
    x, y = telling_batch(5, 24, 40)
    mixed = build("comixup", params).mix(x, y, net, Draw(1))
    torch.testing.assert_close(mixed.soft_labels(y, 5), mixed.x.mean((2, 3)), atol=1e-5, rtol=0)
    if params.get("group") == 1:
        assert torch.equal(mixed.x, x) and (mixed.weight[:, 0] == 1).all()
