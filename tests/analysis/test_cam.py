"""Comparison of maps: scores in closed form, insertion and deletion of nets whose answer is known, the result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur

from workbench.analysis import faithfulness
from workbench.analysis.attribution import attribute, to_unit
from workbench.analysis.cam import SCORES, STEPS, cam
from workbench.analysis.cam_grid import overlay
from workbench.analysis.faithfulness import best_threshold, mask_scores, perturbation_curve
from workbench.analysis.inputs import Examples
from workbench.analysis.run_names import short_names
from workbench.config import UsageError
from workbench.figures import lint
from workbench.models import Net

# ------------------------------------------------------------------------------------------ against the object's mask


def one(rows: list[list[float]]) -> np.ndarray:
    return np.array([rows], np.float32)


def test_scores_by_hand() -> None:
    """Nine cells, the object is the upper left four; the peak lies on it, and 1.7 of 2.4 of the map."""
    maps = one([[1.0, 0.2, 0.0], [0.2, 0.3, 0.6], [0.0, 0.1, 0.0]])
    masks = one([[1, 1, 0], [1, 1, 0], [0, 0, 0]])
    pointing, energy, iou = mask_scores(maps, masks)
    assert pointing.tolist() == [1.0]
    assert energy[0] == pytest.approx(1.7 / 2.4)
    by_threshold = dict(zip(faithfulness.THRESHOLDS.tolist(), iou[:, 0], strict=True))
    assert by_threshold[0.15] == pytest.approx(4 / 5)
    assert by_threshold[0.05] == pytest.approx(4 / 6)
    assert by_threshold[0.5] == pytest.approx(1 / 5)
    assert by_threshold[0.95] == pytest.approx(1 / 4)


def test_scores_do_not_depend_on_the_scale_of_the_map() -> None:
    rng = np.random.default_rng(0)
    maps, masks = rng.random((5, 6, 6)), rng.random((5, 6, 6)) > 0.5
    for a, b in zip(mask_scores(maps, masks), mask_scores(7 * maps, masks), strict=True):
        np.testing.assert_allclose(a, b)


def test_a_transposed_map_misses() -> None:
    maps, masks = np.zeros((1, 4, 4)), np.zeros((1, 4, 4))
    maps[0, 0, 3] = masks[0, 0, 3] = 1
    assert mask_scores(maps, masks)[0] == 1
    assert mask_scores(maps.transpose(0, 2, 1), masks)[0] == 0


def test_several_highest_pixels_share_the_hit() -> None:
    """The first of equal pixels would count the upper left corner alone."""
    pointing, _, _ = mask_scores(one([[1, 0.5], [1, 1]]), one([[0, 0], [1, 1]]))
    assert pointing[0] == pytest.approx(2 / 3)


def test_a_zero_map_counts_as_an_even_one() -> None:
    pointing, energy, iou = mask_scores(np.zeros((1, 2, 2)), one([[1, 0], [0, 0]]))
    assert (pointing[0], energy[0]) == (0.25, 0.25)
    assert (iou == 0.25).all()


def test_an_image_without_object_is_left_out() -> None:
    maps = np.stack([np.eye(3), np.eye(3)])
    masks = np.stack([np.zeros((3, 3)), np.eye(3)])
    pointing, energy, iou = mask_scores(maps, masks)
    assert np.isnan([pointing[0], energy[0], *iou[:, 0]]).all()
    assert (pointing[1], energy[1]) == (1, 1)
    assert iou[best_threshold(iou), 1] == 1
    assert best_threshold(np.full((19, 3), np.nan)) == 0


def test_one_threshold_for_all_images() -> None:
    """The best of each image would give 0.9 and 0.8, mean 0.85; the best mean is 0.6."""
    assert best_threshold(np.array([[0.9, 0.1], [0.5, 0.7], [0.1, 0.8]])) == 1


# ------------------------------------------------------------------------------------------------ insertion, deletion


class BrightShare(nn.Module):
    """The probability of class 0 is the mean brightness of the image."""

    def forward(self, x: Tensor) -> Tensor:
        share = x.mean((1, 2, 3))
        return torch.stack([share, 1 - share], 1).log()


def counting_net(size: int = 10) -> Net:
    """Black is the mean colour of its data."""
    net = Net("resnet8", 2, mean=[0.0], std=[1.0], size=size).eval()
    net.backbone = BrightShare()
    return net


def half_bright(size: int = 10) -> Tensor:
    """Two images whose upper halves are white."""
    x = torch.zeros(2, 3, size, size)
    x[:, :, : size // 2] = 1
    return x


def curves(maps: Tensor, before: Tensor, after: Tensor) -> np.ndarray:
    net, counts = counting_net(), faithfulness.counts_of(100, STEPS)
    ranks = faithfulness.order(maps)
    found = perturbation_curve(net, before, after, ranks, torch.tensor([0, 0]), counts, chunk=7)
    return found.numpy()


def test_deletion_of_a_net_that_counts_bright_pixels() -> None:
    """With b = 1/2 bright, a right map takes them first: the curve falls from b to 0 at b, an area of b^2 / 2; a
    reversed one keeps b until 1 - b: b (1 - b) + b^2 / 2."""
    x, share = half_bright(), np.linspace(0, 1, STEPS + 1)
    right = curves(x[:, 0], x, torch.zeros_like(x))
    wrong = curves(1 - x[:, 0], x, torch.zeros_like(x))
    np.testing.assert_allclose(right[0], np.maximum(0.5 - share, 0), atol=1e-6)
    np.testing.assert_allclose(faithfulness.area(right, share), [0.125, 0.125], atol=1e-6)
    np.testing.assert_allclose(faithfulness.area(wrong, share), [0.375, 0.375], atol=1e-6)


def test_insertion_of_a_net_that_counts_bright_pixels() -> None:
    x, share = half_bright(), np.linspace(0, 1, STEPS + 1)
    right = curves(x[:, 0], torch.zeros_like(x), x)
    np.testing.assert_allclose(right[1], np.minimum(share, 0.5), atol=1e-6)
    np.testing.assert_allclose(faithfulness.area(right, share), [0.375, 0.375], atol=1e-6)


def test_equal_pixels_do_not_come_from_the_top() -> None:
    """A zero map deletes in random order, so the curve is a straight line; row by row it would bend."""
    x = half_bright()
    found = curves(torch.zeros(2, 10, 10), x, torch.zeros_like(x))
    share = np.linspace(0, 1, STEPS + 1)
    assert np.abs(found[0] - 0.5 * (1 - share)).max() < 0.1
    assert faithfulness.area(found, share)[0] == pytest.approx(0.25, abs=0.04)


def test_order() -> None:
    maps = torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(0))
    ranks = faithfulness.order(maps)
    assert all(sorted(r.flatten().tolist()) == list(range(20)) for r in ranks)
    for m, r in zip(maps, ranks, strict=True):
        by_rank = m.flatten()[r.flatten().argsort()]
        assert (by_rank.diff() <= 0).all()
    zeros = torch.zeros(1, 5, 4)
    assert torch.equal(faithfulness.order(zeros, 1), faithfulness.order(zeros, 1))
    assert not torch.equal(faithfulness.order(zeros, 1), faithfulness.order(zeros, 2))


def test_blur_is_torchvisions() -> None:
    x = torch.rand(2, 3, 20, 40, dtype=torch.float64)
    sigma = [faithfulness.BLUR * 40, faithfulness.BLUR * 20]
    expected = gaussian_blur(x, [2 * 6 + 1, 2 * 3 + 1], sigma)
    torch.testing.assert_close(faithfulness.blurred(x), expected)
    flat = torch.full((1, 1, 3, 3), 0.4)
    torch.testing.assert_close(faithfulness.blurred(flat), flat)


def test_counts() -> None:
    assert faithfulness.counts_of(100, 4) == [0, 25, 50, 75, 100]
    assert faithfulness.counts_of(2, 4) == [0, 0, 1, 2, 2]


# ----------------------------------------------------------------------------------------------------- the analysis


def nets(number: int = 2) -> list[tuple[str, Net]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = [Net("resnet8", 3, mean=[0.4] * 3, std=[0.3] * 3, size=16).eval() for _ in range(number)]
    return [(f"photos-resnet8-{key}-s0-{i}abc", net) for i, (key, net) in enumerate(zip(KEYS, made, strict=False))]


KEYS = ("mixup", "cutmix", "vanilla")


def data(number: int = 5, masks: bool = True) -> Examples:
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(0, 256, (number, 3, 16, 16), generator=generator, dtype=torch.uint8)
    objects = torch.zeros(number, 16, 16, dtype=torch.uint8)
    objects[:, 3:9, 5:12] = 1
    return Examples(images, torch.arange(number) % 3, objects if masks else None, ("ant", "bee", "cow"))


def test_maps_and_scores_are_those_of_the_parts() -> None:
    given, examples = nets(), data()
    found = cam(given, examples, kind="layercam")
    x, y = examples.batch(0, 5)
    for i, (_, net) in enumerate(given):
        maps = to_unit(attribute(net, x, y, "layercam"))
        np.testing.assert_allclose(found.maps[i], maps.numpy(), rtol=1e-5, atol=1e-6)
        with torch.no_grad():
            p = net(x).softmax(1)[torch.arange(5), y].numpy()
        np.testing.assert_allclose(found.probability[i], p, rtol=1e-5)
        np.testing.assert_allclose(found.insertion_curve[i, :, -1], p, rtol=1e-4)
        np.testing.assert_allclose(found.deletion_curve[i, :, 0], p, rtol=1e-4)
        pointing, energy, iou = mask_scores(found.maps[i], found.masks)
        np.testing.assert_array_equal(found.pointing[i], pointing)
        np.testing.assert_array_equal(found.energy[i], energy)
        assert iou.mean(1).max() == pytest.approx(found.iou[i].mean())
    assert found.maps.dtype == np.float32
    assert found.images.dtype == np.uint8
    assert ((found.maps >= 0) & (found.maps <= 1)).all()
    np.testing.assert_array_equal(found.images, examples.images)


def test_deletion_ends_in_the_mean_colour_and_insertion_begins_blurred() -> None:
    given, examples = nets(1), data()
    found = cam(given, examples)
    net, (x, y) = given[0][1], examples.batch(0, 5)
    with torch.no_grad():
        blank = net(torch.full_like(x, 0.4)).softmax(1)
        blur = net(faithfulness.blurred(x)).softmax(1)
    np.testing.assert_allclose(found.deletion_curve[0, :, -1], blank[torch.arange(5), y], rtol=1e-4)
    np.testing.assert_allclose(found.insertion_curve[0, :, 0], blur[torch.arange(5), y], rtol=1e-4)


def test_target() -> None:
    given, examples = nets(), data()
    label, prediction = cam(given, examples), cam(given, examples, target="prediction")
    np.testing.assert_array_equal(label.asked, np.tile(examples.labels, (2, 1)))
    for i, (_, net) in enumerate(given):
        with torch.no_grad():
            np.testing.assert_array_equal(prediction.asked[i], net(examples.batch(0, 5)[0]).argmax(1))
    assert (prediction.probability >= label.probability - 1e-6).all()


def test_frame_and_summary() -> None:
    found = cam(nets(), data())
    frame = found.to_frame()
    assert len(frame) == 10
    assert frame["label"].tolist()[:3] == ["ant", "bee", "cow"]
    assert frame["name"].tolist() == [found.runs[0]] * 5 + [found.runs[1]] * 5
    summary = found.summary().set_index("name")
    for run, rows in frame.groupby("name"):
        for key in SCORES:
            assert summary.loc[run, key] == pytest.approx(rows[key].mean())
            assert summary.loc[run, f"{key}_se"] == pytest.approx(rows[key].sem())


def test_without_masks_and_with_one_image() -> None:
    found = cam(nets(1), data(1, masks=False))
    row = found.summary().iloc[0]
    assert np.isnan([row["pointing"], row["energy"], row["iou"], row["threshold"], row["insertion_se"]]).all()
    assert 0 <= row["insertion"] <= 1
    assert found.masks.shape == (0, 16, 16)
    assert len(found.plot().images) == 2


def test_images_may_be_floating_point_and_are_chosen_by_the_seed() -> None:
    examples = data(30)
    floating = cam(nets(1), (examples.images / 255, examples.labels), images=4, seed=3)
    whole = cam(nets(1), examples, images=4, seed=3)
    np.testing.assert_array_equal(floating.images, whole.images)
    np.testing.assert_allclose(floating.maps, whole.maps, atol=1e-4)
    assert not np.array_equal(cam(nets(1), examples, images=4, seed=4).images, whole.images)


def test_grid() -> None:
    """One picture an image and a net, and the images themselves; titles are what tells the nets apart."""
    ax = cam(nets(3), data()).plot()
    assert len(ax.images) == 5 * 4
    texts = [text.get_text() for text in ax.texts]
    assert all(title in texts for title in ("image", "Mixup", "CutMix", "Vanilla"))
    assert texts.count("bee") == 2


@pytest.mark.parametrize(("count", "images", "bands"), [(1, 1, 1), (4, 1, 1), (6, 2, 2), (6, 1, 2)])
def test_grid_on_a_narrow_page_cuts_no_name(count: int, images: int, bands: int) -> None:
    """Few images make a low grid, many nets narrow columns: what does not fit stands in a further band."""
    keys = ("vanilla", "mixup", "cutmix", "manifoldmix", "saliencymix", "attentivemix")[:count]
    given = [(f"shapes-resnet8-{key}-s0", net) for key, (_, net) in zip(keys, nets(1) * count, strict=False)]
    found = cam(given, data(images))
    figure = found.figure("cvpr", 1)
    (ax,) = figure.axes
    texts = [text.get_text() for text in ax.texts]
    assert all(name in texts for name in short_names([name for name, _ in given]))
    assert texts.count("image") == bands
    assert len(ax.images) == images * (count + bands)
    assert lint.faults(figure) == []


def test_overlay_leaves_the_picture_where_the_map_is_low() -> None:
    picture = np.full((2, 2, 3), 0.5)
    mixed = overlay(picture, np.array([[0.0, 1.0], [0.0, 0.0]]))
    assert np.ptp(mixed[0, 0]) == pytest.approx(0)
    assert np.ptp(mixed[0, 1]) > 0.3
    assert ((mixed >= 0) & (mixed <= 1)).all()


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["photos-resnet8-cutmix-s0-1a", "photos-resnet8-mixup-s0-2b"], ["CutMix", "Mixup"]),
        (["photos-resnet8-mixup-s0-1a", "photos-resnet8-mixup-s1-2b"], ["s0", "s1"]),
        (["a-resnet8-mixup-s0-1a", "a-resnet20-mixup-s0-2b", "a-resnet20-fmix-s0-3c"],
         ["Mixup resnet8", "Mixup resnet20", "FMix resnet20"]),
        (["photos-resnet8-automix-s0-1a"], ["AutoMix s0"]),
        (["ours", "theirs-new"], ["ours", "theirs-new"]),
        (["my net"], ["my net"]),
    ],
)  # fmt: skip
def test_short_names(names: list[str], short: list[str]) -> None:
    assert short_names(names) == short


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "gradcan"}, "unknown kind of map"),
        ({"target": "labels"}, "did you mean 'label'"),
        ({"images": 0}, "whole number from 1"),
        ({"images": "all"}, "whole number from 1"),
    ],
)
def test_mistakes_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        cam(nets(), data(), **options)


def test_mistakes_about_nets_are_told() -> None:
    with pytest.raises(UsageError, match="at least one net"):
        cam([], data())
    ((name, net),) = nets(1)
    with pytest.raises(UsageError, match="twice"):
        cam([(name, net), (name, net)], data())
    nn.init.constant_(net.backbone.fc.weight, float("nan"))
    with pytest.raises(UsageError, match="nan or infinite"):
        cam([(name, net)], data())
