"""The shared geometry: blending, boxes, and the laws of what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from workbench.draw import Draw
from workbench.methods import build
from workbench.methods.masks import (
    blend,
    box_mask,
    box_reach,
    boxes_around,
    draw_boxes,
    enlarged,
    outside_box,
    outside_share,
    pair_weights,
    pairs,
    take,
)

MANY = 20_000


def uniform(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_blend_is_exact_where_only_one_image_shows(dtype: torch.dtype) -> None:
    x, partner = uniform(4, 3, 6, 5, dtype=dtype), torch.tensor([2, 3, 1, 0])
    mask = (uniform(4, 1, 6, 5) > 0.5).float()
    mixed = blend(x, partner, mask)
    expected = torch.where(mask.bool(), x, x[partner])
    assert mixed.dtype == dtype and torch.equal(mixed, expected)


def test_blend_with_itself_changes_nothing() -> None:
    x = uniform(4, 3, 6, 5)
    assert torch.equal(blend(x, torch.arange(4), uniform(4, 1, 6, 5)), x)


def test_blend_is_the_formula() -> None:
    x, partner, mask = (
        uniform(4, 3, 6, 5, dtype=torch.float64),
        torch.tensor([2, 3, 1, 0]),
        uniform(4, 1, 6, 5).double(),
    )
    torch.testing.assert_close(blend(x, partner, mask), mask * x + (1 - mask) * x[partner])


def test_take_keeps_the_memory_order() -> None:
    x, rows = uniform(4, 3, 6, 5), torch.tensor([2, 3, 1, 0])
    for layout in (torch.contiguous_format, torch.channels_last):
        taken = take(x.contiguous(memory_format=layout), rows)
        assert torch.equal(taken, x[rows]) and taken.is_contiguous(memory_format=layout)
        taken.zero_()  # fresh memory: the batch stays
    assert torch.equal(take(x[:, :, 1], rows), x[:, :, 1][rows])
    assert x.max() > 0


def test_pairs_and_weights() -> None:
    assert pairs(np.array([2, 0, 1])).tolist() == [[0, 2], [1, 0], [2, 1]]
    lam = np.array([0.25, 1.0], np.float32)
    assert pair_weights(lam).tolist() == pair_weights(torch.from_numpy(lam)).tolist() == [[0.25, 0.75], [1, 0]]


def test_boxes_are_half_open_and_clipped() -> None:
    # lambda 0.75 on 8 x 12 pixels: sides 4 and 6, reach 2 and 3
    reach = box_reach(np.array([0.75, 0.75, 1.0, 0.0], np.float32), 8, 12)
    assert reach.tolist() == [[[-2, 2], [-3, 3]]] * 2 + [[[0, 0], [0, 0]], [[-4, 4], [-6, 6]]]
    centre = np.array([[4, 6], [0, 11], [3, 3], [4, 6]])
    boxes = boxes_around(centre, reach, np.array([8, 12]))
    assert boxes.tolist() == [[[2, 6], [3, 9]], [[0, 2], [8, 12]], [[3, 3], [3, 3]], [[0, 8], [0, 12]]]
    assert outside_share(boxes, 8, 12).tolist() == pytest.approx([1 - 24 / 96, 1 - 8 / 96, 1, 0])


@pytest.mark.parametrize("size", [(9, 14), (14, 9), (1, 5)])
def test_box_mask_against_a_loop(size: tuple[int, int]) -> None:
    height, width = size
    boxes = draw_boxes(Draw(1), Draw(2).lam(1.0, 50), height, width)
    rows, columns = outside_box(boxes, np.arange(max(size)), height, width)
    mask = box_mask(torch.from_numpy(rows), torch.from_numpy(columns), torch.float32)
    expected = np.ones((50, 1, height, width))
    for i, ((top, bottom), (left, right)) in enumerate(boxes):
        expected[i, 0, top:bottom, left:right] = 0
    np.testing.assert_array_equal(mask.numpy(), expected)
    np.testing.assert_allclose(outside_share(boxes, height, width), expected.mean((1, 2, 3)), atol=1e-12)


def test_boxes_on_the_device_are_those_of_the_host() -> None:
    lam, centre, size = Draw(2).lam(1.0, 50), Draw(3).pixels(9, 14, 50), np.array([9, 14])
    host = boxes_around(centre, box_reach(lam, 9, 14), size)
    device = boxes_around(*(torch.from_numpy(a) for a in (centre, box_reach(lam, 9, 14), size)))
    assert device.tolist() == host.tolist()
    assert outside_share(device, 9, 14).tolist() == pytest.approx(outside_share(host, 9, 14).tolist())
    for one, other in zip(
        outside_box(device, torch.arange(14), 9, 14), outside_box(host, np.arange(14), 9, 14), strict=True
    ):
        assert one.tolist() == other.tolist()


# ------------------------------------------------------------------------------------------------------------- laws


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])  # below, float32 heaps up at 1
def test_lambda_follows_beta(alpha: float) -> None:
    lam = Draw(0).lam(alpha, MANY)
    assert stats.kstest(lam, stats.beta(alpha, alpha).cdf).pvalue > 1e-4
    assert stats.kstest(lam, stats.beta(2 * alpha, alpha).cdf).pvalue < 1e-6  # the test would notice


def test_centres_are_uniform_over_the_pixels() -> None:
    centre = Draw(0).pixels(5, 8, MANY)
    counts = np.zeros((5, 8))
    np.add.at(counts, tuple(centre.T), 1)
    assert stats.chisquare(counts.ravel()).pvalue > 1e-4


def test_wished_box_area_follows_beta() -> None:
    """Before clipping, the area is 1 - lambda: U(0, 1) for alpha 1, up to the rounding of its sides."""
    reach = box_reach(Draw(0).lam(1.0, MANY), 2000, 3000)
    sides = reach[:, :, 1] - reach[:, :, 0]
    assert stats.kstest(sides.prod(1) / 6e6, "uniform").pvalue > 1e-4


@pytest.mark.parametrize(("side", "share"), [(32, 0.299), (224, 0.3175)])
def test_mean_pasted_share_after_clipping(side: int, share: float) -> None:
    boxes = draw_boxes(Draw(0), Draw(1).lam(1.0, 200_000), side, side)
    assert 1 - outside_share(boxes, side, side).mean() == pytest.approx(share, abs=0.002)


@pytest.mark.parametrize("key", ["cutmix", "saliencymix"])
def test_a_probability_leaves_rows_alone(key: str) -> None:
    x = uniform(200, 1, 8, 8)
    y = torch.zeros(200, dtype=torch.int64)
    mixed = build(key, prob=0.25).mix(x, y, None, Draw(0))
    alone = (mixed.x == x).flatten(1).all(1)
    assert 0.7 < alone.float().mean() < 0.9
    assert torch.equal(mixed.weight[alone, 0], torch.ones(int(alone.sum())))
    whole = build(key, prob=0.25, mode="batch")
    shares = torch.stack([whole.mix(x, y, None, Draw(0, 0, i)).weight[:, 0] for i in range(40)])
    assert (shares == shares[:, :1]).all() and 0.6 < (shares[:, 0] == 1).float().mean() < 0.95


def test_pinned_lambda_is_mixed_whatever_the_probability() -> None:
    assert Draw(lam=0.5).lam(1.0, 3, prob=0.1).tolist() == [0.5] * 3


def test_deit_tosses_for_every_row() -> None:
    x, y = uniform(400, 1, 8, 8), torch.zeros(400, dtype=torch.int64)
    mixed = build("deit", switch_prob=0.3).mix(x, y, None, Draw(0))
    lowest, highest = mixed.mask.flatten(1).aminmax(dim=1)
    pasted = (lowest != highest).float().mean()  # a row of Mixup has one value everywhere
    assert 0.2 < pasted < 0.35
    for row in (lowest == highest).nonzero()[:20, 0]:
        expected = torch.lerp(x[mixed.source[row, 1]], x[row], mixed.weight[row, 0])
        torch.testing.assert_close(mixed.x[row], expected)
    for prob, values in ((1.0, {0.0, 1.0}), (0.0, None)):
        mask = build("deit", switch_prob=prob).mix(x, y, None, Draw(1)).mask
        if values:
            assert set(mask.unique().tolist()) == values
        else:
            assert torch.equal(mask, mask[:, :, :1, :1].expand_as(mask))


def test_deit_lambdas_follow_their_laws() -> None:
    x, y = torch.zeros(MANY, 1, 1, 1), torch.zeros(MANY, dtype=torch.int64)
    lam = build("deit", switch_prob=0.0, mixup_alpha=0.8).mix(x, y, None, Draw(0)).weight[:, 0]
    assert stats.kstest(lam.numpy(), stats.beta(0.8, 0.8).cdf).pvalue > 1e-4


@pytest.mark.parametrize(("cells", "pixels"), [(2, 41), (2, 82), (3, 7), (7, 224), (4, 30), (5, 5)])
def test_enlarged_shows_the_cell_that_whole_numbers_say(cells: int, pixels: int) -> None:
    mask = torch.arange(float(cells * 2)).view(1, 1, cells, 2)
    wide = enlarged(mask, (pixels, 9))
    expected = [[mask[0, 0, i * cells // pixels, j * 2 // 9].item() for j in range(9)] for i in range(pixels)]
    assert wide[0, 0].tolist() == expected
    assert enlarged(mask.mT, (9, pixels))[0, 0].mT.tolist() == expected
