"""Fidelity against closed forms, boxes at known places, and pixels that tell where they came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.methods.settings import CLASSES, SETTINGS, residual_net
from workbench.analysis.fidelity import Fidelity, counted, fidelity, fidelity_table
from workbench.analysis.inputs import Examples
from workbench.analysis.visibility import colors, seen
from workbench.config import UsageError
from workbench.draw import Draw
from workbench.methods import METHODS, CutMix, Method, Mixed, Mixup, PuzzleMix, Vanilla, build
from workbench.methods.masks import pair_weights, pairs


def with_boxes(rows: int = 16, size: int = 32, side: int = 8, seed: int = 0) -> Examples:
    """Noise images in which no two pixels are alike, with a square object each, at a place by chance."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(rows, 3, size, size, generator=generator)
    masks = torch.zeros(rows, size, size, dtype=torch.uint8)
    for row in range(rows):
        top, left = torch.randint(size - side, (2,), generator=generator).tolist()
        masks[row, top : top + side, left : left + side] = 1
    return Examples(images, torch.arange(rows) % CLASSES, masks)


@dataclasses.dataclass(eq=False)
class Pinned(CutMix):
    """CutMix whose box is the left half of the image, and whose partner is the next row."""

    def mix(self, x: Tensor, y: Tensor, net: Any, draw: Draw) -> Mixed:
        mask = torch.ones(len(x), 1, *x.shape[2:])
        mask[..., : x.shape[3] // 2] = 0
        source = torch.from_numpy(pairs(np.roll(np.arange(len(x)), 1)))
        mixed = torch.where(mask.bool(), x, x[source[:, 1]])
        return Mixed(mixed, source, pair_weights(mask.mean((1, 2, 3))), mask)


def all_seen(method: Method, data: Examples, net: Any = None, **draw: Any) -> tuple[Mixed, np.ndarray]:
    """The mix and the visible shares (R, K) of one batch, in the order of the data."""
    assert data.masks is not None
    x, y = data.batch(0, len(data))
    objects = data.masks.float()
    mixed, visible, _ = seen(method, net, x, y, objects, lambda: Draw(**draw))
    return mixed, (visible / objects.sum((1, 2))[mixed.source]).double().numpy()


# ------------------------------------------------------------------------------------------------- by hand


def test_pinned_boxes_by_hand() -> None:
    """Objects 8 wide at columns 0, 12, 14 and 24 of 32: 0, half, three quarters and all lie right of column 16."""
    masks = torch.zeros(4, 32, 32, dtype=torch.uint8)
    for row, left in enumerate((0, 12, 14, 24)):
        masks[row, 5:13, left : left + 8] = 1
    data = Examples(torch.rand(4, 3, 32, 32), torch.arange(4), masks)
    _, visible = all_seen(Pinned(), data)
    right = np.array([0, 0.5, 0.75, 1])
    np.testing.assert_allclose(visible[:, 0], right, atol=1e-6)
    np.testing.assert_allclose(visible[:, 1], 1 - np.roll(right, 1), atol=1e-6)
    found = fidelity(Pinned(), residual_net(3, 32, 32), data, draws=1)
    assert found.bias == pytest.approx(0, abs=1e-6)  # every half is shown once
    assert len(found.weight) == 8
    assert found.lost == pytest.approx(0.25)  # one of four partners has its object at the far right
    assert found.summary().lost[0] == found.lost


def test_mixup_keeps_its_word() -> None:
    found = fidelity(Mixup(), residual_net(3, 32, 32), with_boxes(), draws=3)
    np.testing.assert_allclose(found.visible, found.weight, atol=1e-6)
    assert found.bias == pytest.approx(0, abs=1e-6)
    assert found.correlation == pytest.approx(1)


@pytest.mark.parametrize("key", ["cutmix", "gridmix", "fmix", "smoothmix", "saliencymix", "deit"])
def test_masks_say_the_same(key: str) -> None:
    """Where content stays in its place, the mask times the object is what is visible."""
    data, method = with_boxes(), build(key)
    for step in range(3):
        mixed, visible = all_seen(method, data, step=step)
        objects = data.masks[mixed.source].float()  # type: ignore[index]
        expected = (mixed.shares() * objects).sum((2, 3)) / objects.sum((2, 3))
        alone = mixed.source[:, 0] == mixed.source[:, 1]
        np.testing.assert_allclose(visible[~alone], expected[~alone], atol=1e-5)


# ------------------------------------------------------------------------------------------- methods that move content


def by_colour(mixed: Mixed, data: Examples) -> np.ndarray:
    """(R, K) visible shares, each pixel of a mix being looked up among the pixels of the batch, which all differ."""
    assert data.masks is not None
    where = {tuple(p): i for i, p in enumerate(data.images.permute(0, 2, 3, 1).reshape(-1, 3).tolist())}
    area, marked = data.masks[0].numel(), data.masks.flatten()
    expected = np.zeros(mixed.source.shape)
    for row, pixels in enumerate(mixed.x.permute(0, 2, 3, 1).flatten(1, 2).tolist()):
        places = np.array([where[tuple(p)] for p in pixels])
        for k, source in enumerate(mixed.source[row].tolist()):
            expected[row, k] = marked[places[places // area == source]].sum() / data.masks[source].sum()
    return expected


@pytest.mark.parametrize(
    ("key", "params"),
    [
        ("resizemix", {}),
        ("puzzlemix", {"labels": 2, "grids": (4,), "t_eps": 0.0, "beta": 0.0, "eta": 0.0}),
        ("smmix", {"switch_prob": 1.0}),
        ("cutmix", {}),
    ],
)
def test_moved_content_is_followed(key: str, params: dict[str, Any]) -> None:
    data, ready = with_boxes(), SETTINGS[key].attached(key, **params)
    moved = False
    for step in range(2):
        mixed, visible = all_seen(ready.method, data, ready.net, step=step)
        alone = (mixed.source[:, 0] == mixed.source[:, 1]).numpy()
        np.testing.assert_allclose(visible[~alone], by_colour(mixed, data)[~alone], atol=1e-5)
        in_place = (mixed.shares() * data.masks[mixed.source]).sum((2, 3))  # type: ignore[index]
        in_place = in_place / data.masks[mixed.source].sum((2, 3))  # type: ignore[index]
        moved |= bool(np.abs(in_place.numpy() - visible)[~alone].max() > 0.1)
    assert moved == (key != "cutmix")  # a mask that is not moved along would be wrong


def test_resized_partners_count_by_their_pixels() -> None:
    """A partner of half the side shows a quarter of its object's pixels, wherever it is pasted."""
    method = build("resizemix", scale_min=0.5, scale_max=0.5)
    mixed, visible = all_seen(method, with_boxes(side=8))
    alone = (mixed.source[:, 0] == mixed.source[:, 1]).numpy()
    np.testing.assert_allclose(visible[~alone, 1], 0.25, atol=0.1)
    np.testing.assert_allclose(visible[~alone, 1].mean(), 0.25, atol=0.02)


# ------------------------------------------------------------------------------------------------- every method


@pytest.mark.parametrize("key", METHODS)
def test_works_for_every_method(key: str) -> None:
    ready, data = SETTINGS[key].attached(key), with_boxes(8)
    state = {k: v.clone() for m in (ready.net, ready.method) for k, v in m.state_dict().items()}
    training = [m.training for n in (ready.net, ready.method) for m in n.modules()]
    found = fidelity(ready.method, ready.net, data, draws=1)
    assert found.method == key
    assert (found.weight >= 0).all() and (found.weight <= 1).all()
    assert (found.visible >= -1e-5).all()
    assert len(found.weight) == 0 if key == "vanilla" else len(found.weight) > 4
    after = {k: v for m in (ready.net, ready.method) for k, v in m.state_dict().items()}
    assert all(torch.equal(after[k], v) for k, v in state.items())
    assert training == [m.training for n in (ready.net, ready.method) for m in n.modules()]
    assert not torch.nn.modules.module._global_forward_pre_hooks


def test_labels_come_from_attention_where_the_method_says_so() -> None:
    """TransMix: not the area of its base, but what its picture gives."""
    ready, data = SETTINGS["transmix"].attached("transmix"), with_boxes()
    mixed, _ = all_seen(ready.method, data, ready.net)
    area = ready.method.mix(*data.batch(0, len(data)), ready.net, Draw()).weight
    assert (mixed.weight - area).abs().max() > 1e-4


def test_features_are_shown_at_the_input_and_said_so() -> None:
    ready = SETTINGS["manifoldmix"].attached("manifoldmix")
    found = fidelity(ready.method, ready.net, with_boxes(), draws=1)
    assert found.note == "mixed in features; shown at the input"
    np.testing.assert_allclose(found.visible, found.weight, atol=1e-6)


class Brighter(Mixup):
    """Not a weighting of pixels: the weights of each sum to 1.1."""

    def mix(self, x: Tensor, y: Tensor, net: Any, draw: Draw) -> Mixed:
        mixed = super().mix(x, y, net, draw)
        return dataclasses.replace(mixed, x=1.1 * mixed.x)


class Detached(Mixup):
    def mix(self, x: Tensor, y: Tensor, net: Any, draw: Draw) -> Mixed:
        return super().mix(x.detach(), y, net, draw)


class BySmoothContent(Mixup):
    """A mask that is not cut off from the pixels, and does not see what is added to all of them."""

    def mix(self, x: Tensor, y: Tensor, net: Any, draw: Draw) -> Mixed:
        source = torch.from_numpy(pairs(np.roll(np.arange(len(x)), 1)))
        mask = (x - x.mean((1, 2, 3), keepdim=True)).mean(1, keepdim=True).sigmoid()
        mixed = mask * x + (1 - mask) * x[source[:, 1]]
        return Mixed(mixed, source, pair_weights(mask.mean((1, 2, 3))).detach(), mask)


def test_a_mask_that_changes_with_the_pixels_is_refused() -> None:
    with pytest.raises(UsageError, match="masks change smoothly with the pixels"):
        fidelity(BySmoothContent(), residual_net(3, 32, 32), with_boxes())


@pytest.mark.parametrize("method", [Brighter(), Detached()])
def test_what_cannot_be_followed_is_refused(method: Method) -> None:
    with pytest.raises(UsageError, match="can't be followed: its mix is no weighting of pixels"):
        fidelity(method, residual_net(3, 32, 32), with_boxes())


# -------------------------------------------------------------------------------------------------- the counting


def test_colours_differ_within_a_row() -> None:
    source = np.stack([np.arange(9), np.array([1, 2, 0, 4, 3, 6, 7, 8, 5])], 1)  # cycles of 3, 2 and 4
    found = colors(source, np.ones_like(source, bool), 9)
    assert (found[source[:, 0]] != found[source[:, 1]]).all()
    assert found.max() == 2
    assert colors(source, source == np.arange(9)[:, None], 9).max() == 0  # partners without a part


def test_what_is_counted() -> None:
    """Row 0: mixed; row 1: with itself; row 2: not mixed; row 3: its partner has no object."""
    source = np.array([[0, 1], [1, 1], [2, 3], [3, 4]])
    weight = np.array([[0.6, 0.4], [0.5, 0.5], [1, 0], [0.7, 0.3]])
    visible = np.array([[10, 5], [20, 0], [20, 0], [20, 0.0]])
    found = counted(source, weight, visible, np.array([20, 20, 20, 40, 0]))
    expected: tuple[list[float], ...] = ([0.6, 0.4, 0.7], [0.5, 0.25, 0.5], [0, 1, 0])
    for column, wished in zip(found, expected, strict=True):
        np.testing.assert_allclose(column, wished)


def test_numbers_by_hand() -> None:
    found = made([0.5, 0.4, 0.35, 0.2], [0.5, 0.04, 0.4, 0.0], [0, 1, 1, 1])
    assert found.bias == pytest.approx((0 + 0.36 - 0.05 + 0.2) / 4)
    assert found.lost == pytest.approx(0.5)  # of the two partners from 0.3 on
    assert found.correlation == pytest.approx(np.corrcoef(found.weight, found.visible)[0, 1])
    line = found.summary().iloc[0]
    assert line.mean_error == pytest.approx((0.36 + 0.05 + 0.2) / 4)
    assert line.partner_bias == pytest.approx((0.36 - 0.05 + 0.2) / 3)


def made(weight: list[float], visible: list[float], order: list[int]) -> Fidelity:
    values = np.array(weight), np.array(visible), np.array(order), np.full(len(weight), np.nan)
    return Fidelity("by hand", "cutmix", "", *values, 0.3, 0.05)


def test_lost_objects_follow_the_limits() -> None:
    net, data = residual_net(3, 32, 32), with_boxes(32, side=4)
    usual = fidelity(CutMix(), net, data, draws=2)
    partners = usual.order > 0
    for start, below in ((0.3, 0.05), (0.1, 0.5)):
        found = fidelity(CutMix(), net, data, draws=2, label_from=start, visible_below=below)
        promised = partners & (usual.weight >= start)
        assert found.lost == pytest.approx((usual.visible[promised] < below).mean())
    assert usual.lost > 0


def test_each_alpha_has_its_line() -> None:
    net, data, method = residual_net(3, 32, 32), with_boxes(), Mixup(alpha=0.7)
    found = fidelity(method, net, data, draws=2, alphas=(0.2, 2.0))
    assert found.summary().alpha.tolist() == [0.2, 2.0]
    assert found.summary().sources.sum() == len(found.to_frame())
    assert method.alpha == 0.7
    one = fidelity(Mixup(alpha=2.0), net, data, draws=2)
    np.testing.assert_array_equal(found.weight[found.alpha == 2.0], one.weight)
    assert len(found.plot().collections) == 3  # the corner, and a cloud an alpha
    with pytest.raises(UsageError, match=r"alpha must be a number from 0\.05 to 5"):
        fidelity(method, net, data, alphas=(9,))
    with pytest.raises(UsageError, match="deit has no alpha"):
        fidelity(build("deit"), net, data, alphas=(1.0,))


def test_a_table_of_methods() -> None:
    table = fidelity_table(("mixup", "cutmix", "deit"), with_boxes(), alphas=(0.5, 1.0), draws=1)
    assert table.name.tolist() == ["mixup", "mixup", "cutmix", "cutmix", "deit"]
    with pytest.raises(UsageError, match="puzzlemix looks into a net"):
        fidelity_table(["puzzlemix"], with_boxes())
    with pytest.raises(UsageError, match="at least one method"):
        fidelity_table([], with_boxes())


def without(data: Examples, **changes: Any) -> Examples:
    return dataclasses.replace(data, **changes)


MISTAKES: list[tuple[Callable[[], Examples], dict[str, Any], str]] = [
    (lambda: without(with_boxes(), masks=None), {}, "none with masks; take data 'shapes'"),
    (lambda: without(with_boxes(), masks=torch.zeros(16, 32, 32)), {}, "all masks are empty"),
    (with_boxes, {"images": 1, "draws": 1}, "at least two images to mix with each other, got 1"),
    (with_boxes, {"draws": 0}, "draws must be a whole number from 1"),
    (with_boxes, {"label_from": 2}, "from 0 to 1, got 2 and"),
]


@pytest.mark.parametrize(("data", "options", "message"), MISTAKES)
def test_mistakes_are_told(data: Callable[[], Examples], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fidelity(Mixup(), residual_net(3, 32, 32), data(), **options)


def test_nothing_mixed() -> None:
    found = fidelity(Vanilla(), residual_net(3, 32, 32), with_boxes())
    assert len(found.to_frame()) == 0
    assert found.summary().sources.tolist() == [0]
    assert np.isnan(found.bias) and np.isnan(found.lost)
    assert any("no row is mixed" in t.get_text() for t in found.plot().texts)


def test_two_calls_agree_and_seeds_differ() -> None:
    call = partial(fidelity, PuzzleMix(grids=(4,)), residual_net(3, 32, 32), with_boxes(), draws=1)
    np.testing.assert_array_equal(call().visible, call().visible)
    assert not np.array_equal(call().visible, call(seed=1).visible)
