"""SaliencyMix: the box lies where the partner's own saliency peaks."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.draw import Draw
from workbench.methods import CutMix, SaliencyMix
from workbench.methods.masks import box_reach
from workbench.saliency import peak

SQUARES = [(3, 40), (30, 10), (20, 30), (38, 50)]
PARTNER = [1, 2, 3, 0]


def with_squares() -> Tensor:
    """Grey images (4, 3, 48, 64), each with a bright 8 x 8 square at another place."""
    images = torch.full((4, 3, 48, 64), 0.4)
    for image, (top, left) in zip(images, SQUARES, strict=True):
        image[:, top : top + 8, left : left + 8] = 0.9
    return images


def pasted_box(mask: Tensor) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of the zeros of one mask (1, H, W), which must be one full rectangle."""
    rows, columns = (mask[0] == 0).nonzero().unbind(1)
    top, bottom, left, right = int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1
    assert (mask[0, top:bottom, left:right] == 0).all()
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    return top, bottom, left, right


def test_box_shows_the_square_of_the_partner() -> None:
    x = with_squares()
    mixed = SaliencyMix().mix(x, torch.arange(4), None, Draw(lam=0.8, partner=PARTNER))
    reach_y, reach_x = box_reach(torch.tensor([0.8]).numpy(), 48, 64)[0, :, 1]
    for row, partner in enumerate(PARTNER):
        top, bottom, left, right = pasted_box(mixed.mask[row])
        centre_y, centre_x = peak(x[partner : partner + 1])[0].tolist()
        square_y, square_x = SQUARES[partner]
        assert square_y <= centre_y < square_y + 8 and square_x <= centre_x < square_x + 8
        expected = (centre_y - reach_y, centre_y + reach_y, centre_x - reach_x, centre_x + reach_x)
        assert (top, bottom, left, right) == (
            max(expected[0], 0),
            min(expected[1], 48),
            max(expected[2], 0),
            min(expected[3], 64),
        )
        assert torch.equal(mixed.x[row, :, top:bottom, left:right], x[partner, :, top:bottom, left:right])
        area = (bottom - top) * (right - left) / (48 * 64)
        torch.testing.assert_close(mixed.weight[row], torch.tensor([1 - area, area]))


def test_peak_is_the_partners_not_the_rows_own() -> None:
    mixed = SaliencyMix().mix(with_squares(), torch.arange(4), None, Draw(lam=0.9, partner=PARTNER))
    for row in range(4):
        top, bottom, left, right = pasted_box(mixed.mask[row])
        own_y, own_x = SQUARES[row]
        assert not (top <= own_y + 4 < bottom and left <= own_x + 4 < right)


def test_one_box_a_batch_is_around_the_peak_of_the_first_rows_partner() -> None:
    x = with_squares()
    mixed = SaliencyMix(mode="batch").mix(x, torch.arange(4), None, Draw(lam=0.8, partner=PARTNER))
    assert torch.equal(mixed.mask, mixed.mask[:1].expand_as(mixed.mask))
    one_by_one = SaliencyMix().mix(x, torch.arange(4), None, Draw(lam=0.8, partner=PARTNER))
    assert torch.equal(mixed.mask[0], one_by_one.mask[0])


def test_constant_images_get_a_box_in_the_middle() -> None:
    x = torch.linspace(0, 1, 4)[:, None, None, None].expand(4, 3, 20, 32).contiguous()
    mixed = SaliencyMix().mix(x, torch.arange(4), None, Draw(lam=0.75, partner=PARTNER))
    assert pasted_box(mixed.mask[0]) == (5, 15, 8, 24)


def test_areas_before_clipping_are_those_of_cutmix() -> None:
    """On constant images the box is never clipped, so its area is what CutMix wishes for, from the same draw."""
    x, y = torch.zeros(64, 1, 100, 100), torch.zeros(64, dtype=torch.int64)
    area = SaliencyMix().mix(x, y, None, Draw(3)).weight[:, 1]
    wished = box_reach(Draw(3).lam(1.0, 64), 100, 100)
    sides = torch.from_numpy(wished[:, :, 1] - wished[:, :, 0])
    torch.testing.assert_close(area, sides.prod(1) / 10_000)
    assert (area >= CutMix().mix(x, y, None, Draw(3)).weight[:, 1] - 1e-6).all()


def test_unmixed_rows() -> None:
    x = with_squares()
    mixed = SaliencyMix().mix(x, torch.arange(4), None, Draw(lam=1.0, partner=PARTNER))
    assert torch.equal(mixed.x, x) and torch.equal(mixed.weight[:, 0], torch.ones(4))
